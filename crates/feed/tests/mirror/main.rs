//! Mirrors of servers that follow a script: bulk and active, faults of every kind, and what the store holds afterwards.

mod faults;
mod server;
mod v4;
mod v6;
