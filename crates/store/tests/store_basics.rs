//! The store's promises, one by one.

mod store_support;

use leaseq_store::*;
use store_support::*;

fn ended_at(store: &Store, address: [u8; 4]) -> Option<(State, u32)> {
    let view = store.reader().view();
    view.binding4(&Vpn::GLOBAL, address.into())
        .map(|bind| (bind.state(), bind.state_since()))
}

#[test]
fn what_was_acknowledged_is_found_again() {
    let fixture = Fixture::new();
    let one = active4([10, 0, 0, 12], 1, 1);
    let two = active4([192, 0, 2, 7], 1, 1);
    let six = active6("2001:db8:1::5", 3, 1);
    let pd = Event6 {
        prefix_len: 56,
        kind: LeaseKind::Pd,
        iaid: Some(2),
        ..active6("2001:db8:1100::", 3, 1)
    };
    {
        let open = fixture.open();
        let events = vec![
            Event::V4(one.clone()),
            Event::V4(two.clone()),
            Event::V6(six.clone()),
            Event::V6(pd.clone()),
        ];
        let committed = store(&open, events.clone());
        assert_eq!((committed.sequence, committed.changed), (4, 4));
        assert_eq!(
            store(&open, events).changed,
            0,
            "an event equal to what is stored appends nothing"
        );
        assert_eq!(open.reader().published().sequence, 4);
    }
    for round in 0..3 {
        let open = fixture.open();
        assert_eq!(open.reader().stats().from_checkpoint, round > 0);
        let view = open.reader().view();
        let expect = Event4 {
            state_since: Some(T0),
            ..one.clone()
        };
        assert_eq!(
            view.binding4(&Vpn::GLOBAL, one.address).unwrap().to_event(),
            expect
        );
        assert!(view.binding4(&Vpn::named("red"), one.address).is_none());
        assert!(
            view.configured4(&Vpn::GLOBAL, two.address)
                && view.configured4(&Vpn::GLOBAL, [10, 0, 0, 29].into())
        );
        assert!(!view.configured4(&Vpn::GLOBAL, [10, 0, 0, 30].into()));
        let by_relay = walk4(&view, Selector4::RelayId(&[b'R', 1]), &VpnSelect::All);
        assert_eq!(by_relay.len(), 2);
        let all = walk_all4(&view, &VpnSelect::One(Vpn::GLOBAL));
        assert_eq!(all.len(), 21);
        assert_eq!(
            all.iter().filter(|(_, _, bound)| bound.is_some()).count(),
            2
        );
        assert_eq!(walk_all4(&view, &VpnSelect::All).len(), 31);

        assert_eq!(
            view.lease6(&Vpn::GLOBAL, "2001:db8:1100::9".parse().unwrap())
                .unwrap()
                .prefix_len(),
            56
        );
        let lease = view.lease6(&Vpn::GLOBAL, six.address).unwrap();
        let mut group = Group::default();
        assert!(view.group_of(&lease, &mut group));
        assert_eq!(group.members.len(), 2);
        let link = view.link_of("2001:db8:1::1".parse().unwrap()).unwrap();
        assert_eq!(group.link, link);
        assert_eq!(
            view.link_address(link),
            Some("2001:db8:1::1".parse().unwrap())
        );
        for selector in [
            Selector6::Duid(&[0, 3, 0, 1, 3]),
            Selector6::RelayId(&[b'R', 1]),
            Selector6::RemoteId(&[0, 0, 0, 9, 3]),
            Selector6::Link(link),
        ] {
            let found = walk6(&view, selector, &VpnSelect::All, None);
            assert_eq!(found.len(), 1, "{selector:?}");
            assert_eq!(found[0].1.len(), 2, "{selector:?}");
        }
        drop(group);
        drop(view);
        open.stop().unwrap();
    }
}

#[test]
fn the_second_event_on_a_key_sees_the_first() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let active = active4([10, 0, 0, 12], 1, 1);
    let mut released = Event4::new(active.address, State::Released);
    released.cltt = Some(T0 + 5);
    let moved = active4([10, 0, 0, 12], 2, 2);
    store(
        &open,
        vec![
            Event::V4(active.clone()),
            Event::V4(released),
            Event::V4(moved),
        ],
    );
    let view = open.reader().view();
    let records: Vec<String> = view
        .scan(ScanFrom::Start)
        .map(|found| match found.record {
            Record::Bind4(bind) => format!(
                "{:?} {} {}",
                bind.state(),
                bind.has_client_id(active.client_id.as_ref().unwrap()),
                found.newest
            ),
            Record::Departed4(gone) => format!("departed {:?}", gone.relay_id()),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        records,
        [
            "Active true false",
            "Released true false",
            "departed Some([82, 1])",
            "Active false true"
        ]
    );
    assert!(walk4(&view, Selector4::RelayId(&[b'R', 1]), &VpnSelect::All).is_empty());
}

#[test]
fn bindings_without_a_feed_expire_by_the_clock() {
    let fixture = Fixture::new();
    let open = fixture.open();
    store(
        &open,
        vec![
            Event::V4(active4([10, 0, 0, 12], 1, 1)),
            Event::V6(active6("2001:db8:1::5", 3, 1)),
        ],
    );
    fixture.clock.advance(3_599_000);
    open.tick().unwrap();
    assert_eq!(ended_at(&open, [10, 0, 0, 12]), Some((State::Active, T0)));
    fixture.clock.advance(1_000);
    open.tick().unwrap();
    assert_eq!(
        ended_at(&open, [10, 0, 0, 12]),
        Some((State::Expired, T0 + 3_600))
    );
    let view = open.reader().view();
    let lease = view
        .lease6(&Vpn::GLOBAL, "2001:db8:1::5".parse().unwrap())
        .unwrap();
    assert_eq!(
        (lease.state(), lease.state_since()),
        (State::Expired, T0 + 3_600)
    );
    assert_eq!(
        store(&open, vec![Event::V4(active4([10, 0, 0, 12], 1, 1))]).changed,
        0,
        "over already, and stored so"
    );
}

