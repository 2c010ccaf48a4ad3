//! The list of connections for the admin side.
//!
//! A connection's entry is written by its core with relaxed stores and read by whoever asks. The map of entries is
//! locked by the accept thread and by those who ask, never by a data core: a core lets go of its entry, and the accept
//! thread sweeps the dead ones out when they are as many as the living.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use leaseq_session::Family;

/// Entries below which sweeping is not worth it.
const SWEEP_AT_LEAST: usize = 256;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionState {
    /// It waits for a query, or for something to tell.
    Idle = 0,
    /// Replies are encoded or on their way into the kernel.
    Sending = 1,
    /// It is being closed.
    Closing = 2,
}

/// One connection as the admin side sees it.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Its name, never used twice.
    pub id: u64,
    /// Address of the requestor.
    pub peer: SocketAddr,
    /// DHCP family of the listener it came through.
    pub family: Family,
    /// Which data thread serves it, counted from 0.
    pub core: usize,
    /// What it is doing.
    pub state: ConnectionState,
    /// Whether it is an active stream: its one query has no end.
    pub is_stream: bool,
    /// Octets the kernel has taken for the requestor.
    pub sent_octets: u64,
    /// Octets received from the requestor.
    pub received_octets: u64,
    /// When it was accepted.
    pub since: SystemTime,
}

/// A connection's own part of the list.
pub(crate) struct Entry {
    pub id: u64,
    pub peer: SocketAddr,
    pub family: Family,
    pub core: usize,
    since: SystemTime,
    /// Connections of the core, this one among them.
    load: Arc<AtomicUsize>,
    /// Its key on the core, once it has one.
    pub key: AtomicUsize,
    state: AtomicU8,
    is_stream: AtomicBool,
    sent_octets: AtomicU64,
    received_octets: AtomicU64,
}

impl Entry {
    /// An entry for a new connection; counts in `load` until it is dropped.
    pub fn new(
        id: u64,
        peer: SocketAddr,
        family: Family,
        core: usize,
        load: Arc<AtomicUsize>,
    ) -> Arc<Entry> {
        load.fetch_add(1, Ordering::Relaxed);
        Arc::new(Entry {
            id,
            peer,
            family,
            core,
            since: SystemTime::now(),
            load,
            key: AtomicUsize::new(usize::MAX),
            state: AtomicU8::new(ConnectionState::Idle as u8),
            is_stream: AtomicBool::new(false),
            sent_octets: AtomicU64::new(0),
            received_octets: AtomicU64::new(0),
        })
    }

    /// Notes what the connection is doing.
    pub fn set_state(&self, state: ConnectionState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Notes that the connection is an active stream.
    pub fn set_stream(&self) {
        self.is_stream.store(true, Ordering::Relaxed);
    }

    /// Counts octets the kernel has taken.
    pub fn add_sent(&self, octets: usize) {
        // One writer: no read-modify-write is needed.
        self.sent_octets.store(
            self.sent_octets.load(Ordering::Relaxed) + octets as u64,
            Ordering::Relaxed,
        );
    }

    /// Counts octets received.
    pub fn add_received(&self, octets: usize) {
        self.received_octets.store(
            self.received_octets.load(Ordering::Relaxed) + octets as u64,
            Ordering::Relaxed,
        );
    }

    fn info(&self) -> ConnectionInfo {
        let state = match self.state.load(Ordering::Relaxed) {
            1 => ConnectionState::Sending,
            2 => ConnectionState::Closing,
            _ => ConnectionState::Idle,
        };
        ConnectionInfo {
            id: self.id,
            peer: self.peer,
            family: self.family,
            core: self.core,
            state,
            is_stream: self.is_stream.load(Ordering::Relaxed),
            sent_octets: self.sent_octets.load(Ordering::Relaxed),
            received_octets: self.received_octets.load(Ordering::Relaxed),
            since: self.since,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections by id.
#[derive(Default)]
pub(crate) struct Registry {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<u64, Weak<Entry>>,
    sweep_at: usize,
}

impl Registry {
    /// Lists a new connection.
    pub fn add(&self, entry: &Arc<Entry>) {
        let mut entries = self.lock();
        if entries.by_id.len() >= entries.sweep_at {
            entries.by_id.retain(|_, entry| entry.strong_count() > 0);
            entries.sweep_at = (2 * entries.by_id.len()).max(SWEEP_AT_LEAST);
        }
        entries.by_id.insert(entry.id, Arc::downgrade(entry));
    }

    /// The connection of that name, if it is open.
    pub fn find(&self, id: u64) -> Option<Arc<Entry>> {
        self.lock().by_id.get(&id)?.upgrade()
    }

    /// All open connections, in the order they were accepted.
    pub fn list(&self) -> Vec<ConnectionInfo> {
        let open: Vec<Arc<Entry>> = self
            .lock()
            .by_id
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut list: Vec<ConnectionInfo> = open.iter().map(|entry| entry.info()).collect();
        list.sort_unstable_by_key(|info| info.id);
        list
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_open_ones_and_sweeps_the_rest() {
        let registry = Registry::default();
        let load = Arc::new(AtomicUsize::new(0));
        let mut kept = Vec::new();
        for id in 0..5_000 {
            let entry = Entry::new(
                id,
                "127.0.0.1:5".parse().unwrap(),
                Family::V4,
                0,
                load.clone(),
            );
            registry.add(&entry);
            if id % 1_000 == 0 {
                entry.add_sent(7);
                entry.set_state(ConnectionState::Sending);
                kept.push(entry);
            }
        }
        let list = registry.list();
        assert_eq!(
            list.iter().map(|info| info.id).collect::<Vec<_>>(),
            [0, 1_000, 2_000, 3_000, 4_000]
        );
        assert!(
            list.iter()
                .all(|info| info.sent_octets == 7 && info.state == ConnectionState::Sending)
        );
        assert_eq!(load.load(Ordering::Relaxed), kept.len());
        assert!(
            registry.lock().by_id.len() <= 2 * SWEEP_AT_LEAST,
            "dead entries do not pile up"
        );
        assert!(registry.find(1_000).is_some() && registry.find(1_001).is_none());
    }
}
