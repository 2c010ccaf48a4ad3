//! `leaseq watch`: follows a server's changes and prints them as they happen, across restarts of the server.

mod arguments;
mod changes;
mod state;

use std::io::{self, BufWriter, stdout};
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use leaseq_requestor::client::{Heard, Stop, follow, now, random};
use leaseq_requestor::follow::{Cause, Filling, FollowEvent, Follower, Line, Notice};
use leaseq_requestor::{ActiveEvent, ActiveStatus, ActiveStatusKind};
use leaseq_wire::time::UnixSeconds;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub use arguments::Arguments;

use crate::exit::Done;
use changes::Changes;
use state::State;

/// Watches until a signal ends it; changes go to standard output, what happens to the connection to standard error.
pub fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let watch = arguments.watch(now())?;
    let found = match &watch.state {
        Some(file) => state::read(file)?,
        None => None,
    };
    let stop = Stop::new();
    stop_on_signal(stop.clone())?;
    let since = found.or(watch.since);
    let mut follower = Follower::new(
        watch.query.clone(),
        since,
        watch.settings,
        random(),
        Instant::now(),
    )?;
    let mut out = BufWriter::with_capacity(64 * 1024, stdout().lock());
    let mut watching = Watching {
        changes: Changes::new(&mut out, watch.format, &watch.query),
        state: State::new(watch.state, found),
        until_caught_up: watch.until_caught_up,
        is_catching_up: since.is_some(),
        has_gap: false,
        end: Ok(()),
    };
    follow(watch.server, &mut follower, &stop, &mut |heard| {
        watching.hear(&heard)
    });
    match watching.finish(follower.base_time()) {
        Err(error) if is_broken_pipe(&error) => Ok(Done::All),
        Err(error) => Err(error),
        Ok(()) => Ok(Done::All),
    }
}

fn stop_on_signal(stop: Stop) -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("signals cannot be caught")?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                stop.stop();
            }
        })
        .context("no thread for signals")?;
    Ok(())
}

/// A watch under way.
struct Watching<'w> {
    changes: Changes<'w>,
    state: State,
    until_caught_up: bool,
    is_catching_up: bool,
    has_gap: bool,
    /// Why it broke off.
    end: anyhow::Result<()>,
}

impl Watching<'_> {
    fn hear(&mut self, heard: &Heard<'_>) -> ControlFlow<()> {
        let result = match heard {
            Heard::Event(event) => self.event(event),
            Heard::Notice(notice) => self.notice(notice),
            Heard::Idle { base_time } => self.save(*base_time),
        };
        match result {
            Ok(()) if self.until_caught_up && !self.is_catching_up && !self.has_gap => {
                ControlFlow::Break(())
            }
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.end = Err(error);
                ControlFlow::Break(())
            }
        }
    }

    fn event(&mut self, event: &FollowEvent<'_>) -> anyhow::Result<()> {
        self.changes.event(event)?;
        match event {
            FollowEvent::Stream(ActiveEvent::Status(status)) => self.status(status),
            FollowEvent::Gap(gap) => {
                let (since, until) = (gap.since.0, gap.until.0);
                if gap.filling == Filling::Impossible {
                    self.is_catching_up = false;
                    tracing::warn!(
                        id = "watch-gap-stays",
                        since,
                        until,
                        "changes are missing, and no query asks for them"
                    );
                    anyhow::ensure!(
                        !self.until_caught_up,
                        "the server cannot tell everything since {since}"
                    );
                } else {
                    self.has_gap = true;
                    tracing::warn!(
                        id = "watch-gap",
                        since,
                        until,
                        "changes are missing: asking for them in bulk"
                    );
                }
            }
            FollowEvent::Filled(gap) => {
                (self.has_gap, self.is_catching_up) = (false, false);
                let (since, until) = (gap.since.0, gap.until.0);
                tracing::info!(
                    id = "watch-filled",
                    since,
                    until,
                    "what was missing has been told"
                );
            }
            FollowEvent::Stream(_) | FollowEvent::Fill(_) => {}
        }
        Ok(())
    }

    fn status(&mut self, status: &ActiveStatus<'_>) {
        let base_time = status.base_time.map(|time| time.0);
        match status.kind {
            ActiveStatusKind::ConnectionActive => {
                tracing::debug!(id = "watch-keepalive", base_time, "the connection lives");
            }
            ActiveStatusKind::CatchUpComplete => {
                self.is_catching_up = false;
                tracing::info!(id = "watch-caught-up", base_time, "caught up");
            }
            // A gap and the end of a connection are told by themselves.
            ActiveStatusKind::DataMissing
            | ActiveStatusKind::Terminated
            | ActiveStatusKind::Failed => {}
        }
    }

    fn notice(&mut self, notice: &Notice) -> anyhow::Result<()> {
        match notice {
            Notice::Asked(None) => {
                tracing::info!(id = "watch-asked", "asked for changes from now on");
            }
            Notice::Asked(Some(since)) => {
                let since = since.0;
                tracing::info!(
                    id = "watch-asked",
                    since,
                    "asked for changes since then; some may be told again"
                );
            }
            Notice::Down {
                line,
                cause,
                retry_at,
            } => {
                if *line == Line::Stream {
                    // Found again when the stream is asked again.
                    self.has_gap = false;
                }
                let is_final = *line == Line::Stream && is_refusal(cause);
                anyhow::ensure!(!self.until_caught_up && !is_final, "{cause}");
                let left = retry_at.saturating_duration_since(Instant::now());
                let retry_in = humantime::format_duration(whole_seconds(left));
                let what = match line {
                    Line::Stream => "the connection",
                    Line::Fill => "the connection for what is missing",
                };
                tracing::warn!(id = "watch-down", %retry_in, "{what}: {cause}; connecting again in {retry_in}");
            }
        }
        Ok(())
    }

    /// Prints what is held back, and remembers that it has been told.
    fn save(&mut self, base_time: Option<UnixSeconds>) -> anyhow::Result<()> {
        self.changes.flush()?;
        self.state.write(base_time)
    }

    fn finish(mut self, base_time: Option<UnixSeconds>) -> anyhow::Result<()> {
        match std::mem::replace(&mut self.end, Ok(())) {
            Ok(()) => self.save(base_time),
            Err(error) => {
                // What was told before still counts.
                let _ = self.changes.flush();
                Err(error)
            }
        }
    }
}

/// Another try will fare no better: the server does not answer such a query, or not to us.
fn is_refusal(cause: &Cause) -> bool {
    let Cause::Ended(Some(status)) = cause else {
        return false;
    };
    let passing = [
        Some("QueryTerminated"),
        Some("UnspecFail"),
        Some("Success"),
        None,
    ];
    !passing.contains(&status.name)
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs_f64().ceil() as u64)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
