//! Active queries, and what their streams tell.

use std::net::{IpAddr, Ipv4Addr};

use leaseq_store::{Event, Event4, Event6, State};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::{v4, v6};

use super::{Requestor, address4, address6, binding4, binding6, framed, relay_id};

/// An active query for everything, or, with `since`, for what has changed since that Unix second too.
pub fn active4(xid: u32, since: Option<u32>) -> Vec<u8> {
    query4(xid, None, since)
}

/// An active query for the changes of one relay.
pub fn active4_of_relay(xid: u32, relay: u32) -> Vec<u8> {
    query4(xid, Some(relay), None)
}

fn query4(xid: u32, relay: Option<u32>, since: Option<u32>) -> Vec<u8> {
    framed(|out| {
        let header = v4::Header::request(xid);
        let mut query =
            v4::MessageWriter::start(out, &header, v4::message_type::DHCPACTIVELEASEQUERY).unwrap();
        if let Some(since) = since {
            query.query_start_time(UnixSeconds(since)).unwrap();
        }
        if let Some(relay) = relay {
            query
                .relay_agent_information(&[(v4::suboption::RELAY_ID, &relay_id(relay))])
                .unwrap();
        }
        query.finish();
    })
}

/// An ACTIVELEASEQUERY for everything.
pub fn active6(xid: u32) -> Vec<u8> {
    framed(|out| {
        let mut query =
            v6::MessageWriter::start(out, v6::message_type::ACTIVELEASEQUERY, xid).unwrap();
        query
            .client_id(&[0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, 9])
            .unwrap();
        query.finish();
    })
}

/// A binding in another state than it begins with.
pub fn changed4(relay: u32, number: u32, state: State) -> Event {
    match binding4(relay, number) {
        Event::V4(event) if state == State::Active => Event::V4(event),
        _ => Event::V4(Event4::new(address4(relay, number), state)),
    }
}

/// A lease in another state than it begins with.
pub fn changed6(relay: u32, number: u32, state: State) -> Event {
    match binding6(relay, number) {
        Event::V6(event) if state == State::Active => Event::V6(event),
        _ => Event::V6(Event6::new(address6(relay, number), state)),
    }
}

/// A message of a DHCPv4 stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard4 {
    pub xid: u32,
    pub message_type: u8,
    pub address: Ipv4Addr,
    pub status: Option<v4::StatusCode>,
}

/// A message of a DHCPv6 stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard6 {
    pub xid: u32,
    pub message_type: u8,
    /// Addresses of the client in it, each with its valid lifetime.
    pub leases: Vec<(IpAddr, u32)>,
    pub status: Option<u16>,
}

impl Heard6 {
    pub fn new(xid: u32, message_type: u8) -> Heard6 {
        Heard6 {
            xid,
            message_type,
            leases: Vec::new(),
            status: None,
        }
    }
}

impl Heard4 {
    /// A binding's.
    pub fn lease(xid: u32, message_type: u8, address: Ipv4Addr) -> Heard4 {
        Heard4 {
            xid,
            message_type,
            address,
            status: None,
        }
    }

    /// A status and nothing else.
    pub fn status(xid: u32, status: v4::StatusCode) -> Heard4 {
        Heard4 {
            xid,
            message_type: v4::message_type::DHCPLEASEQUERYSTATUS,
            address: Ipv4Addr::UNSPECIFIED,
            status: Some(status),
        }
    }
}

impl Requestor {
    /// The next message of a DHCPv4 stream, which has to carry a base-time; `None` if the connection has ended.
    pub fn hear4(&mut self) -> Option<Heard4> {
        let octets = self.message()?;
        let message = v4::Message::parse(&octets).unwrap();
        assert!(
            message.option(v4::option_code::BASE_TIME).is_some(),
            "every message of a stream carries base-time"
        );
        Some(Heard4 {
            xid: message.xid(),
            message_type: message.message_type().unwrap(),
            address: message.ciaddr(),
            status: message
                .option(v4::option_code::STATUS_CODE)
                .and_then(|value| v4::StatusCode::from_u8(value.bytes().next()?)),
        })
    }

    /// The next message of a DHCPv6 stream; `None` if the connection has ended.
    pub fn hear6(&mut self) -> Option<Heard6> {
        let octets = self.message()?;
        let message = v6::Message::parse(&octets).unwrap();
        let status = message.option(v6::option_code::STATUS_CODE);
        let client = message.option(v6::option_code::CLIENT_DATA);
        let leases = client.map_or_else(Vec::new, |client| {
            let client = v6::ClientData::parse(client).unwrap();
            client
                .leases()
                .map(|lease| {
                    let lease = lease.unwrap();
                    (IpAddr::V6(lease.prefix().0), lease.valid())
                })
                .collect()
        });
        Some(Heard6 {
            xid: message.xid(),
            message_type: message.msg_type(),
            leases,
            status: status
                .and_then(|value| Some(u16::from_be_bytes([*value.first()?, *value.get(1)?]))),
        })
    }

    /// Reads a DHCPv4 stream to its end, which has to be an orderly one; gives the last message.
    pub fn last4(&mut self) -> Option<Heard4> {
        let mut last = None;
        while let Some(heard) = self.hear4() {
            last = Some(heard);
        }
        assert!(!self.reset, "the connection was reset");
        last
    }

    /// As [`Requestor::last4`].
    pub fn last6(&mut self) -> Option<Heard6> {
        let mut last = None;
        while let Some(heard) = self.hear6() {
            last = Some(heard);
        }
        assert!(!self.reset, "the connection was reset");
        last
    }
}
