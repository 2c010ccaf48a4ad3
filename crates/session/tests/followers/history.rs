//! Random histories: the events of a small network, in which everything happens to the same few addresses and clients.

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_store::{
    Event, Event4, Event6, Group, HwAddr, INFINITE, LeaseKind, Link6, LinkConfig, Prefix6, Range4,
    Relay6, Selector6, State, Step6, Topology, View, Vpn, VpnSelect,
};
use rand::RngExt;
use rand::rngs::StdRng;

/// Relay agents, and as many circuits.
pub const RELAYS: u8 = 4;
const CLIENTS: u8 = 7;
const ADDRESSES: u8 = 16;
/// Those of them that a configured link has.
const CONFIGURED: u16 = 4;

/// VSS information of the VPN beside the global one.
pub fn red() -> Vpn {
    Vpn::named("red")
}

pub fn topology() -> Topology {
    let prefix = |text: &str, len| Prefix6 {
        address: text.parse().expect("an address"),
        len,
    };
    let link = |name: &str, on: &str, delegated: &str| LinkConfig {
        name: name.to_owned(),
        prefixes: vec![prefix(on, 48)],
        delegated: vec![prefix(delegated, 36)],
    };
    Topology {
        ranges4: vec![Range4 {
            vpn: Vpn::GLOBAL,
            first: address4(0),
            last: address4(ADDRESSES / 2),
        }],
        links6: vec![
            link("one", "2001:db8:1::", "2001:db8:1000::"),
            link("two", "2001:db8:2::", "2001:db8:2000::"),
        ],
    }
}

pub fn relay_id4(relay: u8) -> Vec<u8> {
    vec![b'R', relay]
}

pub fn remote_id4(circuit: u8) -> Vec<u8> {
    vec![b'c', b'i', b'r', circuit]
}

pub fn relay_id6(relay: u8) -> Vec<u8> {
    vec![0, 3, 0, 1, b'R', relay]
}

/// Value of the remote-id option: enterprise number, then the identifier.
pub fn remote_id6(circuit: u8) -> Vec<u8> {
    vec![0, 0, 0, 9, circuit]
}

pub fn duid(client: u8) -> Vec<u8> {
    vec![0, 3, 0, 1, 2, 0x5e, client]
}

/// Link-address of a relay agent: two links are configured, the others are known by what relay agents tell.
pub fn link_address(link: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, u16::from(link) + 1, 0, 0, 0, 0, 1)
}

pub fn address4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// Addresses, and prefixes with their lengths. A few are those of a configured link: their relay agents tell one too.
pub fn lease6(number: u8) -> (Ipv6Addr, u8) {
    let number = u16::from(number % ADDRESSES);
    let is_configured = number < CONFIGURED;
    match number % 4 {
        3 => {
            let pool = if is_configured { 0x1000 } else { 0xf000 };
            let prefix = Ipv6Addr::new(0x2001, 0xdb8, pool, number << 8, 0, 0, 0, 0);
            (prefix, 56)
        }
        _ => {
            let net = if is_configured { 1 } else { 0xf };
            (Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, number), 128)
        }
    }
}

/// Options of a client: seldom any, sometimes large ones.
fn options(rng: &mut StdRng, large: bool) -> usize {
    match rng.random_range(0..6) {
        _ if large => rng.random_range(200..250),
        0 => rng.random_range(1..40),
        _ => 0,
    }
}

