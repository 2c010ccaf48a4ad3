//! What a point says about each of the questions of the report.

use super::work::Work;
use crate::measure::{Count, Measures, Times};
use crate::result::{GroupResult, Point, RunResult, Usage};
use crate::scenario::{Behaviour, By, Group, Kind, Rounds};

/// A point of a result, looked at for what plots and models need.
#[derive(Debug)]
pub struct Observation<'a> {
    /// The result it is of.
    pub result: &'a RunResult,
    /// The point.
    pub point: &'a Point,
    /// What all its groups measured together.
    pub total: Measures,
    /// What its server had to do.
    pub work: Work,
    /// What was told of changes, by kind of stream.
    pub streams: Vec<Streams>,
    /// Connections at a time, of polite relays over TCP.
    pub connections: f64,
    /// All relays recovered at once.
    pub storm: Option<Storm>,
    /// Bulk answers, in a storm or all the time.
    pub bulk: Option<Bulk>,
    /// Relays did what says nothing about costs: they were rude, or used TLS.
    pub is_special: bool,
}

/// Streams of a kind, and how long changes took to be told by them.
#[derive(Debug)]
pub struct Streams {
    /// What they follow.
    pub scope: Scope,
    /// From a change's acknowledgement to its message.
    pub propagation: Times,
}

/// What a stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Changes of its relay's, or its link's, bindings.
    Own,
    /// Every change.
    Everything,
}

impl Scope {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Own, Self::Everything];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Own => "own bindings",
            Self::Everything => "everything",
        }
    }
}

/// All relays of the bulk groups recover at once, each once.
#[derive(Debug)]
pub struct Storm {
    /// Relays that were to recover.
    pub relays: f64,
    /// Bindings that they were told.
    pub bindings: f64,
    /// How long each relay needed.
    pub recovery: Times,
    /// From the first relay's begin to the last one's end.
    pub seconds: f64,
    /// Some of it went over TLS.
    pub is_tls: bool,
    /// Nothing else went on.
    pub is_alone: bool,
}

/// The share of the changes asked for that must have been taken for the rate to be reached: the last ones of a run are
/// acknowledged after its end, and clocks of two threads differ.
const REACHED: f64 = 0.95;

impl Observation<'_> {
    /// Changes a second that were made: those asked for where they were reached, else those that the server took.
    #[must_use]
    pub fn changes(&self) -> f64 {
        let Some(changes) = &self.point.changes else {
            return 0.0;
        };
        let (taken, asked) = (changes.acknowledged as f64, self.point.changes_per_second);
        let planned = self.result.scenario.duration.get().as_secs_f64();
        match taken >= REACHED * asked * planned.min(self.point.seconds) {
            true => asked,
            false => taken / self.point.seconds,
        }
    }

    /// Messages of streams a second, while changes were made.
    #[must_use]
    pub fn messages(&self) -> f64 {
        let messages = self.total.counted(Count::StreamMessages) as f64;
        let taken = self.point.changes.as_ref();
        let taken = taken.map_or(0.0, |changes| changes.acknowledged as f64);
        match taken > 0.0 {
            true => messages / taken * self.changes(),
            false => messages / self.point.seconds,
        }
    }

    /// Times of streams of a kind.
    #[must_use]
    pub fn propagation(&self, scope: Scope) -> Option<&Times> {
        let streams = self.streams.iter().find(|streams| streams.scope == scope);
        streams.map(|streams| &streams.propagation)
    }

    /// CPU of the server and of the generator in cores: the mean over a storm with nothing beside it, else the busiest
    /// interval's.
    #[must_use]
    pub fn cpus(&self) -> (Option<f64>, f64) {
        let seconds = self
            .storm
            .as_ref()
            .filter(|storm| storm.is_alone)
            .map(|storm| storm.seconds);
        let of = |usage: &Usage| match seconds {
            Some(seconds) => usage.cpu_seconds / seconds,
            None => usage.peak_cpus,
        };
        (
            self.point.server.as_ref().map(of),
            of(&self.point.generator),
        )
    }
}

impl Storm {
    /// Bindings of each relay, on average.
    #[must_use]
    pub fn each(&self) -> f64 {
        self.bindings / self.relays
    }
}

/// Bulk answers.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// Connections at a time.
    pub connections: f64,
    /// Bindings told a second.
    pub bindings_per_second: f64,
    /// Bindings of a query, on average.
    pub each: f64,
}

/// Looks at each point of a result; probes of limits and timeouts have none that say anything about load.
#[must_use]
pub fn observe<'a>(result: &'a RunResult) -> Vec<Observation<'a>> {
    if result.scenario.kind != Kind::Load {
        return Vec::new();
    }
    result
        .points
        .iter()
        .map(|point| of_point(result, point))
        .collect()
}

