//! The models of a server: what a recovery, a change and a connection cost, fitted to what was measured.

use super::fit::linear::{Row, Sum, fit};
use super::fit::scalability::{self, Law};
use super::number::{octets, percent, seconds, short};
use super::observe::{Observation, Storm};

/// How far beyond the measured range a model is still asked.
const REACH: f64 = 10.0;

/// All models of a system, or why there is none.
#[derive(Debug)]
pub struct Models {
    /// Seconds of a storm, of relays and bindings told.
    pub recovery: Result<Model, String>,
    /// CPU seconds of the server in a storm, of the same.
    pub cpu: Result<Model, String>,
    /// Resident memory, of bindings stored and connections.
    pub resident: Result<Model, String>,
    /// Memory beside mapped files, of the same.
    pub anonymous: Result<Model, String>,
    /// CPU of the server, of changes and messages a second.
    pub streams: Result<Model, String>,
    /// Bindings a second, of connections.
    pub throughput: Result<(Law, Range), String>,
}

/// A fitted sum of a constant and one term for each of two quantities.
#[derive(Debug)]
pub struct Model {
    /// The fit.
    pub sum: Sum,
    /// Where each quantity was measured.
    pub ranges: [Range; 2],
    /// What limits its use.
    pub remark: Option<String>,
}

impl Model {
    /// What it says of two quantities.
    #[must_use]
    pub fn at(&self, first: f64, second: f64) -> f64 {
        self.sum.at(&[1.0, first, second])
    }

    /// Whether that was measured.
    #[must_use]
    pub fn standing(&self, first: f64, second: f64) -> Standing {
        self.ranges[0]
            .standing(first)
            .max(self.ranges[1].standing(second))
    }
}

/// From the least to the most that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub from: f64,
    /// The most.
    pub to: f64,
}

/// Whether a value was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Within what was measured.
    Measured,
    /// Beyond, at most by [`REACH`].
    Extrapolated,
    /// Further away.
    NotMeasured,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        values.fold(
            Self {
                from: f64::INFINITY,
                to: 0.0,
            },
            |range, value| Self {
                from: range.from.min(value),
                to: range.to.max(value),
            },
        )
    }

    /// Where a value stands. A little beyond the ends is still at them.
    #[must_use]
    pub fn standing(self, value: f64) -> Standing {
        let within =
            |reach: f64| (self.from / reach * 0.98..=self.to * reach * 1.02).contains(&value);
        match value {
            _ if within(1.0) => Standing::Measured,
            _ if within(REACH) => Standing::Extrapolated,
            _ => Standing::NotMeasured,
        }
    }
}

/// Storms to fit to: those without TLS if there are any, and those beside which nothing else went on if there are enough.
#[must_use]
pub fn storms<'a>(observations: &'a [Observation<'a>]) -> Vec<(&'a Observation<'a>, &'a Storm)> {
    let all: Vec<_> = observations
        .iter()
        .filter_map(|seen| Some((seen, seen.storm.as_ref()?)))
        .collect();
    let plain: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, storm)| !storm.is_tls)
        .collect();
    let all = if plain.is_empty() { all } else { plain };
    let alone: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, storm)| storm.is_alone)
        .collect();
    if alone.len() >= 3 || alone.len() == all.len() {
        alone
    } else {
        all
    }
}

const STORM: &[&[usize]] = &[&[0, 1, 2], &[0, 2]];
const MEMORY: &[&[usize]] = &[&[0, 1, 2], &[0, 1], &[0, 2]];
const STREAMS: &[&[usize]] = &[&[0, 1, 2], &[0, 1]];

