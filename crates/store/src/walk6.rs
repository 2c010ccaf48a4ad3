//! Walks over IPv6 clients: the unit is the client on a link with all its leases, for that is what a reply tells
//! (RFC 5460 §5.4).

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::index::{Candidates, IdSnapshot, WalkGuard};
use crate::keys::Keys;
use crate::places::Places;
use crate::record::Bind6;
use crate::view::{LinkId, View};
use crate::vpn::VpnSelect;

/// Clients whose leases are on their way into the cache.
const AHEAD: usize = 16;
/// Most places that one step of a walk looks at: many may be empty where clients have left, or be of other links.
const PLACES: usize = 256;

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

/// The selector of a walk, owned; its value lies beside it.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Duid,
    RelayId,
    RemoteId,
    Link,
}

/// Where the groups come from.
enum Source {
    Value(Candidates),
    Link(IdSnapshot),
    Nothing,
}

impl Source {
    fn len(&self) -> usize {
        match self {
            Source::Value(candidates) => candidates.len(),
            Source::Link(snapshot) => snapshot.len(),
            Source::Nothing => 0,
        }
    }

    fn get(&self, place: usize) -> Option<u32> {
        match self {
            Source::Value(candidates) => candidates.get(place),
            Source::Link(snapshot) => snapshot.get(place),
            Source::Nothing => None,
        }
    }
}

/// A walk over the clients on a link that a selector names. Each is handed out at most once; a lease that came to its
/// client and link after the walk began is left out.
pub struct Walk6 {
    /// The links, and the clients on them, as they were configured when the walk began: it is over these.
    places: Arc<Places>,
    source: Source,
    /// The next place to take a group from, for the leases that are fetched ahead.
    fetch: usize,
    ahead: SmallVec<[(usize, u32); AHEAD]>,
    /// Index of the next one in `ahead`.
    next: usize,
    wanted: Wanted,
    value: SmallVec<[u8; 64]>,
    vpn: VpnSelect,
    link: Option<LinkId>,
    /// Sequence of the last record when the walk began.
    began: u64,
    _guard: WalkGuard,
}

impl Walk6 {
    pub(crate) fn new(
        view: &View,
        selector: &Selector6<'_>,
        vpn: &VpnSelect,
        link: Option<LinkId>,
    ) -> Self {
        let shared = view.shared();
        let guard = shared.walks.begin();
        let places = Arc::clone(view.places());
        let hasher = &shared.hasher;
        // After the guard and before the lists: a lease that came to its group later may be in two of them.
        let began = shared.published.load().sequence;
        let (source, wanted, value, link) = match *selector {
            Selector6::Duid(duid) => (
                Source::Value(places.duid.find(hasher.duid(duid))),
                Wanted::Duid,
                duid,
                link,
            ),
            Selector6::RelayId(id) => (
                Source::Value(places.relay_id6.find(hasher.relay_id6(id))),
                Wanted::RelayId,
                id,
                link,
            ),
            Selector6::RemoteId(id) => (
                Source::Value(places.remote_id6.find(hasher.remote_id6(id))),
                Wanted::RemoteId,
                id,
                link,
            ),
            Selector6::Link(on) => {
                let groups = places
                    .link(on)
                    .and_then(|link| places.links.groups(link))
                    .map(|groups| Source::Link(groups.snapshot()));
                let groups = groups.filter(|_| link.is_none_or(|link| link == on));
                (
                    groups.unwrap_or(Source::Nothing),
                    Wanted::Link,
                    &[][..],
                    Some(on),
                )
            }
        };
        Walk6 {
            places,
            source,
            fetch: 0,
            ahead: SmallVec::new(),
            next: 0,
            wanted,
            value: SmallVec::from_slice(value),
            vpn: vpn.clone(),
            link,
            began,
            _guard: guard,
        }
    }

    /// Makes the walk go on with the client that it handed out last: there was no room for it.
    pub fn go_back(&mut self) {
        self.next = self.next.saturating_sub(1);
    }

    /// At most how many clients the walk has still to look at.
    pub fn left(&self) -> usize {
        self.source.len() - self.fetch + self.ahead.len() - self.next
    }

    pub(crate) fn step<'v>(&mut self, view: &'v View, out: &mut Group<'v>) -> Step6 {
        out.members.clear();
        let mut places = 0;
        loop {
            while let Some(&(_, group)) = self.ahead.get(self.next) {
                self.next += 1;
                if self.read(view, group, out) {
                    return Step6::Group;
                }
            }
            if self.fetch >= self.source.len() {
                return Step6::Done;
            }
            if places >= PLACES {
                return Step6::More;
            }
            places += self.look_ahead(view);
        }
    }

    /// Takes the next groups and asks for the records of their leases. Gives the number of places looked at.
    fn look_ahead(&mut self, view: &View) -> usize {
        let groups = &self.places.groups;
        self.ahead.clear();
        self.next = 0;
        let start = self.fetch;
        let end = self.source.len().min(start + PLACES);
        while self.fetch < end && self.ahead.len() < AHEAD {
            if let Some(group) = self.source.get(self.fetch) {
                groups.prefetch(group);
                self.ahead.push((self.fetch, group));
            }
            self.fetch += 1;
        }
        let mut slots = SmallVec::new();
        for &(_, group) in &self.ahead {
            groups.collect(group, &mut slots);
            slots.iter().for_each(|&slot| view.prefetch_record(slot));
        }
        self.fetch - start
    }

    /// Reads the leases of a group; false if it is not wanted.
    fn read<'v>(&self, view: &'v View, group: u32, out: &mut Group<'v>) -> bool {
        out.members.clear();
        let groups = &self.places.groups;
        let Some(link) = groups.link(group).map(|link| self.places.link_id(link)) else {
            return false;
        };
        if self.link.is_some_and(|wanted| wanted != link) {
            return false;
        }
        out.link = link;
        let mut slots = SmallVec::new();
        groups.collect(group, &mut slots);
        let mut matches = matches!(self.wanted, Wanted::Link);
        for &slot in &slots {
            // A slot shows up in a group only after its position leads to the record with which it came there. So what
            // joined before the walk began is where it was then, and is met nowhere else.
            let Some(lease) = view
                .bind6(slot)
                .filter(|lease| lease.joined() <= self.began)
            else {
                continue;
            };
            if out
                .members
                .first()
                .is_some_and(|first| first.duid() != lease.duid())
            {
                continue;
            }
            matches |= match self.wanted {
                Wanted::Duid => lease.duid() == self.value.as_slice(),
                Wanted::RelayId => lease.has_relay_id(&self.value),
                Wanted::RemoteId => lease.has_remote_id(&self.value),
                Wanted::Link => true,
            };
            out.members.push(lease);
        }
        matches
            && out
                .members
                .first()
                .is_some_and(|first| self.vpn.admits(first.vpn()))
    }
}

impl fmt::Debug for Walk6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk6")
            .field("wanted", &self.wanted)
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}
