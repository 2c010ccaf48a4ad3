//! Tables for planning: for so many relays, bindings and changes, how long, how many cores, how much memory, and what there
//! is not enough of first.

use super::html::Html;
use super::model::{Cpu, Model, Models, Standing};
use super::number::{NONE, Unit, count, octets, percent, seconds, significant};
use super::plots::largest_storm;
use super::systems::System;
use super::table::{Align, Cell, Table};
use crate::result::Environment;

const RELAYS: [f64; 5] = [1_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0];
const BINDINGS: [f64; 3] = [100.0, 1_000.0, 10_000.0];
const CHANGES: [f64; 3] = [100.0, 1_000.0, 10_000.0];
/// Files that a server has open beside its connections, generously.
const OTHER_FILES: f64 = 64.0;
const NOT_MEASURED: &str = "not measured";

/// Writes the tables of a system.
pub fn write(system: &System<'_>, models: &Models, html: &mut Html) {
    let Some(environment) = system.environment() else {
        return;
    };
    html.leaf("h3", &[], &system.name);
    if models.recovery.is_err() && models.cpu.is_err() && models.resident.is_err() {
        html.leaf(
            "p",
            &[("class", "missing")],
            "Not shown: capacity. There is no model to tell it by; the scenario \u{201c}sweep\u{201d} gives the points for one.",
        );
        return;
    }
    let planner = Planner {
        models,
        environment,
        limit: limit_of_recovery(system),
    };
    planner.storms().write(html);
    planner.unscoped().write(html);
}

struct Planner<'a> {
    models: &'a Models,
    environment: &'a Environment,
    /// What holds a recovery up where nothing is short.
    limit: String,
}

impl Planner<'_> {
    fn storms(&self) -> Table {
        let mut table = Table::new(
            "Recovery of all relays at once, and changes that go to the relay of their binding",
            [
                ("Relays", Align::Number),
                ("Bindings each", Align::Number),
                ("Recovery", Align::Number),
                ("Cores for 30\u{a0}s", Align::Number),
                ("Cores for 60\u{a0}s", Align::Number),
                ("Memory", Align::Number),
                ("Of it not mapped", Align::Number),
                ("Changes/s", Align::Number),
                ("Cores for changes", Align::Number),
                ("Saturates first", Align::Wide),
            ],
        );
        for relays in RELAYS {
            table.body();
            for (first, each) in BINDINGS.into_iter().enumerate() {
                for (second, changes) in CHANGES.into_iter().enumerate() {
                    let mut row = Vec::new();
                    if first == 0 && second == 0 {
                        row.push(
                            Cell::from(count(relays))
                                .rows(BINDINGS.len() * CHANGES.len())
                                .heading(),
                        );
                    }
                    if second == 0 {
                        row.push(Cell::from(count(each)).rows(CHANGES.len()).heading());
                        row.extend(
                            self.storm(relays, each)
                                .into_iter()
                                .map(|cell| cell.rows(CHANGES.len())),
                        );
                    }
                    row.push(Cell::from(count(changes)));
                    row.push(self.cores(changes, changes));
                    row.push(self.saturates(relays, each, changes).into());
                    table.row(row);
                }
            }
        }
        table
    }

    fn storm(&self, relays: f64, each: f64) -> Vec<Cell> {
        let stored = relays * each;
        let of = |model: &Result<Model, String>, first, second, text: fn(f64) -> String| match model
        {
            Ok(model) => said(model.at(first, second), model.standing(first, second), text),
            Err(_) => unknown(NONE),
        };
        let cores = |within: f64| match &self.models.cpu {
            Ok(cpu) => {
                let (seconds, standing) = cpu.storm(relays, stored);
                said(seconds / within, standing, |cores| {
                    significant(rounded(cores), 2)
                })
            }
            Err(_) => unknown(NONE),
        };
        vec![
            of(&self.models.recovery, relays, stored, |time| {
                seconds(rounded(time))
            }),
            cores(30.0),
            cores(60.0),
            of(&self.models.resident, stored, relays, |memory| {
                octets(memory)
            }),
            of(&self.models.anonymous, stored, relays, |memory| {
                octets(memory)
            }),
        ]
    }

    /// Cores for changes that go to relays in so many messages.
    fn cores(&self, changes: f64, messages: f64) -> Cell {
        match &self.models.cpu {
            Ok(cpu) => {
                let (cpus, standing) = cpu.changes(changes, messages);
                said(cpus, standing, |cores| significant(rounded(cores), 2))
            }
            Err(_) => unknown(NONE),
        }
    }

    /// What this machine has too little of, the scarcest first; else what the recovery waits for.
    fn saturates(&self, relays: f64, each: f64, changes: f64) -> String {
        let measured = |(value, standing): (f64, Standing)| {
            (standing != Standing::NotMeasured).then_some(value)
        };
        let stored = relays * each;
        let memory = self.models.resident.as_ref().ok();
        let memory = memory
            .and_then(|model| measured((model.at(stored, relays), model.standing(stored, relays))));
        let cpus = self
            .models
            .cpu
            .as_ref()
            .ok()
            .and_then(|cpu| measured(cpu.changes(changes, changes)));
        let resources = [
            (
                "memory",
                Unit::Octets,
                memory,
                self.environment.memory as f64,
            ),
            (
                "open files",
                Unit::Number,
                Some(relays + OTHER_FILES),
                self.environment.open_files as f64,
            ),
            (
                "cores for changes",
                Unit::Cores,
                cpus,
                f64::from(self.environment.cpus),
            ),
        ];
        let mut short: Vec<(f64, String)> = resources
            .into_iter()
            .filter_map(|(name, unit, needs, has)| Some((name, unit, needs?, has)))
            .filter(|(_, _, needs, has)| *has > 0.0 && needs > has)
            .map(|(name, unit, needs, has)| {
                (
                    needs / has,
                    format!(
                        "{name}: {} needed, {} there",
                        unit.exact(needs),
                        unit.exact(has)
                    ),
                )
            })
            .collect();
        short.sort_by(|one, other| other.0.total_cmp(&one.0));
        let texts: Vec<String> = short.into_iter().map(|(_, text)| text).collect();
        match texts.is_empty() {
            true => self.limit.clone(),
            false => texts.join("; "),
        }
    }

    fn unscoped(&self) -> Table {
        let mut columns = vec![("Relays".to_owned(), Align::Number)];
        columns.extend(
            CHANGES.map(|changes| (format!("{} changes/s", count(changes)), Align::Number)),
        );
        let mut table = Table::with_columns(
            "Cores for changes if every relay is told every change",
            columns,
        );
        for relays in RELAYS {
            let mut row = vec![Cell::from(count(relays)).heading()];
            // Where every change went to the same number of relays, the model does not know what a message costs.
            let apart = self.models.cpu.as_ref().is_ok_and(Cpu::knows_messages);
            row.extend(CHANGES.map(|changes| match apart {
                true => self.cores(changes, changes * relays),
                false => unknown(NOT_MEASURED),
            }));
            table.row(row);
        }
        table
    }
}

