//! How many connections a server serves, and what becomes of one too many.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use leaseq_requestor::client::{now, random};
use leaseq_requestor::{Active, ActiveEvent};
use rustix::process::{Resource, getrlimit};

use super::not_tested;
use super::probe::{How, Probe, ProbeError, Step};
use super::subject::Subject;
use super::window::seconds;
use crate::result::Finding;

/// How long connections of a test before this one may still count.
const GRACE: Duration = Duration::from_secs(1);
/// Time between two attempts.
const BETWEEN: Duration = Duration::from_millis(20);
/// How long after a refusal another attempt must be refused too: not what was closed shortly before was in the way.
const CONFIRM: Duration = Duration::from_millis(200);
/// How long the answer to an active query is waited for; without it the server is taken for one that has none.
const STREAM: Duration = Duration::from_secs(2);
/// Files of ours that are no connections of a test.
const OTHER_FILES: u64 = 64;

/// A maximum of connections that is to be found.
pub(super) struct Maximum<'a> {
    pub subject: &'a Subject<'a>,
    /// What it is, with its family.
    pub what: String,
    /// What it should be.
    pub expected: u32,
    /// How soon a connection too many must be closed.
    pub refused_within: Duration,
    /// Our own address of each connection.
    pub source: &'a dyn Fn(u32) -> Option<IpAddr>,
}

/// What became of opening connections.
struct Filled<'a> {
    /// Those that are served.
    open: Vec<Probe<'a>>,
    /// How many of them are active.
    streams: usize,
    /// What became of the first one beyond the maximum that is expected; `None`: there was none.
    one_too_many: Option<Silent>,
    end: End,
}

/// Why there are no more connections.
enum End {
    /// The next one was closed before any octet.
    Refused,
    /// More would be too many for us.
    Bound,
    /// Something else went wrong.
    Failed(ProbeError),
}

/// What became of a connection that says nothing.
#[derive(Clone, Copy, Debug)]
enum Silent {
    /// Closed before any octet, after this time.
    Refused(Duration),
    /// Not closed in time.
    Kept,
    /// Octets came.
    Told,
}

impl<'a> Maximum<'a> {
    /// The finding that it cannot be tested.
    pub fn not_tested(&self, why: &str) -> Finding {
        not_tested(self.what.clone(), self.expectation(), why)
    }

    fn expectation(&self) -> String {
        format!("{} served, bulk and active together", self.expected)
    }

    /// Finds it. `beside` is done while as many connections are open as there may be.
    ///
    /// # Errors
    /// When interrupted only.
    pub fn find(
        &self,
        beside: &mut dyn FnMut(&Self) -> Result<Vec<Finding>, ProbeError>,
    ) -> Result<Vec<Finding>, ProbeError> {
        let room = room_for_connections();
        if room <= u64::from(self.expected) {
            let why = format!("this process can open {room} connections only");
            return Ok(vec![self.not_tested(&why)]);
        }
        let bound = (u64::from(self.expected) * 4 + 64).min(room) as u32;
        let Filled {
            mut open,
            streams,
            one_too_many,
            end,
        } = self.fill(bound)?;
        let gone = open
            .iter_mut()
            .map(Probe::has_ended)
            .filter(|gone| *gone)
            .count();
        let served = open.len();
        let mut found = match streams {
            0 => format!("{served} served (bulk only: no active query was answered)"),
            streams => format!("{served} served, {streams} of them active"),
        };
        match &end {
            End::Refused => found.push_str(", the next one refused"),
            End::Bound => found = format!("at least {found}"),
            End::Failed(error) => found.push_str(&format!(", the next one: {error}")),
        }
        if gone > 0 {
            found.push_str(&format!(
                ", but {gone} of them ended by the server meanwhile"
            ));
        }
        let is_full = served == self.expected as usize && gone == 0;
        let is_exact = is_full && matches!(end, End::Refused);
        let mut findings = vec![Finding {
            what: self.what.clone(),
            expected: self.expectation(),
            found,
            holds: is_exact,
        }];
        if let (true, Some(one_too_many)) = (is_full, one_too_many) {
            findings.push(self.judge(one_too_many));
        }
        if is_exact {
            findings.extend(beside(self)?);
            findings.push(self.replace_one(&mut open)?);
        }
        open.into_iter().for_each(Probe::close);
        Ok(findings)
    }