/// One event of an IPv4 address.
pub fn event4(rng: &mut StdRng, view: &View, now: u32, large: bool) -> Event {
    let address = address4(rng.random_range(0..ADDRESSES));
    let vpn = match rng.random_range(0..5) {
        0 => red(),
        _ => Vpn::GLOBAL,
    };
    let stored = view.binding4(&vpn, address).map(|bind| bind.to_event());
    let event = match (rng.random_range(0..10), stored) {
        (0..=2, Some(stored)) if stored.state == State::Active => Event4 {
            cltt: Some(now),
            ..stored
        },
        (3..=5, Some(stored)) if stored.state == State::Active => Event4 {
            cltt: Some(now),
            relay_agent_info: relay_info(rng),
            ..stored
        },
        (0..=6, _) => {
            let client = rng.random_range(0..CLIENTS);
            let length = options(rng, large);
            Event4 {
                vpn,
                hwaddr: Some(HwAddr {
                    htype: 1,
                    octets: [2, 0, 0x5e, 0, 0, client].as_slice().into(),
                }),
                client_id: (client % 3 > 0).then(|| vec![1, 2, 0, 0x5e, 0, 0, client]),
                cltt: Some(now),
                lease_time: Some(lifetime(rng)),
                relay_agent_info: relay_info(rng),
                options: (length > 0).then(|| vec![(12, vec![b'h'; length])]),
                ..Event4::new(address, State::Active)
            }
        }
        _ => {
            let states = [
                State::Released,
                State::Released,
                State::Abandoned,
                State::Available,
                State::Reset,
            ];
            let state = states[rng.random_range(0..states.len())];
            Event4 {
                vpn,
                cltt: rng.random_bool(0.5).then_some(now),
                // An end may name no relay agent, another one, or say that there is none.
                relay_agent_info: match rng.random_range(0..6) {
                    0 => relay_info(rng),
                    1 => Some(Vec::new()),
                    _ => None,
                },
                ..Event4::new(address, state)
            }
        }
    };
    Event::V4(event)
}

fn lifetime(rng: &mut StdRng) -> u32 {
    match rng.random_range(0..5) {
        0 => INFINITE,
        1 => rng.random_range(1..20),
        _ => rng.random_range(20..900),
    }
}

/// Option 82 with a circuit-id, and mostly remote-id and relay-id.
fn relay_info(rng: &mut StdRng) -> Option<Vec<u8>> {
    let mut octets = vec![1, 1, b'x'];
    let mut put = |code: u8, value: Vec<u8>| {
        octets.extend([code, value.len() as u8]);
        octets.extend(value);
    };
    let kind = rng.random_range(0..12);
    if kind == 0 {
        return None;
    }
    if kind != 1 {
        put(2, remote_id4(rng.random_range(0..RELAYS)));
    }
    if kind != 2 {
        put(12, relay_id4(rng.random_range(0..RELAYS)));
    }
    Some(octets)
}

/// Events of an IPv6 client: one lease, or all that it has on a link. `mixed`: these may be behind different relay agents.
pub fn events6(rng: &mut StdRng, view: &View, now: u32, large: bool, mixed: bool) -> Vec<Event> {
    let (address, prefix_len) = lease6(rng.random_range(0..ADDRESSES));
    let vpn = match rng.random_range(0..6) {
        0 => red(),
        _ => Vpn::GLOBAL,
    };
    let stored = stored6(view, &vpn, address, prefix_len);
    let active = stored
        .as_ref()
        .is_some_and(|stored| stored.state == State::Active);
    let events = match (rng.random_range(0..12), stored) {
        // A renewal.
        (0..=1, Some(stored)) if active => vec![Event6 {
            cltt: Some(now),
            ..stored
        }],
        // The client moves with all that it has there.
        (2..=5, Some(stored)) if active => {
            let mut leases = all_of(view, &stored);
            if mixed && rng.random_bool(0.5) {
                leases = vec![stored.clone()];
            }
            let configured = leases
                .iter()
                .any(|lease| view.knows_address6(lease.address));
            let (link, relay) = place(rng, configured);
            // To where it has leases already, it comes as those did.
            let there = Event6 {
                link: link.or_else(|| relay.as_deref().map(link_of)),
                ..stored.clone()
            };
            let there = all_of(view, &there).into_iter().next();
            let (link, relay) = match there {
                Some(there) if !mixed && there.link != stored.link => (there.link, there.relay),
                _ => (link, relay),
            };
            let moved = |lease| Event6 {
                cltt: Some(now),
                link,
                relay: relay.clone(),
                ..lease
            };
            leases.into_iter().map(moved).collect()
        }
        (0..=8, _) => {
            let length = options(rng, large);
            let valid = lifetime(rng);
            let (link, relay) = place(rng, view.knows_address6(address));
            let lease = Event6 {
                vpn,
                prefix_len,
                kind: kind(prefix_len),
                duid: Some(duid(rng.random_range(0..CLIENTS))),
                iaid: Some(u32::from(prefix_len)),
                link: link.or_else(|| relay.as_deref().map(link_of)),
                cltt: Some(now),
                preferred_lifetime: Some(valid / 2),
                valid_lifetime: Some(valid),
                relay,
                options: (length > 0).then(|| vec![(39, vec![b'h'; 2 * length])]),
                ..Event6::new(address, State::Active)
            };
            let relay = match all_of(view, &lease).into_iter().next() {
                Some(other) if !mixed => other.relay,
                _ => lease.relay,
            };
            vec![Event6 { relay, ..lease }]
        }
        _ => {
            let states = [State::Released, State::Abandoned, State::Available];
            vec![Event6 {
                vpn,
                prefix_len,
                kind: kind(prefix_len),
                cltt: rng.random_bool(0.5).then_some(now),
                duid: rng.random_bool(0.1).then(Vec::new),
                ..Event6::new(address, states[rng.random_range(0..states.len())])
            }]
        }
    };
    events.into_iter().map(Event::V6).collect()
}

