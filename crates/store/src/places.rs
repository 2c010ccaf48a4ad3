//! Where bindings have their places by the configuration: in its IPv4 ranges, and as clients on its IPv6 links.
//!
//! These indexes are what a change of the configuration makes anew. The new ones are built beside the old and take their
//! place in one step. A view has one set, and a walk keeps the set that it began with: slots outlive it, so the walk goes on
//! over what was there when it began, while the old set is not changed any more.

use std::sync::Arc;

use crate::apply::Indexes;
use crate::index::{Groups, IdList, Postings, Ranges4};
use crate::links::Links;
use crate::shared::range_vpn;
use crate::view::LinkId;
use crate::vpn::{Vpn, VpnRef};

/// Bits of a [`LinkId`] that number the link; those above tell the generation of links that it is of.
const LINK_BITS: u32 = 24;
/// Generations are counted up to here and then begin again, so that no number is that of no link at all.
pub(crate) const GENERATIONS: u8 = u8::MAX;

/// The readers' side of one set.
pub(crate) struct Places {
    pub(crate) ranges: Arc<Ranges4>,
    /// VPNs of the ranges, by their numbers there. A later set begins with those of the one before.
    pub(crate) range_vpns: Vec<Vpn>,
    /// Bindings of addresses outside of every range.
    pub(crate) outside: Arc<IdList>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) duid: Arc<Postings>,
    pub(crate) remote_id6: Arc<Postings>,
    pub(crate) relay_id6: Arc<Postings>,
    pub(crate) links: Arc<Links>,
    /// Which links these are: they are numbered anew when the configured ones change.
    generation: u8,
}

impl Places {
    /// Of the indexes as they are.
    pub(crate) fn of(indexes: &Indexes) -> Places {
        Places {
            ranges: indexes.ranges.shared(),
            range_vpns: indexes.range_vpns.clone(),
            outside: indexes.outside.shared(),
            groups: indexes.groups.shared(),
            duid: indexes.duid.shared(),
            remote_id6: indexes.remote_id6.shared(),
            relay_id6: indexes.relay_id6.shared(),
            links: indexes.links.shared(),
            generation: indexes.links_generation,
        }
    }

    /// The number that the ranges know a VPN by.
    #[inline]
    pub(crate) fn range_vpn(&self, vpn: VpnRef<'_>) -> Option<u32> {
        range_vpn(&self.range_vpns, vpn)
    }

    /// The name of a link outside of the store: no other set of links has one like it.
    #[inline]
    pub(crate) fn link_id(&self, link: u32) -> LinkId {
        LinkId(u32::from(self.generation) << LINK_BITS | link)
    }

    /// The number of a link; `None`: it is of another set.
    #[inline]
    pub(crate) fn link(&self, id: LinkId) -> Option<u32> {
        let is_ours = id.0 >> LINK_BITS == u32::from(self.generation);
        is_ours.then_some(id.0 & ((1 << LINK_BITS) - 1))
    }
}
