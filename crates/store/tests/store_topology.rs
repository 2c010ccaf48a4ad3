//! Ranges and links that are configured otherwise while the store is open: as if it had been opened with them.

mod store_support;

use std::net::Ipv4Addr;

use leaseq_store::*;
use store_support::*;

fn prefix(text: &str, len: u8) -> Prefix6 {
    Prefix6 {
        address: text.parse().unwrap(),
        len,
    }
}

fn range(vpn: Vpn, first: [u8; 4], last: [u8; 4]) -> Range4 {
    Range4 {
        vpn,
        first: first.into(),
        last: last.into(),
    }
}

/// Other ranges, with a VPN that had none, and other links: one that was told is configured, one is not any more.
fn other() -> Topology {
    Topology {
        ranges4: vec![
            range(Vpn::GLOBAL, [10, 0, 0, 20], [10, 0, 0, 39]),
            range(Vpn::named("blue"), [10, 0, 0, 10], [10, 0, 0, 12]),
        ],
        links6: vec![
            LinkConfig {
                name: "pop-1".to_owned(),
                prefixes: vec![prefix("2001:db8:1::", 48)],
                delegated: vec![],
            },
            LinkConfig {
                name: "pop-9".to_owned(),
                prefixes: vec![prefix("2001:db8:9::", 48), prefix("2001:db8:7:1::", 64)],
                delegated: vec![prefix("2001:db8:7000::", 36)],
            },
        ],
    }
}

fn events() -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for host in [10, 15, 20, 25, 29, 30, 35, 200] {
        events.push(active4([10, 0, 0, host], host, 1).into());
        let mut red = active4([10, 0, 0, host], host, 2);
        red.vpn = Vpn::named("red");
        events.push(red.into());
        let mut blue = active4([10, 0, 0, host], host, 3);
        blue.vpn = Vpn::named("blue");
        events.push(blue.into());
    }
    for (number, address) in (0..).zip([
        "2001:db8:7::1",
        "2001:db8:7:1::1",
        "2001:db8:9::1",
        "2001:db8:1::1",
        "2001:db8:ffff::1",
    ]) {
        for relay in [1, 9] {
            let address = format!("{address}{number}{relay}");
            events.push(active6(&address, number, relay).into());
        }
    }
    events
}

/// Everything that walks tell, of links by their addresses.
fn told(store: &Store) -> Vec<String> {
    let view = store.reader().view();
    let mut told = Vec::new();
    let vpns = ["red", "blue"].map(Vpn::named);
    for vpn in [VpnSelect::All, VpnSelect::One(Vpn::GLOBAL)]
        .into_iter()
        .chain(vpns.map(VpnSelect::One))
    {
        let mut all: Vec<String> = walk_all4(&view, &vpn)
            .into_iter()
            .map(|(vpn, address, bound)| format!("{vpn:?} {address} {}", bound.is_some()))
            .collect();
        all.sort();
        told.extend(all);
    }
    for host in 0..=255 {
        let address = Ipv4Addr::from([10, 0, 0, host]);
        told.push(format!(
            "{address} {} {}",
            view.configured4(&Vpn::GLOBAL, address),
            view.binding4(&Vpn::GLOBAL, address).is_some()
        ));
    }
    let mut clients = |selector: Selector6<'_>, link| {
        let mut found: Vec<String> = walk6(&view, selector, &VpnSelect::All, link)
            .into_iter()
            .map(|(link, members)| {
                let mut members: Vec<String> = members
                    .iter()
                    .map(|lease| lease.address.to_string())
                    .collect();
                members.sort();
                format!("{:?} {members:?}", view.link_address(link))
            })
            .collect();
        found.sort();
        told.push(format!("{found:?}"));
    };
    for client in 0..5 {
        clients(Selector6::Duid(&[0, 3, 0, 1, client]), None);
    }
    for relay in [1, 9] {
        clients(Selector6::RelayId(&[b'R', relay]), None);
    }
    for address in [
        "2001:db8:1::5",
        "2001:db8:7::5",
        "2001:db8:7:1::5",
        "2001:db8:9::1",
    ] {
        if let Some(link) = view.link_of(address.parse().unwrap()) {
            clients(Selector6::Link(link), None);
        }
    }
    assert_eq!(store.verify().problems, Vec::<String>::new());
    told
}

