//! `leaseq watch`: against the real server, killed and started again in between; and against servers of a few lines that
//! say what the real one says only in need.

#[path = "../common/mod.rs"]
mod common;
mod leases;
mod process;
mod restarts;
mod scripted;
mod secure;
