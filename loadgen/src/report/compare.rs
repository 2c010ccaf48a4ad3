//! Systems side by side: the same points of the same scenarios, measured on each.

use super::html::Html;
use super::number::{Unit, count, times};
use super::observe::Observation;
use super::plots::percentiles;
use super::surroundings::facts;
use super::systems::{System, key};
use super::table::{Align, Cell, Table};
use crate::measure::Times;

/// Differences up to this share are none.
const SAME: f64 = 0.03;
/// Points whose percentiles are drawn, of each kind of time: the largest.
const DRAWN: usize = 2;

/// What is compared: its name, unit, whether more of it is better, and the figure.
struct Measure {
    name: &'static str,
    unit: Unit,
    more_is_better: bool,
    of: fn(&Observation<'_>) -> Option<f64>,
}

fn quantile(times: &Times, share: f64) -> Option<f64> {
    (!times.is_empty()).then(|| times.quantile(share))
}

const MEASURES: &[Measure] = &[
    Measure {
        name: "recovery, median",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.recovery, 0.5),
    },
    Measure {
        name: "recovery, 99 %",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.recovery, 0.99),
    },
    Measure {
        name: "recovery, slowest",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.recovery, 1.0),
    },
    Measure {
        name: "bindings told",
        unit: Unit::Rate,
        more_is_better: true,
        of: |seen| Some(seen.bulk?.bindings_per_second),
    },
    Measure {
        name: "propagation, median",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.propagation, 0.5),
    },
    Measure {
        name: "propagation, 99 %",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.propagation, 0.99),
    },
    Measure {
        name: "UDP, median",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.udp, 0.5),
    },
    Measure {
        name: "UDP, 99 %",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| quantile(&seen.total.udp, 0.99),
    },
    Measure {
        name: "CPU of the server",
        unit: Unit::Seconds,
        more_is_better: false,
        of: |seen| Some(seen.point.server?.cpu_seconds),
    },
    Measure {
        name: "memory, peak",
        unit: Unit::Octets,
        more_is_better: false,
        of: |seen| Some(seen.point.server?.resident_peak as f64),
    },
    Measure {
        name: "memory beside mapped files",
        unit: Unit::Octets,
        more_is_better: false,
        of: |seen| Some(seen.point.server?.anonymous_peak as f64),
    },
];

/// Writes the comparison of each system with the first one; nothing if there is only one.
pub fn write(systems: &[System<'_>], html: &mut Html) {
    let Some((first, others)) = systems
        .split_first()
        .filter(|(_, others)| !others.is_empty())
    else {
        return;
    };
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Side by side");
        for other in others {
            html.leaf("h3", &[], &format!("{} against {}", other.name, first.name));
            differences(first, other, html);
            let pairs = pairs(first, other);
            if pairs.is_empty() {
                html.leaf(
                    "p",
                    &[("class", "missing")],
                    "They have no point in common (same scenario, relays, bindings, changes and UDP rate); their figures stand \
                     one after the other in the other parts.",
                );
                continue;
            }
            table(first, other, &pairs).write(html);
            overlays(first, other, &pairs, html);
        }
    });
}

type Pair<'a, 'b> = (&'b Observation<'a>, &'b Observation<'a>);

fn pairs<'a, 'b>(first: &'b System<'a>, other: &'b System<'a>) -> Vec<Pair<'a, 'b>> {
    let same = |one: &Observation<'_>, two: &Observation<'_>| {
        key(one.result, one.point) == key(two.result, two.point)
    };
    first
        .observations
        .iter()
        .filter_map(|one| Some((one, other.observations.iter().find(|two| same(one, two))?)))
        .collect()
}

fn differences(first: &System<'_>, other: &System<'_>, html: &mut Html) {
    let (Some(here), Some(there)) = (first.environment(), other.environment()) else {
        return;
    };
    let different: Vec<String> = facts(here)
        .into_iter()
        .zip(facts(there))
        .filter(|(one, two)| one.1 != two.1)
        .map(|(one, two)| format!("{}: {} against {}", one.0, two.1, one.1))
        .collect();
    match different.is_empty() {
        true => html.paragraph("Both ran in the same environment, as far as it is known."),
        false => {
            html.paragraph("What is different beside the figures:");
            html.element("ul", &[], |html| {
                different.iter().for_each(|text| html.leaf("li", &[], text))
            });
        }
    }
}

