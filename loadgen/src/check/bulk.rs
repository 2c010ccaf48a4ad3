//! One bulk answer.

use std::net::Ipv4Addr;
use std::rc::Rc;

use ahash::AHashSet;
use leaseq_requestor::{Event, Family};
use leaseq_wire::time::UnixSeconds;

use super::expected::{Expected, Version};
use super::judge6::Told6;
use super::picture::{Ended, Picture};
use super::{NAMED, OnFault, SLACK, judge4, judge6};
use crate::data::Inventory;
use crate::fault::FaultKind;
use crate::scenario::By;

/// Addresses beyond those of the inventory of which it is remembered that they were told.
const MOST_OTHERS: usize = 1 << 20;

/// Compares one bulk answer with what the store holds.
#[derive(Debug)]
pub struct BulkCheck {
    /// Shared with nobody else: it is held while the rest is changed.
    expected: Rc<Expected>,
    sent: UnixSeconds,
    /// Changes that had been acknowledged when the query was sent.
    acknowledged: u64,
    /// A bit for each row that the query is about.
    told: Vec<u64>,
    leases: u64,
    others: AHashSet<Ipv4Addr>,
    first_base: Option<UnixSeconds>,
    last_base: Option<UnixSeconds>,
    has_failed: bool,
    /// Changes after the acknowledged ones, of bindings that were told.
    changes: Vec<u64>,
}

/// What came of a bulk answer.
#[derive(Clone, Debug, Default)]
pub struct BulkEnd {
    /// Addresses (DHCPv4) and leases (DHCPv6) told.
    pub leases: u64,
    /// What is known from it, for a stream that goes on from here.
    pub picture: Picture,
}

impl BulkCheck {
    /// The query is about to be sent; changes that are acknowledged now have to be in its answer.
    #[must_use]
    pub fn new(expected: &Expected, sent: UnixSeconds) -> Self {
        let inventory = expected.inventory.as_ref();
        let rows = inventory.map_or(0, |inventory| expected.rows(inventory).len());
        Self {
            acknowledged: inventory
                .map_or(0, |inventory| expected.acknowledged(inventory.family())),
            told: vec![0; rows.div_ceil(64)],
            expected: Rc::new(expected.clone()),
            sent,
            leases: 0,
            others: AHashSet::new(),
            first_base: None,
            last_base: None,
            has_failed: false,
            changes: Vec::new(),
        }
    }

    /// The first base-time of the answer: an active query that follows begins there.
    #[must_use]
    pub fn first_base_time(&self) -> Option<UnixSeconds> {
        self.first_base
    }

    /// Addresses (DHCPv4) and leases (DHCPv6) told so far.
    #[must_use]
    pub fn leases(&self) -> u64 {
        self.leases
    }

    /// Something of the answer has been told. That a query ended with a failure is noted (nothing is missing then), but is no
    /// fault here.
    pub fn told(&mut self, event: &Event<'_>, received: UnixSeconds, fault: OnFault<'_>) {
        match event {
            Event::Binding4(binding) => {
                self.leases += 1;
                self.base_time(judge4::base_time(&binding.message), received, event, fault);
                let expected = Rc::clone(&self.expected);
                let Some(inventory) = expected.inventory.as_deref() else {
                    return;
                };
                let acknowledged = self.acknowledged;
                let oldest = |row| expected.latest(row, acknowledged);
                let told = judge4::judge(&expected, inventory, binding, received, oldest, fault);
                match told {
                    Some(told) => {
                        if !told.is_active && expected.by != By::All {
                            let text = format!(
                                "{}: not leased, which this query does not ask for",
                                binding.address()
                            );
                            fault(FaultKind::Unexpected, text, event.octets());
                        }
                        self.note(inventory, told.row, told.place, told.version, event, fault);
                    }
                    None => self.other(inventory, binding.address(), event, fault),
                }
            }
            Event::Client6(client) => {
                self.base_time(judge6::base_time(&client.message), received, event, fault);
                let expected = Rc::clone(&self.expected);
                let Some(inventory) = expected.inventory.as_deref() else {
                    self.leases += client.client.leases().count() as u64;
                    return;
                };
                let mut leases = smallvec::SmallVec::<[Told6; 8]>::new();
                let acknowledged = self.acknowledged;
                let oldest = |row| expected.latest(row, acknowledged);
                let mut told = |lease| leases.push(lease);
                judge6::judge(
                    &expected, inventory, client, received, &oldest, &mut told, fault,
                );
                for lease in leases {
                    self.leases += 1;
                    if !lease.is_live {
                        let text = format!(
                            "{}: has ended, which a bulk answer does not tell",
                            inventory.name(lease.row)
                        );
                        fault(FaultKind::Unexpected, text, event.octets());
                    }
                    self.note(
                        inventory,
                        lease.row,
                        lease.place,
                        lease.version,
                        event,
                        fault,
                    );
                }
            }
            Event::Done(done) => self.has_failed |= done.failure().is_some(),
        }
    }