fn kind(prefix_len: u8) -> LeaseKind {
    if prefix_len < 128 {
        LeaseKind::Pd
    } else {
        LeaseKind::Na
    }
}

/// Where a client is: a link, told by its relay agent or by none.
fn place(rng: &mut StdRng, configured: bool) -> (Option<Link6>, Option<Vec<Relay6>>) {
    if !configured && rng.random_range(0..12) == 0 {
        return (Some(Link6::Unknown), None);
    }
    let mut options = Vec::new();
    let mut put = |code: u8, value: Vec<u8>| {
        options.extend([0, code, 0, value.len() as u8]);
        options.extend(value);
    };
    // A relay agent is mostly on one link.
    let relay = rng.random_range(0..RELAYS);
    let link = match rng.random_range(0..6) {
        0 => rng.random_range(0..RELAYS),
        _ => relay,
    };
    let link = if configured { link % 2 } else { link };
    put(53, relay_id6(relay));
    if rng.random_bool(0.7) {
        put(37, remote_id6(rng.random_range(0..RELAYS)));
    }
    let near = Relay6 {
        link: link_address(link),
        peer: "fe80::1".parse().expect("an address"),
        options,
    };
    let mut relays = vec![near];
    if rng.random_bool(0.2) {
        let outer = rng.random_range(0..RELAYS);
        let mut options = vec![0, 53, 0, 6];
        options.extend(relay_id6(outer));
        relays.insert(
            0,
            Relay6 {
                link: Ipv6Addr::UNSPECIFIED,
                peer: "fe80::2".parse().expect("an address"),
                options,
            },
        );
    }
    (None, Some(relays))
}

/// The link that a relay chain tells.
fn link_of(relays: &[Relay6]) -> Link6 {
    relays
        .last()
        .map_or(Link6::Unknown, |relay| Link6::Address(relay.link))
}

fn stored6(view: &View, vpn: &Vpn, address: Ipv6Addr, prefix_len: u8) -> Option<Event6> {
    let lease = view.lease6(vpn, address)?;
    ((lease.address(), lease.prefix_len()) == (address, prefix_len)).then(|| lease.to_event())
}

/// The ACTIVE leases of a lease's client on its link.
fn all_of(view: &View, lease: &Event6) -> Vec<Event6> {
    let duid = lease.duid.as_deref().unwrap_or_default();
    let vpn = VpnSelect::One(lease.vpn.clone());
    let mut walk = view.walk6(&Selector6::Duid(duid), &vpn, None);
    let mut group = Group::default();
    let mut all = Vec::new();
    loop {
        match view.next_group6(&mut walk, &mut group) {
            Step6::Group => {
                let there = group.members.iter().filter(|member| {
                    member.state() == State::Active && Some(member.link()) == lease.link
                });
                all.extend(there.map(|member| member.to_event()));
            }
            Step6::More => {}
            Step6::Done => return all,
        }
    }
}
