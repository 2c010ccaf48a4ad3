//! Latencies: of changes until relays are told, and of UDP queries.

use std::borrow::Cow;

use super::scaling::needs;
use super::{Quantity, Section, distinct, lines, values};
use crate::measure::Times;
use crate::report::number::{Unit, short};
use crate::report::observe::Observation;
use crate::report::plot::{Axis, Drawn, Plot, Series};
use crate::report::scale::Scale;
use crate::report::systems::System;

/// A curve of a plot of percentiles: its name and its times.
pub type Stage<'a> = (&'a str, &'a Times);

/// Curves of one plot.
const CURVES: usize = 6;

/// From a change's acknowledgement to its message.
pub fn propagation(systems: &[System<'_>]) -> Section {
    let rate: Quantity<'_> = &|seen| {
        Some(seen.point.changes_per_second)
            .filter(|rate| *rate > 0.0 && !seen.total.propagation.is_empty())
    };
    let by = Rated {
        title: "Propagation",
        rate,
        label: "Changes a second",
        times: |seen| &seen.total.propagation,
        of: "Share of the messages",
    };
    let mut missing = Vec::new();
    let mut plots: Vec<Plot> = by.percentiles(systems).into_iter().collect();
    if plots.is_empty() {
        missing.push(needs(
            "propagation of changes",
            "relays that follow while changes are driven through the feed",
            "mixed",
        ));
    }
    match by.against_rate(systems) {
        Some(plot) => plots.push(plot),
        None => missing.push(needs(
            "propagation against the rate of changes",
            "followers at different rates of changes",
            "sweep",
        )),
    }
    Section {
        title: "Propagation of changes",
        about: "From the moment at which the feed acknowledged a change as durable to its message at a relay; 0 where the relay was \
                told first, which the plots show as a microsecond.",
        plots,
        missing,
    }
}

/// Latency of queries over UDP.
pub fn udp(systems: &[System<'_>]) -> Section {
    let rate: Quantity<'_> = &|seen| {
        Some(seen.point.udp_per_second).filter(|rate| *rate > 0.0 && !seen.total.udp.is_empty())
    };
    let by = Rated {
        title: "UDP latency",
        rate,
        label: "Queries a second",
        times: |seen| &seen.total.udp,
        of: "Share of the queries",
    };
    let mut missing = Vec::new();
    let mut plots: Vec<Plot> = by.percentiles(systems).into_iter().collect();
    if plots.is_empty() {
        missing.push(needs("UDP latency", "a group that asks over UDP", "steady"));
    }
    match by.against_rate(systems) {
        Some(plot) => plots.push(plot),
        None => missing.push(needs(
            "UDP latency against rate",
            "UDP queries at different fixed rates (sweep.udp-rate)",
            "sweep",
        )),
    }
    Section {
        title: "Single queries over UDP",
        about: "From the moment at which a query was due to its answer, retransmissions included. At a fixed rate a query is due \
                whether or not the one before it was answered, so that waiting behind a slow server counts (no coordinated omission).",
        plots,
        missing,
    }
}

/// A latency that depends on a rate.
struct Rated<'q> {
    title: &'static str,
    rate: Quantity<'q>,
    label: &'static str,
    times: for<'a> fn(&'a Observation<'_>) -> &'a Times,
    of: &'static str,
}

