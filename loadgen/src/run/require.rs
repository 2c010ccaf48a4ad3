//! Whether the figures of a run are as the scenario requires.

use crate::measure::{Count, Measures, Times};
use crate::result::{Finding, GroupResult, Point, Sample};
use crate::scenario::{Group, Require, Scenario, count_of_name};

/// Samples that a quarter of the run must have, to say whether something grows.
const LEAST_SAMPLES: usize = 2;

/// A median shorter than this, in seconds, counts as this: how long somebody waits for others does not show in times that are
/// mostly those of the machine's scheduler.
const LEAST_MEDIAN: f64 = 0.05;

/// Compares a run's figures with what is required.
pub(super) fn findings(scenario: &Scenario, point: &Point) -> Vec<Finding> {
    let (require, mut findings) = (&scenario.require, Vec::new());
    for group in &point.groups {
        let written = scenario.group.iter().find(|one| one.name == group.name);
        let hears = point.changes.is_some() && written.is_some_and(Group::follows);
        of_group(require, group, hears, &mut findings);
    }
    if let Some(most) = require.memory_growth_percent {
        let memory = |sample: &Sample| {
            let octets = sample.server_anonymous.or(sample.server_resident)?;
            Some(octets as f64)
        };
        findings.push(growth("memory of the server", most, &point.samples, memory));
    }
    if let Some(most) = require.latency_growth_percent {
        for (what, of_sample) in [
            (
                "median recovery",
                (|sample| sample.recovery) as fn(&Sample) -> Option<[f64; 2]>,
            ),
            ("median propagation", |sample| sample.propagation),
        ] {
            // What this scenario does not do, does not grow.
            if point
                .samples
                .iter()
                .any(|sample| of_sample(sample).is_some())
            {
                let median = |sample: &Sample| of_sample(sample).map(|[median, _]| median);
                findings.push(growth(what, most, &point.samples, median));
            }
        }
    }
    let total = point.total();
    for (name, least) in &require.at_least {
        // Names were checked with the scenario.
        let found = count_of_name(name).map_or(0, |count| total.counted(count));
        findings.push(Finding {
            what: name.clone(),
            expected: format!("at least {least}"),
            found: found.to_string(),
            holds: found >= *least,
        });
    }
    findings
}

/// `hears`: its relays should be told of changes.
fn of_group(require: &Require, group: &GroupResult, hears: bool, findings: &mut Vec<Finding>) {
    let Measures {
        recovery,
        propagation,
        ..
    } = &group.measures;
    if let Some(most) = require.slowest_to_median
        && !recovery.is_empty()
    {
        let median = recovery.quantile(0.5);
        let ratio = recovery.max() / median.max(LEAST_MEDIAN);
        findings.push(Finding {
            what: format!("slowest to median recovery, {}", group.name),
            expected: format!("at most {most}"),
            found: format!("{ratio:.2} ({:.3} s to {median:.3} s)", recovery.max()),
            holds: ratio <= most,
        });
    }
    if let Some(most) = require.propagation_p99
        && (hears || !propagation.is_empty())
    {
        findings.push(at_most(
            format!("99th percentile of propagation, {}", group.name),
            most.get().as_secs_f64(),
            propagation,
        ));
    }
    let asked = group.measures.counted(Count::UdpQueries);
    let not_sent = group.measures.counted(Count::UdpNotSent);
    if not_sent > 0 {
        findings.push(Finding {
            what: format!("UDP queries of the rate, {}", group.name),
            expected: "all sent".into(),
            found: format!(
                "{not_sent} of {} not sent for want of room: too many waited for their answers (`in-flight`), so that latencies \
                 are those of the others only",
                asked + not_sent
            ),
            holds: false,
        });
    }
    if let Some(most) = require.udp_lost_percent
        && asked > 0
    {
        let lost = group.measures.counted(Count::UdpLost);
        let percent = 100.0 * lost as f64 / asked as f64;
        findings.push(Finding {
            what: format!("lost UDP queries, {}", group.name),
            expected: format!("at most {most} %"),
            found: format!("{percent:.3} % ({lost} of {asked})"),
            holds: percent <= most,
        });
    }
}

fn at_most(what: String, seconds: f64, times: &Times) -> Finding {
    let expected = format!("at most {seconds} s");
    if times.is_empty() {
        return Finding {
            what,
            expected,
            found: "nothing was measured: no change was told".into(),
            holds: false,
        };
    }
    let found = times.quantile(0.99);
    Finding {
        what,
        expected,
        found: format!("{found:.6} s"),
        holds: found <= seconds,
    }
}

