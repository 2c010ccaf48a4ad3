//! Makes samples of what the workers tell once an interval and of what processes use meanwhile.

use std::time::Duration;

use crate::measure::usage::Reading;
use crate::measure::{Count, Measures, Times};
use crate::result::Sample;
use crate::work::plan::Progress;

/// The samples so far, and what they come to.
#[derive(Debug)]
pub(super) struct Samples {
    pub all: Vec<Sample>,
    /// Everything that was told so far.
    pub total: Measures,
    /// Seconds of an interval.
    interval: f64,
    /// When the last sample began, and what it is made of.
    last_began: f64,
    last: Measures,
}

impl Samples {
    /// None yet.
    pub fn new(interval: Duration) -> Self {
        Self {
            all: Vec::new(),
            total: Measures::default(),
            interval: interval.as_secs_f64(),
            last_began: 0.0,
            last: Measures::default(),
        }
    }

    /// Adds what was told in an interval. A short one, as the last one often is, becomes a part of the one before: rates of some
    /// milliseconds are none.
    pub fn add(
        &mut self,
        progress: &Progress,
        server: Option<&Reading>,
        generator: &Reading,
    ) -> &Sample {
        self.total.add(&progress.since_last);
        let before = self.all.last();
        let end = before.map_or(0.0, |sample| sample.at);
        let (server, generator_cpus) = match before {
            Some(sample) if progress.at - end < self.interval / 2.0 => {
                self.last.add(&progress.since_last);
                let figures = (
                    sample.server_cpus,
                    sample.server_resident,
                    sample.server_anonymous,
                );
                let generator_cpus = sample.generator_cpus;
                self.all.pop();
                (figures, generator_cpus)
            }
            _ => {
                self.last_began = end;
                self.last = progress.since_last.clone();
                let figures = (
                    server.map(|reading| reading.cpus),
                    server.map(|reading| reading.resident),
                    server.map(|reading| reading.anonymous),
                );
                (figures, generator.cpus)
            }
        };
        let measures = &self.last;
        let seconds = (progress.at - self.last_began).max(1e-3);
        let rate = |count| measures.counted(count) as f64 / seconds;
        let (server_cpus, server_resident, server_anonymous) = server;
        self.all.push(Sample {
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
            server_cpus,
            server_resident,
            server_anonymous,
            generator_cpus,
        });
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

    #[test]
    fn rates_are_of_the_interval() {
        let mut samples = Samples::new(Duration::from_secs(1));
        let mut progress = Progress::default();
        progress.since_last.count(Count::Bindings, 500);
        progress.since_last.recovery.record(Duration::from_secs(1));
        let reading = Reading::default();
        progress.at = 1.0;
        let first = samples.add(&progress, None, &reading);
        assert_eq!(
            (first.bindings_per_second, first.server_cpus),
            (500.0, None)
        );
        progress.at = 3.0;
        let sample = samples.add(&progress, Some(&reading), &reading);
        assert_eq!(sample.bindings_per_second, 250.0);
        assert_eq!((sample.udp, sample.server_cpus), (None, Some(0.0)));
        assert!((sample.recovery.unwrap()[0] - 1.0).abs() < 0.01);
        // The last one is short.
        progress.at = 3.2;
        let last = samples.add(&progress, None, &reading);
        assert!((last.bindings_per_second - 1_000.0 / 2.2).abs() < 1e-6);
        assert_eq!((last.at, last.server_cpus), (3.2, Some(0.0)));
        assert_eq!(samples.total.counted(Count::Bindings), 1_500);
        assert_eq!(samples.all.len(), 2);
    }
}
