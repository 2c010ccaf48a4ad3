//! Reading: a [`Reader`] on each thread, a [`View`] for each turn.

use std::cell::OnceCell;
use std::fmt;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::{State, mask};
use crate::hooks::CommitHook;
use crate::keys::Keys;
use crate::log::{LogView, Pos};
use crate::places::Places;
use crate::record::{Bind4, Bind6, Departed6, Record, trusted};
use crate::scan::{LogCursor, Scan, ScanFrom, is_newest};
use crate::shared::Shared;
use crate::stats::{FeedState, Stats};
use crate::time::Stamp;
use crate::vpn::{Vpn, VpnRef, VpnSelect};
use crate::walk4::{Batch4, BatchAll4, Progress, Selector4, Walk4, WalkAll4};
use crate::walk6::{Group, Selector6, Step6, Walk6};

/// Times that a position is loaded again because its segment was compacted away meanwhile.
const RELOADS: usize = 64;

/// A link of the store: a configured one, or one that bindings have told. When links are configured otherwise all get others,
/// and one of before is no link any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(crate) u32);

/// What is visible: all records up to this sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Published {
    /// Sequence of the last record.
    pub sequence: u64,
    /// Stamp of its batch.
    pub stamp: Stamp,
}

/// A way to read a store from any thread; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

