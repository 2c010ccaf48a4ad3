//! How many queries run at a time on a connection.

use std::collections::BTreeSet;
use std::time::Instant;

use leaseq_requestor::{Bulk, Event};

use super::not_tested;
use super::probe::{Probe, ProbeError, Step};
use super::subject::Subject;
use crate::result::Finding;

/// The most queries that are sent at a time: what both kernels hold even if the server reads only a few of them.
const MOST: u32 = 512;

/// What was seen of the queries of a connection.
#[derive(Default)]
struct Seen {
    /// Those that were told something and have not ended.
    running: BTreeSet<u32>,
    /// The most of them at a time.
    most: usize,
    ended: usize,
    /// Those that ended with a failure before anything was told.
    refused: usize,
    /// What one of these ended with.
    status: Option<String>,
}

impl Seen {
    fn told(&mut self, event: &Event<'_>) {
        match event {
            Event::Done(done) => {
                let has_run = self.running.remove(&done.xid);
                self.ended += 1;
                if let Some(failure) = done.failure() {
                    self.refused += usize::from(!has_run);
                    self.status = Some(failure.to_string());
                }
            }
            told => {
                self.running.insert(told.xid());
                self.most = self.most.max(self.running.len());
            }
        }
    }
}

/// Sends more long queries than may run at a time, and looks how many are told about at a time: the replies of those that
/// run come in turns (RFC 6926 §8.4), and the others must wait, or be refused.
///
/// # Errors
/// When interrupted only.
pub(super) fn at_a_time(subject: &Subject<'_>, expected: u32) -> Result<Finding, ProbeError> {
    let what = format!("max-queries-per-connection {}", subject.name());
    let expectation = format!("{expected} at a time, further ones wait or are refused");
    let Some(query) = subject.long() else {
        let why = "no query is known whose answer is long enough to be told in turns";
        return Ok(not_tested(what, expectation, why));
    };
    let sent = (expected.saturating_mul(4)).saturating_add(64).min(MOST);
    let mut seen = Seen::default();
    let run = || -> Result<(), ProbeError> {
        let mut probe = Probe::open(subject, subject.another())?;
        let mut core = Bulk::like(&query);
        let mut requests = Vec::new();
        for xid in 1..=sent {
            core.add(xid);
            requests.extend(query.bulk_request(xid)?);
        }
        probe.send(&requests)?;
        while core.running() > 0 {
            let until = Instant::now() + subject.patience;
            let step = probe.read(until, &mut |octets| {
                core.push(octets, &mut |event| seen.told(&event))?;
                Ok(())
            })?;
            match step {
                Step::Octets(_) => {}
                Step::Ended(ending) => return Err(probe.ended(ending)),
                Step::Late => return Err(ProbeError::Late(subject.patience)),
            }
        }
        probe.close();
        Ok(())
    };
    let mut run = run;
    let result = run();
    let Seen {
        most,
        ended,
        refused,
        status,
        ..
    } = seen;
    let status = status.unwrap_or_default();
    let mut found = match most == sent as usize {
        true => format!("at least {most} at a time"),
        false => format!("{most} at a time"),
    };
    let is_whole = match result {
        Err(ProbeError::Stopped) => return Err(ProbeError::Stopped),
        // Closing the connection refuses all that are left.
        Err(error) => {
            found.push_str(&format!(", {ended} of {sent} answered, then {error}"));
            false
        }
        Ok(()) if refused > 0 => {
            found.push_str(&format!(", {refused} of {sent} refused: {status}"));
            status_allows(&status)
        }
        Ok(()) => {
            found.push_str(&format!(", all {sent} answered"));
            status.is_empty()
        }
    };
    Ok(Finding {
        what,
        expected: expectation,
        found,
        holds: is_whole && most == expected as usize,
    })
}

/// A query too many may be refused with NotAllowed, or with QueryTerminated where it was given up (RFC 6926 §6.2.2).
fn status_allows(status: &str) -> bool {
    ["NotAllowed", "QueryTerminated"]
        .iter()
        .any(|allowed| status.starts_with(allowed))
}
