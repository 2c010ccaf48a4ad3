//! The writer's side of all indexes, and how a record is applied to them.
//!
//! The order of steps is what readers rely on: a binding is listed under its new values before it leaves the lists of the
//! old ones, and the position changes in between. So at any moment each binding can be found under what its newest record
//! says, and a reader, who verifies, finds it nowhere else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::anew::Anew;
use crate::event::State;
use crate::index::{
    ExpiryQueue, GroupsWriter, Hasher, IdListWriter, IndexRange4, KeyIndexWriter, PostingsWriter,
    RangeError, Ranges4Writer, SlotTable, SlotTableWriter, WalksWriter,
};
use crate::keys::Keys;
use crate::links::LinksWriter;
use crate::log::{Pos, Segments};
use crate::record::{Bind4, Bind6, Record, trusted};
use crate::shared::{Counts, PrefixLengths, range_vpn};
use crate::topology::{Range4, Topology};
use crate::vpn::{Vpn, VpnRef};

/// All indexes, as the thread that writes holds them.
pub(crate) struct Indexes {
    pub(crate) hasher: Hasher,
    pub(crate) slots: SlotTableWriter,
    pub(crate) keys: KeyIndexWriter,
    pub(crate) ranges: Ranges4Writer,
    pub(crate) range_vpns: Vec<Vpn>,
    pub(crate) outside: IdListWriter,
    pub(crate) hwaddr: PostingsWriter,
    pub(crate) client_id: PostingsWriter,
    pub(crate) remote_id4: PostingsWriter,
    pub(crate) relay_id4: PostingsWriter,
    pub(crate) groups: GroupsWriter,
    pub(crate) duid: PostingsWriter,
    pub(crate) remote_id6: PostingsWriter,
    pub(crate) relay_id6: PostingsWriter,
    pub(crate) links: LinksWriter,
    /// How often the links were numbered anew.
    pub(crate) links_generation: u8,
    /// What is being made for another configuration.
    pub(crate) anew: Option<Box<Anew>>,
    /// Slots of ACTIVE bindings by the end of their lease.
    pub(crate) expiry: ExpiryQueue,
    /// Slots of ended bindings by the time when `history` has passed.
    pub(crate) forget: ExpiryQueue,
    pub(crate) walks: WalksWriter,
    pub(crate) prefix_lengths: Arc<PrefixLengths>,
    pub(crate) counts: Arc<Counts>,
    /// Seconds that an end is kept.
    pub(crate) history: u32,
}

/// Records by slot, for whoever changes an index and has to look at what is stored.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'l, 's> {
    pub(crate) log: &'l Segments,
    pub(crate) slots: &'s SlotTable,
}

impl<'l> Stored<'l, '_> {
    pub(crate) fn octets(&self, slot: u32) -> Option<&'l [u8]> {
        self.log.record(Pos::from_raw(self.slots.pos(slot)))
    }

    pub(crate) fn record(&self, slot: u32) -> Option<Record<'l>> {
        trusted(self.octets(slot)?)
    }

    pub(crate) fn bind4(&self, slot: u32) -> Option<Bind4<'l>> {
        match self.record(slot)? {
            Record::Bind4(bind) => Some(bind),
            _ => None,
        }
    }

    pub(crate) fn bind6(&self, slot: u32) -> Option<Bind6<'l>> {
        match self.record(slot)? {
            Record::Bind6(bind) => Some(bind),
            _ => None,
        }
    }
}

/// The indexes cannot hold another binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store holds as many bindings or links as it can number")]
pub(crate) struct Exhausted;

/// What is hashed of an IPv4 binding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value4 {
    HwAddr,
    ClientId,
    RemoteId,
    RelayId,
}

impl Value4 {
    pub(crate) const ALL: [Value4; 4] = [
        Value4::HwAddr,
        Value4::ClientId,
        Value4::RemoteId,
        Value4::RelayId,
    ];

