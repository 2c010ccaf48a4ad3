//! One follower: an active stream, also over several connections.

use std::rc::Rc;

use ahash::AHashSet;
use leaseq_requestor::{ActiveEvent, ActiveStatusKind, Client6};
use leaseq_wire::time::UnixSeconds;
use smallvec::SmallVec;

use super::expected::{Expected, Version};
use super::heard::{Heard, Scope};
use super::judge6::{MOST_TOGETHER, Told6};
use super::picture::{Ended, Picture};
use super::{NAMED, OnFault, SLACK, judge4, judge6};
use crate::data::Inventory;
use crate::fault::FaultKind;

/// Numbers of changes that a message tells for the first time on this stream.
pub type Changes = SmallVec<[u64; 4]>;

/// Compares what an active stream tells with what was changed, and at the end with what the store holds.
#[derive(Debug)]
pub struct StreamCheck {
    /// Shared with nobody else: it is held while the rest is changed.
    expected: Rc<Expected>,
    scope: Scope,
    /// `None`: nothing is known yet, and the stream is not live.
    heard: Option<Heard>,
    is_live: bool,
    last_base: Option<UnixSeconds>,
}

impl StreamCheck {
    /// A stream that starts with what is known. With a [picture](Picture) it is live once it has caught up; without one
    /// as soon as it is said to be ([`live`](Self::live)).
    #[must_use]
    pub fn new(expected: &Expected, starts_with: &Picture) -> Self {
        let scope = match &expected.inventory {
            Some(inventory) => {
                let rows = expected.rows(inventory);
                Scope::of(expected.schedule.as_deref(), rows, inventory.len())
            }
            None => Scope::Nothing,
        };
        Self {
            expected: Rc::new(expected.clone()),
            scope,
            heard: Heard::of(starts_with),
            is_live: false,
            last_base: None,
        }
    }

    /// From here on nothing may be missed: the first message has come, or CatchUpComplete (which [`told`](Self::told) knows by
    /// itself).
    pub fn live(&mut self) {
        if !self.is_live {
            self.is_live = true;
            if self.heard.is_none() {
                self.heard = Some(Heard::from(self.submitted()));
            }
        }
    }

    /// The connection was lost, and there is a new one: with a start time, so that all that was missed is told first, or
    /// without, so that it is not.
    pub fn resumed(&mut self, catches_up: bool) {
        self.last_base = None;
        self.is_live = false;
        if !catches_up {
            self.heard = None;
        }
    }

    /// Something of the stream has been told. Gives the changes that are told for the first time. That the query has
    /// failed or was ended is no fault here.
    pub fn told(
        &mut self,
        event: &ActiveEvent<'_>,
        received: UnixSeconds,
        fault: OnFault<'_>,
    ) -> Changes {
        self.base_time(event, received, fault);
        let mut changes = Changes::new();
        match event {
            ActiveEvent::Status(status) => match status.kind {
                ActiveStatusKind::CatchUpComplete => self.live(),
                // What is not told is got by a bulk query; it is not known here, so it is not waited for.
                ActiveStatusKind::DataMissing => {
                    self.heard = Some(Heard::from(self.submitted()));
                    self.is_live = true;
                }
                _ => {}
            },
            ActiveEvent::Binding4(binding) => {
                let expected = Rc::clone(&self.expected);
                let Some(inventory) = expected.inventory.as_deref() else {
                    return changes;
                };
                let oldest = |row| self.oldest(row);
                let told = judge4::judge(&expected, inventory, binding, received, oldest, fault);
                if let Some(told) = told {
                    let one = One {
                        row: told.row,
                        version: told.version,
                        is_live: told.is_active,
                    };
                    self.hear(inventory, one, event, received, &mut changes, fault);
                }
            }
            ActiveEvent::Client6(client) => {
                let expected = Rc::clone(&self.expected);
                let Some(inventory) = expected.inventory.as_deref() else {
                    return changes;
                };
                let mut leases = SmallVec::<[Told6; 8]>::new();
                let oldest = |row| self.oldest(row);
                let mut told = |lease| leases.push(lease);
                judge6::judge(
                    &expected, inventory, client, received, &oldest, &mut told, fault,
                );
                self.find_left_out(inventory, client, &leases, event, received, fault);
                for lease in leases {
                    let one = One {
                        row: lease.row,
                        version: lease.version,
                        is_live: lease.is_live,
                    };
                    self.hear(inventory, one, event, received, &mut changes, fault);
                }
            }
        }
        changes
    }

    fn submitted(&self) -> u64 {
        let inventory = self.expected.inventory.as_ref();
        inventory.map_or(0, |inventory| self.expected.submitted(inventory.family()))
    }

    /// The oldest version of a row that may be told.
    fn oldest(&self, row: u32) -> Version {
        match (&self.heard, &self.expected.schedule) {
            (Some(heard), Some(schedule)) => heard.oldest(schedule, row),
            _ => 0,
        }
    }

