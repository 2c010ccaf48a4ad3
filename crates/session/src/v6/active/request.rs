//! What an ACTIVELEASEQUERY asks, read and judged (RFC 7653 §6.2.1, §9.3).

use leaseq_store::VpnSelect;
use leaseq_wire::v6::{Message, StatusCode, option_code};

use super::filter::{By, Filter};
use crate::query::QueryContext;
use crate::settings::QueryKind;
use crate::v6::permission;
use crate::v6::request::{self, Ask, Query, Refusal};
use crate::v6::source;
use crate::v6::wanted::Wanted;

/// An active query that is permitted.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) filter: Filter,
    pub(super) wanted: Wanted,
    /// LQ_BASE_TIME is asked for.
    pub(super) base_time: bool,
    /// The VSS option's value, to be repeated beside each client; none: each client's own VPN is told.
    pub(super) vss: Option<&'a [u8]>,
    /// Query-start-time, in seconds of Unix time.
    pub(super) since: Option<u32>,
}

/// A server that has no active leasequery says so (RFC 7653 §9.2).
pub(super) fn not_enabled() -> Refusal {
    Refusal::new(StatusCode::NotSupported, "active leasequery is not enabled")
}

/// Reads a message whose options can be taken apart.
///
/// # Errors
/// The status to refuse it with.
pub(super) fn read<'a>(
    cx: &QueryContext<'_>,
    message: &Message<'a>,
) -> Result<Request<'a>, Refusal> {
    permission::permit_kind(cx.rule, QueryKind::Active)?;
    if message.option(option_code::LQ_END_TIME).is_some() {
        return Err(Refusal::malformed("an active query has no end time"));
    }
    let settings = &cx.settings.dhcp6;
    let base_time = request::asks_base_time(message);
    let Some(lq_query) = message.option(option_code::LQ_QUERY) else {
        return all_updates(cx, message, base_time);
    };
    let query = request::read(message, lq_query, None, settings)?;
    let link = source::locate(cx.view, cx.rule, &query)?;
    Ok(Request {
        filter: Filter {
            by: by(&query),
            link,
            vpn: query.vpn,
        },
        wanted: query.wanted,
        base_time,
        vss: query.vss,
        since: query.window.map(|window| window.start),
    })
}

/// A query without LQ_QUERY is for all updates of all VPNs that the requestor may see, unless it names one. Options to be
/// told of each client can only be asked for by the message's own ORO.
fn all_updates<'a>(
    cx: &QueryContext<'_>,
    message: &Message<'a>,
    base_time: bool,
) -> Result<Request<'a>, Refusal> {
    let (vpn, vss) = match message.option(option_code::VSS) {
        None => (VpnSelect::All, None),
        named => request::read_vpn(named)?,
    };
    permission::permit_vpn(cx.rule, &vpn)?;
    Ok(Request {
        filter: Filter {
            by: By::Anything,
            link: None,
            vpn,
        },
        wanted: Wanted::new(
            request::requested(message.options()),
            &cx.settings.dhcp6.withhold_options,
        ),
        base_time,
        vss,
        since: request::read_window(message)?.map(|window| window.start),
    })
}

fn by(query: &Query<'_>) -> By {
    match query.ask {
        Ask::Address(address) => By::Address(address),
        Ask::ClientId(duid) => By::Duid(duid.into()),
        Ask::RelayId(id) => By::RelayId(id.into()),
        Ask::RemoteId(id) => By::RemoteId(id.into()),
        // The link is the whole filter.
        Ask::Link => By::Anything,
    }
}