#[test]
fn a_live_feed_holds_expiry() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let feed = open.feed_id("kea4").unwrap();
    assert_eq!(
        (
            feed,
            open.feed_id("kea4").unwrap(),
            open.feed_id("kea6").unwrap()
        ),
        (1, 1, 2)
    );
    let read = |up_to: u32, live| {
        let event = FeedEvent {
            name: "kea4".into(),
            position: vec![1],
            read_up_to: Stamp::from_seconds(up_to),
            live,
        };
        store(&open, vec![Event::Feed(event)]);
    };
    read(T0, true);
    store(
        &open,
        vec![Event::V4(Event4 {
            feed,
            ..active4([10, 0, 0, 12], 1, 1)
        })],
    );
    fixture.clock.advance(3_700_000);
    open.tick().unwrap();
    let view = open.reader().view();
    let held = view.binding4(&Vpn::GLOBAL, [10, 0, 0, 12].into()).unwrap();
    assert_eq!(held.state(), State::Active);
    assert!(held.expiry_held(view.now()));
    assert_eq!(held.lease_left(view.now()), Some(30));
    let stats = open.reader().stats();
    assert_eq!((stats.held, stats.feed_stale), (1, true));
    drop(view);
    read(T0 + 3_630, true);
    open.tick().unwrap();
    assert_eq!(
        ended_at(&open, [10, 0, 0, 12]),
        Some((State::Active, T0)),
        "read up to the grace, not past it"
    );
    read(T0 + 3_631, true);
    open.tick().unwrap();
    assert_eq!(
        ended_at(&open, [10, 0, 0, 12]),
        Some((State::Expired, T0 + 3_600))
    );
    assert!(!open.reader().stats().feed_stale);
}

#[test]
fn a_jump_across_a_restart_waits_for_a_feed() {
    let fixture = Fixture::new();
    let read = |open: &Store, up_to: u32| {
        let event = FeedEvent {
            name: "kea4".into(),
            position: vec![],
            read_up_to: Stamp::from_seconds(up_to),
            live: true,
        };
        let changed = store(open, vec![Event::Feed(event)]).changed;
        assert_eq!(
            changed, 0,
            "how far a feed has come is no change of a lease"
        );
    };
    let open = fixture.open();
    read(&open, T0);
    store(&open, vec![Event::V4(active4([10, 0, 0, 12], 1, 1))]);
    open.stop().unwrap();
    fixture.clock.advance(4_000_000);
    let open = fixture.open();
    open.tick().unwrap();
    assert_eq!(ended_at(&open, [10, 0, 0, 12]), Some((State::Active, T0)));
    read(&open, T0 + 100);
    fixture.clock.advance(5_000);
    open.tick().unwrap();
    assert_eq!(
        ended_at(&open, [10, 0, 0, 12]),
        Some((State::Active, T0)),
        "the feed is as old as the log"
    );
    read(&open, T0 + 4_000);
    fixture.clock.advance(5_000);
    open.tick().unwrap();
    assert_eq!(
        ended_at(&open, [10, 0, 0, 12]),
        Some((State::Expired, T0 + 3_600))
    );
}

#[test]
fn rubbish_does_no_harm_to_the_rest() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let mut bad = active4([10, 0, 0, 13], 1, 1);
    bad.client_id = Some(vec![0; 2_000]);
    let unknown = Event4 {
        feed: 9,
        ..active4([10, 0, 0, 14], 1, 1)
    };
    let committed = store(
        &open,
        vec![
            Event::V4(bad),
            Event::V4(active4([10, 0, 0, 12], 1, 1)),
            Event::V4(unknown),
        ],
    );
    assert_eq!(committed.changed, 1);
    assert_eq!(committed.rejected.len(), 2);
    assert_eq!(
        committed.rejected[1],
        (2, EventError::UnknownFeed { number: 9 })
    );
    let view = open.reader().view();
    assert!(view.binding4(&Vpn::GLOBAL, [10, 0, 0, 12].into()).is_some());
    assert!(view.binding4(&Vpn::GLOBAL, [10, 0, 0, 13].into()).is_none());
}

#[test]
fn other_states_keep_what_is_absent() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let active = active4([10, 0, 0, 12], 1, 1);
    store(&open, vec![Event::V4(active.clone())]);
    fixture.clock.advance(10_000);
    store(
        &open,
        vec![Event::V4(Event4::new(active.address, State::Available))],
    );
    let view = open.reader().view();
    let bind = view.binding4(&Vpn::GLOBAL, active.address).unwrap();
    let expect = Event4 {
        state: State::Available,
        state_since: Some(T0 + 10),
        ..active.clone()
    };
    assert_eq!(bind.to_event(), expect);
    fixture.clock.advance(10_000);
    let again = store(
        &open,
        vec![Event::V4(Event4::new(active.address, State::Available))],
    );
    assert_eq!(again.changed, 0);
}

#[test]
fn one_process_one_store() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let second = Store::open(
        fixture.path(),
        fixture.options.clone(),
        fixture.topology.clone(),
    );
    assert!(second.unwrap_err().to_string().contains("is in use"));
    drop(open);
    fixture.open();
}
