//! What a LEASEQUERY asks, read and judged once: the same for TCP and UDP (RFC 5007 §4.2.1 and §4.4.1, RFC 5460 §5.3).

use std::net::Ipv6Addr;

use leaseq_store::{Vpn, VpnSelect};
use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v6::{
    IaAddr, LqQuery, Message, Options, OptionsIter, OroCodes, QueryType, StatusCode, option_code,
};
use leaseq_wire::vss::Vss;

use super::wanted::Wanted;
use crate::settings::{Dhcp6Settings, QueryKind};
use crate::{Discard, QueryEnd};

/// The longest DUID: a type of 2 octets and 128 more (RFC 8415 §11.1).
const MAX_DUID: usize = 130;

/// A status to answer with instead of bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// For people; ASCII.
    pub(super) text: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text }
    }

    pub(super) const fn malformed(text: &'static str) -> Self {
        Self::new(StatusCode::MalformedQuery, text)
    }

    pub(super) const fn terminated(text: &'static str) -> Self {
        Self::new(StatusCode::QueryTerminated, text)
    }

    /// Options that cannot be taken apart.
    pub(super) const fn overrun() -> Self {
        Self::malformed("an option overruns the message")
    }

    /// Replies to two queries with one transaction id could not be told apart.
    pub(super) const fn duplicate_xid() -> Self {
        Self::malformed("the transaction id of a query that is still running")
    }

    /// How a query that is answered so is counted.
    pub(super) fn end(&self) -> QueryEnd {
        match self.status {
            StatusCode::Success => QueryEnd::Success,
            StatusCode::UnknownQueryType => QueryEnd::UnknownQueryType,
            StatusCode::MalformedQuery => QueryEnd::MalformedQuery,
            StatusCode::NotConfigured => QueryEnd::NotConfigured,
            StatusCode::NotAllowed => QueryEnd::NotAllowed,
            StatusCode::QueryTerminated => QueryEnd::QueryTerminated,
            StatusCode::NotSupported => QueryEnd::NotSupported,
            _ => QueryEnd::UnspecFail,
        }
    }
}

/// What bindings are selected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// The client that has this address, or a delegated prefix that contains it.
    Address(Ipv6Addr),
    /// The client with this DUID.
    ClientId(&'a [u8]),
    /// The clients behind the relay agent with this DUID.
    RelayId(&'a [u8]),
    /// The clients on the link of the link-address.
    Link,
    /// The clients with this remote-id: enterprise number and opaque octets.
    RemoteId(&'a [u8]),
}

impl Ask<'_> {
    pub(super) fn kind(&self) -> QueryKind {
        match self {
            Self::Address(_) => QueryKind::Ip,
            Self::ClientId(_) => QueryKind::ClientId,
            Self::RelayId(_) => QueryKind::RelayId,
            Self::Link => QueryKind::Link,
            Self::RemoteId(_) => QueryKind::RemoteId,
        }
    }
}

/// A window of changes in seconds of Unix time, both ends inclusive (RFC 7653 §6.3.2, §6.3.3). A start after the end is
/// an empty window, not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A query that can be looked up.
#[derive(Clone, Debug)]
pub(super) struct Query<'a> {
    pub(super) ask: Ask<'a>,
    /// None: the unspecified address.
    pub(super) link: Option<Ipv6Addr>,
    pub(super) vpn: VpnSelect,
    /// The VSS option's value as received, to be repeated beside bindings (RFC 6607 §7.1). None if there was none, or if
    /// all VPNs were asked for: each client's own VPN is told then.
    pub(super) vss: Option<&'a [u8]>,
    pub(super) wanted: Wanted,
    pub(super) window: Option<Window>,
}

/// The requestor's DUID, which every answer repeats.
///
/// # Errors
/// RFC 5007 §4.2.1 has servers discard messages without one (an option that cannot be a DUID is none) and messages to
/// another server.
pub(super) fn requestor<'a>(
    options: impl Iterator<Item = (u16, &'a [u8])> + Clone,
    settings: &Dhcp6Settings,
) -> Result<&'a [u8], Discard> {
    let find = |wanted| options.clone().find(|(code, _)| *code == wanted);
    if find(option_code::SERVERID).is_some_and(|(_, duid)| duid != settings.server_duid.as_slice())
    {
        return Err(Discard::OtherServer);
    }
    match find(option_code::CLIENTID) {
        Some((_, duid)) if is_duid(duid) => Ok(duid),
        _ => Err(Discard::NoClientId),
    }
}

/// The requestor's DUID in a message whose options overrun: what can be read says whether and to whom an answer is due.
/// No octets: it was not found.
///
/// # Errors
/// The message is for another server.
pub(super) fn requestor_of_malformed<'a>(
    options: &'a [u8],
    settings: &Dhcp6Settings,
) -> Result<&'a [u8], Discard> {
    match requestor(OptionsIter::unchecked(options), settings) {
        Err(Discard::OtherServer) => Err(Discard::OtherServer),
        found => Ok(found.unwrap_or_default()),
    }
}

