//! Walks on threads of their own while the writer goes on: each address at most once, and none missed that stayed put.

mod store_support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use leaseq_store::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use store_support::*;

/// Hosts below this never change their relay; they are renewed all the same.
const STEADY: u8 = 60;
const ROUNDS: usize = 250;

fn lease4(host: u8, relay: u8, round: usize) -> Event {
    let mut event = active4([10, 0, 0, host], host, relay);
    event.cltt = Some(T0 + round as u32);
    event.lease_time = Some(10_000_000);
    Event::V4(event)
}

fn lease6(host: u8, client: u8, relay: u8, round: usize) -> Event {
    let mut event = active6(&format!("2001:db8:ff::{host:x}"), client, relay);
    event.cltt = Some(T0 + round as u32);
    event.valid_lifetime = Some(10_000_000);
    Event::V6(event)
}

/// Walks over the bindings of relay 1 until told to stop, a little at a time.
fn walk_v4(reader: &Reader, stop: &AtomicBool, walks: &AtomicUsize, committed: &[AtomicUsize]) {
    let mut random = StdRng::seed_from_u64(4);
    while !stop.load(Ordering::Acquire) {
        let began: Vec<u32> = committed
            .iter()
            .map(|round| round.load(Ordering::Acquire) as u32)
            .collect();
        let mut walk = reader
            .view()
            .walk4(&Selector4::RelayId(&[b'R', 1]), &VpnSelect::All);
        let mut seen = BTreeSet::new();
        let mut progress = Progress::More;
        while progress == Progress::More {
            let view = reader.view();
            let mut batch = Batch4::default();
            progress = view.fill4(&mut walk, &mut batch);
            // Now and then there is no room for all of them.
            let taken = if random.random_bool(0.3) {
                batch.items.len() / 2
            } else {
                batch.items.len()
            };
            for item in &batch.items[..taken] {
                let host = usize::from(item.bind.address().octets()[3]);
                let stale = began
                    .get(host)
                    .is_some_and(|round| item.bind.cltt() < Some(T0 + round));
                assert!(!stale, "host {host} as it was before its last change");
                assert_eq!(item.bind.relay_id(), Some(&[b'R', 1][..]));
                assert!(
                    seen.insert(item.bind.address()),
                    "{} comes twice",
                    item.bind.address()
                );
            }
            if let Some(item) = batch.items.get(taken) {
                walk.go_back(item.place);
                progress = Progress::More;
            }
        }
        let missed = (0..STEADY).find(|&host| !seen.contains(&Ipv4Addr::new(10, 0, 0, host)));
        assert_eq!(missed, None, "an address that stayed put is missing");
        walks.fetch_add(1, Ordering::Relaxed);
    }
}

fn walk_all(reader: &Reader, stop: &AtomicBool, walks: &AtomicUsize) {
    while !stop.load(Ordering::Acquire) {
        let mut walk = reader.view().walk_all4(&VpnSelect::One(Vpn::GLOBAL));
        let mut seen = BTreeSet::new();
        let mut progress = Progress::More;
        while progress == Progress::More {
            let view = reader.view();
            let mut batch = BatchAll4::default();
            progress = view.fill_all4(&mut walk, &mut batch);
            for item in &batch.items {
                let address = match item.what {
                    Configured4::Bound(bind) => bind.address(),
                    Configured4::Free(_, address) => address,
                };
                assert!(seen.insert(address), "{address} comes twice");
            }
        }
        let missed = (0..STEADY).find(|&host| !seen.contains(&Ipv4Addr::new(10, 0, 0, host)));
        assert_eq!(missed, None, "an address that stayed put is missing");
        walks.fetch_add(1, Ordering::Relaxed);
    }
}

fn walk_v6(reader: &Reader, stop: &AtomicBool, walks: &AtomicUsize) {
    while !stop.load(Ordering::Acquire) {
        let mut walk = reader
            .view()
            .walk6(&Selector6::RelayId(&[b'R', 1]), &VpnSelect::All, None);
        let (mut groups, mut leases) = (BTreeSet::new(), BTreeSet::new());
        let mut handed_back = false;
        loop {
            let view = reader.view();
            let mut group = Group::default();
            match view.next_group6(&mut walk, &mut group) {
                Step6::Group if !handed_back => {
                    walk.go_back();
                    handed_back = true;
                }
                Step6::Group => {
                    handed_back = false;
                    let first = &group.members[0];
                    assert!(
                        groups.insert((first.duid().to_vec(), group.link)),
                        "a client comes twice"
                    );
                    for lease in &group.members {
                        assert_eq!(lease.duid(), first.duid());
                        assert!(
                            leases.insert(lease.address()),
                            "{} comes twice",
                            lease.address()
                        );
                    }
                }
                Step6::More => {}
                Step6::Done => break,
            }
        }
        let missed = (0..STEADY)
            .find(|host| !leases.contains(&format!("2001:db8:ff::{host:x}").parse().unwrap()));
        assert_eq!(missed, None, "a lease that stayed put is missing");
        walks.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn walks_and_the_writer_do_not_disturb_each_other() {
    let mut fixture = Fixture::new();
    fixture.options.history = std::time::Duration::ZERO;
    let open = fixture.open();
    let fresh = |host| [lease4(host, 1, 0), lease6(host, host, 1, 0)];
    store(&open, (0..STEADY).flat_map(fresh).collect());
    let stop = AtomicBool::new(false);
    let walks: [AtomicUsize; 4] = Default::default();
    let committed: Vec<AtomicUsize> = (0..STEADY).map(|_| AtomicUsize::new(0)).collect();
    let reader = open.reader();
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| walk_v4(&reader, &stop, &walks[0], &committed)),
            scope.spawn(|| walk_all(&reader, &stop, &walks[1])),
            scope.spawn(|| walk_v6(&reader, &stop, &walks[2])),
            // Old ends go, their slots are used again, and records move while they are replaced.
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    open.compact_now().unwrap();
                    walks[3].fetch_add(1, Ordering::Relaxed);
                }
            }),
        ];
        let mut random = StdRng::seed_from_u64(1);
        let mut round = 0;
        // At least so many rounds, and as many as it takes until each walk has come to its end a few times.
        while round < ROUNDS || walks.iter().any(|walks| walks.load(Ordering::Relaxed) < 5) {
            round += 1;
            let renewed: Vec<u8> = (0..5).map(|_| random.random_range(0..STEADY)).collect();
            let mut events: Vec<Event> = renewed
                .iter()
                .flat_map(|&host| [lease4(host, 1, round), lease6(host, host, 1, round)])
                .collect();
            for _ in 0..20 {
                let host = random.random_range(STEADY..120);
                let relay = random.random_range(1..4);
                events.push(lease4(host, relay, round));
                events.push(lease6(host, random.random_range(0..200), relay, round));
                if random.random_bool(0.2) {
                    events.push(Event::V4(Event4::new(
                        Ipv4Addr::new(10, 0, 0, host),
                        State::Available,
                    )));
                }
            }
            store(&open, events);
            renewed
                .iter()
                .for_each(|&host| committed[usize::from(host)].store(round, Ordering::Release));
            fixture.clock.advance(1_500);
            if threads
                .iter()
                .any(std::thread::ScopedJoinHandle::is_finished)
            {
                break;
            }
        }
        stop.store(true, Ordering::Release);
    });
    assert_eq!(open.verify().problems, Vec::<String>::new());
}
