//! Several feeds that tell of one binding: the newer transaction wins, in whichever order they come.

mod store_support;

use leaseq_store::*;
use store_support::*;

fn feed(store: &Store, name: &str, live: bool) -> u16 {
    let event = FeedEvent {
        name: name.to_owned(),
        position: Vec::new(),
        read_up_to: Stamp::from_millis(u64::from(T0) * 1_000),
        live,
    };
    self::store(store, vec![Event::Feed(event)]);
    store.feed_id(name).unwrap()
}

fn lease(feed: u16, client: u8, cltt: u32) -> Event4 {
    Event4 {
        cltt: Some(cltt),
        feed,
        ..active4([10, 0, 0, 10], client, 1)
    }
}

fn stored(store: &Store) -> Event4 {
    let view = store.reader().view();
    let bind = view.binding4(&Vpn::GLOBAL, [10, 0, 0, 10].into()).unwrap();
    bind.to_event()
}

#[test]
fn the_newer_transaction_wins_in_any_order() {
    for newer_first in [true, false] {
        let fixture = Fixture::new();
        let store = fixture.open();
        let (a, b) = (feed(&store, "a", true), feed(&store, "b", true));
        let mut events = vec![lease(a, 1, T0 - 10), lease(b, 2, T0 - 5)];
        if newer_first {
            events.reverse();
        }
        // One by one, and both in one batch.
        for event in events.clone() {
            self::store(&store, vec![Event::V4(event)]);
        }
        let found = stored(&store);
        assert_eq!((found.feed, found.cltt), (b, Some(T0 - 5)), "{newer_first}");
        assert_eq!(store.reader().stats().outdated, u64::from(newer_first));
        let changed = self::store(&store, events.into_iter().map(Event::V4).collect()).changed;
        assert_eq!((changed, stored(&store).feed), (0, b));
    }
}

#[test]
fn an_end_counts_by_its_transaction_too() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let (a, b) = (feed(&store, "a", true), feed(&store, "b", true));
    self::store(&store, vec![Event::V4(lease(a, 1, T0 - 10))]);
    // The other server has not heard of the renewal: for it the lease ran out, later than the renewal was.
    let expired = Event4 {
        state: State::Expired,
        state_since: Some(T0 - 2),
        ..lease(b, 1, T0 - 100)
    };
    self::store(&store, vec![Event::V4(expired)]);
    assert_eq!(stored(&store).state, State::Active);
    let released = Event4 {
        state: State::Released,
        state_since: Some(T0 - 1),
        ..lease(b, 1, T0 - 1)
    };
    self::store(&store, vec![Event::V4(released)]);
    assert_eq!(
        (stored(&store).state, stored(&store).feed),
        (State::Released, b)
    );
}

#[test]
fn one_feed_may_correct_itself() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let a = feed(&store, "a", true);
    self::store(&store, vec![Event::V4(lease(a, 1, T0 - 10))]);
    self::store(&store, vec![Event::V4(lease(a, 2, T0 - 20))]);
    assert_eq!(stored(&store).cltt, Some(T0 - 20));
    assert_eq!(store.reader().stats().outdated, 0);
}

/// Whether an event changed anything, and whose the binding is after it.
fn told(store: &Store, event: Event4) -> (u32, u16) {
    let changed = self::store(store, vec![Event::V4(event)]).changed;
    (changed, stored(store).feed)
}

#[test]
fn a_feed_takes_over_what_was_imported_once() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let (a, b) = (feed(&store, "a", true), feed(&store, "b", true));
    // It need not be followed yet when it tells what it reads first.
    let new = store.feed_id("new").unwrap();
    for (first, rival) in [(a, b), (new, 0)] {
        let cltt = T0 - 20 + u32::from(first);
        feed(&store, "a", false);
        assert_eq!(told(&store, lease(0, 1, cltt)), (1, 0));
        feed(&store, "a", true);
        assert_eq!(told(&store, lease(first, 1, cltt)), (1, first));
        assert_eq!(told(&store, lease(first, 1, cltt)), (0, first));
        assert_eq!(told(&store, lease(rival, 1, cltt)), (0, first));
    }
    assert_eq!(store.reader().stats().outdated, 0);
}

#[test]
fn a_feed_overrides_what_was_imported_whatever_that_tells() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let a = feed(&store, "a", true);
    assert_eq!(told(&store, lease(0, 1, T0 - 1)), (1, 0));
    assert_eq!(told(&store, lease(a, 2, T0 - 10)), (1, a));
    assert_eq!(stored(&store).cltt, Some(T0 - 10));
}

#[test]
fn what_has_ended_is_taken_over_by_nobody_and_does_not_come_to_life() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let released = |feed| Event4 {
        state: State::Released,
        state_since: Some(T0 - 5),
        ..lease(feed, 1, T0 - 10)
    };
    let a = feed(&store, "a", true);
    assert_eq!(told(&store, released(0)), (1, 0));
    assert_eq!(told(&store, released(a)), (0, 0));
    // It ran out by the clock before the feed told of it. For the feed, read to long before that, it would be active.
    assert_eq!(told(&store, lease(0, 1, T0 - 9)), (1, 0));
    fixture.clock.advance(3_600_000);
    store.tick().unwrap();
    assert_eq!(stored(&store).state, State::Expired);
    assert_eq!(told(&store, lease(a, 1, T0 - 9)), (0, 0));
    assert_eq!(stored(&store).state, State::Expired);
    // A renewal that was not known is another matter.
    assert_eq!(told(&store, lease(a, 1, T0 - 8)), (1, a));
    assert_eq!(stored(&store).state, State::Active);
}