/// A figure of a model, marked by how far it is from what was measured.
fn said(value: f64, standing: Standing, text: impl Fn(f64) -> String) -> Cell {
    match standing {
        _ if !value.is_finite() => unknown(NONE),
        Standing::Measured => text(value).into(),
        Standing::Extrapolated => {
            Cell::from(format!("{} extrapolated", text(value))).class("extrapolated")
        }
        Standing::NotMeasured => unknown(NOT_MEASURED),
    }
}

fn unknown(text: &str) -> Cell {
    Cell::from(text).class("unknown")
}

/// A model is not more exact than two digits.
fn rounded(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value;
    }
    let unit = 10_f64.powf(value.log10().floor() - 1.0);
    (value / unit).round() * unit
}

/// What the largest storm waited for.
#[must_use]
pub fn limit_of_recovery(system: &System<'_>) -> String {
    let Some(seen) = largest_storm(&system.observations) else {
        return "not known: no storm was measured".into();
    };
    let all = f64::from(seen.result.environment.cpus);
    let (server, generator) = seen.cpus();
    let share = |cpus: f64| (cpus / all).min(1.0);
    match server.filter(|server| server.is_finite() && all > 0.0) {
        Some(server) if share(server) >= 0.8 => format!(
            "CPU of the server ({} of the machine\u{2019}s)",
            percent(share(server))
        ),
        Some(server)
            if seen.result.environment.same_machine && share(server + generator) >= 0.8 =>
        {
            format!(
                "CPU, shared with the generator (server {}, generator {} of the machine\u{2019}s)",
                percent(share(server)),
                percent(share(generator))
            )
        }
        _ if !seen.point.bottleneck.reasons.is_empty() => {
            "the generator: a faster one may show more".into()
        }
        Some(server) => format!(
            "not the CPU as a whole: the server used {} of it",
            percent(share(server))
        ),
        None => "not known: the server\u{2019}s CPU was not measured".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fit::linear::{Row, fit};
    use crate::report::model::Range;

    #[test]
    fn figures_are_marked_by_their_distance_from_what_was_measured() {
        let rows: Vec<Row> = [
            (100.0, 1e4),
            (100.0, 1e5),
            (1_000.0, 1e5),
            (1_000.0, 1e6),
            (300.0, 3e5),
        ]
        .map(|(relays, told)| Row {
            terms: vec![1.0, relays, told],
            value: 0.1 + relays * 1e-4 + told * 1e-6,
        })
        .to_vec();
        let model = Model {
            sum: fit(&rows, &[]).unwrap(),
            ranges: [
                Range {
                    from: 100.0,
                    to: 1_000.0,
                },
                Range { from: 1e4, to: 1e6 },
            ],
            remark: None,
        };
        let text = |first, second| {
            format!(
                "{:?}",
                said(
                    model.at(first, second),
                    model.standing(first, second),
                    |value| significant(value, 2)
                )
            )
        };
        assert!(
            text(1_000.0, 1e6).contains("\"1.2\""),
            "{}",
            text(1_000.0, 1e6)
        );
        assert!(
            text(10_000.0, 1e6).contains("2.1 extrapolated"),
            "{}",
            text(10_000.0, 1e6)
        );
        assert!(text(10_300.0, 1e6).contains(NOT_MEASURED));
        assert!(text(1_000.0, 2e7).contains(NOT_MEASURED));
        assert!(text(5.0, 1e6).contains(NOT_MEASURED));
    }
}
