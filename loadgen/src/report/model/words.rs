//! Parameters of models, in words.

use super::{Cpu, Model, Models, TERMS};
use crate::report::number::{octets, seconds, short};

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
pub(super) fn small(value: f64) -> String {
    match value > 0.0 && value < 1e-6 {
        true => format!(
            "{}\u{a0}ns",
            crate::report::number::significant(value * 1e9, 3)
        ),
        false => seconds(value),
    }
}

/// How many of it a second has room for.
pub(super) fn inverse(value: f64) -> String {
    match value > 0.0 {
        true => short(1.0 / value),
        false => "any number of".into(),
    }
}