impl Reader {
    /// A look at the store, for one turn. It holds maps of the log's segments: do not keep it.
    pub fn view(&self) -> View {
        // What is published is loaded before the table, so the table has all of it.
        let published = **self.shared.published.load();
        View {
            published,
            now: self.shared.clock.now(),
            log: LogView::new(self.shared.segments.load_full()),
            newer: OnceCell::new(),
            places: self.shared.places.load_full(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Server time.
    pub fn now(&self) -> Stamp {
        self.shared.clock.now()
    }

    /// Server time up to which everything that was committed is visible: now, or the stamp of the batch that the writer has
    /// open. A base-time must not lie after it.
    pub fn settled(&self) -> Stamp {
        self.shared.settled()
    }

    /// When the store was made; a never-leased address has been AVAILABLE since.
    pub fn created(&self) -> Stamp {
        self.shared.created
    }

    /// What is visible now.
    pub fn published(&self) -> Published {
        **self.shared.published.load()
    }

    /// Stamp of the newest end or departure that compaction has dropped; zero: none. What changed at it or before may not be
    /// told completely.
    pub fn dropped_until(&self) -> Stamp {
        Stamp::from_millis(self.shared.segments.load().dropped_until())
    }

    /// Registers what is called after each commit, on the store's thread, with what is published now: views taken from then
    /// on show it, and its events are acknowledged afterwards. It must be quick. It is taken back when the answer is dropped.
    pub fn on_commit(&self, hook: Arc<dyn Fn(Published) + Send + Sync>) -> CommitHook {
        CommitHook::new(&self.shared.hooks, hook)
    }

    /// The feeds that the store knows, in order of their numbers.
    pub fn feeds(&self) -> Arc<Vec<FeedState>> {
        self.shared.feeds.load_full()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("published", &self.published())
            .finish_non_exhaustive()
    }
}

/// A look at the store for one turn; records borrow from it.
pub struct View {
    published: Published,
    now: Stamp,
    log: LogView,
    newer: OnceCell<Box<Newer>>,
    places: Arc<Places>,
    shared: Arc<Shared>,
}

/// A table of segments that came after the view was taken, kept with the view so that records may borrow from it.
struct Newer {
    log: LogView,
    newer: OnceCell<Box<Newer>>,
}

impl View {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn places(&self) -> &Arc<Places> {
        &self.places
    }

    pub(crate) fn log(&self) -> &LogView {
        &self.log
    }

    /// What was visible when the view was taken. Records handed out may be newer.
    pub fn published(&self) -> Published {
        self.published
    }

    /// The record at a position, from the table of this view or a later one.
    fn record_at(&self, pos: Pos) -> Option<&[u8]> {
        if let Some(record) = self.log.record(pos) {
            return Some(record);
        }
        let mut next = &self.newer;
        while let Some(newer) = next.get() {
            if let Some(record) = newer.log.record(pos) {
                return Some(record);
            }
            next = &newer.newer;
        }
        let log = LogView::new(self.shared.segments.load_full());
        let newer = next.get_or_init(|| {
            Box::new(Newer {
                log,
                newer: OnceCell::new(),
            })
        });
        newer.log.record(pos)
    }

    /// The newest record of a slot.
    #[inline]
    pub(crate) fn record(&self, slot: u32) -> Option<Record<'_>> {
        let mut pos = self.shared.slots.pos(slot);
        for _ in 0..RELOADS {
            if pos == 0 {
                return None;
            }
            if let Some(octets) = self.record_at(Pos::from_raw(pos)) {
                return trusted(octets).map(|record| self.shared.graced(record));
            }
            // Compacted away between the two loads: then the slot leads elsewhere by now.
            pos = self.shared.slots.pos(slot);
        }
        None
    }

    #[inline]
    pub(crate) fn bind4(&self, slot: u32) -> Option<Bind4<'_>> {
        match self.record(slot)? {
            Record::Bind4(bind) => Some(bind),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn bind6(&self, slot: u32) -> Option<Bind6<'_>> {
        match self.record(slot)? {
            Record::Bind6(bind) => Some(bind),
            _ => None,
        }
    }

    /// Asks for the record of a slot whose position has been asked for before.
    #[inline]
    pub(crate) fn prefetch_record(&self, slot: u32) {
        self.log
            .prefetch(Pos::from_raw(self.shared.slots.pos(slot)));
    }

    /// Server time when the view was taken.
    pub fn now(&self) -> Stamp {
        self.now
    }

    /// When the store was made; a never-leased address has been AVAILABLE since.
    pub fn created(&self) -> Stamp {
        self.shared.created
    }

    pub(crate) fn slot4(&self, vpn: VpnRef<'_>, address: Ipv4Addr) -> Option<u32> {
        if let Some(number) = self.places.range_vpn(vpn)
            && self.places.ranges.contains(number, address)
        {
            return self.places.ranges.slot_of(number, address);
        }
        let hash = self.shared.hasher.key4(vpn.vss(), address);
        let is_it = |slot| {
            self.bind4(slot)
                .is_some_and(|bind| bind.address() == address && bind.vpn() == vpn)
        };
        self.shared.keys.find(hash, is_it)
    }

    pub(crate) fn slot6(&self, vpn: VpnRef<'_>, address: Ipv6Addr, prefix_len: u8) -> Option<u32> {
        let hash = self.shared.hasher.key6(vpn.vss(), address, prefix_len);
        self.shared.keys.find(hash, |slot| {
            self.bind6(slot).is_some_and(|bind| {
                bind.address() == address && bind.prefix_len() == prefix_len && bind.vpn() == vpn
            })
        })
    }

    /// The binding of an IPv4 address, in any state.
    pub fn binding4(&self, vpn: &Vpn, address: Ipv4Addr) -> Option<Bind4<'_>> {
        let bind = self.bind4(self.slot4(vpn.as_ref(), address)?)?;
        (bind.address() == address && bind.vpn() == *vpn).then_some(bind)
    }

    /// Whether an IPv4 address is configured: in a configured range, or known from a binding.
    pub fn configured4(&self, vpn: &Vpn, address: Ipv4Addr) -> bool {
        let in_range = self
            .places
            .range_vpn(vpn.as_ref())
            .is_some_and(|number| self.places.ranges.contains(number, address));
        in_range || self.binding4(vpn, address).is_some()
    }

    /// The VPNs that ranges or bindings have told, the global one among them.
    pub fn vpns(&self) -> Arc<Vec<Vpn>> {
        self.shared.vpns.load_full()
    }

    /// Begins a walk over the bindings that a selector names.
    pub fn walk4(&self, selector: &Selector4<'_>, vpn: &VpnSelect) -> Walk4 {
        Walk4::new(&self.shared, selector, vpn)
    }

    /// Begins a walk over all configured addresses, and the known ones beside them.
    pub fn walk_all4(&self, vpn: &VpnSelect) -> WalkAll4 {
        WalkAll4::new(self, vpn)
    }

    /// Puts the next bindings of a walk into `out`, which is emptied before. A bounded amount of work: there may be more
    /// although nothing was found.
    pub fn fill4<'v>(&'v self, walk: &mut Walk4, out: &mut Batch4<'v>) -> Progress {
        walk.fill(self, out)
    }