impl Rated<'_> {
    /// Percentiles: of each rate, or of each system at its highest one.
    fn percentiles(&self, systems: &[System<'_>]) -> Option<Plot> {
        let mut named: Vec<(String, &Times)> = Vec::new();
        for system in systems {
            let mut seen: Vec<_> = system
                .observations
                .iter()
                .filter(|seen| !(self.times)(seen).is_empty())
                .collect();
            seen.sort_by(|one, other| {
                let rate = |seen: &Observation<'_>| (self.rate)(seen).unwrap_or_default();
                rate(other).total_cmp(&rate(one))
            });
            let of_each = match systems.len() {
                1 => CURVES,
                _ => 1,
            };
            for seen in seen.into_iter().take(of_each) {
                let at: Cow<'_, str> = match (self.rate)(seen) {
                    Some(rate) => format!("{}/s, {}", short(rate), seen.result.name).into(),
                    None => seen.result.name.as_str().into(),
                };
                let name = match systems.len() {
                    1 => at.into_owned(),
                    _ => format!("{}, {at}", system.name),
                };
                // Of points that differ in something else one is enough: the one with the most times.
                let times = (self.times)(seen);
                match named.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) if known.count() >= times.count() => {}
                    Some((_, known)) => *known = times,
                    None => named.push((name, times)),
                }
            }
        }
        let curves: Vec<Stage<'_>> = named
            .iter()
            .take(CURVES)
            .map(|(name, times)| (name.as_str(), *times))
            .collect();
        percentile_plot(
            format!("{} by percentile", self.title),
            self.of,
            &curves,
            None,
        )
    }

    fn against_rate(&self, systems: &[System<'_>]) -> Option<Plot> {
        let xs = distinct(systems, self.rate);
        if xs.len() < 2 {
            return None;
        }
        let times = self.times;
        let at = |share: f64| {
            move |seen: &Observation<'_>| {
                Some(times(seen))
                    .filter(|times| !times.is_empty())
                    .map(|times| times.quantile(share))
            }
        };
        let (p999, p99, median) = (at(0.999), at(0.99), at(0.5));
        let quantities: &[(&str, Quantity<'_>)] = match systems.len() {
            1 => &[("99.9 %", &p999), ("99 %", &p99), ("median", &median)],
            _ => &[("99 %", &p99), ("median", &median)],
        };
        let series = lines(systems, self.rate, quantities, Drawn::Line);
        Some(Plot {
            title: format!("{} against rate", self.title),
            about: format!(
                "{}: percentiles against {}.",
                self.title,
                self.label.to_lowercase()
            ),
            x: Axis {
                label: self.label.into(),
                unit: Unit::Number,
                scale: Scale::fitting(&xs, Unit::Number, 12.0),
            },
            y: Axis {
                label: "Time".into(),
                unit: Unit::Seconds,
                scale: Scale::fitting(&values(&series), Unit::Seconds, 12.0),
            },
            series,
            note: None,
        })
    }
}

/// A plot of percentiles with equal room for each further nine. `None` if there are no times.
pub fn percentile_plot(
    title: String,
    of: &str,
    curves: &[Stage<'_>],
    note: Option<String>,
) -> Option<Plot> {
    let series: Vec<Series> = curves
        .iter()
        .filter(|(_, times)| !times.is_empty())
        .enumerate()
        .map(|(number, (name, times))| Series {
            name: (*name).into(),
            points: percentiles(times),
            colour: number,
            shape: number,
            drawn: Drawn::Line,
        })
        .collect();
    let last = series
        .iter()
        .filter_map(|series| series.points.last())
        .map(|point| point.0)
        .fold(0.9, f64::max);
    let scale = Scale::log(values(&series).into_iter());
    (!series.is_empty()).then(|| Plot {
        about: format!("{title}: the time that a share of all does not exceed, with equal room for each further nine."),
        title,
        x: Axis { label: of.into(), unit: Unit::Share, scale: Scale::Percentile(last) },
        y: Axis { label: "Time, at most".into(), unit: Unit::Seconds, scale },
        series,
        note,
    })
}

/// Times at shares from 0 on: tenths, then tenths of what remains, as far as there are times to tell them apart.
#[must_use]
pub fn percentiles(times: &Times) -> Vec<(f64, f64)> {
    let count = times.count().max(1) as f64;
    let shares = (0..8).flat_map(|decade: i32| {
        let rest = 10_f64.powi(-decade);
        (0..9_u8).map(move |tenth| 1.0 - rest + rest * f64::from(tenth) / 10.0)
    });
    shares
        .take_while(|share| (1.0 - share) * count >= 0.999)
        .map(|share| ((share * 1e9).round() / 1e9, times.quantile(share)))
        .collect()
}
