//! A store and a feed that can be stopped and started.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use leaseq_feed::kea::{self, Family, Settings};
use leaseq_feed::run::{Feed, Snapshot};
use leaseq_store::{Options, Record, ScanFrom, State, Store, SyncMode, Topology};

use crate::sim::{Model, Sim};

/// After this long a test fails; none waits that long unless it does.
const DEADLINE: Duration = Duration::from_secs(60);
/// What makes no commit is looked for this often.
const LOOK: Duration = Duration::from_millis(20);

pub struct Fixture {
    settings: Settings,
    pub store: Arc<Store>,
    feed: Option<Feed>,
    commits: Arc<(Mutex<u64>, Condvar)>,
    _dir: tempfile::TempDir,
}

impl Fixture {
    pub fn new(kea: &Sim) -> Fixture {
        Fixture::of(kea.file(""), Family::V4)
    }

    pub fn of(path: PathBuf, family: Family) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            ..Options::default()
        };
        let store = Store::open(&dir.path().join("store"), options, Topology::default()).unwrap();
        let commits = Arc::new((Mutex::new(0), Condvar::new()));
        let told = Arc::clone(&commits);
        store.on_commit(move |_| {
            *told.0.lock().unwrap() += 1;
            told.1.notify_all();
        });
        Fixture {
            settings: Settings {
                name: "kea".into(),
                family,
                path,
            },
            store: Arc::new(store),
            feed: None,
            commits,
            _dir: dir,
        }
    }

    /// Starts the feed unless it runs.
    pub fn start(&mut self) {
        if self.feed.is_none() {
            self.feed = Some(kea::start(&self.settings, Arc::clone(&self.store)).unwrap());
        }
    }

    /// Stops the feed if it runs.
    pub fn stop(&mut self) {
        if let Some(feed) = self.feed.take() {
            feed.stop();
        }
    }

    pub fn runs(&self) -> bool {
        self.feed.is_some()
    }

    pub fn status(&self) -> Snapshot {
        self.feed
            .as_ref()
            .expect("a running feed")
            .status()
            .snapshot()
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(
                began.elapsed() < DEADLINE,
                "{what}: {:?}",
                self.feed.as_ref().map(|feed| feed.status().snapshot())
            );
            let commits = self.commits.0.lock().unwrap();
            drop(self.commits.1.wait_timeout(commits, LOOK).unwrap());
        }
    }

    /// Waits until the store holds what Kea does.
    pub fn equals(&self, kea: &Sim, what: &str) {
        self.holds(&kea.model, what);
    }

    /// Waits until the store holds this.
    pub fn holds(&self, model: &Model, what: &str) {
        let mut table = Model::new();
        let began = Instant::now();
        self.until(what, |feed| {
            table = feed.table();
            assert!(
                table == *model || began.elapsed() < DEADLINE / 2,
                "{what}: the store has {table:?}\nKea has {model:?}\n{:?}",
                feed.status(),
            );
            table == *model
        });
    }

    pub fn is_equal(&self, kea: &Sim, what: &str) {
        assert_eq!(self.table(), kea.model, "{what}");
    }

    /// Leases that the store holds as in use.
    pub fn table(&self) -> Model {
        let view = self.store.reader().view();
        let newest = view.scan(ScanFrom::Start).filter(|scanned| scanned.newest);
        let leases = newest.filter_map(|scanned| match scanned.record {
            Record::Bind4(lease) if lease.state() == State::Active => {
                Some((lease.address(), lease.cltt().unwrap()))
            }
            _ => None,
        });
        leases.collect()
    }
}
