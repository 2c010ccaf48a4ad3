//! The answer at the top, in plain words: what was run, whether it was right, how long a site's relays wait, what is short first.

use super::capacity::Limit;
use super::html::Html;
use super::number::{count, elapsed, octets, seconds, short};
use super::plots::largest_storm;
use super::systems::System;
use super::table::{Align, Cell, Table};
use crate::measure::Count;
use crate::result::RunResult;
use crate::scenario::Kind;

/// Writes it.
pub fn write(systems: &[System<'_>], html: &mut Html) {
    html.element("section", &[("class", "verdict")], |html| {
        for system in systems {
            if systems.len() > 1 {
                html.leaf("h2", &[], &system.name);
            }
            answer(system, html);
        }
        runs(systems, html);
    });
}

fn answer(system: &System<'_>, html: &mut Html) {
    let Some((seen, storm)) =
        largest_storm(&system.observations).and_then(|seen| Some((seen, seen.storm.as_ref()?)))
    else {
        html.leaf(
            "p",
            &[("class", "missing")],
            "If this site loses power, how long until all relays have their routes back? These results have no storm, in which \
             all relays recover at once; the scenario \u{201c}storm\u{201d} tells it.",
        );
        return;
    };
    let missing = storm.relays - storm.recovery.count() as f64;
    let relays = match missing > 0.0 {
        true => format!(
            "{} of {} relays",
            count(storm.recovery.count() as f64),
            count(storm.relays)
        ),
        false => format!("All {} relays", count(storm.relays)),
    };
    html.leaf(
        "p",
        &[("class", "question")],
        "If this site loses power, how long until all relays have their routes back?",
    );
    html.leaf("p", &[("class", "answer")], &seconds(storm.seconds));
    let tls = if storm.is_tls { ", over TLS" } else { "" };
    html.paragraph(&format!(
        "{relays} with {} bindings each ({} told) recovered at once{tls}; half of them within {}, 99 of 100 within {}, the slowest within {}.",
        count(storm.each().round()),
        count(storm.bindings),
        seconds(storm.recovery.quantile(0.5)),
        seconds(storm.recovery.quantile(0.99)),
        seconds(storm.recovery.max()),
    ));
    if missing > 0.0 {
        html.leaf(
            "p",
            &[("class", "bad")],
            &format!("{} relays did not recover.", count(missing)),
        );
    }
    html.paragraph(&format!(
        "What held it up: {}.",
        Limit::of(system).sentence()
    ));
    if !seen.point.bottleneck.reasons.is_empty() {
        html.leaf(
            "p",
            &[("class", "bad")],
            "The load generator was a bottleneck in it: the server may be faster than these figures.",
        );
    }
    let mut facts = vec![("bindings a second", short(storm.bindings / storm.seconds))];
    facts.extend(seen.cpus().0.map(|cpus| {
        (
            "cores used by the server",
            super::number::significant(cpus, 2),
        )
    }));
    facts.extend(seen.point.server.map(|usage| {
        (
            "memory of the server, peak",
            octets(usage.resident_peak as f64),
        )
    }));
    facts.extend(
        seen.point
            .server_start
            .map(|start| ("from start to ready", seconds(start))),
    );
    html.element("dl", &[("class", "facts")], |html| {
        for (name, value) in facts {
            html.element("div", &[], |html| {
                html.leaf("dt", &[], name);
                html.leaf("dd", &[], &value);
            });
        }
    });
}

fn runs(systems: &[System<'_>], html: &mut Html) {
    let mut table = Table::new(
        "What was run",
        [
            ("Result", Align::Text),
            ("Scenario", Align::Text),
            ("Server", Align::Text),
            ("Began", Align::Text),
            ("Took", Align::Number),
            ("Points", Align::Number),
            ("Validation", Align::Wide),
        ],
    );
    for system in systems {
        for (file, result) in &system.results {
            let (class, verdict) = validation(result);
            table.row(vec![
                Cell::from(*file).heading(),
                result.name.as_str().into(),
                system.name.as_str().into(),
                result.started.as_str().into(),
                elapsed(result.seconds.max(0.0).round()).into(),
                count(result.points.len() as f64).into(),
                Cell::from(verdict).class(class),
            ]);
        }
    }
    table.write(html);
}

/// Whether a result was right, as a class of the style and in words.
fn validation(result: &RunResult) -> (&'static str, String) {
    let faults: u64 = result
        .points
        .iter()
        .flat_map(|point| point.faults.values())
        .sum();
    let wrong = result
        .points
        .iter()
        .flat_map(|point| &point.findings)
        .filter(|finding| !finding.holds)
        .count();
    let is_given = result.scenario.target.is_given();
    let checked = match (
        result.scenario.kind,
        is_given && result.scenario.target.expect.is_none(),
    ) {
        (Kind::Load, false) => "every answer was as the store holds it",
        (Kind::Load, true) => "every answer had the right form; its content was not compared",
        (Kind::Limits, _) => "every limit is as expected",
        (Kind::Timeouts, _) => "every timeout is as expected",
    };
    let (class, mut text) = match (result.is_valid(), result.points.is_empty()) {
        (_, true) => ("bad", "\u{2717} nothing was measured".to_owned()),
        (true, _) => ("good", format!("\u{2713} valid: {checked}")),
        (false, _) => (
            "bad",
            format!(
                "\u{2717} wrong: {}, {} not as expected",
                some(faults, "fault"),
                some(wrong as u64, "finding")
            ),
        ),
    };
    let told: u64 = result
        .points
        .iter()
        .map(|point| point.total().counted(Count::Bindings))
        .sum();
    if result.interrupted {
        text.push_str("; interrupted");
    }
    if told > 0 {
        text.push_str(&format!("; {} bindings checked", count(told as f64)));
    }
    (class, text)
}

fn some(number: u64, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", count(number as f64)),
    }
}
