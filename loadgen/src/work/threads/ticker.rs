//! A thread's one timer: looks where the run is, wakes the relays, and measures how late the thread comes to run.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::measure::Times;
use crate::net::channel::OpenLinks;
use crate::relay::context::Beat;
use crate::work::board::{Board, Phase};

/// How often it runs.
const TICK: Duration = Duration::from_millis(20);
/// Ticks between two beats while the run settles.
const TICKS_A_BEAT: u64 = 5;
/// Ticks that were missed in one go and are counted one by one.
const MOST_MISSED: u32 = 10_000;

/// Ticks for ever. `on_tick` is called each time, with how long the run is over: how long relays have had to end since
/// [`Phase::Stopping`].
pub(super) async fn run(
    board: &Board,
    beats: watch::Sender<Beat>,
    links: OpenLinks,
    lateness: Rc<RefCell<Times>>,
    mut on_tick: impl FnMut(Option<Duration>),
) {
    let mut due = Instant::now();
    let mut stopped: Option<Instant> = None;
    for tick in 0_u64.. {
        due += TICK;
        tokio::time::sleep_until(due.into()).await;
        let late = due.elapsed();
        due = note(&mut lateness.borrow_mut(), due, late);
        let phase = board.phase();
        let is_beat = phase == Phase::Settling && tick % TICKS_A_BEAT == 0;
        if phase != beats.borrow().phase || is_beat {
            beats.send_modify(|beat| {
                beat.phase = phase;
                beat.number += 1;
            });
        }
        if phase == Phase::Stopping {
            // Those that have just been opened, too.
            links.shutdown();
            stopped.get_or_insert_with(Instant::now);
        }
        on_tick(stopped.map(|stopped| stopped.elapsed()));
    }
}

/// Notes how late a tick was and, as if each had come, the ticks that were due meanwhile: whatever had been due then would
/// have waited as long. Gives when the last of them was due.
fn note(lateness: &mut Times, due: Instant, late: Duration) -> Instant {
    lateness.record(late);
    let missed = (late.as_nanos() / TICK.as_nanos()).min(MOST_MISSED.into()) as u32;
    for number in 1..=missed {
        lateness.record(late.saturating_sub(TICK * number));
    }
    due + TICK * missed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_did_not_come_are_late_too() {
        let mut lateness = Times::default();
        let due = Instant::now();
        assert_eq!(note(&mut lateness, due, TICK / 2), due);
        assert_eq!(lateness.count(), 1);
        // The ones due after it were late by 30 ms and 10 ms.
        assert_eq!(note(&mut lateness, due, TICK * 5 / 2), due + TICK * 2);
        assert_eq!(lateness.count(), 4);
        assert!((lateness.max() - 0.05).abs() < 0.001);
    }
}