/// Whether each reply is to carry LQ_BASE_TIME, a refusal too (RFC 7653 §9.3). Its code counts in either ORO.
pub(super) fn asks_base_time(message: &Message<'_>) -> bool {
    let in_query = |value| {
        LqQuery::parse(value).is_ok_and(|query| query.options.requests(option_code::LQ_BASE_TIME))
    };
    message.options().requests(option_code::LQ_BASE_TIME)
        || message.option(option_code::LQ_QUERY).is_some_and(in_query)
}

/// Reads the query of a LEASEQUERY.
///
/// `outer_vss`: the VSS option of the relay agent nearest to this server, which counts before the requestor's own
/// (RFC 6607 §7.3).
///
/// # Errors
/// The status to refuse it with.
pub(super) fn read<'a>(
    message: &Message<'a>,
    lq_query: &'a [u8],
    outer_vss: Option<&'a [u8]>,
    settings: &Dhcp6Settings,
) -> Result<Query<'a>, Refusal> {
    let query = LqQuery::parse(lq_query)
        .map_err(|_| Refusal::malformed("the query option cannot be read"))?;
    let link = (!query.link_address.is_unspecified()).then_some(query.link_address);
    let ask = read_ask(&query, link)?;
    let vss = outer_vss
        .or_else(|| message.option(option_code::VSS))
        .or_else(|| query.options.find(option_code::VSS));
    let (vpn, vss) = read_vpn(vss)?;
    Ok(Query {
        ask,
        link,
        vpn,
        vss,
        wanted: Wanted::new(requested(query.options), &settings.withhold_options),
        window: read_window(message)?,
    })
}

fn read_ask<'a>(query: &LqQuery<'a>, link: Option<Ipv6Addr>) -> Result<Ask<'a>, Refusal> {
    let duid = |code, missing, invalid| match query.options.find(code) {
        Some(duid) if is_duid(duid) => Ok(duid),
        Some(_) => Err(Refusal::malformed(invalid)),
        None => Err(Refusal::malformed(missing)),
    };
    match query.known() {
        Some(QueryType::ByAddress) => match query.options.find(option_code::IAADDR) {
            // Lifetimes in a query have no meaning.
            Some(value) => match IaAddr::parse(value) {
                Ok(lease) => Ok(Ask::Address(lease.address)),
                Err(_) => Err(Refusal::malformed("the IAADDR cannot be read")),
            },
            None => Err(Refusal::malformed("no IAADDR to query by")),
        },
        Some(QueryType::ByClientId) => duid(
            option_code::CLIENTID,
            "no CLIENTID to query by",
            "the CLIENTID to query by is not a DUID",
        )
        .map(Ask::ClientId),
        Some(QueryType::ByRelayId) => duid(
            option_code::RELAY_ID,
            "no RELAY_ID to query by",
            "the RELAY_ID to query by is not a DUID",
        )
        .map(Ask::RelayId),
        Some(QueryType::ByLinkAddress) => match link {
            Some(_) => Ok(Ask::Link),
            None => Err(Refusal::malformed("no link-address to query by")),
        },
        Some(QueryType::ByRemoteId) => match query.options.find(option_code::REMOTE_ID) {
            Some(remote_id) if remote_id.len() >= 4 => Ok(Ask::RemoteId(remote_id)),
            Some(_) => Err(Refusal::malformed(
                "a REMOTE_ID without an enterprise number",
            )),
            None => Err(Refusal::malformed("no REMOTE_ID to query by")),
        },
        None => Err(Refusal::new(
            StatusCode::UnknownQueryType,
            "query-type not supported",
        )),
    }
}

pub(super) fn requested(options: Options<'_>) -> OroCodes<'_> {
    OroCodes::new(options.find(option_code::ORO).unwrap_or_default())
}

pub(super) fn read_vpn(vss: Option<&[u8]>) -> Result<(VpnSelect, Option<&[u8]>), Refusal> {
    let Some(value) = vss else {
        return Ok((VpnSelect::One(Vpn::GLOBAL), None));
    };
    match Vss::parse(value) {
        Ok(Vss::All) => Ok((VpnSelect::All, None)),
        Ok(_) if value.len() > leaseq_wire::vss::MAX_LENGTH => {
            Err(Refusal::malformed("a VPN name that no VPN has"))
        }
        Ok(_) => Ok((VpnSelect::One(Vpn::from_vss(value)), Some(value))),
        Err(_) => Err(Refusal::malformed("the VSS option cannot be read")),
    }
}

pub(super) fn read_window(message: &Message<'_>) -> Result<Option<Window>, Refusal> {
    let start = read_time(message.option(option_code::LQ_START_TIME))?;
    let end = read_time(message.option(option_code::LQ_END_TIME))?;
    if start.is_none() && end.is_none() {
        return Ok(None);
    }
    Ok(Some(Window {
        start: start.unwrap_or(0),
        end: end.unwrap_or(u32::MAX),
    }))
}

fn read_time(value: Option<&[u8]>) -> Result<Option<u32>, Refusal> {
    match value.map(<[u8; 4]>::try_from) {
        None => Ok(None),
        Some(Ok(octets)) => {
            let time = Seconds2000(u32::from_be_bytes(octets));
            Ok(Some(UnixSeconds::from(time).0))
        }
        Some(Err(_)) => Err(Refusal::malformed("a time that is not 4 octets long")),
    }
}

fn is_duid(octets: &[u8]) -> bool {
    (1..=MAX_DUID).contains(&octets.len())
}