/// A store of those events that was opened with this topology.
fn opened_with(topology: Topology) -> (Fixture, Store) {
    let mut fixture = Fixture::new();
    fixture.topology = topology;
    let opened = fixture.open();
    store(&opened, events());
    (fixture, opened)
}

#[test]
fn a_change_is_as_an_opening_with_it() {
    let (_kept, expected) = opened_with(other());
    let (mut fixture, opened) = opened_with(topology());
    assert_ne!(told(&opened), told(&expected));
    let change = opened.change_topology(other());
    assert_eq!(
        change,
        Ok(TopologyChange {
            ranges: true,
            links: true
        })
    );
    assert_eq!(told(&opened), told(&expected));
    // Changes go on in the new places, in both stores.
    let more = || {
        vec![
            active4([10, 0, 0, 21], 77, 1).into(),
            active4([10, 0, 0, 11], 78, 1).into(),
            Event4::new([10, 0, 0, 30].into(), State::Released).into(),
            active6("2001:db8:1::99", 2, 1).into(),
            Event6::new("2001:db8:9::129".parse().unwrap(), State::Released).into(),
        ]
    };
    store(&opened, more());
    store(&expected, more());
    assert_eq!(told(&opened), told(&expected));
    // A clean stop saves them, unless VPNs are numbered in another order than an opening would.
    opened.stop().unwrap();
    fixture.topology = other();
    let again = fixture.open();
    assert_eq!(told(&again), told(&expected));
}

#[test]
fn there_and_back_again_is_saved_as_it_was() {
    let (fixture, opened) = opened_with(topology());
    let before = told(&opened);
    opened.change_topology(other()).unwrap();
    let change = opened.change_topology(topology());
    assert_eq!(
        change,
        Ok(TopologyChange {
            ranges: true,
            links: true
        })
    );
    assert_eq!(told(&opened), before);
    opened.stop().unwrap();
    assert_eq!(told(&fixture.open()), before);
}

#[test]
fn a_change_of_links_alone_is_in_the_checkpoint() {
    let (mut fixture, opened) = opened_with(topology());
    fixture.topology.links6 = other().links6;
    let change = opened.change_topology(fixture.topology.clone());
    assert_eq!(
        change,
        Ok(TopologyChange {
            ranges: false,
            links: true
        })
    );
    let before = told(&opened);
    opened.stop().unwrap();
    let again = fixture.open();
    assert!(again.reader().stats().from_checkpoint);
    assert_eq!(told(&again), before);
}

