//! A store's worth of made-up bindings, to try leaseq on. The same number makes the same bindings, but for their times.
//!
//! Half are v4, half v6, about a thousand of each to a relay agent. Some are released, expired or abandoned; some clients
//! have several addresses, many a delegated prefix. Addresses are from 10.0.0.0/8, 2001:db8::/32 and 3fff::/20.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use leaseq_engine::Listeners;
use leaseq_feed::hex;
use leaseq_store::{Event, Event4, Event6, HwAddr, LeaseKind, Relay6, State, Store};

use crate::progress::{self, Unit};

/// Most bindings that the addresses suffice for.
pub const MOST: u64 = 30_000_000;
/// Bindings of a family to a relay agent.
const A_RELAY: u64 = 1_000;
/// Events handed to the store at a time.
const BATCH: usize = 4_096;
const LEASE_SECONDS: u32 = 86_400;
const ENTERPRISE: u32 = 3_561;

/// Puts the bindings into the store, and waits until they are there.
pub fn fill(store: &Store, bindings: u64) -> anyhow::Result<()> {
    let now = store.reader().now().seconds();
    let bar = progress::bar("making a sample", bindings, Unit::Leases);
    let v4 = (0..bindings / 2).map(|number| Event::V4(binding4(number, now)));
    let v6 = (0u64..)
        .flat_map(|subscriber| leases6(subscriber, now))
        .map(Event::V6);
    let mut events = v4.chain(v6.take((bindings - bindings / 2) as usize));
    let mut last = None;
    loop {
        let batch: Vec<Event> = events.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            break;
        }
        bar.inc(batch.len() as u64);
        // The store's queue bounds how far this runs ahead of it.
        last = Some(store.submit(batch)?);
    }
    if let Some(ticket) = last {
        ticket.wait().context("the sample cannot be stored")?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Commands to try on a sample, for a server that listens here.
pub fn commands(listeners: &Listeners) -> Vec<String> {
    let relay_id = |family| format!("--relay-id {}", hex::encode(&relay_duid(family, 0)));
    let asked = [
        (listeners.dhcp4_tcp.first(), "v4", relay_id(4)),
        (
            listeners.dhcp4_tcp.first(),
            "v4",
            format!("--remote-id text:{}", remote_name(0)),
        ),
        (listeners.dhcp4_tcp.first(), "v4", "--all".to_owned()),
        // DHCPv4 asks for an address over UDP only.
        (
            listeners.dhcp4_udp.first(),
            "v4",
            format!("--ip {} --udp", address4(0)),
        ),
        (listeners.dhcp6_tcp.first(), "v6", relay_id(6)),
        (
            listeners.dhcp6_tcp.first(),
            "v6",
            format!("--link {}", link_address(0)),
        ),
        (
            listeners.dhcp6_tcp.first(),
            "v6",
            format!("--duid {}", hex::encode(&client_duid(0))),
        ),
        (
            listeners.dhcp6_tcp.first(),
            "v6",
            format!("--ip {}", address6(0, 1)),
        ),
    ];
    let command = |(server, family, asked): (Option<&SocketAddr>, &str, String)| {
        server.map(|server| format!("leaseq query {server} {family} {asked}"))
    };
    asked.into_iter().filter_map(command).collect()
}

/// Scatters numbers evenly (splitmix64), so that states do not follow the order of addresses.
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Two of a hundred released, two expired, one abandoned.
fn state_of(draw: u64) -> State {
    match draw % 100 {
        0 | 1 => State::Released,
        2 | 3 => State::Expired,
        4 => State::Abandoned,
        _ => State::Active,
    }
}

/// Times of a lease: last transaction and start of the state.
fn times(draw: u64, state: State, now: u32) -> (u32, u32) {
    let age = (draw >> 8) as u32 % (LEASE_SECONDS / 2);
    let before = |seconds| now.saturating_sub(seconds);
    match state {
        State::Expired => (before(LEASE_SECONDS + age), before(age)),
        State::Active => (before(age), before(LEASE_SECONDS + age)),
        _ => (before(age), before(age)),
    }
}

fn address4(number: u64) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + 1 + number as u32)
}

fn relay_duid(family: u8, relay: u64) -> Vec<u8> {
    let mut duid = vec![0, 3, 0, 1, 2, 0, 0x5e, family];
    duid.extend_from_slice(&(relay as u16).to_be_bytes());
    duid
}

fn remote_name(subscriber: u64) -> String {
    format!("subscriber-{subscriber:08}")
}

/// Hardware address of a client: locally administered, never one of a relay agent.
fn hardware_address(client: u64) -> [u8; 6] {
    let [.., a, b, c, d] = client.to_be_bytes();
    [0x02, 0x5e, a, b, c, d]
}

