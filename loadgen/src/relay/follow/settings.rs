//! How the followers of a group follow.

use std::sync::Arc;

use leaseq_requestor::client::now as unix_now;
use leaseq_requestor::follow::FollowSettings;
use leaseq_requestor::{Query, Selector6};
use leaseq_wire::time::UnixSeconds;

use crate::measure::clock::now_ns;
use crate::relay::context::{Context, requestor_duid};
use crate::scenario::{By, CatchUp};

/// Part of the patience that passes between two attempts.
const ATTEMPTS: u32 = 40;

/// Seconds by which a server's clock may differ from ours, and a change be older than its second.
const SLACK: u32 = 2;

/// Queries that fill the gaps of an unfiltered DHCPv6 stream: those about so many relays at most.
const FILL_QUERIES: u32 = 10_000;

/// The settings of a group: times that let a run of a minute see its relays come back. Only the time after which silence
/// is taken for death is the RFCs': what is silent for longer than a server's keepalive, and no shorter one, is dead.
#[must_use]
pub fn settings(context: &Context) -> Arc<FollowSettings> {
    let defaults = FollowSettings::default();
    let patience = context.patience;
    let pause = patience / ATTEMPTS;
    // DHCPv6 has no bulk query about everything; those about each relay tell it together.
    let needs_queries = context.query(0, 0).is_some_and(|query| {
        matches!(
            query,
            Query::V6(query) if query.selector == Selector6::All
        )
    });
    let fill_queries = match needs_queries {
        true => {
            let requestor = requestor_duid(0);
            (0..context.inventory.targets(By::RelayId).min(FILL_QUERIES))
                .filter_map(|relay| context.inventory.query(By::RelayId, relay, &requestor))
                .collect()
        }
        false => Vec::new(),
    };
    Arc::new(FollowSettings {
        connect_timeout: patience,
        receive_timeout: patience.max(defaults.receive_timeout),
        data_timeout: patience,
        send_timeout: patience,
        retry_interval: pause.min(defaults.retry_interval),
        max_backoff: (4 * pause).min(defaults.max_backoff),
        // Links have it.
        tls: None,
        fill_queries,
    })
}

/// Where a follower starts: the base-time that it is taken to have heard last.
#[must_use]
pub fn start(catch_up: CatchUp, now: UnixSeconds) -> Option<UnixSeconds> {
    match catch_up {
        CatchUp::None => None,
        CatchUp::All => Some(UnixSeconds(0)),
        CatchUp::Since(span) => {
            let ago = u32::try_from(span.get().as_secs()).unwrap_or(u32::MAX);
            Some(UnixSeconds(now.0.saturating_sub(ago)))
        }
    }
}

/// The newest change that a server may have known of at this time, so that a follower from there need not be told of it.
#[must_use]
pub fn known_at(context: &Context, start: UnixSeconds) -> u64 {
    // The second of the start is told whole, and the server's clock need not be ours to the second.
    let ago = u64::from(unix_now().0.saturating_sub(start.0.saturating_add(SLACK)));
    let at = now_ns().saturating_sub(ago.saturating_mul(1_000_000_000));
    let (board, family) = (&context.board, context.family);
    let was_known = |number| {
        let times = board.times(family, number);
        times.is_some_and(|(_, acknowledged)| acknowledged <= at)
    };
    let (mut known, mut later) = (0, board.acknowledged(family) + 1);
    while later - known > 1 {
        let middle = known + (later - known) / 2;
        if was_known(middle) {
            known = middle;
        } else {
            later = middle;
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catch_up_starts_so_long_ago_and_not_before_time_began() {
        let now = UnixSeconds(10_000);
        let since = |text: &str| start(CatchUp::try_from(text.to_owned()).unwrap(), now);
        assert_eq!(since("none"), None);
        assert_eq!(since("all"), Some(UnixSeconds(0)));
        assert_eq!(since("15m"), Some(UnixSeconds(9_100)));
        assert_eq!(since("5h"), Some(UnixSeconds(0)));
    }
}
