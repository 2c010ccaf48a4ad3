//! Reading the tail: each record once, for all streams of the core.

use leaseq_store::{LogCursor, Record, View};
use leaseq_wire::OutBuf;
use smallvec::SmallVec;

use super::{
    FEW_SCOPES, Inner, MAX_FORMS, MAX_PENDING, Pending, Place, RECORDS, RING_STEP, SCRATCH_OCTETS,
};
use crate::active::ring::Entry;
use crate::connection::Turn;
use crate::query::QueryContext;
use crate::settings::Family;

impl Inner {
    /// [`super::Hub::committed`].
    pub(super) fn committed(&mut self, turn: &Turn<'_>, wake: &mut dyn FnMut(usize)) -> bool {
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
            self.looked += 1;
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
        let Inner {
            scoped,
            members,
            looked,
            ..
        } = self;
        let sequence = record.sequence();
        let mut filled = false;
        let scopes = scoped.find(view, family, record, &mut |member| {
            let member = &mut members[member];
            let Place::Scoped { from, pending, .. } = &mut member.place else {
                return;
            };
            if sequence < *from
                || pending
                    .last_mut()
                    .is_some_and(|last| last.take_in(sequence, *looked))
                || pending.len() >= MAX_PENDING
            {
                return;
            }
            if pending.is_empty() {
                wake(member.key);
            }
            pending.push(Pending::new(record, here, *looked));
            filled |= pending.len() == MAX_PENDING - 1;
        });
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

pub(super) fn family(record: &Record<'_>) -> Option<Family> {
    match record {
        Record::Bind4(_) | Record::Departed4(_) => Some(Family::V4),
        Record::Bind6(_) | Record::Departed6(_) => Some(Family::V6),
        Record::Feed(_) => None,
    }
}
