//! Departures: whoever follows the log by a selector value is told when a binding loses that value, however many changes
//! lie between, and finds what the client still has.

mod store_support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use leaseq_store::*;
use store_support::*;

const ADDRESS: [u8; 4] = [10, 0, 0, 12];

/// What the log says from a sequence on, one line a record.
fn told(view: &View, from: u64) -> Vec<String> {
    let text = |value: Option<&[u8]>| match value {
        Some(value) => String::from_utf8_lossy(value).into_owned(),
        None => "-".to_owned(),
    };
    let line = |record: Record<'_>| match record {
        Record::Bind4(bind) => format!(
            "{:?} {} {}",
            bind.state(),
            text(bind.remote_id()),
            text(bind.relay_id())
        ),
        Record::Departed4(gone) => format!(
            "departed {} {} {} {}",
            gone.address(),
            gone.vpn().vss().len(),
            text(gone.remote_id()),
            text(gone.relay_id())
        ),
        Record::Bind6(lease) => format!("{:?} {:?}", lease.state(), lease.duid()),
        Record::Departed6(gone) => {
            let hops: Vec<String> = gone
                .hops()
                .map(|hop| format!("{}/{}", text(hop.remote_id), text(hop.relay_id)))
                .collect();
            format!(
                "departed {} {:?} {:?} {}",
                gone.address(),
                gone.duid(),
                gone.link(),
                hops.join(" ")
            )
        }
        Record::Feed(_) => "feed".to_owned(),
    };
    view.scan(ScanFrom::Sequence(from))
        .map(|found| line(found.record))
        .collect()
}

/// Stores a first event, then a second one; gives what the second wrote.
fn after(first: Event, second: Event) -> Vec<String> {
    let fixture = Fixture::new();
    let open = fixture.open();
    let from = store(&open, vec![first]).sequence + 1;
    store(&open, vec![second]);
    told(&open.reader().view(), from)
}

fn relayed4(remote: &[u8], relay: &[u8]) -> Event4 {
    let mut info = vec![1, 1, b'c'];
    for (code, value) in [(2, remote), (12, relay)] {
        if !value.is_empty() {
            info.extend([code, value.len() as u8]);
            info.extend(value);
        }
    }
    Event4 {
        relay_agent_info: Some(info),
        ..active4(ADDRESS, 1, 1)
    }
}

#[test]
fn an_ipv4_binding_departs_from_each_identifier_that_it_loses() {
    let before = relayed4(b"rem", b"REL");
    let departed = "departed 10.0.0.12 0 rem REL";
    let cases = [
        (relayed4(b"other", b"REL"), "Active other REL"),
        (relayed4(b"rem", b"OTHER"), "Active rem OTHER"),
        (relayed4(b"rem", b""), "Active rem -"),
        (relayed4(b"", b"REL"), "Active - REL"),
        (
            Event4 {
                relay_agent_info: None,
                ..before.clone()
            },
            "Active - -",
        ),
        (
            Event4 {
                relay_agent_info: Some(Vec::new()),
                ..Event4::new(ADDRESS.into(), State::Available)
            },
            "Available - -",
        ),
    ];
    for (second, now) in cases {
        let written = after(Event::V4(before.clone()), Event::V4(second));
        assert_eq!(written, [departed, now]);
    }
}

#[test]
fn an_end_that_names_no_relay_keeps_the_one_that_was() {
    for state in [State::Available, State::Released, State::Abandoned] {
        let end = Event4::new(ADDRESS.into(), state);
        let written = after(Event::V4(relayed4(b"rem", b"REL")), Event::V4(end));
        assert_eq!(written, [format!("{state:?} rem REL")]);
    }
    let before = active6("2001:db8:1::5", 3, 1);
    let end = Event6::new(before.address, State::Available);
    let written = after(Event::V6(before), Event::V6(end));
    assert_eq!(written, ["Available [0, 3, 0, 1, 3]"]);
}

#[test]
fn a_lease_that_runs_out_keeps_its_relay() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let events = vec![
        Event::V4(relayed4(b"rem", b"REL")),
        Event::V6(active6("2001:db8:1::5", 3, 1)),
    ];
    let from = store(&open, events).sequence + 1;
    fixture.clock.advance(3_700_000);
    open.tick().unwrap();
    let mut written = told(&open.reader().view(), from);
    written.sort();
    assert_eq!(written, ["Expired [0, 3, 0, 1, 3]", "Expired rem REL"]);
}

