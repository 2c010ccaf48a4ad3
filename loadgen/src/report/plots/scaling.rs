//! What grows with relays, bindings and connections: recovery time, throughput, CPU, memory.

use super::{Quantity, Section, distinct, is_close, lines, values};
use crate::report::model::{Models, Throughput};
use crate::report::number::{Unit, count};
use crate::report::observe::{Observation, Storm};
use crate::report::plot::{Axis, Drawn, Plot, Series};
use crate::report::scale::Scale;
use crate::report::systems::System;
use crate::report::work::Work;

use super::latency::{Stage, percentile_plot};

/// Plots that differ only in what is held fixed.
const FACETS: usize = 4;
/// Ratio beyond which an axis goes by ratios.
const WIDE: f64 = 12.0;
/// Points of a model's line.
const STEPS: u32 = 40;

/// Recovery time against relays, against bindings, and its spread.
pub fn recovery(systems: &[System<'_>], models: &[Models]) -> Section {
    // Storms that did the same, and nothing else: others would bend the lines.
    let work = models.iter().find_map(|models| models.storms.as_ref());
    let relays: Quantity<'_> = &|seen| {
        let storm = seen.storm.as_ref().filter(|_| Some(&seen.work) == work);
        storm.map(|storm| storm.relays)
    };
    let each: Quantity<'_> = &|seen| {
        let storm = seen.storm.as_ref().filter(|_| Some(&seen.work) == work);
        storm.map(Storm::each).filter(|each| *each > 0.0)
    };
    let mut plots = Vec::new();
    let mut missing = Vec::new();
    plots.extend(spread(systems));
    let by_relays = facets(systems, relays, each, |fixed| {
        let model = |x: f64, models: &Models| Some(models.recovery.as_ref().ok()?.at(x, x * fixed));
        let title = format!(
            "Recovery time against relays, {} bindings each",
            count(fixed.round())
        );
        recovery_plot(
            systems,
            models,
            (title, "Relays recovering at once"),
            (relays, each, fixed),
            &model,
        )
    });
    if by_relays.is_empty() {
        missing.push(needs(
            "recovery time against relays",
            "storms of different numbers of relays with the same bindings each",
            "sweep",
        ));
    }
    plots.extend(by_relays);
    let by_bindings = facets(systems, each, relays, |fixed| {
        let model =
            |x: f64, models: &Models| Some(models.recovery.as_ref().ok()?.at(fixed, fixed * x));
        let title = format!(
            "Recovery time against bindings, {} relays",
            count(fixed.round())
        );
        recovery_plot(
            systems,
            models,
            (title, "Bindings of each relay"),
            (each, relays, fixed),
            &model,
        )
    });
    if by_bindings.is_empty() {
        missing.push(needs(
            "recovery time against bindings",
            "storms of the same number of relays with different bindings each",
            "sweep",
        ));
    }
    plots.extend(by_bindings);
    Section {
        title: "Recovery",
        about: "How long relays need to have all their bindings back, counted for each relay from the moment at which it was to \
                begin: connection, request and whole answer. All begin at once unless the scenario spreads them over a window. Lines go through \
                storms that did the same.",
        plots,
        missing,
    }
}

/// A plot for each value of one quantity at which another one has several values.
fn facets(
    systems: &[System<'_>],
    x: Quantity<'_>,
    fixed: Quantity<'_>,
    plot: impl Fn(f64) -> Plot,
) -> Vec<Plot> {
    distinct(systems, fixed)
        .into_iter()
        .rev()
        .filter(|fixed_at| {
            let only: Quantity<'_> = &|seen| {
                fixed(seen)
                    .filter(|value| is_close(*value, *fixed_at))
                    .and_then(|_| x(seen))
            };
            distinct(systems, only).len() > 1
        })
        .take(FACETS)
        .map(plot)
        .collect()
}

