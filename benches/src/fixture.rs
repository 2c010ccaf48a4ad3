//! A store as an ISP has it, made up but for its shape: relays with a thousand subscribers each.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use leaseq_session::{ActiveSettings, Dhcp4Settings, Limits, ReplyTo, RequestorRule, Settings};
use leaseq_store::{
    Event, Event4, Event6, HwAddr, Link6, Options, Range4, Relay6, State, Store, Ticket, Topology,
    Vpn,
};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::{OutBuf, frame, v4, v6};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

/// Bindings of one relay.
pub const PER_RELAY: u32 = 1_000;
/// First address of the one configured range.
const FIRST4: u32 = 0x0a00_0000;
/// Events submitted at a time.
const BATCH: usize = 10_000;
/// Batches submitted before the oldest of them is waited for.
const WINDOW: usize = 8;

/// Where the records of a walk lie in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order of the walk, as after an import.
    Log,
    /// Anywhere, as when clients renew one by one.
    Random,
}

/// Address number `n` of the range.
pub fn address4(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST4 + n)
}

/// Address of IPv6 lease number `n`.
pub fn address6(n: u32) -> Ipv6Addr {
    let relay = n / PER_RELAY;
    Ipv6Addr::new(
        0x2001,
        0xdb8,
        relay as u16,
        0,
        0,
        0,
        0,
        (n % PER_RELAY) as u16 + 1,
    )
}

/// DUID of relay number `relay`.
pub fn relay_id(relay: u32) -> [u8; 10] {
    let mut id = [0, 3, 0, 1, 2, 0, 0, 0, 0, 0];
    id[6..].copy_from_slice(&relay.to_be_bytes());
    id
}

/// DHCPv4 binding number `n`: Ethernet address, client identifier, circuit-id, remote-id and relay-id, a host name.
pub fn event4(n: u32) -> Event {
    let mac = [&[2, 0][..], &n.to_be_bytes()].concat();
    let relay = relay_id(n / PER_RELAY);
    let circuit = format!("xe-0/1/{}:{}.{}", n % 8, n / 8 % 100, n % PER_RELAY);
    let mut info = vec![v4::suboption::CIRCUIT_ID, circuit.len() as u8];
    info.extend_from_slice(circuit.as_bytes());
    info.extend_from_slice(&[v4::suboption::REMOTE_ID, 6]);
    info.extend_from_slice(&mac);
    info.extend_from_slice(&[v4::suboption::RELAY_ID, relay.len() as u8]);
    info.extend_from_slice(&relay);
    Event::V4(Event4 {
        hwaddr: Some(HwAddr {
            htype: 1,
            octets: mac.iter().copied().collect(),
        }),
        client_id: Some([&[1][..], &mac].concat()),
        lease_time: Some(86_400),
        t1: Some(43_200),
        t2: Some(75_600),
        relay_agent_info: Some(info),
        options: Some(vec![(12, format!("cpe{n:08}").into_bytes())]),
        ..Event4::new(address4(n), State::Active)
    })
}

/// Number of the relay that all DHCPv6 clients are behind, beside their own.
pub const AGGREGATE: u32 = u32::MAX;

