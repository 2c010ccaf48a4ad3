//! leaseq mirroring leaseq: a replica, whatever becomes of the link, of itself and of the server that it mirrors.

#[path = "../common/mod.rs"]
mod common;

mod changes;
mod message;
mod million;
mod node;
mod proxy;
mod replica;
mod secure;
mod several;
