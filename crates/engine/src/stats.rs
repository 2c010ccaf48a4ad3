//! What the engine itself counts: what happens to octets before a session sees them, or after.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the whole engine, since its start.
#[derive(Debug, Default)]
pub struct EngineStats {
    pub(crate) accept_errors: AtomicU64,
    pub(crate) no_descriptor: AtomicU64,
    pub(crate) udp_too_long: AtomicU64,
    pub(crate) udp_not_sent: AtomicU64,
    pub(crate) udp_errors: AtomicU64,
    pub(crate) waiting_octets: AtomicU64,
}

impl EngineStats {
    /// Connections that ended before they could be accepted, and other failures to accept.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections closed at once because this process had no descriptor left for them.
    pub fn no_descriptor(&self) -> u64 {
        self.no_descriptor.load(Ordering::Relaxed)
    }

    /// Datagrams that were longer than a request can be.
    pub fn udp_too_long(&self) -> u64 {
        self.udp_too_long.load(Ordering::Relaxed)
    }

    /// Answers over UDP that the kernel did not take.
    pub fn udp_not_sent(&self) -> u64 {
        self.udp_not_sent.load(Ordering::Relaxed)
    }

    /// Failures to read from a UDP socket.
    pub fn udp_errors(&self) -> u64 {
        self.udp_errors.load(Ordering::Relaxed)
    }

    /// Memory of all cores that holds replies until requestors take them, in octets, now.
    pub fn waiting_octets(&self) -> u64 {
        self.waiting_octets.load(Ordering::Relaxed)
    }
}

/// Adds to one of the counts.
pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
