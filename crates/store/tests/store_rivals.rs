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
    // Whoever is no feed overrides anything.
    self::store(&store, vec![Event::V4(lease(0, 3, T0 - 30))]);
    assert_eq!(stored(&store).cltt, Some(T0 - 30));
    assert_eq!(store.reader().stats().outdated, 0);
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
