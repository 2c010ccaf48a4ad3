//! Distributions that one thread counts and any thread reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of how long a commit may take, in microseconds: from a fast disk to one that hangs.
const COMMIT_BOUNDS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];
/// Upper bounds of how many records a batch may have.
const BATCH_BOUNDS: &[u64] = &[
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 100_000,
];

/// How values are distributed over ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// The greatest value of each range, ascending. What is greater than the last is in a range of its own.
    pub bounds: &'static [u64],
    /// Values in each range; one more than there are bounds.
    pub counts: Vec<u64>,
    /// Sum of all values.
    pub sum: u64,
}

impl Distribution {
    /// Values counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A distribution that is being counted, by one thread.
pub(crate) struct Meter {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Meter {
    fn new(bounds: &'static [u64]) -> Meter {
        Meter {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    fn add(&self, value: u64) {
        let range = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(range) {
            count.fetch_add(1, Relaxed);
        }
        self.sum.fetch_add(value, Relaxed);
    }

    /// What was counted so far.
    pub(crate) fn read(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            counts: self
                .counts
                .iter()
                .map(|count| count.load(Relaxed))
                .collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// What the thread that writes measures of its batches.
pub(crate) struct CommitMeters {
    /// Microseconds of writing and syncing.
    pub(crate) micros: Meter,
    /// Records.
    pub(crate) records: Meter,
}

impl CommitMeters {
    /// Counts a batch.
    pub(crate) fn add(&self, records: u32, took: Duration) {
        self.micros
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.records.add(records.into());
    }
}

impl Default for CommitMeters {
    fn default() -> CommitMeters {
        CommitMeters {
            micros: Meter::new(COMMIT_BOUNDS),
            records: Meter::new(BATCH_BOUNDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_in_the_range_whose_bound_it_does_not_exceed() {
        let meter = Meter::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 5_000] {
            meter.add(value);
        }
        let read = meter.read();
        assert_eq!((read.counts.as_slice(), read.sum), (&[2, 2, 2][..], 5_062));
        assert_eq!(read.count(), 6);
    }

    #[test]
    fn bounds_ascend() {
        for bounds in [COMMIT_BOUNDS, BATCH_BOUNDS] {
            assert!(bounds.is_sorted() && bounds[0] > 0);
        }
    }
}
