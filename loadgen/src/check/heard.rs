//! Which changes a follower has heard of, in little memory: changes mostly come in their order, so that nearly all of them are
//! below one number.

use std::collections::BTreeSet;

use ahash::AHashMap;

use super::expected::Version;
use super::picture::{Ended, Picture};
use crate::changes::Schedule;
use crate::data::Rows;

/// Changes heard that are kept above one that was not; then that one is taken to be lost.
const MOST_ABOVE: usize = 1 << 16;
/// Lost changes that are kept; more are only counted.
const MOST_LOST: usize = 1 << 16;

/// The changes that a follower has to hear of.
#[derive(Debug)]
pub(super) enum Scope {
    /// None at all.
    Nothing,
    /// All.
    All,
    /// Those of rows with these first changes, in ascending order.
    Rows(Box<[u32]>),
}

impl Scope {
    /// Changes of the rows of a query. A lease that is told only beside another one of its client need not be told when that
    /// one is over.
    pub(super) fn of(schedule: Option<&Schedule>, rows: Rows<'_>, total: u32) -> Self {
        let Some(schedule) = schedule else {
            return Self::Nothing;
        };
        if rows.len() == total as usize {
            return Self::All;
        }
        let direct = (0..rows.len()).filter(|place| rows.is_direct(*place));
        let mut firsts: Vec<u32> = direct
            .filter_map(|place| schedule.first(rows.get(place)?))
            .filter_map(|first| u32::try_from(first).ok())
            .collect();
        firsts.sort_unstable();
        match firsts.is_empty() {
            true => Self::Nothing,
            false => Self::Rows(firsts.into()),
        }
    }

    /// The next change after one.
    pub(super) fn next(&self, schedule: &Schedule, after: u64) -> u64 {
        match self {
            Self::Nothing => u64::MAX,
            Self::All => after + 1,
            Self::Rows(firsts) => {
                let round = after / schedule.rows() * schedule.rows();
                let place = firsts.partition_point(|first| u64::from(*first) <= after - round);
                match (firsts.get(place), firsts.first()) {
                    (Some(first), _) => round + u64::from(*first),
                    (None, Some(first)) => round + schedule.rows() + u64::from(*first),
                    (None, None) => u64::MAX,
                }
            }
        }
    }
}

/// What a follower has heard.
#[derive(Debug)]
pub(super) struct Heard {
    /// Nothing is known of changes up to this one.
    floor: u64,
    /// All later changes up to this one are settled: heard of, or a newer one of their binding, or lost.
    upto: u64,
    /// Changes above it that were heard of.
    above: BTreeSet<u64>,
    /// Changes up to it that should have been heard of.
    lost: BTreeSet<u64>,
    /// Lost changes beyond those.
    more_lost: u64,
    /// Bindings that were told without their version: those that are over.
    ended: AHashMap<u32, Ended>,
}

impl Heard {
    /// What a picture tells.
    pub(super) fn of(picture: &Picture) -> Option<Self> {
        let upto = picture.upto?;
        let ended = picture.ended.iter().map(|ended| (ended.row, *ended));
        Some(Self {
            upto,
            above: picture
                .changes
                .iter()
                .copied()
                .filter(|change| *change > upto)
                .collect(),
            ended: ended.collect(),
            ..Self::from(0)
        })
    }

    /// Nothing is known up to a change.
    pub(super) fn from(floor: u64) -> Self {
        Self {
            floor,
            upto: floor,
            above: BTreeSet::new(),
            lost: BTreeSet::new(),
            more_lost: 0,
            ended: AHashMap::new(),
        }
    }

    /// The oldest version of a row that may still be told.
    pub(super) fn oldest(&self, schedule: &Schedule, row: u32) -> Version {
        let last = self
            .above
            .last()
            .copied()
            .unwrap_or(self.upto)
            .max(self.upto);
        let mut version = schedule.latest(row, last);
        while version > self.upto && !self.above.contains(&version) {
            version = schedule.before(version);
        }
        while version > self.floor && self.lost.contains(&version) {
            version = schedule.before(version);
        }
        let version = if version > self.floor { version } else { 0 };
        match self.ended.get(&row) {
            Some(ended) => version.max(ended.oldest),
            None => version,
        }
    }

    /// A change was told; whether for the first time.
    pub(super) fn hear(&mut self, schedule: &Schedule, scope: &Scope, change: u64) -> bool {
        if change <= self.floor {
            return false;
        }
        let row = schedule.row(change);
        if let Some(ended) = self
            .ended
            .remove(&row)
            .filter(|ended| ended.newest > change)
        {
            // What had ended was ended by an earlier change; the later ones are still to be told.
            let mut later = schedule.after(change);
            while later <= ended.newest {
                if later <= self.upto {
                    self.lose(later);
                }
                later = schedule.after(later);
            }
        }
        let is_new = change > self.upto && self.above.insert(change);
        if !self.lost.is_empty() {
            let rows = schedule.rows();
            self.lost
                .retain(|lost| *lost > change || !(change - *lost).is_multiple_of(rows));
        }
        self.advance(schedule, scope);
        is_new
    }

