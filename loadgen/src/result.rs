//! What came of a run, as written to a JSON file and read by reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, FaultKind};
use crate::measure::{Measures, Times};
use crate::scenario::Scenario;

/// Version of this format.
pub const FORMAT: u32 = 1;

/// Faults that are kept whole; all are counted.
pub const KEPT_FAULTS: usize = 100;

/// What came of a run. Times are in seconds, memory in octets, CPU in seconds of one core.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunResult {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the scenario: a built-in one, or its file without extension.
    pub name: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// How long it took, starting and filling a server included.
    pub seconds: f64,
    /// It was interrupted: what follows was measured until then.
    pub interrupted: bool,
    /// Where it ran.
    pub environment: Environment,
    /// The scenario as it was run, with what the command line changed.
    pub scenario: Scenario,
    /// One for each combination of a sweep; else one.
    pub points: Vec<Point>,
}

impl RunResult {
    /// Nothing was wrong.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.points.iter().all(Point::is_valid)
    }
}

/// Where a run took place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Environment {
    /// Version of the generator.
    pub generator: String,
    /// What the server says of itself (`leaseq --version`), if we started it.
    pub server: Option<String>,
    /// Kernel name and release.
    pub kernel: String,
    /// Model of the CPU.
    pub cpu: String,
    /// CPUs that the generator may use.
    pub cpus: u32,
    /// Memory of the machine.
    pub memory: u64,
    /// Open files that a process may have.
    pub open_files: u64,
    /// Server and generator share the machine.
    pub same_machine: bool,
}

/// One run of a scenario with one set of values.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Point {
    /// Relays there are.
    pub relays: u32,
    /// Bindings of each relay, as made up; of a given store the mean.
    pub bindings_per_relay: f64,
    /// Bindings in the store, both families.
    pub bindings: u64,
    /// Changes a second that were asked for.
    pub changes_per_second: f64,
    /// UDP queries a second that were asked for, all groups; 0: none, or a closed loop.
    pub udp_per_second: f64,
    /// How long the relays were at work.
    pub seconds: f64,
    /// What each group measured.
    pub groups: Vec<GroupResult>,
    /// What became of the changes.
    pub changes: Option<ChangesResult>,
    /// What the server used while the relays were at work, if it is on this machine.
    pub server: Option<Usage>,
    /// How long the server took to start with its store filled, until it was ready; only of our own.
    pub server_start: Option<f64>,
    /// What the generator used, all its processes.
    pub generator: Usage,
    /// Whether the generator itself held things up.
    pub bottleneck: Bottleneck,
    /// One for each interval.
    pub samples: Vec<Sample>,
    /// What was required or expected, and what was found.
    pub findings: Vec<Finding>,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The first of them, whole; at most [`KEPT_FAULTS`].
    pub first_faults: Vec<Fault>,
}

impl Point {
    /// Nothing was wrong.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.faults.is_empty() && self.findings.iter().all(|finding| finding.holds)
    }

    /// What all groups measured together.
    #[must_use]
    pub fn total(&self) -> Measures {
        let mut total = Measures::default();
        for group in &self.groups {
            total.add(&group.measures);
        }
        total
    }
}

/// What one group measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GroupResult {
    /// Its name.
    pub name: String,
    /// Its relays.
    pub relays: u32,
    /// How many of them at a time.
    pub at_once: u32,
    /// How long from the first of them that began to the last one's end.
    pub seconds: f64,
    /// What they measured.
    pub measures: Measures,
}

/// What became of the changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChangesResult {
    /// Submitted.
    pub submitted: u64,
    /// Acknowledged as durable.
    pub acknowledged: u64,
    /// Refused by the feed; each is a fault.
    pub refused: u64,
    /// From submission to acknowledgement.
    pub acknowledgement: Times,
    /// How late changes were submitted: the generator's own doing, or the feed's when it does not take them.
    pub lateness: Times,
}

/// CPU and memory of a process, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Usage {
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// CPU seconds a second, at the busiest interval.
    pub peak_cpus: f64,
    /// Resident memory when it began, all of it, mapped files included.
    pub resident_begin: u64,
    /// The most resident memory.
    pub resident_peak: u64,
    /// The most resident memory beside mapped files.
    pub anonymous_peak: u64,
    /// The most open files.
    pub open_files_peak: u64,
}

/// Whether the generator itself held things up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bottleneck {
    /// How late the generator's threads came to run: a timer's due time until it ran. The kernel's tick of about a
    /// millisecond is in it.
    pub scheduling: Times,
    /// Share of its own CPUs' time (0 to 1) that the busiest thread of the generator used.
    pub busiest_thread: f64,
    /// CPUs' time (0 to 1) of the whole machine that was used, by whomever.
    pub machine: f64,
    /// What that means: reasons why the figures say more about the generator than about the server. None: they don't.
    pub reasons: Vec<String>,
}

/// What was measured in one interval.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sample {
    /// Seconds since the relays began.
    pub at: f64,
    /// Relays by state.
    pub states: BTreeMap<State, u32>,
    /// Bindings told by bulk answers, a second.
    pub bindings_per_second: f64,
    /// Messages of active streams, a second.
    pub messages_per_second: f64,
    /// UDP answers, a second.
    pub udp_per_second: f64,
    /// Octets received, a second.
    pub octets_per_second: f64,
    /// Recoveries that ended in it.
    pub recoveries: u64,
    /// Of the recoveries that ended in it: median and 99th percentile, seconds.
    pub recovery: Option<[f64; 2]>,
    /// Of the messages of changes that came in it.
    pub propagation: Option<[f64; 2]>,
    /// Of the UDP answers that came in it.
    pub udp: Option<[f64; 2]>,
    /// Faults so far.
    pub faults: u64,
    /// CPU of the server, seconds a second.
    pub server_cpus: Option<f64>,
    /// Resident memory of the server.
    pub server_resident: Option<u64>,
    /// The same beside mapped files.
    pub server_anonymous: Option<u64>,
    /// CPU of the generator, seconds a second.
    pub generator_cpus: f64,
}

/// What a relay is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its time has not come.
    Waiting,
    /// Connecting, or negotiating TLS.
    Connecting,
    /// Reading a bulk answer.
    Recovering,
    /// Reading what changed while it was away.
    CatchingUp,
    /// Following changes.
    Following,
    /// Asking over UDP.
    Asking,
    /// Being rude.
    Rude,
    /// Between two rounds or two attempts.
    Pausing,
    /// Done.
    Done,
}

/// Something that was expected, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// What it is about: `max-connections v4`, `slowest to median, recovering`.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// It is as expected.
    pub holds: bool,
}

impl Finding {
    /// What [`found`](Self::found) begins with where nothing could be tested; that is no fault.
    pub const NOT_TESTED: &str = "not tested";

    /// Something was found.
    #[must_use]
    pub fn is_tested(&self) -> bool {
        !self.found.starts_with(Self::NOT_TESTED)
    }
}
