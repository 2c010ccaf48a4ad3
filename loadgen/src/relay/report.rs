//! What the relays of a thread have to tell: what they are at, what they measured, what was wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use crate::fault::{Fault, FaultKind, KEPT_OCTETS};
use crate::measure::{Count, Measures};
use crate::result::{KEPT_FAULTS, State};

/// What all groups of a thread share.
#[derive(Default)]
pub struct ThreadReport {
    states: RefCell<BTreeMap<State, u32>>,
    faults: RefCell<BTreeMap<FaultKind, u64>>,
    first_faults: RefCell<Vec<Fault>>,
}

impl ThreadReport {
    /// Places by what their relay is at.
    #[must_use]
    pub fn states(&self) -> BTreeMap<State, u32> {
        self.states.borrow().clone()
    }

    /// Faults so far.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<FaultKind, u64> {
        self.faults.borrow().clone()
    }

    /// The first faults, whole.
    #[must_use]
    pub fn first_faults(&self) -> Vec<Fault> {
        self.first_faults.borrow().clone()
    }
}

/// What one group of a thread has to tell.
pub struct Report {
    thread: Rc<ThreadReport>,
    group: String,
    since_last: RefCell<Measures>,
    total: RefCell<Measures>,
    /// When its first relay began and its last one ended.
    span: Cell<Option<(Instant, Instant)>>,
}

impl Report {
    /// Of the group of that name.
    #[must_use]
    pub fn new(thread: Rc<ThreadReport>, group: &str) -> Self {
        Self {
            thread,
            group: group.into(),
            since_last: RefCell::default(),
            total: RefCell::default(),
            span: Cell::default(),
        }
    }

    /// Notes what was measured. `note` must not use the report.
    pub fn measure(&self, note: impl FnOnce(&mut Measures)) {
        note(&mut self.since_last.borrow_mut());
    }

    /// Counts.
    pub fn count(&self, what: Count, more: u64) {
        self.measure(|measures| measures.count(what, more));
    }

    /// A place goes from one state to another; `None`: it is new.
    pub fn state(&self, from: Option<State>, to: State) {
        let mut states = self.thread.states.borrow_mut();
        if let Some(count) = from.and_then(|from| states.get_mut(&from)) {
            *count = count.saturating_sub(1);
        }
        *states.entry(to).or_default() += 1;
    }

    /// Something is wrong: counts it and, of the first ones, keeps all that there is to know. The query in words as by
    /// [`QueryWords`](super::words::QueryWords); the octets are those of the message that it is about.
    pub fn fault(
        &self,
        kind: FaultKind,
        relay: u32,
        query: impl fmt::Display,
        text: impl fmt::Display,
        octets: &[u8],
    ) {
        *self.thread.faults.borrow_mut().entry(kind).or_default() += 1;
        let mut kept = self.thread.first_faults.borrow_mut();
        // Of each kind some, also when there are very many of another.
        let same = kept.iter().filter(|fault| fault.kind == kind).count();
        if same >= KEPT_FAULTS / 4 || kept.len() >= KEPT_FAULTS {
            return;
        }
        kept.push(Fault {
            kind,
            group: self.group.clone(),
            relay,
            query: query.to_string(),
            text: text.to_string(),
            octets: hex(&octets[..octets.len().min(KEPT_OCTETS)]),
        });
    }

    /// The group's relays were at work from then until now.
    pub fn worked_since(&self, begun: Instant) {
        let first = self.span.get().map_or(begun, |(first, _)| first.min(begun));
        self.span.set(Some((first, Instant::now())));
    }

    /// How long from the first relay's begin to the last one's end, so far, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.span
            .get()
            .map_or(0.0, |(first, last)| (last - first).as_secs_f64())
    }

    /// Takes what was measured since the last time.
    pub fn take(&self) -> Measures {
        let taken = self.since_last.take();
        self.total.borrow_mut().add(&taken);
        taken
    }

    /// All that was measured and [taken](Self::take).
    #[must_use]
    pub fn total(&self) -> Measures {
        self.total.borrow().clone()
    }
}

fn hex(octets: &[u8]) -> String {
    use fmt::Write as _;
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_fault_is_counted_and_some_of_each_kind_are_kept() {
        let thread = Rc::<ThreadReport>::default();
        let report = Report::new(thread.clone(), "some");
        for relay in 0..1_000 {
            report.fault(FaultKind::Missing, relay, "bulk", "not told", &[]);
        }
        report.fault(FaultKind::Order, 7, "active", "back", &[0x0f; 600]);
        assert_eq!(thread.faults()[&FaultKind::Missing], 1_000);
        let kept = thread.first_faults();
        assert_eq!(kept.len(), KEPT_FAULTS / 4 + 1);
        let last = kept.last().unwrap();
        assert_eq!((last.relay, last.group.as_str()), (7, "some"));
        assert_eq!(last.octets, "0f".repeat(KEPT_OCTETS));
    }

    #[test]
    fn what_is_taken_stays_in_the_total() {
        let report = Report::new(Rc::default(), "some");
        report.count(Count::Bindings, 3);
        report.measure(|measures| measures.connect.record(Duration::from_millis(1)));
        assert_eq!(report.take().counted(Count::Bindings), 3);
        report.count(Count::Bindings, 4);
        assert_eq!(report.take().counted(Count::Bindings), 4);
        assert!(report.take().connect.is_empty());
        let total = report.total();
        assert_eq!(
            (total.counted(Count::Bindings), total.connect.count()),
            (7, 1)
        );
    }

    #[test]
    fn places_are_counted_where_they_are() {
        let thread = Rc::<ThreadReport>::default();
        let report = Report::new(thread.clone(), "some");
        report.state(None, State::Waiting);
        report.state(None, State::Waiting);
        report.state(Some(State::Waiting), State::Connecting);
        let states = thread.states();
        assert_eq!(
            (states[&State::Waiting], states[&State::Connecting]),
            (1, 1)
        );
    }
}