    /// Puts the next addresses of a walk into `out`, which is emptied before. A bounded amount of work: there may be more
    /// although nothing was found.
    pub fn fill_all4<'v>(&'v self, walk: &mut WalkAll4, out: &mut BatchAll4<'v>) -> Progress {
        walk.fill(self, out)
    }

    /// The lease of exactly this address, else of the longest delegated prefix that contains it. One that is over counts
    /// only if none is ACTIVE: a prefix delegated once must not hide a shorter one that is delegated now.
    pub fn lease6(&self, vpn: &Vpn, address: Ipv6Addr) -> Option<Bind6<'_>> {
        let find = |(address, length)| {
            let bind = self.bind6(self.slot6(vpn.as_ref(), address, length)?)?;
            (bind.address() == address && bind.prefix_len() == length && bind.vpn() == *vpn)
                .then_some(bind)
        };
        let lengths = self.shared.prefix_lengths.longest_first();
        let prefixes = lengths.map(|length| (mask(address, length), length));
        let mut over = None;
        for bind in iter::once((address, 128)).chain(prefixes).filter_map(find) {
            if bind.state() == State::Active {
                return Some(bind);
            }
            over = over.or(Some(bind));
        }
        over
    }

    /// The lease of exactly this address or delegated prefix, in any state; an address has a length of 128.
    pub fn binding6(&self, vpn: &Vpn, address: Ipv6Addr, prefix_len: u8) -> Option<Bind6<'_>> {
        let bind = self.bind6(self.slot6(vpn.as_ref(), address, prefix_len)?)?;
        let is_it = (bind.address(), bind.prefix_len()) == (address, prefix_len);
        (is_it && bind.vpn() == *vpn).then_some(bind)
    }

    /// The link that an address means: the configured link with a prefix that contains it, else the link that bindings have
    /// told with exactly this link-address.
    pub fn link_of(&self, address: Ipv6Addr) -> Option<LinkId> {
        let link = self.places.links.of_address(address)?;
        Some(self.places.link_id(link))
    }

    /// The link of the store that a lease is on.
    pub fn link_id(&self, lease: &Bind6<'_>) -> Option<LinkId> {
        let links = &self.places.links;
        let link = links.of_lease(lease.link(), lease.kind(), lease.address())?;
        Some(self.places.link_id(link))
    }

    /// Whether an address belongs to a configured link: inside one of its prefixes, or of those delegated from it.
    pub fn knows_address6(&self, address: Ipv6Addr) -> bool {
        self.places.links.knows(address)
    }

    /// An address of a link, for the Client Link option (RFC 5007 §4.1.2.5): one that relay agents told, else the address
    /// of its first prefix. `None` for a link that is known by a source's number, or not at all.
    pub fn link_address(&self, link: LinkId) -> Option<Ipv6Addr> {
        self.places.links.address(self.places.link(link)?)
    }

    /// The link of the store that a lease was on which has departed.
    pub fn departed_link(&self, departed: &Departed6<'_>) -> Option<LinkId> {
        let links = &self.places.links;
        let link = links.of_lease(departed.link(), departed.kind(), departed.address())?;
        Some(self.places.link_id(link))
    }

    /// Puts all leases, in any state, of the client and link that a lease belongs to into `out`, this one among them.
    /// False if the lease has no client.
    pub fn group_of<'v>(&'v self, lease: &Bind6<'v>, out: &mut Group<'v>) -> bool {
        out.members.clear();
        let Some(link) = self.link_id(lease).filter(|_| !lease.duid().is_empty()) else {
            return false;
        };
        out.link = link;
        // The lease as it was found stands for itself, whatever became of it since.
        out.members.push(*lease);
        let slot = self.slot6(lease.vpn(), lease.address(), lease.prefix_len());
        if let Some(group) = slot.and_then(|slot| self.places.groups.group_of(slot)) {
            let is_itself = |other: &Bind6<'v>| {
                other.address() == lease.address() && other.prefix_len() == lease.prefix_len()
            };
            self.members_of(group, link, lease.duid(), lease.vpn(), |other| {
                if !is_itself(&other) {
                    out.members.push(other);
                }
            });
        }
        true
    }

    /// Puts the leases, in any state, that the client of a departure has now on the link that it left into `out`: the lease
    /// that departed too, if it has come back. False if the client has none there.
    pub fn group_of_departed<'v>(&'v self, departed: &Departed6<'v>, out: &mut Group<'v>) -> bool {
        out.members.clear();
        let duid = departed.duid();
        let Some(link) = self.departed_link(departed).filter(|_| !duid.is_empty()) else {
            return false;
        };
        out.link = link;
        let groups = self.places.duid.find(self.shared.hasher.duid(duid));
        for place in 0..groups.len() {
            let on_link = |&group: &u32| {
                let on = self.places.groups.link(group);
                on.is_some_and(|on| self.places.link_id(on) == link)
            };
            if let Some(group) = groups.get(place).filter(on_link) {
                self.members_of(group, link, duid, departed.vpn(), |lease| {
                    out.members.push(lease);
                });
            }
            if !out.members.is_empty() {
                return true;
            }
        }
        false
    }

    /// The leases of a group that are of this client and link: a group may be another one's by now.
    fn members_of<'v>(
        &'v self,
        group: u32,
        link: LinkId,
        duid: &[u8],
        vpn: VpnRef<'_>,
        mut each: impl FnMut(Bind6<'v>),
    ) {
        let mut slots: SmallVec<[u32; 8]> = SmallVec::new();
        self.places.groups.collect(group, &mut slots);
        slots
            .iter()
            .filter_map(|&slot| self.bind6(slot))
            .filter(|lease| {
                lease.duid() == duid && lease.vpn() == vpn && self.link_id(lease) == Some(link)
            })
            .for_each(&mut each);
    }

    /// Begins a walk over the clients on a link that a selector names; with a link given, only those on it.
    pub fn walk6(&self, selector: &Selector6<'_>, vpn: &VpnSelect, link: Option<LinkId>) -> Walk6 {
        Walk6::new(self, selector, vpn, link)
    }

    /// Puts the next client on a link of a walk into `out`, which is emptied before.
    pub fn next_group6<'v>(&'v self, walk: &mut Walk6, out: &mut Group<'v>) -> Step6 {
        walk.step(self, out)
    }

    /// The next record at a cursor, in log order; none behind the last one published when the view was taken.
    pub fn next_record<'v>(&'v self, cursor: &mut LogCursor) -> Option<Record<'v>> {
        cursor.next(self)
    }

    /// Whether a record is the newest of its binding, or of its feed. A departure always is.
    pub fn is_newest(&self, record: &Record<'_>) -> bool {
        is_newest(self, record)
    }

    /// Stamp of the newest end or departure that compaction has dropped; zero: none. What changed at it or before may not be
    /// told completely.
    pub fn dropped_until(&self) -> Stamp {
        Stamp::from_millis(self.log.dropped_until())
    }

    /// Records in log order, up to the last one published when the view was taken.
    pub fn scan(&self, from: ScanFrom) -> Scan<'_> {
        Scan::new(self, from)
    }
}
