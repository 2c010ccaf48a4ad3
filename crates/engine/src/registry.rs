//! The list of connections for the admin side.
//!
//! A connection's entry is written by its core with relaxed stores and read by whoever asks. The map of entries is
//! locked by the accept thread and by those who ask, never by a data core: a core lets go of its entry, and the accept
//! thread sweeps the dead ones out when they are as many as the living.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use leaseq_session::{Activity, Family, Mono, StreamPlace};
use leaseq_store::Stamp;

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

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// No query is being answered.
    Idle,
    /// Queries that have an end are being answered.
    Bulk,
    /// An active stream.
    Active,
}

/// How far an active stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// It tells what changed since the time that was asked for, up to the log's tail.
    pub catching_up: bool,
    /// Records of the log that it has not looked at; 0: nothing waits for it.
    pub behind_records: u64,
    /// Age of the state that it tells; zero if nothing waits for it.
    pub behind: Duration,
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
    /// Whether it is on TLS, or about to be.
    pub is_tls: bool,
    /// Queries that are being answered; a stream counts as one.
    pub queries_running: u32,
    /// Queries that were taken up since it was accepted.
    pub queries_asked: u64,
    /// How far its stream has come, if it is an active one.
    pub stream: Option<StreamInfo>,
    /// For how long the requestor has taken nothing of what is there for it: neither has its kernel acknowledged anything, nor
    /// ours found room for more. A requestor that keeps up has short times of it too.
    pub blocked: Option<Duration>,
    /// Octets the kernel has taken for the requestor.
    pub sent_octets: u64,
    /// Octets received from the requestor.
    pub received_octets: u64,
    /// When it was accepted.
    pub since: SystemTime,
}

impl ConnectionInfo {
    /// What it is used for.
    pub fn kind(&self) -> ConnectionKind {
        if self.is_stream {
            ConnectionKind::Active
        } else if self.queries_running > 0 {
            ConnectionKind::Bulk
        } else {
            ConnectionKind::Idle
        }
    }
}

/// What entries are compared with when they are listed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moment {
    /// The engine's clock.
    pub now: Mono,
    /// Sequence of the last record that is visible.
    pub published: u64,
    /// The server's time.
    pub server_time: Stamp,
}

