//! What the active streams of one core share: the reader of the log's tail, and who is concerned by what it reads.
//!
//! A record is looked at once for all streams. Streams of everything that are told it in the same octets share one
//! [`Form`]: it is encoded once into the form's ring, from which each copies it. The other streams are found by what they are narrowed
//! to; a stream that is found gets a cursor at the record, and reads and encodes it in its own turn. Neither holds more
//! than a bound for a stream: one that does not keep up is left to read the log by itself. Narrowed streams that have far to
//! catch up do so together, in the same way.

mod index;
mod sweep;
mod tail;
mod waiting;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;

use ahash::RandomState;
use leaseq_store::{LogCursor, Record, ScanFrom, Stamp, View};
use slab::Slab;
use smallvec::SmallVec;

use self::index::Index;
use self::sweep::{Sweep, Swept};
use super::ring::{Entry, Ring};
use super::{Scope, Teller};
use crate::connection::Turn;
use crate::counters::Counters;
use crate::settings::{Family, RequestorRule, Settings};
use crate::tls::Handshakes;

pub(in crate::active) use self::sweep::Caught;

/// Records looked at in one call, a few milliseconds' worth. Streams that are narrowed to something are found many to a call
/// when the tail lags, so each is told several records at a time and the tail is reached again.
const RECORDS: usize = 16_384;
/// Records that a narrowed stream reads by itself before it joins those that catch up together: most have not missed more.
const READ_ALONE: u32 = 2_048;
/// Scopes that cost about as much as a record; a record has no more unless its client has many leases.
const FEW_SCOPES: usize = 8;
/// Octets that the ring of a form keeps.
const RING_OCTETS: usize = 512 << 10;
/// Octets that a call adds to a form's ring: a part of what it keeps, and no more than the engine writes for a stream in a
/// turn, so that streams which copy after each call lose nothing.
const RING_STEP: u64 = RING_OCTETS as u64 / 16;
/// Octets in which a record is encoded for a form.
const SCRATCH_OCTETS: usize = 128 << 10;
/// Forms with a ring of their own; further ones do not share.
const MAX_FORMS: usize = 16;
/// Records, or stretches of the log, that may wait for a stream before it is left to read the log by itself. A call ends when
/// one more would be too many, so that a stream which takes what it is given is not left behind by many changes of its own.
const MAX_PENDING: usize = 64;
/// Records that lie between two of a stream at most, if they wait as one stretch: the stream reads them too when it tells it,
/// which is quicker than to tell a record.
const NEAR: u64 = 8;

/// The reader of the log's tail for all active streams of one core, and who is to be woken. One a core.
pub struct Hub {
    inner: RefCell<Inner>,
    handshakes: Rc<Handshakes>,
    read_alone: u32,
}

/// The inside of a [`Hub`].
pub(in crate::active) struct Inner {
    /// Where the tail is read; none while there is no stream.
    tail: Option<LogCursor>,
    /// Time up to which the tail was read when nothing was left to read.
    read_up_to: Stamp,
    members: Slab<Member>,
    /// Streams at the tail that do not share.
    scoped: Index,
    /// Streams that catch up together.
    sweep: Sweep,
    /// Records looked at so far, of the tail and by sweeps.
    looked: u64,
    forms: Slab<Form>,
    scratch: Vec<u8>,
}

/// A stream as the hub knows it.
pub(in crate::active) struct Member {
    /// What the connection is woken by.
    key: usize,
    place: Place,
}

/// Where a stream gets its records from.
enum Place {
    /// It reads the log by itself.
    Apart,
    /// It is told which records may concern it.
    Scoped {
        key: index::Key,
        /// Records before this sequence have been told.
        from: u64,
        pending: SmallVec<[Pending; 1]>,
    },
    /// It is told what the sweep finds of what precedes the tail.
    Swept(Swept),
    /// It copies from a form's ring.
    Sharing {
        form: usize,
        /// Its position in the form's list.
        index: usize,
        /// Records before this sequence have been told.
        from: u64,
        /// Place of the next entry in the ring.
        at: u64,
        /// A cursor at or before the record of the next entry, if there is one.
        behind: Option<LogCursor>,
    },
}

