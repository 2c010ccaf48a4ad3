//! Whether the generator itself held things up: figures then say more about it than about the server.

use crate::measure::Times;
use crate::result::{Bottleneck, ChangesResult, Usage};
use crate::work::plan::Outcome;

/// A thread that uses more of a CPU than this has no time for what comes.
const BUSY_THREAD: f64 = 0.9;
/// Timers that run later than this at the 99th percentile, in seconds, shift what is measured.
const LATE: f64 = 0.020;
/// A machine that is busier than this ...
const BUSY_MACHINE: f64 = 0.95;
/// ... by the generator for more than this share.
const LARGE_SHARE: f64 = 0.5;

/// What the generator's own processes were like.
pub(super) struct Own<'a> {
    pub outcome: &'a Outcome,
    pub usage: &'a Usage,
    pub changes: Option<&'a ChangesResult>,
    /// Share (0 to 1) of the machine's CPUs that was used by whomever.
    pub machine: f64,
    pub cpus: u32,
    /// How long it all was watched, in seconds.
    pub seconds: f64,
}

/// Judges it.
pub(super) fn judge(own: &Own<'_>) -> Bottleneck {
    let seconds = own.seconds.max(1e-3);
    let busiest = own.outcome.thread_cpu.iter().copied().fold(0.0, f64::max) / seconds;
    let share_of_machine = own.usage.cpu_seconds / (seconds * f64::from(own.cpus.max(1)));
    let mut reasons = Vec::new();
    if busiest > BUSY_THREAD {
        reasons.push(format!(
            "the generator's busiest thread used {:.0} % of a CPU: with more CPUs, or on a machine of its own, it would do more",
            100.0 * busiest
        ));
    }
    let late = own.outcome.scheduling.quantile(0.99);
    if late > LATE {
        reasons.push(format!(
            "the generator's threads came to run late, by {:.0} ms at the 99th percentile: so much may be in every time measured",
            1e3 * late
        ));
    }
    if own.machine > BUSY_MACHINE && share_of_machine > LARGE_SHARE * own.machine {
        reasons.push(format!(
            "the machine's CPUs were used to {:.0} %, more than half of it by the generator: the server had only the rest",
            100.0 * own.machine
        ));
    }
    if let Some(changes) = own.changes
        && is_late(&changes.lateness)
    {
        reasons.push(format!(
            "changes were submitted {:.0} ms late at the 99th percentile: the feed did not take them, or the generator had no time",
            1e3 * changes.lateness.quantile(0.99)
        ));
    }
    for group in &own.outcome.groups {
        let lateness = &group.measures.udp_lateness;
        if is_late(lateness) {
            reasons.push(format!(
                "group {}: queries over UDP were sent {:.0} ms late at the 99th percentile: the generator had no time, or too many were unanswered",
                group.name,
                1e3 * lateness.quantile(0.99)
            ));
        }
    }
    Bottleneck {
        scheduling: own.outcome.scheduling.clone(),
        busiest_thread: busiest,
        machine: own.machine,
        reasons,
    }
}

fn is_late(times: &Times) -> bool {
    times.quantile(0.99) > LATE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measures;
    use crate::result::GroupResult;
    use std::time::Duration;

    fn reasons(thread: f64, late_ms: u64, cpu: f64, machine: f64, changes_late_ms: u64) -> usize {
        let mut outcome = Outcome {
            thread_cpu: vec![0.1, thread],
            ..Outcome::default()
        };
        outcome.scheduling.record(Duration::from_millis(late_ms));
        let mut changes = ChangesResult::default();
        changes
            .lateness
            .record(Duration::from_millis(changes_late_ms));
        let usage = Usage {
            cpu_seconds: cpu,
            ..Usage::default()
        };
        let judged = judge(&Own {
            outcome: &outcome,
            usage: &usage,
            changes: Some(&changes),
            machine,
            cpus: 2,
            seconds: 10.0,
        });
        judged.reasons.len()
    }

    #[test]
    fn queries_that_were_sent_late_are_a_reason() {
        let judged = |late_ms| {
            let mut measures = Measures::default();
            measures.udp_lateness.record(Duration::from_millis(late_ms));
            let group = GroupResult {
                name: "asking".into(),
                relays: 1,
                at_once: 1,
                seconds: 10.0,
                measures,
            };
            let outcome = Outcome {
                groups: vec![group],
                ..Outcome::default()
            };
            judge(&Own {
                outcome: &outcome,
                usage: &Usage::default(),
                changes: None,
                machine: 0.5,
                cpus: 2,
                seconds: 10.0,
            })
            .reasons
        };
        assert!(judged(2).is_empty());
        assert!(judged(30)[0].contains("group asking"));
    }

    #[test]
    fn each_reason_counts_by_itself() {
        assert_eq!(reasons(5.0, 2, 5.0, 0.5, 1), 0);
        assert_eq!(reasons(9.5, 2, 5.0, 0.5, 1), 1);
        assert_eq!(reasons(5.0, 30, 5.0, 0.5, 1), 1);
        assert_eq!(reasons(5.0, 2, 15.0, 0.99, 1), 1);
        // Busy by the server.
        assert_eq!(reasons(5.0, 2, 5.0, 0.99, 1), 0);
        assert_eq!(reasons(5.0, 2, 5.0, 0.5, 30), 1);
    }
}