#[test]
fn walks_go_on_over_what_was_there_when_they_began() {
    let (_fixture, opened) = opened_with(topology());
    let reader = opened.reader();
    let view = reader.view();
    let link = view.link_of("2001:db8:7::1".parse().unwrap()).unwrap();
    let by_link = walk6(&view, Selector6::Link(link), &VpnSelect::All, None);
    let all = walk_all4(&view, &VpnSelect::All);
    let mut walk4 = view.walk_all4(&VpnSelect::All);
    let mut walk = view.walk6(&Selector6::Link(link), &VpnSelect::All, None);
    opened.change_topology(other()).unwrap();
    // Leased after the change, where the walk has not come to yet.
    store(&opened, vec![active4([10, 0, 0, 12], 90, 1).into()]);
    let after = reader.view();
    let (mut found, mut batch) = (Vec::new(), BatchAll4::default());
    let mut leased = false;
    loop {
        let progress = after.fill_all4(&mut walk4, &mut batch);
        for item in &batch.items {
            found.push(match item.what {
                Configured4::Bound(bind) => {
                    leased |= bind.address() == Ipv4Addr::from([10, 0, 0, 12]);
                    (bind.vpn().to_vpn(), bind.address())
                }
                Configured4::Free(vpn, address) => (vpn.to_vpn(), address),
            });
        }
        if progress == Progress::Done {
            break;
        }
    }
    let expected: Vec<_> = all
        .iter()
        .map(|(vpn, address, _)| (vpn.clone(), *address))
        .collect();
    assert_eq!(found, expected, "each address once");
    assert!(leased, "a lease is not told as free");
    let mut clients = 0;
    let mut group = Group::default();
    loop {
        match after.next_group6(&mut walk, &mut group) {
            Step6::Group => clients += 1,
            Step6::More => {}
            Step6::Done => break,
        }
    }
    assert_eq!(clients, by_link.len());
    // To the new links, the old one is none.
    assert_eq!(after.link_address(link), None);
    assert!(walk6(&after, Selector6::Link(link), &VpnSelect::All, None).is_empty());
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let (_fixture, opened) = opened_with(topology());
    let before = told(&opened);
    let mut bad = other();
    bad.ranges4[0].last = [10, 0, 0, 1].into();
    let refused = opened.change_topology(bad);
    assert!(
        matches!(refused, Err(TopologyChangeError::Topology(_))),
        "{refused:?}"
    );
    assert_eq!(told(&opened), before);
    let same = opened.change_topology(topology());
    assert_eq!(
        same,
        Ok(TopologyChange {
            ranges: false,
            links: false
        })
    );
    opened.stop().unwrap();
    let stopped = opened.change_topology(other());
    assert_eq!(stopped, Err(CommitError::Stopped.into()));
}

#[test]
fn a_compaction_after_a_change_drops_ends_from_where_they_are() {
    let (fixture, opened) = opened_with(topology());
    opened.change_topology(other()).unwrap();
    let ends = [25, 15, 200]
        .map(|host| Event4::new(Ipv4Addr::from([10, 0, 0, host]), State::Released).into());
    store(&opened, ends.to_vec());
    fixture.clock.advance(48 * 3_600 * 1_000);
    // For longer than that they would be kept.
    opened
        .change_times(
            std::time::Duration::from_secs(3_600),
            std::time::Duration::from_secs(30),
        )
        .unwrap();
    // Sealed, so that it can be compacted.
    for round in 0..60 {
        let fill = (0..250).map(|host| {
            let mut event = active4([10, 7, 0, host], host, 1);
            event.lease_time = Some(1_000_000 + round);
            event.into()
        });
        store(&opened, fill.collect());
    }
    opened.compact_now().unwrap();
    let view = opened.reader().view();
    for host in [25, 15, 200] {
        assert!(
            view.binding4(&Vpn::GLOBAL, [10, 0, 0, host].into())
                .is_none(),
            "{host}"
        );
    }
    assert!(!view.configured4(&Vpn::GLOBAL, [10, 0, 0, 200].into()));
    assert!(view.configured4(&Vpn::GLOBAL, [10, 0, 0, 25].into()));
    assert_eq!(opened.verify().problems, Vec::<String>::new());
}

/// All that walks over ranges and relay agents tell.
fn everything(store: &Store) -> (Vec<String>, Vec<String>) {
    assert_eq!(store.verify().problems, Vec::<String>::new());
    let view = store.reader().view();
    let all = walk_all4(&view, &VpnSelect::All).into_iter();
    let mut fourth: Vec<String> = all
        .map(|(vpn, address, bound)| format!("{vpn:?} {address} {bound:?}"))
        .collect();
    fourth.sort();
    let mut sixth = Vec::new();
    for relay in 0..12 {
        let relay_id = [b'R', relay];
        for (link, members) in walk6(&view, Selector6::RelayId(&relay_id), &VpnSelect::All, None) {
            let mut members: Vec<String> = members
                .iter()
                .map(|lease| format!("{} {:?}", lease.address, lease.duid))
                .collect();
            members.sort();
            sixth.push(format!("{relay} {:?} {members:?}", view.link_address(link)));
        }
    }
    sixth.sort();
    (fourth, sixth)
}

