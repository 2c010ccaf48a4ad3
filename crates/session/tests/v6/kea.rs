//! The same questions on the same leases get the same answers as from ISC Kea 3.3, but for what the RFCs ask otherwise:
//! Kea puts one lease in each CLIENT_DATA (RFC 5460 §5.2.1: one client on one link), a Success status in each reply, relay
//! data whatever the ORO says, and leases into answers by relay-id that are over; it does not look for the delegated prefix
//! around an address that is one itself, calls bulk query types over UDP unknown instead of not allowed (RFC 5460 §4),
//! begins relay data with the client's address where the relay agent's belongs (RFC 5007 §4.1.2.4), and does not count a
//! preferred lifetime down that is over.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::*;
use leaseq_store::{Event, LinkConfig, Prefix6, Topology};
use leaseq_wire::v6::{ClientData, Message, Status, message_type, option_code};
use serde_json::Value;

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/tests/vectors/kea-3.3");

struct Exchange {
    name: String,
    udp: bool,
    time: u32,
    request: Vec<u8>,
    replies: Vec<Vec<u8>>,
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn exchanges() -> Vec<Exchange> {
    let lines = std::fs::read_to_string(Path::new(VECTORS).join("exchanges.ndjson")).unwrap();
    let exchanges: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let exchanges: Vec<_> = exchanges
        .iter()
        .filter(|exchange| exchange["family"] == 6)
        .map(|exchange| Exchange {
            name: exchange["name"].as_str().unwrap().to_owned(),
            udp: exchange["transport"] == "udp",
            time: u32::try_from(exchange["time"].as_u64().unwrap()).unwrap(),
            request: hex(&exchange["requests"][0]),
            replies: exchange["replies"]
                .as_array()
                .unwrap()
                .iter()
                .map(hex)
                .collect(),
        })
        .collect();
    assert!(exchanges.len() > 15);
    exchanges
}

/// The links that Kea had, and its leases, at the time of an exchange.
fn site(time: u32) -> Site {
    let prefix = |address: &str, len| Prefix6 {
        address: ip(address),
        len,
    };
    let link = |n: u16| LinkConfig {
        name: format!("subnet-{n}"),
        prefixes: vec![prefix(&format!("2001:db8:{n}::"), 48)],
        // Kea knows the subnet of each lease; here a delegated prefix without relay data tells its link.
        delegated: (n..=40)
            .step_by(4)
            .map(|client| prefix(&format!("3fff:0:0:{:x}::", client << 8), 56))
            .collect(),
    };
    let site = Site::at(
        time,
        Topology {
            links6: (1..=4).map(link).collect(),
            ..Topology::default()
        },
    );
    let leases = leaseq_feed::kea::read6(&Path::new(VECTORS).join("kea-leases6.csv"), 0).unwrap();
    let events = leases.map(|event| match event.unwrap() {
        Event::V6(event) => event,
        other => panic!("{other:?} in a lease file of DHCPv6"),
    });
    site.add(events);
    site
}

/// A client's leases with preferred and valid lifetime, and when it was last heard of.
type Clients = BTreeMap<Vec<u8>, (Leases, u32)>;

/// What Kea told, its clients put together again; the first status that is not Success.
fn by_kea(replies: &[Vec<u8>]) -> (Clients, Option<u16>) {
    let mut clients = Clients::new();
    let mut failure = None;
    for octets in replies {
        let message = Message::parse(octets).unwrap();
        if let Some(status) = message.option(option_code::STATUS_CODE) {
            let code = Status::parse(status).unwrap().code;
            failure = failure.or(Some(code).filter(|&code| code != 0));
        }
        for (_, value) in message
            .iter()
            .filter(|(code, _)| *code == option_code::CLIENT_DATA)
        {
            let client = ClientData::parse(value).unwrap();
            let clt_time = client.clt_time().unwrap();
            let told = clients
                .entry(client.client_id().unwrap().to_vec())
                .or_insert((Leases::new(), clt_time));
            told.1 = told.1.min(clt_time);
            for lease in client.leases().map(Result::unwrap) {
                told.0
                    .insert(lease.prefix(), (lease.preferred(), lease.valid()));
            }
        }
    }
    (clients, failure)
}

/// What we tell.
fn by_us(replies: &[Reply]) -> (Clients, Option<u16>) {
    let mut clients = Clients::new();
    for told in replies.iter().filter_map(|reply| reply.client.clone()) {
        let clt_time = told.clt_time.unwrap();
        let none_yet = clients.insert(told.duid, (told.leases, clt_time));
        assert_eq!(none_yet, None, "these clients are on one link each");
    }
    (clients, replies.iter().find_map(|reply| reply.status))
}

fn answer(site: &Site, exchange: &Exchange) -> Vec<Reply> {
    if exchange.udp {
        let reply = site.datagram(&exchange.request);
        return reply.iter().map(|octets| Reply::read(octets)).collect();
    }
    let mut pair = site.connect();
    pair.send_message(&exchange.request);
    pair.replies()
}

fn assert_alike(ours: &Clients, keas: &Clients, name: &str) {
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        keas.keys().collect::<Vec<_>>(),
        "{name}"
    );
    for (duid, (leases, clt_time)) in ours {
        let (kea_leases, kea_clt_time) = &keas[duid];
        assert!(
            clt_time.abs_diff(*kea_clt_time) <= 1,
            "{name}: last transaction of {duid:x?}"
        );
        // Kea answers a query by address with that lease, the RFC with all the client has on the link.
        if !name.starts_with("by address") {
            let keys: Vec<_> = leases.keys().collect();
            assert_eq!(
                keys,
                kea_leases.keys().collect::<Vec<_>>(),
                "{name}: {duid:x?}"
            );
        }
        for (lease, (kea_preferred, kea_valid)) in kea_leases {
            let (preferred, valid) = &leases[lease];
            let alike = *preferred == 0 || preferred.abs_diff(*kea_preferred) <= 1;
            assert!(alike, "{name}: {lease:?}");
            assert!(valid.abs_diff(*kea_valid) <= 1, "{name}: {lease:?}");
        }
    }
}

