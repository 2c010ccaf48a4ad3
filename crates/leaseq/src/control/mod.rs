//! The control socket: how the operator's own tools reach a running server.
//!
//! A Unix stream socket that its owner alone may open. A client writes one request, a JSON object on a line, and gets objects
//! on lines until one with the key `end`, which says how it went; then the connection is closed. `docs/control.md` lists both.
//!
//! Clients are few and bounded, as are their requests and the time that they may take to read an answer. Each has a thread of
//! its own, so that an export that takes minutes holds nobody else up.

mod answer;
mod backup;
mod commands;
mod listener;
mod request;
mod status;

pub use answer::End;
pub use backup::BackupPart;
pub use listener::{Control, Location};
pub use request::{MAX_REQUEST, Request};

use std::sync::Arc;
use std::sync::mpsc::Sender;

use leaseq_store::Store;

use crate::admin::Served;
use crate::serve::Order;

/// Name of the socket in the directory of the store.
pub const SOCKET_NAME: &str = "control.sock";

/// What is controlled.
#[derive(Clone)]
pub struct Controlled {
    /// What is looked at.
    pub served: Served,
    /// The store.
    pub store: Arc<Store>,
    /// Who starts and stops everything.
    pub orders: Sender<Order>,
}