/// A record that may concern a stream, or a stretch of the log in which several lie close together.
pub(in crate::active) struct Pending {
    /// Stands at the first record that was not told.
    pub(in crate::active) cursor: LogCursor,
    /// A time before which none of them was committed.
    pub(in crate::active) stamp: Stamp,
    /// Sequence of the last record.
    pub(in crate::active) last: u64,
    /// How many records had been looked at when the last one was.
    looked: u64,
}

impl Pending {
    fn new(record: &Record<'_>, here: &LogCursor, looked: u64) -> Pending {
        Pending {
            cursor: here.clone(),
            stamp: record.stamp(),
            last: record.sequence(),
            looked,
        }
    }

    /// Takes in a record that lies close behind.
    fn take_in(&mut self, sequence: u64, looked: u64) -> bool {
        let is_near = looked - self.looked <= NEAR;
        if is_near {
            (self.last, self.looked) = (sequence, looked);
        }
        is_near
    }
}

/// Streams that are told the same in the same octets.
struct Form {
    octets: Vec<u8>,
    family: Family,
    settings: Arc<Settings>,
    rule: Arc<RequestorRule>,
    counters: Arc<Counters>,
    teller: Box<dyn Teller>,
    ring: Ring,
    members: Vec<usize>,
}

/// What a stream that shares is given.
pub(in crate::active) enum Shared<'h> {
    /// The next entry.
    Entry(Entry<'h>),
    /// There is none: it is at the tail.
    None,
    /// The entry is not held any more: read the log by itself from here, without what precedes this sequence.
    Lost(LogCursor, u64),
}

/// What a stream that joins the tail brings.
pub(in crate::active) struct Joining<'j> {
    pub(in crate::active) settings: &'j Arc<Settings>,
    pub(in crate::active) rule: &'j Arc<RequestorRule>,
    pub(in crate::active) counters: &'j Arc<Counters>,
    pub(in crate::active) teller: &'j dyn Teller,
    /// Whether it may share: its first message is its own.
    pub(in crate::active) share: bool,
    /// Records before this sequence have been told.
    pub(in crate::active) from: u64,
}

impl Hub {
    /// A hub without streams.
    pub fn new() -> Rc<Hub> {
        Hub::joining_after(READ_ALONE)
    }

    /// A hub whose narrowed streams read so many records by themselves before they catch up together.
    pub fn joining_after(records: u32) -> Rc<Hub> {
        let hasher = RandomState::new();
        Rc::new(Hub {
            inner: RefCell::new(Inner {
                scoped: Index::new(hasher.clone()),
                sweep: Sweep::new(Index::new(hasher)),
                looked: 0,
                tail: None,
                read_up_to: Stamp::default(),
                members: Slab::new(),
                forms: Slab::new(),
                scratch: Vec::new(),
            }),
            handshakes: Rc::default(),
            read_alone: records.max(1),
        })
    }

    /// Looks at what was committed since the last call, and at what streams that catch up have not been told, a bounded
    /// amount of it, and calls `wake` with the key of each connection that has something to do now. Gives whether there is
    /// more to look at: in another turn.
    pub fn committed(&self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
        let mut inner = self.inner.borrow_mut();
        let more = inner.committed(turn, wake);
        inner.sweep(turn, wake) || more
    }

    /// Whether there is something to look at though nothing was committed: streams that catch up.
    pub fn is_behind(&self) -> bool {
        self.inner.borrow().is_sweeping()
    }

    /// Calls `wake` with the key of each connection that something else has made ready since the last call.
    pub fn ready(&self, wake: &mut dyn FnMut(usize)) {
        self.handshakes.ready(wake);
    }

    /// Records that a narrowed stream reads by itself before it joins those that catch up together.
    pub(in crate::active) fn read_alone(&self) -> u32 {
        self.read_alone
    }

    /// The core's TLS handshakes.
    pub(crate) fn handshakes(&self) -> &Rc<Handshakes> {
        &self.handshakes
    }

    /// Active streams of the core.
    pub fn streams(&self) -> usize {
        self.inner.borrow().members.len()
    }

