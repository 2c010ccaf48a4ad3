//! Polite relays beside the tests: they recover again and again, and must not suffer.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use super::probe::{How, Probe, ProbeError};
use super::subject::Subject;
use super::window::seconds;
use crate::fault::{Fault, FaultKind};
use crate::result::Finding;
use crate::scenario::Timeouts;

/// Time from the end of a recovery to the beginning of the next one: they are to feel what others do, not to fill the server.
const PAUSE: Duration = Duration::from_millis(50);
/// Recoveries of each relay before the tests begin.
const BEFORE: u32 = 5;
/// A recovery may take this long in any case: what is shorter is noise.
const FLOOR: Duration = Duration::from_secs(1);
/// Faults that are told of the relays of a family.
const TOLD_FAULTS: usize = 10;

const PHASE_BEFORE: u8 = 0;
const PHASE_DURING: u8 = 1;
const PHASE_OVER: u8 = 2;

/// Where the relays are.
#[derive(Debug, Default)]
pub(super) struct Phase {
    phase: AtomicU8,
    /// Relays that have recovered often enough before the tests, or cannot.
    ready: AtomicU32,
}

impl Phase {
    /// Relays that are ready for the tests to begin.
    pub fn ready(&self) -> u32 {
        self.ready.load(Ordering::Acquire)
    }

    /// The tests begin.
    pub fn begin(&self) {
        self.phase.fetch_max(PHASE_DURING, Ordering::AcqRel);
    }

    /// The tests are over.
    pub fn end(&self) {
        self.phase.fetch_max(PHASE_OVER, Ordering::AcqRel);
    }

    fn get(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }
}

/// What became of the relays of a family.
#[derive(Debug, Default)]
pub(super) struct Suffered {
    longest_before: Duration,
    longest_during: Duration,
    during: u64,
    failed: u64,
    faults: Vec<Fault>,
}

/// Recovers again and again until the tests are over. `is_still`: bindings do not change, so that each answer tells as many
/// as the first one.
pub(super) fn recover(
    subject: &Subject<'_>,
    relay: u32,
    is_still: bool,
    phase: &Phase,
) -> Suffered {
    let mut suffered = Suffered::default();
    let how = subject.another();
    let mut told_first = None;
    let mut rounds = 0_u32;
    while phase.get() != PHASE_OVER && !subject.is_stopped() {
        let phase_before = phase.get();
        let begun = Instant::now();
        let result = once(subject, how, relay);
        let took = begun.elapsed();
        rounds += 1;
        match result {
            Ok(told) => {
                let first = *told_first.get_or_insert(told);
                if is_still && first != told {
                    let text = format!("{told} bindings told, {first} at first");
                    let kind = match told < first {
                        true => FaultKind::Missing,
                        false => FaultKind::Unexpected,
                    };
                    suffered.fault(subject, relay, kind, text);
                }
            }
            Err(ProbeError::Stopped) => break,
            Err(error) => suffered.fault(subject, relay, kind_of(&error), error.to_string()),
        }
        match phase_before {
            PHASE_BEFORE => suffered.longest_before = suffered.longest_before.max(took),
            _ => {
                suffered.longest_during = suffered.longest_during.max(took);
                suffered.during += 1;
            }
        }
        if rounds == BEFORE {
            phase.ready.fetch_add(1, Ordering::AcqRel);
        }
        thread::sleep(PAUSE);
    }
    suffered
}

fn once(subject: &Subject<'_>, how: How, relay: u32) -> Result<u64, ProbeError> {
    let mut probe = Probe::open(subject, how)?;
    let told = probe.recover(&subject.small(relay))?;
    probe.close();
    Ok(told)
}

fn kind_of(error: &ProbeError) -> FaultKind {
    match error {
        ProbeError::Connect(_) | ProbeError::Refused | ProbeError::Tls(_) => {
            FaultKind::NotConnected
        }
        ProbeError::Ended(_) => FaultKind::Lost,
        ProbeError::Late(_) => FaultKind::Late,
        ProbeError::Status(_) => FaultKind::Status,
        ProbeError::Protocol(_) | ProbeError::Query(_) | ProbeError::Stopped => FaultKind::Protocol,
    }
}

impl Suffered {
    fn fault(&mut self, subject: &Subject<'_>, relay: u32, kind: FaultKind, text: String) {
        self.failed += 1;
        if self.faults.len() < TOLD_FAULTS {
            self.faults.push(Fault {
                kind,
                group: "innocent".into(),
                relay,
                query: format!("bulk {}", subject.name()),
                text,
                octets: String::new(),
            });
        }
    }

    /// What became of this one and others.
    pub fn add(&mut self, other: Self) {
        self.longest_before = self.longest_before.max(other.longest_before);
        self.longest_during = self.longest_during.max(other.longest_during);
        self.during += other.during;
        self.failed += other.failed;
        let room = TOLD_FAULTS - self.faults.len();
        self.faults.extend(other.faults.into_iter().take(room));
    }

    /// What that is worth.
    pub fn judge(self, subject: &Subject<'_>, timeouts: &Timeouts, outcome: &mut Outcome) {
        let allowed = (self.longest_before * timeouts.innocent_factor).max(FLOOR);
        let is_quick = self.longest_during <= allowed;
        let finding = Finding {
            what: format!("innocent relays {}", subject.name()),
            expected: format!(
                "each recovery within {}, as the longest before took {}",
                seconds(allowed),
                seconds(self.longest_before)
            ),
            found: format!(
                "the longest of {} took {}, {} failed",
                self.during,
                seconds(self.longest_during),
                self.failed
            ),
            holds: is_quick && self.failed == 0 && self.during > 0,
        };
        outcome.find("innocent", vec![finding]);
        outcome.faults.extend(self.faults);
    }
}
