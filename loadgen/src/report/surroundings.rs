//! Where results were measured, with which scenario, whether the generator itself held things up, and all points in figures.

use std::collections::BTreeMap;

use super::html::Html;
use super::number::{NONE, count, octets, percent, seconds, short, significant};
use super::systems::System;
use super::table::{Align, Cell, Table};
use crate::measure::{Count, Times};
use crate::result::{Environment, RunResult};

/// Facts of an environment: name and value.
#[must_use]
pub fn facts(environment: &Environment) -> Vec<(&'static str, String)> {
    let Environment {
        generator,
        server,
        kernel,
        cpu,
        cpus,
        memory,
        open_files,
        same_machine,
    } = environment;
    vec![
        ("Load generator", generator.clone()),
        (
            "Server",
            server
                .clone()
                .unwrap_or_else(|| "given, version not known".into()),
        ),
        ("Kernel", kernel.clone()),
        ("CPU", cpu.clone()),
        ("CPUs", count(f64::from(*cpus))),
        ("Memory", octets(*memory as f64)),
        ("Open files a process", count(*open_files as f64)),
        (
            "Server and generator",
            if *same_machine {
                "share the machine"
            } else {
                "have a machine each"
            }
            .into(),
        ),
    ]
}

/// Writes environments and scenarios.
pub fn write(systems: &[System<'_>], html: &mut Html) {
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Where and how it was measured");
        environments(systems, html);
        html.element("div", &[("class", "scenarios")], |html| {
            for (file, result) in systems.iter().flat_map(|system| &system.results) {
                scenario(file, result, html);
            }
        });
        html.leaf("h3", &[], "Did the generator hold things up?");
        bottlenecks(systems, html);
    });
}

