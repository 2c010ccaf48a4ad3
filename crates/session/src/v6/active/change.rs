//! What a record of the log means to a stream: a client on a link, and which of its leases to tell as live and which as over.
//!
//! A record is looked at when the stream comes to it, in a store that may be far ahead. So what a message says of the
//! client is what it has now, and the record itself decides only whether there is something to say. Nothing is lost by it:
//! whatever makes a difference later has a later record.
//!
//! - A client that matches is told with all its live leases. The record's lease is told as over if it is, or is another
//!   client's now.
//! - A client that has matched until the record, and does not any more, is gone for this stream: whatever it has on the link
//!   is told as over.
//! - A lease that ended while its client did not match may have been told before. So where a match depends on the leases, one
//!   that is over and does not match by itself is told as over with every message about its client.
//! - A lease that is told because of another one of its client departs from what both had; the store sees to it that it does
//!   so in a record of its own, so that its end is told even if both have gone elsewhere before the stream comes to them.

use leaseq_store::{Bind6, Departed6, Group, Stamp, VpnRef};
use leaseq_wire::v6::option_code;
use leaseq_wire::{Full, OutBuf};
use smallvec::SmallVec;

use super::filter::{Filter, Member};
use crate::query::QueryContext;
use crate::v6::client_data::{
    Lease, Share, Told, is_live, put_from_record, put_leases, put_option,
};
use crate::v6::wanted::Wanted;

/// What is to be told of one client on one link.
pub(super) struct Change<'g, 'v> {
    duid: &'v [u8],
    pub(super) vpn: VpnRef<'v>,
    /// The record whose CLT_TIME, relay data and options are the client's.
    newest: Option<Bind6<'v>>,
    /// Records that may have more options of the client.
    live: &'g [Bind6<'v>],
    base: Stamp,
    /// In order of their addresses.
    leases: SmallVec<[Lease; 8]>,
}

/// How a client stands to a filter after a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Matches,
    /// It has matched until now.
    Gone,
    Other,
}

impl<'g, 'v> Change<'g, 'v> {
    /// What the newest record of a lease means; `group` is its client's, the lease among them.
    pub(super) fn of_lease(
        cx: &QueryContext<'_>,
        filter: &Filter,
        record: &Bind6<'v>,
        base: Stamp,
        group: &'g mut Group<'v>,
    ) -> Option<Self> {
        if !filter.admits_client(cx.rule, cx.view, group.link, record.duid(), record.vpn()) {
            return None;
        }
        let ended = !is_live(record, base);
        let (live, over) = parted(group, base);
        if !ended && told_later(record, live) {
            return None;
        }
        let before = live.iter().chain(ended.then_some(record));
        let standing = Standing::of(cx, filter, live, before.map(Member::from));
        let newest = match standing {
            Standing::Matches => newest(live).unwrap_or(record),
            Standing::Gone => record,
            Standing::Other => return None,
        };
        let subject = ended.then(|| over_lease(record));
        Some(Self {
            duid: record.duid(),
            vpn: record.vpn(),
            newest: Some(*newest),
            live: if standing == Standing::Matches {
                live
            } else {
                &[]
            },
            base,
            leases: leases(cx, filter, standing, live, over, subject, base),
        })
    }

    /// What a departure means; `group` is what the client that the lease was of has now on the link that it was on.
    pub(super) fn of_departed(
        cx: &QueryContext<'_>,
        filter: &Filter,
        departed: &Departed6<'v>,
        base: Stamp,
        group: &'g mut Group<'v>,
    ) -> Option<Self> {
        let (duid, vpn) = (departed.duid(), departed.vpn());
        let link = cx
            .view
            .departed_link(departed)
            .filter(|_| !duid.is_empty())?;
        if !filter.admits_client(cx.rule, cx.view, link, duid, vpn) {
            return None;
        }
        let stays = group.members.iter().any(|lease| {
            (lease.address(), lease.prefix_len()) == (departed.address(), departed.prefix_len())
        });
        let (live, over) = parted(group, base);
        let before = live.iter().map(Member::from);
        let before = before.chain(std::iter::once(Member::from(departed)));
        let standing = Standing::of(cx, filter, live, before);
        let newest = match standing {
            // The lease's own record follows.
            Standing::Matches if stays => return None,
            Standing::Matches => newest(live),
            Standing::Gone => None,
            Standing::Other => return None,
        };
        let (address, prefix_len) = (departed.address(), departed.prefix_len());
        let subject = Some(Lease::over(address, prefix_len, departed.kind()));
        Some(Self {
            duid,
            vpn,
            newest: newest.copied(),
            live: if standing == Standing::Matches {
                live
            } else {
                &[]
            },
            base,
            leases: leases(cx, filter, standing, live, over, subject, base),
        })
    }