    pub(in crate::active) fn lock(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// Takes in a stream that reads the log by itself for the time being.
    pub(in crate::active) fn add(&mut self, key: usize) -> usize {
        self.members.insert(Member {
            key,
            place: Place::Apart,
        })
    }

    /// Forgets a stream.
    pub(in crate::active) fn remove(&mut self, member: usize) {
        self.leave(member);
        self.members.remove(member);
        if self.members.is_empty() {
            self.tail = None;
            self.scratch = Vec::new();
        }
    }

    /// Has the stream told of records from the tail on. False if the tail has been read further than the stream has come:
    /// it has to read on by itself.
    pub(in crate::active) fn join(
        &mut self,
        member: usize,
        view: &View,
        joining: &Joining<'_>,
    ) -> bool {
        let published = view.published().sequence.saturating_add(1);
        let tail = self
            .tail
            .get_or_insert_with(|| LogCursor::new(ScanFrom::Sequence(published)));
        if tail.next_sequence() > joining.from {
            return false;
        }
        self.leave(member);
        let scope = joining.teller.scope();
        let form = joining
            .share
            .then(|| joining.teller.shared_form())
            .flatten()
            .and_then(|octets| self.form(octets, joining, scope.family()));
        let from = joining.from;
        let place = match form {
            Some(form) => {
                let members = &mut self.forms[form].members;
                members.push(member);
                Place::Sharing {
                    form,
                    index: members.len() - 1,
                    from,
                    at: self.forms[form].ring.end(),
                    behind: None,
                }
            }
            None => {
                let key = self.scoped.key(scope);
                self.scoped.insert(key, member);
                Place::Scoped {
                    key,
                    from,
                    pending: SmallVec::new(),
                }
            }
        };
        self.members[member].place = place;
        true
    }

    /// Takes a stream from the tail: it reads the log by itself from now on.
    pub(in crate::active) fn leave(&mut self, member: usize) {
        match std::mem::replace(&mut self.members[member].place, Place::Apart) {
            Place::Apart => {}
            Place::Scoped { key, .. } => self.scoped.remove(key, member),
            Place::Swept(swept) => self.sweep.leave(&mut self.members, swept.whereabouts()),
            Place::Sharing { form, index, .. } => {
                let members = &mut self.forms[form].members;
                members.swap_remove(index);
                match members.get(index) {
                    Some(&moved) => {
                        if let Place::Sharing { index: held, .. } = &mut self.members[moved].place {
                            *held = index;
                        }
                    }
                    None if members.is_empty() => {
                        self.forms.remove(form);
                    }
                    None => {}
                }
            }
        }
    }

    /// The form of these octets; `None` if there are too many already.
    fn form(&mut self, octets: Vec<u8>, joining: &Joining<'_>, family: Family) -> Option<usize> {
        let same = |form: &Form| {
            form.octets == octets
                && form.family == family
                && Arc::ptr_eq(&form.settings, joining.settings)
                && Arc::ptr_eq(&form.rule, joining.rule)
        };
        if let Some((form, _)) = self.forms.iter().find(|(_, form)| same(form)) {
            return Some(form);
        }
        if self.forms.len() >= MAX_FORMS {
            return None;
        }
        Some(self.forms.insert(Form {
            octets,
            family,
            settings: Arc::clone(joining.settings),
            rule: Arc::clone(joining.rule),
            counters: Arc::clone(joining.counters),
            teller: joining.teller.with_xid(0),
            ring: Ring::new(RING_OCTETS),
            members: Vec::new(),
        }))
    }
}

impl Scope<'_> {
    /// The family of the records that are found under it.
    pub(in crate::active) fn family(&self) -> Family {
        match self {
            Scope::V4 | Scope::RelayId4(_) | Scope::RemoteId4(_) => Family::V4,
            Scope::V6
            | Scope::RelayId6(_)
            | Scope::RemoteId6(_)
            | Scope::Duid(_)
            | Scope::Link(_) => Family::V6,
        }
    }

    /// Whether not every record of the family is found under it.
    pub(in crate::active) fn is_narrow(&self) -> bool {
        !matches!(self, Scope::V4 | Scope::V6)
    }
}
