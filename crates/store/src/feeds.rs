//! Feeds as the thread that writes knows them, and the leases that wait for them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::event::{EventError, FeedEvent};
use crate::log::Pos;
use crate::record::FeedRecord;
use crate::stats::FeedState;
use crate::time::Stamp;

/// Feeds by number, and what they hold.
#[derive(Default)]
pub(crate) struct Feeds {
    known: Vec<Known>,
}

struct Known {
    state: FeedState,
    /// Where its newest record lies.
    pos: Pos,
    octets: usize,
    /// Leases that ran out and wait until the feed has been read past that: end and slot.
    held: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Feeds {
    /// The feeds' states, in order of their numbers.
    pub(crate) fn states(&self) -> Vec<FeedState> {
        self.known.iter().map(|known| known.state.clone()).collect()
    }

    /// Number of the feed of this name; a new one if it has none. A new number is in the log only with the feed's record.
    pub(crate) fn number(&mut self, name: &str) -> Result<u16, EventError> {
        if let Some(at) = self.known.iter().position(|known| known.state.name == name) {
            return Ok(at as u16 + 1);
        }
        let number = u16::try_from(self.known.len() + 1).map_err(|_| EventError::TooManyFeeds)?;
        let state = FeedState {
            number,
            name: name.to_owned(),
            position: Vec::new(),
            read_up_to: Stamp::ZERO,
            live: false,
            sequence: 0,
        };
        self.known.push(Known {
            state,
            pos: Pos::NONE,
            octets: 0,
            held: BinaryHeap::new(),
        });
        Ok(number)
    }

    /// Whether there is a feed of this number; 0 is none and always is there.
    pub(crate) fn has(&self, number: u16) -> bool {
        usize::from(number) <= self.known.len()
    }

    /// Whether the feed's record says this already.
    pub(crate) fn is_unchanged(&self, number: u16, event: &FeedEvent) -> bool {
        self.get(number).is_some_and(|known| {
            known.state.sequence > 0
                && known.state.position == event.position
                && known.state.read_up_to == event.read_up_to
                && known.state.live == event.live
        })
    }

    /// Takes over a record of the log; gives the position and length of the one that it replaces.
    pub(crate) fn apply(
        &mut self,
        record: &FeedRecord<'_>,
        pos: Pos,
    ) -> Result<Option<(Pos, usize)>, String> {
        let number = record.number();
        if usize::from(number) > self.known.len() {
            if usize::from(number) != self.known.len() + 1 {
                return Err(format!(
                    "feed {number} appears before feed {}",
                    self.known.len() + 1
                ));
            }
            self.number(record.name())
                .map_err(|error| error.to_string())?;
        }
        let known = &mut self.known[usize::from(number) - 1];
        known.state = FeedState {
            number,
            name: record.name().to_owned(),
            position: record.position().to_vec(),
            read_up_to: record.read_up_to(),
            live: record.live(),
            sequence: record.sequence(),
        };
        let replaced = (!known.pos.is_none()).then_some((known.pos, known.octets));
        (known.pos, known.octets) = (pos, record.octets().len());
        Ok(replaced)
    }

    /// Where the feeds' newest records lie, in order of their numbers; without those that have none in the log.
    pub(crate) fn positions(&self) -> Vec<Pos> {
        self.known
            .iter()
            .map(|known| known.pos)
            .filter(|pos| !pos.is_none())
            .collect()
    }

    /// Leases that wait: slot and end.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.known
            .iter()
            .flat_map(|known| &known.held)
            .map(|Reverse((end, slot))| (*slot, *end))
    }

    /// A record was moved by compaction. Whether it is the newest one of a feed.
    pub(crate) fn moved(&mut self, old: Pos, new: Pos) -> bool {
        let known = self.known.iter_mut().find(|known| known.pos == old);
        known.map(|known| known.pos = new).is_some()
    }

    /// Whether the feed's number is in the log.
    pub(crate) fn is_recorded(&self, number: u16) -> bool {
        self.get(number)
            .is_some_and(|known| known.state.sequence > 0)
    }

    /// The feed's read-up-to time in seconds, if it is followed.
    pub(crate) fn live(&self, number: u16) -> Option<u32> {
        let state = &self.get(number)?.state;
        state.live.then(|| state.read_up_to.seconds())
    }

    /// The feed's name.
    pub(crate) fn name(&self, number: u16) -> Option<&str> {
        self.get(number).map(|known| known.state.name.as_str())
    }

    /// Whether any feed is followed.
    pub(crate) fn any_live(&self) -> bool {
        self.known.iter().any(|known| known.state.live)
    }

    /// A lease that ran out waits for its feed.
    pub(crate) fn hold(&mut self, number: u16, end: u32, slot: u32) {
        if let Some(at) = usize::from(number).checked_sub(1)
            && let Some(known) = self.known.get_mut(at)
        {
            known.held.push(Reverse((end, slot)));
        }
    }

    /// A slot whose feed has been read past its end and the grace, or is no longer followed.
    pub(crate) fn release(&mut self, grace: u32) -> Option<u32> {
        self.known.iter_mut().find_map(|known| {
            let Reverse((end, _)) = *known.held.peek()?;
            let ripe =
                !known.state.live || known.state.read_up_to.seconds() > end.saturating_add(grace);
            if ripe {
                known.held.pop().map(|Reverse((_, slot))| slot)
            } else {
                None
            }
        })
    }

    /// Leases that wait, and whether one of them has waited until `limit` (a time in seconds for its end) or longer.
    pub(crate) fn held(&self, limit: u32) -> (u64, bool) {
        let count = self.known.iter().map(|known| known.held.len() as u64).sum();
        let stale = self.known.iter().any(|known| {
            known.state.live
                && known
                    .held
                    .peek()
                    .is_some_and(|Reverse((end, _))| *end < limit)
        });
        (count, stale)
    }

    fn get(&self, number: u16) -> Option<&Known> {
        self.known.get(usize::from(number).checked_sub(1)?)
    }
}
