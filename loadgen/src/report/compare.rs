//! Systems side by side: the same points of the same scenarios, measured on each.

use std::collections::{BTreeMap, BTreeSet};

use super::html::Html;
use super::number::{Unit, count, percent, times};
use super::observe::{Observation, Scope};
use super::plots::percentiles;
use super::surroundings::facts;
use super::systems::{System, key};
use super::table::{Align, Cell, Table};
use crate::measure::Times;
use crate::scenario::Scenario;

/// Differences up to this share are none.
const SAME: f64 = 0.03;
/// Points whose percentiles are drawn, of each kind of time: the largest.
const DRAWN: usize = 2;
/// Settings that differ which are told, of each scenario.
const SETTINGS: usize = 12;

/// Times of an observation, if it has any of them.
type TimesOf = for<'a> fn(&'a Observation<'_>) -> Option<&'a Times>;

/// What took time, and what its longest time is called.
const KINDS: [(&str, &str, TimesOf); 4] = [
    ("recovery", "slowest", |seen| some(&seen.total.recovery)),
    ("propagation, own bindings", "longest", |seen| {
        seen.propagation(Scope::Own)
    }),
    ("propagation, everything", "longest", |seen| {
        seen.propagation(Scope::Everything)
    }),
    ("UDP", "longest", |seen| some(&seen.total.udp)),
];

fn some(times: &Times) -> Option<&Times> {
    (!times.is_empty()).then_some(times)
}

/// A figure that is compared.
struct Figure {
    name: String,
    unit: Unit,
    more_is_better: bool,
    value: f64,
}

/// All figures of a point.
fn figures(seen: &Observation<'_>) -> Vec<Figure> {
    let less = |name: String, unit, value| Figure {
        name,
        unit,
        more_is_better: false,
        value,
    };
    let mut all = Vec::new();
    for (name, longest, times) in KINDS {
        let Some(times) = times(seen) else {
            continue;
        };
        for (of, share) in [("median", 0.5), ("99\u{a0}%", 0.99), (longest, 1.0)] {
            let name = format!("{name}, {of}");
            all.push(less(name, Unit::Seconds, times.quantile(share)));
        }
    }
    all.extend(seen.bulk.map(|bulk| Figure {
        name: "bindings told".into(),
        unit: Unit::Rate,
        more_is_better: true,
        value: bulk.bindings_per_second,
    }));
    if let Some(server) = seen.point.server {
        let memory = |name: &str, octets: u64| less(name.into(), Unit::Octets, octets as f64);
        all.extend([
            less(
                "CPU of the server".into(),
                Unit::Seconds,
                server.cpu_seconds,
            ),
            memory("memory, peak", server.resident_peak),
            memory("memory beside mapped files", server.anonymous_peak),
        ]);
    }
    all
}

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
            settings(&pairs, html);
            html.paragraph(&format!(
                "Better and worse: by more than {}. That is no measure of chance: repeat runs, and see what two of the same server \
                 differ by.",
                percent(SAME)
            ));
            for pair in &pairs {
                table(first, other, *pair).write(html);
            }
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

/// What of their scenarios is different.
fn settings(pairs: &[Pair<'_, '_>], html: &mut Html) {
    let mut told: Vec<String> = Vec::new();
    for (one, two) in pairs {
        let (here, there) = (keys(&one.result.scenario), keys(&two.result.scenario));
        let all: BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let different = all
            .into_iter()
            .filter(|key| here.get(*key) != there.get(*key));
        let texts = different.take(SETTINGS).map(|key| {
            let of = |keys: &BTreeMap<String, String>| {
                keys.get(key).map_or("not set".to_owned(), Clone::clone)
            };
            format!(
                "{}, {key}: {} against {}",
                one.result.name,
                of(&there),
                of(&here)
            )
        });
        for text in texts {
            // Points of one sweep have the same scenario.
            if !told.contains(&text) {
                told.push(text);
            }
        }
    }
    if !told.is_empty() {
        html.paragraph("What was set differently:");
        html.element("ul", &[], |html| {
            told.iter().for_each(|text| html.leaf("li", &[], text))
        });
    }
}

/// A scenario as its keys in dotted form, each with its value as it is written.
fn keys(scenario: &Scenario) -> BTreeMap<String, String> {
    fn flatten(name: &str, value: &toml::Value, into: &mut BTreeMap<String, String>) {
        let below = |key: &str| match name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        };
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    flatten(&below(key), value, into);
                }
            }
            toml::Value::Array(values) if values.iter().any(toml::Value::is_table) => {
                for (number, value) in values.iter().enumerate() {
                    let named = value.get("name").and_then(toml::Value::as_str);
                    let key = named.map_or_else(|| number.to_string(), str::to_owned);
                    flatten(&below(&key), value, into);
                }
            }
            value => {
                into.insert(name.to_owned(), value.to_string());
            }
        }
    }
    let mut all = BTreeMap::new();
    if let Ok(value) = toml::Value::try_from(scenario) {
        flatten("", &value, &mut all);
    }
    all
}

fn table(first: &System<'_>, other: &System<'_>, (one, two): Pair<'_, '_>) -> Table {
    let of_both =
        [first.name.as_str(), &other.name, "Ratio"].map(|title| (title.to_owned(), Align::Number));
    let mut columns = vec![("Measure".to_owned(), Align::Text)];
    columns.extend(of_both);
    columns.push(("Verdict".to_owned(), Align::Text));
    let title = format!(
        "{}. Ratio: the second figure divided by the first",
        point_name(one)
    );
    let mut table = Table::with_columns(&title, columns);
    let theirs = figures(two);
    for figure in figures(one) {
        let Some(there) = theirs.iter().find(|their| their.name == figure.name) else {
            continue;
        };
        let (here, there) = (figure.value, there.value);
        let (class, word) = verdict(here, there, figure.more_is_better);
        table.row(vec![
            Cell::from(figure.name).heading(),
            figure.unit.exact(here).into(),
            figure.unit.exact(there).into(),
            times(there / here).into(),
            Cell::from(word).class(class),
        ]);
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
        ratio if (ratio - 1.0).abs() <= SAME => ("", "the\u{a0}same"),
        ratio if (ratio > 1.0) == more_is_better => ("good", "\u{2713}\u{a0}better"),
        _ => ("bad", "\u{2717}\u{a0}worse"),
    }
}

fn overlays(first: &System<'_>, other: &System<'_>, pairs: &[Pair<'_, '_>], html: &mut Html) {
    let mut largest: Vec<&Pair<'_, '_>> = pairs.iter().collect();
    largest.sort_by(|one, other| {
        let size = |pair: &Pair<'_, '_>| {
            let point = pair.0.point;
            point.bindings as f64 + point.changes_per_second + point.udp_per_second
        };
        size(other).total_cmp(&size(one))
    });
    let mut plots = Vec::new();
    for (name, _, times) in KINDS {
        let of_kind = largest.iter().filter_map(|(one, two)| {
            let curves = [
                (first.name.as_str(), times(one)?),
                (other.name.as_str(), times(two)?),
            ];
            let title = format!("{}, {}", capital(name), point_name(one));
            percentiles(title, "Share of all", &curves, None)
        });
        plots.extend(of_kind.take(DRAWN));
    }
    html.element("div", &[("class", "plots")], |html| {
        plots.iter().for_each(|plot| plot.write(html));
    });
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.clone()).collect()
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
        assert_eq!(word(1.0, 1.02, false), "the\u{a0}same");
        assert_eq!((word(0.0, 1.0, true), word(0.0, 0.0, true)), ("", ""));
    }
}
