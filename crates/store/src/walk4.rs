//! Walks over IPv4 bindings: by a selector, and over all configured addresses.
//!
//! A walk is owned and goes on over many turns; between them the store changes. Each address is handed out at most once,
//! and none that kept its selector values is missed. While one batch is handed out, the records of the next are already on
//! their way into the cache: candidates lie all over the log, and a walk that waited for each would spend its time waiting.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::index::{Candidates, IdSnapshot, RangeCursor, WalkGuard};
use crate::keys::Keys;
use crate::places::Places;
use crate::record::Bind4;
use crate::shared::Shared;
use crate::view::View;
use crate::vpn::{VpnRef, VpnSelect};

/// Most bindings that one step of a walk hands out.
pub const BATCH: usize = 32;

/// Most places that one step of a walk looks at for each batch: many may be empty where bindings have left.
const PLACES: usize = 8 * BATCH;

/// What a walk over IPv4 bindings looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector4<'a> {
    /// Hardware type and address; type 0 stands for any.
    HwAddr {
        /// Hardware type.
        htype: u8,
        /// Address.
        address: &'a [u8],
    },
    /// Value of option 61.
    ClientId(&'a [u8]),
    /// Value of the remote-id sub-option of option 82.
    RemoteId(&'a [u8]),
    /// Value of the relay-id sub-option of option 82.
    RelayId(&'a [u8]),
}

impl Selector4<'_> {
    fn admits(&self, bind: &Bind4<'_>) -> bool {
        match *self {
            Selector4::HwAddr { htype, address } => {
                bind.hwaddr() == address && (htype == 0 || bind.htype() == htype)
            }
            Selector4::ClientId(id) => bind.has_client_id(id),
            Selector4::RemoteId(id) => bind.remote_id() == Some(id),
            Selector4::RelayId(id) => bind.relay_id() == Some(id),
        }
    }
}

/// Whether a walk is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more: go on, in this turn or a later one.
    More,
    /// Everything was handed out.
    Done,
}

/// Where in its walk an item was met; see [`Walk4::go_back`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(At);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Range(RangeCursor),
    List(usize),
}

/// A binding that a walk found.
#[derive(Clone, Copy, Debug)]
pub struct Found4<'v> {
    /// Where the walk met it.
    pub place: Place,
    /// The binding, in any state.
    pub bind: Bind4<'v>,
}

/// What is known of a configured address.
#[derive(Clone, Copy, Debug)]
pub enum Configured4<'v> {
    /// A binding, in any state.
    Bound(Bind4<'v>),
    /// Never leased, as far as the store knows.
    Free(VpnRef<'v>, Ipv4Addr),
}

/// A configured address that a walk found.
#[derive(Clone, Copy, Debug)]
pub struct FoundAll4<'v> {
    /// Where the walk met it.
    pub place: Place,
    /// What is known of it.
    pub what: Configured4<'v>,
}

/// Up to [`BATCH`] bindings, without allocation.
#[derive(Debug, Default)]
pub struct Batch4<'v> {
    /// The bindings, in the order of the walk.
    pub items: SmallVec<[Found4<'v>; BATCH]>,
}

/// Up to [`BATCH`] configured addresses, without allocation.
#[derive(Debug, Default)]
pub struct BatchAll4<'v> {
    /// The addresses, in the order of the walk.
    pub items: SmallVec<[FoundAll4<'v>; BATCH]>,
}

/// The selector of a walk, owned.
#[derive(Debug)]
enum Wanted {
    HwAddr(u8),
    ClientId,
    RemoteId,
    RelayId,
}

/// Slots whose records are on their way into the cache, with their places.
type Ahead<P> = SmallVec<[(P, u32); BATCH]>;

/// A walk over the bindings that a selector names.
pub struct Walk4 {
    candidates: Candidates,
    next: usize,
    ahead: Ahead<usize>,
    wanted: Wanted,
    value: SmallVec<[u8; 64]>,
    vpn: VpnSelect,
    _guard: WalkGuard,
}

