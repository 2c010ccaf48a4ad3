//! What a process is to do of a run, and what it has to tell; both travel between processes as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::Source;
use crate::fault::{Fault, FaultKind};
use crate::measure::{Measures, Times};
use crate::result::{GroupResult, KEPT_FAULTS, State};
use crate::scenario::{FamilyNumber, Scenario, Span, TlsFiles};

/// What one process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// The scenario, with one value of everything that a sweep varies.
    pub scenario: Scenario,
    /// The server for DHCPv4, if a group uses it.
    pub server4: Option<SocketAddr>,
    /// The server for DHCPv6, if a group uses it.
    pub server6: Option<SocketAddr>,
    /// What the server holds, by family. Of a family that is absent it is not known: relays then ask as of the scenario's
    /// made-up data, and answers are checked for form only.
    pub sources: BTreeMap<FamilyNumber, Source>,
    /// How relays show who they are, where a group uses TLS.
    pub tls: Option<TlsFiles>,
    /// File of the run's board.
    pub board: PathBuf,
    /// Number of this process, from 0.
    pub process: u32,
    /// How many there are.
    pub processes: u32,
    /// Time between two reports of progress.
    pub interval: Span,
}

/// What a process tells once an interval.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// Seconds since the relays began.
    pub at: f64,
    /// Places by what their relays are at.
    pub states: BTreeMap<State, u32>,
    /// What was measured since the last time.
    pub since_last: Measures,
    /// Faults so far.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Every place has ended.
    pub is_finished: bool,
}

impl Progress {
    /// Adds what another process tells at the same time.
    pub fn add(&mut self, other: &Self) {
        self.at = self.at.max(other.at);
        self.since_last.add(&other.since_last);
        self.add_standing(other);
        self.is_finished &= other.is_finished;
    }

    /// Adds how others stand, but not what they measured.
    pub(crate) fn add_standing(&mut self, other: &Self) {
        add_counts(&mut self.states, &other.states);
        add_counts(&mut self.faults, &other.faults);
    }
}

/// What came of a process' relays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outcome {
    /// What each group measured, in the scenario's order.
    pub groups: Vec<GroupResult>,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The first of them, whole; at most [`KEPT_FAULTS`].
    pub first_faults: Vec<Fault>,
    /// How late the threads came to run.
    pub scheduling: Times,
    /// CPU seconds of each thread.
    pub thread_cpu: Vec<f64>,
    /// How long the relays were at work.
    pub seconds: f64,
}

impl Outcome {
    /// Adds what came of another process' relays, or another thread's. Groups are the same ones in the same order.
    pub fn merge(&mut self, other: Self) {
        if self.groups.is_empty() {
            self.groups = other.groups;
        } else {
            for (group, more) in self.groups.iter_mut().zip(other.groups) {
                group.seconds = group.seconds.max(more.seconds);
                group.measures.add(&more.measures);
            }
        }
        add_counts(&mut self.faults, &other.faults);
        let room = KEPT_FAULTS.saturating_sub(self.first_faults.len());
        self.first_faults
            .extend(other.first_faults.into_iter().take(room));
        self.scheduling.add(&other.scheduling);
        self.thread_cpu.extend(other.thread_cpu);
        self.seconds = self.seconds.max(other.seconds);
    }
}

fn add_counts<K: Ord + Copy, N: Copy + Default + std::ops::AddAssign>(
    counts: &mut BTreeMap<K, N>,
    more: &BTreeMap<K, N>,
) {
    for (key, more) in more {
        *counts.entry(*key).or_default() += *more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Count;

    #[test]
    fn outcomes_become_one() {
        let one = |seconds: f64, bindings: u64| {
            let mut measures = Measures::default();
            measures.count(Count::Bindings, bindings);
            Outcome {
                groups: vec![GroupResult {
                    name: "all".into(),
                    relays: 10,
                    at_once: 4,
                    seconds,
                    measures,
                }],
                faults: BTreeMap::from([(FaultKind::Missing, bindings)]),
                thread_cpu: vec![seconds],
                seconds,
                ..Outcome::default()
            }
        };
        let mut outcome = Outcome::default();
        for part in [one(1.0, 2), one(3.0, 5), one(2.0, 1)] {
            let text = serde_json::to_string(&part).unwrap();
            outcome.merge(serde_json::from_str(&text).unwrap());
        }
        let group = &outcome.groups[0];
        assert_eq!((group.relays, group.seconds), (10, 3.0));
        assert_eq!(group.measures.counted(Count::Bindings), 8);
        assert_eq!(outcome.faults[&FaultKind::Missing], 8);
        assert_eq!(outcome.thread_cpu, [1.0, 3.0, 2.0]);
    }

    #[test]
    fn progress_travels_and_adds_up() {
        let mut progress = Progress {
            states: BTreeMap::from([(State::Recovering, 2)]),
            is_finished: true,
            ..Progress::default()
        };
        let text = serde_json::to_string(&progress).unwrap();
        let other: Progress = serde_json::from_str(&text).unwrap();
        progress.add(&other);
        assert_eq!(progress.states[&State::Recovering], 4);
        assert!(progress.is_finished);
    }
}