#[test]
fn changes_go_on_while_places_are_made_anew() {
    const HOSTS: u32 = 8_000;
    let mut fixture = Fixture::new();
    fixture.options.segment_size = 1 << 20;
    fixture.options.history = std::time::Duration::from_secs(1);
    let opened = fixture.open();
    let lease4 = |host: u32, client: u8, relay| {
        let [.., high, low] = host.to_be_bytes();
        active4([10, 0, high, low], client, relay)
    };
    let address6 = |host: u32| format!("2001:db8:{:x}::{host:x}", host % 12);
    let lease6 = |host: u32, client: u8, relay| active6(&address6(host), client, relay);
    for first in (0..HOSTS).step_by(500) {
        let hosts = first..first + 500;
        let fourth = hosts.clone().map(|host| lease4(host, host as u8, 1).into());
        let sixth = hosts.map(|host| lease6(host, host as u8, (host % 12) as u8).into());
        store(&opened, fourth.chain(sixth).collect());
    }
    let mut many = other();
    many.ranges4
        .push(range(Vpn::GLOBAL, [10, 0, 3, 0], [10, 0, 30, 0]));
    let done = std::sync::atomic::AtomicBool::new(false);
    let is_done = || done.load(std::sync::atomic::Ordering::SeqCst);
    let committed = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 1_u64;
            let mut random = |below: u32| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                (state >> 33) as u32 % below
            };
            for round in 0.. {
                if is_done() {
                    return;
                }
                let mut batch: Vec<Event> = Vec::new();
                for _ in 0..40 {
                    let (host, client) = (random(HOSTS + 2_000), random(250) as u8);
                    let relay = random(12) as u8;
                    batch.push(match random(5) {
                        0 => Event4::new(lease4(host, 0, 0).address, State::Released).into(),
                        1 => Event6::new(address6(host).parse().unwrap(), State::Released).into(),
                        2 => lease4(host, client, relay).into(),
                        _ => lease6(host, client, relay).into(),
                    });
                }
                store(&opened, batch);
                committed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                fixture.clock.advance(1_000);
                // Ends that are old enough go, and give their slots to others.
                if round % 16 == 15 {
                    opened.compact_now().unwrap();
                }
            }
        });
        for round in 0..6 {
            let before = committed.load(std::sync::atomic::Ordering::SeqCst);
            let topology = if round % 2 == 0 {
                many.clone()
            } else {
                topology()
            };
            opened.change_topology(topology).unwrap();
            // Not everything waited for it.
            while committed.load(std::sync::atomic::Ordering::SeqCst) < before + 4 {
                std::thread::yield_now();
            }
        }
        opened.change_topology(many.clone()).unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let expected = everything(&opened);
    assert!(expected.0.len() > 6_000 && expected.1.len() > 1_000);
    drop(opened);
    // As if it had been opened with it.
    fixture.topology = many;
    let again = fixture.open();
    assert!(!again.reader().stats().from_checkpoint);
    assert!(everything(&again) == expected);
}

#[test]
fn one_change_comes_after_the_other_and_a_stop_ends_them() {
    let (_kept, expected) = opened_with(other());
    let (_fixture, opened) = opened_with(topology());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| opened.change_topology(other()).unwrap());
            scope.spawn(|| opened.change_topology(topology()).unwrap());
        }
    });
    opened.change_topology(other()).unwrap();
    assert_eq!(told(&opened), told(&expected));
    std::thread::scope(|scope| {
        let changing = scope.spawn(|| opened.change_topology(topology()));
        opened.stop().unwrap();
        let ended = changing.join().unwrap();
        assert!(
            matches!(
                ended,
                Ok(_) | Err(TopologyChangeError::Commit(CommitError::Stopped))
            ),
            "{ended:?}"
        );
    });
}
