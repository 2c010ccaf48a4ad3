//! What a suite for both families needs of each: a lease, queries, and what a message says.

use std::net::Ipv6Addr;
use std::sync::Arc;

use leaseq_session::{CloseReason, Family, FamilyCounters, Refusal, RequestorRule, Settings};
use leaseq_store::{Event, Event6, Relay6, State, Vpn};
use leaseq_wire::v4;
use leaseq_wire::v6::{self, option_code};

use crate::fixture::{self, Requestor, START, Server, relay_id};
use crate::message::{Message4, Query4, framed};

pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Everybody may ask for everything, active leasequery without TLS included.
pub fn settings() -> Settings {
    let mut settings = fixture::active_settings();
    settings.requestors = vec![rule(|_| {})];
    settings
}

pub fn rule(change: impl FnOnce(&mut RequestorRule)) -> Arc<RequestorRule> {
    let mut rule = RequestorRule::all("10.0.0.0/8".parse().expect("a network"));
    change(&mut rule);
    Arc::new(rule)
}

/// A lease of an hour that begins at [`START`], of a client of its own, behind a relay agent in a VPN.
pub fn lease(family: Family, client: u32, relay: u32, vpn: &str) -> Event {
    match family {
        Family::V4 => {
            let mut event = fixture::lease((0x6440_0000 + client).to_be_bytes(), client);
            event.relay_agent_info = Some(fixture::relay_info(relay, client));
            event.vpn = Vpn::named(vpn);
            Event::V4(event)
        }
        Family::V6 => {
            let link = link(relay);
            let address = Ipv6Addr::from_bits(link.to_bits() + 0x1_0000 + u128::from(client));
            let mut event = Event6::new(address, State::Active);
            event.duid = Some([&[0, 3, 0, 1, 2, 0][..], &client.to_be_bytes()].concat());
            event.cltt = Some(START);
            event.state_since = Some(START);
            event.valid_lifetime = Some(3_600);
            event.vpn = Vpn::named(vpn);
            event.relay = Some(vec![Relay6 {
                link,
                peer: Ipv6Addr::LOCALHOST,
                options: option(53, &relay_id(relay)),
            }]);
            Event::V6(event)
        }
    }
}

/// The link-address of a DHCPv6 relay agent, whose link is the /48 around it.
pub fn link(relay: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0x2001_0db8 << 96) + (u128::from(relay) << 80) + 1)
}

/// A bulk query by relay-id.
pub fn bulk(family: Family, xid: u32, relay: u32) -> Vec<u8> {
    match family {
        Family::V4 => Query4::bulk(xid).relay_id(&relay_id(relay)).frame(),
        Family::V6 => {
            let query = [&[3][..], &[0; 16], &option(53, &relay_id(relay))].concat();
            message6(14, xid, &option(44, &query))
        }
    }
}

/// An active query for everything, base-time asked for.
pub fn active(family: Family, xid: u32) -> Vec<u8> {
    match family {
        Family::V4 => Query4::active(xid)
            .want(&[51, 61, 82, 91, 152, 221])
            .frame(),
        Family::V6 => message6(22, xid, &option(6, &[0, 100])),
    }
}

fn message6(message_type: u8, xid: u32, options: &[u8]) -> Vec<u8> {
    let [_, x0, x1, x2] = xid.to_be_bytes();
    let client = option(1, &[0, 2, 0, 0, 0, 9, 7]);
    framed(&[&[message_type, x0, x1, x2], &client[..], options].concat())
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = value.len() as u16;
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub xid: u32,
    pub status: Option<Status>,
    /// It tells a binding, or a client.
    pub tells: bool,
    /// The VPN of what it tells; none: the global one.
    pub vpn: Option<Vec<u8>>,
    /// Base-time, Unix seconds.
    pub base: Option<u32>,
}

/// The status codes that limits lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    QueryTerminated,
    NotAllowed,
    ConnectionActive,
    Other(u16),
}

