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
/// The share of a machine's CPUs from which on they are what is short.
const USED_UP: f64 = 0.8;
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
        limit: Limit::of(system),
    };
    html.paragraph(&format!(
        "Saturates first: what needs more than this machine has ({}, {} cores, {} open files a process), with what it needs; else what \
         held the largest measured storm up, with its share of the machine.",
        octets(environment.memory as f64),
        environment.cpus,
        count(environment.open_files as f64)
    ));
    planner.storms().write(html);
    planner.unscoped().write(html);
}

struct Planner<'a> {
    models: &'a Models,
    environment: &'a Environment,
    /// What holds a recovery up where nothing is short.
    limit: Limit,
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
                ("Saturates first", Align::Text),
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
            ("cores", Unit::Cores, cpus, f64::from(self.environment.cpus)),
        ];
        let short = resources
            .into_iter()
            .filter_map(|(name, unit, needs, has)| Some((name, unit, needs?, has)))
            .filter(|(_, _, needs, has)| *has > 0.0 && needs > has)
            .max_by(|one, other| (one.2 / one.3).total_cmp(&(other.2 / other.3)));
        match short {
            Some((name, unit, needs, _)) => format!("{name}, {}", unit.exact(needs)),
            None => self.limit.word(),
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

/// What the largest storm waited for. Shares are of the machine's CPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Not known: there was no storm.
    NoStorm,
    /// Not known: the server's CPU was not measured.
    NoCpu,
    /// The server used nearly all of the machine.
    Cpu(f64),
    /// Server and generator did together.
    SharedCpu(f64, f64),
    /// The generator was not fast enough.
    Generator,
    /// Something else: the server had CPU left.
    NotCpu(f64),
}

impl Limit {
    /// Of the largest storm.
    #[must_use]
    pub fn of(system: &System<'_>) -> Self {
        let Some(seen) = largest_storm(&system.observations) else {
            return Self::NoStorm;
        };
        let all = f64::from(seen.result.environment.cpus);
        let (server, generator) = seen.cpus();
        let share = |cpus: f64| (cpus / all).min(1.0);
        match server.filter(|server| server.is_finite() && all > 0.0) {
            Some(server) if share(server) >= USED_UP => Self::Cpu(share(server)),
            Some(server)
                if seen.result.environment.same_machine && share(server + generator) >= USED_UP =>
            {
                Self::SharedCpu(share(server), share(generator))
            }
            _ if !seen.point.bottleneck.reasons.is_empty() => Self::Generator,
            Some(server) => Self::NotCpu(share(server)),
            None => Self::NoCpu,
        }
    }

    /// In a word and a figure, for tables.
    #[must_use]
    pub fn word(self) -> String {
        let whole = |share: f64| percent((share * 100.0).round() / 100.0);
        match self {
            Self::NoStorm | Self::NoCpu => NONE.into(),
            Self::Cpu(server) => format!("CPU, {}", whole(server)),
            Self::SharedCpu(server, generator) => {
                format!("shared CPU, {}", whole((server + generator).min(1.0)))
            }
            Self::Generator => "generator".into(),
            Self::NotCpu(server) => format!("not CPU, {}", whole(server)),
        }
    }

    /// In a sentence.
    #[must_use]
    pub fn sentence(self) -> String {
        match self {
            Self::NoStorm => "not known: no storm was measured".into(),
            Self::NoCpu => "not known: the server\u{2019}s CPU was not measured".into(),
            Self::Cpu(server) => format!(
                "CPU of the server ({} of the machine\u{2019}s)",
                percent(server)
            ),
            Self::SharedCpu(server, generator) => format!(
                "CPU, shared with the generator (server {}, generator {} of the machine\u{2019}s)",
                percent(server),
                percent(generator)
            ),
            Self::Generator => "the generator: a faster one may show more".into(),
            Self::NotCpu(server) => format!(
                "not the CPU as a whole: the server used {} of it",
                percent(server)
            ),
        }
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
            work: None,
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