    /// Appends the CLIENT_DATA option with its share of the leases.
    ///
    /// # Errors
    /// [`Full`] if the buffer ends before the share's limit.
    pub(super) fn put(
        &self,
        out: &mut OutBuf<'_>,
        wanted: &Wanted,
        share: Share,
    ) -> Result<Told, Full> {
        let header = out.len();
        out.put_u16(option_code::CLIENT_DATA)?;
        out.put_u16(0)?;
        put_option(out, option_code::CLIENTID, self.duid)?;
        if let Some(newest) = &self.newest {
            let live = self.live.iter();
            put_from_record(out, newest, live, wanted, self.base, share.limit)?;
        }
        let told = put_leases(out, self.leases.iter().copied(), share)?;
        let length = out.len() - header - 4;
        // The limit is that of a message, so the length of what is in it fits into 16 bits.
        out.patch_u16(header + 2, u16::try_from(length).map_err(|_| Full)?);
        Ok(told)
    }
}

impl Standing {
    /// `live`: the client's live leases; `before`: those that it had until the record.
    fn of<'v>(
        cx: &QueryContext<'_>,
        filter: &Filter,
        live: &[Bind6<'v>],
        before: impl Iterator<Item = Member<'v>> + Clone,
    ) -> Self {
        if filter.admits_leases(cx.rule, live.iter().map(Member::from)) {
            Self::Matches
        } else if filter.admits_leases(cx.rule, before) {
            Self::Gone
        } else {
            Self::Other
        }
    }
}

/// The client's live leases, and the others.
fn parted<'g, 'v>(group: &'g mut Group<'v>, base: Stamp) -> (&'g [Bind6<'v>], &'g [Bind6<'v>]) {
    let members = &mut group.members;
    members.sort_unstable_by_key(|lease| !is_live(lease, base));
    let live = members.partition_point(|lease| is_live(lease, base));
    members.split_at(live)
}

/// Whether a later record of the same commit tells the same: a client's address and prefix are mostly renewed together.
///
/// What a live lease's message says is in that of each later record about its client. Should that one be superseded before
/// the stream comes to it, what supersedes it is a record about the client too: another state of the lease, or its
/// departure. And base-time is the same, so nothing is lost if the stream ends between the two.
fn told_later(record: &Bind6<'_>, live: &[Bind6<'_>]) -> bool {
    live.iter()
        .any(|other| other.stamp() == record.stamp() && other.sequence() > record.sequence())
}

/// The live lease that the client spoke about last.
fn newest<'g, 'v>(live: &'g [Bind6<'v>]) -> Option<&'g Bind6<'v>> {
    live.iter()
        .max_by_key(|lease| (lease.cltt(), lease.sequence()))
}

fn over_lease(lease: &Bind6<'_>) -> Lease {
    Lease::over(lease.address(), lease.prefix_len(), lease.kind())
}

/// What to tell of which lease. `subject`: that of the record, if it is over.
fn leases(
    cx: &QueryContext<'_>,
    filter: &Filter,
    standing: Standing,
    live: &[Bind6<'_>],
    over: &[Bind6<'_>],
    subject: Option<Lease>,
    base: Stamp,
) -> SmallVec<[Lease; 8]> {
    let live = live.iter().map(|lease| match standing {
        Standing::Matches => Lease::live(lease, base),
        Standing::Gone | Standing::Other => over_lease(lease),
    });
    let unnoticed = over
        .iter()
        .filter(|lease| !filter.admits_leases(cx.rule, std::iter::once(Member::from(*lease))))
        .map(over_lease);
    let mut leases: SmallVec<[Lease; 8]> = live.chain(unnoticed).chain(subject).collect();
    leases.sort_unstable_by_key(Lease::key);
    leases.dedup_by_key(|lease| lease.key());
    leases
}
