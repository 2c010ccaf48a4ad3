//! The models of a server: what a recovery, a change and a connection cost, fitted to what was measured.
//!
//! A model that does not say what was measured is none: each is judged by its fit before anything is told by it.

mod cpu;
mod range;
mod words;

use super::fit::Quality;
use super::fit::linear::{Row, Sum, fit};
use super::fit::scalability::{self, Law};
use super::number::{count, percent};
use super::observe::{Observation, Storm};
use super::work::{Work, most_alike};
use crate::result::Usage;

pub use cpu::{Cpu, TERMS, Term};
pub use range::{Range, Standing};
pub use words::Parameter;

/// Storms with nothing beside them that are enough for a model of their own.
const ENOUGH_ALONE: usize = 3;

/// All models of a system, or why there is none.
#[derive(Debug)]
pub struct Models {
    /// What the storms do that recovery is fitted to, and that can be compared; none: there was no storm.
    pub storms: Option<Work>,
    /// Seconds of a storm, of relays and bindings told.
    pub recovery: Result<Model, String>,
    /// CPU seconds of the server, of all that it did.
    pub cpu: Result<Cpu, String>,
    /// Resident memory, of bindings stored and connections.
    pub resident: Result<Model, String>,
    /// Memory beside mapped files, of the same.
    pub anonymous: Result<Model, String>,
    /// Bindings a second, of connections.
    pub throughput: Result<Throughput, String>,
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
    /// What its points did, where they all did the same.
    pub work: Option<String>,
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

/// The scalability law of points that can be compared.
#[derive(Debug)]
pub struct Throughput {
    /// The law.
    pub law: Law,
    /// Connections at which it was measured.
    pub connections: Range,
    /// Bindings of a query, about.
    pub each: f64,
    /// What its points did.
    pub work: String,
}

/// A fit, if it says what was measured.
fn held<T>(fit: T, quality: fn(&T) -> &Quality, of: &str) -> Result<T, String> {
    let Quality {
        points,
        r_squared,
        rms,
        ..
    } = *quality(&fit);
    if quality(&fit).holds() {
        return Ok(fit);
    }
    let explained = match r_squared {
        Some(share) if share > 0.0 => format!(
            "{} of their variance",
            percent((share * 100.0).round() / 100.0)
        ),
        _ => "nothing of their variance".into(),
    };
    Err(format!(
        "The best one explains {explained} and is wrong by {} on average ({} points: {of}); that is too bad a fit to tell anything by.",
        percent((rms * 100.0).round() / 100.0),
        count(points as f64),
    ))
}

/// Storms to fit to, all of the same work: those without TLS if there are any, and those beside which nothing else went on if
/// there are enough.
fn storms<'a, 'b>(observations: &'a [Observation<'b>]) -> Vec<(&'a Observation<'b>, &'a Storm)> {
    let all = || {
        observations
            .iter()
            .filter_map(|seen| Some((seen, seen.storm.as_ref()?)))
    };
    let has_plain = all().any(|(_, storm)| !storm.is_tls);
    let candidates: Vec<_> = all()
        .filter(|(_, storm)| !has_plain || !storm.is_tls)
        .map(|(seen, _)| seen)
        .collect();
    let is_alone = |seen: &Observation<'_>| seen.storm.as_ref().is_some_and(|storm| storm.is_alone);
    let alike = most_alike(
        &candidates,
        |_, _| true,
        |alike| {
            let alone = alike.first().is_some_and(|seen| is_alone(seen));
            (alone && alike.len() >= ENOUGH_ALONE, alike.len())
        },
    );
    alike
        .into_iter()
        .filter_map(|seen| Some((seen, seen.storm.as_ref()?)))
        .collect()
}

