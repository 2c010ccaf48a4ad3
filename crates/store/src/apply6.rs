//! How an IPv6 lease is applied: its place in the group of its client and link, and the group's places in the lists.
//!
//! A group stands under its DUID, its link, and every relay-id and remote-id of every hop of any of its leases; once under
//! each value, and as long as a lease has it.

use smallvec::SmallVec;

use crate::apply::{Exhausted, Indexes, Stored};
use crate::index::Groups;
use crate::keys::Keys;
use crate::log::{Pos, Segments};
use crate::record::Bind6;

/// Which identifier of a relay agent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Id {
    Remote,
    Relay,
}

/// Identifiers of a lease's relay agents, each once.
type Ids<'a> = SmallVec<[(Id, &'a [u8]); 8]>;

fn ids<'a>(lease: &Bind6<'a>) -> Ids<'a> {
    let mut ids = Ids::new();
    for hop in lease.hops() {
        let both = [(Id::Remote, hop.remote_id), (Id::Relay, hop.relay_id)];
        for (id, value) in both {
            if let Some(value) = value
                && !ids.contains(&(id, value))
            {
                ids.push((id, value));
            }
        }
    }
    ids
}

fn has(lease: &Bind6<'_>, (id, value): (Id, &[u8])) -> bool {
    match id {
        Id::Remote => lease.has_remote_id(value),
        Id::Relay => lease.has_relay_id(value),
    }
}