    /// The value, in a form that is equal for equal values: a client-id as its option.
    pub(crate) fn of<'a>(self, bind: &Bind4<'a>) -> Option<&'a [u8]> {
        let value = match self {
            Value4::HwAddr => bind.hwaddr(),
            Value4::ClientId => bind.client_id_option(),
            Value4::RemoteId => bind.remote_id()?,
            Value4::RelayId => bind.relay_id()?,
        };
        (!value.is_empty()).then_some(value)
    }

    pub(crate) fn hash(self, hasher: &Hasher, bind: &Bind4<'_>, value: &[u8]) -> u64 {
        match self {
            Value4::HwAddr => hasher.hwaddr(value),
            // A client-id of up to 255 octets is one option; only a longer one has to be joined.
            Value4::ClientId if value.len() <= 257 => hasher.client_id(&value[2..]),
            Value4::ClientId => hasher.client_id(&bind.client_id().unwrap_or_default()),
            Value4::RemoteId => hasher.remote_id4(value),
            Value4::RelayId => hasher.relay_id4(value),
        }
    }
}

/// What identifies the client of an IPv4 binding: its client identifier, or its hardware address without one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Client4<'a>(Value4, Option<&'a [u8]>);

impl<'a> Client4<'a> {
    fn of(bind: &Bind4<'a>) -> Self {
        let value = if bind.client_id_option().is_empty() {
            Value4::HwAddr
        } else {
            Value4::ClientId
        };
        Client4(value, value.of(bind))
    }
}

/// Bindings of a value that are looked at to find another one of a client; with more, there is taken to be one.
const CLIENT_CANDIDATES: usize = 64;

impl Indexes {
    /// Empty indexes for a topology; `now` in Unix seconds.
    pub(crate) fn new(
        topology: &Topology,
        hasher: Hasher,
        now: u32,
        history: u32,
    ) -> Result<Indexes, RangeError> {
        let range_vpns = Indexes::vpns_of(&topology.ranges4, Vec::new());
        let postings = || PostingsWriter::with_capacity(0);
        Ok(Indexes {
            slots: SlotTableWriter::new(),
            keys: KeyIndexWriter::with_capacity(0),
            ranges: Indexes::ranges_of(&topology.ranges4, &range_vpns)?,
            range_vpns,
            outside: IdListWriter::new(),
            hwaddr: postings(),
            client_id: postings(),
            remote_id4: postings(),
            relay_id4: postings(),
            groups: GroupsWriter::new(),
            duid: postings(),
            remote_id6: postings(),
            relay_id6: postings(),
            links: LinksWriter::new(&topology.links6, hasher.clone()),
            links_generation: 0,
            anew: None,
            expiry: ExpiryQueue::new(now),
            forget: ExpiryQueue::new(now),
            walks: WalksWriter::new(),
            prefix_lengths: Arc::default(),
            counts: Arc::default(),
            hasher,
            history,
        })
    }

    /// The VPNs of ranges, by their numbers; `known` ones keep theirs.
    pub(crate) fn vpns_of(ranges: &[Range4], known: Vec<Vpn>) -> Vec<Vpn> {
        let mut vpns = known;
        for range in ranges {
            if range_vpn(&vpns, range.vpn.as_ref()).is_none() {
                vpns.push(range.vpn.clone());
            }
        }
        vpns
    }

    /// Empty arrays for ranges, whose VPNs are all among `vpns`.
    pub(crate) fn ranges_of(ranges: &[Range4], vpns: &[Vpn]) -> Result<Ranges4Writer, RangeError> {
        let numbered = |range: &Range4| {
            Some(IndexRange4 {
                vpn: range_vpn(vpns, range.vpn.as_ref())?,
                first: range.first,
                last: range.last,
            })
        };
        Ranges4Writer::new(ranges.iter().filter_map(numbered).collect())
    }