#[test]
fn the_same_is_told_of_the_same_leases() {
    for exchange in exchanges() {
        let name = exchange.name.as_str();
        let site = site(exchange.time);
        let replies = answer(&site, &exchange);
        let (ours, failure) = by_us(&replies);
        let (keas, kea_failure) = by_kea(&exchange.replies);
        match name {
            "active query" => {
                // Kea closes without a word; RFC 7653 §9.2 has a status for this.
                assert_eq!((replies.len(), failure), (1, Some(14)));
            }
            "by relay-id over UDP" => {
                assert_eq!((failure, kea_failure), (Some(10), Some(7)), "{name}");
            }
            "by address inside a delegated prefix" => {
                assert_eq!((failure, kea_failure), (None, Some(9)), "{name}");
                let address = (ip("3fff:0:0:200::"), 56);
                assert!(
                    ours.values()
                        .all(|(leases, _)| leases.contains_key(&address))
                );
                assert_eq!(ours.len(), 1);
            }
            _ => {
                assert_eq!(failure, kea_failure, "{name}");
                assert_alike(&ours, &keas, name);
            }
        }
        if keas.is_empty() && exchange.replies.is_empty() {
            assert!(replies.is_empty() || name == "active query", "{name}");
        }
        for reply in &replies {
            let kinds = [
                message_type::LEASEQUERY_REPLY,
                message_type::LEASEQUERY_DATA,
                message_type::LEASEQUERY_DONE,
            ];
            assert!(kinds.contains(&reply.message_type));
        }
    }
}

#[test]
fn relay_data_is_what_kea_stored() {
    let exchanges = exchanges();
    let asked = exchanges
        .iter()
        .find(|exchange| exchange.name == "by relay-id, relay data asked for")
        .unwrap();
    let mut keas = BTreeMap::new();
    for octets in &asked.replies {
        let message = Message::parse(octets).unwrap();
        if let Some(value) = message.option(option_code::CLIENT_DATA) {
            let client = ClientData::parse(value).unwrap();
            let relay_data = client.options.find(option_code::LQ_RELAY_DATA).unwrap();
            keas.insert(
                client.client_id().unwrap().to_vec(),
                relay_data[16..].to_vec(),
            );
        }
    }
    let ours: BTreeMap<_, _> = answer(&site(asked.time), asked)
        .into_iter()
        .filter_map(|reply| reply.client)
        .map(|client| {
            (
                client.duid,
                client.relay_data.expect("relay data")[16..].to_vec(),
            )
        })
        .collect();
    assert_eq!(ours, keas);
}