/// Whether a member of the group, other than `except`, is as asked.
fn any_member(
    groups: &Groups,
    stored: Stored<'_, '_>,
    group: u32,
    except: Option<u32>,
    mut asked: impl FnMut(&Bind6<'_>) -> bool,
) -> bool {
    let mut slots = SmallVec::new();
    groups.collect(group, &mut slots);
    slots
        .iter()
        .filter(|&&slot| Some(slot) != except)
        .any(|&slot| stored.bind6(slot).is_some_and(|lease| asked(&lease)))
}

impl Indexes {
    /// The group of a client on a link.
    pub(crate) fn group6(&self, log: &Segments, lease: &Bind6<'_>, link: u32) -> Option<u32> {
        let stored = self.stored(log);
        let candidates = self.duid.find(self.hasher.duid(lease.duid()));
        (0..candidates.len()).find_map(|place| {
            let group = candidates.get(place)?;
            let same = self.groups.link(group) == Some(link)
                && any_member(&self.groups, stored, group, None, |member| {
                    member.duid() == lease.duid() && member.vpn() == lease.vpn()
                });
            same.then_some(group)
        })
    }

    /// Applies an IPv6 lease that lies in the log at `pos`; `slot` is that of its key, if it has one.
    pub(crate) fn apply6(
        &mut self,
        log: &Segments,
        slot: Option<u32>,
        pos: Pos,
        lease: &Bind6<'_>,
    ) -> Result<u32, Exhausted> {
        let link = self
            .links
            .resolve(lease.link(), lease.kind(), lease.address())
            .ok_or(Exhausted)?;
        let (slot, old) = match slot {
            Some(slot) => (slot, self.stored(log).bind6(slot)),
            None => (self.slots.alloc().ok_or(Exhausted)?, None),
        };
        let before = self.groups.group_of(slot);
        let stays = before.is_some_and(|group| {
            self.groups.link(group) == Some(link)
                && old.is_some_and(|old| old.duid() == lease.duid() && old.vpn() == lease.vpn())
        });
        let group = match before {
            Some(group) if stays => Some(group),
            _ if lease.duid().is_empty() => None,
            _ => self.group6(log, lease, link),
        };
        self.changing6(log, old.as_ref(), slot);
        // The position first: whoever meets the slot in its new group then reads with which record it came there.
        let old_pos = self.slots.pos(slot);
        self.slots.set_pos(slot, pos.raw());
        match old {
            None => self.keys.insert(
                self.hasher
                    .key6(lease.vpn().vss(), lease.address(), lease.prefix_len()),
                slot,
            ),
            Some(old) => log.dead(Pos::from_raw(old_pos), old.octets().len()),
        }
        if stays {
            if let (Some(group), Some(old)) = (group, old) {
                self.list6(log, group, slot, lease, Some(&old));
                self.unlist6(log, group, &old);
            }
        } else {
            self.leave_group(log, slot, old.as_ref());
            if !lease.duid().is_empty() {
                self.join_group(log, group, link, slot, lease)?;
            }
        }
        self.changed6(log, lease, slot);
        if lease.prefix_len() < 128 {
            self.prefix_lengths.add(lease.prefix_len());
        }
        self.counts
            .moved(true, old.map(|old| old.state()), Some(lease.state()));
        self.schedule(
            slot,
            lease.state(),
            lease.end(),
            lease.state_since().max(lease.stamp().seconds()),
        );
        Ok(slot)
    }

    pub(crate) fn join_group(
        &mut self,
        log: &Segments,
        group: Option<u32>,
        link: u32,
        slot: u32,
        lease: &Bind6<'_>,
    ) -> Result<(), Exhausted> {
        let (group, is_new) = match group {
            Some(group) => (group, false),
            None => (self.groups.create(link).ok_or(Exhausted)?, true),
        };
        self.groups.insert(group, slot);
        if is_new {
            let (slots, groups) = (self.slots.shared(), self.groups.shared());
            let stored = Stored { log, slots: &slots };
            self.duid
                .insert(self.hasher.duid(lease.duid()), group, |other| {
                    other == group
                        || any_member(&groups, stored, other, None, |member| {
                            member.duid() == lease.duid()
                        })
                });
            if let Some(list) = self.links.groups_mut(link) {
                list.insert(group);
            }
        }
        self.list6(log, group, slot, lease, None);
        Ok(())
    }

    /// Lists a group under the values of a member that no other member has, nor the member's record until now.
    fn list6(
        &mut self,
        log: &Segments,
        group: u32,
        slot: u32,
        lease: &Bind6<'_>,
        old: Option<&Bind6<'_>>,
    ) {
        let (slots, groups) = (self.slots.shared(), self.groups.shared());
        let stored = Stored { log, slots: &slots };
        for (id, value) in ids(lease) {
            let listed = old.is_some_and(|old| has(old, (id, value)))
                || any_member(&groups, stored, group, Some(slot), |other| {
                    has(other, (id, value))
                });
            if listed {
                continue;
            }
            let same = |other| {
                other == group
                    || any_member(&groups, stored, other, None, |member| {
                        has(member, (id, value))
                    })
            };
            match id {
                Id::Remote => self
                    .remote_id6
                    .insert(self.hasher.remote_id6(value), group, same),
                Id::Relay => self
                    .relay_id6
                    .insert(self.hasher.relay_id6(value), group, same),
            }
        }
    }

    /// Takes a group off the lists of values that a member had until now, unless a member has them still.
    fn unlist6(&mut self, log: &Segments, group: u32, old: &Bind6<'_>) {
        for (id, value) in ids(old) {
            let stored = Stored {
                log,
                slots: &self.slots,
            };
            if any_member(&self.groups, stored, group, None, |member| {
                has(member, (id, value))
            }) {
                continue;
            }
            match id {
                Id::Remote => self.remote_id6.remove(self.hasher.remote_id6(value), group),
                Id::Relay => self.relay_id6.remove(self.hasher.relay_id6(value), group),
            };
        }
    }

    /// Takes a slot out of its group; `old` is the record that it had there. The last one takes the group off all lists.
    pub(crate) fn leave_group(&mut self, log: &Segments, slot: u32, old: Option<&Bind6<'_>>) {
        let (Some((group, was_last)), Some(old)) = (self.groups.remove(slot), old) else {
            return;
        };
        self.unlist6(log, group, old);
        if !was_last {
            return;
        }
        self.duid.remove(self.hasher.duid(old.duid()), group);
        if let Some(link) = self.groups.link(group)
            && let Some(list) = self.links.groups_mut(link)
        {
            list.remove(group);
        }
        self.groups.free(group);
    }

    /// Removes a lease whose end compaction has dropped, and gives back its slot.
    pub(crate) fn drop6(&mut self, log: &Segments, slot: u32, old: &Bind6<'_>) {
        self.changing6(log, Some(old), slot);
        self.leave_group(log, slot, Some(old));
        self.keys.remove(
            self.hasher
                .key6(old.vpn().vss(), old.address(), old.prefix_len()),
            slot,
        );
        self.leave(slot);
        self.counts.moved(true, Some(old.state()), None);
    }
}