/// Fits all models to the points of a system.
#[must_use]
pub fn models(observations: &[Observation<'_>]) -> Models {
    let storms = storms(observations);
    let of_storms = |value: &dyn Fn(&Observation<'_>, &Storm) -> Option<f64>| -> Vec<[f64; 3]> {
        storms
            .iter()
            .filter_map(|(seen, storm)| Some([storm.relays, storm.bindings, value(seen, storm)?]))
            .collect()
    };
    let of_memory = |value: &dyn Fn(&Observation<'_>) -> Option<f64>| -> Vec<[f64; 3]> {
        observations
            .iter()
            .filter_map(|seen| Some([seen.point.bindings as f64, seen.connections, value(seen)?]))
            .collect()
    };
    let server = |seen: &Observation<'_>| seen.point.server;
    let one_each = "All points have the same number of bindings a relay (or of relays), so that the cost of a relay is in that \
                    of its bindings.";
    let storm_of = "storms that differ in relays and in bindings";
    Models {
        recovery: model(
            &of_storms(&|_, storm| Some(storm.seconds)),
            STORM,
            storm_of,
            one_each,
        ),
        cpu: model(
            &of_storms(&|seen, storm| {
                storm
                    .is_alone
                    .then(|| server(seen).map(|usage| usage.cpu_seconds))?
            }),
            STORM,
            "storms with nothing beside them, and with the server's CPU time",
            one_each,
        ),
        resident: model(
            &of_memory(&|seen| server(seen).map(|usage| usage.resident_peak as f64)),
            MEMORY,
            "points with the server's memory",
            "Bindings and connections grew together, or only one of them differs: all growth is counted as that of one.",
        ),
        anonymous: model(
            &of_memory(&|seen| server(seen).map(|usage| usage.anonymous_peak as f64)),
            MEMORY,
            "points with the server's memory",
            "Bindings and connections grew together, or only one of them differs: all growth is counted as that of one.",
        ),
        streams: model(
            &observations
                .iter()
                .filter_map(|seen| seen.streams)
                .map(|streams| [streams.changes, streams.messages, streams.server_cpus])
                .collect::<Vec<_>>(),
            STREAMS,
            "rates of changes with followers, and the server's CPU time",
            "Each change went to the same number of relays, so that the cost of telling it is in that of the change.",
        ),
        throughput: throughput(observations),
    }
}

fn model(
    rows: &[[f64; 3]],
    choices: &[&[usize]],
    needed: &str,
    reduced: &str,
) -> Result<Model, String> {
    let fitted: Vec<Row> = rows
        .iter()
        .map(|[first, second, value]| Row {
            terms: vec![1.0, *first, *second],
            value: *value,
        })
        .collect();
    let sum = fit(&fitted, choices).ok_or_else(|| {
        format!("There are too few different points ({}); it needs at least 3 {needed}, and 4 to tell both apart.", rows.len())
    })?;
    Ok(Model {
        ranges: [0, 1].map(|index| Range::of(rows.iter().map(|row| row[index]))),
        remark: (sum.used.len() < 3).then(|| reduced.to_owned()),
        sum,
    })
}

/// Throughput is fitted where bindings a query are the same, because they make it differ too: the ones with the most points.
fn throughput(observations: &[Observation<'_>]) -> Result<(Law, Range), String> {
    let measured = same_size(observations);
    let law = scalability::fit(&measured).ok_or_else(|| {
        format!(
            "There are too few different numbers of connections with the same number of bindings ({} points; at least {} are needed).",
            measured.len(),
            scalability::LEAST
        )
    })?;
    Ok((
        law,
        Range::of(measured.iter().map(|(connections, _)| *connections)),
    ))
}

/// Connections and bindings a second of the points whose queries are about as large.
fn same_size(observations: &[Observation<'_>]) -> Vec<(f64, f64)> {
    let bulk: Vec<_> = observations.iter().filter_map(|seen| seen.bulk).collect();
    let alike = |each: f64| {
        bulk.iter()
            .filter(|other| (0.9..1.1).contains(&(other.each / each)))
            .map(|other| (other.connections, other.bindings_per_second))
            .collect::<Vec<_>>()
    };
    bulk.iter()
        .map(|one| alike(one.each))
        .max_by_key(Vec::len)
        .unwrap_or_default()
}

/// A parameter in words: its symbol, and what it says.
pub type Parameter = (&'static str, String);

impl Models {
    /// Parameters of the model of recovery.
    #[must_use]
    pub fn recovery_parameters(model: &Model) -> Vec<Parameter> {
        let c = &model.sum.coefficients;
        parameters(
            model,
            ["t0", "a", "b"],
            [
                format!("{} for any storm", seconds(c[0])),
                format!("{} a relay", seconds(c[1])),
                format!(
                    "{} a binding told ({} bindings/s)",
                    seconds_small(c[2]),
                    inverse(c[2])
                ),
            ],
        )
    }

    /// Parameters of the model of CPU.
    #[must_use]
    pub fn cpu_parameters(model: &Model) -> Vec<Parameter> {
        let c = &model.sum.coefficients;
        parameters(
            model,
            ["c0", "c1", "c2"],
            [
                format!("{} of server CPU for any storm", seconds(c[0])),
                format!("{} of server CPU a relay", seconds(c[1])),
                format!(
                    "{} of server CPU a binding told ({} bindings a core and second)",
                    seconds_small(c[2]),
                    inverse(c[2])
                ),
            ],
        )
    }

    /// Parameters of a model of memory.
    #[must_use]
    pub fn memory_parameters(model: &Model) -> Vec<Parameter> {
        let c = &model.sum.coefficients;
        parameters(
            model,
            ["m0", "m1", "m2"],
            [
                format!("{} with nothing stored and nobody connected", octets(c[0])),
                format!("{} a binding stored", octets(c[1])),
                format!("{} a connection", octets(c[2])),
            ],
        )
    }

    /// Parameters of the model of streams.
    #[must_use]
    pub fn stream_parameters(model: &Model) -> Vec<Parameter> {
        let c = &model.sum.coefficients;
        parameters(
            model,
            ["u0", "u1", "u2"],
            [
                format!("{} of a core without changes", percent(c[0])),
                format!("{} of server CPU a change", seconds_small(c[1])),
                format!(
                    "{} of server CPU a message told ({} a core and second)",
                    seconds_small(c[2]),
                    inverse(c[2])
                ),
            ],
        )
    }
}

/// Only those that take part: 0 for one that does not would read like a finding.
fn parameters(model: &Model, names: [&'static str; 3], texts: [String; 3]) -> Vec<Parameter> {
    let used = |index: &usize| model.sum.used.contains(index);
    names
        .into_iter()
        .zip(texts)
        .enumerate()
        .filter(|(index, _)| used(index))
        .map(|(_, both)| both)
        .collect()
}

/// Costs may be below a microsecond.
fn seconds_small(value: f64) -> String {
    match value > 0.0 && value < 1e-6 {
        true => format!("{}\u{a0}ns", super::number::significant(value * 1e9, 3)),
        false => seconds(value),
    }
}

fn inverse(value: f64) -> String {
    match value > 0.0 {
        true => short(1.0 / value),
        false => "any number of".into(),
    }
}
