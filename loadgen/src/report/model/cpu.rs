//! What the server's CPU time goes to.

use super::{Range, Standing, held};
use crate::measure::Count;
use crate::report::fit::linear::{Row, Sum, fit};
use crate::report::number::percent;
use crate::report::observe::Observation;

use super::words::{Parameter, inverse, small};

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

    pub(super) fn cost(&self, term: Term) -> f64 {
        self.sum
            .coefficients
            .get(term as usize)
            .copied()
            .unwrap_or_default()
    }

    pub(super) fn of(observations: &[Observation<'_>]) -> Result<Self, String> {
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
        let sum = held(
            sum,
            |sum| &sum.quality,
            "all points with polite relays and no TLS",
        )?;
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
        Ok(Self {
            sum,
            remark,
            relays: range(&|seen| seen.bulk.map_or(0.0, |bulk| bulk.connections)),
            bindings: range(&|seen| Term::Bindings.of(seen)),
            changes: range(&|seen| seen.changes()),
            messages: range(&|seen| seen.messages()),
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

    pub(super) fn parameter(self, cost: f64) -> Parameter {
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
