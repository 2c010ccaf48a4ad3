//! What the active streams of one core share: the reader of the log's tail, and who is concerned by what it reads.
//!
//! A record is looked at once for all streams. Streams of everything that are told it in the same octets share one
//! [`Form`]: it is encoded once into the form's ring, from which each copies it. The other streams are found by what they are narrowed
//! to; a stream that is found gets a cursor at the record, and reads and encodes it in its own turn. Neither holds more
//! than a bound for a stream: one that does not keep up is left to read the log by itself.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use ahash::RandomState;
use leaseq_store::{LogCursor, Record, ScanFrom, Stamp, View};
use leaseq_wire::OutBuf;
use slab::Slab;
use smallvec::SmallVec;

use super::ring::{Entry, Ring};
use super::{Scope, Teller};
use crate::connection::Turn;
use crate::counters::Counters;
use crate::query::QueryContext;
use crate::settings::{Family, RequestorRule, Settings};
use crate::tls::Handshakes;
use crate::{v4, v6};

/// Records looked at in one call, a few milliseconds' worth. Streams that are narrowed to something are found many to a call
/// when the tail lags, so each is told several records at a time and the tail is reached again.
const RECORDS: usize = 16_384;
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
/// Records that may wait for a stream before it is left to read the log by itself. A call ends when one more would be too
/// many, so that a stream which takes what it is given is not left behind by many changes of its own in a row.
const MAX_PENDING: usize = 64;

/// The reader of the log's tail for all active streams of one core, and who is to be woken. One a core.
pub struct Hub {
    inner: RefCell<Inner>,
    handshakes: Rc<Handshakes>,
}

/// The inside of a [`Hub`].
pub(super) struct Inner {
    hasher: RandomState,
    /// Where the tail is read; none while there is no stream.
    tail: Option<LogCursor>,
    /// Time up to which the tail was read when nothing was left to read.
    read_up_to: Stamp,
    members: Slab<Member>,
    /// Streams that do not share, by the hash of their scope. What is found may be another scope's: the teller decides.
    scoped: HashMap<u64, SmallVec<[usize; 2]>, RandomState>,
    /// Streams among them that are narrowed to something, of each family.
    narrowed: [usize; 2],
    forms: Slab<Form>,
    scratch: Vec<u8>,
}

/// A stream as the hub knows it.
pub(super) struct Member {
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
        scope: u64,
        narrowed: Option<Family>,
        /// Records before this sequence have been told.
        from: u64,
        pending: SmallVec<[Pending; 1]>,
    },
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

/// A record that may concern a stream.
pub(super) struct Pending {
    /// Stands at the record.
    pub(super) cursor: LogCursor,
    /// Its sequence.
    pub(super) sequence: u64,
    /// When it was committed.
    pub(super) stamp: Stamp,
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
pub(super) enum Shared<'h> {
    /// The next entry.
    Entry(Entry<'h>),
    /// There is none: it is at the tail.
    None,
    /// The entry is not held any more: read the log by itself from here, without what precedes this sequence.
    Lost(LogCursor, u64),
}

/// What a stream that joins the tail brings.
pub(super) struct Joining<'j> {
    pub(super) settings: &'j Arc<Settings>,
    pub(super) rule: &'j Arc<RequestorRule>,
    pub(super) counters: &'j Arc<Counters>,
    pub(super) teller: &'j dyn Teller,
    /// Whether it may share: its first message is its own.
    pub(super) share: bool,
    /// Records before this sequence have been told.
    pub(super) from: u64,
}

impl Hub {
    /// A hub without streams.
    pub fn new() -> Rc<Hub> {
        let hasher = RandomState::new();
        Rc::new(Hub {
            inner: RefCell::new(Inner {
                scoped: HashMap::with_hasher(hasher.clone()),
                hasher,
                tail: None,
                read_up_to: Stamp::default(),
                members: Slab::new(),
                narrowed: [0; 2],
                forms: Slab::new(),
                scratch: Vec::new(),
            }),
            handshakes: Rc::default(),
        })
    }

