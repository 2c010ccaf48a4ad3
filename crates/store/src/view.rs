//! Reading: a [`Reader`] on each thread, a [`View`] for each turn.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::options::Options;
use crate::record::{Bind4, Bind6};
use crate::scan::{Scan, ScanFrom};
use crate::stats::Stats;
use crate::time::{ServerClock, Stamp};
use crate::vpn::{Vpn, VpnSelect};
use crate::walk4::{Batch4, BatchAll4, Progress, Selector4, Walk4, WalkAll4};
use crate::walk6::{Group, Selector6, Step6, Walk6};

/// A link of the store: a configured one, or one that bindings have told.
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
    clock: Arc<ServerClock>,
}

impl Reader {
    pub(crate) fn new(options: &Options) -> Self {
        Reader {
            clock: Arc::new(ServerClock::new(options.clock.clone(), Stamp::ZERO)),
        }
    }

    /// A look at the store, for one turn. It holds maps of the log's segments: do not keep it.
    pub fn view(&self) -> View {
        View {
            now: self.clock.now(),
        }
    }

    /// Server time.
    pub fn now(&self) -> Stamp {
        self.clock.now()
    }

    /// Server time up to which everything that was committed is visible: now, or the stamp of the batch that the writer has
    /// open. A base-time must not lie after it.
    pub fn settled(&self) -> Stamp {
        self.now()
    }

    /// When the store was made; a never-leased address has been AVAILABLE since.
    pub fn created(&self) -> Stamp {
        Stamp::ZERO
    }

    /// What is visible now.
    pub fn published(&self) -> Published {
        Published::default()
    }

    /// Counts and sizes.
    pub fn stats(&self) -> Stats {
        Stats::default()
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
    now: Stamp,
}

impl View {
    /// Server time when the view was taken.
    pub fn now(&self) -> Stamp {
        self.now
    }

    /// When the store was made; a never-leased address has been AVAILABLE since.
    pub fn created(&self) -> Stamp {
        Stamp::ZERO
    }

    /// The binding of an IPv4 address, in any state.
    pub fn binding4(&self, _vpn: &Vpn, _address: Ipv4Addr) -> Option<Bind4<'_>> {
        None
    }

    /// Whether an IPv4 address is configured: in a configured range, or known from a binding.
    pub fn configured4(&self, _vpn: &Vpn, _address: Ipv4Addr) -> bool {
        false
    }

    /// The VPNs that ranges or bindings have told, the global one among them.
    pub fn vpns(&self) -> Arc<Vec<Vpn>> {
        Arc::new(vec![Vpn::GLOBAL])
    }

    /// Begins a walk over the bindings that a selector names.
    pub fn walk4(&self, selector: &Selector4<'_>, vpn: &VpnSelect) -> Walk4 {
        Walk4::new(selector, vpn)
    }

    /// Begins a walk over all configured addresses, and the leased ones beside them.
    pub fn walk_all4(&self, vpn: &VpnSelect) -> WalkAll4 {
        WalkAll4::new(vpn)
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

    /// The lease of exactly this address, else of the longest delegated prefix that contains it; live or not.
    pub fn lease6(&self, _vpn: &Vpn, _address: Ipv6Addr) -> Option<Bind6<'_>> {
        None
    }

    /// The link that an address means: the configured link with a prefix that contains it, else the link that bindings have
    /// told with exactly this link-address.
    pub fn link_of(&self, _address: Ipv6Addr) -> Option<LinkId> {
        None
    }

    /// The link of the store that a lease is on.
    pub fn link_id(&self, _lease: &Bind6<'_>) -> Option<LinkId> {
        None
    }

    /// Whether an address belongs to a configured link: inside one of its prefixes, or of those delegated from it.
    pub fn knows_address6(&self, _address: Ipv6Addr) -> bool {
        false
    }

    /// An address of a link, for the Client Link option (RFC 5007 §4.1.2.5): one that relay agents told, else the address
    /// of its first prefix. `None` for a link that is known by a source's number, or not at all.
    pub fn link_address(&self, _link: LinkId) -> Option<Ipv6Addr> {
        None
    }

    /// Puts all leases, in any state, of the client and link that a lease belongs to into `out`, this one among them.
    /// False if the lease has no client.
    pub fn group_of<'v>(&'v self, _lease: &Bind6<'v>, _out: &mut Group<'v>) -> bool {
        false
    }

    /// Begins a walk over the clients on a link that a selector names; with a link given, only those on it.
    pub fn walk6(&self, selector: &Selector6<'_>, vpn: &VpnSelect, link: Option<LinkId>) -> Walk6 {
        Walk6::new(selector, vpn, link)
    }

    /// Puts the next client on a link of a walk into `out`, which is emptied before.
    pub fn next_group6<'v>(&'v self, walk: &mut Walk6, out: &mut Group<'v>) -> Step6 {
        walk.step(self, out)
    }

    /// Records in log order, up to the last one published.
    pub fn scan(&self, from: ScanFrom) -> Scan<'_> {
        Scan::new(self, from)
    }
}