impl Walk4 {
    pub(crate) fn new(shared: &Shared, selector: &Selector4<'_>, vpn: &VpnSelect) -> Self {
        let guard = shared.walks.begin();
        let hasher = &shared.hasher;
        let (candidates, wanted, value) = match *selector {
            Selector4::HwAddr { htype, address } => (
                shared.hwaddr.find(hasher.hwaddr(address)),
                Wanted::HwAddr(htype),
                address,
            ),
            Selector4::ClientId(id) => (
                shared.client_id.find(hasher.client_id(id)),
                Wanted::ClientId,
                id,
            ),
            Selector4::RemoteId(id) => (
                shared.remote_id4.find(hasher.remote_id4(id)),
                Wanted::RemoteId,
                id,
            ),
            Selector4::RelayId(id) => (
                shared.relay_id4.find(hasher.relay_id4(id)),
                Wanted::RelayId,
                id,
            ),
        };
        Walk4 {
            candidates,
            next: 0,
            ahead: SmallVec::new(),
            wanted,
            value: SmallVec::from_slice(value),
            vpn: vpn.clone(),
            _guard: guard,
        }
    }

    fn selector(&self) -> Selector4<'_> {
        match self.wanted {
            Wanted::HwAddr(htype) => Selector4::HwAddr {
                htype,
                address: &self.value,
            },
            Wanted::ClientId => Selector4::ClientId(&self.value),
            Wanted::RemoteId => Selector4::RemoteId(&self.value),
            Wanted::RelayId => Selector4::RelayId(&self.value),
        }
    }

    /// Makes the walk go on with the item at this place, which it handed out already: there was no room for it.
    pub fn go_back(&mut self, place: Place) {
        if let Place(At::List(at)) = place {
            self.ahead.clear();
            self.next = self.next.min(at);
        }
    }

    /// At most how many bindings the walk has still to look at.
    pub fn left(&self) -> usize {
        self.candidates.len() - self.next + self.ahead.len()
    }

    pub(crate) fn fill<'v>(&mut self, view: &'v View, out: &mut Batch4<'v>) -> Progress {
        out.items.clear();
        if self.ahead.is_empty() {
            self.look_ahead(view);
        }
        let now = std::mem::take(&mut self.ahead);
        self.look_ahead(view);
        let selector = self.selector();
        for (at, slot) in now {
            if let Some(bind) = view.bind4(slot)
                && selector.admits(&bind)
                && self.vpn.admits(bind.vpn())
            {
                out.items.push(Found4 {
                    place: Place(At::List(at)),
                    bind,
                });
            }
        }
        if self.ahead.is_empty() && self.next >= self.candidates.len() {
            Progress::Done
        } else {
            Progress::More
        }
    }

    /// Takes the next candidates and asks for their positions, then for their records.
    fn look_ahead(&mut self, view: &View) {
        let end = self.candidates.len().min(self.next + PLACES);
        while self.next < end && self.ahead.len() < BATCH {
            if let Some(slot) = self.candidates.get(self.next) {
                view.shared().slots.prefetch(slot);
                self.ahead.push((self.next, slot));
            }
            self.next += 1;
        }
        self.ahead
            .iter()
            .for_each(|&(_, slot)| view.prefetch_record(slot));
    }
}

impl fmt::Debug for Walk4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk4")
            .field("selector", &self.selector())
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}

/// A walk over all configured addresses, and the known ones beside them.
pub struct WalkAll4 {
    /// What was configured when the walk began: it is over these.
    places: Arc<Places>,
    /// Number of the VPN in the ranges: `Some(None)` for all of them, `None` if no range has the VPN asked for.
    ranges: Option<Option<u32>>,
    cursor: RangeCursor,
    /// Addresses outside of every range; walked after the ranges.
    outside: IdSnapshot,
    next: usize,
    ahead: Ahead4,
    vpn: VpnSelect,
    _guard: WalkGuard,
}

/// Addresses whose records are on their way into the cache.
type Ahead4 = SmallVec<[(Place, Source); BATCH]>;