    /// Opens connections until one is refused.
    fn fill(&self, bound: u32) -> Result<Filled<'a>, ProbeError> {
        let mut open = Vec::new();
        let stream = self.stream()?;
        let streams = usize::from(stream.is_some());
        open.extend(stream);
        let mut one_too_many = None;
        let end = loop {
            let number = open.len() as u32;
            if number == self.expected {
                let silent = self.one_too_many(number)?;
                one_too_many = Some(silent);
                if matches!(silent, Silent::Refused(_)) {
                    break End::Refused;
                }
            }
            if number >= bound {
                break End::Bound;
            }
            // The one that was one too many and was not refused has just been closed, and may still count.
            let grace = match number <= self.expected {
                true => GRACE,
                false => Duration::ZERO,
            };
            match self.serve_within(number, grace) {
                Ok(probe) => open.push(probe),
                Err(ProbeError::Stopped) => return Err(ProbeError::Stopped),
                Err(ProbeError::Refused) => break End::Refused,
                Err(error) => break End::Failed(error),
            }
        };
        Ok(Filled {
            open,
            streams,
            one_too_many,
            end,
        })
    }

    /// Whether the connection that is one too many was refused as it should.
    fn judge(&self, one_too_many: Silent) -> Finding {
        let within = seconds(self.refused_within);
        let (found, holds) = match one_too_many {
            Silent::Refused(after) => (
                format!("closed before any octet after {}", seconds(after)),
                after <= self.refused_within,
            ),
            Silent::Kept => (format!("not closed within {within}"), false),
            Silent::Told => ("octets came before it was closed".into(), false),
        };
        Finding {
            what: format!("{}, one too many", self.what),
            expected: format!("closed before any octet within {within}"),
            found,
            holds,
        }
    }

    /// A connection with an active query, if the server has any.
    fn stream(&self) -> Result<Option<Probe<'a>>, ProbeError> {
        if self.expected == 0 {
            return Ok(None);
        }
        match self.try_stream() {
            Ok(probe) => Ok(Some(probe)),
            Err(ProbeError::Stopped) => Err(ProbeError::Stopped),
            Err(_) => Ok(None),
        }
    }

    fn try_stream(&self) -> Result<Probe<'a>, ProbeError> {
        let mut probe = Probe::open(self.subject, self.how((self.source)(0)))?;
        let query = self.subject.active();
        let xid = query.xid(random() as u32);
        // What changed in this second is told at once, or that it is not known, or that there is nothing: a sign of life.
        probe.send(&query.active_request(xid, Some(now()))?)?;
        let mut core = Active::new(&query, xid, true);
        let until = Instant::now() + STREAM.min(self.subject.patience);
        let (mut is_heard, mut is_ended) = (false, false);
        while !is_heard {
            let step = probe.read(until, &mut |octets| {
                core.push(octets, &mut |event| match event {
                    ActiveEvent::Status(status) => {
                        is_heard = true;
                        is_ended |= status.kind.is_end();
                    }
                    _ => is_heard = true,
                })?;
                Ok(())
            })?;
            match step {
                Step::Octets(_) => {}
                Step::Ended(ending) => return Err(probe.ended(ending)),
                Step::Late => return Err(ProbeError::Late(STREAM)),
            }
        }
        match is_ended {
            true => Err(ProbeError::Refused),
            false => Ok(probe),
        }
    }

    fn how(&self, source: Option<IpAddr>) -> How {
        How {
            source,
            receive_buffer: None,
        }
    }

    /// A connection on which a query is answered.
    pub fn serve(&self, source: Option<IpAddr>) -> Result<Probe<'a>, ProbeError> {
        let mut probe = Probe::open(self.subject, self.how(source))?;
        probe.recover(&self.subject.small(0))?;
        Ok(probe)
    }

    /// The same, tried again while it is refused.
    fn serve_within(&self, number: u32, grace: Duration) -> Result<Probe<'a>, ProbeError> {
        let begun = Instant::now();
        loop {
            match self.serve((self.source)(number)) {
                Err(ProbeError::Refused) if begun.elapsed() < grace => thread::sleep(BETWEEN),
                served => return served,
            }
        }
    }

    /// A connection more than there may be: refused now, and still refused a moment later.
    fn one_too_many(&self, number: u32) -> Result<Silent, ProbeError> {
        let first = self.silent(number)?;
        if !matches!(first, Silent::Refused(_)) {
            return Ok(first);
        }
        thread::sleep(CONFIRM);
        Ok(match self.silent(number)? {
            Silent::Refused(_) => first,
            other => other,
        })
    }

    /// Connects, says nothing, and waits to be refused.
    fn silent(&self, number: u32) -> Result<Silent, ProbeError> {
        let begun = Instant::now();
        let mut probe = match Probe::connect(self.subject, self.how((self.source)(number))) {
            Ok(probe) => probe,
            Err(ProbeError::Refused) => return Ok(Silent::Refused(begun.elapsed())),
            // What is in the way is told by the next connection, which asks.
            Err(_) => return Ok(Silent::Kept),
        };
        let connected = Instant::now();
        let until = connected + self.refused_within;
        Ok(match probe.read(until, &mut |_| Ok(()))? {
            Step::Ended(_) => Silent::Refused(connected.elapsed()),
            Step::Octets(_) => Silent::Told,
            Step::Late => {
                probe.close();
                Silent::Kept
            }
        })
    }

    /// Closes the first connection, an active one if there is any: one more is served, and no second one.
    fn replace_one(&self, open: &mut Vec<Probe<'a>>) -> Result<Finding, ProbeError> {
        let finding = |found: String, holds| Finding {
            what: format!("{}, after one was closed", self.what),
            expected: "one more served, and no second one".into(),
            found,
            holds,
        };
        if open.is_empty() {
            return Ok(finding(
                "there was none to close".into(),
                self.expected == 0,
            ));
        }
        open.remove(0).close();
        let begun = Instant::now();
        match self.serve_within(0, self.subject.patience) {
            Ok(probe) => open.push(probe),
            Err(ProbeError::Stopped) => return Err(ProbeError::Stopped),
            Err(error) => return Ok(finding(format!("no other one served: {error}"), false)),
        }
        let after = seconds(begun.elapsed());
        Ok(match self.one_too_many(self.expected)? {
            Silent::Refused(_) => finding(
                format!("one more served after {after}, a second one refused"),
                true,
            ),
            Silent::Kept | Silent::Told => finding("two more served".into(), false),
        })
    }
}

/// How many connections this process can still open.
fn room_for_connections() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as u64;
    limit.saturating_sub(open + OTHER_FILES)
}
