//! Which results belong together: those of one server on one machine make one picture, and two runs of the same points are
//! compared.

use super::observe::{Observation, observe};
use crate::result::{Environment, Point, RunResult};

/// Results of one server on one machine.
#[derive(Debug)]
pub struct System<'a> {
    /// What it is called.
    pub name: String,
    /// Its results, with their files.
    pub results: Vec<(&'a str, &'a RunResult)>,
    /// Their points.
    pub observations: Vec<Observation<'a>>,
}

impl<'a> System<'a> {
    /// Where its first result ran.
    #[must_use]
    pub fn environment(&self) -> Option<&'a Environment> {
        self.results.first().map(|(_, result)| &result.environment)
    }
}

/// What must be the same of two points to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Key<'a> {
    name: &'a str,
    relays: u32,
    bindings: u64,
    changes: f64,
    udp: f64,
}

/// The key of a point.
#[must_use]
pub fn key<'a>(result: &'a RunResult, point: &Point) -> Key<'a> {
    Key {
        name: &result.name,
        relays: point.relays,
        bindings: point.bindings,
        changes: point.changes_per_second,
        udp: point.udp_per_second,
    }
}

/// Puts results together. A result with a point that its server has already is another build or configuration, which gets a
/// picture of its own.
#[must_use]
pub fn systems<'a>(results: &'a [(String, RunResult)]) -> Vec<System<'a>> {
    let mut systems: Vec<System<'a>> = Vec::new();
    for (file, result) in results {
        let place = systems.iter_mut().find(|system| {
            system
                .results
                .iter()
                .all(|(_, other)| is_same(result, other) && !overlaps(result, other))
        });
        match place {
            Some(system) => system.results.push((file, result)),
            None => systems.push(System {
                name: name(result),
                results: vec![(file, result)],
                observations: Vec::new(),
            }),
        }
    }
    for system in &mut systems {
        system.observations = system
            .results
            .iter()
            .flat_map(|(_, result)| observe(result))
            .collect();
    }
    tell_apart(&mut systems);
    systems
}

/// Systems of one name are told apart by the files of their first results, and those of one file by numbers.
fn tell_apart(systems: &mut [System<'_>]) {
    let is_twice =
        |names: &[String], name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let names: Vec<String> = systems.iter().map(|system| system.name.clone()).collect();
    for system in systems.iter_mut() {
        if is_twice(&names, &system.name) {
            let file = system.results.first().map_or("", |(file, _)| *file);
            let file = file.strip_suffix(".json").unwrap_or(file);
            system.name = format!("{} ({file})", system.name);
        }
    }
    let names: Vec<String> = systems.iter().map(|system| system.name.clone()).collect();
    for (number, system) in (1..).zip(systems.iter_mut()) {
        if is_twice(&names, &system.name) {
            system.name = format!("{}, {number}", system.name);
        }
    }
}

fn name(result: &RunResult) -> String {
    let target = &result.scenario.target;
    match (
        &result.environment.server,
        target.server4.or(target.server6),
    ) {
        (Some(server), _) => server.clone(),
        (None, Some(address)) => format!("server at {address}"),
        (None, None) => "unknown server".into(),
    }
}

fn is_same(one: &RunResult, other: &RunResult) -> bool {
    let (here, there) = (&one.environment, &other.environment);
    (
        &here.server,
        &here.cpu,
        here.cpus,
        here.memory,
        here.same_machine,
    ) == (
        &there.server,
        &there.cpu,
        there.cpus,
        there.memory,
        there.same_machine,
    ) && (one.scenario.target.server4, one.scenario.target.server6)
        == (other.scenario.target.server4, other.scenario.target.server6)
}

fn overlaps(one: &RunResult, other: &RunResult) -> bool {
    one.points.iter().any(|point| {
        other
            .points
            .iter()
            .any(|there| key(one, point) == key(other, there))
    })
}
