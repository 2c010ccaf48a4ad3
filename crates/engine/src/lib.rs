//! Moves octets between sockets and sessions on tokio-uring, a thread per core.