    fn base_time(&mut self, event: &ActiveEvent<'_>, received: UnixSeconds, fault: OnFault<'_>) {
        let Some(base) = event.base_time() else {
            if !matches!(event, ActiveEvent::Status(_)) {
                let text = "without base-time, which every message of a stream has";
                fault(FaultKind::Protocol, text.into(), event.octets());
            }
            return;
        };
        if let Some(last) = self.last_base.replace(base).filter(|last| *last > base) {
            let text = format!("base-time goes back from {} to {}", last.0, base.0);
            fault(FaultKind::Order, text, event.octets());
        }
        // It may lie in the past: then the stream lags.
        if self.expected.is_local && i64::from(base.0) > i64::from(received.0) + SLACK {
            let (base, received) = (base.0, received.0);
            let text = format!("base-time {base} in a message received at {received}");
            fault(FaultKind::Times, text, event.octets());
        }
    }

    fn hear(
        &mut self,
        inventory: &Inventory,
        one: One,
        event: &ActiveEvent<'_>,
        received: UnixSeconds,
        changes: &mut Changes,
        fault: OnFault<'_>,
    ) {
        let One {
            row,
            version,
            is_live,
        } = one;
        let oldest = self.oldest(row);
        if let Some(version) = version.filter(|version| *version < oldest) {
            let (name, expected) = (inventory.name(row), &self.expected);
            let (told, before) = (expected.describe(version), expected.describe(oldest));
            let text = format!("{name}: told {told}, after it had been told {before}");
            fault(FaultKind::Order, text, event.octets());
            return;
        }
        let ended = version.is_none().then(|| {
            let (submitted, upto) = (self.submitted(), i64::from(received.0) + SLACK);
            if is_live {
                // An endless lease may be any version.
                let newest = self.expected.latest(row, submitted);
                return Some(Ended {
                    row,
                    oldest,
                    newest,
                });
            }
            self.expected.ended(inventory, row, oldest, submitted, upto)
        });
        let Some(schedule) = self.expected.schedule.clone() else {
            return;
        };
        let Some(heard) = &mut self.heard else {
            // Not live yet, and told nevertheless.
            changes.extend(version.filter(|version| *version > 0));
            return;
        };
        match (version, ended.flatten()) {
            (Some(0), _) | (None, None) => {}
            (Some(version), _) => {
                if heard.hear(&schedule, &self.scope, version) {
                    changes.push(version);
                }
            }
            (None, Some(ended)) => {
                if !is_live && ended.oldest == ended.newest && ended.newest > oldest {
                    changes.push(ended.newest);
                }
                heard.hear_end(&schedule, &self.scope, ended);
            }
        }
    }

    /// A message tells a client with all its live leases: finds those that are not there.
    fn find_left_out(
        &self,
        inventory: &Inventory,
        client: &Client6<'_>,
        leases: &[Told6],
        event: &ActiveEvent<'_>,
        received: UnixSeconds,
        fault: OnFault<'_>,
    ) {
        let Some(first) = leases.first() else { return };
        let rows = inventory.client(first.row);
        // Of a lease that was found faulty there is a fault already.
        let came = client.client.leases().count();
        if rows.len() > MOST_TOGETHER || came != leases.len() || came >= rows.len() {
            return;
        }
        let told: AHashSet<u32> = leases.iter().map(|lease| lease.row).collect();
        let upto = i64::from(received.0) + SLACK;
        let submitted = self.submitted();
        for row in rows.iter().filter(|row| !told.contains(row)) {
            let in_scope = self.expected.rows(inventory);
            let place = in_scope.place(row);
            let is_in_scope = place.is_some_and(|place| in_scope.is_direct(place));
            let ended = self
                .expected
                .ended(inventory, row, self.oldest(row), submitted, upto);
            if is_in_scope && ended.is_none() {
                let (name, newest) = (inventory.name(row), self.expected.latest(row, submitted));
                let text = format!(
                    "{name}: left out of a message about its client, expected {}",
                    self.expected.describe(newest)
                );
                fault(FaultKind::Missing, text, event.octets());
            }
        }
    }

    /// Every change that has to be told and was submitted so far has been told, or a newer one of its binding.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match (&self.heard, &self.expected.schedule) {
            (Some(heard), Some(schedule)) => {
                self.is_live && heard.is_complete(schedule, &self.scope, self.submitted())
            }
            // Nothing has to be told before the stream is live.
            _ => true,
        }
    }

    /// The stream has been read to its end, long enough after the last change: what has not been told is a fault.
    pub fn end(&self, fault: OnFault<'_>) {
        let (Some(heard), Some(schedule), Some(inventory)) = (
            &self.heard,
            &self.expected.schedule,
            &self.expected.inventory,
        ) else {
            return;
        };
        if !self.is_live {
            let text = "the stream has not caught up: no CatchUpComplete".to_owned();
            fault(FaultKind::EndState, text, &[]);
        }
        let (mut named, mut count) = (Vec::new(), 0_u64);
        let more = heard.unheard(schedule, &self.scope, self.submitted(), &mut |change| {
            count += 1;
            if named.len() < NAMED {
                let name = inventory.name(schedule.row(change));
                named.push(format!("{name} ({})", self.expected.describe(change)));
            }
        });
        count += more;
        if count > 0 {
            let more = match count - named.len() as u64 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let text = format!(
                "{count} bindings were never told as they are: {}{more}",
                named.join(", ")
            );
            fault(FaultKind::EndState, text, &[]);
        }
    }
}

/// What is told of one binding.
#[derive(Clone, Copy)]
struct One {
    row: u32,
    version: Option<Version>,
    is_live: bool,
}