#[test]
fn a_renewal_departs_from_nothing() {
    let renewed = |cltt| Event4 {
        cltt: Some(cltt),
        ..relayed4(b"rem", b"REL")
    };
    let written = after(Event::V4(renewed(T0)), Event::V4(renewed(T0 + 9)));
    assert_eq!(written, ["Active rem REL"]);
    let bare = Event4 {
        relay_agent_info: None,
        ..active4(ADDRESS, 1, 1)
    };
    let written = after(Event::V4(bare), Event::V4(renewed(T0 + 9)));
    assert_eq!(written, ["Active rem REL"], "there was nothing to lose");
}

#[test]
fn an_ipv4_binding_of_another_vpn_departs_in_it() {
    let red = |relay: &[u8]| Event4 {
        vpn: Vpn::named("red"),
        ..relayed4(b"rem", relay)
    };
    let written = after(Event::V4(red(b"REL")), Event::V4(red(b"OTHER")));
    assert_eq!(
        written,
        ["departed 10.0.0.12 4 rem REL", "Active rem OTHER"]
    );
}

#[test]
fn an_ipv6_lease_departs_from_client_link_and_each_hop() {
    let relay = |link: &str, id: u8| Relay6 {
        link: link.parse().unwrap(),
        peer: "fe80::1".parse().unwrap(),
        options: vec![0, 37, 0, 5, 0, 0, 0, 9, id, 0, 53, 0, 1, id + 1],
    };
    let before = Event6 {
        relay: Some(vec![relay("::", b'a'), relay("2001:db8:1::1", b'c')]),
        ..active6("2001:db8:1::5", 3, 1)
    };
    let departed =
        "departed 2001:db8:1::5 [0, 3, 0, 1, 3] Address(2001:db8:1::1) \0\0\0\ta/b \0\0\0\tc/d";
    let hops = |relays: Vec<Relay6>| Event6 {
        relay: Some(relays),
        ..before.clone()
    };
    let cases = [
        // The client.
        Event6 {
            duid: Some(vec![0, 3, 0, 1, 9]),
            ..before.clone()
        },
        // The outer hop, the inner one, and one of them altogether.
        hops(vec![relay("::", b'x'), relay("2001:db8:1::1", b'c')]),
        hops(vec![relay("::", b'a'), relay("2001:db8:1::1", b'x')]),
        hops(vec![relay("2001:db8:1::1", b'c')]),
        // The link alone.
        Event6 {
            link: Some(Link6::Address("2001:db8:2::1".parse().unwrap())),
            ..before.clone()
        },
        // All relay data.
        Event6 {
            relay: None,
            link: Some(Link6::Address("2001:db8:1::1".parse().unwrap())),
            ..before.clone()
        },
        // The client, and the lease with it.
        Event6 {
            duid: Some(Vec::new()),
            ..Event6::new(before.address, State::Available)
        },
    ];
    for second in cases {
        let written = after(Event::V6(before.clone()), Event::V6(second.clone()));
        assert_eq!(written.len(), 2, "{second:?}: {written:?}");
        assert_eq!(written[0], departed, "{second:?}");
    }
    let renewed = Event6 {
        cltt: Some(T0 + 9),
        ..before.clone()
    };
    let written = after(Event::V6(before), Event::V6(renewed));
    assert_eq!(written, ["Active [0, 3, 0, 1, 3]"]);
}

/// The departures of the log, oldest first.
fn departures(view: &View) -> Vec<Departed6<'_>> {
    view.scan(ScanFrom::Start)
        .filter_map(|found| match found.record {
            Record::Departed6(gone) => Some(gone),
            _ => None,
        })
        .collect()
}

#[test]
fn a_departure_leads_to_what_the_client_has_left_on_that_link() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let moves = active6("2001:db8:1::5", 3, 1);
    let stays = Event6 {
        prefix_len: 56,
        kind: LeaseKind::Pd,
        iaid: Some(2),
        ..active6("2001:db8:1100::", 3, 1)
    };
    let over = Event6 {
        state: State::Released,
        ..active6("2001:db8:1::6", 3, 1)
    };
    let red = Event6 {
        vpn: Vpn::named("red"),
        ..active6("2001:db8:1::7", 3, 1)
    };
    let moved = active6("2001:db8:1::5", 3, 2);
    let events = [moves.clone(), stays.clone(), over, red, moved];
    store(&open, events.map(Event::V6).to_vec());

    let addresses = |group: &Group<'_>| {
        let mut addresses: Vec<String> = group
            .members
            .iter()
            .map(|lease| format!("{} {:?}", lease.address(), lease.state()))
            .collect();
        addresses.sort();
        addresses
    };
    let left = ["2001:db8:1100:: Active", "2001:db8:1::6 Released"];
    let link = "2001:db8:1::1".parse().unwrap();
    {
        let view = open.reader().view();
        let gone = departures(&view)[0];
        assert_eq!(view.departed_link(&gone), view.link_of(link));
        let mut group = Group::default();
        assert!(view.group_of_departed(&gone, &mut group));
        assert_eq!(Some(group.link), view.link_of(link));
        assert_eq!(addresses(&group), left);
    }
    // It comes back: then it is among them.
    store(&open, vec![Event::V6(moves.clone())]);
    {
        let view = open.reader().view();
        let gone = departures(&view);
        let mut group = Group::default();
        assert!(view.group_of_departed(&gone[0], &mut group));
        assert_eq!(group.members.len(), 3);
        assert!(
            !view.group_of_departed(&gone[1], &mut group),
            "the client has nothing on the other link"
        );
        assert!(group.members.is_empty());
    }
    // Another client gets all of it.
    let to_other = |lease: Event6| Event6 {
        duid: Some(vec![0, 3, 0, 1, 4]),
        ..lease
    };
    let over = active6("2001:db8:1::6", 3, 1);
    let others = [moves, stays, over].map(|lease| Event::V6(to_other(lease)));
    assert_eq!(store(&open, others.to_vec()).changed, 3);
    let view = open.reader().view();
    let gone = departures(&view);
    assert!(!view.group_of_departed(&gone[0], &mut Group::default()));
}

