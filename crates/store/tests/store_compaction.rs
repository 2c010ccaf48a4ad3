//! Compaction: the log stays close to what is live, ends go when the history has passed, and never come back.

mod store_support;

use std::time::Duration;

use leaseq_store::*;
use store_support::*;

fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.options.history = Duration::from_secs(3_600);
    fixture
}

/// Renews hosts so often that several segments fill up.
fn fill(open: &Store, rounds: u32) {
    for round in 0..rounds {
        let events = (0..100).map(|host| {
            let mut event = active4([192, 0, 2, host], host, 1);
            event.cltt = Some(T0 + round);
            event.lease_time = Some(10_000_000);
            Event::V4(event)
        });
        store(open, events.collect());
    }
}

#[test]
fn the_log_shrinks_to_what_is_live() {
    let fixture = fixture();
    let open = fixture.open();
    fill(&open, 60);
    let before = open.reader().stats();
    open.compact_now().unwrap();
    let after = open.reader().stats();
    assert!(
        before.segments > 8 && after.segments < 5,
        "{} to {} segments",
        before.segments,
        after.segments
    );
    assert_eq!(after.v4.in_state(State::Active), 100);
    let report = open.verify();
    assert_eq!((report.bindings, report.problems), (100, vec![]));
    drop(open);
    let report = fixture.open().verify();
    assert_eq!((report.bindings, report.problems), (100, vec![]));
}

#[test]
fn an_end_goes_when_the_history_has_passed_and_stays_away() {
    let fixture = fixture();
    let open = fixture.open();
    // Three records of the lease, in segments apart; the middle one gives it to another client.
    let lease = |client| Event4 {
        lease_time: Some(INFINITE),
        ..active4([203, 0, 113, 9], client, 1)
    };
    store(&open, vec![Event::V4(lease(1))]);
    fill(&open, 8);
    store(&open, vec![Event::V4(lease(2))]);
    let six = Event6 {
        valid_lifetime: Some(INFINITE),
        ..active6("2001:db8:5::5", 9, 2)
    };
    store(&open, vec![Event::V6(six.clone())]);
    fill(&open, 16);
    let mut end = Event4::new([203, 0, 113, 9].into(), State::Released);
    end.cltt = Some(T0 + 1);
    store(
        &open,
        vec![
            Event::V4(end),
            Event::V6(Event6::new(six.address, State::Released)),
        ],
    );
    fill(&open, 24);
    let known = |open: &Store| {
        let view = open.reader().view();
        (
            view.configured4(&Vpn::GLOBAL, [203, 0, 113, 9].into()),
            view.lease6(&Vpn::GLOBAL, six.address).is_some(),
        )
    };
    open.compact_now().unwrap();
    assert_eq!(known(&open), (true, true), "the history has not passed");
    assert_eq!(open.reader().dropped_until(), Stamp::ZERO);
    fixture.clock.advance(3_700_000);
    fill(&open, 32);
    open.compact_now().unwrap();
    assert_eq!(known(&open), (false, false));
    assert!(open.reader().dropped_until() >= Stamp::from_seconds(T0));
    assert!(open.reader().dropped_until() < Stamp::from_seconds(T0 + 10));
    let view = open.reader().view();
    assert!(
        walk4(
            &view,
            Selector4::ClientId(&[1, 2, 0, 0, 0, 0, 2]),
            &VpnSelect::All
        )
        .iter()
        .all(|event| event.address.octets()[0] == 192)
    );
    assert!(
        walk6(
            &view,
            Selector6::Duid(&[0, 3, 0, 1, 9]),
            &VpnSelect::All,
            None
        )
        .is_empty()
    );
    drop(view);
    assert_eq!(open.verify().problems, Vec::<String>::new());
    drop(open);
    let open = fixture.open();
    assert_eq!(
        known(&open),
        (false, false),
        "an older record must not come back"
    );
    store(&open, vec![Event::V4(lease(3)), Event::V6(six.clone())]);
    assert_eq!(known(&open), (true, true));
    assert_eq!(open.verify().problems, Vec::<String>::new());
    open.stop().unwrap();
    let open = fixture.open();
    assert!(open.reader().stats().from_checkpoint);
    assert_eq!(open.verify().problems, Vec::<String>::new());
}

