//! The models of a server: what a recovery, a change and a connection cost, fitted to what was measured.

use super::fit::linear::{Row, Sum, fit};
use super::fit::scalability::{self, Law};
use super::number::{octets, percent, seconds, short};
use super::observe::{Observation, Storm};
use crate::measure::Count;
use crate::result::Usage;

/// How far beyond the measured range a model is still asked.
const REACH: f64 = 10.0;

/// All models of a system, or why there is none.
#[derive(Debug)]
pub struct Models {
    /// Seconds of a storm, of relays and bindings told.
    pub recovery: Result<Model, String>,
    /// CPU seconds of the server, of all that it did.
    pub cpu: Result<Cpu, String>,
    /// Resident memory, of bindings stored and connections.
    pub resident: Result<Model, String>,
    /// Memory beside mapped files, of the same.
    pub anonymous: Result<Model, String>,
    /// Bindings a second, of connections.
    pub throughput: Result<(Law, Range), String>,
}

/// A fitted sum of a constant and one term for each of two quantities.
#[derive(Debug)]
pub struct Model {
    /// The fit.
    pub sum: Sum,
    /// Where each quantity was measured.
    pub ranges: [Range; 2],
    /// What limits its use.
    pub remark: Option<String>,
}

impl Model {
    /// What it says of two quantities.
    #[must_use]
    pub fn at(&self, first: f64, second: f64) -> f64 {
        self.sum.at(&[1.0, first, second])
    }

    /// Whether that was measured.
    #[must_use]
    pub fn standing(&self, first: f64, second: f64) -> Standing {
        self.ranges[0]
            .standing(first)
            .max(self.ranges[1].standing(second))
    }
}

/// What the server's CPU time goes to.
#[derive(Debug)]
pub struct Cpu {
    /// The fit; its terms are those of [`Term`], in their order.
    pub sum: Sum,
    /// What limits its use.
    pub remark: Option<String>,
    relays: Range,
    bindings: Range,
    changes: Range,
    messages: Range,
}

/// Terms of the server's CPU time: how many there were of each in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Seconds.
    Seconds,
    /// Bulk answers.
    Recoveries,
    /// Bindings told by them.
    Bindings,
    /// Changes taken from the feed.
    Changes,
    /// Messages of streams.
    Messages,
    /// UDP queries answered.
    Udp,
}

/// All of them.
pub const TERMS: [Term; 6] = [
    Term::Seconds,
    Term::Recoveries,
    Term::Bindings,
    Term::Changes,
    Term::Messages,
    Term::Udp,
];

impl Cpu {
    /// CPU seconds of a storm, and whether that was measured.
    #[must_use]
    pub fn storm(&self, relays: f64, bindings: f64) -> (f64, Standing) {
        let cpu = self.cost(Term::Recoveries) * relays + self.cost(Term::Bindings) * bindings;
        (
            cpu,
            self.relays
                .standing(relays)
                .max(self.bindings.standing(bindings)),
        )
    }

    /// CPU seconds a second for changes that are told to relays, and whether that was measured.
    #[must_use]
    pub fn changes(&self, changes: f64, messages: f64) -> (f64, Standing) {
        let cpus = self.cost(Term::Seconds)
            + self.cost(Term::Changes) * changes
            + self.cost(Term::Messages) * messages;
        (
            cpus,
            self.changes
                .standing(changes)
                .max(self.messages.standing(messages)),
        )
    }

    /// It is known what a message costs beside its change.
    #[must_use]
    pub fn knows_messages(&self) -> bool {
        self.sum.used.contains(&(Term::Messages as usize))
            && self.sum.used.contains(&(Term::Changes as usize))
    }

    fn cost(&self, term: Term) -> f64 {
        self.sum
            .coefficients
            .get(term as usize)
            .copied()
            .unwrap_or_default()
    }