/// A lease of client 3 on the link 2001:db8:1::1, behind a relay agent.
fn behind(address: &str, relay: u8) -> Event6 {
    Event6 {
        link: Some(Link6::Address("2001:db8:1::1".parse().unwrap())),
        ..active6(address, 3, relay)
    }
}

/// Departures and leases from a sequence on: their address, and the relay-ids.
fn relays(view: &View, from: u64) -> Vec<String> {
    let ids = |hops: Hops<'_>| {
        let ids: Vec<String> = hops
            .filter_map(|hop| hop.relay_id.map(|id| id[1].to_string()))
            .collect();
        ids.join(" ")
    };
    view.scan(ScanFrom::Sequence(from))
        .map(|found| match found.record {
            Record::Bind6(lease) => {
                format!(
                    "{} {:?} {}",
                    lease.address(),
                    lease.state(),
                    ids(lease.hops())
                )
            }
            Record::Departed6(gone) => format!("{} departed {}", gone.address(), ids(gone.hops())),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_a_client_loses_with_one_lease_the_others_depart_from() {
    let (one, two) = ("2001:db8:1::5", "2001:db8:1::6");
    let cases = [
        // The lease moves away, is given to another client, or ends.
        (
            vec![behind(one, 4)],
            vec!["1::5 departed 1 2", "1::6 departed 2 1", "1::5 Active 4"],
        ),
        (
            vec![Event6 {
                duid: Some(vec![0, 3, 0, 1, 9]),
                ..behind(one, 1)
            }],
            vec!["1::5 departed 1 2", "1::6 departed 2 1", "1::5 Active 1"],
        ),
        (
            vec![Event6::new(one.parse().unwrap(), State::Released)],
            vec!["1::6 departed 2 1", "1::5 Released 1"],
        ),
        // Both of them in one batch: the second is seen beside the first as it is by then.
        (
            vec![behind(one, 4), behind(two, 4)],
            vec![
                "1::5 departed 1 2",
                "1::6 departed 2 1",
                "1::5 Active 4",
                "1::6 departed 2 4",
                "1::5 departed 4 2",
                "1::6 Active 4",
            ],
        ),
        // A lease that comes and one that goes in one batch.
        (
            vec![behind("2001:db8:1::7", 5), behind(one, 2)],
            vec![
                "1::7 Active 5",
                "1::5 departed 1 2 5",
                "1::6 departed 2 5 1",
                "1::7 departed 2 5 1",
                "1::5 Active 2",
            ],
        ),
        // Nothing is lost.
        (
            vec![behind("2001:db8:1::7", 1), behind(one, 2)],
            vec!["1::7 Active 1", "1::5 departed 1 2", "1::5 Active 2"],
        ),
        (
            vec![Event6 {
                cltt: Some(T0 + 9),
                ..behind(one, 1)
            }],
            vec!["1::5 Active 1"],
        ),
    ];
    for (changes, expected) in cases {
        let fixture = Fixture::new();
        let open = fixture.open();
        let both = vec![Event::V6(behind(one, 1)), Event::V6(behind(two, 2))];
        let from = store(&open, both).sequence + 1;
        store(&open, changes.clone().into_iter().map(Event::V6).collect());
        let view = open.reader().view();
        let written: Vec<String> = relays(&view, from)
            .iter()
            .map(|line| line.replace("2001:db8:", ""))
            .collect();
        assert_eq!(written, expected, "{changes:?}");
        let lease = view.lease6(&Vpn::GLOBAL, one.parse().unwrap()).unwrap();
        assert!(lease.joined() <= lease.sequence());
        assert_eq!(open.verify().problems, Vec::<String>::new());
    }
}

#[test]
fn leases_behind_one_relay_agent_end_without_departures() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let leases = ["2001:db8:1::5", "2001:db8:1::6"].map(|address| Event::V6(behind(address, 1)));
    let from = store(&open, leases.to_vec()).sequence + 1;
    fixture.clock.advance(3_700_000);
    open.tick().unwrap();
    let mut written = relays(&open.reader().view(), from);
    written.sort();
    assert_eq!(
        written,
        ["2001:db8:1::5 Expired 1", "2001:db8:1::6 Expired 1"]
    );
}

#[test]
fn a_lease_that_expires_takes_its_relay_agent_from_the_others() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let stays = Event6 {
        valid_lifetime: Some(INFINITE),
        ..behind("2001:db8:1::6", 2)
    };
    let leases = vec![Event::V6(behind("2001:db8:1::5", 1)), Event::V6(stays)];
    let from = store(&open, leases).sequence + 1;
    fixture.clock.advance(3_700_000);
    open.tick().unwrap();
    assert_eq!(
        relays(&open.reader().view(), from),
        ["2001:db8:1::6 departed 2 1", "2001:db8:1::5 Expired 1"]
    );
}

