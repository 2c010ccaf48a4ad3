//! Which plots the results have data for, and what to run for the others.

mod latency;
mod scaling;
mod timeline;

use super::html::Html;
use super::model::Models;
use super::observe::Observation;
use super::plot::{Drawn, Plot, Series};
use super::systems::System;

pub use latency::percentile_plot as percentiles;
pub use scaling::largest_storm;

/// A part of the report with its plots.
#[derive(Debug)]
pub struct Section {
    title: &'static str,
    about: &'static str,
    plots: Vec<Plot>,
    /// What there is no plot of, and what would give it.
    missing: Vec<String>,
}

/// Writes all of them.
pub fn write(systems: &[System<'_>], models: &[Models], html: &mut Html) {
    let sections = [
        scaling::recovery(systems, models),
        scaling::throughput(systems, models),
        latency::propagation(systems),
        latency::udp(systems),
        scaling::memory(systems),
        timeline::timelines(systems),
    ];
    for section in sections {
        section.write(html);
    }
}

impl Section {
    fn write(&self, html: &mut Html) {
        html.element("section", &[], |html| {
            html.leaf("h2", &[], self.title);
            html.paragraph(self.about);
            html.element("div", &[("class", "plots")], |html| {
                for plot in &self.plots {
                    plot.write(html);
                }
            });
            for missing in &self.missing {
                html.leaf("p", &[("class", "missing")], missing);
            }
        });
    }
}

/// A quantity of an observation.
type Quantity<'f> = &'f dyn Fn(&Observation<'_>) -> Option<f64>;

/// Lines of quantities against another one: a colour for each quantity, or, with several systems, for each system.
fn lines(
    systems: &[System<'_>],
    x: Quantity<'_>,
    quantities: &[(&str, Quantity<'_>)],
    drawn: Drawn,
) -> Vec<Series> {
    let mut all = Vec::new();
    for (place, system) in systems.iter().enumerate() {
        for (number, (name, quantity)) in quantities.iter().enumerate() {
            let mut points: Vec<(f64, f64)> = system
                .observations
                .iter()
                .filter_map(|seen| Some((x(seen)?, quantity(seen)?)))
                .collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            // Markers of two systems may lie upon each other: they differ in shape too.
            let (name, colour, shape) = match systems.len() {
                1 => ((*name).to_owned(), number, number),
                _ => (
                    format!("{name}, {}", system.name),
                    place,
                    place * quantities.len() + number,
                ),
            };
            if !points.is_empty() {
                all.push(Series {
                    name,
                    points,
                    colour,
                    shape,
                    drawn,
                });
            }
        }
    }
    all
}

/// Different values of a quantity, over all systems.
fn distinct(systems: &[System<'_>], x: Quantity<'_>) -> Vec<f64> {
    let mut values: Vec<f64> = systems
        .iter()
        .flat_map(|system| &system.observations)
        .filter_map(x)
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    // Means of a given store differ by little.
    values.dedup_by(|one, other| is_close(*one, *other));
    values
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 0.05 * one.abs().max(other.abs())
}

fn values(series: &[Series]) -> Vec<f64> {
    series
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.1))
        .collect()
}