#[test]
fn a_view_outlives_compaction() {
    let fixture = fixture();
    let open = fixture.open();
    fill(&open, 20);
    let view = open.reader().view();
    let old = view.binding4(&Vpn::GLOBAL, [192, 0, 2, 7].into()).unwrap();
    let mut walk = view.walk4(&Selector4::RelayId(&[b'R', 1]), &VpnSelect::All);
    let mut batch = Batch4::default();
    assert_eq!(view.fill4(&mut walk, &mut batch), Progress::More);
    let mut seen: Vec<u8> = batch
        .items
        .iter()
        .map(|item| item.bind.address().octets()[3])
        .collect();
    // Everything moves: to other segments, and on to newer records.
    fill(&open, 30);
    open.compact_now().unwrap();
    assert_eq!(
        old.cltt(),
        Some(T0 + 19),
        "a record that was handed out stays"
    );
    loop {
        let progress = view.fill4(&mut walk, &mut batch);
        seen.extend(
            batch
                .items
                .iter()
                .map(|item| item.bind.address().octets()[3]),
        );
        if progress == Progress::Done {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, (0..100).collect::<Vec<u8>>());
}

#[test]
fn an_end_is_not_dropped_while_an_older_record_lies_before_it() {
    let fixture = fixture();
    let open = fixture.open();
    let lease = Event4 {
        lease_time: Some(INFINITE),
        ..active4([203, 0, 113, 9], 1, 1)
    };
    // The first segment is full of what stays live, so no merge begins with it.
    let steady = (0..570u32).map(|host| {
        let address = [192, 0, 3 + (host / 200) as u8, (host % 200) as u8];
        Event::V4(Event4 {
            lease_time: Some(INFINITE),
            ..active4(address, host as u8, 1)
        })
    });
    store(&open, vec![Event::V4(lease.clone())]);
    store(&open, steady.collect());
    fill(&open, 30);
    store(
        &open,
        vec![Event::V4(Event4::new(lease.address, State::Released))],
    );
    fill(&open, 40);
    fixture.clock.advance(3_700_000);
    let before = open.reader().stats().segments;
    let merged = (0..100_000).any(|_| {
        open.tick().unwrap();
        std::thread::yield_now();
        open.reader().stats().segments < before / 2
    });
    assert!(
        merged,
        "still {} segments of {before}",
        open.reader().stats().segments
    );
    drop(open);
    let open = fixture.open();
    let view = open.reader().view();
    let state = view
        .binding4(&Vpn::GLOBAL, lease.address)
        .map(|bind| bind.state());
    assert_ne!(state, Some(State::Active), "an older record came back");
    assert_eq!(open.verify().problems, Vec::<String>::new());
}

/// How many records a later one replaced, from the whole log.
fn superseded(open: &Store) -> u64 {
    let view = open.reader().view();
    let mut known = std::collections::HashSet::new();
    let is_later = |found: Scanned<'_>| {
        let key = match found.record {
            Record::Bind4(bind) => bind.address().to_string(),
            Record::Bind6(lease) => lease.address().to_string(),
            Record::Feed(feed) => feed.name().to_owned(),
            _ => return false,
        };
        !known.insert(key)
    };
    view.scan(ScanFrom::Start)
        .map(is_later)
        .filter(|later| *later)
        .count() as u64
}

fn counted(open: &Store) -> u64 {
    open.reader().stats().dead_records
}

/// The count, once it is looked at while no compaction gets done; it must be that of the log.
fn agreed(open: &Store) -> u64 {
    loop {
        let (before, found) = (counted(open), superseded(open));
        if counted(open) == before {
            assert_eq!(before, found);
            return before;
        }
    }
}

#[test]
fn superseded_records_are_counted_through_compactions_and_restarts() {
    let fixture = fixture();
    let open = std::sync::Arc::new(fixture.open());
    let renew = |round: u32| {
        let lease = |host: u8| Event4 {
            cltt: Some(T0 + round),
            lease_time: Some(10_000_000),
            ..active4([192, 0, 2, host], host, 1)
        };
        let mut events: Vec<Event> = (0..100).map(|host| Event::V4(lease(host))).collect();
        events.push(Event::V6(active6("2001:db8:7::1", (round % 250) as u8, 1)));
        events.push(Event::Feed(FeedEvent {
            name: "kea4".to_owned(),
            position: round.to_be_bytes().to_vec(),
            read_up_to: Stamp::from_millis(u64::from(T0) * 1_000),
            live: true,
        }));
        events
    };
    (0..30).for_each(|round| drop(store(&open, renew(round))));
    agreed(&open);
    // What is superseded while it is being copied is dead in the copy.
    let compacting = {
        let open = std::sync::Arc::clone(&open);
        std::thread::spawn(move || (0..10).for_each(|_| open.compact_now().unwrap()))
    };
    (30..90).for_each(|round| drop(store(&open, renew(round))));
    compacting.join().unwrap();
    agreed(&open);
    // Afterwards only the segment that is written to has any, and nothing is worth a compaction.
    open.compact_now().unwrap();
    let told = agreed(&open);
    assert!(told > 0);
    let octets = open.reader().stats().dead_octets;
    open.stop().unwrap();
    drop(open);

    let open = fixture.open();
    assert!(open.reader().stats().from_checkpoint);
    assert_eq!(counted(&open), told);
    assert_eq!(open.reader().stats().dead_octets, octets);
    drop(open);
    let open = fixture.open();
    assert!(!open.reader().stats().from_checkpoint);
    assert_eq!(counted(&open), told);
    assert_eq!(open.reader().stats().dead_octets, octets);
    (90..120).for_each(|round| drop(store(&open, renew(round))));
    agreed(&open);
    open.compact_now().unwrap();
    agreed(&open);
}