#[test]
fn a_lease_whose_client_is_unknown_has_departed_from_no_group() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let unknown = Event6 {
        duid: None,
        state: State::Abandoned,
        ..active6("2001:db8:1::5", 3, 1)
    };
    let known = active6("2001:db8:1::5", 3, 2);
    store(&open, vec![Event::V6(unknown), Event::V6(known)]);
    let view = open.reader().view();
    let gone = departures(&view);
    assert_eq!(gone.len(), 1, "its relay agents are known");
    assert!(!view.group_of_departed(&gone[0], &mut Group::default()));
}

#[test]
fn hooks_are_called_after_each_commit_until_they_are_taken_back() {
    let fixture = Fixture::new();
    let open = fixture.open();
    let reader = open.reader();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let inside = reader.clone();
    let hook = reader.on_commit(Arc::new(move |published: Published| {
        let visible = inside.view().published() == published;
        seen.lock().unwrap().push((published.sequence, visible));
    }));
    let stays = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&stays);
    open.on_commit(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    store(&open, vec![Event::V4(relayed4(b"rem", b"REL"))]);
    store(&open, vec![Event::V4(relayed4(b"rem", b"REL"))]);
    assert_eq!(
        *calls.lock().unwrap(),
        [(1, true)],
        "what changes nothing is no commit"
    );
    fixture.clock.advance(3_700_000);
    open.tick().unwrap();
    open.feed_id("kea").unwrap();
    assert_eq!(*calls.lock().unwrap(), [(1, true), (2, true), (3, true)]);
    drop(hook);
    store(&open, vec![Event::V4(relayed4(b"rem", b"OTHER"))]);
    assert_eq!(calls.lock().unwrap().len(), 3);
    assert_eq!(stays.load(Ordering::Relaxed), 4);
}

/// Fills segments, so that what was stored before lies in a sealed one.
fn seal(open: &Store) {
    for round in 0..400u32 {
        let event = Event4 {
            cltt: Some(T0 + round),
            options: Some(vec![(12, vec![b'h'; 200])]),
            ..active4([10, 0, 0, 29], 9, 9)
        };
        store(open, vec![Event::V4(event)]);
    }
}

#[test]
fn an_end_that_is_dropped_while_it_is_read_is_told_all_the_same() {
    let mut fixture = Fixture::new();
    fixture.options.history = std::time::Duration::from_secs(60);
    let open = fixture.open();
    store(
        &open,
        vec![
            Event::V4(relayed4(b"rem", b"REL")),
            Event::V4(Event4::new(ADDRESS.into(), State::Released)),
        ],
    );
    seal(&open);
    fixture.clock.advance(100_000);
    let view = open.reader().view();
    let mut cursor = LogCursor::new(ScanFrom::Start);
    let first = view.next_record(&mut cursor).unwrap();
    let end = view.next_record(&mut cursor).unwrap();
    assert!(view.is_newest(&end) && !view.is_newest(&first));
    open.compact_now().unwrap();
    let later = open.reader().view();
    assert!(later.dropped_until() >= end.stamp() && view.dropped_until() == Stamp::ZERO);
    assert!(view.is_newest(&end) && !view.is_newest(&first));
    // Leased anew, without a departure: nobody knows any more what there was.
    store(&open, vec![Event::V4(relayed4(b"rem", b"OTHER"))]);
    assert_eq!(
        told(&open.reader().view(), later.published().sequence + 1),
        ["Active rem OTHER"]
    );
    assert!(view.is_newest(&end) && !view.is_newest(&first));
}
