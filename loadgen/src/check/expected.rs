//! What an answer is compared with.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use leaseq_requestor::Family;
use leaseq_wire::INFINITY;

use super::picture::Ended;
use crate::changes::Schedule;
use crate::data::{Inventory, Rows};
use crate::measure::clock::now_ns;
use crate::scenario::By;
use crate::work::board::Board;

/// What a query is compared with.
#[derive(Clone, Debug)]
pub struct Expected {
    /// What the store holds. Without it only the form of the answer is checked.
    pub inventory: Option<Arc<Inventory>>,
    /// What changes meanwhile.
    pub schedule: Option<Arc<Schedule>>,
    /// Which changes have been made.
    pub board: Arc<Board>,
    /// What the query is by.
    pub by: By,
    /// The relay that it is about.
    pub relay: u32,
    /// The server's clock is ours: it runs on this machine.
    pub is_local: bool,
}

/// A version of a binding: the number of the change that made it; 0: as it was at first.
pub(crate) type Version = u64;

/// What a lease is in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It is not leased.
    Ended,
    /// It runs until then, in Unix seconds.
    Until(i64),
    /// It runs for ever, or nobody knows until when.
    Endless,
    /// It runs; until when depends on the time of a change that is not known here, but that is some time during this run.
    Renewed,
}

impl Expected {
    /// The rows that the query is about.
    pub(super) fn rows<'i>(&self, inventory: &'i Inventory) -> Rows<'i> {
        inventory.rows(self.by, self.relay)
    }

    /// Changes of a family that were submitted so far.
    pub(crate) fn submitted(&self, family: Family) -> u64 {
        self.schedule
            .as_ref()
            .map_or(0, |_| self.board.submitted(family))
    }

    /// Changes of a family that were acknowledged so far.
    pub(super) fn acknowledged(&self, family: Family) -> u64 {
        self.schedule
            .as_ref()
            .map_or(0, |_| self.board.acknowledged(family))
    }

    /// The newest version of a row with a number up to this one.
    #[inline]
    pub(crate) fn latest(&self, row: u32, upto: u64) -> Version {
        match &self.schedule {
            Some(schedule) if upto > 0 => schedule.latest(row, upto),
            _ => 0,
        }
    }

    /// The change is of this row.
    pub(super) fn is_of(&self, version: Version, row: u32) -> bool {
        let schedule = self.schedule.as_ref();
        version == 0 || schedule.is_some_and(|schedule| schedule.row(version) == row)
    }

    /// The change ends the lease.
    pub(super) fn is_release(&self, version: Version) -> bool {
        let schedule = self.schedule.as_ref();
        version > 0 && schedule.is_some_and(|schedule| schedule.is_release(version))
    }

    /// Versions of a row from the newest one on backwards to an oldest one, both included, as far as there are so many.
    pub(crate) fn versions(
        &self,
        oldest: Version,
        newest: Version,
    ) -> impl Iterator<Item = Version> + '_ {
        let mut next = Some(newest);
        std::iter::from_fn(move || {
            let version = next?;
            let schedule = self.schedule.as_ref().filter(|_| version > oldest);
            next = schedule.map(|schedule| schedule.before(version));
            Some(version)
        })
        .take(MOST_VERSIONS)
    }

    /// What a row is in a version.
    pub(super) fn life(&self, inventory: &Inventory, row: u32, version: Version) -> Life {
        let first = inventory.first(row);
        if version > 0 {
            return match (self.is_release(version), first.valid) {
                (true, _) => Life::Ended,
                (false, None | Some(INFINITY)) => Life::Endless,
                (false, Some(_)) => Life::Renewed,
            };
        }
        match (first.is_active, first.cltt, first.valid) {
            (false, ..) => Life::Ended,
            (true, Some(cltt), Some(valid)) if valid != INFINITY => {
                Life::Until(i64::from(cltt) + i64::from(valid))
            }
            (true, ..) => Life::Endless,
        }
    }

    /// A version may be over at some time up to this one: released, or its time has run out.
    pub(crate) fn may_be_over(
        &self,
        inventory: &Inventory,
        row: u32,
        version: Version,
        upto: i64,
    ) -> bool {
        match self.life(inventory, row, version) {
            Life::Ended => true,
            Life::Until(end) => end <= upto,
            Life::Endless => false,
            Life::Renewed => {
                let valid = inventory.first(row).valid.unwrap_or(INFINITY);
                let made = self.made_at(inventory.family(), version);
                made.is_some_and(|made| made + i64::from(valid) <= upto)
            }
        }
    }

    /// Of the versions of a row that may be told, those that may be over at some time up to this one. `None`: none of them.
    pub(super) fn ended(
        &self,
        inventory: &Inventory,
        row: u32,
        oldest: Version,
        submitted: u64,
        upto: i64,
    ) -> Option<Ended> {
        let newest = self.latest(row, submitted);
        let versions = self.versions(oldest, newest);
        let mut over = versions.filter(|version| self.may_be_over(inventory, row, *version, upto));
        let newest = over.next()?;
        let oldest = over.last().unwrap_or(newest);
        Some(Ended {
            row,
            oldest,
            newest,
        })
    }

    /// When a change was made, in Unix seconds by our clock. `None`: unknown.
    pub(super) fn made_at(&self, family: Family, version: Version) -> Option<i64> {
        let (submitted, _) = self.board.times(family, version)?;
        let since = now_ns().checked_sub(submitted).filter(|_| submitted > 0)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        Some(now.as_secs() as i64 - (since / 1_000_000_000) as i64)
    }

    /// A version in words.
    pub(super) fn describe(&self, version: Version) -> Described {
        Described {
            version,
            is_release: self.is_release(version),
        }
    }
}

/// Versions that are looked at at most: a binding that changes all the time must not hold the reader up.
const MOST_VERSIONS: usize = 256;

/// A version in words.
pub(super) struct Described {
    version: Version,
    is_release: bool,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.version, self.is_release) {
            (0, _) => f.write_str("as it was at first"),
            (version, true) => write!(f, "as released by change {version}"),
            (version, false) => write!(f, "as renewed by change {version}"),
        }
    }
}
