//! When queries are due at a fixed rate, whether or not those before were answered.

/// When the queries of a thread are due. Each place that joins adds its share of the rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// Queries a second.
    rate: f64,
    /// When the next one is due, in nanoseconds of the run's clock, and with the part of a nanosecond that rates have.
    next: f64,
    /// Queries that may wait for their answers at a time, with the part of a query that shares of them have.
    room: f64,
}

impl Pace {
    /// So many more queries a second from this time on, and so many more that may wait for their answers.
    pub fn join(&mut self, rate: f64, room: f64, now: u64) {
        self.room += room.max(0.0);
        let is_first = !self.is_asking();
        self.rate += rate.max(0.0);
        let soonest = match is_first {
            true => now as f64,
            false => self.next.min(now as f64 + self.interval()),
        };
        self.next = soonest;
    }

    /// Nothing more is due.
    pub fn stop(&mut self) {
        self.rate = 0.0;
    }

    /// Queries are or will be due.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.rate > 0.0
    }

    /// When the next query is due.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.is_asking().then_some(self.next as u64)
    }

    /// When a query was due that is to be sent by now; the next call tells of the next one.
    pub fn due(&mut self, now: u64) -> Option<u64> {
        let due = self.next().filter(|due| *due <= now)?;
        self.next += self.interval();
        Some(due)
    }

    /// Queries that may wait for their answers at a time: at least one.
    #[must_use]
    pub fn room(&self) -> usize {
        // Shares that add up to a whole number may miss it by a little.
        ((self.room - 1e-6).ceil() as usize).max(1)
    }

    fn interval(&self) -> f64 {
        1e9 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn dues(pace: &mut Pace, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| pace.due(now)).collect()
    }

    #[test]
    fn a_rate_that_divides_no_second_is_kept_over_many() {
        let mut pace = Pace::default();
        pace.join(7.0, 1.0, 5 * SECOND);
        assert_eq!(pace.next(), Some(5 * SECOND));
        let dues = dues(&mut pace, 1_005 * SECOND);
        assert!((7_000..=7_001).contains(&dues.len()));
        let gaps = dues.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.into_iter().all(|gap| gap.abs_diff(SECOND / 7) <= 1));
    }

    #[test]
    fn what_was_not_asked_in_time_stays_due() {
        let mut pace = Pace::default();
        pace.join(10.0, 1.0, 0);
        assert_eq!(pace.due(0), Some(0));
        assert_eq!(pace.due(0), None);
        assert_eq!(
            dues(&mut pace, SECOND / 2),
            [1, 2, 3, 4, 5].map(|tenth| tenth * SECOND / 10)
        );
        pace.stop();
        assert_eq!((pace.due(9 * SECOND), pace.next()), (None, None));
    }

    #[test]
    fn each_place_adds_its_share() {
        let mut pace = Pace::default();
        pace.join(1.0, 1.0, 0);
        assert_eq!(pace.due(0), Some(0));
        pace.join(3.0, 1.0, SECOND / 2);
        assert_eq!(pace.next(), Some(3 * SECOND / 4));
        assert_eq!(dues(&mut pace, 2 * SECOND - 1).len(), 5);
    }

    #[test]
    fn shares_of_the_room_add_up_to_all_of_it() {
        let mut pace = Pace::default();
        for _ in 0..30 {
            pace.join(1.0, 10.0 / 30.0, 0);
        }
        assert_eq!(pace.room(), 10);
        let mut pace = Pace::default();
        pace.join(1.0, 0.01, 0);
        assert_eq!(pace.room(), 1);
    }
}
