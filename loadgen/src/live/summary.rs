//! What came of a run, for people, on standard output.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::number;
use crate::measure::{Count, Measures, Times};
use crate::result::{Point, RunResult, Usage};

/// Faults that are shown; the result has more of them.
const SHOWN_FAULTS: usize = 10;

/// The summary of a run.
#[must_use]
pub fn of(result: &RunResult) -> String {
    let mut out = String::new();
    for (number, point) in result.points.iter().enumerate() {
        if result.points.len() > 1 {
            let _ = writeln!(out, "\nRun {} of {}:", number + 1, result.points.len());
        }
        of_point(point, &mut out);
    }
    let _ = writeln!(out, "\n{}", verdict(result));
    out
}

fn of_point(point: &Point, out: &mut String) {
    let _ = writeln!(
        out,
        "{} relays, {} bindings; {} at work",
        number::count(point.relays.into()),
        number::count(point.bindings as f64),
        number::seconds(point.seconds),
    );
    if !point.groups.is_empty() {
        for table in [times(point), counts(point)] {
            let _ = writeln!(out, "\n{table}");
        }
        out.push('\n');
    }
    if let Some(changes) = &point.changes {
        let _ = writeln!(
            out,
            "changes: {} submitted, {} acknowledged, p99 {}",
            changes.submitted,
            changes.acknowledged,
            number::seconds(changes.acknowledgement.quantile(0.99)),
        );
    }
    if let Some(server) = &point.server {
        let _ = writeln!(out, "server: {}", usage(server, point.seconds));
    }
    let _ = writeln!(out, "generator: {}", usage(&point.generator, point.seconds));
    for reason in &point.bottleneck.reasons {
        let _ = writeln!(out, "bottleneck: {reason}");
    }
    for finding in &point.findings {
        let (what, expected, found) = (&finding.what, &finding.expected, &finding.found);
        let _ = match (finding.is_tested(), finding.holds) {
            (false, _) => writeln!(out, "{what}: expected {expected}, {found}"),
            (true, true) => writeln!(out, "holds: {what}: expected {expected}, found {found}"),
            (true, false) => writeln!(out, "FAILS: {what}: expected {expected}, found {found}"),
        };
    }
    for fault in point.first_faults.iter().take(SHOWN_FAULTS) {
        let _ = writeln!(out, "FAULT {fault}");
    }
    if point.first_faults.len() > SHOWN_FAULTS {
        let all: u64 = point.faults.values().sum();
        let _ = writeln!(out, "... of {all} faults in all");
    }
}

fn times(point: &Point) -> Table {
    let mut table = table(&["group", "", "number", "p50", "p99", "longest"]);
    for group in &point.groups {
        let mut name = group.name.as_str();
        let Measures {
            connect,
            first_octet,
            recovery,
            catch_up,
            propagation,
            udp,
            udp_round_trip,
            ..
        } = &group.measures;
        for (what, times) in [
            ("connect", connect),
            ("first octet", first_octet),
            ("recovery", recovery),
            ("catch-up", catch_up),
            ("propagation", propagation),
            ("UDP from due time", udp),
            ("UDP round trip", udp_round_trip),
        ] {
            if !times.is_empty() {
                table.add_row(row(name, what, times));
                // Once is enough.
                name = "";
            }
        }
    }
    align(table, 2)
}

fn row(name: &str, what: &str, times: &Times) -> Vec<String> {
    vec![
        name.to_owned(),
        what.to_owned(),
        times.count().to_string(),
        number::seconds(times.quantile(0.5)),
        number::seconds(times.quantile(0.99)),
        number::seconds(times.max()),
    ]
}

fn counts(point: &Point) -> Table {
    let mut table = table(&[
        "group",
        "relays",
        "connections",
        "recoveries",
        "bindings",
        "messages",
        "UDP answers",
        "lost",
        "octets",
    ]);
    for group in &point.groups {
        let counted = |count| group.measures.counted(count);
        let lost =
            counted(Count::UdpLost) + counted(Count::LostConnections) + counted(Count::Refused);
        table.add_row(vec![
            group.name.clone(),
            group.relays.to_string(),
            counted(Count::Connections).to_string(),
            counted(Count::Recoveries).to_string(),
            counted(Count::Bindings).to_string(),
            counted(Count::StreamMessages).to_string(),
            counted(Count::UdpAnswers).to_string(),
            lost.to_string(),
            number::octets(counted(Count::Octets) as f64),
        ]);
    }
    align(table, 1)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Figures are aligned to the right, from this column on.
fn align(mut table: Table, from: usize) -> Table {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn usage(usage: &Usage, seconds: f64) -> String {
    format!(
        "{:.2} CPUs (at most {:.2}), {} resident ({} beside mapped files), {} open files at most",
        usage.cpu_seconds / seconds.max(1e-3),
        usage.peak_cpus,
        number::octets(usage.resident_peak as f64),
        number::octets(usage.anonymous_peak as f64),
        usage.open_files_peak,
    )
}

fn verdict(result: &RunResult) -> String {
    let mut faults = std::collections::BTreeMap::<&str, u64>::new();
    for (kind, count) in result.points.iter().flat_map(|point| &point.faults) {
        *faults.entry(kind.name()).or_default() += count;
    }
    let findings = result.points.iter().flat_map(|point| &point.findings);
    let failed = findings.filter(|finding| !finding.holds).count();
    let faults: Vec<_> = faults
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let mut verdict = match (faults.is_empty(), failed) {
        (true, 0) => "valid: no fault".to_owned(),
        (true, failed) => format!("NOT VALID: {failed} of what was expected does not hold"),
        (false, 0) => format!("NOT VALID: faults: {}", faults.join(", ")),
        (false, failed) => format!(
            "NOT VALID: faults: {}; {failed} of what was expected does not hold",
            faults.join(", ")
        ),
    };
    if result.interrupted {
        verdict += " (interrupted: this is what was measured until then)";
    }
    verdict
}