    /// Looks at what was committed since the last call, a bounded amount of it, and calls `wake` with the key of each
    /// connection that has something to do now. Gives whether there is more to look at: in another turn.
    pub fn committed(&self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
        self.inner.borrow_mut().committed(turn, wake)
    }

    /// Calls `wake` with the key of each connection that something else has made ready since the last call.
    pub fn ready(&self, wake: &mut dyn FnMut(usize)) {
        self.handshakes.ready(wake);
    }

    /// The core's TLS handshakes.
    pub(crate) fn handshakes(&self) -> &Rc<Handshakes> {
        &self.handshakes
    }

    /// Active streams of the core.
    pub fn streams(&self) -> usize {
        self.inner.borrow().members.len()
    }

    pub(super) fn lock(&self) -> RefMut<'_, Inner> {
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
    pub(super) fn add(&mut self, key: usize) -> usize {
        self.members.insert(Member {
            key,
            place: Place::Apart,
        })
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, member: usize) {
        self.leave(member);
        self.members.remove(member);
        if self.members.is_empty() {
            self.tail = None;
            self.scratch = Vec::new();
        }
    }

    /// Has the stream told of records from the tail on. False if the tail has been read further than the stream has come:
    /// it has to read on by itself.
    pub(super) fn join(&mut self, member: usize, view: &View, joining: &Joining<'_>) -> bool {
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
                let narrowed = scope.is_narrow().then(|| scope.family());
                if let Some(family) = narrowed {
                    self.narrowed[family as usize] += 1;
                }
                let scope = self.hasher.hash_one(scope);
                self.scoped.entry(scope).or_default().push(member);
                Place::Scoped {
                    scope,
                    narrowed,
                    from,
                    pending: SmallVec::new(),
                }
            }
        };
        self.members[member].place = place;
        true
    }

    /// Takes a stream from the tail: it reads the log by itself from now on.
    pub(super) fn leave(&mut self, member: usize) {
        match std::mem::replace(&mut self.members[member].place, Place::Apart) {
            Place::Apart => {}
            Place::Scoped {
                scope, narrowed, ..
            } => {
                if let Some(family) = narrowed {
                    self.narrowed[family as usize] -= 1;
                }
                if let Some(found) = self.scoped.get_mut(&scope) {
                    found.retain(|other| *other != member);
                    if found.is_empty() {
                        self.scoped.remove(&scope);
                    }
                }
            }
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

    /// Whether nothing waits for a stream at the tail.
    pub(super) fn is_told(&self, member: usize) -> bool {
        match &self.members[member].place {
            Place::Apart => true,
            Place::Scoped { pending, .. } => pending.is_empty(),
            Place::Sharing { form, at, .. } => *at == self.forms[*form].ring.end(),
        }
    }

    /// Whether a stream copies from a form's ring.
    pub(super) fn is_sharing(&self, member: usize) -> bool {
        matches!(self.members[member].place, Place::Sharing { .. })
    }

    /// The oldest record that waits for a stream which does not share.
    pub(super) fn pending(&self, member: usize) -> Option<&Pending> {
        match &self.members[member].place {
            Place::Scoped { pending, .. } => pending.first(),
            _ => None,
        }
    }

    /// Whether as many records wait for a stream as may: there may be more, which it has to find in the log by itself.
    pub(super) fn is_overrun(&self, member: usize) -> bool {
        match &self.members[member].place {
            Place::Scoped { pending, .. } => pending.len() >= MAX_PENDING,
            _ => false,
        }
    }

    /// The oldest record that waits was told.
    pub(super) fn told(&mut self, member: usize) {
        if let Place::Scoped { pending, from, .. } = &mut self.members[member].place
            && !pending.is_empty()
        {
            *from = pending.remove(0).sequence + 1;
            if pending.is_empty() {
                pending.shrink_to_fit();
            }
        }
    }

    /// What is next for a stream that shares.
    pub(super) fn shared(&self, member: usize) -> Shared<'_> {
        let Place::Sharing {
            form,
            from,
            at,
            behind,
            ..
        } = &self.members[member].place
        else {
            return Shared::None;
        };
        let ring = &self.forms[*form].ring;
        let mut at = *at;
        while let Some(entry) = ring.entry(at) {
            // What was committed between the stream's look at the log and the tail's is in both.
            if entry.sequence >= *from {
                return Shared::Entry(entry);
            }
            at = entry.next;
        }
        match behind {
            Some(cursor) if at < ring.start() => Shared::Lost(cursor.clone(), *from),
            _ => Shared::None,
        }
    }

    /// A stream that shares has been told everything before this place in the ring, up to this sequence.
    pub(super) fn shared_up_to(&mut self, member: usize, place: u64, sequence: u64) {
        if let Place::Sharing { from, at, .. } = &mut self.members[member].place {
            *at = place;
            *from = sequence + 1;
        }
    }

    /// A stream that shares has nothing left to be told: not even what it does not want.
    pub(super) fn shared_all(&mut self, member: usize) {
        if let Place::Sharing { form, at, .. } = &mut self.members[member].place {
            *at = self.forms[*form].ring.end();
        }
    }

    /// A time before which no record lies that a stream at the tail has not been told.
    pub(super) fn base_time(&self, member: usize, view: &View, server_time: Stamp) -> Stamp {
        let waits = match self.shared(member) {
            Shared::Entry(entry) => Some(Stamp::from_millis(entry.stamp)),
            Shared::None => self.pending(member).map(|pending| pending.stamp),
            // Not told how old the next record is: nothing newer than what was said before.
            Shared::Lost(..) => Some(Stamp::default()),
        };
        let next = self.tail.as_ref().map_or(0, LogCursor::next_sequence);
        let read = if view.published().sequence < next {
            server_time
        } else {
            self.read_up_to.min(server_time)
        };
        waits.map_or(read, |stamp| stamp.min(read))
    }

    /// Has a stream that was told everything share from now on, if it can.
    pub(super) fn share(&mut self, member: usize, view: &View, joining: &Joining<'_>) {
        if let Place::Scoped { from, pending, .. } = &self.members[member].place
            && pending.is_empty()
        {
            let tail = self.tail.as_ref().map_or(0, LogCursor::next_sequence);
            let from = tail.max(*from);
            self.join(member, view, &Joining { from, ..*joining });
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

    fn committed(&mut self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
        let Some(mut tail) = self.tail.take() else {
            return false;
        };
        let begun = tail.clone();
        let ends: SmallVec<[(usize, u64); MAX_FORMS]> = self
            .forms
            .iter()
            .map(|(form, held)| (form, held.ring.end()))
            .collect();
        let mut more = true;
        let mut left = RECORDS;
        while left > 0 {
            left -= 1;
            let here = tail.clone();
            let Some(record) = turn.view.next_record(&mut tail) else {
                self.read_up_to = turn.server_time;
                more = false;
                break;
            };
            let Some(family) = family(&record) else {
                continue;
            };
            if !turn.view.is_newest(&record) {
                continue;
            }
            let examined = self.encode(turn, family, &record, &here, wake);
            left = left.saturating_sub(examined);
            let (filled, scopes) = self.find(turn.view, family, &record, &here, wake);
            left = left.saturating_sub(scopes / FEW_SCOPES);
            let grown = |&(form, end): &(usize, u64)| {
                let held = self.forms.get(form);
                held.is_some_and(|held| held.ring.end() - end >= RING_STEP)
            };
            if filled || ends.iter().any(grown) {
                break;
            }
        }
        self.tail = Some(tail);
        for (form, end) in ends {
            self.wake_form(form, end, &begun, wake);
        }
        more
    }

    /// Encodes a record for each form of its family. Gives how many other records that took.
    fn encode(
        &mut self,
        turn: &Turn<'_>,
        family: Family,
        record: &Record<'_>,
        here: &LogCursor,
        wake: &mut dyn FnMut(usize),
    ) -> usize {
        let mut examined = 0;
        let mut failed: SmallVec<[usize; 1]> = SmallVec::new();
        for (number, form) in &mut self.forms {
            if form.family != family {
                continue;
            }
            self.scratch.resize(SCRATCH_OCTETS, 0);
            let cx = QueryContext {
                view: turn.view,
                server_time: turn.server_time,
                settings: &form.settings,
                rule: &form.rule,
                counters: &form.counters,
            };
            let mut out = OutBuf::new(&mut self.scratch);
            let told = form.teller.record(&cx, record, record.stamp(), &mut out);
            examined += told.map_or(0, |told| told.examined as usize);
            match told {
                Ok(told) if told.messages > 0 => form.ring.push(&Entry {
                    sequence: record.sequence(),
                    stamp: record.stamp().millis(),
                    messages: told.messages,
                    bindings: told.bindings,
                    frames: out.as_slice(),
                    next: 0,
                }),
                Ok(_) => {}
                Err(_) => failed.push(number),
            }
        }
        // Too long for the scratch buffer: each stream has to read it by itself.
        for form in failed {
            self.restart(form, record, here, wake);
        }
        examined
    }

    /// Has each stream of a form that is at the ring's end continue at a record that the ring cannot have.
    fn restart(
        &mut self,
        form: usize,
        record: &Record<'_>,
        here: &LogCursor,
        wake: &mut dyn FnMut(usize),
    ) {
        let held = &mut self.forms[form];
        let end = held.ring.end();
        held.ring.clear();
        for &member in &held.members {
            let member = &mut self.members[member];
            if let Place::Sharing {
                from, at, behind, ..
            } = &mut member.place
                && *at == end
            {
                *behind = Some(here.clone());
                *from = (*from).max(record.sequence());
                wake(member.key);
            }
        }
    }

    /// Finds the streams that do not share and that a record may concern. Gives whether one of them has now as much waiting as
    /// it may, and how many scopes were looked for.
    fn find(
        &mut self,
        view: &View,
        family: Family,
        record: &Record<'_>,
        here: &LogCursor,
        wake: &mut dyn FnMut(usize),
    ) -> (bool, usize) {
        if self.scoped.is_empty() {
            return (false, 0);
        }
        let Inner {
            hasher,
            scoped,
            members,
            narrowed,
            ..
        } = self;
        let (sequence, stamp) = (record.sequence(), record.stamp());
        let mut filled = false;
        let mut scopes = 0;
        let mut found = |scope: Scope<'_>| {
            scopes += 1;
            for &member in scoped.get(&hasher.hash_one(scope)).into_iter().flatten() {
                let member = &mut members[member];
                let Place::Scoped { from, pending, .. } = &mut member.place else {
                    continue;
                };
                let known = pending.last().is_some_and(|last| last.sequence == sequence);
                if known || sequence < *from || pending.len() >= MAX_PENDING {
                    continue;
                }
                if pending.is_empty() {
                    wake(member.key);
                }
                pending.push(Pending {
                    cursor: here.clone(),
                    sequence,
                    stamp,
                });
                filled |= pending.len() == MAX_PENDING - 1;
            }
        };
        match family {
            Family::V4 => found(Scope::V4),
            Family::V6 => found(Scope::V6),
        }
        if narrowed[family as usize] > 0 {
            match family {
                Family::V4 => v4::scopes(view, record, &mut found),
                Family::V6 => v6::scopes(view, record, &mut found),
            }
        }
        (filled, scopes)
    }

    /// Wakes the streams of a form that had been told everything before `end`, if there is more now.
    fn wake_form(&mut self, form: usize, end: u64, begun: &LogCursor, wake: &mut dyn FnMut(usize)) {
        let form = &self.forms[form];
        if form.ring.end() == end {
            return;
        }
        for &member in &form.members {
            let member = &mut self.members[member];
            if let Place::Sharing { at, behind, .. } = &mut member.place
                && *at == end
            {
                *behind = Some(begun.clone());
                wake(member.key);
            }
        }
    }
}

fn family(record: &Record<'_>) -> Option<Family> {
    match record {
        Record::Bind4(_) | Record::Departed4(_) => Some(Family::V4),
        Record::Bind6(_) | Record::Departed6(_) => Some(Family::V6),
        Record::Feed(_) => None,
    }
}

impl Scope<'_> {
    /// The family of the records that are found under it.
    fn family(&self) -> Family {
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
    fn is_narrow(&self) -> bool {
        !matches!(self, Scope::V4 | Scope::V6)
    }
}
