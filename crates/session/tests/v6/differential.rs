//! The same query answered by the server, and by a plain look at every lease.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use crate::support::*;
use leaseq_store::{Event6, LeaseKind, Relay6, State, Vpn};
use proptest::collection::vec;
use proptest::prelude::*;

/// Which lease: a few addresses and prefixes on each link, in two VPNs, so that leases change hands.
fn place() -> impl Strategy<Value = (Vpn, u8, Ipv6Addr, u8)> {
    let vpn = prop_oneof![3 => Just(Vpn::GLOBAL), 1 => Just(Vpn::named("red"))];
    (vpn, 1_u8..4, 0_u16..12, any::<bool>()).prop_map(|(vpn, link, n, is_prefix)| {
        if is_prefix {
            (vpn, link, ip(&format!("3fff:{link:x}{n:02x}::")), 32)
        } else {
            (vpn, link, ip(&format!("2001:db8:{link}::{n:x}")), 128)
        }
    })
}

fn lease() -> impl Strategy<Value = Event6> {
    let state = prop_oneof![
        4 => Just(State::Active),
        1 => Just(State::Released),
        1 => Just(State::Expired),
        1 => Just(State::Abandoned),
    ];
    let relays = vec((1_u8..4, 0_u32..6), 1..3);
    (place(), 0_u32..6, state, 0_u32..1_000, relays).prop_map(
        |((vpn, link, address, prefix_len), client, state, age, relays)| {
            let relay = relays
                .iter()
                .map(|&(id, circuit)| Relay6 {
                    options: [option(53, &relay_id(id)), option(37, &remote_id(circuit))].concat(),
                    ..relay(link, 0)
                })
                .collect();
            Event6 {
                vpn,
                prefix_len,
                kind: if prefix_len == 128 {
                    LeaseKind::Na
                } else {
                    LeaseKind::Pd
                },
                duid: Some(duid(client)),
                iaid: Some(1),
                cltt: Some(NOW - 1 - age),
                state_since: Some(NOW - 1 - age),
                preferred_lifetime: Some(600),
                valid_lifetime: Some(2_000),
                relay: Some(relay),
                ..Event6::new(address, state)
            }
        },
    )
}

/// Link of an address or prefix that [`place`] made.
fn link_of(event: &Event6) -> u8 {
    let segments = event.address.segments();
    if event.prefix_len == 128 {
        u8::try_from(segments[2]).unwrap()
    } else {
        u8::try_from(segments[1] >> 8).unwrap()
    }
}

#[derive(Clone, Debug)]
enum Ask {
    Address(Ipv6Addr),
    ClientId(u32),
    RelayId(u8),
    Link(u8),
    RemoteId(u32),
}

#[derive(Clone, Debug)]
struct Question {
    ask: Ask,
    link: Option<u8>,
    /// Seconds before [`NOW`]: start and end.
    window: Option<(u32, u32)>,
    vpn: Option<&'static [u8]>,
}

impl Question {
    fn request(&self) -> Request {
        let mut request = match self.ask {
            Ask::Address(address) => by_address(&address.to_string()),
            Ask::ClientId(client) => by_client_id(client),
            Ask::RelayId(n) => by_relay_id(n),
            Ask::Link(n) => by_link(&format!("2001:db8:{n}::1")),
            Ask::RemoteId(n) => by_remote_id(n),
        };
        if let Some(link) = self.link {
            request = request.on_link(&format!("2001:db8:{link}::1"));
        }
        if let Some((start, end)) = self.window {
            request = request.since(NOW_2000 - start).until(NOW_2000 - end);
        }
        if let Some(vss) = self.vpn {
            request = request.with(68, vss);
        }
        request
    }

