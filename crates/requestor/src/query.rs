//! What is asked for, and the request that asks for it.

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v4::{self, option_code as code4, suboption};
use leaseq_wire::v6::{self, QueryType, option_code as code6};
use leaseq_wire::{Full, OutBuf, frame};
use thiserror::Error;

use crate::Vpn;

/// Options that a DHCPv4 query asks for unless told otherwise: everything leasequery itself can tell.
pub const DEFAULT_OPTIONS4: [u8; 11] = [
    code4::IP_ADDRESS_LEASE_TIME,
    code4::RENEWAL_TIME,
    code4::REBINDING_TIME,
    code4::CLIENT_IDENTIFIER,
    code4::RELAY_AGENT_INFORMATION,
    code4::CLIENT_LAST_TRANSACTION_TIME,
    code4::BASE_TIME,
    code4::START_TIME_OF_STATE,
    code4::DHCP_STATE,
    code4::DATA_SOURCE,
    code4::VSS,
];

/// Options that a DHCPv6 query asks for unless told otherwise: everything leasequery itself can tell.
pub const DEFAULT_OPTIONS6: [u16; 2] = [code6::LQ_RELAY_DATA, code6::LQ_BASE_TIME];

/// Which DHCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// DHCPv4.
    V4,
    /// DHCPv6.
    V6,
}

/// A query of either family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// DHCPv4.
    V4(Query4),
    /// DHCPv6.
    V6(Query6),
}

/// What a DHCPv4 query is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector4 {
    /// The binding of an address; over UDP only.
    Ip(Ipv4Addr),
    /// Bindings of a hardware address.
    HwAddr {
        /// Hardware type; 1 is Ethernet.
        htype: u8,
        /// The address, at most 16 octets.
        octets: Vec<u8>,
    },
    /// Bindings of a client identifier.
    ClientId(Vec<u8>),
    /// Bindings behind a remote-id.
    RemoteId(Vec<u8>),
    /// Bindings behind a relay agent; over TCP only.
    RelayId(Vec<u8>),
    /// All configured addresses; over TCP only. An active query: all changes.
    All,
}

/// A DHCPv4 query: DHCPLEASEQUERY over UDP (RFC 4388, RFC 6148), DHCPBULKLEASEQUERY (RFC 6926) or DHCPACTIVELEASEQUERY
/// (RFC 7724) over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query4 {
    /// What it is about.
    pub selector: Selector4,
    /// Only what changed since then; over TCP only.
    pub since: Option<UnixSeconds>,
    /// Only what changed until then; over TCP only.
    pub until: Option<UnixSeconds>,
    /// Another VPN than the global one.
    pub vpn: Option<Vpn>,
    /// Codes of the options asked for.
    pub options: Vec<u8>,
    /// Where a UDP reply goes (RFC 4388 §6.2); must not be zero. Not used over TCP.
    pub giaddr: Ipv4Addr,
}

/// What a DHCPv6 query is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector6 {
    /// The client that has an address, or a prefix that holds it.
    Address(Ipv6Addr),
    /// The client with a DUID.
    Duid(Vec<u8>),
    /// Clients behind a relay agent; over TCP only.
    RelayId(Vec<u8>),
    /// Clients on the query's link; over TCP only.
    Link,
    /// Clients behind a remote-id: enterprise number and identifier, as on the wire; over TCP only.
    RemoteId(Vec<u8>),
    /// Every client: an active query without a filter (RFC 7653 §8.3). No other query has this.
    All,
}

/// A DHCPv6 query: LEASEQUERY over UDP (RFC 5007) or TCP (RFC 5460), or ACTIVELEASEQUERY (RFC 7653).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query6 {
    /// What it is about.
    pub selector: Selector6,
    /// Only clients on this link; zero: on any.
    pub link: Ipv6Addr,
    /// Only what changed since then; over TCP only.
    pub since: Option<Seconds2000>,
    /// Only what changed until then; over TCP only.
    pub until: Option<Seconds2000>,
    /// Another VPN than the global one.
    pub vpn: Option<Vpn>,
    /// Codes of the options asked for.
    pub options: Vec<u16>,
    /// The requestor's own DUID.
    pub requestor: Vec<u8>,
}

