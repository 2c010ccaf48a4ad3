//! Places made anew, by ranges and links that are configured otherwise, while changes go on.
//!
//! One slot after the other is given its place in indexes beside those in use, some thousands in a turn of the thread that
//! writes. What changes of a slot that has its new place is changed there too; of one whose turn has yet to come, the turn
//! finds what is stored then. When all have theirs, the new indexes take the place of the old ones in one step.

use crate::apply::{Exhausted, Indexes};
use crate::index::{GroupsWriter, IdListWriter, PostingsWriter, Ranges4Writer};
use crate::keys::Keys;
use crate::links::LinksWriter;
use crate::log::Segments;
use crate::places::GENERATIONS;
use crate::record::{Bind4, Bind6, Record};
use crate::shared::range_vpn;
use crate::store::TopologyChangeError;
use crate::topology::{LinkConfig, Range4};
use crate::vpn::Vpn;

/// The indexes that are being made.
#[derive(Default)]
pub(crate) struct Anew {
    ranges: Option<NewRanges>,
    links: Option<NewLinks>,
    /// Slots below have their places.
    reached: u32,
    /// A change had no place any more.
    is_exhausted: bool,
}

struct NewRanges {
    vpns: Vec<Vpn>,
    ranges: Ranges4Writer,
    outside: IdListWriter,
}

struct NewLinks {
    links: LinksWriter,
    groups: GroupsWriter,
    duid: PostingsWriter,
    remote_id6: PostingsWriter,
    relay_id6: PostingsWriter,
}

impl NewLinks {
    /// Puts the new ones into the place of those in use, or back.
    fn swap(&mut self, indexes: &mut Indexes) {
        std::mem::swap(&mut self.links, &mut indexes.links);
        std::mem::swap(&mut self.groups, &mut indexes.groups);
        std::mem::swap(&mut self.duid, &mut indexes.duid);
        std::mem::swap(&mut self.remote_id6, &mut indexes.remote_id6);
        std::mem::swap(&mut self.relay_id6, &mut indexes.relay_id6);
    }
}

impl Indexes {
    /// Begins with empty indexes for the ranges and links that are given; the others stay.
    pub(crate) fn begin_anew(
        &mut self,
        ranges: Option<&[Range4]>,
        links: Option<&[LinkConfig]>,
    ) -> Result<(), TopologyChangeError> {
        let ranges = match ranges {
            Some(ranges) => {
                let vpns = Indexes::vpns_of(ranges, self.range_vpns.clone());
                Some(NewRanges {
                    ranges: Indexes::ranges_of(ranges, &vpns)?,
                    vpns,
                    outside: IdListWriter::new(),
                })
            }
            None => None,
        };
        let postings = || PostingsWriter::with_capacity(0);
        let links = links.map(|links| NewLinks {
            links: LinksWriter::new(links, self.hasher.clone()),
            groups: GroupsWriter::new(),
            duid: postings(),
            remote_id6: postings(),
            relay_id6: postings(),
        });
        self.anew = Some(Box::new(Anew {
            ranges,
            links,
            ..Anew::default()
        }));
        Ok(())
    }

    /// Gives so many more slots their places; whether all have theirs.
    pub(crate) fn go_on_anew(
        &mut self,
        log: &Segments,
        slots: u32,
    ) -> Result<bool, TopologyChangeError> {
        let high = self.slots.high();
        let reached = self.anew.as_ref().map_or(high, |anew| anew.reached);
        let end = reached.saturating_add(slots).min(high);
        for slot in reached..end {
            match self.stored(log).record(slot) {
                Some(Record::Bind4(bind)) => self.place_anew4(&bind, slot),
                Some(Record::Bind6(lease)) => self.place_anew6(log, &lease, slot),
                _ => {}
            }
        }
        let Some(anew) = &mut self.anew else {
            return Ok(true);
        };
        anew.reached = end;
        if anew.is_exhausted {
            return Err(TopologyChangeError::Exhausted);
        }
        Ok(end == high)
    }