    /// A binding was told as over, without a word about the change that ended it.
    pub(super) fn hear_end(&mut self, schedule: &Schedule, scope: &Scope, ended: Ended) {
        if ended.newest > self.floor {
            let rows = schedule.rows();
            self.lost.retain(|lost| {
                *lost > ended.newest || !(ended.newest - *lost).is_multiple_of(rows)
            });
            self.ended.insert(ended.row, ended);
            self.advance(schedule, scope);
        }
    }

    fn advance(&mut self, schedule: &Schedule, scope: &Scope) {
        loop {
            let next = scope.next(schedule, self.upto);
            if self.is_settled(schedule, next) {
                self.upto = next;
            } else if self.above.len() > MOST_ABOVE {
                self.lose(next);
                self.upto = next;
            } else {
                break;
            }
            while self.above.first().is_some_and(|first| *first <= self.upto) {
                self.above.pop_first();
            }
        }
    }

    fn lose(&mut self, change: u64) {
        match self.lost.len() < MOST_LOST {
            true => {
                self.lost.insert(change);
            }
            false => self.more_lost += 1,
        }
    }

    /// A change above [`Self::upto`] was heard of, or a newer one of its binding.
    fn is_settled(&self, schedule: &Schedule, change: u64) -> bool {
        if self.above.contains(&change) {
            return true;
        }
        let last = self.above.last().copied().unwrap_or_default();
        let mut later = schedule.after(change);
        while later <= last {
            if self.above.contains(&later) {
                return true;
            }
            later = schedule.after(later);
        }
        !self.ended.is_empty()
            && self
                .ended
                .get(&schedule.row(change))
                .is_some_and(|ended| ended.newest >= change)
    }

    /// Everything that was submitted has been heard of.
    pub(super) fn is_complete(&self, schedule: &Schedule, scope: &Scope, submitted: u64) -> bool {
        self.lost.is_empty() && self.more_lost == 0 && scope.next(schedule, self.upto) > submitted
    }

    /// Calls `each` with the newest change of each binding whose state has not been heard of.
    pub(super) fn unheard(
        &self,
        schedule: &Schedule,
        scope: &Scope,
        submitted: u64,
        each: &mut dyn FnMut(u64),
    ) -> u64 {
        let is_newest = |change: &u64| schedule.after(*change) > submitted;
        self.lost
            .iter()
            .copied()
            .filter(is_newest)
            .for_each(&mut *each);
        let mut change = scope.next(schedule, self.upto);
        while change <= submitted {
            if is_newest(&change) && !self.is_settled(schedule, change) {
                each(change);
            }
            change = scope.next(schedule, change);
        }
        self.more_lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lost_change_among_very_many_is_remembered_in_little_memory() {
        let schedule = Schedule::new(1_000_000, 1_000_000, 0, 1);
        let (scope, mut heard) = (Scope::All, Heard::from(0));
        for change in (1..=200_000).filter(|change| *change != 77) {
            assert!(heard.hear(&schedule, &scope, change));
            assert!(heard.above.len() <= MOST_ABOVE + 1);
        }
        assert!(!heard.is_complete(&schedule, &scope, 200_000));
        let mut unheard = Vec::new();
        heard.unheard(&schedule, &scope, 200_000, &mut |change| {
            unheard.push(change)
        });
        assert_eq!(unheard, [77]);
        // A newer change of its binding makes up for it.
        assert!(heard.hear(&schedule, &scope, 1_000_077));
        assert!(heard.is_complete(&schedule, &scope, 200_000));
    }

    #[test]
    fn a_follower_of_some_rows_waits_for_their_changes_only() {
        let schedule = Schedule::new(40, 60, 30, 2);
        let rows = [3, 17, 18, 44, 59];
        let scope = Scope::of(Some(&schedule), Rows::list(&rows), 60);
        let expected: Vec<u64> = (1..400)
            .filter(|n| rows.contains(&schedule.row(*n)))
            .collect();
        let mut change = 0;
        let mut found = Vec::new();
        while change < 400 {
            change = scope.next(&schedule, change);
            found.push(change);
        }
        found.retain(|change| *change < 400);
        assert_eq!(found, expected);
        assert!(matches!(
            Scope::of(None, Rows::list(&rows), 60),
            Scope::Nothing
        ));
    }

    proptest! {
        /// Whatever the order, what is known is what a plain list of everything heard says.
        #[test]
        fn it_knows_what_a_list_of_all_that_was_heard_knows(
            told in proptest::collection::vec(1_u64..60, 0..80),
            floor in 0_u64..20,
        ) {
            let schedule = Schedule::new(7, 9, 0, 3);
            let (scope, mut heard) = (Scope::All, Heard::from(floor));
            let mut list: Vec<u64> = Vec::new();
            for change in told {
                heard.hear(&schedule, &scope, change);
                list.extend(Some(change).filter(|change| *change > floor));
                for row in 0..9 {
                    let newest = list.iter().copied().filter(|n| schedule.row(*n) == row).max();
                    prop_assert_eq!(heard.oldest(&schedule, row), newest.unwrap_or(0));
                }
                let is_settled = |n: u64| {
                    list.iter().any(|other| *other >= n && schedule.row(*other) == schedule.row(n))
                };
                for submitted in floor..60 {
                    let complete = (floor + 1..=submitted).all(is_settled);
                    prop_assert_eq!(heard.is_complete(&schedule, &scope, submitted), complete);
                }
            }
        }
    }
}
