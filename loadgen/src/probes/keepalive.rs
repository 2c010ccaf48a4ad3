//! Active connections on which nothing happens: they are kept, and kept alive.

use std::time::{Duration, Instant};

use leaseq_requestor::client::random;
use leaseq_requestor::{Active, ActiveEvent, ActiveStatusKind, Family};

use super::not_tested;
use super::probe::{Probe, ProbeError, Step};
use super::subject::Subject;
use super::window::{Window, seconds};
use crate::result::Finding;

/// Keepalives that are waited for.
const KEEPALIVES: usize = 2;
/// Times the latest time of a keepalive, after which messages of changes are taken to come too often for any.
const TOO_BUSY: u32 = 5;

/// What is expected.
pub(super) struct Idle {
    /// When a keepalive is due, from the last message on.
    pub keepalive: Option<Window>,
    /// For how long the connection must be kept in any case: longer than an idle bulk connection.
    pub kept: Option<Duration>,
}

impl Idle {
    /// What is tested of keepalives.
    pub fn what_keepalive(subject: &Subject<'_>, number: usize) -> String {
        match number {
            1 => format!("active-idle {}, keepalive", subject.name()),
            _ => format!("active-idle {}, keepalive again", subject.name()),
        }
    }

    /// What is tested of the connection.
    pub fn what_kept(subject: &Subject<'_>) -> String {
        format!("bulk-idle {}, not on an active connection", subject.name())
    }
}

/// What a stream has told.
struct Stream {
    family: Family,
    /// Something was told.
    is_begun: bool,
    last: Instant,
    /// From the message before to each keepalive.
    keepalives: Vec<Duration>,
    /// It was ended with this status.
    ended: Option<String>,
}

/// Asks an active query and listens.
///
/// # Errors
/// If there is no such connection.
pub(super) fn listen(subject: &Subject<'_>, idle: &Idle) -> Result<Vec<Finding>, ProbeError> {
    let mut probe = Probe::open(subject, subject.another())?;
    let query = subject.active();
    let xid = query.xid(random() as u32);
    probe.send(&query.active_request(xid, None)?)?;
    let mut core = Active::new(&query, xid, false);
    let begun = Instant::now();
    let mut stream = Stream {
        family: subject.family,
        is_begun: false,
        last: begun,
        keepalives: Vec::new(),
        ended: None,
    };
    // The connection's own end, and the time of it.
    let mut end = None;
    loop {
        let now = Instant::now();
        let keep_until = idle.kept.map(|kept| begun + kept);
        let is_kept = keep_until.is_none_or(|until| until <= now);
        let is_alive = match &idle.keepalive {
            None => true,
            Some(window) => {
                stream.keepalives.len() >= KEEPALIVES
                    || stream.last + window.give_up <= now
                    || begun + window.give_up * TOO_BUSY <= now
            }
        };
        if is_kept && is_alive {
            break;
        }
        let until = match &idle.keepalive {
            Some(window) if !is_alive => stream.last + window.give_up,
            _ => keep_until.unwrap_or(now),
        };
        let step = probe.read(until, &mut |octets| {
            let now = Instant::now();
            core.push(octets, &mut |event| stream.told(&event, now))?;
            Ok(())
        })?;
        if let Step::Ended(ending) = step {
            end = Some(match stream.ended.take() {
                Some(status) => format!("{ending}: {status}"),
                None => ending.to_string(),
            });
            break;
        }
    }
    let lasted = begun.elapsed();
    let mut findings = Vec::new();
    if let Some(window) = &idle.keepalive {
        for number in 1..=KEEPALIVES {
            let what = Idle::what_keepalive(subject, number);
            findings.push(match (stream.keepalives.get(number - 1), &end) {
                (Some(after), _) => window.judge(what, "sent", Some(("sent", *after))),
                (None, Some(end)) => Finding {
                    what,
                    expected: window.expected("sent"),
                    found: format!("{end} after {}", seconds(lasted)),
                    holds: false,
                },
                (None, None) if stream.last.elapsed() < window.give_up => {
                    let why = "changes come too often for keepalives";
                    not_tested(what, window.expected("sent"), why)
                }
                (None, None) => window.judge(what, "sent", None),
            });
        }
    }
    if let Some(kept) = idle.kept {
        findings.push(Finding {
            what: Idle::what_kept(subject),
            expected: format!("kept for {}", seconds(kept)),
            found: match &end {
                Some(end) => format!("{end} after {}", seconds(lasted)),
                None => format!("kept for {}", seconds(lasted)),
            },
            holds: end.is_none(),
        });
    }
    if end.is_none() {
        probe.close();
    }
    Ok(findings)
}

impl Stream {
    fn told(&mut self, event: &ActiveEvent<'_>, now: Instant) {
        if let ActiveEvent::Status(status) = event {
            // DHCPv6: the first message says that the query is taken (RFC 7653 §8.4), which is no keepalive.
            let was_begun = std::mem::replace(&mut self.is_begun, true);
            let is_keepalive = status.kind == ActiveStatusKind::ConnectionActive
                && (self.family == Family::V4 || was_begun);
            if is_keepalive {
                self.keepalives
                    .push(now.saturating_duration_since(self.last));
            }
            if status.kind.is_end() {
                self.ended = status.status.as_ref().map(ToString::to_string);
            }
        }
        self.is_begun = true;
        self.last = now;
    }
}
