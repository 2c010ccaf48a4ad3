//! What a DHCPACTIVELEASEQUERY asks for, and whether it may (RFC 7724 §7.3, §8.2).
//!
//! An active query has one qualifier, query-start-time, and no query types (RFC 7724 §4). What else a requestor may have
//! put into it would narrow a bulk query. To tell such a requestor everything would be a surprise, at worst a wrong one:
//! bindings of the global VPN do not name their VPN, so one that asked for another VPN alone would take them for its own.
//! So whatever would narrow the query is refused, with a text that says why. Two things are not: VPN-ID 254 asks for all
//! VPNs, which is what an active query tells; and relay-id or remote-id in option 82 narrow the stream where
//! `active.relay-scope`, our extension, is switched on.

use leaseq_store::VpnSelect;
use leaseq_wire::v4::message_type::DHCPACTIVELEASEQUERY;
use leaseq_wire::v4::option_code::{PARAMETER_REQUEST_LIST, QUERY_END_TIME, QUERY_START_TIME, VSS};
use leaseq_wire::v4::{FIXED_LEN, Message, StatusCode, op};

use super::refusal::Refusal;
use super::teller::{Filter, Teller4};
use crate::active::StreamRequest;
use crate::counters::CloseReason;
use crate::query::{Opened, QueryContext};
use crate::settings::QueryKind;
use crate::v4::request::{self, Keys};
use crate::v4::wanted::Wanted;

/// Judges a DHCPACTIVELEASEQUERY.
pub(in crate::v4) fn start(cx: &QueryContext<'_>, octets: &[u8]) -> Opened {
    // A message type that is not served closes the connection (RFC 7724 §8.1.1).
    if !cx.settings.active.enabled {
        return Opened::Close(CloseReason::UnsupportedMessage);
    }
    let message = match Message::parse(octets) {
        Ok(message) => message,
        Err(_) if octets.len() < FIXED_LEN => return Opened::Close(CloseReason::ShortFrame),
        Err(error) => {
            return match (error.xid, error.message_type) {
                (Some(xid), Some(DHCPACTIVELEASEQUERY)) => Opened::Query(Box::new(Refusal::new(
                    xid,
                    StatusCode::MalformedQuery,
                    "an option or a field overruns",
                ))),
                _ => Opened::Close(CloseReason::UnsupportedMessage),
            };
        }
    };
    match judge(cx, &message) {
        Ok(request) => {
            cx.counters.v4.queries.of(QueryKind::Active).increment();
            Opened::Stream(request)
        }
        Err((status, text)) => Opened::Query(Box::new(Refusal::new(message.xid(), status, text))),
    }
}

fn judge(
    cx: &QueryContext<'_>,
    message: &Message<'_>,
) -> Result<StreamRequest, (StatusCode, &'static str)> {
    let malformed = |text| (StatusCode::MalformedQuery, text);
    let not_allowed = |text| (StatusCode::NotAllowed, text);
    if message.op() != op::BOOTREQUEST {
        return Err(malformed("op is not BOOTREQUEST"));
    }
    if !message.ciaddr().is_unspecified()
        || !message.yiaddr().is_unspecified()
        || !message.siaddr().is_unspecified()
    {
        return Err(malformed("ciaddr, yiaddr and siaddr must be zero"));
    }
    let mut joined = [None, None];
    let keys = Keys::read(message, &mut joined).map_err(malformed)?;
    if keys.hwaddr.is_some() || keys.client_id.is_some() {
        return Err(malformed(
            "an active query has no chaddr and no client identifier",
        ));
    }
    if message.option(QUERY_END_TIME).is_some() {
        return Err(malformed("an active query has no query-end-time"));
    }
    let since = match message.option(QUERY_START_TIME) {
        Some(value) => Some(
            value
                .to_u32()
                .ok_or_else(|| malformed("query-start-time is not 4 octets"))?,
        ),
        None => None,
    };
    if message.option(VSS).is_some() && request::vpns(message).map_err(malformed)? != VpnSelect::All
    {
        return Err(malformed("an active query is for all VPNs"));
    }
    if !cx.rule.queries.contains(QueryKind::Active) {
        return Err(not_allowed(
            "this kind of query is not permitted to this requestor",
        ));
    }
    let filter = Filter::new(keys.relay_id, keys.remote_id);
    if filter.is_some() && !cx.settings.active.relay_scope {
        return Err(not_allowed(
            "relay-id and remote-id narrow an active query only if active.relay-scope is set",
        ));
    }
    if keys.relay_id.is_some() && !cx.rule.allows_relay_id(keys.relay_id) {
        return Err(not_allowed(
            "this relay-id is not permitted to this requestor",
        ));
    }
    let wanted = Wanted::for_active(
        message.option(PARAMETER_REQUEST_LIST),
        &cx.settings.dhcp4.withhold_options,
    );
    let server_identifier = cx.settings.dhcp4.server_identifier;
    Ok(StreamRequest {
        xid: message.xid(),
        since,
        teller: Box::new(Teller4::new(
            message.xid(),
            filter,
            wanted,
            server_identifier,
        )),
    })
}