/// Fits all models to the points of a system.
#[must_use]
pub fn models(observations: &[Observation<'_>]) -> Models {
    let storms = storms(observations);
    let of = storms.first().map(|(seen, _)| seen.work.clone());
    let work = of.as_ref().map_or(String::new(), Work::words);
    let storms: Vec<[f64; 3]> = storms
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
            (
                "points with the server\u{2019}s memory",
                "all with the server\u{2019}s memory",
            ),
            "Bindings and connections grew together, or only one of them differs: all growth is counted as that of one.",
        )
    };
    Models {
        storms: of,
        recovery: model(
            &storms,
            &[1],
            ("storms of the same work that differ in relays and in bindings", &work),
            "All points have the same number of bindings a relay, or of relays: the cost of a relay is in that of its bindings.",
        )
        .map(|model| Model {
            work: Some(work.clone()),
            ..model
        }),
        cpu: Cpu::of(observations),
        resident: memory(|usage| usage.resident_peak),
        anonymous: memory(|usage| usage.anonymous_peak),
        throughput: throughput(observations),
    }
}

fn model(
    rows: &[[f64; 3]],
    expendable: &[usize],
    (needed, of): (&str, &str),
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
    let sum = held(sum, |sum| &sum.quality, of)?;
    Ok(Model {
        ranges: [0, 1].map(|index| Range::of(rows.iter().map(|row| row[index]))),
        remark: (sum.used.len() < 3).then(|| reduced.to_owned()),
        work: None,
        sum,
    })
}

/// Throughput is fitted where the work is the same and bindings a query are about the same, because both make it differ: where
/// that was with the most numbers of connections.
fn throughput(observations: &[Observation<'_>]) -> Result<Throughput, String> {
    let bulk: Vec<_> = observations
        .iter()
        .filter(|seen| seen.bulk.is_some())
        .collect();
    let each = |seen: &Observation<'_>| seen.bulk.map_or(f64::NAN, |bulk| bulk.each);
    let connections = |seen: &Observation<'_>| seen.bulk.map_or(f64::NAN, |bulk| bulk.connections);
    let alike = most_alike(
        &bulk,
        |one, other| (0.9..1.1).contains(&(each(other) / each(one))),
        |alike| {
            let mut numbers: Vec<f64> = alike.iter().map(|seen| connections(seen)).collect();
            numbers.sort_by(f64::total_cmp);
            numbers.dedup();
            (numbers.len(), alike.len())
        },
    );
    let measured: Vec<(f64, f64)> = alike
        .iter()
        .filter_map(|seen| Some((connections(seen), seen.bulk?.bindings_per_second)))
        .collect();
    let few = || {
        format!(
            "There are too few different numbers of connections with the same work and the same number of bindings (points: {}; at \
             least {} numbers are needed).",
            measured.len(),
            scalability::LEAST
        )
    };
    let first = alike.first().ok_or_else(few)?;
    let work = first.work.words();
    let law = held(
        scalability::fit(&measured).ok_or_else(few)?,
        |law| &law.quality,
        &work,
    )?;
    Ok(Throughput {
        law,
        connections: Range::of(measured.iter().map(|(connections, _)| *connections)),
        each: each(first),
        work,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_that_explains_little_is_refused_in_words() {
        let quality = |r_squared, rms| Quality {
            points: 17,
            r_squared,
            rms,
            worst: rms,
            left_out: None,
        };
        let told = |r_squared, rms| held(quality(r_squared, rms), |quality| quality, "storms");
        assert!(told(Some(0.95), 0.2).is_ok());
        // Where nothing varies there is nothing to explain.
        assert!(told(Some(0.1), 0.03).is_ok() && told(None, 0.0).is_ok());
        let text = told(Some(0.42), 0.27).unwrap_err().replace('\u{a0}', " ");
        assert!(text.starts_with("The best one explains 42 % of their variance and is wrong by 27 % on average (17 points: storms)"), "{text}");
        assert!(
            told(Some(-0.266), 0.266)
                .unwrap_err()
                .contains("explains nothing")
        );
        assert!(told(None, 0.3).is_err() && told(Some(f64::NAN), f64::NAN).is_err());
    }

    #[test]
    fn the_ends_of_what_was_measured_are_within_it() {
        let range = Range::of([50.0, 1_000.0].into_iter());
        assert_eq!(range.standing(1_015.0), Standing::Measured);
        assert_eq!(range.standing(1_060.0), Standing::Extrapolated);
        assert_eq!(range.standing(49.5), Standing::Measured);
        assert_eq!(range.standing(10_600.0), Standing::NotMeasured);
    }
}