fn recovery_plot(
    systems: &[System<'_>],
    models: &[Models],
    (title, label): (String, &str),
    (x, fixed, fixed_at): (Quantity<'_>, Quantity<'_>, f64),
    model: &dyn Fn(f64, &Models) -> Option<f64>,
) -> Plot {
    let here = |seen: &Observation<'_>| fixed(seen).is_some_and(|value| is_close(value, fixed_at));
    let only: Quantity<'_> = &|seen| x(seen).filter(|_| here(seen));
    let median: Quantity<'_> = &|seen| Some(seen.storm.as_ref()?.recovery.quantile(0.5));
    let p99: Quantity<'_> = &|seen| Some(seen.storm.as_ref()?.recovery.quantile(0.99));
    let slowest: Quantity<'_> = &|seen| Some(seen.storm.as_ref()?.recovery.max());
    let quantities: &[(&str, Quantity<'_>)] = match systems.len() {
        1 => &[("slowest", slowest), ("99 %", p99), ("median", median)],
        _ => &[("slowest", slowest), ("median", median)],
    };
    let mut series = lines(systems, only, quantities, Drawn::Line);
    let xs: Vec<f64> = series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.0))
        .collect();
    let scale = Scale::fitting(&xs, Unit::Number, WIDE);
    if let ([models], Some((from, to))) = (models, ends(&xs)) {
        let curve = steps(from, to)
            .filter_map(|x| Some((x, model(x, models)?)))
            .collect::<Vec<_>>();
        if !curve.is_empty() {
            series.push(Series {
                name: "model".into(),
                points: curve,
                colour: 5,
                shape: 0,
                drawn: Drawn::Model,
            });
        }
    }
    Plot {
        about: format!(
            "{title}. Lines for the median, the 99th percentile and the slowest relay of each storm."
        ),
        title,
        x: Axis {
            label: label.into(),
            unit: Unit::Number,
            scale,
        },
        y: Axis {
            label: "Time until recovered".into(),
            unit: Unit::Seconds,
            scale: Scale::fitting(&values(&series), Unit::Seconds, WIDE),
        },
        series,
        note: None,
    }
}

fn ends(values: &[f64]) -> Option<(f64, f64)> {
    let from = values.iter().copied().fold(f64::INFINITY, f64::min);
    let to = values.iter().copied().fold(0.0, f64::max);
    (from > 0.0 && to > from && to.is_finite()).then_some((from, to))
}

fn steps(from: f64, to: f64) -> impl Iterator<Item = f64> {
    (0..=STEPS).map(move |step| from * (to / from).powf(f64::from(step) / f64::from(STEPS)))
}

