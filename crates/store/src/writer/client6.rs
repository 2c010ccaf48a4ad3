//! What a client's other leases lose with a change of one of them.
//!
//! In DHCPv6 a client on a link is told as a whole where one of its leases is asked for: by a relay agent, the leases behind
//! others are told too. When the last lease behind a relay agent leaves the client or ends, all of that is over for those who
//! follow this relay agent. Who reads the log late finds the client as it is by then, without the leases that have gone
//! elsewhere since; so each of the others departs from what the client has lost, in a record of its own. Clients whose leases
//! are all behind the same relay agents, which is nearly all of them, need no such record.

use smallvec::SmallVec;

use super::batch::{Batch, Context};
use crate::event::{MAX_HOPS, State};
use crate::keys::Keys;
use crate::record::{Bind6, Hop, encode_departed6};
use crate::time::Stamp;

/// Other leases of a client that are looked at when one changes, at most: a client with thousands must not hold the writer up.
const MOST_OTHERS: usize = 128;
/// Leases of a client that depart with one of them, at most.
const MOST_DEPARTING: usize = 64;
/// Octets of identifiers in a departure beyond which no further hop is added.
const MOST_OCTETS: usize = 16 << 10;

type Hops<'a> = SmallVec<[Hop<'a>; 8]>;

/// The other leases, in any state, of the client and link that `old` belongs to, as the batch leaves them so far; not all of
/// them if there are very many. `slot`: that of `old`; `settled`: the batch has not changed it.
pub(super) fn others<'b>(
    batch: &'b Batch,
    cx: &Context<'b>,
    old: &Bind6<'_>,
    slot: Option<u32>,
    settled: bool,
) -> SmallVec<[Bind6<'b>; 4]> {
    let mut others: SmallVec<[Bind6<'b>; 4]> = SmallVec::new();
    if old.duid().is_empty() {
        return others;
    }
    let indexes = cx.indexes;
    let links = indexes.links.shared();
    let on = links.of_lease(old.link(), old.kind(), old.address());
    let same_client = |lease: &Bind6<'_>| {
        lease.duid() == old.duid()
            && lease.vpn() == old.vpn()
            && (on.is_some() && links.of_lease(lease.link(), lease.kind(), lease.address()) == on
                || lease.link() == old.link() && lease.kind() == old.kind())
    };
    let mut add = |lease: Bind6<'b>| {
        let is = |other: &Bind6<'_>| {
            (other.address(), other.prefix_len()) == (lease.address(), lease.prefix_len())
        };
        if same_client(&lease) && !is(old) && !others.iter().any(is) {
            others.push(lease);
        }
    };
    let group = match slot.filter(|_| settled) {
        Some(slot) => indexes.groups.group_of(slot),
        None => on.and_then(|link| indexes.group6(cx.log, old, link)),
    };
    if let Some(group) = group {
        let mut slots = SmallVec::new();
        indexes.groups.collect(group, &mut slots);
        let stored = indexes.stored(cx.log);
        let few = slots.iter().take(MOST_OTHERS);
        for lease in few.filter_map(|&slot| stored.bind6(slot)) {
            add(batch.newest6(cx, &lease).unwrap_or(lease));
        }
    }
    batch
        .joined(indexes.hasher.duid(old.duid()))
        .take(MOST_OTHERS)
        .filter_map(|lease| batch.newest6(cx, &lease))
        .for_each(add);
    others
}

/// Hops of the live leases among these, each once.
fn hops<'a>(leases: impl Iterator<Item = Bind6<'a>>) -> Hops<'a> {
    let mut hops = Hops::new();
    let mut octets = 0;
    let live = leases.filter(|lease| lease.state() == State::Active);
    for hop in live.flat_map(|lease| lease.hops()) {
        if hops.contains(&hop) || hops.len() >= MAX_HOPS || octets > MOST_OCTETS {
            continue;
        }
        let values = [hop.remote_id, hop.relay_id];
        octets += values.into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        hops.push(hop);
    }
    hops
}

/// Whether each identifier of these hops is one of those.
fn all_among<'a>(these: &[Hop<'_>], those: impl Iterator<Item = Hop<'a>> + Clone) -> bool {
    these.iter().all(|hop| {
        let remote =
            hop.remote_id.is_none() || those.clone().any(|other| other.remote_id == hop.remote_id);
        let relay =
            hop.relay_id.is_none() || those.clone().any(|other| other.relay_id == hop.relay_id);
        remote && relay
    })
}

/// Appends the departure of a lease: from its own hops, and from those of the client's other live leases, under which it was
/// told too. If there is no room for these, from its own.
pub(super) fn depart(
    out: &mut Vec<u8>,
    old: &Bind6<'_>,
    others: &[Bind6<'_>],
    room: usize,
    stamp: Stamp,
) {
    let own: Hops<'_> = old.hops().collect();
    let mut all = own.clone();
    for hop in hops(others.iter().copied()) {
        if all.len() < MAX_HOPS && !all.contains(&hop) {
            all.push(hop);
        }
    }
    let start = out.len();
    encode_departed6(out, *old, &all, 0, stamp);
    if out.len() > room {
        out.truncate(start);
        encode_departed6(out, *old, &own, 0, stamp);
    }
}

/// Appends departures of the others from what the client loses, as far as there is room. `new`: what stays of `old` there, if
/// anything does.
pub(super) fn others_depart(
    out: &mut Vec<u8>,
    old: &Bind6<'_>,
    new: Option<&Bind6<'_>>,
    others: &[Bind6<'_>],
    room: usize,
    stamp: Stamp,
) {
    if others.is_empty() || old.state() != State::Active {
        return;
    }
    let before = hops(others.iter().copied().chain([*old]));
    let after = hops(others.iter().copied().chain(new.copied()));
    let is_lost = |hop: &Hop<'_>| !all_among(&[*hop], after.iter().copied());
    let lost: Hops<'_> = before.iter().copied().filter(is_lost).collect();
    let unaware = others
        .iter()
        .filter(|other| !all_among(&lost, other.hops()));
    for other in unaware.take(MOST_DEPARTING) {
        let start = out.len();
        encode_departed6(out, *other, &before, 0, stamp);
        if out.len() > room {
            return out.truncate(start);
        }
    }
}
