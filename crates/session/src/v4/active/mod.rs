//! DHCPv4 active leasequery (RFC 7724): what a DHCPACTIVELEASEQUERY starts, and how bindings are told on its stream.
//!
//! - `request` judges a query: a stream, or a [`Refusal`] that says in a DHCPLEASEQUERYSTATUS why there is none.
//! - `teller` is what the messages of a stream are: which record concerns it, and the octets that tell it.

mod refusal;
mod request;
#[cfg(test)]
mod rig;
mod teller;

use leaseq_store::{Record, View};
use leaseq_wire::v4::message_type::{DHCPACTIVELEASEQUERY, DHCPBULKLEASEQUERY, DHCPTLS};
use leaseq_wire::v4::{Message, StatusCode};

use super::bulk;
use crate::active::Scope;
use crate::counters::CloseReason;
use crate::query::{Opened, QueryContext};
use refusal::Refusal;

pub(super) use request::start;

/// The text of NotAllowed for a query that would share a connection with an active one (RFC 7724 §8.3).
const BESIDE: &str = "an active query has a connection to itself";

/// Refuses a query that came beside an active one, or an active one that came beside others: with NotAllowed, in the kind
/// of message that ends such a query.
pub(crate) fn beside(cx: &QueryContext<'_>, octets: &[u8]) -> Opened {
    let (message_type, xid) = match Message::parse(octets) {
        Ok(message) => (message.message_type(), message.xid()),
        Err(error) => (error.message_type, error.xid.unwrap_or_default()),
    };
    match message_type {
        Some(DHCPACTIVELEASEQUERY) if cx.settings.active.enabled => {
            let mut refusal = Refusal::new(xid, StatusCode::NotAllowed, BESIDE);
            refusal.close = CloseReason::BesideActive;
            Opened::Query(Box::new(refusal))
        }
        Some(DHCPBULKLEASEQUERY) => bulk::refused_beside(cx, xid, BESIDE).into(),
        Some(DHCPTLS) => Opened::Tls { xid },
        _ => Opened::Close(CloseReason::UnsupportedMessage),
    }
}

/// Calls `found` with each narrow scope that a stream which a record concerns may have.
pub(crate) fn scopes(_view: &View, record: &Record<'_>, found: &mut dyn FnMut(Scope<'_>)) {
    let (relay_id, remote_id) = match record {
        Record::Bind4(bind) => (bind.relay_id(), bind.remote_id()),
        Record::Departed4(departed) => (departed.relay_id(), departed.remote_id()),
        Record::Bind6(_) | Record::Departed6(_) | Record::Feed(_) => (None, None),
    };
    if let Some(relay_id) = relay_id {
        found(Scope::RelayId4(relay_id));
    }
    if let Some(remote_id) = remote_id {
        found(Scope::RemoteId4(remote_id));
    }
}

#[cfg(test)]
mod tests {
    use leaseq_wire::v4::message_type::{DHCPLEASEQUERYDONE, DHCPLEASEQUERYSTATUS};
    use leaseq_wire::v4::option_code::{BASE_TIME, SERVER_IDENTIFIER, STATUS_CODE};

    use super::rig::{Query, Rig, START, lease};
    use super::*;
    use crate::counters::QueryEnd;
    use crate::query::{RunningQuery, StepEnd};

    #[test]
    fn beside_another_query_each_kind_is_refused_in_its_own_words() {
        let rig = Rig::new();
        let view = rig.view();
        for (message_type, answer) in [
            (DHCPACTIVELEASEQUERY, DHCPLEASEQUERYSTATUS),
            (DHCPBULKLEASEQUERY, DHCPLEASEQUERYDONE),
        ] {
            let mut query = Query::active(7);
            query.message_type = message_type;
            let Opened::Query(query) = beside(&rig.cx(&view), &query.octets()) else {
                panic!("an answer");
            };
            assert_eq!(query.xid(), 7);
            let (heard, end) = rig.answer(query);
            assert_eq!((heard.message_type, heard.xid), (answer, 7));
            assert_eq!(heard.octet(STATUS_CODE), Some(StatusCode::NotAllowed as u8));
            assert!(heard.options.contains_key(&SERVER_IDENTIFIER));
            let close = Some(CloseReason::BesideActive);
            assert_eq!(end, StepEnd::Done { empty: true, close });
        }
        assert_eq!(rig.counters.v4.ended.of(QueryEnd::NotAllowed).get(), 2);
        assert_eq!(rig.counters.v4.queries.total(), 0);
    }

    #[test]
    fn beside_a_query_what_is_none_is_judged_as_ever() {
        let mut rig = Rig::new();
        let of_type = |message_type| {
            let mut query = Query::active(7);
            query.message_type = message_type;
            query.octets()
        };
        let view = rig.view();
        assert!(matches!(
            beside(&rig.cx(&view), &of_type(DHCPTLS)),
            Opened::Tls { xid: 7 }
        ));
        let closes = |rig: &Rig, octets: &[u8]| {
            matches!(
                beside(&rig.cx(&view), octets),
                Opened::Close(CloseReason::UnsupportedMessage)
            )
        };
        assert!(closes(&rig, &of_type(1)) && closes(&rig, &[1; 300]));
        rig.settings.active.enabled = false;
        assert!(closes(&rig, &of_type(DHCPACTIVELEASEQUERY)));
    }

    #[test]
    fn a_transaction_id_in_use_is_malformed_in_a_status() {
        let rig = Rig::new();
        let mut refusal = Refusal::new(7, StatusCode::NotAllowed, "");
        refusal.refuse_duplicate();
        refusal.terminate("no matter");
        let (heard, end) = rig.answer(Box::new(refusal));
        assert_eq!(
            heard.octet(STATUS_CODE),
            Some(StatusCode::MalformedQuery as u8)
        );
        assert_eq!(heard.number(BASE_TIME), Some(START));
        let close = Some(CloseReason::DuplicateXid);
        assert_eq!(end, StepEnd::Done { empty: true, close });
    }

    #[test]
    fn a_record_is_found_under_its_relay_id_and_its_remote_id() {
        let rig = Rig::new();
        let scopes_of = |rig: &Rig| {
            rig.last(|cx, record| {
                let mut found = Vec::new();
                scopes(cx.view, record, &mut |scope| {
                    found.push(format!("{scope:?}"))
                });
                found
            })
        };
        let text = |scope: Scope<'_>| format!("{scope:?}");
        rig.store(lease([100, 64, 0, 1], b"relay", b"circuit"));
        assert_eq!(
            scopes_of(&rig),
            [
                text(Scope::RelayId4(b"relay")),
                text(Scope::RemoteId4(b"circuit"))
            ]
        );
        rig.store(lease([100, 64, 0, 1], b"", b"circuit"));
        assert_eq!(scopes_of(&rig), [text(Scope::RemoteId4(b"circuit"))]);
        rig.store(lease([100, 64, 0, 1], b"", b""));
        assert_eq!(scopes_of(&rig), [""; 0]);
        let view = rig.view();
        let mut departed = Vec::new();
        for scanned in view.scan(leaseq_store::ScanFrom::Start) {
            if let Record::Departed4(_) = scanned.record {
                scopes(&view, &scanned.record, &mut |scope| {
                    departed.push(text(scope))
                });
            }
        }
        assert_eq!(
            departed,
            [
                text(Scope::RelayId4(b"relay")),
                text(Scope::RemoteId4(b"circuit")),
                text(Scope::RemoteId4(b"circuit")),
            ]
        );
    }
}