/// How the relays of the largest storm fared: all of them, from the fastest to the slowest.
fn spread(systems: &[System<'_>]) -> Option<Plot> {
    let largest: Vec<(&System<'_>, &Observation<'_>)> = systems
        .iter()
        .filter_map(|system| Some((system, largest_storm(&system.observations)?)))
        .collect();
    let mut curves: Vec<Stage<'_>> = Vec::new();
    for (system, seen) in &largest {
        let storm = seen.storm.as_ref()?;
        match largest.len() {
            1 => curves.extend([
                ("recovered", &storm.recovery),
                ("first octet", &seen.total.first_octet),
                ("connected", &seen.total.connect),
            ]),
            _ => curves.push((&system.name, &storm.recovery)),
        }
    }
    let (_, seen) = largest.first()?;
    let storm = seen.storm.as_ref()?;
    let title = match largest.len() {
        1 => format!(
            "All relays of the largest storm: {} with {} bindings each",
            count(storm.relays),
            count(storm.each().round())
        ),
        _ => "All relays of the largest storm of each".into(),
    };
    let note = (largest.len() == 1).then(|| {
        "Connecting is counted from a relay's begin, the first octet from its request, the recovery from its begin.".to_owned()
    });
    percentile_plot(title, "Share of the relays", &curves, note)
}

/// The storm in which the most bindings were told; of several, one with nothing beside it, or else the slowest.
pub fn largest_storm<'a, 'b>(observations: &'a [Observation<'b>]) -> Option<&'a Observation<'b>> {
    let size = |seen: &Observation<'_>| {
        let storm = seen.storm.as_ref()?;
        Some((storm.bindings, storm.is_alone, storm.seconds))
    };
    observations
        .iter()
        .filter(|seen| seen.storm.is_some())
        .max_by(|one, other| {
            size(one)
                .partial_cmp(&size(other))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
}

/// Bindings a second and CPU, against connections.
pub fn throughput(systems: &[System<'_>], models: &[Models]) -> Section {
    let connections: Quantity<'_> = &|seen| Some(seen.bulk?.connections);
    let mut plots = Vec::new();
    let mut missing = Vec::new();
    let several = distinct(systems, connections).len() > 1;
    if several {
        plots.push(throughput_plot(systems, models));
        let server: Quantity<'_> = &|seen| seen.bulk.and_then(|_| seen.cpus().0);
        let generator: Quantity<'_> = &|seen| seen.bulk.map(|_| seen.cpus().1);
        let quantities: &[(&str, Quantity<'_>)] = &[("server", server), ("generator", generator)];
        let series = lines(systems, connections, quantities, Drawn::Markers);
        let xs = distinct(systems, connections);
        plots.push(Plot {
            title: "CPU against connections".into(),
            about: "CPU of the server and of the load generator against connections that recover at a time.".into(),
            x: Axis {
                label: "Connections that recover at a time".into(),
                unit: Unit::Number,
                scale: Scale::fitting(&xs, Unit::Number, WIDE),
            },
            y: Axis {
                label: "Cores in use (CPU seconds a second)".into(),
                unit: Unit::Cores,
                scale: Scale::linear(values(&series).into_iter(), Unit::Cores),
            },
            series,
            note: Some("The mean over a storm with nothing beside it; of other runs the busiest interval.".into()),
        });
    } else {
        missing.push(needs(
            "throughput and CPU against connections",
            "bulk queries with different numbers of connections at a time",
            "sweep",
        ));
    }
    Section {
        title: "Throughput and CPU",
        about: "Bindings that bulk answers told in a second, all connections together, and the CPU that was used meanwhile.",
        plots,
        missing,
    }
}

/// Points with the same work and about the same number of bindings a query: what may be one line.
struct Alike<'a> {
    each: f64,
    work: &'a Work,
    scenario: &'a str,
    connections: Vec<f64>,
}

/// Those with the most different numbers of connections, the largest queries first.
fn alike<'a>(systems: &'a [System<'_>]) -> Vec<Alike<'a>> {
    let mut all: Vec<Alike<'a>> = Vec::new();
    for seen in systems.iter().flat_map(|system| &system.observations) {
        let Some(bulk) = seen.bulk else {
            continue;
        };
        let known = all
            .iter_mut()
            .find(|known| *known.work == seen.work && is_close(known.each, bulk.each));
        match known {
            Some(known) if known.connections.contains(&bulk.connections) => {}
            Some(known) => known.connections.push(bulk.connections),
            None => all.push(Alike {
                each: bulk.each,
                work: &seen.work,
                scenario: &seen.result.name,
                connections: vec![bulk.connections],
            }),
        }
    }
    all.sort_by(|one, other| {
        let numbers = other.connections.len().cmp(&one.connections.len());
        numbers.then(other.each.total_cmp(&one.each))
    });
    all.truncate(FACETS);
    all
}

impl Alike<'_> {
    fn name(&self, among: &[Self]) -> String {
        let mut name = format!("{} bindings each", count(self.each.round()));
        if among.iter().any(|other| other.work != self.work) {
            name.push_str(&format!(", {}{}", self.scenario, self.work.rates()));
        }
        name
    }
}

fn throughput_plot(systems: &[System<'_>], models: &[Models]) -> Plot {
    let mut series = Vec::new();
    let all = alike(systems);
    for (number, alike) in all.iter().enumerate() {
        let here = |seen: &Observation<'_>| {
            seen.bulk
                .filter(|bulk| is_close(bulk.each, alike.each) && seen.work == *alike.work)
        };
        let name = alike.name(&all);
        let x: Quantity<'_> = &|seen| Some(here(seen)?.connections);
        let y: Quantity<'_> = &|seen| Some(here(seen)?.bindings_per_second);
        for mut line in lines(systems, x, &[(name.as_str(), y)], Drawn::Line) {
            line.shape = number;
            line.colour = if systems.len() == 1 {
                number
            } else {
                line.colour
            };
            series.push(line);
        }
    }
    let xs: Vec<f64> = series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.0))
        .collect();
    if let ([models], Some((from, to))) = (models, ends(&xs))
        && let Ok(Throughput {
            law,
            connections: range,
            ..
        }) = &models.throughput
    {
        let points = steps(from.max(range.from), to.min(range.to))
            .map(|x| (x, law.at(x)))
            .collect();
        series.push(Series {
            name: "scalability law".into(),
            points,
            colour: 5,
            shape: 0,
            drawn: Drawn::Model,
        });
    }
    Plot {
        title: "Throughput against connections".into(),
        about: "Bindings told a second against connections that recover at a time; a line for each number of bindings a query and each kind of work.".into(),
        x: Axis { label: "Connections that recover at a time".into(), unit: Unit::Number, scale: Scale::fitting(&xs, Unit::Number, WIDE) },
        y: Axis { label: "Bindings a second".into(), unit: Unit::Rate, scale: Scale::linear(values(&series).into_iter(), Unit::Rate) },
        series,
        note: law_note(models),
    }
}

/// Which of the lines the law is of, or why there is none.
fn law_note(models: &[Models]) -> Option<String> {
    let [models] = models else {
        return None;
    };
    Some(match &models.throughput {
        Ok(throughput) => format!(
            "The law is that of about {} bindings a query; {}.",
            count(throughput.each.round()),
            throughput.work
        ),
        Err(why) => format!("No scalability law is drawn. {why}"),
    })
}

/// Memory against bindings and against connections.
pub fn memory(systems: &[System<'_>]) -> Section {
    let resident: Quantity<'_> = &|seen| Some(seen.point.server?.resident_peak as f64);
    let anonymous: Quantity<'_> = &|seen| Some(seen.point.server?.anonymous_peak as f64);
    let quantities: &[(&str, Quantity<'_>)] =
        &[("resident", resident), ("beside mapped files", anonymous)];
    let bindings: Quantity<'_> = &|seen| seen.point.server.map(|_| seen.point.bindings as f64);
    let connections: Quantity<'_> = &|seen| seen.point.server.map(|_| seen.connections);
    let mut plots = Vec::new();
    let mut missing = Vec::new();
    for (x, label, title) in [
        (bindings, "Bindings stored", "Memory against bindings"),
        (
            connections,
            "Connections at a time",
            "Memory against connections",
        ),
    ] {
        let xs = distinct(systems, x);
        if xs.len() < 2 {
            missing.push(needs(
                &title.to_lowercase(),
                "a local server at points that differ in it",
                "sweep",
            ));
            continue;
        }
        let series = lines(systems, x, quantities, Drawn::Markers);
        plots.push(Plot {
            title: title.into(),
            about: format!("{title} of the server: the most that was resident in each run, all of it and without mapped files."),
            x: Axis { label: label.into(), unit: Unit::Number, scale: Scale::fitting(&xs, Unit::Number, WIDE) },
            y: Axis { label: "Memory of the server, peak".into(), unit: Unit::Octets, scale: Scale::fitting(&values(&series), Unit::Octets, WIDE) },
            series,
            note: None,
        });
    }
    Section {
        title: "Memory",
        about: "The most memory of the server in each run. Resident memory counts pages of mapped files, which the kernel may drop \
                when it needs room; memory beside mapped files it cannot. One marker a run: runs with the same abscissa differ in the other quantity.",
        plots,
        missing,
    }
}

/// What is missing, what it takes, and the scenario that gives it.
pub fn needs(what: &str, takes: &str, scenario: &str) -> String {
    format!(
        "Not shown: {what}. It takes {takes}; the scenario \u{201c}{scenario}\u{201d} gives that."
    )
}
