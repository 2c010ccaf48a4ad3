//! Writes changes when they are due.

use std::io::Write as _;
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::Side;
use crate::measure::Times;
use crate::measure::clock::now_ns;

/// Octets of lines that are written at a time.
const CHUNK: usize = 64 * 1024;
/// What is due meanwhile is written together.
const TICK_NS: u64 = 1_000_000;
/// How long nothing is looked at, if nothing is due for longer; a stop wakes.
const LONGEST_SLEEP_NS: u64 = 1_000_000_000;

/// When changes are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    begin_ns: u64,
    /// Nanoseconds between two changes of a family; infinite if there are none.
    period_ns: f64,
    families: usize,
}

impl Rate {
    /// So many changes a second from a time on, of so many families together.
    pub fn new(begin_ns: u64, per_second: f64, families: usize) -> Self {
        let period_ns = match per_second > 0.0 {
            true => 1e9 * families as f64 / per_second,
            false => f64::INFINITY,
        };
        Self {
            begin_ns,
            period_ns,
            families,
        }
    }

    /// That of one family: between two of its changes all others have their turn.
    pub fn of(self, place: usize) -> Self {
        let share = self.period_ns * place as f64 / self.families.max(1) as f64;
        Self {
            begin_ns: self.begin_ns.saturating_add(share as u64),
            ..self
        }
    }

    /// When a change is due, counted from 0.
    fn due_ns(self, number: u64) -> u64 {
        match self.period_ns.is_finite() {
            true => self
                .begin_ns
                .saturating_add((number as f64 * self.period_ns) as u64),
            false => u64::MAX,
        }
    }
}

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub submitted: u64,
    /// From the due time until the feed's socket had it.
    pub lateness: Times,
    /// The board had no room for more.
    pub is_board_full: bool,
}

/// Writes until it is stopped, or the feed takes no more; the reading side then says why.
pub(super) fn write(side: &Side, rate: Rate) -> Written {
    let mut written = Written::default();
    let mut lines = String::with_capacity(2 * CHUNK);
    while !side.stopping.load(Ordering::Acquire) {
        let now = now_ns();
        let first = written.submitted;
        while rate.due_ns(written.submitted) <= now && lines.len() < CHUNK && !written.is_board_full
        {
            let Some(number) = side.board.submit(side.family) else {
                written.is_board_full = true;
                break;
            };
            side.line(number, &mut lines);
            written.submitted += 1;
        }
        if first == written.submitted {
            let wake = match written.is_board_full {
                true => u64::MAX,
                false => rate.due_ns(first).max(now + TICK_NS),
            };
            let sleep = wake.saturating_sub(now_ns()).min(LONGEST_SLEEP_NS);
            // A stop that comes before it counts too.
            thread::park_timeout(Duration::from_nanos(sleep));
            continue;
        }
        if (&side.stream).write_all(lines.as_bytes()).is_err() {
            break;
        }
        lines.clear();
        let now = now_ns();
        for number in first..written.submitted {
            let late = now.saturating_sub(rate.due_ns(number));
            written.lateness.record_ns(late);
        }
    }
    // The feed answers what it has, and closes.
    let _ = side.stream.shutdown(Shutdown::Write);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_their_turns_in_due_time() {
        let rate = Rate::new(1_000, 1_000_000.0, 2);
        let (one, other) = (rate.of(0), rate.of(1));
        assert_eq!((one.due_ns(0), one.due_ns(1)), (1_000, 3_000));
        assert_eq!((other.due_ns(0), other.due_ns(500)), (2_000, 1_002_000));
    }

    #[test]
    fn without_a_rate_nothing_is_ever_due() {
        for per_second in [0.0, -1.0, f64::NAN] {
            assert_eq!(Rate::new(5, per_second, 1).of(0).due_ns(0), u64::MAX);
        }
    }
}
