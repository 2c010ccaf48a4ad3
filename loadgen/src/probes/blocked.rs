//! Requestors that take nothing, or little, of what they asked for.
//!
//! Of a connection whose octets nobody reads only a reset can be seen at once; the end of a server that closes it in good
//! order waits behind the octets. So it is read on at the latest time that is right: if it ends then, it was closed by then.

use std::time::{Duration, Instant};

use leaseq_requestor::Query;
use leaseq_requestor::client::random;
use leaseq_wire::time::UnixSeconds;
use rustix::event::PollFlags;

use super::not_tested;
use super::probe::{How, Probe, ProbeError, Step};
use super::subject::Subject;
use super::window::{Window, seconds};
use crate::result::Finding;

/// Octets asked of the kernel for what it has received, of which it makes somewhat more: little of an answer, but enough to
/// read on fast what the other side's kernel still holds.
const NARROW: usize = 64 << 10;
/// Fewer octets than these, unread, fill nothing: the answer was too short to block anybody.
const FILLED: u64 = 2 << 10;
/// The same for a connection that is read slowly.
const SLOW: usize = 16 << 10;
/// Octets that are read at a time.
const SIP: usize = 8 << 10;
/// Reads in the time of the timeout.
const SIPS: u32 = 10;
/// Octets that no kernel holds for one connection: an answer of which more come when it is read on is still alive.
const MORE_THAN_HELD: u64 = 64 << 20;
/// How often octets are looked for.
const LOOK: Duration = Duration::from_millis(5);
/// How long nothing comes before an answer that is read on is taken to be still alive.
const QUIET: Duration = Duration::from_secs(1);
/// Reads in vain, one after the other, until an answer is taken to be at its end.
const IN_VAIN: u32 = 5;

/// What is asked and not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Bulk queries.
    Bulk,
    /// An active query that catches up from the beginning of time.
    Active,
}

impl Asked {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bulk, Self::Active];

    fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk-send",
            Self::Active => "active-send",
        }
    }

    /// The requests; none: no query is known with so long an answer.
    fn requests(self, subject: &Subject<'_>) -> Result<Vec<u8>, ProbeError> {
        let mut requests = Vec::new();
        match self {
            Self::Bulk => {
                for (query, xid) in subject.flood().iter().zip(1..) {
                    requests.extend(query.bulk_request(xid)?);
                }
            }
            Self::Active => {
                let query: Query = subject.active();
                let xid = query.xid(random() as u32);
                requests = query.active_request(xid, Some(UnixSeconds(0)))?;
            }
        }
        Ok(requests)
    }

    /// What is tested when nothing is read.
    pub fn what(self, subject: &Subject<'_>) -> String {
        format!("{} {}, nothing read", self.name(), subject.name())
    }

    /// What is tested when it is read slowly.
    pub fn what_slow(self, subject: &Subject<'_>) -> String {
        format!("{} {}, read slowly", self.name(), subject.name())
    }
}

/// Asks and reads nothing: the server must give up after the timeout, counted from the last octet that our kernel took.
///
/// # Errors
/// If it does not come to being blocked.
pub(super) fn stop_reading(
    subject: &Subject<'_>,
    window: &Window,
    asked: Asked,
) -> Result<Finding, ProbeError> {
    let what = asked.what(subject);
    let requests = asked.requests(subject)?;
    if requests.is_empty() {
        let why = "no query is known with an answer that is long enough";
        return Ok(not_tested(what, window.expected("ended"), why));
    }
    let how = How {
        receive_buffer: Some(NARROW),
        ..subject.another()
    };
    let mut probe = Probe::open(subject, how)?;
    probe.send(&requests)?;
    let begun = Instant::now();
    let (mut taken, mut taken_at) = (0, begun);
    loop {
        let is_over = !probe
            .wait(PollFlags::RDHUP, Instant::now() + LOOK)?
            .is_empty();
        let now = Instant::now();
        if is_over {
            let how = probe.unread_ending().to_string();
            let after = now.saturating_duration_since(taken_at);
            return Ok(window.judge(what, "ended", Some((&how, after))));
        }
        let unread = probe.unread();
        if unread != taken {
            (taken, taken_at) = (unread, now);
        }
        if now.saturating_duration_since(taken_at) > window.latest {
            break;
        }
        if now.saturating_duration_since(begun) > window.give_up + subject.patience {
            let why = "our kernel takes octets again and again although nobody reads them";
            return Ok(not_tested(what, window.expected("ended"), why));
        }
    }
    if taken < FILLED {
        probe.reset();
        let why = format!("{taken} octets came only: they block nobody");
        return Ok(not_tested(what, window.expected("ended"), why));
    }
    let (found, holds) = match read_on(&mut probe)? {
        true => (
            format!(
                "ended within {}; when, cannot be seen: it was not reset",
                seconds(window.latest)
            ),
            true,
        ),
        false => (
            format!("not ended within {}", seconds(window.latest)),
            false,
        ),
    };
    probe.reset();
    Ok(Finding {
        what,
        expected: window.expected("ended"),
        found,
        holds,
    })
}

/// Reads and drops what is left: whether the connection ends behind it.
fn read_on(probe: &mut Probe<'_>) -> Result<bool, ProbeError> {
    let begun = Instant::now();
    while begun.elapsed() < 10 * QUIET && probe.received() < MORE_THAN_HELD {
        match probe.read_raw(usize::MAX, Instant::now() + QUIET)? {
            Step::Octets(_) => {}
            Step::Ended(_) => return Ok(true),
            Step::Late => return Ok(false),
        }
    }
    Ok(false)
}

/// Asks and reads slowly but steadily: that is no requestor to give up.
///
/// # Errors
/// If it does not come to that.
pub(super) fn read_slowly(
    subject: &Subject<'_>,
    timeout: Duration,
    window: &Window,
    asked: Asked,
) -> Result<Finding, ProbeError> {
    let what = asked.what_slow(subject);
    let expected = format!("kept for {}", seconds(window.latest));
    let requests = asked.requests(subject)?;
    if requests.is_empty() {
        let why = "no query is known with an answer that is long enough";
        return Ok(not_tested(what, expected, why));
    }
    let how = How {
        receive_buffer: Some(SLOW),
        ..subject.another()
    };
    let mut probe = Probe::open(subject, how)?;
    probe.send(&requests)?;
    let begun = Instant::now();
    let until = begun + window.latest;
    let mut in_vain = 0;
    let mut found = None;
    while found.is_none() && Instant::now() < until {
        let is_over = !probe
            .wait(PollFlags::RDHUP, Instant::now() + timeout / SIPS)?
            .is_empty();
        let step = match is_over {
            true => Step::Ended(probe.unread_ending()),
            false => probe.read_raw(SIP, Instant::now())?,
        };
        match step {
            Step::Octets(_) => in_vain = 0,
            Step::Late => in_vain += 1,
            Step::Ended(ending) => {
                let after = seconds(begun.elapsed());
                found = Some(format!(
                    "{ending} after {after}, {} octets read",
                    probe.received()
                ));
            }
        }
        if in_vain == IN_VAIN {
            let why = format!("the answer ends after {} octets", probe.received());
            probe.reset();
            return Ok(not_tested(what, expected, why));
        }
    }
    let octets = probe.received();
    probe.reset();
    let holds = found.is_none();
    Ok(Finding {
        what,
        expected,
        found: found.unwrap_or_else(|| {
            let kept = seconds(begun.elapsed());
            format!("kept for {kept}, {octets} octets read")
        }),
        holds,
    })
}
