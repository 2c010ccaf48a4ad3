//! An interval as one line, for logs.

use std::fmt::Write as _;

use super::{SoFar, number, states};

/// The line.
pub(super) fn of(so_far: &SoFar<'_>) -> String {
    let sample = so_far.sample;
    let mut line = format!("{:>6.1} s {}", sample.at, states(sample).join(", "));
    for (rate, what) in [
        (sample.bindings_per_second, "bindings/s"),
        (sample.messages_per_second, "messages/s"),
        (sample.udp_per_second, "UDP/s"),
    ] {
        if rate > 0.0 {
            let _ = write!(line, "; {} {what}", number::count(rate));
        }
    }
    let _ = write!(line, "; {}/s", number::octets(sample.octets_per_second));
    for (pair, what) in [
        (sample.recovery, "recovery"),
        (sample.propagation, "propagation"),
        (sample.udp, "UDP"),
    ] {
        if let Some([median, p99]) = pair {
            let _ = write!(
                line,
                "; {what} p50 {} p99 {}",
                number::seconds(median),
                number::seconds(p99)
            );
        }
    }
    if let (Some(cpus), Some(memory)) = (sample.server_cpus, sample.server_resident) {
        let _ = write!(
            line,
            "; server {cpus:.2} CPUs {}",
            number::octets(memory as f64)
        );
    }
    let _ = write!(line, "; {} faults", sample.faults);
    line
}

#[cfg(test)]
mod tests {
    use super::super::Stage;
    use super::*;
    use crate::measure::Measures;
    use crate::result::{Sample, State};
    use std::collections::BTreeMap;

    #[test]
    fn only_what_there_is_is_told() {
        let mut sample = Sample {
            at: 2.0,
            states: BTreeMap::from([
                (State::Recovering, 7),
                (State::CatchingUp, 2),
                (State::Done, 0),
            ]),
            bindings_per_second: 12_345.0,
            octets_per_second: 2e6,
            recovery: Some([0.012, 1.5]),
            faults: 3,
            ..Sample::default()
        };
        let told = |sample: &Sample| {
            of(&SoFar {
                sample,
                total: &Measures::default(),
                faults: &BTreeMap::new(),
                stage: Stage::Running,
                duration: 5.0,
            })
        };
        assert_eq!(
            told(&sample),
            "   2.0 s 7 recovering, 2 catching up; 12.3 k bindings/s; 2.00 MB/s; recovery p50 12.0 ms p99 1.50 s; 3 faults"
        );
        sample.server_cpus = Some(0.5);
        sample.server_resident = Some(3_000_000);
        assert!(told(&sample).ends_with("; server 0.50 CPUs 3.00 MB; 3 faults"));
    }
}
