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
use leaseq_wire::v4::{FIXED_LEN, Message, StatusCode};

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
    request::check_header(message).map_err(malformed)?;
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

#[cfg(test)]
mod tests {
    use leaseq_wire::v4::message_type::DHCPLEASEQUERYSTATUS;
    use leaseq_wire::v4::op;
    use leaseq_wire::v4::option_code::{BASE_TIME, SERVER_IDENTIFIER, STATUS_CODE};

    use super::super::rig::{Query, Rig, SERVER, START, relay_info};
    use super::*;
    use crate::active::Scope;
    use crate::counters::QueryEnd;
    use crate::query::StepEnd;

    /// The status and the text of a refusal.
    fn refused(rig: &Rig, octets: &[u8]) -> (u8, String) {
        let Opened::Query(query) = rig.start(octets) else {
            panic!("a refusal");
        };
        assert_eq!(query.xid(), 7);
        let (heard, end) = rig.answer(query);
        assert_eq!((heard.message_type, heard.xid), (DHCPLEASEQUERYSTATUS, 7));
        assert_eq!(heard.options[&SERVER_IDENTIFIER], SERVER);
        assert_eq!(heard.number(BASE_TIME), Some(START));
        let close = Some(CloseReason::QueryFailed);
        assert_eq!(end, StepEnd::Done { empty: true, close });
        let status = &heard.options[&STATUS_CODE];
        let text = String::from_utf8(status[1..].to_vec()).expect("text");
        assert!(!text.is_empty(), "a status says why");
        (status[0], text)
    }

    fn is_stream(rig: &Rig, query: &Query) -> bool {
        matches!(rig.start(&query.octets()), Opened::Stream(_))
    }

    const MALFORMED: u8 = StatusCode::MalformedQuery as u8;
    const NOT_ALLOWED: u8 = StatusCode::NotAllowed as u8;

    #[test]
    fn not_enabled_it_is_an_unsupported_message() {
        let mut rig = Rig::new();
        rig.settings.active.enabled = false;
        assert!(matches!(
            rig.start(&Query::active(7).octets()),
            Opened::Close(CloseReason::UnsupportedMessage)
        ));
        assert_eq!(rig.counters.v4.queries.total(), 0);
    }

    #[test]
    fn what_an_active_query_must_not_have_is_malformed() {
        let rig = Rig::new();
        let query = Query::active(7);
        let with = |change: &dyn Fn(&mut Query)| {
            let mut query = query.clone();
            change(&mut query);
            query.octets()
        };
        let address = [192, 0, 2, 9].into();
        let malformed = [
            with(&|query| query.header.op = op::BOOTREPLY),
            with(&|query| query.header.ciaddr = address),
            with(&|query| query.header.yiaddr = address),
            with(&|query| query.header.siaddr = address),
            with(&|query| (query.header.htype, query.header.hlen) = (1, 6)),
            with(&|query| query.header.chaddr[0] = 1),
            query.clone().option(61, &[1, 2, 3]).octets(),
            query.clone().option(61, &[]).octets(),
            query.clone().option(155, &START.to_be_bytes()).octets(),
            query.clone().option(155, &[]).octets(),
            query.clone().option(154, &[1, 2, 3]).octets(),
            query.clone().option(154, &[0; 8]).octets(),
            query.clone().option(82, &[12, 9, 1]).octets(),
            query.clone().option(82, &[12, 0]).octets(),
            query
                .clone()
                .option(221, &[0, b'b', b'l', b'u', b'e'])
                .octets(),
            query.clone().option(221, &[255]).octets(),
            query.clone().option(221, &[9]).octets(),
            // An option that overruns.
            [&query.octets()[..243], &[55, 9, 1]].concat(),
        ];
        for (case, octets) in malformed.iter().enumerate() {
            assert_eq!(refused(&rig, octets).0, MALFORMED, "case {case}");
        }
        let ended = &rig.counters.v4.ended;
        assert_eq!(
            ended.of(QueryEnd::MalformedQuery).get(),
            malformed.len() as u64
        );
        assert_eq!(rig.counters.v4.queries.total(), 0);
    }