/// Compares the mean of a figure in the first quarter of the run with that in the last one.
fn growth(
    what: &str,
    most: f64,
    samples: &[Sample],
    figure: impl Fn(&Sample) -> Option<f64>,
) -> Finding {
    let what = format!("growth of {what}, first quarter to last");
    let expected = format!("at most {most} %");
    let end = samples.last().map_or(0.0, |sample| sample.at);
    let mean = |from: f64, to: f64| {
        let within = samples
            .iter()
            .filter(|sample| sample.at > from * end && sample.at <= to * end);
        let figures: Vec<f64> = within.filter_map(&figure).collect();
        let mean = figures.iter().sum::<f64>() / figures.len() as f64;
        (figures.len() >= LEAST_SAMPLES).then_some(mean)
    };
    let (Some(first), Some(last)) = (mean(0.0, 0.25), mean(0.75, 1.0)) else {
        return Finding {
            what,
            expected,
            found: "not tested: the run was too short for its interval".to_owned(),
            holds: true,
        };
    };
    let percent = match first > 0.0 {
        true => 100.0 * (last - first) / first,
        false => 0.0,
    };
    Finding {
        what,
        expected,
        found: format!("{percent:.1} %"),
        holds: percent <= most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn point(recoveries: &[u64], lost: u64, memory: &[u64]) -> Point {
        let mut measures = Measures::default();
        for ms in recoveries {
            measures.recovery.record(Duration::from_millis(*ms));
            measures.propagation.record(Duration::from_millis(*ms));
        }
        measures.count(Count::UdpQueries, 1_000);
        measures.count(Count::UdpLost, lost);
        let sample = |(at, octets): (usize, &u64)| Sample {
            at: (at + 1) as f64,
            server_anonymous: Some(*octets),
            ..Sample::default()
        };
        Point {
            groups: vec![GroupResult {
                name: "one".into(),
                relays: 1,
                at_once: 1,
                seconds: 1.0,
                measures,
            }],
            changes: Some(Default::default()),
            samples: memory.iter().enumerate().map(sample).collect(),
            ..Point::default()
        }
    }

    fn found(require: &str, point: &Point) -> Vec<Finding> {
        let scenario = format!(
            "[[group]]\nname = \"one\"\nfamily = 4\nbehaviour = \"follow\"\n[require]\n{require}"
        );
        findings(&toml::from_str(&scenario).unwrap(), point)
    }

    fn holds(require: &str, point: &Point) -> Vec<bool> {
        let findings = found(require, point);
        findings.iter().map(|finding| finding.holds).collect()
    }

    #[test]
    fn each_figure_is_compared() {
        let good = point(&[100, 100, 250], 1, &[]);
        let bad = point(&[100, 100, 350], 2, &[]);
        for require in [
            "slowest-to-median = 3",
            "propagation-p99 = \"300ms\"",
            "udp-lost-percent = 0.1",
        ] {
            assert_eq!(holds(require, &good), [true], "{require}");
            assert_eq!(holds(require, &bad), [false], "{require}");
        }
        let short = point(&[1, 1, 100], 0, &[]);
        assert_eq!(holds("slowest-to-median = 3", &short), [true]);
        assert_eq!(holds("[require.at-least]\nudp-lost = 2", &good), [false]);
        assert_eq!(holds("[require.at-least]\nudp-lost = 2", &bad), [true]);
        assert_eq!(holds("", &bad), [false; 0]);
    }

    #[test]
    fn growth_is_from_the_first_quarter_to_the_last() {
        let require = "memory-growth-percent = 20";
        // What happens between does not count.
        assert_eq!(
            holds(
                require,
                &point(&[], 0, &[100, 100, 900, 900, 900, 900, 110, 120])
            ),
            [true]
        );
        assert_eq!(
            holds(
                require,
                &point(&[], 0, &[100, 100, 100, 100, 100, 100, 120, 130])
            ),
            [false]
        );
        // Too little to say anything.
        let short = point(&[], 0, &[100, 900, 900]);
        assert_eq!(holds(require, &short), [true]);
        assert!(found(require, &short)[0].found.starts_with("not tested"));
    }

    #[test]
    fn a_group_that_was_told_of_no_change_does_not_pass() {
        let mut silent = point(&[], 0, &[]);
        let require = "propagation-p99 = \"300ms\"";
        assert_eq!(holds(require, &silent), [false]);
        assert!(
            found(require, &silent)[0]
                .found
                .starts_with("nothing was measured")
        );
        // Without changes there is nothing to hear.
        silent.changes = None;
        assert_eq!(holds(require, &silent), [false; 0]);
    }

    #[test]
    fn queries_that_were_not_sent_are_told_whatever_is_required() {
        let mut point = point(&[], 0, &[]);
        assert_eq!(holds("", &point), [false; 0]);
        point.groups[0].measures.count(Count::UdpNotSent, 500);
        let found = found("", &point);
        assert!(!found[0].holds);
        assert!(
            found[0]
                .found
                .starts_with("500 of 1500 not sent for want of room")
        );
    }
}