fn binding4(number: u64, now: u32) -> Event4 {
    let draw = scattered(number);
    // The first binding is active, for the commands to try.
    let state = if number == 0 {
        State::Active
    } else {
        state_of(draw)
    };
    // Every fortieth binding is the second address of the client before it.
    let client = if number % 40 == 39 {
        number - 1
    } else {
        number
    };
    let hwaddr = hardware_address(client);
    let (cltt, state_since) = times(draw, state, now);
    let mut event = Event4::new(address4(number), state);
    event.cltt = Some(cltt);
    event.state_since = Some(state_since);
    if state == State::Abandoned {
        return event;
    }
    let mut relay_agent_info = Vec::with_capacity(64);
    let port = format!("eth0/1:{}", client % 97);
    let subs = [
        (1, port.into_bytes()),
        (2, remote_name(client).into_bytes()),
        (12, relay_duid(4, number / A_RELAY)),
    ];
    for (code, value) in subs {
        relay_agent_info.extend_from_slice(&[code, value.len() as u8]);
        relay_agent_info.extend_from_slice(&value);
    }
    event.hwaddr = Some(HwAddr {
        htype: 1,
        octets: hwaddr[..].into(),
    });
    event.client_id = Some([&[1][..], &hwaddr].concat());
    event.lease_time = Some(LEASE_SECONDS);
    event.t1 = Some(LEASE_SECONDS / 2);
    event.t2 = Some(LEASE_SECONDS / 8 * 7);
    event.relay_agent_info = Some(relay_agent_info);
    event.options = Some(vec![(12, format!("cpe-{client:08}").into_bytes())]);
    event
}

/// Link-address of a v6 relay agent: its link is the /64 around it.
fn link_address(relay: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).to_bits() | u128::from(relay) << 64,
    )
}

fn address6(subscriber: u64, nth: u64) -> Ipv6Addr {
    let host = nth << 32 | (subscriber + 1);
    Ipv6Addr::from_bits(link_address(subscriber / A_RELAY).to_bits() & !1 | u128::from(host))
}

fn delegated_prefix(subscriber: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(0x3fffu16) << 112 | u128::from(subscriber + 1) << 72)
}

fn client_duid(subscriber: u64) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &hardware_address(subscriber)].concat()
}

fn leases6(subscriber: u64, now: u32) -> impl Iterator<Item = Event6> {
    let draw = scattered(!subscriber);
    let mut keys = vec![(LeaseKind::Na, address6(subscriber, 1), 128)];
    if draw.is_multiple_of(20) {
        keys.push((LeaseKind::Na, address6(subscriber, 2), 128));
    }
    // The first subscriber has a prefix, for the commands to try.
    if subscriber == 0 || (draw >> 32) % 10 < 6 {
        keys.push((LeaseKind::Pd, delegated_prefix(subscriber), 56));
    }
    keys.into_iter()
        .zip(0u32..)
        .map(move |((kind, address, prefix_len), nth)| {
            let draw = scattered(draw.wrapping_add(u64::from(nth)));
            let state = if subscriber == 0 {
                State::Active
            } else {
                state_of(draw)
            };
            let (cltt, state_since) = times(draw, state, now);
            let mut event = Event6::new(address, state);
            event.kind = kind;
            event.prefix_len = prefix_len;
            event.iaid = Some(nth + 1);
            event.cltt = Some(cltt);
            event.state_since = Some(state_since);
            if state == State::Abandoned {
                return event;
            }
            event.duid = Some(client_duid(subscriber));
            event.preferred_lifetime = Some(LEASE_SECONDS / 2);
            event.valid_lifetime = Some(LEASE_SECONDS);
            event.relay = Some(vec![relay6(subscriber)]);
            event
        })
}

fn relay6(subscriber: u64) -> Relay6 {
    let relay = subscriber / A_RELAY;
    let mut options = Vec::with_capacity(80);
    let remote = [
        &ENTERPRISE.to_be_bytes()[..],
        remote_name(subscriber).as_bytes(),
    ]
    .concat();
    let interface = format!("eth0/1:{}", subscriber % 97).into_bytes();
    for (code, value) in [(18u16, interface), (37, remote), (53, relay_duid(6, relay))] {
        options.extend_from_slice(&code.to_be_bytes());
        options.extend_from_slice(&(value.len() as u16).to_be_bytes());
        options.extend_from_slice(&value);
    }
    let [.., a, b, c, d] = subscriber.to_be_bytes();
    let interface_id = u128::from_be_bytes([0, 0, 0, 0, 0, 0, 0, 0, 2, 0x5e, 0, 0xff, a, b, c, d]);
    let peer = Ipv6Addr::from_bits(u128::from(0xfe80u16) << 112 | interface_id);
    Relay6 {
        link: link_address(relay),
        peer,
        options,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const NOW: u32 = 1_790_000_000;

    #[test]
    fn every_event_is_good_and_no_address_comes_twice() {
        let mut seen4 = HashSet::new();
        let mut states = HashSet::new();
        for number in (0..5_000).chain([MOST / 2 - 1]) {
            let event = binding4(number, NOW);
            event.check().expect("a good event");
            states.insert(event.state);
            assert!(seen4.insert(event.address), "{}", event.address);
        }
        assert_eq!(states.len(), 4);
        let mut seen6 = HashSet::new();
        for subscriber in (0..5_000).chain([MOST / 2 - 1]) {
            for event in leases6(subscriber, NOW) {
                event.check().expect("a good event");
                assert!(
                    seen6.insert((event.address, event.prefix_len)),
                    "{}",
                    event.address
                );
            }
        }
        assert!(seen6.len() > 7_000, "some clients have several leases");
    }

    #[test]
    fn a_relay_has_about_a_thousand_bindings() {
        let relay_of = |number| {
            binding4(number, NOW)
                .relay_agent_info
                .map(|info| info[info.len() - 2..].to_vec())
        };
        assert_eq!(relay_of(10), relay_of(20));
        assert_ne!(relay_of(10), relay_of(1_010));
    }
}