/// DHCPv6 lease number `n`: one address of one client behind its own relay agent and one that all share.
pub fn event6(n: u32) -> Event {
    let relay = relay_id(n / PER_RELAY);
    let link = Ipv6Addr::new(0x2001, 0xdb8, (n / PER_RELAY) as u16, 0, 0, 0, 0xffff, 1);
    let mut options = vec![0, v6::option_code::RELAY_ID as u8, 0, relay.len() as u8];
    options.extend_from_slice(&relay);
    options.extend_from_slice(&[0, v6::option_code::REMOTE_ID as u8, 0, 10, 0, 0, 0x01, 0x37]);
    options.extend_from_slice(&[0, 0]);
    options.extend_from_slice(&n.to_be_bytes());
    let interface = format!("xe-0/1/{}", n % 8);
    options.extend_from_slice(&[
        0,
        v6::option_code::INTERFACE_ID as u8,
        0,
        interface.len() as u8,
    ]);
    options.extend_from_slice(interface.as_bytes());
    let mut aggregate = vec![0, v6::option_code::RELAY_ID as u8, 0, relay.len() as u8];
    aggregate.extend_from_slice(&relay_id(AGGREGATE));
    let peer = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let hop = |link, options| Relay6 {
        link,
        peer,
        options,
    };
    Event::V6(Event6 {
        duid: Some([&[0, 3, 0, 1, 2, 0][..], &n.to_be_bytes()].concat()),
        iaid: Some(n),
        link: Some(Link6::Address(link)),
        preferred_lifetime: Some(43_200),
        valid_lifetime: Some(86_400),
        relay: Some(vec![
            hop(Ipv6Addr::UNSPECIFIED, aggregate),
            hop(link, options),
        ]),
        ..Event6::new(address6(n), State::Active)
    })
}

/// The topology of a store with `bindings` DHCPv4 bindings: one range that is all leased.
pub fn topology(bindings: u32) -> Topology {
    let last = address4(bindings.max(1) - 1);
    Topology {
        ranges4: vec![Range4 {
            vpn: Vpn::GLOBAL,
            first: address4(0),
            last,
        }],
        ..Topology::default()
    }
}

/// The events that `make` makes of `numbers`, in batches to be submitted.
pub fn batches(numbers: &[u32], make: impl Fn(u32) -> Event) -> Vec<Vec<Event>> {
    let batch = |numbers: &[u32]| numbers.iter().map(|&n| make(n)).collect();
    numbers.chunks(BATCH).map(batch).collect()
}

/// Submits batches, with several under way, and waits until all are durable.
///
/// # Errors
/// If the store refuses one event.
pub fn submit(store: &Store, batches: impl IntoIterator<Item = Vec<Event>>) -> Result<()> {
    let mut tickets = VecDeque::new();
    let settle = |ticket: Ticket| -> Result<()> {
        let committed = ticket.wait()?;
        ensure!(
            committed.rejected.is_empty(),
            "the store refused {:?}",
            committed.rejected[0]
        );
        Ok(())
    };
    for batch in batches {
        tickets.push_back(store.submit(batch)?);
        if tickets.len() == WINDOW {
            tickets.pop_front().map(settle).transpose()?;
        }
    }
    tickets.into_iter().try_for_each(settle)
}

/// Makes events and submits them, as [`submit`].
///
/// # Errors
/// As [`submit`].
pub fn ingest(store: &Store, numbers: &[u32], make: impl Fn(u32) -> Event) -> Result<()> {
    submit(
        store,
        numbers
            .chunks(BATCH)
            .map(|batch| batch.iter().map(|&n| make(n)).collect()),
    )
}

/// `0..count`, in order or shuffled (always in the same way).
pub fn numbers(count: u32, order: Order) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..count).collect();
    if order == Order::Random {
        numbers.shuffle(&mut SmallRng::seed_from_u64(1));
    }
    numbers
}

/// Opens a store in `dir` with as many bindings of each family as said, whose records lie in the given order.
pub fn store(dir: &Path, v4: u32, v6: u32, order: Order) -> Result<Store> {
    let store = Store::open(dir, Options::default(), topology(v4))?;
    ingest(&store, &numbers(v4, order), event4)?;
    // In the order of numbers first, so that relays list their clients in it; then, for random order, each client renews.
    ingest(&store, &numbers(v6, Order::Log), event6)?;
    if order == Order::Random {
        let renewed = |n| match event6(n) {
            Event::V6(event) => Event::V6(Event6 {
                valid_lifetime: Some(86_401),
                ..event
            }),
            other => other,
        };
        ingest(&store, &numbers(v6, order), renewed)?;
    }
    Ok(store)
}