impl Heard {
    fn read(family: Family, octets: &[u8]) -> Heard {
        match family {
            Family::V4 => {
                let message = Message4::read(octets);
                let status = message.status().map(|status| match status {
                    2 => Status::QueryTerminated,
                    4 => Status::NotAllowed,
                    6 => Status::ConnectionActive,
                    other => Status::Other(other.into()),
                });
                let binding = [
                    v4::message_type::DHCPLEASEACTIVE,
                    v4::message_type::DHCPLEASEUNASSIGNED,
                ];
                Heard {
                    xid: message.xid,
                    status,
                    tells: binding.contains(&message.message_type),
                    vpn: message.options.get(&221).cloned(),
                    base: message.number(152),
                }
            }
            Family::V6 => Heard::read6(octets),
        }
    }

    fn read6(octets: &[u8]) -> Heard {
        let message = v6::Message::parse(octets).expect("our decoder reads it");
        let client = message.option(option_code::CLIENT_DATA);
        let told =
            message.option(option_code::STATUS_CODE).map(|status| {
                match u16::from_be_bytes([status[0], status[1]]) {
                    11 => Status::QueryTerminated,
                    10 => Status::NotAllowed,
                    other => Status::Other(other),
                }
            });
        // A keepalive is a LEASEQUERY-DATA without CLIENT_DATA (RFC 7653 §9.3).
        let keepalive = message.msg_type() == v6::message_type::LEASEQUERY_DATA
            && client.is_none()
            && told.is_none();
        let vpn = message.option(option_code::VSS);
        let base = message.option(option_code::LQ_BASE_TIME);
        Heard {
            xid: message.xid(),
            status: told.or(keepalive.then_some(Status::ConnectionActive)),
            tells: client.is_some(),
            vpn: vpn.map(<[u8]>::to_vec),
            base: base
                .map(|base| 946_684_800 + u32::from_be_bytes(base.try_into().expect("4 octets"))),
        }
    }
}

/// The whole messages that a requestor has received, which are taken out.
pub fn heard(requestor: &mut Requestor) -> Vec<Heard> {
    let family = requestor.connection.family();
    let mut heard = Vec::new();
    requestor.each_message(|message| heard.push(Heard::read(family, message)));
    heard
}

/// Runs; what came.
pub fn hear(requestor: &mut Requestor, server: &Server) -> Vec<Heard> {
    requestor.run(server);
    heard(requestor)
}

/// The last thing said is that the query was given up, with a base-time.
pub fn assert_terminated(heard: &[Heard], xid: u32) {
    let last = heard.last().expect("a message");
    assert_eq!(
        (last.xid, last.status),
        (xid, Some(Status::QueryTerminated))
    );
    assert!(last.base.is_some());
}

impl Server {
    pub fn connect_as(&self, family: Family) -> Requestor {
        self.try_connect_as(family, [10, 0, 0, 1])
            .expect("admitted")
    }

    /// A connection that an active query has made a stream.
    pub fn stream_as(&self, family: Family, xid: u32) -> Requestor {
        let mut requestor = self.connect_as(family);
        requestor.to_server.extend(active(family, xid));
        requestor.run(self);
        assert!(requestor.connection.is_stream());
        heard(&mut requestor);
        requestor
    }

    pub fn count(&self, family: Family) -> &FamilyCounters {
        self.counters.of(family)
    }

    pub fn closed(&self, family: Family, reason: CloseReason) -> u64 {
        self.count(family).closed.of(reason).get()
    }

    pub fn refused(&self, family: Family, reason: Refusal) -> u64 {
        let counters = self.admission.counters();
        counters.refused(family).of(reason).get()
    }

    /// Stores leases of clients of their own behind a relay agent.
    pub fn fill(&self, family: Family, clients: std::ops::Range<u32>, relay: u32) {
        self.store_all(
            clients
                .map(|client| lease(family, client, relay, ""))
                .collect(),
        );
        self.committed();
    }
}