    /// Puts the new indexes into the place of the old ones, which it gives: to free them takes its time.
    pub(crate) fn install_anew(&mut self) -> Option<Box<Anew>> {
        let mut anew = self.anew.take()?;
        if let Some(new) = &mut anew.ranges {
            std::mem::swap(&mut self.range_vpns, &mut new.vpns);
            std::mem::swap(&mut self.ranges, &mut new.ranges);
            std::mem::swap(&mut self.outside, &mut new.outside);
        }
        if let Some(new) = &mut anew.links {
            new.swap(self);
            self.links_generation = (self.links_generation + 1) % GENERATIONS;
        }
        Some(anew)
    }

    /// Whether what changes of a slot is to be changed in the new indexes too.
    fn has_new_place(&self, slot: u32) -> bool {
        self.anew.as_ref().is_some_and(|anew| slot < anew.reached)
    }

    /// Places an IPv4 binding in the new ranges.
    ///
    /// One that comes to lie in a range stays in the key index, where nobody looks for it: a view of before still does.
    fn place_anew4(&mut self, bind: &Bind4<'_>, slot: u32) {
        let Some(new) = self.anew.as_mut().and_then(|anew| anew.ranges.as_mut()) else {
            return;
        };
        let in_range = range_vpn(&new.vpns, bind.vpn())
            .is_some_and(|number| new.ranges.set(number, bind.address(), Some(slot)));
        if in_range {
            return;
        }
        new.outside.insert(slot);
        let hash = self.hasher.key4(bind.vpn().vss(), bind.address());
        if self.keys.find(hash, |known| known == slot).is_none() {
            self.keys.insert(hash, slot);
        }
    }

    /// An IPv4 binding is new in its slot.
    pub(crate) fn entered4(&mut self, bind: &Bind4<'_>, slot: u32) {
        if self.has_new_place(slot) {
            self.place_anew4(bind, slot);
        }
    }

    /// An IPv4 binding leaves its slot.
    pub(crate) fn left4(&mut self, old: &Bind4<'_>, slot: u32) {
        if !self.has_new_place(slot) {
            return;
        }
        let Some(new) = self.anew.as_mut().and_then(|anew| anew.ranges.as_mut()) else {
            return;
        };
        let in_range = range_vpn(&new.vpns, old.vpn())
            .is_some_and(|number| new.ranges.set(number, old.address(), None));
        if !in_range {
            new.outside.remove(slot);
        }
    }

    /// Does what is done to the indexes by links to the new ones.
    fn in_new_links(&mut self, act: impl FnOnce(&mut Indexes) -> Result<(), Exhausted>) {
        let Some(mut anew) = self.anew.take() else {
            return;
        };
        if let Some(links) = &mut anew.links {
            links.swap(self);
            anew.is_exhausted |= act(self).is_err();
            links.swap(self);
        }
        self.anew = Some(anew);
    }

    /// Places an IPv6 lease, whose record the slot leads to, in the new groups.
    fn place_anew6(&mut self, log: &Segments, lease: &Bind6<'_>, slot: u32) {
        self.in_new_links(|indexes| {
            let link = indexes
                .links
                .resolve(lease.link(), lease.kind(), lease.address())
                .ok_or(Exhausted)?;
            if lease.duid().is_empty() {
                return Ok(());
            }
            let group = indexes.group6(log, lease, link);
            indexes.join_group(log, group, link, slot, lease)
        });
    }

    /// The slot leads to another record of its IPv6 lease from now on.
    pub(crate) fn changed6(&mut self, log: &Segments, lease: &Bind6<'_>, slot: u32) {
        if self.has_new_place(slot) {
            self.place_anew6(log, lease, slot);
        }
    }

    /// The slot will lead to another record of its IPv6 lease than `old`, or to none.
    pub(crate) fn changing6(&mut self, log: &Segments, old: Option<&Bind6<'_>>, slot: u32) {
        if self.has_new_place(slot) {
            self.in_new_links(|indexes| {
                indexes.leave_group(log, slot, old);
                Ok(())
            });
        }
    }
}