/// Why a query cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QueryError {
    /// The selector exists over TCP only.
    #[error("this query exists over TCP only")]
    TcpOnly,
    /// The selector exists over UDP only.
    #[error("a query by address exists over UDP only in DHCPv4")]
    UdpOnly,
    /// Times exist over TCP only.
    #[error("start and end times exist over TCP only")]
    TimesTcpOnly,
    /// A UDP query without giaddr has no answer (RFC 4388 §6.2).
    #[error("a query over UDP needs a giaddr that is not zero")]
    NoGiaddr,
    /// DHCPv6: a bulk or UDP query needs something that it is about.
    #[error("only an active query asks about every client")]
    ActiveOnly,
    /// DHCPv4: an active query is about everything or, where the server extends the RFC, one relay-id or remote-id.
    #[error("an active query is about everything, a relay-id or a remote-id")]
    NotActive,
    /// An active query has no end (RFC 7724 §8.2, RFC 7653 §9.3).
    #[error("an active query has no end time")]
    EndTime,
    /// DHCPv6: a query by link without a link.
    #[error("a query by link needs a link-address that is not zero")]
    NoLink,
    /// A value is longer than the protocol can carry.
    #[error("a value of the query is too long for a message")]
    TooLong,
}

impl From<Full> for QueryError {
    fn from(_: Full) -> Self {
        Self::TooLong
    }
}

impl Query4 {
    /// A query with [`DEFAULT_OPTIONS4`] and no restriction, without giaddr.
    #[must_use]
    pub fn new(selector: Selector4) -> Self {
        let options = DEFAULT_OPTIONS4.to_vec();
        Self {
            selector,
            since: None,
            until: None,
            vpn: None,
            options,
            giaddr: Ipv4Addr::UNSPECIFIED,
        }
    }

    /// The request over TCP, framed.
    ///
    /// # Errors
    /// If the query does not exist over TCP or a value is too long.
    pub fn bulk_request(&self, xid: u32) -> Result<Vec<u8>, QueryError> {
        if matches!(self.selector, Selector4::Ip(_)) {
            return Err(QueryError::UdpOnly);
        }
        framed(|out| {
            self.write(
                out,
                v4::Header::request(xid),
                v4::message_type::DHCPBULKLEASEQUERY,
            )
        })
    }

    /// The request over UDP.
    ///
    /// # Errors
    /// If the query does not exist over UDP, has no giaddr, or a value is too long.
    pub fn udp_request(&self, xid: u32) -> Result<Vec<u8>, QueryError> {
        if matches!(self.selector, Selector4::RelayId(_) | Selector4::All) {
            return Err(QueryError::TcpOnly);
        }
        if self.since.is_some() || self.until.is_some() {
            return Err(QueryError::TimesTcpOnly);
        }
        if self.giaddr.is_unspecified() {
            return Err(QueryError::NoGiaddr);
        }
        let header = v4::Header {
            giaddr: self.giaddr,
            ..v4::Header::request(xid)
        };
        unframed(|out| self.write(out, header, v4::message_type::DHCPLEASEQUERY))
    }

    /// The request of an active query, framed: changes from now on, and before them what changed at `since` or later.
    /// The query's own `since` is not used. base-time is asked for in any case; without any options the server chooses
    /// them.
    ///
    /// # Errors
    /// If an active query cannot ask this, or a value is too long.
    pub fn active_request(
        &self,
        xid: u32,
        since: Option<UnixSeconds>,
    ) -> Result<Vec<u8>, QueryError> {
        match self.selector {
            Selector4::All | Selector4::RelayId(_) | Selector4::RemoteId(_) => {}
            _ => return Err(QueryError::NotActive),
        }
        if self.until.is_some() {
            return Err(QueryError::EndTime);
        }
        let mut query = Self {
            since,
            ..self.clone()
        };
        if !query.options.is_empty() && !query.options.contains(&code4::BASE_TIME) {
            query.options.push(code4::BASE_TIME);
        }
        let message_type = v4::message_type::DHCPACTIVELEASEQUERY;
        framed(|out| query.write(out, v4::Header::request(xid), message_type))
    }

