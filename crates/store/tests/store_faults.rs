//! A disk that fails and forgets: what was acknowledged survives, what failed is not there, and what a reader saw stays.

mod store_support;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use leaseq_store::log::testing::{EIO, FaultDisk, Op};
use leaseq_store::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store_support::*;

struct OnFaults {
    fixture: Fixture,
    disk: FaultDisk,
}

impl OnFaults {
    fn new() -> OnFaults {
        let mut fixture = Fixture::new();
        fixture.options.sync = SyncMode::Group;
        let disk = FaultDisk::new(fixture.path()).unwrap();
        OnFaults { fixture, disk }
    }

    fn open(&self) -> Result<Store, OpenError> {
        let disk = Arc::new(self.disk.clone());
        Store::open_on(
            disk,
            self.fixture.path(),
            self.fixture.options.clone(),
            self.fixture.topology.clone(),
        )
    }
}

/// The binding of a host, numbered by its last transaction.
fn numbered(host: u8, number: u32) -> Event {
    let mut event = active4([10, 0, 0, host], host, host % 3);
    event.cltt = Some(T0 + number);
    event.lease_time = Some(1_000_000);
    Event::V4(event)
}

fn number_of(store: &Store, host: u8) -> u32 {
    let view = store.reader().view();
    let bind = view.binding4(&Vpn::GLOBAL, Ipv4Addr::new(10, 0, 0, host));
    bind.and_then(|bind| bind.cltt())
        .map_or(0, |cltt| cltt - T0)
}

#[test]
fn power_loss_takes_nothing_that_was_acknowledged() {
    for seed in 0..24 {
        let mut random = StdRng::seed_from_u64(seed);
        let on = OnFaults::new();
        let mut acknowledged: BTreeMap<u8, u32> = BTreeMap::new();
        let mut tried: BTreeMap<u8, u32> = BTreeMap::new();
        let mut number = 0;
        for _ in 0..3 {
            let open = on.open().unwrap();
            for (host, acknowledged) in &acknowledged {
                let stored = number_of(&open, *host);
                assert!(
                    stored >= *acknowledged && stored <= tried[host],
                    "seed {seed}: host {host} has {stored}"
                );
            }
            assert_eq!(open.verify().problems, Vec::<String>::new(), "seed {seed}");
            on.disk.die_after(random.random_range(1..60));
            let mut seen = Published::default();
            for _ in 0..40 {
                let mut events = Vec::new();
                let mut batch = BTreeMap::new();
                for _ in 0..random.random_range(1..60) {
                    number += 1;
                    let host = random.random_range(0..40);
                    events.push(numbered(host, number));
                    batch.insert(host, number);
                }
                tried.extend(batch.clone());
                let result = open.submit(events).unwrap().wait();
                seen = open.reader().published();
                match result {
                    Ok(committed) => {
                        assert!(committed.sequence <= seen.sequence);
                        acknowledged.extend(batch);
                    }
                    Err(CommitError::Append { .. } | CommitError::ReadOnly { .. }) => break,
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            }
            drop(open);
            on.disk.crash(&mut || random.random()).unwrap();
            let open = on.open().unwrap();
            assert!(
                open.reader().published().sequence >= seen.sequence,
                "seed {seed}: a reader saw what is gone"
            );
        }
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let on = OnFaults::new();
    let open = on.open().unwrap();
    store(&open, vec![numbered(1, 1)]);
    on.disk.set_room(Some(0));
    let mut number = 1;
    let (error, refused) = loop {
        number += 1;
        let published = open.reader().published();
        let events: Vec<Event> = (0..100).map(|host| numbered(host, number)).collect();
        match open.submit(events).unwrap().wait() {
            Ok(_) => assert!(number < 1_000, "the disk never filled"),
            Err(error) => {
                assert_eq!(
                    open.reader().published(),
                    published,
                    "nothing of it is visible"
                );
                break (error, number);
            }
        }
    };
    assert!(
        matches!(&error, CommitError::Append { reason } if reason.contains("full")),
        "{error}"
    );
    assert_eq!(number_of(&open, 7), refused - 1, "the store can be read");
    let stats = open.reader().stats();
    assert_eq!(
        (stats.fault, stats.failed_batches),
        (Some(error.to_string()), 1)
    );
    on.disk.set_room(None);
    store(&open, vec![numbered(7, refused + 1)]);
    let stats = open.reader().stats();
    assert_eq!((stats.fault, stats.failed_batches), (None, 1));
    assert_eq!(stats.commit_micros.count(), stats.batches);
    assert_eq!(stats.batch_records.sum, stats.sequence);
    assert_eq!(number_of(&open, 7), refused + 1);
    assert!(open.verify().problems.is_empty());
}

#[test]
fn one_failed_sync_is_survived_and_two_end_in_read_only() {
    let on = OnFaults::new();
    let open = on.open().unwrap();
    store(&open, vec![numbered(1, 1)]);
    on.disk.fail(Op::Sync, 1, 1, EIO);
    store(&open, vec![numbered(1, 2)]);
    assert_eq!(number_of(&open, 1), 2);
    on.disk.fail(Op::Sync, 1, 1_000, EIO);
    let error = open
        .submit(vec![numbered(1, 3)])
        .unwrap()
        .wait()
        .unwrap_err();
    let again = open
        .submit(vec![numbered(1, 4)])
        .unwrap()
        .wait()
        .unwrap_err();
    assert!(
        matches!(
            again,
            CommitError::ReadOnly { .. } | CommitError::Append { .. }
        ),
        "{error}, then {again}"
    );
    assert_eq!(number_of(&open, 1), 2, "what failed is not visible");
    drop(open);
    on.disk.heal();
    assert!(number_of(&on.open().unwrap(), 1) >= 2);
}

#[test]
fn expiry_that_finds_no_room_is_tried_again() {
    let on = OnFaults::new();
    let open = on.open().unwrap();
    let leases = (0..200).map(|host| Event::V4(active4([10, 0, 0, host], host, 1)));
    store(&open, leases.collect());
    on.disk.set_room(Some(0));
    let mut number = 0;
    while number < 10_000
        && open
            .submit(vec![numbered(255, number)])
            .unwrap()
            .wait()
            .is_ok()
    {
        number += 1;
    }
    assert!(number < 10_000, "the disk never filled");
    // The thread may look at the clock by itself first; then it tries again a second later.
    on.fixture.clock.advance(3_600_000);
    let failed = (0..10).any(|_| {
        let failed = open.tick().is_err();
        on.fixture.clock.advance(2_000);
        failed
    });
    assert!(failed);
    assert_eq!(open.reader().stats().v4.in_state(State::Expired), 0);
    on.disk.set_room(None);
    on.fixture.clock.advance(2_000);
    open.tick().unwrap();
    assert_eq!(open.reader().stats().v4.in_state(State::Expired), 200);
}
