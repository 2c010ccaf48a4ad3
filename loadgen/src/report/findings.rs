//! What was required and found, and what servers did wrong.

use super::html::Html;
use super::number::count;
use super::systems::System;
use super::table::{Align, Cell, Table};

/// Faults that are told whole, of each result.
const FAULTS: usize = 50;

/// Writes findings and faults; nothing if there are none of a kind.
pub fn write(systems: &[System<'_>], html: &mut Html) {
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Findings and faults");
        let findings = findings(systems);
        match findings.is_empty() {
            true => html.leaf(
                "p",
                &[("class", "missing")],
                "Not shown: limits and timeouts. The scenarios \u{201c}limits\u{201d} and \u{201c}timeouts\u{201d} find and validate them.",
            ),
            false => findings.write(html),
        }
        let (kinds, faults) = (kinds(systems), faults(systems));
        if kinds.is_empty() {
            html.leaf("p", &[("class", "good")], "\u{2713} No faults: no relay was told anything wrong.");
            return;
        }
        kinds.write(html);
        faults.write(html);
    });
}

fn findings(systems: &[System<'_>]) -> Table {
    let mut table = Table::new(
        "What was expected, and what was found",
        [
            ("Result", Align::Text),
            ("What", Align::Text),
            ("Expected", Align::Text),
            ("Found", Align::Text),
            ("", Align::Text),
        ],
    );
    for (file, result) in systems.iter().flat_map(|system| &system.results) {
        table.body();
        for finding in result.points.iter().flat_map(|point| &point.findings) {
            let holds = match finding.holds {
                true if !finding.is_tested() => Cell::from("\u{2013} not tested"),
                true => Cell::from("\u{2713} holds").class("good"),
                false => Cell::from("\u{2717} does not").class("bad"),
            };
            table.row(vec![
                (*file).into(),
                Cell::from(finding.what.as_str()).heading(),
                finding.expected.as_str().into(),
                finding.found.as_str().into(),
                holds,
            ]);
        }
    }
    table
}

fn kinds(systems: &[System<'_>]) -> Table {
    let mut table = Table::new(
        "Faults by kind",
        [
            ("Result", Align::Text),
            ("Point", Align::Number),
            ("Kind", Align::Text),
            ("Faults", Align::Number),
        ],
    );
    for (file, result) in systems.iter().flat_map(|system| &system.results) {
        for (index, point) in result.points.iter().enumerate() {
            for (kind, faults) in &point.faults {
                table.row(vec![
                    (*file).into(),
                    count((index + 1) as f64).into(),
                    kind.name().into(),
                    Cell::from(count(*faults as f64)).class("bad"),
                ]);
            }
        }
    }
    table
}

fn faults(systems: &[System<'_>]) -> Table {
    let mut table = Table::new(
        "The first faults",
        [
            ("Result", Align::Text),
            ("Kind", Align::Text),
            ("Group", Align::Text),
            ("Relay", Align::Number),
            ("Query", Align::Text),
            ("What was wrong", Align::Wide),
            ("Octets", Align::Wide),
        ],
    );
    for (file, result) in systems.iter().flat_map(|system| &system.results) {
        for fault in result
            .points
            .iter()
            .flat_map(|point| &point.first_faults)
            .take(FAULTS)
        {
            table.row(vec![
                (*file).into(),
                fault.kind.name().into(),
                fault.group.as_str().into(),
                fault.relay.to_string().into(),
                fault.query.as_str().into(),
                fault.text.as_str().into(),
                Cell::from(fault.octets.as_str()).class("octets"),
            ]);
        }
    }
    table
}