#[test]
fn a_lease_taken_over_is_held_until_its_feed_confirms_the_end() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let a = feed(&store, "a", true);
    let other = Event4 {
        address: [10, 0, 0, 11].into(),
        ..lease(0, 2, T0 - 10)
    };
    self::store(
        &store,
        vec![Event::V4(lease(0, 1, T0 - 10)), Event::V4(other)],
    );
    assert_eq!(told(&store, lease(a, 1, T0 - 10)), (1, a));
    fixture.clock.advance(7_200_000);
    store.tick().unwrap();
    assert_eq!(stored(&store).state, State::Active);
    let stats = store.reader().stats();
    assert!(stats.feed_stale && stats.held == 1, "{stats:?}");
    // What the source does not have ends by the clock, though the feed stands still.
    assert_eq!(stats.v4.in_state(State::Expired), 1);
    let store = reopened(&fixture, store);
    assert_eq!(
        (stored(&store).state, stored(&store).feed),
        (State::Active, a)
    );
    let now = store.reader().now();
    let event = FeedEvent {
        name: "a".into(),
        position: Vec::new(),
        read_up_to: now,
        live: true,
    };
    self::store(&store, vec![Event::Feed(event)]);
    store.tick().unwrap();
    assert_eq!(stored(&store).state, State::Expired);
}

fn reopened(fixture: &Fixture, store: Store) -> Store {
    store.stop().unwrap();
    fixture.open()
}

#[test]
fn an_import_takes_no_lease_from_a_feed_that_is_followed() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let a = feed(&store, "a", true);
    assert_eq!(told(&store, lease(a, 1, T0 - 10)), (1, a));
    // An older file, and one that tells of the same time something else.
    assert_eq!(told(&store, lease(0, 2, T0 - 20)), (0, a));
    assert_eq!(told(&store, lease(0, 2, T0 - 10)), (0, a));
    assert_eq!(stored(&store).client_id, lease(0, 1, 0).client_id);
    assert_eq!(store.reader().stats().outdated, 2);
    // A newer file is ahead of the feed, and the lease stays with it.
    assert_eq!(told(&store, lease(0, 2, T0 - 5)), (1, a));
    assert_eq!(stored(&store).cltt, Some(T0 - 5));
    // The lease has run out for whoever looks at the clock alone.
    fixture.clock.advance(7_200_000);
    assert_eq!(told(&store, lease(0, 2, T0 - 5)), (0, a));
    assert_eq!(stored(&store).state, State::Active);
    // Nobody follows it any more.
    feed(&store, "a", false);
    assert_eq!(told(&store, lease(0, 2, T0 - 20)), (1, 0));
}

#[test]
fn a_feed_inherits_what_one_that_is_no_longer_followed_has_told() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let (a, b) = (feed(&store, "a", true), feed(&store, "b", true));
    self::store(&store, vec![Event::V4(lease(a, 1, T0 - 10))]);
    let same = || vec![Event::V4(lease(b, 1, T0 - 10))];
    assert_eq!(
        (self::store(&store, same()).changed, stored(&store).feed),
        (0, a)
    );
    feed(&store, "a", false);
    assert_eq!(
        (self::store(&store, same()).changed, stored(&store).feed),
        (1, b)
    );
    assert_eq!(self::store(&store, same()).changed, 0);
}

#[test]
fn leases_of_ipv6_are_claimed_likewise() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let (a, b) = (feed(&store, "a", true), feed(&store, "b", true));
    let lease = |feed, client, cltt| {
        Event::V6(Event6 {
            cltt: Some(cltt),
            feed,
            ..active6("2001:db8:7::10", client, 1)
        })
    };
    self::store(&store, vec![lease(a, 1, T0 - 5)]);
    self::store(&store, vec![lease(b, 2, T0 - 10)]);
    let view = store.reader().view();
    let address = "2001:db8:7::10".parse().unwrap();
    let found = view.binding6(&Vpn::GLOBAL, address, 128).unwrap();
    assert_eq!((found.feed(), found.duid()), (a, &[0, 3, 0, 1, 1][..]));
    assert_eq!(store.reader().stats().outdated, 1);
}

#[test]
fn leases_of_ipv6_are_taken_over_likewise_and_nothing_departs() {
    let fixture = Fixture::new();
    let store = fixture.open();
    let a = feed(&store, "a", true);
    let lease = |feed, cltt| {
        Event::V6(Event6 {
            cltt: Some(cltt),
            feed,
            ..active6("2001:db8:7::10", 1, 7)
        })
    };
    let told = |feed, cltt| {
        let changed = self::store(&store, vec![lease(feed, cltt)]).changed;
        let view = store.reader().view();
        let address = "2001:db8:7::10".parse().unwrap();
        let found = view.binding6(&Vpn::GLOBAL, address, 128).unwrap();
        (changed, found.feed(), found.joined())
    };
    let (_, _, joined) = told(0, T0 - 10);
    assert_eq!(told(a, T0 - 10), (1, a, joined));
    assert_eq!(told(a, T0 - 10), (0, a, joined));
    assert_eq!(told(0, T0 - 20), (0, a, joined));
    assert_eq!(told(0, T0 - 5), (1, a, joined));
    let view = store.reader().view();
    let departed = |found: &Scanned<'_>| matches!(found.record, Record::Departed6(_));
    assert_eq!(view.scan(ScanFrom::Start).filter(departed).count(), 0);
}