    fn selects(&self, lease: &Event6) -> bool {
        let behind = |code, value: &[u8]| {
            let wanted = option(code, value);
            lease.relay.iter().flatten().any(|relay| {
                relay
                    .options
                    .windows(wanted.len())
                    .any(|octets| octets == wanted)
            })
        };
        match self.ask {
            Ask::Address(address) => {
                let mask = u128::MAX << (128 - u32::from(lease.prefix_len));
                address.to_bits() & mask == lease.address.to_bits()
            }
            Ask::ClientId(client) => lease.duid == Some(duid(client)),
            Ask::RelayId(n) => behind(53, &relay_id(n)),
            Ask::Link(n) => link_of(lease) == n,
            Ask::RemoteId(n) => behind(37, &remote_id(n)),
        }
    }
}

fn question() -> impl Strategy<Value = Question> {
    let ask = prop_oneof![
        place().prop_map(|(_, _, address, _)| Ask::Address(address)),
        (0_u32..6).prop_map(Ask::ClientId),
        (1_u8..4).prop_map(Ask::RelayId),
        (1_u8..4).prop_map(Ask::Link),
        (0_u32..6).prop_map(Ask::RemoteId),
    ];
    let vpn = prop_oneof![
        3 => Just(None),
        1 => Just(Some(&b"\0red"[..])),
        1 => Just(Some(&[254_u8][..])),
    ];
    let window = proptest::option::of((1_u32..1_100, 1_u32..1_100));
    (ask, proptest::option::of(1_u8..4), window, vpn).prop_map(|(ask, link, window, vpn)| {
        let link = if matches!(ask, Ask::Link(_)) {
            None
        } else {
            link
        };
        Question {
            ask,
            link,
            window,
            vpn,
        }
    })
}

/// VPN, client, link, and the leases told of it.
type Expected = BTreeSet<(Vec<u8>, Vec<u8>, Vec<(Ipv6Addr, u8)>)>;

fn expected(events: &[Event6], question: &Question) -> Expected {
    let mut leases = BTreeMap::new();
    for event in events {
        leases.insert(
            (event.vpn.vss().to_vec(), event.address, event.prefix_len),
            event,
        );
    }
    let mut clients: BTreeMap<_, Vec<&Event6>> = BTreeMap::new();
    for lease in leases.into_values() {
        let vpn = lease.vpn.vss();
        let asked = match question.vpn {
            None => vpn.is_empty(),
            Some([254]) => true,
            Some(vss) => vpn == vss,
        };
        if asked && question.link.is_none_or(|link| link == link_of(lease)) {
            let client = (vpn.to_vec(), lease.duid.clone().unwrap(), link_of(lease));
            clients.entry(client).or_default().push(lease);
        }
    }
    clients
        .into_iter()
        .filter(|(_, leases)| {
            leases
                .iter()
                .any(|lease| lease.state == State::Active && question.selects(lease))
                && question.window.is_none_or(|(start, end)| {
                    // All were committed at NOW, which no window reaches.
                    let window = NOW - start..=NOW - end;
                    leases
                        .iter()
                        .any(|lease| window.contains(&lease.cltt.unwrap()))
                })
        })
        .map(|((vpn, duid, _), leases)| {
            let live = leases.iter().filter(|lease| lease.state == State::Active);
            (
                vpn,
                duid,
                live.map(|lease| (lease.address, lease.prefix_len))
                    .collect(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn answers_hold_what_a_look_at_every_lease_finds(
        events in vec(lease(), 1..80),
        questions in vec(question(), 30),
        batch in 1_usize..20,
    ) {
        let site = Site::new();
        for events in events.chunks(batch) {
            site.add(events.iter().cloned());
        }
        for question in &questions {
            let replies = site.bulk(&question.request());
            let clients = told(&replies);
            let told: Expected = replies
                .iter()
                .filter_map(|reply| Some((reply.vss.clone(), reply.client.as_ref()?)))
                .map(|(vss, client)| {
                    let leases = client.leases.keys().copied().collect();
                    (vss.unwrap_or_default(), client.duid.clone(), leases)
                })
                .collect();
            prop_assert_eq!(clients.len(), told.len(), "a client on a link twice");
            prop_assert_eq!(told, expected(&events, question), "{:?}", question);
        }
    }
}
