//! DHCPv6 active leasequery (RFC 7653): what an ACTIVELEASEQUERY starts, and how clients are told on its stream.

use super::bulk;
use leaseq_store::{Record, View};

use crate::active::Scope;
use crate::counters::CloseReason;
use crate::query::{Opened, QueryContext};

/// Judges an ACTIVELEASEQUERY.
pub(crate) fn start(cx: &QueryContext<'_>, octets: &[u8]) -> Opened {
    bulk::start(cx, octets).into()
}

/// Refuses a query that came beside an active one, or an active one that came beside others: with NotAllowed, in the kind
/// of message that ends such a query.
pub(crate) fn beside(_cx: &QueryContext<'_>, _octets: &[u8]) -> Opened {
    Opened::Close(CloseReason::BesideActive)
}

/// What a record is found under.
pub(crate) fn scopes(view: &View, record: &Record<'_>, found: &mut dyn FnMut(Scope<'_>)) {
    let _ = (view, record, found);
}