    fn base_time(
        &mut self,
        base: Option<UnixSeconds>,
        received: UnixSeconds,
        event: &Event<'_>,
        fault: OnFault<'_>,
    ) {
        let Some(base) = base else {
            // Only servers that know RFC 7653 tell it in DHCPv6.
            if matches!(event, Event::Binding4(_)) || self.first_base.is_some() {
                let text = "without base-time, which was asked for";
                fault(FaultKind::Protocol, text.into(), event.octets());
            }
            return;
        };
        self.first_base.get_or_insert(base);
        if let Some(last) = self.last_base.replace(base).filter(|last| *last > base) {
            let text = format!("base-time goes back from {} to {}", last.0, base.0);
            fault(FaultKind::Order, text, event.octets());
        }
        let (base, slack) = (i64::from(base.0), SLACK);
        let (sent, received) = (i64::from(self.sent.0), i64::from(received.0));
        if self.expected.is_local && !(sent - slack..=received + slack).contains(&base) {
            let text = format!(
                "base-time {base} of a message that was made between {sent} and {received}"
            );
            fault(FaultKind::Times, text, event.octets());
        }
    }

    /// A lease was told in a version.
    #[inline]
    fn note(
        &mut self,
        inventory: &Inventory,
        row: u32,
        place: usize,
        version: Option<Version>,
        event: &Event<'_>,
        fault: OnFault<'_>,
    ) {
        let (word, bit) = (place / 64, 1 << (place % 64));
        let Some(word) = self.told.get_mut(word) else {
            return;
        };
        if *word & bit != 0 {
            let text = format!("{}: told a second time in one answer", inventory.name(row));
            fault(FaultKind::Repeated, text, event.octets());
        }
        *word |= bit;
        let Some(version) = version else { return };
        let oldest = self.expected.latest(row, self.acknowledged);
        if version < oldest {
            let (name, expected) = (inventory.name(row), &self.expected);
            let text = format!(
                "{name}: told {}, although change {oldest} had been acknowledged before the query was sent",
                expected.describe(version)
            );
            fault(FaultKind::Stale, text, event.octets());
        }
        if version > self.acknowledged {
            self.changes.push(version);
        }
    }

    /// An address was told that could not be compared: one that the store has no binding of, or a faulty one.
    fn other(
        &mut self,
        inventory: &Inventory,
        address: Ipv4Addr,
        event: &Event<'_>,
        fault: OnFault<'_>,
    ) {
        let key = crate::data::LeaseKey::V4(address);
        if let Some(row) = inventory.find(key) {
            let place = self.expected.rows(inventory).place(row);
            // There is a fault about it already; that it is missing too would be untrue.
            if let Some(place) = place {
                self.note(inventory, row, place, None, event, fault);
            }
        } else if self.others.len() < MOST_OTHERS && !self.others.insert(address) {
            let text = format!("{address}: told a second time in one answer");
            fault(FaultKind::Repeated, text, event.octets());
        }
    }

    /// The answer is complete, at a time by our clock: what had to be told and was not is missing.
    pub fn end(mut self, received: UnixSeconds, fault: OnFault<'_>) -> BulkEnd {
        let mut ended = Vec::new();
        if let Some(inventory) = self.expected.inventory.clone()
            && !self.has_failed
        {
            self.find_missing(&inventory, received, &mut ended, fault);
        }
        self.changes.sort_unstable();
        BulkEnd {
            leases: self.leases,
            picture: Picture::of_bulk(self.acknowledged, self.changes, ended),
        }
    }

    fn find_missing(
        &self,
        inventory: &Inventory,
        received: UnixSeconds,
        ended: &mut Vec<Ended>,
        fault: OnFault<'_>,
    ) {
        let expected = &self.expected;
        let rows = expected.rows(inventory);
        let submitted = expected.submitted(inventory.family());
        let (mut named, mut missing) = (Vec::new(), 0_u64);
        for (at, word) in self.told.iter().enumerate() {
            let mut absent = !word;
            while absent != 0 {
                let place = at * 64 + absent.trailing_zeros() as usize;
                absent &= absent - 1;
                let Some(row) = rows.get(place) else { break };
                let newest = expected.latest(row, submitted);
                if self.has_to_be_told(inventory, row, place, submitted, received) {
                    missing += 1;
                    if named.len() < NAMED {
                        named.push(format!(
                            "{} ({})",
                            inventory.name(row),
                            expected.describe(newest)
                        ));
                    }
                } else if newest > self.acknowledged {
                    let oldest = expected.latest(row, self.acknowledged);
                    let upto = i64::from(received.0) + SLACK;
                    ended.extend(expected.ended(inventory, row, oldest, submitted, upto));
                }
            }
        }
        if missing > 0 {
            let more = match missing - named.len() as u64 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let text = format!(
                "{missing} of {} were not told: {}{more}",
                rows.len(),
                named.join(", ")
            );
            fault(FaultKind::Missing, text, &[]);
        }
    }

    fn has_to_be_told(
        &self,
        inventory: &Inventory,
        row: u32,
        place: usize,
        submitted: u64,
        received: UnixSeconds,
    ) -> bool {
        let expected = &self.expected;
        if inventory.family() == Family::V4
            && expected.by == By::All
            && inventory.is_configured(row)
        {
            return true;
        }
        let upto = i64::from(received.0) + SLACK;
        let is_leased = |row| {
            let oldest = expected.latest(row, self.acknowledged);
            let newest = expected.latest(row, submitted);
            let mut versions = expected.versions(oldest, newest);
            !versions.any(|version| expected.may_be_over(inventory, row, version, upto))
        };
        if !inventory.is_global(row) || !is_leased(row) {
            return false;
        }
        // A lease that is told only beside another one has to be there if that one is leased.
        let rows = expected.rows(inventory);
        rows.is_direct(place)
            || inventory.client(row).iter().any(|other| {
                let place = rows.place(other);
                place.is_some_and(|place| rows.is_direct(place)) && is_leased(other)
            })
    }
}
