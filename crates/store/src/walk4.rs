//! Walks over IPv4 bindings: by a selector, and over all configured addresses.
//!
//! A walk is owned and goes on over many turns; between them the store changes. Each address is handed out at most once,
//! and none that kept its selector values is missed.

use std::net::Ipv4Addr;

use smallvec::SmallVec;

use crate::record::Bind4;
use crate::view::View;
use crate::vpn::{VpnRef, VpnSelect};

/// Most bindings that one step of a walk hands out.
pub const BATCH: usize = 32;

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
pub struct Place(pub(crate) u64);

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

/// A walk over the bindings that a selector names.
#[derive(Debug)]
pub struct Walk4 {
    next: u64,
}

impl Walk4 {
    pub(crate) fn new(_selector: &Selector4<'_>, _vpn: &VpnSelect) -> Self {
        Walk4 { next: 0 }
    }

    /// Makes the walk go on with the item at this place, which it handed out already: there was no room for it.
    pub fn go_back(&mut self, place: Place) {
        self.next = self.next.min(place.0);
    }

    pub(crate) fn fill<'v>(&mut self, _view: &'v View, out: &mut Batch4<'v>) -> Progress {
        out.items.clear();
        Progress::Done
    }
}

/// A walk over all configured addresses, and the known ones beside them.
#[derive(Debug)]
pub struct WalkAll4 {
    next: u64,
}

impl WalkAll4 {
    pub(crate) fn new(_vpn: &VpnSelect) -> Self {
        WalkAll4 { next: 0 }
    }

    /// Makes the walk go on with the item at this place, which it handed out already: there was no room for it.
    pub fn go_back(&mut self, place: Place) {
        self.next = self.next.min(place.0);
    }

    pub(crate) fn fill<'v>(&mut self, _view: &'v View, out: &mut BatchAll4<'v>) -> Progress {
        out.items.clear();
        Progress::Done
    }
}
