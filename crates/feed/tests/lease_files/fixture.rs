//! A store, a directory for lease files, and waiting for what a feed makes of them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leaseq_feed::Settings;
use leaseq_feed::run::{Feed, Phase, Snapshot};
use leaseq_store::log::testing::FaultDisk;
use leaseq_store::{
    Event4, Event6, Options, Record, ScanFrom, State, Store, SyncMode, Topology, Vpn,
};

/// Looks at most that often, each time after a commit or a moment.
const TRIES: u32 = 3_000;

pub struct Fixture {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    commits: Receiver<()>,
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            ..Options::default()
        };
        let store = Store::open(&dir.path().join("store"), options, Topology::default()).unwrap();
        Fixture::of(dir, store)
    }

    /// With a store on a disk that fails when it is told to.
    pub fn on_faulty_disk() -> (Self, FaultDisk) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let disk = FaultDisk::new(&dir.path().join("store")).unwrap();
        let fixture = Fixture::of_disk(dir, &disk);
        (fixture, disk)
    }

    fn of_disk(dir: tempfile::TempDir, disk: &FaultDisk) -> Self {
        let options = Options {
            segment_size: 64 << 10,
            ..Options::default()
        };
        let path = dir.path().join("store");
        let disk = Arc::new(disk.clone());
        let store = Store::open_on(disk, &path, options, Topology::default()).unwrap();
        Fixture::of(dir, store)
    }

    /// Closes the store and opens it again. No feed may run.
    pub fn reopen(self, disk: &FaultDisk) -> Self {
        let Fixture { dir, store, .. } = self;
        drop(Arc::into_inner(store).expect("no other owner of the store"));
        Fixture::of_disk(dir, disk)
    }

    fn of(dir: tempfile::TempDir, store: Store) -> Self {
        let (committed, commits) = sync_channel(1);
        store.on_commit(move |_| {
            let _ = committed.try_send(());
        });
        Self {
            dir,
            store: Arc::new(store),
            commits,
        }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The lease file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("leases")
    }

    pub fn start(&self, settings: &Settings) -> Feed {
        settings.start(Arc::clone(&self.store)).unwrap()
    }

    pub fn append(&self, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Puts another file in the place of the lease file.
    pub fn replace(&self, text: &str) {
        let new = self.dir.path().join("leases.1795344372");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }

    /// Writes the file anew in place, by these writes.
    pub fn rewrite(&self, writes: &[&str]) {
        let options = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(self.path());
        let mut file = options.unwrap();
        for text in writes {
            file.write_all(text.as_bytes()).unwrap();
        }
    }

    /// Waits until this holds.
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..TRIES {
            if holds() {
                return;
            }
            let _ = self.commits.recv_timeout(Duration::from_millis(10));
        }
        panic!("waited in vain: {what}");
    }

    /// Waits until the feed has read everything.
    pub fn until_follows(&self, feed: &Feed) -> Snapshot {
        self.until("the feed follows", || {
            feed.status().phase() == Phase::Following
        });
        feed.status().snapshot()
    }

    pub fn until_state(&self, address: [u8; 4], state: State) -> Event4 {
        self.until(&format!("{address:?} is {state:?}"), || {
            self.lease4(address)
                .is_some_and(|lease| lease.state == state)
        });
        self.lease4(address).unwrap()
    }

    pub fn lease4(&self, address: [u8; 4]) -> Option<Event4> {
        let view = self.store.reader().view();
        let bind = view.binding4(&Vpn::GLOBAL, Ipv4Addr::from(address))?;
        Some(bind.to_event())
    }

    /// How many changes of leases were stored.
    pub fn changes(&self) -> usize {
        let view = self.store.reader().view();
        view.scan(ScanFrom::Start)
            .filter(|scanned| matches!(scanned.record, Record::Bind4(_) | Record::Bind6(_)))
            .count()
    }

    pub fn lease6(&self, address: &str) -> Option<Event6> {
        let view = self.store.reader().view();
        let lease = view.lease6(&Vpn::GLOBAL, address.parse().unwrap())?;
        Some(lease.to_event())
    }
}

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
