//! Which binding each change is of.

use std::hash::{BuildHasher as _, Hasher as _};

use ahash::RandomState;

/// Which rows of an inventory change, in which order, and which changes end a lease. It needs no memory: rows are taken in
/// the order of a fixed permutation, round and round.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Rows that change.
    rows: u64,
    /// Rows there are.
    total: u64,
    /// The permutation takes place p to p * multiplier + offset, of so many rows.
    multiplier: u64,
    inverse: u64,
    offset: u64,
    release_percent: u32,
    hasher: RandomState,
}

impl Schedule {
    /// `rows` of the first `total` rows change (at least one, at most all). Of a hundred changes `release_percent` end the lease: at
    /// most 50, for a lease that has ended begins again before it ends again.
    #[must_use]
    pub fn new(rows: u32, total: u32, release_percent: u32, seed: u64) -> Self {
        let total = u64::from(total.max(1));
        let rows = u64::from(rows).clamp(1, total);
        let hasher = RandomState::with_seeds(seed, 0x6c67, 0x7363, 0x6865);
        // Near the golden ratio, so that neighbours in time are far apart in place, and that each relay has its turn.
        let mut multiplier = (total as f64 * 0.618_033_988_749_895) as u64 % total;
        while gcd(multiplier, total) != 1 {
            multiplier = (multiplier + 1) % total;
        }
        Self {
            rows,
            total,
            multiplier,
            inverse: inverse(multiplier, total),
            offset: hasher.hash_one(0_u64) % total,
            release_percent: release_percent.min(50),
            hasher,
        }
    }

    /// How many rows change.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The row that a change changes; changes are numbered from 1 on.
    #[must_use]
    pub fn row(&self, change: u64) -> u32 {
        let place = change.saturating_sub(1) % self.rows;
        ((place * self.multiplier + self.offset) % self.total) as u32
    }

    /// The first change of a row. `None`: it never changes.
    #[must_use]
    pub fn first(&self, row: u32) -> Option<u64> {
        if u64::from(row) >= self.total {
            return None;
        }
        let place = (u64::from(row) + self.total - self.offset) % self.total;
        let place = place * self.inverse % self.total;
        (place < self.rows).then_some(place + 1)
    }

    /// The change ends the lease.
    #[must_use]
    pub fn is_release(&self, change: u64) -> bool {
        let place = change.saturating_sub(1);
        // Every second time that a row's turn comes it may be.
        let turn = place / self.rows + place % self.rows;
        if turn & 1 == 0 {
            return false;
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(change);
        hasher.finish() % 50 < u64::from(self.release_percent)
    }

    /// The newest change of a row with a number up to this one; 0: none, the row is as it was at first.
    #[must_use]
    pub fn latest(&self, row: u32, upto: u64) -> u64 {
        match self.first(row) {
            Some(first) if first <= upto => upto - (upto - first) % self.rows,
            _ => 0,
        }
    }

    /// The change of the same row before this one; 0: none.
    #[must_use]
    pub fn before(&self, change: u64) -> u64 {
        change.saturating_sub(self.rows)
    }

    /// The change of the same row after this one.
    #[must_use]
    pub fn after(&self, change: u64) -> u64 {
        change.saturating_add(self.rows)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => gcd(b, a % b),
    }
}

/// The number whose product with `number` is 1 modulo `modulus`; they have no common divisor.
fn inverse(number: u64, modulus: u64) -> u64 {
    let (mut r, mut next_r) = (modulus as i64, number as i64);
    let (mut t, mut next_t) = (0_i64, 1_i64);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (t, next_t) = (next_t, t - quotient * next_t);
    }
    t.rem_euclid(modulus as i64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_chosen_row_has_its_turn_and_is_found_again() {
        for (rows, total) in [
            (1, 1),
            (1, 7),
            (5, 7),
            (7, 7),
            (100, 1_000),
            (999, 1_000),
            (9, 2),
        ] {
            let schedule = Schedule::new(rows, total, 20, 42);
            let period = schedule.rows();
            let chosen: BTreeSet<u32> = (1..=period).map(|n| schedule.row(n)).collect();
            assert_eq!(chosen.len() as u64, period);
            for change in 1..=3 * period {
                let row = schedule.row(change);
                assert_eq!(schedule.latest(row, change), change);
                assert_eq!(schedule.latest(row, change + period - 1), change);
                assert_eq!(
                    schedule.latest(row, schedule.after(change)),
                    change + period
                );
                assert_eq!(schedule.latest(row, change - 1), schedule.before(change));
            }
            for row in 0..total {
                assert_eq!(schedule.first(row).is_some(), chosen.contains(&row));
            }
        }
    }

    #[test]
    fn releases_are_as_many_as_asked_for_and_never_two_of_a_row_in_turn() {
        let schedule = Schedule::new(1_000, 5_000, 20, 1);
        let releases = (1..=100_000).filter(|n| schedule.is_release(*n)).count();
        assert!((19_000..21_000).contains(&releases), "{releases}");
        assert!(
            (1..100_000)
                .all(|n| { !(schedule.is_release(n) && schedule.is_release(schedule.after(n))) })
        );
        let none = Schedule::new(1_000, 5_000, 0, 1);
        assert!(!(1..10_000).any(|n| none.is_release(n)));
    }

    #[test]
    fn rows_behind_those_that_can_change_never_do() {
        let schedule = Schedule::new(40, 60, 20, 1);
        assert!((1..=500).all(|change| schedule.row(change) < 60));
        assert!(
            (60..200).all(|row| schedule.first(row).is_none() && schedule.latest(row, 500) == 0)
        );
    }

    #[test]
    fn seeds_differ_and_changes_are_spread_over_the_rows() {
        let (one, other) = (
            Schedule::new(100, 100, 20, 1),
            Schedule::new(100, 100, 20, 2),
        );
        assert!((1..50).any(|n| one.is_release(n) != other.is_release(n)));
        let schedule = Schedule::new(5_000_000, 5_000_000, 20, 1);
        let relays: BTreeSet<u32> = (1..=5_000).map(|n| schedule.row(n) / 1_000).collect();
        assert!(relays.len() > 1_500, "{}", relays.len());
    }
}
