//! What a point says about each of the questions of the report.

use crate::measure::{Count, Measures, Times};
use crate::result::{GroupResult, Point, RunResult, Usage};
use crate::scenario::{Behaviour, Group, Kind, Rounds};

/// A point of a result, looked at for what plots and models need.
#[derive(Debug)]
pub struct Observation<'a> {
    /// The result it is of.
    pub result: &'a RunResult,
    /// The point.
    pub point: &'a Point,
    /// What all its groups measured together.
    pub total: Measures,
    /// Connections at a time, of polite relays over TCP.
    pub connections: f64,
    /// All relays recovered at once.
    pub storm: Option<Storm>,
    /// Bulk answers, in a storm or all the time.
    pub bulk: Option<Bulk>,
    /// Relays did what says nothing about costs: they were rude, or used TLS.
    pub is_special: bool,
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

impl Observation<'_> {
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
        connections,
        storm: storm(point, &groups),
        bulk: bulk(point, &groups),
        is_special: groups.iter().any(|(_, written)| {
            written.is_none_or(|group| group.tls || !group.behaviour.is_polite())
        }),
    }
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
