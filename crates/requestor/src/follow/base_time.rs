//! The base-time from which to go on after a connection is lost (RFC 7724 §7.3 and §7.4.1, RFC 7653 §8.3 and §8.4.1).

use leaseq_wire::time::UnixSeconds;

/// The highest base-time up to which everything has been told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaseTime {
    remembered: Option<UnixSeconds>,
    regime: Regime,
}

/// What hearing a base-time means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Regime {
    /// The past is being told, in no order of time: nothing is remembered.
    #[default]
    CatchUp,
    /// Something older is missing and being asked for. What is heard meanwhile counts once that has come.
    Missing { heard: Option<UnixSeconds> },
    /// Everything older has been told.
    Current,
}

impl BaseTime {
    /// Remembered from before.
    #[must_use]
    pub fn new(remembered: Option<UnixSeconds>) -> Self {
        Self {
            remembered,
            regime: Regime::CatchUp,
        }
    }

    /// The start time of the next active query; none: nothing has been told yet.
    #[must_use]
    pub fn remembered(&self) -> Option<UnixSeconds> {
        self.remembered
    }

    /// An active query has been sent, with a start time or without one. Without one there is no past to be told.
    pub fn begin(&mut self, catches_up: bool) {
        self.regime = match catches_up {
            true => Regime::CatchUp,
            false => Regime::Current,
        };
    }

    /// A message had this base-time.
    pub fn hear(&mut self, time: UnixSeconds) {
        match &mut self.regime {
            Regime::CatchUp => {}
            Regime::Missing { heard } => *heard = (*heard).max(Some(time)),
            Regime::Current => self.remembered = self.remembered.max(Some(time)),
        }
    }

    /// The past has been told; to be called before [`hear`](Self::hear) for the message that says so.
    pub fn caught_up(&mut self) {
        self.regime = Regime::Current;
    }

    /// Part of the past is missing; likewise.
    pub fn missing(&mut self) {
        self.regime = Regime::Missing { heard: None };
    }

    /// What was missing has come, or will never come.
    pub fn filled(&mut self) {
        if let Regime::Missing { heard } = self.regime {
            self.remembered = self.remembered.max(heard);
            self.regime = Regime::Current;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u32) -> Option<UnixSeconds> {
        Some(UnixSeconds(seconds))
    }

    fn hear(time: &mut BaseTime, seconds: u32) -> Option<UnixSeconds> {
        time.hear(UnixSeconds(seconds));
        time.remembered()
    }

    #[test]
    fn without_a_past_the_first_message_counts() {
        let mut time = BaseTime::default();
        time.begin(false);
        assert_eq!(hear(&mut time, 10), at(10));
        // The highest, not the last.
        assert_eq!(hear(&mut time, 9), at(10));
        assert_eq!(hear(&mut time, 11), at(11));
    }

    #[test]
    fn during_catch_up_nothing_is_remembered() {
        let mut time = BaseTime::new(at(10));
        time.begin(true);
        assert_eq!(hear(&mut time, 20), at(10));
        // Cut, and once more.
        time.begin(true);
        assert_eq!(hear(&mut time, 30), at(10));
        time.caught_up();
        assert_eq!(time.remembered(), at(10));
        assert_eq!(hear(&mut time, 25), at(25));
    }

    #[test]
    fn what_is_heard_while_something_is_missing_counts_once_it_has_come() {
        let mut time = BaseTime::new(at(10));
        time.begin(true);
        time.missing();
        assert_eq!(hear(&mut time, 20), at(10));
        assert_eq!(hear(&mut time, 30), at(10));
        time.filled();
        assert_eq!(time.remembered(), at(30));
        // Cut before it has come: the old one stands.
        time.missing();
        assert_eq!(hear(&mut time, 40), at(30));
        time.begin(true);
        time.filled();
        assert_eq!(time.remembered(), at(30));
    }
}
