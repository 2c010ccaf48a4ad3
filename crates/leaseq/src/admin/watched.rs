//! What is watched, from the first moment on: a server that reads its store, serves, or stops.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use leaseq_engine::Engine;
use leaseq_feed::run::Snapshot;
use leaseq_store::{LoadProgress, Reader, Stats};

use crate::serve::Feeds;

/// The parts of a server that serves.
#[derive(Clone)]
pub struct Served {
    /// The engine and its counters.
    pub engine: Arc<Engine>,
    /// The feeds.
    pub feeds: Arc<Feeds>,
    /// The store.
    pub reader: Reader,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// Milliseconds that the opening of the store took.
    pub recovered_ms: u128,
}

/// How far the opening of the store has come.
#[derive(Default)]
pub struct Recovery {
    done: AtomicU64,
    total: AtomicU64,
}

impl Recovery {
    /// Notes how far it has come.
    pub fn note(&self, progress: LoadProgress) {
        self.done.store(progress.done, Ordering::Relaxed);
        self.total.store(progress.total, Ordering::Relaxed);
    }

    /// Octets read, and octets in all; both 0 before the first is read.
    pub fn octets(&self) -> (u64, u64) {
        let total = self.total.load(Ordering::Relaxed);
        (self.done.load(Ordering::Relaxed).min(total), total)
    }

    /// What the server is doing before it serves.
    fn text(&self) -> String {
        let (done, total) = self.octets();
        if done == total {
            return "starting".to_owned();
        }
        let percent = u128::from(done) * 100 / u128::from(total);
        format!("recovering, {percent} %")
    }
}

/// A server from its start to its end. Its parts come once the store is open and connections are accepted.
#[derive(Default)]
pub struct Watched {
    recovery: Arc<Recovery>,
    served: OnceLock<Served>,
    stopping: AtomicBool,
}

impl Watched {
    /// To be told how far the opening of the store has come.
    pub fn recovery(&self) -> &Arc<Recovery> {
        &self.recovery
    }

    /// The server serves. What comes a second time is not taken.
    pub fn serve(&self, served: Served) {
        let _ = self.served.set(served);
    }

    /// The server has begun to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// The parts of the server, once it serves.
    pub fn served(&self) -> Option<&Served> {
        self.served.get()
    }

    /// Why queries should not be sent here, each reason a line; empty: the server is ready.
    pub fn unready(&self) -> Vec<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return vec!["stopping".to_owned()];
        }
        let Some(served) = self.served() else {
            return vec![self.recovery.text()];
        };
        served.unready()
    }
}

impl Served {
    /// Why queries should not be sent here although it serves, each reason a line.
    pub fn unready(&self) -> Vec<String> {
        let drained = self.engine.draining().map(|drain| {
            let left = drain.left;
            format!("drained: no connection is accepted, {left} are left")
        });
        let statuses = self.feeds.statuses();
        let feeds = statuses.iter().map(|status| status.snapshot());
        let others = reasons(&self.reader.stats(), feeds);
        drained.into_iter().chain(others).collect()
    }
}

/// What of the store and the feeds speaks against sending queries.
fn reasons(stats: &Stats, feeds: impl Iterator<Item = Snapshot>) -> Vec<String> {
    let fault = stats.fault.as_ref();
    let fault = fault.map(|fault| format!("the store takes no changes: {fault}"));
    let unread = feeds.filter(|feed| feed.loaded.is_none()).map(|feed| {
        let (name, phase) = (feed.name, feed.phase.name());
        format!("feed {name} has not read all of its source yet ({phase})")
    });
    let stale = stats
        .feed_stale
        .then(|| "a feed is stale: leases past their end are held until it goes on".to_owned());
    fault.into_iter().chain(unread).chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use leaseq_feed::run::{Phase, Status};
    use leaseq_store::LoadPhase;

    use super::*;

    #[test]
    fn recovery_is_told_in_percent_until_the_parts_are_there() {
        let watched = Watched::default();
        assert_eq!(watched.unready(), ["starting"]);
        watched.recovery().note(LoadProgress {
            phase: LoadPhase::Scan,
            done: 41,
            total: 100,
        });
        assert_eq!(watched.unready(), ["recovering, 41 %"]);
        watched.recovery().note(LoadProgress {
            phase: LoadPhase::Scan,
            done: 100,
            total: 100,
        });
        assert_eq!(watched.unready(), ["starting"]);
        watched.stop();
        assert_eq!(watched.unready(), ["stopping"]);
    }

    #[test]
    fn a_server_is_not_ready_while_its_store_or_a_feed_is_not() {
        let feed = Status::new("kea4", "kea-memfile", Some(4), "/leases4.csv");
        let mut stats = Stats::default();
        let told = |stats: &Stats| reasons(stats, std::iter::once(feed.snapshot()));
        feed.enter(Phase::Loading);
        assert_eq!(
            told(&stats),
            ["feed kea4 has not read all of its source yet (loading)"]
        );
        feed.enter(Phase::Following);
        assert!(told(&stats).is_empty());
        // A feed that has lost its source is stale only once leases wait for it.
        feed.enter(Phase::Waiting);
        assert!(told(&stats).is_empty());
        stats.feed_stale = true;
        stats.fault = Some("the disk is full".to_owned());
        assert_eq!(
            told(&stats),
            [
                "the store takes no changes: the disk is full",
                "a feed is stale: leases past their end are held until it goes on"
            ]
        );
    }
}
