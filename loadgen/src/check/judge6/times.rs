//! The lifetimes of a DHCPv6 lease: which version of it they are of, and whether they can be true.

use leaseq_requestor::Family;
use leaseq_wire::INFINITY;
use leaseq_wire::v6::Lease;

use super::Judge;
use crate::changes::mark::{lifetime_gap, preferred};
use crate::check::expected::{Life, Version};
use crate::check::judge4::check_left;
use crate::check::{ROUNDING, SLACK};
use crate::fault::FaultKind;

/// Versions older than those that may be told which are looked for.
const MOST_OLDER: usize = 64;

impl Judge<'_, '_> {
    /// Which version of a live lease is told: the newest one with such lifetimes. `None`: nothing tells.
    pub(super) fn version_of(
        &self,
        row: u32,
        lease: &Lease<'_>,
        oldest: Version,
    ) -> Result<Option<Version>, (FaultKind, String)> {
        let (expected, inventory) = (self.expected, self.inventory);
        let newest = expected.latest(row, expected.submitted(Family::V6));
        let first = inventory.first(row);
        let mark = self.mark.filter(|mark| expected.is_of(mark.number, row));
        let lives = |version| expected.life(inventory, row, version) != Life::Ended;
        let valid = first.valid.unwrap_or(INFINITY);
        let not_leased = || {
            let text = format!("told as leased, expected {}", expected.describe(newest));
            (FaultKind::Different, text)
        };
        let lifetimes = || {
            let (valid, preferred) = (lease.valid(), lease.preferred());
            format!("came {valid} s valid, {preferred} s preferred")
        };
        if lease.preferred() > lease.valid() {
            let text = format!("preferred for longer than valid: {}", lifetimes());
            return Err((FaultKind::Times, text));
        }
        if (lease.valid() == INFINITY) != (valid == INFINITY) {
            return Err((FaultKind::Times, format!("valid lifetime: {}", lifetimes())));
        }
        if valid == INFINITY {
            // Such lifetimes are the same in each version, so only the mark tells.
            let lives = |version: &Version| lives(*version);
            return match mark {
                Some(mark) => Ok(Some(mark.number).filter(lives)),
                None if expected
                    .versions(oldest, newest)
                    .any(|version| lives(&version)) =>
                {
                    Ok(None)
                }
                None => Err(not_leased()),
            };
        }
        let is_told =
            |version: &Version| match (lease.valid() - lease.preferred(), lease.preferred()) {
                // It has run out, and so has the gap.
                (_, 0) => {
                    let is_marked = mark.is_some_and(|mark| mark.number == *version);
                    self.check_times(row, *version, is_marked, lease).is_ok()
                }
                (gap, _) if *version == 0 => gap == valid.saturating_sub(first.preferred),
                (gap, _) => gap == lifetime_gap(*version, valid),
            };
        let mut versions = expected
            .versions(oldest, newest)
            .filter(|version| lives(*version));
        if let Some(version) = versions.find(&is_told) {
            return Ok(Some(version));
        }
        let older = expected.versions(0, oldest).take(MOST_OLDER);
        // Of a binding that often changes not all older versions are looked at, but always the first one.
        let older = older.chain([0]).filter(|version| lives(*version));
        if let Some(version) = older.filter(|version| *version < oldest).find(is_told) {
            return Ok(Some(version));
        }
        if !expected.versions(oldest, newest).any(lives) {
            return Err(not_leased());
        }
        let text = format!(
            "lifetimes that the store never had: {}, expected {}",
            lifetimes(),
            expected.describe(newest)
        );
        Err((FaultKind::Times, text))
    }

    /// The lifetimes are those of the version; gives the last transaction about the lease, if it is known.
    pub(super) fn check_times(
        &self,
        row: u32,
        version: Version,
        is_marked: bool,
        lease: &Lease<'_>,
    ) -> Result<Option<i64>, String> {
        let first = self.inventory.first(row);
        let valid = first.valid.unwrap_or(INFINITY);
        let told =
            (valid != INFINITY).then(|| self.base + i64::from(lease.valid()) - i64::from(valid));
        let cltt = match (version, self.mark.filter(|_| is_marked)) {
            (0, _) => first.cltt.map(i64::from),
            (_, Some(mark)) => Some(i64::from(mark.at)),
            (version, None) => {
                // By our clock, and a little of time passed before it was written.
                let made = self.expected.made_at(Family::V6, version);
                let made = made.map(|made| made.min(self.base));
                match (made, told) {
                    (Some(made), Some(told)) if (made - told).abs() > SLACK + ROUNDING => {
                        return Err(format!(
                            "valid lifetime: renewed at {made}, by its end at {told}"
                        ));
                    }
                    _ => told,
                }
            }
        };
        check_left(cltt, Some(valid), self.base, Some(lease.valid()))
            .map_err(|text| format!("valid lifetime: {text}"))?;
        let preferred = match version {
            0 => first.preferred,
            version => preferred(version, valid),
        };
        let left = check_left(cltt, Some(preferred), self.base, Some(lease.preferred()));
        // Past its end it stays 0.
        let is_over = cltt.is_some_and(|cltt| cltt + i64::from(preferred) <= self.base);
        match left {
            Err(_) if is_over && lease.preferred() == 0 => {}
            Err(text) => return Err(format!("preferred lifetime: {text}")),
            Ok(()) => {}
        }
        Ok(cltt)
    }
}