fn of_point<'a>(result: &'a RunResult, point: &'a Point) -> Observation<'a> {
    let groups: Vec<(&GroupResult, Option<&Group>)> = point
        .groups
        .iter()
        .map(|group| {
            (
                group,
                result
                    .scenario
                    .group
                    .iter()
                    .find(|written| written.name == group.name),
            )
        })
        .collect();
    let connections = groups
        .iter()
        .filter(|(_, written)| {
            written.is_some_and(|group| {
                group.behaviour.is_polite() && group.behaviour != Behaviour::Udp
            })
        })
        .map(|(group, _)| f64::from(group.at_once))
        .sum();
    Observation {
        result,
        point,
        total: point.total(),
        work: Work::of(
            point,
            groups
                .iter()
                .filter_map(|(group, written)| Some(((*written)?, group.at_once >= group.relays))),
        ),
        streams: streams(&groups),
        connections,
        storm: storm(point, &groups),
        bulk: bulk(point, &groups),
        is_special: groups.iter().any(|(_, written)| {
            written.is_none_or(|group| group.tls || !group.behaviour.is_polite())
        }),
    }
}

fn streams(groups: &[(&GroupResult, Option<&Group>)]) -> Vec<Streams> {
    let of = |scope| {
        let mut propagation = Times::default();
        for (group, written) in groups {
            let by = written.and_then(|written| written.by);
            if (by == Some(By::All)) == (scope == Scope::Everything) {
                propagation.add(&group.measures.propagation);
            }
        }
        Streams { scope, propagation }
    };
    let all = Scope::ALL.map(of).into_iter();
    all.filter(|streams| !streams.propagation.is_empty())
        .collect()
}

fn is_bulk(group: &Group) -> bool {
    matches!(
        group.behaviour,
        Behaviour::Recover | Behaviour::RecoverThenFollow | Behaviour::Parallel
    )
}

fn storm(point: &Point, groups: &[(&GroupResult, Option<&Group>)]) -> Option<Storm> {
    let storming: Vec<(&GroupResult, &Group)> = groups
        .iter()
        .filter_map(|(group, written)| Some((*group, (*written)?)))
        .filter(|(_, written)| is_bulk(written))
        .collect();
    let all_at_once = storming.iter().all(|(group, written)| {
        written.rounds == Rounds::Times(1) && group.at_once >= group.relays
    });
    let mut recovery = Times::default();
    let (mut relays, mut bindings, mut seconds) = (0.0, 0.0, 0.0_f64);
    for (group, written) in &storming {
        recovery.add(&group.measures.recovery);
        relays += f64::from(group.relays);
        bindings += group.measures.counted(Count::Bindings) as f64;
        let window = written.window.get().as_secs_f64();
        let slowest = group.measures.recovery.max();
        // A relay's recovery counts from its own begin, which is anywhere in the window.
        seconds = seconds.max(
            match window > 0.0 && written.behaviour == Behaviour::Recover {
                true => group.seconds,
                false => window + slowest,
            },
        );
    }
    let is_alone = storming.len() == groups.len()
        && point.changes.is_none()
        && storming
            .iter()
            .all(|(_, written)| written.behaviour != Behaviour::RecoverThenFollow);
    let is_storm =
        all_at_once && !recovery.is_empty() && relays > 0.0 && seconds > 0.0 && seconds.is_finite();
    is_storm.then(|| Storm {
        relays,
        bindings,
        recovery,
        seconds,
        is_tls: storming.iter().any(|(_, written)| written.tls),
        is_alone,
    })
}

fn bulk(point: &Point, groups: &[(&GroupResult, Option<&Group>)]) -> Option<Bulk> {
    let (mut connections, mut rate, mut bindings, mut queries) = (0.0, 0.0, 0.0, 0.0);
    for (group, written) in groups {
        let Some(written) = written.filter(|written| is_bulk(written)) else {
            continue;
        };
        let told = group.measures.counted(Count::Bindings) as f64;
        let seconds = match written.behaviour {
            // It goes on after the recovery.
            Behaviour::RecoverThenFollow => {
                group.measures.recovery.max() + written.window.get().as_secs_f64()
            }
            _ if group.seconds > 0.0 => group.seconds,
            _ => point.seconds,
        };
        if told > 0.0 && seconds > 0.0 && seconds.is_finite() {
            connections += f64::from(group.at_once);
            rate += told / seconds;
            bindings += told;
            queries += group.measures.counted(Count::Recoveries).max(1) as f64;
        }
    }
    (connections > 0.0).then(|| Bulk {
        connections,
        bindings_per_second: rate,
        each: bindings / queries,
    })
}
