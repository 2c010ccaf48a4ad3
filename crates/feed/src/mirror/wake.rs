//! Telling a mirror to end, whatever it waits for: the socket of a stream, or the answers of a bulk query.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use leaseq_requestor::client;

use super::bulk::Report;

/// A signal to end, given once.
#[derive(Debug, Default)]
pub(super) struct Wake {
    given: AtomicBool,
    stream: client::Stop,
    bulk: Mutex<Option<SyncSender<Report>>>,
}

impl Wake {
    /// Gives the signal.
    pub(super) fn give(&self) {
        self.given.store(true, Ordering::SeqCst);
        self.stream.stop();
        let bulk = self.bulk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bulk) = bulk.as_ref() {
            // If it is full, nobody sleeps.
            let _ = bulk.try_send(Report::Wake);
        }
    }

    /// Whether it was given.
    pub(super) fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }

    /// The signal as a stream's driver takes it.
    pub(super) fn stream(&self) -> &client::Stop {
        &self.stream
    }

    /// Whom to wake that waits for bulk answers.
    pub(super) fn wakes(&self, bulk: Option<SyncSender<Report>>) {
        *self.bulk.lock().unwrap_or_else(PoisonError::into_inner) = bulk;
    }
}