/// As [`settings`], with active leasequery.
pub fn active_settings(send_timeout: Duration) -> Arc<Settings> {
    Arc::new(Settings {
        active: ActiveSettings {
            enabled: true,
            insecure: true,
            relay_scope: true,
            send_timeout,
            ..ActiveSettings::default()
        },
        ..Settings::clone(&settings())
    })
}

/// Settings that serve loopback without a limit that matters.
pub fn settings() -> Arc<Settings> {
    let rule = |network: &str| {
        network
            .parse()
            .map(|network| Arc::new(RequestorRule::all(network)))
    };
    Arc::new(Settings {
        limits: Limits {
            max_connections: 100_000,
            ..Limits::default()
        },
        dhcp4: Dhcp4Settings {
            reply_to: ReplyTo::Source,
            ..Dhcp4Settings::default()
        },
        requestors: ["127.0.0.0/8", "::1/128"]
            .into_iter()
            .filter_map(|network| rule(network).ok())
            .collect(),
        ..Settings::default()
    })
}

fn message(write: impl FnOnce(&mut OutBuf<'_>) -> Result<(), leaseq_wire::Full>) -> Vec<u8> {
    let mut octets = vec![0; 2_048];
    let mut out = OutBuf::new(&mut octets);
    match write(&mut out) {
        Ok(()) => out.as_slice().to_vec(),
        Err(leaseq_wire::Full) => unreachable!("a query is far shorter than the buffer"),
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

/// Transaction id of the queries that no argument gives one.
pub const XID: u32 = 1;
/// DUID of the requestor of all DHCPv6 queries.
pub const REQUESTOR: [u8; 10] = [0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, 9];

/// A bulk query for all configured DHCPv4 addresses, framed.
pub fn all4() -> Vec<u8> {
    framed(&message(|out| {
        let header = v4::Header::request(XID);
        v4::MessageWriter::start(out, &header, v4::message_type::DHCPBULKLEASEQUERY)?.finish();
        Ok(())
    }))
}

/// A bulk query for the DHCPv4 bindings of a relay, framed.
pub fn by_relay4(relay: u32) -> Vec<u8> {
    framed(&message(|out| {
        let header = v4::Header::request(XID);
        let mut query =
            v4::MessageWriter::start(out, &header, v4::message_type::DHCPBULKLEASEQUERY)?;
        query.relay_agent_information(&[(v4::suboption::RELAY_ID, &relay_id(relay))])?;
        query.finish();
        Ok(())
    }))
}

/// An active query for all changes of DHCPv4 bindings or for those of one relay, from now on or since a Unix second, framed.
pub fn active4(xid: u32, relay: Option<u32>, since: Option<u32>) -> Vec<u8> {
    framed(&message(|out| {
        let header = v4::Header::request(xid);
        let mut query =
            v4::MessageWriter::start(out, &header, v4::message_type::DHCPACTIVELEASEQUERY)?;
        query.parameter_request_list(&[
            v4::option_code::RELAY_AGENT_INFORMATION,
            v4::option_code::CLIENT_IDENTIFIER,
            v4::option_code::IP_ADDRESS_LEASE_TIME,
            v4::option_code::BASE_TIME,
        ])?;
        if let Some(since) = since {
            query.query_start_time(UnixSeconds(since))?;
        }
        if let Some(relay) = relay {
            query.relay_agent_information(&[(v4::suboption::RELAY_ID, &relay_id(relay))])?;
        }
        query.finish();
        Ok(())
    }))
}

/// What a client identifier begins with that tells the number of a commit.
const COMMIT: [u8; 4] = [0, b'n', b'o', b'.'];

/// DHCPv4 binding number `n`, changed in commit number `commit`.
pub fn changed4(n: u32, commit: u32) -> Event {
    match event4(n) {
        Event::V4(event) => Event::V4(Event4 {
            client_id: Some([COMMIT, commit.to_be_bytes()].concat()),
            ..event
        }),
        other => other,
    }
}

/// What a stream may tell of a binding that changed in commit number `commit`, framed; nothing but its length is like it.
pub fn told4(commit: u32) -> Vec<u8> {
    framed(&message(|out| {
        let header = v4::Header::request(XID);
        let mut told = v4::MessageWriter::start(out, &header, v4::message_type::DHCPLEASEACTIVE)?;
        told.client_identifier(&[COMMIT, commit.to_be_bytes()].concat())?;
        told.relay_agent_information(&[(v4::suboption::CIRCUIT_ID, &[0; 48])])?;
        told.finish();
        Ok(())
    }))
}

/// The number of the commit that a DHCPv4 message tells of, if it tells of a binding that [`changed4`] made.
pub fn commit4(message: &[u8]) -> Option<u32> {
    let message = v4::Message::parse(message).ok()?;
    let id = message.option(v4::option_code::CLIENT_IDENTIFIER)?;
    let number = id.as_slice()?.strip_prefix(&COMMIT)?;
    Some(u32::from_be_bytes(number.try_into().ok()?))
}

/// A query of one type with one query-option, for DHCPv6.
fn query6(
    kind: v6::QueryType,
    option: impl FnOnce(&mut v6::MessageWriter<'_, '_>) -> Result<(), leaseq_wire::Full>,
) -> Vec<u8> {
    message(|out| {
        let mut query = v6::MessageWriter::start(out, v6::message_type::LEASEQUERY, XID)?;
        query.client_id(&REQUESTOR)?;
        let start = query.begin_lq_query(kind, Ipv6Addr::UNSPECIFIED)?;
        option(&mut query)?;
        query.end_option(start)?;
        query.finish();
        Ok(())
    })
}

/// A bulk query for the DHCPv6 clients of a relay, framed; with what a relay agent needs to know about itself again
/// (LQ_RELAY_DATA), or without.
pub fn by_relay6(relay: u32, relay_data: bool) -> Vec<u8> {
    framed(&query6(v6::QueryType::ByRelayId, |query| {
        query.relay_id(&relay_id(relay))?;
        match relay_data {
            true => query.oro(&[v6::option_code::LQ_RELAY_DATA]),
            false => Ok(()),
        }
    }))
}

/// A DHCPLEASEQUERY by address, as a datagram.
pub fn udp4(address: Ipv4Addr) -> Vec<u8> {
    message(|out| {
        let header = v4::Header {
            ciaddr: address,
            giaddr: Ipv4Addr::LOCALHOST,
            ..v4::Header::request(XID)
        };
        v4::MessageWriter::start(out, &header, v4::message_type::DHCPLEASEQUERY)?.finish();
        Ok(())
    })
}

/// A LEASEQUERY by address, as a datagram.
pub fn udp6(address: Ipv6Addr) -> Vec<u8> {
    query6(v6::QueryType::ByAddress, |query| {
        query.iaaddr(address, 0, 0)
    })
}

/// Whether a message ends a DHCPv4 bulk query.
pub fn is_last4(message: &[u8]) -> bool {
    v4::Message::parse(message)
        .is_ok_and(|message| message.message_type() == Some(v4::message_type::DHCPLEASEQUERYDONE))
}

/// Whether a message ends a DHCPv6 bulk query.
pub fn is_last6(message: &[u8]) -> bool {
    v6::Message::parse(message).is_ok_and(|message| {
        message.msg_type() == v6::message_type::LEASEQUERY_DONE
            || (message.msg_type() == v6::message_type::LEASEQUERY_REPLY
                && message.option(v6::option_code::CLIENT_DATA).is_none())
    })
}

/// The frames of messages that are in `octets`, whole ones only.
pub fn frames(octets: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let frame::Split::Frame { consumed, .. } = frame::split(&octets[at..]) {
        at += consumed;
        count += 1;
    }
    count
}
