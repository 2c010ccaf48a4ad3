//! The part of the report on the models: their formulas, parameters and errors.

use super::fit::Quality;
use super::html::Html;
use super::model::{Model, Models, Parameter, TERMS, Term, Throughput};
use super::number::{NONE, count, percent, short, significant};
use super::systems::System;
use super::table::{Align, Cell, Table};

/// Writes the models of all systems.
pub fn write(systems: &[System<'_>], models: &[Models], html: &mut Html) {
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Scalability model");
        html.paragraph(
            "Sums of costs, fitted by least squares of relative errors with no cost below zero; throughput by the Universal \
             Scalability Law, fitted by damped Gauss-Newton. Left out: the error at each point of a model that was fitted without \
             it, which is the one to judge predictions by. A model is not better than the points it was fitted to.",
        );
        for (system, models) in systems.iter().zip(models) {
            html.leaf("h3", &[], &system.name);
            of_system(models, html);
        }
    });
}

fn of_system(models: &Models, html: &mut Html) {
    let mut table = Table::new(
        "Models and their errors",
        [
            ("What", Align::Text),
            ("Model", Align::Wide),
            ("Points", Align::Number),
            ("R\u{b2}", Align::Number),
            ("Error, RMS", Align::Number),
            ("Largest", Align::Number),
            ("Left out", Align::Number),
        ],
    );
    let mut told: Vec<(&str, Vec<Parameter>, Option<String>)> = Vec::new();
    let mut missing = Vec::new();
    let mut sum = |what,
                   formula: &[&str; 3],
                   model: &Result<Model, String>,
                   parameters: fn(&Model) -> Vec<Parameter>| match model {
        Ok(model) => {
            let used: Vec<&str> = model
                .sum
                .used
                .iter()
                .filter_map(|term| formula.get(*term).copied())
                .collect();
            row(&mut table, what, &used.join(" + "), &model.sum.quality);
            let mut remarks: Vec<String> = model.remark.iter().cloned().collect();
            remarks.extend(
                model
                    .work
                    .as_ref()
                    .map(|work| format!("Fitted to storms that all do the same: {work}.")),
            );
            let remark = (!remarks.is_empty()).then(|| remarks.join(" "));
            told.push((what, parameters(model), remark));
        }
        Err(why) => missing.push(format!("No model of {}. {why}", lower(what))),
    };
    sum(
        "Recovery of all, T",
        &["t0", "a\u{b7}R", "b\u{b7}R\u{b7}B"],
        &models.recovery,
        Models::recovery_parameters,
    );
    sum(
        "Resident memory, M",
        &["m0", "m1\u{b7}bindings", "m2\u{b7}connections"],
        &models.resident,
        Models::memory_parameters,
    );
    sum(
        "Memory not mapped, A",
        &["m0", "m1\u{b7}bindings", "m2\u{b7}connections"],
        &models.anonymous,
        Models::memory_parameters,
    );
    match &models.cpu {
        Ok(cpu) => {
            let used: Vec<&str> = TERMS
                .into_iter()
                .filter(|term| cpu.sum.used.contains(&(*term as usize)))
                .map(Term::symbol)
                .collect();
            row(
                &mut table,
                "CPU time of the server, C",
                &used.join(" + "),
                &cpu.sum.quality,
            );
            told.push((
                "CPU time of the server, C",
                Models::cpu_parameters(cpu),
                cpu.remark.clone(),
            ));
        }
        Err(why) => missing.push(format!("No model of the server\u{2019}s CPU time. {why}")),
    }
    match &models.throughput {
        Ok(throughput) => {
            row(
                &mut table,
                "Throughput, X",
                "l\u{b7}N / (1 + s\u{b7}(N\u{2212}1) + k\u{b7}N\u{b7}(N\u{2212}1))",
                &throughput.law.quality,
            );
            told.push((
                "Throughput, X",
                law(throughput),
                Some(format!(
                    "Fitted to points that all do the same, with about {} bindings a query: {}.",
                    short(throughput.each),
                    throughput.work
                )),
            ));
        }
        Err(why) => missing.push(format!("No model of throughput. {why}")),
    }
    if !table.is_empty() {
        html.paragraph(
            "R: relays that recover at once, B: bindings told to each, N: connections at a time.",
        );
        table.write(html);
        html.element("div", &[("class", "parameters")], |html| {
            for (what, parameters, remark) in &told {
                parameters_of(what, parameters, remark.as_deref(), html);
            }
        });
    }
    for text in missing {
        html.leaf("p", &[("class", "missing")], &text);
    }
}

/// Parameters of the scalability law.
fn law(
    Throughput {
        law, connections, ..
    }: &Throughput,
) -> Vec<Parameter> {
    let peak = match law.peak() {
        Some(peak) if peak <= connections.to * 10.0 => format!(
            "most throughput at {} connections: {} bindings/s",
            short(peak),
            short(law.at(peak))
        ),
        _ => "no number of connections within reach has less throughput than fewer have".into(),
    };
    vec![
        (
            "l",
            format!(
                "{} bindings/s with one connection, as the law continues to it",
                short(law.alone)
            ),
        ),
        (
            "s",
            format!(
                "{} of the work goes one after the other",
                percent(law.serial)
            ),
        ),
        (
            "k",
            format!(
                "{} is what each connection costs each other one",
                significant(law.crosstalk, 2)
            ),
        ),
        ("peak", peak),
    ]
}

fn parameters_of(what: &str, parameters: &[Parameter], remark: Option<&str>, html: &mut Html) {
    html.element("div", &[], |html| {
        html.leaf("h4", &[], what);
        html.element("dl", &[], |html| {
            for (name, text) in parameters {
                html.leaf("dt", &[], name);
                html.leaf("dd", &[], text);
            }
        });
        if let Some(remark) = remark {
            html.leaf("p", &[("class", "note")], remark);
        }
    });
}

fn row(table: &mut Table, what: &str, formula: &str, quality: &Quality) {
    let tenth = |share: f64| percent((share * 1_000.0).round() / 1_000.0);
    table.row(vec![
        Cell::from(what).heading(),
        formula.into(),
        count(quality.points as f64).into(),
        quality
            .r_squared
            .map_or(NONE.into(), |share| format!("{share:.3}"))
            .into(),
        tenth(quality.rms).into(),
        tenth(quality.worst).into(),
        quality.left_out.map_or(NONE.into(), tenth).into(),
    ]);
}

fn lower(text: &str) -> String {
    let name = text.split(',').next().unwrap_or(text);
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_lowercase().chain(letters).collect()
    })
}
