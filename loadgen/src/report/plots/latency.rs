//! Latencies: of changes until relays are told, and of UDP queries.

use super::scaling::needs;
use super::{Section, values};
use crate::measure::Times;
use crate::report::number::{Unit, short};
use crate::report::observe::{Observation, Scope};
use crate::report::plot::{Axis, Drawn, Plot, Series};
use crate::report::scale::Scale;
use crate::report::systems::System;

/// A curve of a plot of percentiles: its name and its times.
pub type Stage<'a> = (&'a str, &'a Times);

/// Curves of one plot.
const CURVES: usize = 6;

/// From a change's acknowledgement to its message.
pub fn propagation(systems: &[System<'_>]) -> Section {
    let by = Rated {
        title: "Propagation",
        rate: |seen| seen.point.changes_per_second,
        label: "Changes a second",
        kinds: |seen| {
            let kinds = Scope::ALL.into_iter();
            kinds
                .filter_map(|scope| Some((scope.words(), seen.propagation(scope)?)))
                .collect()
        },
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
                told first, which the plots show as a microsecond. Streams of a relay\u{2019}s own bindings and streams of everything \
                are told apart, and so are scenarios.",
        plots,
        missing,
    }
}

/// Latency of queries over UDP.
pub fn udp(systems: &[System<'_>]) -> Section {
    let by = Rated {
        title: "UDP latency",
        rate: |seen| seen.point.udp_per_second,
        label: "Queries a second",
        kinds: |seen| vec![("", &seen.total.udp)],
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
struct Rated {
    title: &'static str,
    /// 0: it had none.
    rate: fn(&Observation<'_>) -> f64,
    label: &'static str,
    /// The times of a point, apart for each kind of what was asked.
    kinds: for<'a> fn(&'a Observation<'_>) -> Vec<(&'static str, &'a Times)>,
    of: &'static str,
}

/// Times of one kind in one scenario on one system, at their rates: what may be one line.
struct Kind<'a> {
    system: usize,
    scenario: &'a str,
    kind: &'static str,
    times: Vec<(f64, &'a Times)>,
}

impl Kind<'_> {
    /// What sets it apart.
    fn words(&self, systems: &[System<'_>]) -> String {
        let system = systems.get(self.system).filter(|_| systems.len() > 1);
        let parts = [
            system.map_or("", |system| system.name.as_str()),
            self.scenario,
            self.kind,
        ];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }

    /// Different rates that it was measured at.
    fn rates(&self) -> usize {
        let mut rates: Vec<f64> = self.times.iter().map(|(rate, _)| *rate).collect();
        rates.dedup();
        rates.len()
    }
}

impl Rated {
    /// All there is, in the order of the systems and of their results; times in the order of their rates.
    fn all<'a>(&self, systems: &'a [System<'_>]) -> Vec<Kind<'a>> {
        let mut all: Vec<Kind<'a>> = Vec::new();
        for (number, system) in systems.iter().enumerate() {
            for seen in &system.observations {
                for (kind, times) in (self.kinds)(seen) {
                    if times.is_empty() {
                        continue;
                    }
                    let scenario = seen.result.name.as_str();
                    let point = ((self.rate)(seen), times);
                    let known = all.iter_mut().find(|known| {
                        (known.system, known.scenario, known.kind) == (number, scenario, kind)
                    });
                    match known {
                        Some(known) => known.times.push(point),
                        None => all.push(Kind {
                            system: number,
                            scenario,
                            kind,
                            times: vec![point],
                        }),
                    }
                }
            }
        }
        for kind in &mut all {
            kind.times.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        all
    }

    /// Percentiles: of each rate, or of each kind of each system at its highest one.
    fn percentiles(&self, systems: &[System<'_>]) -> Option<Plot> {
        let mut named: Vec<(String, &Times)> = Vec::new();
        let of_each = match systems.len() {
            1 => CURVES,
            _ => 1,
        };
        let mut curves: Vec<(f64, usize, &Times)> = Vec::new();
        let all = self.all(systems);
        for (number, kind) in all.iter().enumerate() {
            // Of points that differ in something else one is enough: the one with the most times.
            let mut rates: Vec<(f64, &Times)> = Vec::new();
            for (rate, times) in &kind.times {
                match rates.last_mut() {
                    Some((known, _)) if known != rate => rates.push((*rate, times)),
                    Some((_, known)) if known.count() >= times.count() => {}
                    Some((_, known)) => *known = times,
                    None => rates.push((*rate, times)),
                }
            }
            let highest = rates.iter().rev().take(of_each);
            curves.extend(highest.map(|(rate, times)| (*rate, number, *times)));
        }
        curves.sort_by(|one, other| other.0.total_cmp(&one.0));
        for (rate, number, times) in curves.into_iter().take(CURVES) {
            let words = all[number].words(systems);
            let name = match rate > 0.0 {
                true => format!("{}/s, {words}", short(rate)),
                false => words,
            };
            named.push((name, times));
        }
        let curves: Vec<Stage<'_>> = named
            .iter()
            .map(|(name, times)| (name.as_str(), *times))
            .collect();
        percentile_plot(
            format!("{} by percentile", self.title),
            self.of,
            &curves,
            None,
        )
    }

    /// Percentiles against the rate: lines of their own for each kind and scenario. Those of one rate are no lines.
    fn against_rate(&self, systems: &[System<'_>]) -> Option<Plot> {
        let mut kinds = self.all(systems);
        for kind in &mut kinds {
            kind.times
                .retain(|(rate, _)| *rate > 0.0 && rate.is_finite());
        }
        kinds.retain(|kind| kind.rates() > 1);
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.rates()));
        kinds.truncate(CURVES);
        let shares: &[(&str, f64)] = match kinds.len() {
            0 => return None,
            1 => &[("99.9\u{a0}%", 0.999), ("99\u{a0}%", 0.99), ("median", 0.5)],
            2 | 3 => &[("99\u{a0}%", 0.99), ("median", 0.5)],
            _ => &[("99\u{a0}%", 0.99)],
        };
        let mut series = Vec::new();
        for (number, kind) in kinds.iter().enumerate() {
            for (shape, (share_name, share)) in shares.iter().enumerate() {
                let points = kind.times.iter();
                let (name, colour) = match kinds.len() {
                    1 => ((*share_name).to_owned(), shape),
                    _ => (format!("{share_name}, {}", kind.words(systems)), number),
                };
                series.push(Series {
                    name,
                    points: points
                        .map(|(rate, times)| (*rate, times.quantile(*share)))
                        .collect(),
                    colour,
                    shape,
                    drawn: Drawn::Line,
                });
            }
        }
        let xs: Vec<f64> = kinds
            .iter()
            .flat_map(|kind| kind.times.iter().map(|(rate, _)| *rate))
            .collect();
        let note = match &kinds[..] {
            [one] => Some(format!("Of {}.", one.words(systems))),
            _ => None,
        };
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
            note,
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