    pub(crate) fn stored<'l>(&self, log: &'l Segments) -> Stored<'l, '_> {
        Stored {
            log,
            slots: &self.slots,
        }
    }

    /// The slot of an IPv4 binding.
    pub(crate) fn slot4(
        &self,
        log: &Segments,
        vpn: VpnRef<'_>,
        address: std::net::Ipv4Addr,
        hash: u64,
    ) -> Option<u32> {
        if let Some(number) = range_vpn(&self.range_vpns, vpn)
            && self.ranges.contains(number, address)
        {
            return self.ranges.slot_of(number, address);
        }
        let stored = self.stored(log);
        self.keys.find(hash, |slot| {
            stored
                .bind4(slot)
                .is_some_and(|bind| bind.address() == address && bind.vpn() == vpn)
        })
    }

    /// The slot of an IPv6 lease.
    pub(crate) fn slot6(
        &self,
        log: &Segments,
        vpn: VpnRef<'_>,
        address: std::net::Ipv6Addr,
        prefix_len: u8,
        hash: u64,
    ) -> Option<u32> {
        let stored = self.stored(log);
        self.keys.find(hash, |slot| {
            stored.bind6(slot).is_some_and(|bind| {
                bind.address() == address && bind.prefix_len() == prefix_len && bind.vpn() == vpn
            })
        })
    }

    /// Applies an IPv4 binding that lies in the log at `pos`; `slot` is that of its key, if it has one.
    pub(crate) fn apply4(
        &mut self,
        log: &Segments,
        slot: Option<u32>,
        pos: Pos,
        bind: &Bind4<'_>,
    ) -> Result<u32, Exhausted> {
        let (slot, old) = match slot {
            Some(slot) => (slot, self.stored(log).bind4(slot)),
            None => (self.slots.alloc().ok_or(Exhausted)?, None),
        };
        for value in Value4::ALL {
            let new = value.of(bind);
            if let Some(new) = new
                && old.and_then(|old| value.of(&old)) != Some(new)
            {
                self.list4(log, value, bind, new, slot);
            }
        }
        let client = Client4::of(bind);
        let other_client = old.is_none_or(|old| Client4::of(&old) != client);
        if other_client && !self.has_client4(log, client, bind, slot) {
            self.counts.clients4.fetch_add(1, Ordering::Relaxed);
        }
        let old_pos = self.slots.pos(slot);
        self.slots.set_pos(slot, pos.raw());
        match old {
            None => self.enter4(bind, slot),
            Some(old) => {
                log.dead(Pos::from_raw(old_pos), old.octets().len());
                for value in Value4::ALL {
                    let gone = value.of(&old);
                    if let Some(gone) = gone
                        && value.of(bind) != Some(gone)
                    {
                        self.unlist4(value, &old, gone, slot);
                    }
                }
                if other_client && !self.has_client4(log, Client4::of(&old), &old, slot) {
                    self.counts.clients4.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        self.counts
            .moved(false, old.map(|old| old.state()), Some(bind.state()));
        self.schedule(
            slot,
            bind.state(),
            bind.end(),
            bind.state_since().max(bind.stamp().seconds()),
        );
        Ok(slot)
    }

    /// Makes a new binding known by its address.
    fn enter4(&mut self, bind: &Bind4<'_>, slot: u32) {
        let number = range_vpn(&self.range_vpns, bind.vpn());
        let in_range =
            number.is_some_and(|number| self.ranges.set(number, bind.address(), Some(slot)));
        if !in_range {
            self.keys
                .insert(self.hasher.key4(bind.vpn().vss(), bind.address()), slot);
            self.outside.insert(slot);
        }
        self.entered4(bind, slot);
    }

    pub(crate) fn postings4(&self, value: Value4) -> &PostingsWriter {
        match value {
            Value4::HwAddr => &self.hwaddr,
            Value4::ClientId => &self.client_id,
            Value4::RemoteId => &self.remote_id4,
            Value4::RelayId => &self.relay_id4,
        }
    }

    fn postings4_mut(&mut self, value: Value4) -> &mut PostingsWriter {
        match value {
            Value4::HwAddr => &mut self.hwaddr,
            Value4::ClientId => &mut self.client_id,
            Value4::RemoteId => &mut self.remote_id4,
            Value4::RelayId => &mut self.relay_id4,
        }
    }

    fn list4(&mut self, log: &Segments, value: Value4, bind: &Bind4<'_>, octets: &[u8], slot: u32) {
        let hash = value.hash(&self.hasher, bind, octets);
        let slots = self.slots.shared();
        let stored = Stored { log, slots: &slots };
        self.postings4_mut(value).insert(hash, slot, |other| {
            other == slot || stored.bind4(other).and_then(|other| value.of(&other)) == Some(octets)
        });
    }

    fn unlist4(&mut self, value: Value4, bind: &Bind4<'_>, octets: &[u8], slot: u32) {
        let hash = value.hash(&self.hasher, bind, octets);
        self.postings4_mut(value).remove(hash, slot);
    }

    /// Whether a binding other than `slot` is of this client, which is that of `bind`; so is one of nobody.
    fn has_client4(
        &self,
        log: &Segments,
        client: Client4<'_>,
        bind: &Bind4<'_>,
        slot: u32,
    ) -> bool {
        let Client4(value, Some(octets)) = client else {
            return true;
        };
        let candidates = self
            .postings4(value)
            .find(value.hash(&self.hasher, bind, octets));
        let stored = self.stored(log);
        let is_other = |place| {
            let other = candidates.get(place).filter(|&other| other != slot)?;
            stored
                .bind4(other)
                .filter(|other| Client4::of(other) == client)
        };
        candidates.len() > CLIENT_CANDIDATES
            || (0..candidates.len()).any(|place| is_other(place).is_some())
    }

    /// Schedules the end of a lease, or the time when an end may be forgotten.
    pub(crate) fn schedule(&mut self, slot: u32, state: State, end: Option<u64>, since: u32) {
        if state == State::Active {
            self.forget.forget(slot);
            match end {
                Some(end) => self
                    .expiry
                    .schedule(slot, u32::try_from(end).unwrap_or(u32::MAX)),
                None => self.expiry.forget(slot),
            }
        } else {
            self.expiry.forget(slot);
            if state.is_end() {
                self.forget
                    .schedule(slot, since.saturating_add(self.history).saturating_add(1));
            } else {
                self.forget.forget(slot);
            }
        }
    }

    /// Removes a binding whose end compaction has dropped, and gives back its slot.
    pub(crate) fn drop4(&mut self, log: &Segments, slot: u32, old: &Bind4<'_>) {
        for value in Value4::ALL {
            if let Some(gone) = value.of(old) {
                self.unlist4(value, old, gone, slot);
            }
        }
        let number = range_vpn(&self.range_vpns, old.vpn());
        if !self.has_client4(log, Client4::of(old), old, slot) {
            self.counts.clients4.fetch_sub(1, Ordering::Relaxed);
        }
        let in_range = number.is_some_and(|number| self.ranges.set(number, old.address(), None));
        if !in_range {
            self.outside.remove(slot);
        }
        self.left4(old, slot);
        // One that is in a range now may have been outside before the ranges changed.
        self.keys
            .remove(self.hasher.key4(old.vpn().vss(), old.address()), slot);
        self.leave(slot);
        self.counts.moved(false, Some(old.state()), None);
    }

    pub(crate) fn leave(&mut self, slot: u32) {
        self.expiry.forget(slot);
        self.forget.forget(slot);
        self.slots.free(slot);
    }

    /// Makes freed slots and groups available again, as soon as walks that may hold them have ended.
    pub(crate) fn reclaim(&mut self) {
        if self.slots.is_waiting() || self.groups.is_waiting() {
            let horizon = self.walks.advance();
            self.slots.reclaim(horizon);
            self.groups.reclaim(horizon);
        }
    }

    /// Octets of what only the writer has.
    pub(crate) fn writer_octets(&self) -> u64 {
        (self.expiry.memory() + self.forget.memory() + self.links.memory()) as u64
    }
}