fn table(first: &System<'_>, other: &System<'_>, pairs: &[Pair<'_, '_>]) -> Table {
    let columns = ["Point", "Measure"]
        .map(|title| (title.to_owned(), Align::Text))
        .into_iter();
    let figures =
        [first.name.as_str(), &other.name, "Ratio"].map(|title| (title.to_owned(), Align::Number));
    let mut table = Table::with_columns(
        "The same points. Ratio: the second figure divided by the first",
        columns
            .chain(figures)
            .chain([(String::new(), Align::Text)])
            .collect(),
    );
    for (one, two) in pairs {
        table.body();
        let both: Vec<(&Measure, f64, f64)> = MEASURES
            .iter()
            .filter_map(|measure| Some((measure, (measure.of)(one)?, (measure.of)(two)?)))
            .collect();
        for (index, (measure, here, there)) in both.iter().enumerate() {
            let mut row = Vec::new();
            if index == 0 {
                row.push(Cell::from(point_name(one)).rows(both.len()).heading());
            }
            let (class, word) = verdict(*here, *there, measure.more_is_better);
            row.extend([
                measure.name.into(),
                measure.unit.exact(*here).into(),
                measure.unit.exact(*there).into(),
                times(there / here).into(),
                Cell::from(word).class(class),
            ]);
            table.row(row);
        }
    }
    table
}

fn point_name(seen: &Observation<'_>) -> String {
    let point = seen.point;
    let mut name = format!(
        "{}: {} relays, {} bindings",
        seen.result.name,
        count(f64::from(point.relays)),
        count(point.bindings as f64)
    );
    if point.changes_per_second > 0.0 {
        name.push_str(&format!(", {} changes/s", count(point.changes_per_second)));
    }
    if point.udp_per_second > 0.0 {
        name.push_str(&format!(", {} UDP queries/s", count(point.udp_per_second)));
    }
    name
}

/// In words, with a class of the style.
fn verdict(first: f64, other: f64, more_is_better: bool) -> (&'static str, &'static str) {
    match other / first {
        ratio if !ratio.is_finite() => ("", ""),
        ratio if (ratio - 1.0).abs() <= SAME => ("", "the same"),
        ratio if (ratio > 1.0) == more_is_better => ("good", "\u{2713} better"),
        _ => ("bad", "\u{2717} worse"),
    }
}

/// Times of an observation.
type TimesOf = for<'a> fn(&'a Observation<'_>) -> &'a Times;

fn overlays(first: &System<'_>, other: &System<'_>, pairs: &[Pair<'_, '_>], html: &mut Html) {
    let kinds: [(&str, TimesOf); 3] = [
        ("Recovery", |seen| &seen.total.recovery),
        ("Propagation", |seen| &seen.total.propagation),
        ("UDP latency", |seen| &seen.total.udp),
    ];
    let mut largest: Vec<&Pair<'_, '_>> = pairs.iter().collect();
    largest.sort_by(|one, other| {
        let size = |pair: &Pair<'_, '_>| {
            let point = pair.0.point;
            point.bindings as f64 + point.changes_per_second + point.udp_per_second
        };
        size(other).total_cmp(&size(one))
    });
    let mut plots = Vec::new();
    for (name, times) in &kinds {
        let of_kind = largest.iter().filter_map(|(one, two)| {
            let curves = [
                (first.name.as_str(), times(one)),
                (other.name.as_str(), times(two)),
            ];
            let both = curves.iter().all(|(_, times)| !times.is_empty());
            both.then(|| {
                percentiles(
                    format!("{name}, {}", point_name(one)),
                    "Share of all",
                    &curves,
                    None,
                )
            })?
        });
        plots.extend(of_kind.take(DRAWN));
    }
    html.element("div", &[("class", "plots")], |html| {
        plots.iter().for_each(|plot| plot.write(html));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_and_worse_know_their_direction() {
        let word = |first, other, more| {
            verdict(first, other, more)
                .1
                .trim_start_matches(|c: char| !c.is_alphabetic())
        };
        assert_eq!(word(1.0, 2.0, false), "worse");
        assert_eq!(word(1.0, 2.0, true), "better");
        assert_eq!(word(1.0, 0.5, false), "better");
        assert_eq!(word(1.0, 1.02, false), "the same");
        assert_eq!((word(0.0, 1.0, true), word(0.0, 0.0, true)), ("", ""));
    }
}
