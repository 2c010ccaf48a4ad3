//! Taking over a changed configuration of ranges and links while the store is open.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Writer;
use crate::apply::Indexes;
use crate::checkpoint;
use crate::index::{GroupsWriter, IdListWriter, PostingsWriter};
use crate::keys::Keys;
use crate::links::LinksWriter;
use crate::log::Segments;
use crate::places::{GENERATIONS, Places};
use crate::shared::range_vpn;
use crate::store::{TopologyChange, TopologyChangeError};
use crate::topology::{LinkConfig, Range4, Topology};

impl Writer {
    /// Gives all bindings their places by another topology. What was published before stays as it is for those who look at
    /// it. On an error nothing is changed.
    pub(super) fn change_topology(
        &mut self,
        topology: &Topology,
    ) -> Result<TopologyChange, TopologyChangeError> {
        topology.check()?;
        self.commit()?;
        let change = TopologyChange {
            ranges: topology.ranges4 != self.topology.ranges4,
            links: topology.links6 != self.topology.links6,
        };
        if change.links {
            self.indexes.change_links(&self.view, &topology.links6)?;
        }
        if change.ranges {
            // What could fail of ranges was checked.
            self.indexes.change_ranges(&self.view, &topology.ranges4)?;
            for vpn in &self.indexes.range_vpns {
                self.note_vpn(vpn.as_ref());
            }
        }
        self.topology.clone_from(topology);
        self.fingerprint = self.fingerprint_now();
        let places = Places::of(&self.indexes);
        self.shared.places.store(Arc::new(places));
        self.refresh_counts();
        Ok(change)
    }

    /// What a checkpoint of the indexes as they are is good for: the next start with this topology, if that would number the
    /// VPNs of the ranges as they are numbered now; otherwise nothing.
    fn fingerprint_now(&self) -> u64 {
        let fingerprint = checkpoint::fingerprint(&self.indexes.hasher, &self.topology);
        let numbered = Indexes::vpns_of(&self.topology.ranges4, Vec::new());
        if numbered == self.indexes.range_vpns {
            fingerprint
        } else {
            !fingerprint
        }
    }

    /// Takes over how long ends are kept and leases are held, in seconds.
    pub(super) fn change_times(&mut self, history: u32, grace: u32) {
        self.indexes.history = history;
        self.shared.grace.store(grace, Relaxed);
    }
}

impl Indexes {
    /// Sorts all IPv4 bindings into other ranges.
    ///
    /// Those that come to lie in a range stay in the key index, where nobody looks for them: a view that was taken before
    /// still does.
    fn change_ranges(
        &mut self,
        log: &Segments,
        ranges: &[Range4],
    ) -> Result<(), TopologyChangeError> {
        let vpns = Indexes::vpns_of(ranges, self.range_vpns.clone());
        let mut sorted = Indexes::ranges_of(ranges, &vpns)?;
        let mut outside = IdListWriter::new();
        let slots = self.slots.shared();
        for slot in slots.in_use() {
            let Some(bind) = self.stored(log).bind4(slot) else {
                continue;
            };
            let in_range = range_vpn(&vpns, bind.vpn())
                .is_some_and(|number| sorted.set(number, bind.address(), Some(slot)));
            if in_range {
                continue;
            }
            outside.insert(slot);
            let hash = self.hasher.key4(bind.vpn().vss(), bind.address());
            if self.keys.find(hash, |known| known == slot).is_none() {
                self.keys.insert(hash, slot);
            }
        }
        self.range_vpns = vpns;
        self.ranges = sorted;
        self.outside = outside;
        Ok(())
    }

    /// Makes groups of all IPv6 leases by other links.
    fn change_links(
        &mut self,
        log: &Segments,
        links: &[LinkConfig],
    ) -> Result<(), TopologyChangeError> {
        let postings = || PostingsWriter::with_capacity(0);
        let anew = LinksWriter::new(links, self.hasher.clone());
        let before = (
            std::mem::replace(&mut self.links, anew),
            std::mem::replace(&mut self.groups, GroupsWriter::new()),
            std::mem::replace(&mut self.duid, postings()),
            std::mem::replace(&mut self.remote_id6, postings()),
            std::mem::replace(&mut self.relay_id6, postings()),
        );
        if let Err(error) = self.group_all(log) {
            (
                self.links,
                self.groups,
                self.duid,
                self.remote_id6,
                self.relay_id6,
            ) = before;
            return Err(error);
        }
        self.links_generation = (self.links_generation + 1) % GENERATIONS;
        Ok(())
    }

    fn group_all(&mut self, log: &Segments) -> Result<(), TopologyChangeError> {
        let slots = self.slots.shared();
        for slot in slots.in_use() {
            let Some(lease) = self.stored(log).bind6(slot) else {
                continue;
            };
            let link = self
                .links
                .resolve(lease.link(), lease.kind(), lease.address())
                .ok_or(TopologyChangeError::Exhausted)?;
            if !lease.duid().is_empty() {
                let group = self.group6(log, &lease, link);
                self.join_group(log, group, link, slot, &lease)
                    .map_err(|_| TopologyChangeError::Exhausted)?;
            }
        }
        Ok(())
    }
}