    fn write(
        &self,
        out: &mut OutBuf<'_>,
        mut header: v4::Header,
        message_type: u8,
    ) -> Result<(), QueryError> {
        match &self.selector {
            Selector4::Ip(address) => header.ciaddr = *address,
            Selector4::HwAddr { htype, octets } => {
                let field = header
                    .chaddr
                    .get_mut(..octets.len())
                    .ok_or(QueryError::TooLong)?;
                field.copy_from_slice(octets);
                (header.htype, header.hlen) = (*htype, octets.len() as u8);
            }
            _ => {}
        }
        let mut writer = v4::MessageWriter::start(out, &header, message_type)?;
        match &self.selector {
            Selector4::ClientId(id) => writer.client_identifier(id)?,
            Selector4::RemoteId(id) => {
                writer.relay_agent_information(&[(suboption::REMOTE_ID, id)])?
            }
            Selector4::RelayId(id) => {
                writer.relay_agent_information(&[(suboption::RELAY_ID, id)])?
            }
            Selector4::Ip(_) | Selector4::HwAddr { .. } | Selector4::All => {}
        }
        if let Some(since) = self.since {
            writer.query_start_time(since)?;
        }
        if let Some(until) = self.until {
            writer.query_end_time(until)?;
        }
        if let Some(vpn) = &self.vpn {
            writer.vss(&vpn.vss())?;
        }
        if !self.options.is_empty() {
            writer.parameter_request_list(&self.options)?;
        }
        writer.finish();
        Ok(())
    }
}

impl Query6 {
    /// A query on any link with [`DEFAULT_OPTIONS6`] and no other restriction.
    #[must_use]
    pub fn new(selector: Selector6, requestor: &[u8]) -> Self {
        let (options, requestor) = (DEFAULT_OPTIONS6.to_vec(), requestor.to_vec());
        Self {
            selector,
            link: Ipv6Addr::UNSPECIFIED,
            since: None,
            until: None,
            vpn: None,
            options,
            requestor,
        }
    }

    /// The request over TCP, framed. Of `xid` the lower 24 bits count.
    ///
    /// # Errors
    /// If the query needs a link and has none, or a value is too long.
    pub fn bulk_request(&self, xid: u32) -> Result<Vec<u8>, QueryError> {
        framed(|out| self.write(out, v6::message_type::LEASEQUERY, xid))
    }

    /// The request of an active query, framed: changes from now on, and before them what changed at `since` or later.
    /// The query's own `since` is not used. base-time is asked for in any case. Of `xid` the lower 24 bits count.
    ///
    /// # Errors
    /// If an active query cannot ask this, or a value is too long.
    pub fn active_request(
        &self,
        xid: u32,
        since: Option<Seconds2000>,
    ) -> Result<Vec<u8>, QueryError> {
        if self.until.is_some() {
            return Err(QueryError::EndTime);
        }
        let mut query = Self {
            since,
            ..self.clone()
        };
        if !query.options.contains(&code6::LQ_BASE_TIME) {
            query.options.push(code6::LQ_BASE_TIME);
        }
        framed(|out| query.write(out, v6::message_type::ACTIVELEASEQUERY, xid))
    }

    /// The request over UDP. Of `xid` the lower 24 bits count.
    ///
    /// # Errors
    /// If the query does not exist over UDP or a value is too long.
    pub fn udp_request(&self, xid: u32) -> Result<Vec<u8>, QueryError> {
        if !matches!(self.selector, Selector6::Address(_) | Selector6::Duid(_)) {
            return Err(QueryError::TcpOnly);
        }
        if self.since.is_some() || self.until.is_some() {
            return Err(QueryError::TimesTcpOnly);
        }
        unframed(|out| self.write(out, v6::message_type::LEASEQUERY, xid))
    }

