//! DHCPv6 active leasequery (RFC 7653): what an ACTIVELEASEQUERY starts, and how clients are told on its stream.
//!
//! The unit of every message is a client on a link, as in bulk leasequery: all its live leases there, and beside them, at
//! lifetimes of zero, the lease that has ended or is another client's now. [`request`] judges the message, [`filter`] knows
//! which clients the requestor wants and may see, [`change`] makes out what a record of the log means to it, and
//! [`teller`] writes that.

mod change;
mod filter;
mod request;
mod teller;
#[cfg(test)]
mod tests;

use leaseq_store::{Group, Hops, Record, View};
use leaseq_wire::v6::{Message, OptionsIter, StatusCode};

use super::refused::Refused;
use super::request::{self as query, Refusal};
use crate::active::{Scope, StreamRequest};
use crate::counters::CloseReason;
use crate::query::{Opened, QueryContext};
use crate::settings::QueryKind;

/// Octets of a message's header.
const HEADER: usize = 4;

/// Judges an ACTIVELEASEQUERY.
///
/// As of a LEASEQUERY, one without the requestor's CLIENTID, or for another server, is discarded (RFC 5007 §4.2.1, whose
/// validation RFC 7653 keeps). Every error is told in a LEASEQUERY-REPLY, after which the connection is closed (RFC 7653
/// §9.2, §9.3).
pub(crate) fn start(cx: &QueryContext<'_>, octets: &[u8]) -> Opened {
    let Some((&[_, x0, x1, x2], options)) = octets.split_first_chunk::<HEADER>() else {
        return Opened::Close(CloseReason::ShortFrame);
    };
    let xid = u32::from_be_bytes([0, x0, x1, x2]);
    let settings = &cx.settings.dhcp6;
    let message = Message::parse(octets).ok();
    let requestor = match message {
        Some(message) => query::requestor(message.iter(), settings),
        None => query::requestor_of_malformed(options, settings),
    };
    let requestor = match requestor {
        Ok(requestor) => requestor,
        Err(discard) => {
            cx.counters.v6.discarded.of(discard).increment();
            return Opened::Discarded;
        }
    };
    cx.counters.v6.queries.of(QueryKind::Active).increment();
    let read = match message {
        _ if !cx.settings.active.enabled => Err(request::not_enabled()),
        Some(message) => request::read(cx, &message),
        None => Err(Refusal::overrun()),
    };
    match read {
        Ok(request) => Opened::Stream(StreamRequest {
            xid,
            since: request.since,
            teller: Box::new(teller::Clients::new(xid, requestor, request)),
        }),
        Err(refusal) => {
            let close = match refusal.status {
                StatusCode::NotSupported => CloseReason::UnsupportedMessage,
                _ => CloseReason::QueryFailed,
            };
            Opened::Query(Box::new(Refused {
                base_time: message.is_some_and(|message| query::asks_base_time(&message)),
                close: Some(close),
                ..Refused::new(xid, requestor, refusal)
            }))
        }
    }
}

/// Refuses a query that came beside an active one, or an active one that came beside others (RFC 7653 §9.4).
pub(crate) fn beside(cx: &QueryContext<'_>, octets: &[u8]) -> Opened {
    let Some((&[_, x0, x1, x2], options)) = octets.split_first_chunk::<HEADER>() else {
        return Opened::Close(CloseReason::ShortFrame);
    };
    let requestor = query::requestor(OptionsIter::unchecked(options), &cx.settings.dhcp6);
    let text = "an active query has a connection to itself";
    let refusal = Refusal::new(StatusCode::NotAllowed, text);
    Opened::Query(Box::new(Refused {
        base_time: Message::parse(octets).is_ok_and(|message| query::asks_base_time(&message)),
        close: Some(CloseReason::BesideActive),
        ..Refused::new(
            u32::from_be_bytes([0, x0, x1, x2]),
            requestor.unwrap_or_default(),
            refusal,
        )
    }))
}

/// Gives every scope, but that of all of DHCPv6, under which a stream may have to tell the record: those of the lease, of
/// the client's other leases on the link, and of what has departed. One may come more than once.
pub(crate) fn scopes(view: &View, record: &Record<'_>, found: &mut dyn FnMut(Scope<'_>)) {
    let mut group = Group::default();
    match record {
        Record::Bind6(lease) => {
            // The group holds the lease itself.
            if !view.group_of(lease, &mut group) {
                return;
            }
            found(Scope::Duid(lease.duid()));
            found(Scope::Link(group.link));
        }
        Record::Departed6(departed) => {
            scopes_of_hops(departed.hops(), found);
            if !departed.duid().is_empty() {
                found(Scope::Duid(departed.duid()));
            }
            if let Some(link) = view.departed_link(departed) {
                found(Scope::Link(link));
            }
            view.group_of_departed(departed, &mut group);
        }
        _ => return,
    }
    for lease in &group.members {
        scopes_of_hops(lease.hops(), found);
    }
}

fn scopes_of_hops(hops: Hops<'_>, found: &mut dyn FnMut(Scope<'_>)) {
    for hop in hops {
        if let Some(id) = hop.relay_id {
            found(Scope::RelayId6(id));
        }
        if let Some(id) = hop.remote_id {
            found(Scope::RemoteId6(id));
        }
    }
}
