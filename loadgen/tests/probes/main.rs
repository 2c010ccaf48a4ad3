//! What limits and timeouts a server really has: found out and compared, with the real server.

#[path = "../common/certificates.rs"]
mod certificates;
mod exit;
mod limits;
mod others;
mod server;
mod timeouts;
