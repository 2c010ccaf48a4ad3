//! Checking a store: of one that changes all the time nothing wrong is told that is right.

mod store_support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use leaseq_store::*;
use store_support::*;

const HOSTS: u32 = 400;

/// Hosts that change their clients, relay agents and states over and over.
fn changes(round: u32) -> Vec<Event> {
    let change = |host: u32| {
        let [.., high, low] = host.to_be_bytes();
        let which = (host + round) % 7;
        let mut v4 = active4([10, 0, high, low], which as u8, (which % 3) as u8);
        v4.cltt = Some(T0 + round);
        if which == 6 {
            v4.state = State::Released;
        }
        let mut v6 = active6(&format!("2001:db8:7::{host:x}"), which as u8, which as u8);
        v6.cltt = Some(T0 + round);
        [Event::V4(v4), Event::V6(v6)]
    };
    (0..HOSTS).flat_map(change).collect()
}

#[test]
fn what_changes_meanwhile_is_not_told_as_wrong() {
    let fixture = Fixture::new();
    let open = fixture.open();
    store(&open, changes(0));
    let done = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            for round in (1..).take_while(|_| !done.load(Ordering::Relaxed)) {
                store(&open, changes(round));
            }
        });
        let look = |_| {
            let before = open.reader().published();
            let report = open.verify();
            // Changes go on, so the next look meets others.
            while open.reader().published() == before {
                thread::yield_now();
            }
            report
        };
        let found: Vec<VerifyReport> = (0..20).map(look).collect();
        done.store(true, Ordering::Relaxed);
        found
    });
    for report in found {
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(report.bindings > 0);
    }
    assert_eq!(open.verify().bindings, u64::from(2 * HOSTS));
}

#[test]
fn a_store_that_has_stopped_is_checked_too() {
    let fixture = Fixture::new();
    let open = fixture.open();
    store(&open, changes(0));
    open.stop().unwrap();
    let report = open.verify();
    assert_eq!(
        (report.bindings, report.problems),
        (u64::from(2 * HOSTS), Vec::new())
    );
}
