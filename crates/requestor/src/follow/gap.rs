//! What is missing after DataMissing, and the bulk queries that bring it back (RFC 7724 §7.4.1, RFC 7653 §8.4.1).

use leaseq_wire::time::UnixSeconds;

use crate::{Query, Query4, Query6, Selector4, Selector6};

/// A time of which not every change was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The start time that was asked for, or the highest base-time before the gap.
    pub since: UnixSeconds,
    /// base-time of the message that told it; what changes later is told by the stream.
    pub until: UnixSeconds,
    /// How it is filled.
    pub filling: Filling,
}

/// How a gap is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// The bulk answer tells everything that changed in it, ends included.
    Window,
    /// The bulk answer tells everything that lives, and not what has ended: whatever is known from before the gap and
    /// told neither by it nor, since the gap opened, by the stream, has ended.
    Sweep,
    /// There is no bulk query that tells what the stream tells. What is missing stays missing.
    Impossible,
}

impl Gap {
    /// The gap in the answer to this active query, and the bulk queries that fill it.
    ///
    /// DHCPv4: only "all configured addresses" tells ends, so an unfiltered stream asks it for the gap's time, and a relay
    /// agent's asks for everything behind the relay agent. DHCPv6 bulk never tells ends: everything that the filter
    /// matches is asked for. Without a filter there is no such query; `others` are asked then, if the caller knows
    /// some (by the links that there are, for example).
    pub(super) fn of(
        query: &Query,
        others: &[Query],
        since: UnixSeconds,
        until: UnixSeconds,
    ) -> (Self, Vec<Query>) {
        let (filling, queries) = match query {
            Query::V4(query) if query.selector == Selector4::All => {
                let query = Query4 {
                    since: Some(since),
                    until: Some(until),
                    ..query.clone()
                };
                (Filling::Window, vec![Query::V4(query)])
            }
            Query::V6(query) if query.selector == Selector6::All && others.is_empty() => {
                (Filling::Impossible, Vec::new())
            }
            Query::V6(query) if query.selector == Selector6::All => {
                (Filling::Sweep, others.to_vec())
            }
            Query::V4(query) => {
                let query = Query4 {
                    since: None,
                    until: None,
                    ..query.clone()
                };
                (Filling::Sweep, vec![Query::V4(query)])
            }
            Query::V6(query) => {
                let query = Query6 {
                    since: None,
                    until: None,
                    ..query.clone()
                };
                (Filling::Sweep, vec![Query::V6(query)])
            }
        };
        let gap = Self {
            since,
            until,
            filling,
        };
        (gap, queries)
    }
}