    fn of(observations: &[Observation<'_>]) -> Result<Self, String> {
        let seen: Vec<_> = observations
            .iter()
            .filter(|seen| !seen.is_special && seen.point.seconds > 0.0)
            .filter_map(|seen| Some((seen, seen.point.server?.cpu_seconds)))
            .collect();
        let rows: Vec<Row> = seen
            .iter()
            .map(|(seen, cpu)| Row {
                terms: TERMS.map(|term| term.of(seen)).to_vec(),
                value: *cpu,
            })
            .collect();
        // Idling costs little, a message goes along with its change, and a relay with its bindings.
        let expendable = [
            Term::Seconds,
            Term::Messages,
            Term::Recoveries,
            Term::Udp,
            Term::Changes,
        ]
        .map(|term| term as usize);
        let sum = fit(&rows, &expendable).ok_or_else(|| {
            format!(
                "There are too few different points with the server\u{2019}s CPU time, polite relays and no TLS ({}); it needs one more \
                 than there are kinds of work.",
                rows.len()
            )
        })?;
        let range = |value: &dyn Fn(&Observation<'_>) -> f64| {
            Range::of(
                seen.iter()
                    .map(|(seen, _)| value(seen))
                    .filter(|value| *value > 0.0),
            )
        };
        let hidden: Vec<&str> = TERMS
            .into_iter()
            .filter(|term| {
                !sum.used.contains(&(*term as usize))
                    && seen.iter().any(|(seen, _)| term.of(seen) > 0.0)
            })
            .map(Term::symbol)
            .collect();
        let remark = (!hidden.is_empty()).then(|| {
            format!(
                "The points do not tell these apart from the others, whose costs theirs is in: {}.",
                hidden.join(", ")
            )
        });
        let a_second =
            |term: Term| move |seen: &Observation<'_>| term.of(seen) / seen.point.seconds;
        Ok(Self {
            sum,
            remark,
            relays: range(&|seen| seen.bulk.map_or(0.0, |bulk| bulk.connections)),
            bindings: range(&|seen| Term::Bindings.of(seen)),
            changes: range(&a_second(Term::Changes)),
            messages: range(&a_second(Term::Messages)),
        })
    }
}

impl Term {
    /// How much of it there was.
    fn of(self, seen: &Observation<'_>) -> f64 {
        let counted = |count: Count| seen.total.counted(count) as f64;
        match self {
            Self::Seconds => seen.point.seconds,
            Self::Recoveries => counted(Count::Recoveries),
            Self::Bindings => counted(Count::Bindings),
            Self::Changes => seen
                .point
                .changes
                .as_ref()
                .map_or(0.0, |changes| changes.acknowledged as f64),
            Self::Messages => counted(Count::StreamMessages),
            Self::Udp => counted(Count::UdpAnswers),
        }
    }

    /// In a formula.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => "u0\u{b7}seconds",
            Self::Recoveries => "c1\u{b7}recoveries",
            Self::Bindings => "c2\u{b7}bindings",
            Self::Changes => "u1\u{b7}changes",
            Self::Messages => "u2\u{b7}messages",
            Self::Udp => "q\u{b7}UDP queries",
        }
    }

    fn parameter(self, cost: f64) -> Parameter {
        let of = |name, thing: &str| {
            (
                name,
                format!(
                    "{} {thing} ({} a core and second)",
                    small(cost),
                    inverse(cost)
                ),
            )
        };
        match self {
            Self::Seconds => ("u0", format!("{} of a core for being there", percent(cost))),
            Self::Recoveries => of("c1", "a relay that recovers"),
            Self::Bindings => of("c2", "a binding told"),
            Self::Changes => of("u1", "a change taken"),
            Self::Messages => of("u2", "a message of a stream"),
            Self::Udp => of("q", "a UDP query"),
        }
    }
}

/// From the least to the most that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub from: f64,
    /// The most.
    pub to: f64,
}

/// Whether a value was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Within what was measured.
    Measured,
    /// Beyond, at most by [`REACH`].
    Extrapolated,
    /// Further away.
    NotMeasured,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        values.fold(
            Self {
                from: f64::INFINITY,
                to: 0.0,
            },
            |range, value| Self {
                from: range.from.min(value),
                to: range.to.max(value),
            },
        )
    }

    /// Where a value stands. A little beyond the ends is still at them.
    #[must_use]
    pub fn standing(self, value: f64) -> Standing {
        let within =
            |reach: f64| (self.from / reach * 0.98..=self.to * reach * 1.02).contains(&value);
        match value {
            _ if within(1.0) => Standing::Measured,
            _ if within(REACH) => Standing::Extrapolated,
            _ => Standing::NotMeasured,
        }
    }
}

/// Storms to fit to: those without TLS if there are any, and those beside which nothing else went on if there are enough.
#[must_use]
pub fn storms<'a>(observations: &'a [Observation<'a>]) -> Vec<(&'a Observation<'a>, &'a Storm)> {
    let all: Vec<_> = observations
        .iter()
        .filter_map(|seen| Some((seen, seen.storm.as_ref()?)))
        .collect();
    let plain: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, storm)| !storm.is_tls)
        .collect();
    let all = if plain.is_empty() { all } else { plain };
    let alone: Vec<_> = all
        .iter()
        .copied()
        .filter(|(_, storm)| storm.is_alone)
        .collect();
    if alone.len() >= 3 || alone.len() == all.len() {
        alone
    } else {
        all
    }
}

