//! What waits for a stream at the tail, and that it was told.

use leaseq_store::{LogCursor, Record, Stamp, View};

use super::sweep::Caught;
use super::{Inner, Joining, MAX_PENDING, Pending, Place, Shared};

impl Inner {
    /// Whether nothing waits for a stream at the tail, or for one that catches up with others.
    pub(in crate::active) fn is_told(&self, member: usize) -> bool {
        match &self.members[member].place {
            Place::Apart => true,
            Place::Swept(swept) => swept.pending.is_empty() && self.caught(member) == Caught::No,
            Place::Scoped { pending, .. } => pending.is_empty(),
            Place::Sharing { form, at, .. } => *at == self.forms[*form].ring.end(),
        }
    }

    /// Whether a stream copies from a form's ring.
    pub(in crate::active) fn is_sharing(&self, member: usize) -> bool {
        matches!(self.members[member].place, Place::Sharing { .. })
    }

    /// The oldest of what waits for a stream which does not share.
    pub(in crate::active) fn pending(&self, member: usize) -> Option<&Pending> {
        match &self.members[member].place {
            Place::Scoped { pending, .. } => pending.first(),
            Place::Swept(swept) => swept.pending.front(),
            _ => None,
        }
    }

    /// Whether as much waits for a stream at the tail as may: there may be more, which it has to find in the log by itself.
    pub(in crate::active) fn is_overrun(&self, member: usize) -> bool {
        match &self.members[member].place {
            Place::Scoped { pending, .. } => pending.len() >= MAX_PENDING,
            _ => false,
        }
    }

    /// Of the oldest that waits this record was told, behind which the cursor stands; none: nothing is left of it.
    pub(in crate::active) fn told(
        &mut self,
        member: usize,
        record: Option<&Record<'_>>,
        cursor: LogCursor,
    ) {
        let waits = match &mut self.members[member].place {
            Place::Scoped { pending, .. } => pending.first_mut(),
            Place::Swept(swept) => swept.pending.front_mut(),
            _ => None,
        };
        let Some(waits) = waits else { return };
        let last = waits.last;
        let told = record.map_or(last, Record::sequence);
        let is_done = told >= last;
        if let Some(record) = record {
            (waits.cursor, waits.stamp) = (cursor, record.stamp());
        }
        match &mut self.members[member].place {
            Place::Scoped { pending, from, .. } => {
                *from = told + 1;
                if is_done {
                    pending.remove(0);
                }
                if pending.is_empty() {
                    pending.shrink_to_fit();
                }
            }
            // What it holds is given back when it has caught up.
            Place::Swept(swept) => {
                if is_done {
                    swept.pending.pop_front();
                }
                self.told_of_sweep(member, told);
            }
            _ => {}
        }
    }

    /// What is next for a stream that shares.
    pub(in crate::active) fn shared(&self, member: usize) -> Shared<'_> {
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

    /// The first record that waits for a stream at the tail, or that the sweep has not looked at for it, and when it was
    /// committed; `told`: the newest record that it was told.
    pub(in crate::active) fn waits(&self, member: usize, told: Stamp) -> Option<(u64, Stamp)> {
        if let Place::Swept(swept) = &self.members[member].place {
            return Some(swept.next(&self.sweep));
        }
        match self.shared(member) {
            Shared::Entry(entry) => Some((entry.sequence, Stamp::from_millis(entry.stamp))),
            Shared::Lost(_, from) => Some((from, told)),
            Shared::None => {
                let pending = self.pending(member)?;
                Some((pending.cursor.next_sequence(), pending.stamp))
            }
        }
    }

    /// A stream that shares has been told everything before this place in the ring, up to this sequence.
    pub(in crate::active) fn shared_up_to(&mut self, member: usize, place: u64, sequence: u64) {
        if let Place::Sharing { from, at, .. } = &mut self.members[member].place {
            *at = place;
            *from = sequence + 1;
        }
    }

    /// A stream that shares has nothing left to be told: not even what it does not want.
    pub(in crate::active) fn shared_all(&mut self, member: usize) {
        if let Place::Sharing { form, at, .. } = &mut self.members[member].place {
            *at = self.forms[*form].ring.end();
        }
    }

    /// A time before which no record lies that a stream at the tail has not been told.
    pub(in crate::active) fn base_time(
        &self,
        member: usize,
        view: &View,
        server_time: Stamp,
    ) -> Stamp {
        if let Place::Swept(swept) = &self.members[member].place {
            return swept.read(&self.sweep).min(server_time);
        }
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
    pub(in crate::active) fn share(&mut self, member: usize, view: &View, joining: &Joining<'_>) {
        if let Place::Scoped { from, pending, .. } = &self.members[member].place
            && pending.is_empty()
        {
            let tail = self.tail.as_ref().map_or(0, LogCursor::next_sequence);
            let from = tail.max(*from);
            self.join(member, view, &Joining { from, ..*joining });
        }
    }
}