    fn write(&self, out: &mut OutBuf<'_>, message_type: u8, xid: u32) -> Result<(), QueryError> {
        let is_active = message_type == v6::message_type::ACTIVELEASEQUERY;
        let query_type = match self.selector {
            Selector6::Address(_) => Some(QueryType::ByAddress),
            Selector6::Duid(_) => Some(QueryType::ByClientId),
            Selector6::RelayId(_) => Some(QueryType::ByRelayId),
            Selector6::Link if self.link.is_unspecified() => return Err(QueryError::NoLink),
            Selector6::Link => Some(QueryType::ByLinkAddress),
            Selector6::RemoteId(_) => Some(QueryType::ByRemoteId),
            Selector6::All if is_active => None,
            Selector6::All => return Err(QueryError::ActiveOnly),
        };
        let mut writer = v6::MessageWriter::start(out, message_type, xid)?;
        writer.client_id(&self.requestor)?;
        let query = match query_type {
            Some(query_type) => Some(writer.begin_lq_query(query_type, self.link)?),
            None => None,
        };
        match &self.selector {
            Selector6::Address(address) => writer.iaaddr(*address, 0, 0)?,
            Selector6::Duid(duid) => writer.client_id(duid)?,
            Selector6::RelayId(duid) => writer.relay_id(duid)?,
            Selector6::RemoteId(id) => writer.option(code6::REMOTE_ID, id)?,
            Selector6::Link | Selector6::All => {}
        }
        if !self.options.is_empty() {
            writer.oro(&self.options)?;
        }
        if let Some(query) = query {
            writer.end_option(query)?;
        }
        if let Some(since) = self.since {
            writer.start_time(since)?;
        }
        if let Some(until) = self.until {
            writer.end_time(until)?;
        }
        if let Some(vpn) = &self.vpn {
            writer.vss(&vpn.vss())?;
        }
        writer.finish();
        Ok(())
    }
}

impl Query {
    /// The request over TCP, framed.
    ///
    /// # Errors
    /// As of [`Query4::bulk_request`] and [`Query6::bulk_request`].
    pub fn bulk_request(&self, xid: u32) -> Result<Vec<u8>, QueryError> {
        match self {
            Self::V4(query) => query.bulk_request(xid),
            Self::V6(query) => query.bulk_request(xid),
        }
    }

    /// The request over UDP.
    ///
    /// # Errors
    /// As of [`Query4::udp_request`] and [`Query6::udp_request`].
    pub fn udp_request(&self, xid: u32) -> Result<Vec<u8>, QueryError> {
        match self {
            Self::V4(query) => query.udp_request(xid),
            Self::V6(query) => query.udp_request(xid),
        }
    }

    /// The request of an active query, framed.
    ///
    /// # Errors
    /// As of [`Query4::active_request`] and [`Query6::active_request`].
    pub fn active_request(
        &self,
        xid: u32,
        since: Option<UnixSeconds>,
    ) -> Result<Vec<u8>, QueryError> {
        match self {
            Self::V4(query) => query.active_request(xid, since),
            Self::V6(query) => query.active_request(xid, since.map(Seconds2000::from)),
        }
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// A transaction id that a query of this family can have: in DHCPv6 they have 24 bits.
    #[must_use]
    pub fn xid(&self, number: u32) -> u32 {
        match self {
            Self::V4(_) => number,
            Self::V6(_) => number & v6::MAX_XID,
        }
    }
}

impl From<Query4> for Query {
    fn from(query: Query4) -> Self {
        Self::V4(query)
    }
}

impl From<Query6> for Query {
    fn from(query: Query6) -> Self {
        Self::V6(query)
    }
}

/// Octets that nearly every request fits into.
const COMMON: usize = 512;

fn framed(
    write: impl Fn(&mut OutBuf<'_>) -> Result<(), QueryError>,
) -> Result<Vec<u8>, QueryError> {
    unframed(|out| {
        let start = frame::begin(out)?;
        write(out)?;
        frame::end(out, start)?;
        Ok(())
    })
}

fn unframed(
    write: impl Fn(&mut OutBuf<'_>) -> Result<(), QueryError>,
) -> Result<Vec<u8>, QueryError> {
    match written(&mut [0; COMMON], &write) {
        Err(QueryError::TooLong) => {
            written(&mut vec![0; frame::HEADER + frame::MAX_MESSAGE], &write)
        }
        written => written,
    }
}

fn written(
    octets: &mut [u8],
    write: impl Fn(&mut OutBuf<'_>) -> Result<(), QueryError>,
) -> Result<Vec<u8>, QueryError> {
    let mut out = OutBuf::new(octets);
    write(&mut out)?;
    Ok(out.as_slice().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_requests_are_written_whole() {
        for len in [COMMON - 300, COMMON, 2 * COMMON] {
            let duid = vec![7; len];
            let query = Query6::new(Selector6::Duid(duid.clone()), &[0, 3]);
            let request = query.udp_request(9).unwrap();
            let message = v6::Message::parse(&request).unwrap();
            let asked = message.option(code6::LQ_QUERY).unwrap();
            assert!(asked.windows(len).any(|octets| octets == duid));
            let framed = query.bulk_request(9).unwrap();
            assert_eq!(framed[2..], request[..]);
        }
    }
}