/// Fits all models to the points of a system.
#[must_use]
pub fn models(observations: &[Observation<'_>]) -> Models {
    let storms: Vec<[f64; 3]> = storms(observations)
        .iter()
        .map(|(_, storm)| [storm.relays, storm.bindings, storm.seconds])
        .collect();
    let memory = |value: fn(&Usage) -> u64| {
        let rows: Vec<[f64; 3]> = observations
            .iter()
            .filter_map(|seen| {
                let octets = value(seen.point.server.as_ref()?) as f64;
                Some([seen.point.bindings as f64, seen.connections, octets])
            })
            .collect();
        model(
            &rows,
            &[2, 1],
            "points with the server\u{2019}s memory",
            "Bindings and connections grew together, or only one of them differs: all growth is counted as that of one.",
        )
    };
    Models {
        recovery: model(
            &storms,
            &[1],
            "storms that differ in relays and in bindings",
            "All points have the same number of bindings a relay, or of relays: the cost of a relay is in that of its bindings.",
        ),
        cpu: Cpu::of(observations),
        resident: memory(|usage| usage.resident_peak),
        anonymous: memory(|usage| usage.anonymous_peak),
        throughput: throughput(observations),
    }
}

fn model(
    rows: &[[f64; 3]],
    expendable: &[usize],
    needed: &str,
    reduced: &str,
) -> Result<Model, String> {
    let fitted: Vec<Row> = rows
        .iter()
        .map(|[first, second, value]| Row {
            terms: vec![1.0, *first, *second],
            value: *value,
        })
        .collect();
    let sum = fit(&fitted, expendable).ok_or_else(|| {
        format!("There are too few different points ({}); it needs at least 3 {needed}, and 4 to tell both apart.", rows.len())
    })?;
    Ok(Model {
        ranges: [0, 1].map(|index| Range::of(rows.iter().map(|row| row[index]))),
        remark: (sum.used.len() < 3).then(|| reduced.to_owned()),
        sum,
    })
}

/// Throughput is fitted where bindings a query are the same, because they make it differ too: the ones with the most points.
fn throughput(observations: &[Observation<'_>]) -> Result<(Law, Range), String> {
    let measured = same_size(observations);
    let law = scalability::fit(&measured).ok_or_else(|| {
        format!(
            "There are too few different numbers of connections with the same number of bindings ({} points; at least {} are needed).",
            measured.len(),
            scalability::LEAST
        )
    })?;
    Ok((
        law,
        Range::of(measured.iter().map(|(connections, _)| *connections)),
    ))
}

/// Connections and bindings a second of the points whose queries are about as large.
fn same_size(observations: &[Observation<'_>]) -> Vec<(f64, f64)> {
    let bulk: Vec<_> = observations.iter().filter_map(|seen| seen.bulk).collect();
    let alike = |each: f64| {
        bulk.iter()
            .filter(|other| (0.9..1.1).contains(&(other.each / each)))
            .map(|other| (other.connections, other.bindings_per_second))
            .collect::<Vec<_>>()
    };
    bulk.iter()
        .map(|one| alike(one.each))
        .max_by_key(Vec::len)
        .unwrap_or_default()
}

/// A parameter in words: its symbol, and what it says.
pub type Parameter = (&'static str, String);

impl Models {
    /// Parameters of the model of recovery.
    #[must_use]
    pub fn recovery_parameters(model: &Model) -> Vec<Parameter> {
        let c = &model.sum.coefficients;
        parameters(
            model,
            ["t0", "a", "b"],
            [
                format!("{} for any storm", seconds(c[0])),
                format!("{} a relay", seconds(c[1])),
                format!(
                    "{} a binding told ({} bindings/s)",
                    small(c[2]),
                    inverse(c[2])
                ),
            ],
        )
    }

    /// Parameters of the model of CPU.
    #[must_use]
    pub fn cpu_parameters(cpu: &Cpu) -> Vec<Parameter> {
        TERMS
            .into_iter()
            .filter(|term| cpu.sum.used.contains(&(*term as usize)))
            .map(|term| {
                let (name, text) = term.parameter(cpu.cost(term));
                (name, told(cpu.cost(term), text))
            })
            .collect()
    }

    /// Parameters of a model of memory.
    #[must_use]
    pub fn memory_parameters(model: &Model) -> Vec<Parameter> {
        let c = &model.sum.coefficients;
        parameters(
            model,
            ["m0", "m1", "m2"],
            [
                format!("{} with nothing stored and nobody connected", octets(c[0])),
                format!("{} a binding stored", octets(c[1])),
                format!("{} a connection", octets(c[2])),
            ],
        )
    }
}

/// Only those that take part: 0 for one that does not would read like a finding.
fn parameters(model: &Model, names: [&'static str; 3], texts: [String; 3]) -> Vec<Parameter> {
    let costs = names
        .into_iter()
        .zip(texts)
        .zip(&model.sum.coefficients)
        .enumerate();
    costs
        .filter(|(index, _)| model.sum.used.contains(index))
        .map(|(_, ((name, text), cost))| (name, told(*cost, text)))
        .collect()
}

/// A cost of nothing would read like a finding.
fn told(cost: f64, text: String) -> String {
    match cost > 0.0 {
        true => text,
        false => "too little to be told apart from the others".into(),
    }
}

/// Costs may be below a microsecond.
fn small(value: f64) -> String {
    match value > 0.0 && value < 1e-6 {
        true => format!("{}\u{a0}ns", super::number::significant(value * 1e9, 3)),
        false => seconds(value),
    }
}

fn inverse(value: f64) -> String {
    match value > 0.0 {
        true => short(1.0 / value),
        false => "any number of".into(),
    }
}
