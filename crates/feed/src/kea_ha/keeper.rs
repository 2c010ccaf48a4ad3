//! The side of the feed that asks: it pulls all leases at the start, on a schedule and after a trouble, sees whether the servers
//! are there while they are quiet, and tells the store up to when nothing is unknown.

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Settings;
use super::control::{AskError, Channel};
use super::peer::{FAMILIES, Peer};
use super::pull::{PullError, pull};
use crate::kea::Family;
use crate::run::{Intake, IntakeError, Phase, Progress, Stop};

/// Pause between two looks at what is due.
const TURN: Duration = Duration::from_secs(1);
/// A server that pushes is asked all the same this often: it may have been started anew.
const ASK_ANYWAY: Duration = Duration::from_secs(60);
/// The first pause after a control channel failed, doubled after each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Lost updates cause no pull sooner than so many probe intervals after the last one.
const BETWEEN_PULLS: u32 = 6;

/// Why the keeper has to begin anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    /// The store failed.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// There is no open file to be had.
    #[error("a control channel cannot be set up: {0}")]
    Io(#[from] io::Error),
}

/// Follows the servers until the feed is told to end.
pub(super) fn keep(
    settings: &Settings,
    peer: &Peer,
    intake: &mut Intake,
    stop: &Stop,
) -> Result<(), KeepError> {
    peer.restore(&intake.progress().position);
    let controls = [&settings.control4, &settings.control6];
    let controlled = controls.map(Option::is_some);
    let mut servers = Vec::new();
    for (family, control) in FAMILIES.into_iter().zip(controls) {
        if let Some(address) = control {
            servers.push(Server::new(
                Channel::new(
                    address.clone(),
                    settings.control_access.clone(),
                    family,
                    peer.ends(),
                )?,
                family,
            ));
        }
    }
    let without = (servers.is_empty()).then(|| {
        "an update that Kea cannot deliver is lost, because no `control4` or `control6` is set to ask Kea for its leases"
            .to_owned()
    });
    peer.status().remark("kea-ha-no-control", without);
    if !servers.is_empty() {
        peer.status().enter(Phase::Loading);
    }
    while !stop.is_given() {
        for server in &mut servers {
            server.turn(settings, peer, controlled, intake, stop)?;
        }
        if stop.is_given() {
            return Ok(());
        }
        if servers.iter().all(|server| server.loaded) {
            peer.status().enter(Phase::Following);
        } else if servers
            .iter()
            .any(|server| !server.loaded && server.has_failed)
        {
            peer.status().enter(Phase::Waiting);
        }
        peer.remark_relay_data();
        confirm(peer, controlled, intake)?;
        stop.wait(TURN);
    }
    Ok(())
}

/// Tells the store up to when nothing is unknown.
fn confirm(peer: &Peer, controlled: [bool; 2], intake: &mut Intake) -> Result<(), IntakeError> {
    let Some(read_up_to) = peer.read_up_to(controlled) else {
        return intake.settle();
    };
    let read_up_to = read_up_to.max(intake.progress().read_up_to);
    let position = peer.position();
    if position == intake.progress().position {
        return intake.confirm(read_up_to);
    }
    let progress = Progress {
        position,
        read_up_to,
    };
    intake.submit(Vec::new(), Some(progress))?;
    intake.settle()
}

/// What tells one run of a server from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run {
    pid: u64,
    uptime: u64,
}

/// A server that has a control channel.
struct Server {
    channel: Channel,
    family: Family,
    /// All its leases were read once.
    loaded: bool,
    /// The last question was not answered.
    has_failed: bool,
    pause: Duration,
    /// Nothing is asked before.
    not_before: Instant,
    pull_at: Instant,
    last_pull: Option<Instant>,
    last_asked: Instant,
    run: Option<Run>,
}

impl Server {
    fn new(channel: Channel, family: Family) -> Server {
        let now = Instant::now();
        Server {
            channel,
            family,
            loaded: false,
            has_failed: false,
            pause: FIRST_PAUSE,
            not_before: now,
            pull_at: now,
            last_pull: None,
            last_asked: now,
            run: None,
        }
    }

    /// Does what is due.
    fn turn(
        &mut self,
        settings: &Settings,
        peer: &Peer,
        controlled: [bool; 2],
        intake: &mut Intake,
        stop: &Stop,
    ) -> Result<(), KeepError> {
        let now = Instant::now();
        if now < self.not_before || stop.is_given() {
            return Ok(());
        }
        let lost_is_due = peer.has_lost(self.family)
            && self.last_pull.is_none_or(|last| {
                now.duration_since(last) >= settings.probe_interval * BETWEEN_PULLS
            });
        let result = if now >= self.pull_at || lost_is_due {
            self.ask(peer).and_then(|()| {
                pull(&self.channel, self.family, peer, intake, |intake| {
                    confirm(peer, controlled, intake)
                })?;
                let now = Instant::now();
                self.loaded = true;
                self.last_pull = Some(now);
                self.pull_at = now + settings.pull_interval;
                Ok(())
            })
        } else if self.is_quiet(settings, peer) {
            self.ask(peer)
        } else {
            Ok(())
        };
        match result {
            Ok(()) => {
                if self.has_failed {
                    tracing::info!(
                        id = "kea-ha-control-back",
                        feed = peer.status().name(),
                        control = %self.channel.address(),
                        "Kea answers again"
                    );
                }
                (self.has_failed, self.pause) = (false, FIRST_PAUSE);
                Ok(())
            }
            Err(PullError::Intake(error)) => Err(error.into()),
            Err(PullError::Ask(AskError::Stopped)) => Ok(()),
            Err(error) => {
                peer.status().trouble(
                    "kea-ha-control-failed",
                    format_args!("{}: {error}", self.channel.address()),
                );
                self.has_failed = true;
                self.not_before = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(())
            }
        }
    }

    /// Whether the server has said nothing for so long that it is asked.
    fn is_quiet(&self, settings: &Settings, peer: &Peer) -> bool {
        let since_asked = self.last_asked.elapsed();
        if since_asked < settings.probe_interval {
            return false;
        }
        let heard = peer.last_heard(self.family);
        let silent = heard.is_none_or(|heard| {
            let silent = peer.now().millis().saturating_sub(heard.millis());
            u128::from(silent) >= settings.probe_interval.as_millis()
        });
        silent || since_asked >= ASK_ANYWAY
    }

    /// Asks the server how it is. One that was started anew has lost what it had not sent: its leases are pulled again.
    fn ask(&mut self, peer: &Peer) -> Result<(), PullError> {
        let asked = peer.now();
        self.last_asked = Instant::now();
        let answer = match self.channel.ask("status-get", Value::Null) {
            // Versions before 1.7 do not know the question, but are there.
            Err(AskError::Refused { result: 2, .. }) => None,
            answer => answer?,
        };
        let number = |key: &str| answer.as_ref()?.get(key)?.as_u64();
        let run = number("pid").zip(number("uptime"));
        let run = run.map(|(pid, uptime)| Run { pid, uptime });
        let is_new = match (self.run, run) {
            (Some(before), Some(run)) => before.pid != run.pid || run.uptime < before.uptime,
            _ => false,
        };
        self.run = run;
        if is_new && self.loaded {
            tracing::info!(
                id = "kea-ha-restarted",
                feed = peer.status().name(),
                control = %self.channel.address(),
                "Kea was started anew: its leases are read again"
            );
            self.pull_at = self.last_asked;
            return Ok(());
        }
        peer.confirm(self.family, asked);
        Ok(())
    }
}
