//! What the service manager (systemd) is told: that the server serves, reloads and stops; in a line for people (`STATUS=`, as
//! `systemctl status` shows it) what it is doing; and that a start or a stop that takes its time is to be given more.
//!
//! More time is asked for only when something has been got on with: what hangs is ended by the manager as configured. Without a
//! service manager there is nobody to tell.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use leaseq_feed::run::Phase;
use leaseq_store::{LoadPhase, LoadProgress};
use sd_notify::NotifyState;

use crate::admin::Served;

/// How often the status is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Progress is told no more often than this.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long the manager is to wait for the next word once the configured time of a start or a stop is over.
const PATIENCE: Duration = Duration::from_secs(120);

/// The server accepts connections, or has done with a reload.
pub fn tell_ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`tell_ready`] ends it.
pub fn tell_reloading() {
    // Both in one message, as a unit of type notify-reload needs it.
    if let Ok(began) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, began]);
    }
}

/// The server begins to stop: what is done first, and how long that may take.
pub fn tell_stopping(step: &str, within: Duration) {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status(step),
        NotifyState::ExtendTimeoutUsec(micros(within.saturating_add(PATIENCE))),
    ]);
}

/// The next step of a start or a stop.
pub fn tell_step(step: &str) {
    tell(&[
        NotifyState::Status(step),
        NotifyState::ExtendTimeoutUsec(micros(PATIENCE)),
    ]);
}

/// A failure to tell concerns nobody else.
fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Tells how far the opening of the store has come.
#[derive(Default)]
pub struct Opening {
    told: Mutex<Option<Instant>>,
}

impl Opening {
    /// It has come this far.
    pub fn note(&self, progress: LoadProgress) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tell_step(&opening_text(progress));
        }
    }
}

fn opening_text(progress: LoadProgress) -> String {
    let what = match progress.phase {
        LoadPhase::Checkpoint => "reading the checkpoint",
        LoadPhase::Scan => "reading the log",
    };
    let percent = u128::from(progress.done) * 100 / u128::from(progress.total.max(1));
    format!("{what}: {} %", percent.min(100))
}

/// The thread that tells what a server that serves is doing, until it is stopped.
pub struct StatusWatch {
    end: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl StatusWatch {
    /// Tells at once, and then whenever it has changed.
    pub fn start(served: Served) -> std::io::Result<StatusWatch> {
        let (end, ended) = channel();
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(StatusWatch { end, thread: None });
        }
        let look = move || {
            let mut told = String::new();
            loop {
                let text = status_text(&served);
                if text != told {
                    tell(&[NotifyState::Status(&text)]);
                    told = text;
                }
                match ended.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = thread::Builder::new().name("status".into()).spawn(look)?;
        Ok(StatusWatch {
            end,
            thread: Some(thread),
        })
    }

    /// Ends the thread: nothing of it is told afterwards.
    pub fn stop(self) {
        // Fails only if it has ended.
        let _ = self.end.send(());
        if let Some(thread) = self.thread {
            let _ = thread.join();
        }
    }
}

fn status_text(served: &Served) -> String {
    let stats = served.reader.stats();
    let statuses = served.feeds.statuses();
    let following = statuses
        .iter()
        .filter(|feed| feed.snapshot().phase == Phase::Following)
        .count();
    let mut text = serving_text(
        stats.v4.bindings() + stats.v6.bindings(),
        following,
        statuses.len() - following,
    );
    if let Some(drain) = served.engine.draining() {
        let left = drain.left;
        let of = drain.connections;
        text = format!("draining, {left} of {of} connections left; {text}");
    }
    if let Some(fault) = &stats.fault {
        text = format!("takes no changes: {fault}; {text}");
    }
    // A line end would begin another word to the manager.
    text.replace(char::is_control, " ")
}

fn serving_text(bindings: u64, following: usize, others: usize) -> String {
    let feeds = |count: usize| if count == 1 { "feed" } else { "feeds" };
    match (following, others) {
        (0, 0) => format!("{bindings} bindings, no feeds"),
        (following, 0) => format!(
            "{bindings} bindings, {following} {} following",
            feeds(following)
        ),
        (following, others) => format!(
            "{bindings} bindings, {following} {} following, {others} not",
            feeds(following)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_told_in_few_words() {
        let progress = |phase, done| LoadProgress {
            phase,
            done,
            total: 2_000,
        };
        assert_eq!(
            opening_text(progress(LoadPhase::Scan, 759)),
            "reading the log: 37 %"
        );
        assert_eq!(
            opening_text(progress(LoadPhase::Checkpoint, 2_001)),
            "reading the checkpoint: 100 %"
        );
        assert_eq!(
            opening_text(LoadProgress {
                phase: LoadPhase::Scan,
                done: 0,
                total: 0
            }),
            "reading the log: 0 %"
        );
        for (bindings, following, others, text) in [
            (0, 0, 0, "0 bindings, no feeds"),
            (
                1_000_000,
                3,
                2,
                "1000000 bindings, 3 feeds following, 2 not",
            ),
            (7, 1, 0, "7 bindings, 1 feed following"),
            (7, 0, 1, "7 bindings, 0 feeds following, 1 not"),
        ] {
            assert_eq!(serving_text(bindings, following, others), text);
        }
    }

    #[test]
    fn more_time_than_can_be_written_is_the_longest() {
        assert_eq!(micros(Duration::from_secs(60)), 60_000_000);
        assert_eq!(micros(Duration::from_secs(1 << 30)), u32::MAX);
    }
}