    #[test]
    fn a_message_shorter_than_a_header_is_no_query() {
        let rig = Rig::new();
        assert!(matches!(
            rig.start(&Query::active(7).octets()[..235]),
            Opened::Close(CloseReason::ShortFrame)
        ));
    }

    #[test]
    fn a_requestor_that_may_not_ask_is_not_allowed() {
        let mut rig = Rig::new();
        let others = QueryKind::ALL
            .into_iter()
            .filter(|kind| *kind != QueryKind::Active);
        rig.rule.queries = others.collect();
        assert_eq!(refused(&rig, &Query::active(7).octets()).0, NOT_ALLOWED);
        assert_eq!(rig.counters.v4.ended.of(QueryEnd::NotAllowed).get(), 1);
        rig.rule.queries = [QueryKind::Active].into_iter().collect();
        assert!(is_stream(&rig, &Query::active(7)));
        assert_eq!(rig.counters.v4.queries.of(QueryKind::Active).get(), 1);
    }

    #[test]
    fn relay_id_and_remote_id_narrow_a_stream_only_where_that_is_switched_on() {
        let mut rig = Rig::new();
        let with =
            |relay: &[u8], remote: &[u8]| Query::active(7).option(82, &relay_info(relay, remote));
        let narrowed = [
            with(b"relay", b""),
            with(b"", b"circuit"),
            with(b"relay", b"circuit"),
        ];
        for query in &narrowed {
            let (status, text) = refused(&rig, &query.octets());
            assert_eq!(status, NOT_ALLOWED);
            assert!(text.contains("active.relay-scope"), "{text}");
        }
        rig.settings.active.relay_scope = true;
        let scopes = [
            Scope::RelayId4(b"relay"),
            Scope::RemoteId4(b"circuit"),
            Scope::RemoteId4(b"circuit"),
        ];
        for (query, scope) in narrowed.iter().zip(scopes) {
            let request = rig.stream(query);
            assert_eq!(request.teller.scope(), scope);
            assert_eq!(request.teller.shared_form(), None);
        }
    }

    #[test]
    fn option_82_with_neither_of_them_is_ignored() {
        let mut rig = Rig::new();
        for relay_scope in [false, true] {
            rig.settings.active.relay_scope = relay_scope;
            for value in [&[][..], &[1, 2, 9, 9]] {
                let request = rig.stream(&Query::active(7).option(82, value));
                assert_eq!(request.teller.scope(), Scope::V4);
            }
        }
    }

    #[test]
    fn a_relay_id_that_the_requestor_may_not_see_is_not_allowed() {
        let mut rig = Rig::new();
        rig.settings.active.relay_scope = true;
        rig.rule.relay_ids = vec![b"own".to_vec()];
        let with =
            |relay: &[u8], remote: &[u8]| Query::active(7).option(82, &relay_info(relay, remote));
        assert_eq!(refused(&rig, &with(b"other", b"").octets()).0, NOT_ALLOWED);
        assert!(is_stream(&rig, &with(b"own", b"")));
        assert!(
            is_stream(&rig, &with(b"", b"circuit")),
            "its rule narrows it"
        );
        assert!(is_stream(&rig, &Query::active(7)), "its rule narrows it");
    }

    #[test]
    fn the_start_time_and_the_transaction_id_are_the_query_s() {
        let rig = Rig::new();
        let request = rig.stream(&Query::active(0xfeed_0007));
        assert_eq!((request.xid, request.since), (0xfeed_0007, None));
        for since in [0, START, u32::MAX] {
            let request = rig.stream(&Query::active(7).option(154, &since.to_be_bytes()));
            assert_eq!(request.since, Some(since));
        }
    }

    #[test]
    fn all_vpns_may_be_asked_for_because_they_are_told_anyway() {
        let rig = Rig::new();
        assert!(is_stream(&rig, &Query::active(7).option(221, &[254])));
    }
}