#[derive(Clone, Copy)]
enum Source {
    Range {
        vpn: u32,
        address: Ipv4Addr,
        slot: Option<u32>,
    },
    Outside(u32),
}

impl WalkAll4 {
    pub(crate) fn new(view: &View, vpn: &VpnSelect) -> Self {
        let guard = view.shared().walks.begin();
        let places = Arc::clone(view.places());
        WalkAll4 {
            ranges: match vpn {
                VpnSelect::One(vpn) => places.range_vpn(vpn.as_ref()).map(Some),
                VpnSelect::All => Some(None),
            },
            cursor: RangeCursor::default(),
            outside: places.outside.snapshot(),
            places,
            next: 0,
            ahead: SmallVec::new(),
            vpn: vpn.clone(),
            _guard: guard,
        }
    }

    /// Makes the walk go on with the item at this place, which it handed out already: there was no room for it.
    pub fn go_back(&mut self, place: Place) {
        self.ahead.clear();
        match place {
            Place(At::Range(cursor)) => {
                self.cursor = cursor;
                self.next = 0;
            }
            Place(At::List(at)) => self.next = self.next.min(at),
        }
    }

    pub(crate) fn fill<'v>(&mut self, view: &'v View, out: &mut BatchAll4<'v>) -> Progress {
        out.items.clear();
        if self.ahead.is_empty() {
            self.look_ahead(view);
        }
        let now = std::mem::take(&mut self.ahead);
        self.look_ahead(view);
        for (place, source) in now {
            if let Some(what) = self.resolve(view, source) {
                out.items.push(FoundAll4 { place, what });
            }
        }
        if self.ahead.is_empty() && self.next >= self.outside.len() {
            Progress::Done
        } else {
            Progress::More
        }
    }

    fn resolve<'v>(&self, view: &'v View, source: Source) -> Option<Configured4<'v>> {
        match source {
            Source::Range { vpn, address, slot } => {
                // Numbers are kept when the ranges change, so the view's are those of the walk.
                let name = view.places().range_vpns.get(vpn as usize)?.as_ref();
                let slot = match slot {
                    // Whatever was leased since the ranges changed is not in those of the walk.
                    None if !Arc::ptr_eq(&self.places, view.places()) => view.slot4(name, address),
                    slot => slot,
                };
                let bind = slot
                    .and_then(|slot| view.bind4(slot))
                    .filter(|bind| bind.address() == address && bind.vpn() == name);
                Some(bind.map_or(Configured4::Free(name, address), Configured4::Bound))
            }
            Source::Outside(slot) => {
                let bind = view.bind4(slot)?;
                self.vpn
                    .admits(bind.vpn())
                    .then_some(Configured4::Bound(bind))
            }
        }
    }

    fn look_ahead(&mut self, view: &View) {
        let shared = view.shared();
        if let Some(vpn) = self.ranges {
            while self.ahead.len() < BATCH
                && let Some(step) = self.places.ranges.next(&mut self.cursor, vpn)
            {
                if let Some(slot) = step.slot {
                    shared.slots.prefetch(slot);
                }
                let source = Source::Range {
                    vpn: step.vpn,
                    address: step.address,
                    slot: step.slot,
                };
                self.ahead.push((Place(At::Range(step.place)), source));
            }
        }
        let end = self.outside.len().min(self.next + PLACES);
        while self.next < end && self.ahead.len() < BATCH {
            if let Some(slot) = self.outside.get(self.next) {
                shared.slots.prefetch(slot);
                self.ahead
                    .push((Place(At::List(self.next)), Source::Outside(slot)));
            }
            self.next += 1;
        }
        for (_, source) in &self.ahead {
            if let Source::Range {
                slot: Some(slot), ..
            }
            | Source::Outside(slot) = source
            {
                view.prefetch_record(*slot);
            }
        }
    }
}

impl fmt::Debug for WalkAll4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalkAll4")
            .field("cursor", &self.cursor)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