fn environments(systems: &[System<'_>], html: &mut Html) {
    let mut columns = vec![("Fact".to_owned(), Align::Text)];
    columns.extend(
        systems
            .iter()
            .map(|system| (system.name.clone(), Align::Text)),
    );
    let mut table = Table::with_columns("Environment", columns);
    let mut all: Vec<Vec<(&str, String)>> = Vec::new();
    for system in systems {
        // Results of one system may differ in what does not set them apart, such as the generator's version.
        let mut merged: Vec<(&str, String)> = Vec::new();
        for (_, result) in &system.results {
            for (index, (name, value)) in facts(&result.environment).into_iter().enumerate() {
                match merged.get_mut(index) {
                    Some((_, known)) if known.split("; ").all(|known| known != value) => {
                        known.push_str(&format!("; {value}"))
                    }
                    Some(_) => {}
                    None => merged.push((name, value)),
                }
            }
        }
        all.push(merged);
    }
    for index in 0..all.first().map_or(0, Vec::len) {
        let mut row = vec![Cell::from(all[0][index].0).heading()];
        row.extend(
            all.iter()
                .map(|facts| Cell::from(facts.get(index).map_or("", |fact| fact.1.as_str()))),
        );
        table.row(row);
    }
    table.write(html);
}

fn scenario(file: &str, result: &RunResult, html: &mut Html) {
    html.element("details", &[], |html| {
        html.leaf(
            "summary",
            &[],
            &format!("Scenario of {file}: {}", result.name),
        );
        if !result.scenario.about.is_empty() {
            html.paragraph(&result.scenario.about);
        }
        match toml::to_string_pretty(&result.scenario) {
            Ok(text) => html.leaf("pre", &[("tabindex", "0")], text.trim_end()),
            Err(error) => html.paragraph(&format!("It cannot be written as TOML: {error}")),
        }
    });
}

fn bottlenecks(systems: &[System<'_>], html: &mut Html) {
    // Points with the same reason, but for its figures, are told once.
    let mut reasons: BTreeMap<String, Reason<'_>> = BTreeMap::new();
    let mut points = 0;
    for (file, result) in systems.iter().flat_map(|system| &system.results) {
        for (index, point) in result.points.iter().enumerate() {
            points += 1;
            for text in &point.bottleneck.reasons {
                let kind = text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
                let reason = reasons.entry(kind).or_default();
                reason.places.push(format!("{file} point {}", index + 1));
                let figure = first_number(text);
                if figure >= reason.figure {
                    (reason.figure, reason.worst) = (figure, text);
                }
            }
        }
    }
    if reasons.is_empty() {
        html.leaf(
            "p",
            &[("class", "good")],
            "\u{2713} No: at none of the points did it find a reason to think so.",
        );
        return;
    }
    html.paragraph(&format!(
        "Yes, or perhaps: what follows was found at some of the {points} points, whose figures then say more about the generator \
         than about the server. The server may be better than they are."
    ));
    html.element("ul", &[], |html| {
        for Reason { worst, places, .. } in reasons.values() {
            let at_worst = if places.len() > 1 { "at worst: " } else { "" };
            let mut text = format!(
                "{at_worst}{worst} \u{2014} {}",
                places[..places.len().min(6)].join(", ")
            );
            if places.len() > 6 {
                text.push_str(&format!(" and {} more", places.len() - 6));
            }
            html.leaf("li", &[], &text);
        }
    });
}

/// A reason to think that the generator held things up.
#[derive(Default)]
struct Reason<'a> {
    /// The largest figure that it was given with, and the text with that.
    figure: u64,
    worst: &'a str,
    /// Where it was given.
    places: Vec<String>,
}

/// The first number of a text, without decimals; 0 if it has none.
fn first_number(text: &str) -> u64 {
    let digits = text.split(|c: char| !c.is_ascii_digit());
    digits
        .filter_map(|digits| digits.parse().ok())
        .next()
        .unwrap_or_default()
}

/// Writes all points in figures.
pub fn points(systems: &[System<'_>], html: &mut Html) {
    let mut table = Table::new(
        "Every point. Times: median, 99 %, longest",
        [
            ("Scenario", Align::Text),
            ("Relays", Align::Number),
            ("Bindings", Align::Number),
            ("Changes/s", Align::Number),
            ("UDP/s", Align::Number),
            ("Recovery", Align::Number),
            ("Bindings/s", Align::Number),
            ("Propagation", Align::Number),
            ("UDP", Align::Number),
            ("Server CPU", Align::Number),
            ("Memory", Align::Number),
            ("Generator CPU", Align::Number),
            ("Late threads, 99 %", Align::Number),
            ("Machine", Align::Number),
        ],
    );
    for system in systems {
        table.body();
        for seen in &system.observations {
            let point = seen.point;
            let name = match systems.len() {
                1 => seen.result.name.clone(),
                _ => format!("{} ({})", seen.result.name, system.name),
            };
            let recovered = seen.total.counted(Count::Bindings) as f64;
            let rate = match (&seen.storm, seen.bulk) {
                (Some(storm), _) => short(recovered / storm.seconds),
                (None, Some(bulk)) => short(bulk.bindings_per_second),
                (None, None) => NONE.into(),
            };
            let generator = point.generator.cpu_seconds / point.seconds;
            let server_cpus = point.server.map(|usage| usage.cpu_seconds / point.seconds);
            table.row(vec![
                Cell::from(name).heading(),
                count(f64::from(point.relays)).into(),
                count(point.bindings as f64).into(),
                positive(point.changes_per_second).into(),
                positive(point.udp_per_second).into(),
                three(&seen.total.recovery).into(),
                rate.into(),
                three(&seen.total.propagation).into(),
                three(&seen.total.udp).into(),
                server_cpus
                    .map_or(NONE.into(), |cpus| significant(cpus, 2))
                    .into(),
                point
                    .server
                    .map_or(NONE.into(), |usage| octets(usage.resident_peak as f64))
                    .into(),
                significant(generator, 2).into(),
                seconds(point.bottleneck.scheduling.quantile(0.99)).into(),
                percent((point.bottleneck.machine * 100.0).round() / 100.0).into(),
            ]);
        }
    }
    if table.is_empty() {
        return;
    }
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "All points in figures");
        html.paragraph("CPU is in cores: CPU seconds a second, mean over the run. \u{201c}Machine\u{201d} is the share of all its CPUs' time that was used, by whomever.");
        table.write(html);
    });
}

fn positive(value: f64) -> String {
    match value > 0.0 {
        true => count(value),
        false => NONE.into(),
    }
}

fn three(times: &Times) -> String {
    match times.is_empty() {
        true => NONE.into(),
        false => [times.quantile(0.5), times.quantile(0.99), times.max()]
            .map(seconds)
            .join(" / "),
    }
}
