//! Walks over IPv6 clients: the unit is the client on a link with all its leases, for that is what a reply tells
//! (RFC 5460 §5.4).

use smallvec::SmallVec;

use crate::record::Bind6;
use crate::view::{LinkId, View};
use crate::vpn::VpnSelect;

/// What a walk over IPv6 clients looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector6<'a> {
    /// DUID of the client.
    Duid(&'a [u8]),
    /// Value of the relay-id option of any relay agent on the way of any lease.
    RelayId(&'a [u8]),
    /// Value of the remote-id option, enterprise number included, of any relay agent on the way of any lease.
    RemoteId(&'a [u8]),
    /// Everything on a link.
    Link(LinkId),
}

/// What a step of a walk over IPv6 clients came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step6 {
    /// A client on a link was found.
    Group,
    /// None yet, and the work of one step is done.
    More,
    /// Everything was handed out.
    Done,
}

/// A client on a link: all its leases there, in any state.
#[derive(Clone, Debug)]
pub struct Group<'v> {
    /// The link.
    pub link: LinkId,
    /// The leases; the client's DUID is the same in all of them.
    pub members: SmallVec<[Bind6<'v>; 4]>,
}

impl Default for Group<'_> {
    fn default() -> Self {
        Group {
            link: LinkId(u32::MAX),
            members: SmallVec::new(),
        }
    }
}

/// A walk over the clients on a link that a selector names. Each is handed out at most once; a lease that came to its
/// client and link after the walk began is left out.
#[derive(Debug)]
pub struct Walk6 {
    next: u64,
}

impl Walk6 {
    pub(crate) fn new(_selector: &Selector6<'_>, _vpn: &VpnSelect, _link: Option<LinkId>) -> Self {
        Walk6 { next: 0 }
    }

    /// Makes the walk go on with the client that it handed out last: there was no room for it.
    pub fn go_back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }

    pub(crate) fn step<'v>(&mut self, _view: &'v View, out: &mut Group<'v>) -> Step6 {
        out.members.clear();
        Step6::Done
    }
}
