//! What limits and timeouts a server really has: found out and compared, with the real server.

mod limits;
mod server;
mod timeouts;
