//! DHCPv4 active leasequery (RFC 7724): what a DHCPACTIVELEASEQUERY starts, and how bindings are told on its stream.
//!
//! - `request` judges a query: a stream, or a [`Refusal`] that says in a DHCPLEASEQUERYSTATUS why there is none.
//! - `teller` is what the messages of a stream are: which record concerns it, and the octets that tell it.

mod refusal;
mod request;
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