/// Stands for "none" where a number is kept.
const NONE: u64 = u64::MAX;

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
    is_tls: AtomicBool,
    catching_up: AtomicBool,
    running: AtomicU32,
    asked: AtomicU64,
    /// Sequence of the first record that the stream has not looked at, or [`NONE`].
    next: AtomicU64,
    /// Milliseconds of server time before which it has looked at every record; means something beside `next` only.
    next_stamp: AtomicU64,
    /// Milliseconds of the engine's clock since which nothing was acknowledged, or [`NONE`].
    stalled_since: AtomicU64,
    /// Milliseconds of the engine's clock since which the kernel took nothing of what it was given, or [`NONE`].
    unsent_since: AtomicU64,
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
            is_tls: AtomicBool::new(false),
            catching_up: AtomicBool::new(false),
            running: AtomicU32::new(0),
            asked: AtomicU64::new(0),
            next: AtomicU64::new(NONE),
            next_stamp: AtomicU64::new(0),
            stalled_since: AtomicU64::new(NONE),
            unsent_since: AtomicU64::new(NONE),
            sent_octets: AtomicU64::new(0),
            received_octets: AtomicU64::new(0),
        })
    }

    /// Notes what the connection is doing; `unsent_since`: when the kernel last took something, if more lies there for it.
    pub fn note(&self, state: ConnectionState, activity: &Activity, unsent_since: Option<Mono>) {
        let millis = |since: Option<Mono>| since.map_or(NONE, Mono::as_millis);
        self.state.store(state as u8, Ordering::Relaxed);
        self.is_tls.store(activity.is_tls, Ordering::Relaxed);
        self.running.store(activity.running, Ordering::Relaxed);
        self.asked.store(activity.asked, Ordering::Relaxed);
        self.stalled_since
            .store(millis(activity.stalled_since), Ordering::Relaxed);
        self.unsent_since
            .store(millis(unsent_since), Ordering::Relaxed);
        if let Some(StreamPlace { catching_up, next }) = activity.stream {
            let (sequence, stamp) = next.unwrap_or((NONE, Stamp::ZERO));
            self.catching_up.store(catching_up, Ordering::Relaxed);
            self.next_stamp.store(stamp.millis(), Ordering::Relaxed);
            self.next.store(sequence, Ordering::Relaxed);
        }
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

    fn stream(&self, moment: &Moment) -> Option<StreamInfo> {
        if !self.is_stream.load(Ordering::Relaxed) {
            return None;
        }
        let next = self.next.load(Ordering::Relaxed);
        let (behind_records, behind) = if next > moment.published {
            (0, Duration::ZERO)
        } else {
            let told = self.next_stamp.load(Ordering::Relaxed);
            let behind = moment.server_time.millis().saturating_sub(told);
            // Sequences begin with 1; a stream that has not looked for its place yet stands before it.
            let records = moment.published - next.max(1) + 1;
            (records, Duration::from_millis(behind))
        };
        Some(StreamInfo {
            catching_up: self.catching_up.load(Ordering::Relaxed),
            behind_records,
            behind,
        })
    }

    fn blocked(&self, now: Mono) -> Option<Duration> {
        let since = [&self.stalled_since, &self.unsent_since];
        let since = since.map(|since| since.load(Ordering::Relaxed));
        let since = since.into_iter().min().filter(|since| *since != NONE)?;
        Some(now - Mono::from_millis(since))
    }

    fn info(&self, moment: &Moment) -> ConnectionInfo {
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
            is_tls: self.is_tls.load(Ordering::Relaxed),
            queries_running: self.running.load(Ordering::Relaxed),
            queries_asked: self.asked.load(Ordering::Relaxed),
            stream: self.stream(moment),
            blocked: self.blocked(moment.now),
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
    pub fn list(&self, moment: &Moment) -> Vec<ConnectionInfo> {
        let open: Vec<Arc<Entry>> = self
            .lock()
            .by_id
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        let mut list: Vec<ConnectionInfo> = open.iter().map(|entry| entry.info(moment)).collect();
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
                entry.note(ConnectionState::Sending, &Activity::default(), None);
                kept.push(entry);
            }
        }
        let list = registry.list(&Moment::default());
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

    #[test]
    fn lag_and_blocked_time_are_told_as_of_now() {
        let entry = Entry::new(
            1,
            "127.0.0.1:5".parse().unwrap(),
            Family::V6,
            0,
            Arc::default(),
        );
        let moment = Moment {
            now: Mono::from_millis(90_000),
            published: 500,
            server_time: Stamp::from_seconds(1_000),
        };
        let mut activity = Activity {
            running: 1,
            ..Activity::default()
        };
        entry.note(ConnectionState::Sending, &activity, None);
        let info = entry.info(&moment);
        assert_eq!(
            (info.kind(), info.stream, info.blocked),
            (ConnectionKind::Bulk, None, None)
        );
        entry.set_stream();
        activity.stream = Some(StreamPlace {
            catching_up: true,
            next: Some((401, Stamp::from_seconds(970))),
        });
        activity.stalled_since = Some(Mono::from_millis(30_000));
        entry.note(
            ConnectionState::Sending,
            &activity,
            Some(Mono::from_millis(60_000)),
        );
        let info = entry.info(&moment);
        let behind = StreamInfo {
            catching_up: true,
            behind_records: 100,
            behind: Duration::from_secs(30),
        };
        assert_eq!(
            (info.kind(), info.stream, info.blocked),
            (
                ConnectionKind::Active,
                Some(behind),
                Some(Duration::from_secs(60))
            )
        );
        activity.stream = Some(StreamPlace::default());
        activity.stalled_since = None;
        entry.note(ConnectionState::Idle, &activity, None);
        let info = entry.info(&moment);
        assert_eq!(info.stream.unwrap().behind_records, 0);
        assert_eq!(info.blocked, None);
    }
}
