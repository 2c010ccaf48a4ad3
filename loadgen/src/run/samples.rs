//! Makes samples of what the workers tell once an interval and of what processes use meanwhile.

use crate::measure::usage::Reading;
use crate::measure::{Count, Measures, Times};
use crate::result::Sample;
use crate::work::plan::Progress;

/// The samples so far, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub all: Vec<Sample>,
    /// Everything that was told so far.
    pub total: Measures,
    last: f64,
}

impl Samples {
    /// Adds what was told in an interval.
    pub fn add(
        &mut self,
        progress: &Progress,
        server: Option<&Reading>,
        generator: &Reading,
    ) -> &Sample {
        let measures = &progress.since_last;
        let seconds = (progress.at - self.last).max(1e-3);
        let rate = |count| measures.counted(count) as f64 / seconds;
        let sample = Sample {
            at: progress.at,
            states: progress.states.clone(),
            bindings_per_second: rate(Count::Bindings),
            messages_per_second: rate(Count::StreamMessages),
            udp_per_second: rate(Count::UdpAnswers),
            octets_per_second: rate(Count::Octets),
            recoveries: measures.counted(Count::Recoveries),
            recovery: pair(&measures.recovery),
            propagation: pair(&measures.propagation),
            udp: pair(&measures.udp),
            faults: progress.faults.values().sum(),
            server_cpus: server.map(|reading| reading.cpus),
            server_resident: server.map(|reading| reading.resident),
            server_anonymous: server.map(|reading| reading.anonymous),
            generator_cpus: generator.cpus,
        };
        self.last = progress.at;
        self.total.add(measures);
        self.all.push(sample);
        self.all
            .last()
            .unwrap_or_else(|| unreachable!("one was added"))
    }
}

/// Median and 99th percentile, in seconds.
fn pair(times: &Times) -> Option<[f64; 2]> {
    (!times.is_empty()).then(|| [times.quantile(0.5), times.quantile(0.99)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_are_of_the_interval() {
        let mut samples = Samples::default();
        let mut progress = Progress::default();
        progress.since_last.count(Count::Bindings, 500);
        progress.since_last.recovery.record(Duration::from_secs(1));
        let reading = Reading::default();
        progress.at = 1.0;
        assert_eq!(
            samples.add(&progress, None, &reading).bindings_per_second,
            500.0
        );
        progress.at = 3.0;
        let sample = samples.add(&progress, Some(&reading), &reading);
        assert_eq!(sample.bindings_per_second, 250.0);
        assert_eq!((sample.udp, sample.server_cpus), (None, Some(0.0)));
        assert!((sample.recovery.unwrap()[0] - 1.0).abs() < 0.01);
        assert_eq!(samples.total.counted(Count::Bindings), 1_000);
        assert_eq!(samples.all.len(), 2);
    }
}
