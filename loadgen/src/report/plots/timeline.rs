//! How long runs went: memory, CPU, latency and work from their beginning to their end.

use super::scaling::needs;
use super::{Section, values};
use crate::report::number::{Unit, elapsed, percent};
use crate::report::observe::Observation;
use crate::report::plot::{Axis, Drawn, Plot, Series};
use crate::report::scale::Scale;
use crate::report::systems::System;
use crate::result::Sample;

/// Samples that make a timeline worth looking at.
const LEAST: usize = 20;
/// Runs that are shown: the longest, and others if they are long too (in seconds).
const RUNS: usize = 4;
const LONG: f64 = 120.0;
/// Points of a line: more of them are brought together.
const POINTS: usize = 160;

/// A quantity of a sample.
type OfSample = fn(&Sample) -> Option<f64>;

/// Timelines of the longest runs.
pub fn timelines(systems: &[System<'_>]) -> Section {
    let mut runs: Vec<(&System<'_>, &Observation<'_>)> = systems
        .iter()
        .flat_map(|system| system.observations.iter().map(move |seen| (system, seen)))
        .filter(|(_, seen)| seen.point.samples.len() >= LEAST)
        .collect();
    runs.sort_by(|(_, one), (_, other)| other.point.seconds.total_cmp(&one.point.seconds));
    let mut plots = Vec::new();
    let is_shown = |(index, (_, seen)): &(usize, (_, &Observation<'_>))| {
        *index == 0 || seen.point.seconds >= LONG
    };
    let shown = runs.into_iter().take(RUNS).enumerate().filter(is_shown);
    for (_, (system, seen)) in shown {
        let run = match systems.len() {
            1 => format!(
                "{}, {}",
                seen.result.name,
                elapsed(seen.point.seconds.round())
            ),
            _ => format!(
                "{}, {}, {}",
                seen.result.name,
                elapsed(seen.point.seconds.round()),
                system.name
            ),
        };
        plots.extend(of_run(&run, &seen.point.samples));
    }
    let missing = match plots.is_empty() {
        true => vec![needs("timelines", "a run of at least 20 intervals", "soak")],
        false => Vec::new(),
    };
    Section {
        title: "Over time",
        about: "How long runs went, by interval. What grows without end would show here: memory, or latency.",
        plots,
        missing,
    }
}

fn of_run(run: &str, samples: &[Sample]) -> Vec<Plot> {
    let memory: &[(&str, OfSample)] = &[
        ("resident", |sample| {
            sample.server_resident.map(|octets| octets as f64)
        }),
        ("beside mapped files", |sample| {
            sample.server_anonymous.map(|octets| octets as f64)
        }),
    ];
    let cpu: &[(&str, OfSample)] = &[
        ("server", |sample| sample.server_cpus),
        ("generator", |sample| Some(sample.generator_cpus)),
    ];
    let latency: &[(&str, OfSample)] = &[
        ("recovery, 99 %", |sample| Some(sample.recovery?[1])),
        ("recovery, median", |sample| Some(sample.recovery?[0])),
        ("propagation, 99 %", |sample| Some(sample.propagation?[1])),
        ("propagation, median", |sample| Some(sample.propagation?[0])),
        ("UDP, 99 %", |sample| Some(sample.udp?[1])),
        ("UDP, median", |sample| Some(sample.udp?[0])),
    ];
    let work: &[(&str, OfSample)] = &[
        ("bindings by bulk", |sample| {
            Some(sample.bindings_per_second)
        }),
        ("messages of streams", |sample| {
            Some(sample.messages_per_second)
        }),
        ("UDP answers", |sample| Some(sample.udp_per_second)),
    ];
    [
        plot(
            run,
            "Memory of the server",
            "Memory",
            Unit::Octets,
            memory,
            samples,
        ),
        plot(run, "CPU", "Cores in use", Unit::Cores, cpu, samples),
        plot(run, "Latency", "Time", Unit::Seconds, latency, samples),
        plot(run, "Work done", "A second", Unit::Rate, work, samples),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn plot(
    run: &str,
    what: &str,
    label: &str,
    unit: Unit,
    quantities: &[(&str, OfSample)],
    samples: &[Sample],
) -> Option<Plot> {
    let mut series = Vec::new();
    let mut notes = Vec::new();
    for (number, (name, of)) in quantities.iter().enumerate() {
        let points: Vec<(f64, f64)> = samples
            .iter()
            .filter_map(|sample| Some((sample.at, of(sample)?)))
            .filter(|point| point.1.is_finite())
            .collect();
        if points.iter().all(|point| point.1 <= 0.0) {
            continue;
        }
        if unit == Unit::Octets || unit == Unit::Seconds {
            notes.extend(growth(name, &points));
        }
        series.push(Series {
            name: (*name).into(),
            points: thinned(&points),
            colour: number,
            shape: number,
            drawn: Drawn::Line,
        });
    }
    let ends = samples.iter().map(|sample| sample.at);
    let scale = match unit {
        Unit::Seconds | Unit::Rate => Scale::fitting(&positive(&series), unit, 30.0),
        _ => Scale::linear(values(&series).into_iter(), unit),
    };
    let note = match notes.is_empty() {
        true => None,
        false => Some(format!(
            "From the first quarter to the last: {}.",
            notes.join(", ")
        )),
    };
    (!series.is_empty()).then(|| Plot {
        title: format!("{what}: {run}"),
        about: format!(
            "{what} over the time of the run {run}. {}",
            note.as_deref().unwrap_or_default()
        ),
        x: Axis {
            label: "Time since the beginning".into(),
            unit: Unit::Elapsed,
            scale: Scale::linear(ends, Unit::Elapsed),
        },
        y: Axis {
            label: label.into(),
            unit,
            scale,
        },
        series,
        note,
    })
}

fn positive(series: &[Series]) -> Vec<f64> {
    values(series)
        .into_iter()
        .filter(|value| *value > 0.0)
        .collect()
}

/// Means of as many neighbours as it takes to have few points.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let together = points.len().div_ceil(POINTS).max(1);
    let mean = |values: &mut dyn Iterator<Item = f64>, of: usize| values.sum::<f64>() / of as f64;
    points
        .chunks(together)
        .map(|chunk| {
            (
                mean(&mut chunk.iter().map(|point| point.0), chunk.len()),
                mean(&mut chunk.iter().map(|point| point.1), chunk.len()),
            )
        })
        .collect()
}

/// How much the mean of the last quarter differs from that of the first.
fn growth(name: &str, points: &[(f64, f64)]) -> Option<String> {
    let quarter = points.len() / 4;
    if quarter == 0 {
        return None;
    }
    let mean = |points: &[(f64, f64)]| {
        points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64
    };
    let (first, last) = (
        mean(&points[..quarter]),
        mean(&points[points.len() - quarter..]),
    );
    let growth = last / first - 1.0;
    let sign = if growth >= 0.0 { "+" } else { "" };
    growth
        .is_finite()
        .then(|| format!("{name} {sign}{}", percent((growth * 1e4).round() / 1e4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_thinned_and_their_growth_told() {
        let points: Vec<(f64, f64)> = (0..1_000)
            .map(|at| (f64::from(at), 100.0 + f64::from(at) / 100.0))
            .collect();
        let thinned = thinned(&points);
        assert!(
            thinned.len() <= POINTS && (thinned[0].0 - 3.0).abs() < 0.1,
            "{:?}",
            thinned[0]
        );
        assert_eq!(
            growth("memory", &points).unwrap().replace('\u{a0}', " "),
            "memory +7.4 %"
        );
        assert_eq!(growth("memory", &points[..3]), None);
        assert_eq!(growth("memory", &[(0.0, 0.0); 8]), None);
    }
}
