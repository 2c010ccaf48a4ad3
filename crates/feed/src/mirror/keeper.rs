//! What a mirror knows: leases on their way to the store, which of them the server has told, and which it has not.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv6Addr;

use leaseq_requestor::{Client6Leases, Lease4};
use leaseq_store::{
    Bind4, Bind6, Event, Event4, Event6, Link6, Record, ScanFrom, Stamp, State, VpnRef,
};
use leaseq_wire::time::UnixSeconds;

use super::position::Position;
use super::{lease4, lease6};
use crate::held;
use crate::run::{Intake, IntakeError, Progress, Status};

/// Events that are handed to the store at a time.
const BATCH: usize = 1_000;
/// Keys of events that may be on their way to the store, before everything is waited for.
const MOST_UNSETTLED: usize = 64 * BATCH;

/// What an answer tells about, so that what it does not tell has ended.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// What is on one of the links or behind one of the relay agents.
    Asked {
        links: HashSet<Ipv6Addr>,
        relay_ids: HashSet<Vec<u8>>,
    },
}

impl Scope {
    fn has4(&self, lease: &Bind4<'_>) -> bool {
        match self {
            Scope::All => !lease4::is_stored_bare(lease),
            Scope::Asked { relay_ids, .. } => {
                lease.state() == State::Active
                    && lease.relay_id().is_some_and(|id| relay_ids.contains(id))
            }
        }
    }

    fn has6(&self, lease: &Bind6<'_>) -> bool {
        let Scope::Asked { links, relay_ids } = self else {
            return true;
        };
        let is_behind = |id: Option<&[u8]>| id.is_some_and(|id| relay_ids.contains(id));
        matches!(lease.link(), Link6::Address(link) if links.contains(&link))
            || lease.hops().any(|hop| is_behind(hop.relay_id))
    }
}

/// Takes what the server tells into the store.
pub(super) struct Keeper<'i> {
    intake: &'i mut Intake,
    events: Vec<Event>,
    hashes: RandomState,
    /// Keys of events that the store may not show yet.
    unsettled: HashSet<u64>,
    /// What was told since a full answer began.
    told: Option<Told>,
}

/// Keys that were told, in no order: as many as there are bindings, however often a server tells one.
#[derive(Default)]
struct Told {
    keys: Vec<u64>,
    /// Keys among which each was once when they were looked at last.
    distinct: usize,
}

impl Told {
    fn add(&mut self, key: u64) {
        if self.keys.len() >= MOST_UNSETTLED.max(2 * self.distinct) {
            self.tidy();
        }
        self.keys.push(key);
    }

    /// Sorts the keys, and keeps each once.
    fn tidy(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.distinct = self.keys.len();
    }
}

impl<'i> Keeper<'i> {
    pub(super) fn new(intake: &'i mut Intake) -> Self {
        Self {
            intake,
            events: Vec::new(),
            hashes: RandomState::new(),
            unsettled: HashSet::new(),
            told: None,
        }
    }

    pub(super) fn status(&self) -> &Status {
        self.intake.status()
    }

    /// Our server time, in whole seconds.
    pub(super) fn now(&self) -> UnixSeconds {
        UnixSeconds(self.intake.now().seconds())
    }

    /// A full answer begins: takes note of what is told from now on.
    pub(super) fn begin_full(&mut self) {
        self.told = Some(Told::default());
    }

    /// A full answer was begun and has not ended.
    pub(super) fn is_full(&self) -> bool {
        self.told.is_some()
    }

    /// The full answer has broken off.
    pub(super) fn give_up_full(&mut self) {
        self.told = None;
    }

    /// Takes an IPv4 address.
    pub(super) fn lease4(&mut self, lease: Lease4) -> Result<(), IntakeError> {
        let is_bare = lease4::is_bare(&lease);
        let event = lease4::event(lease, self.intake.number());
        let key = key4(&self.hashes, event.vpn.as_ref(), u32::from(event.address));
        self.note(key);
        if is_bare && !self.unsettled.contains(&key) {
            let view = self.intake.store().reader().view();
            let stored = view.binding4(&event.vpn, event.address);
            // That an address which nobody had is free is no change.
            if stored.is_none_or(|stored| lease4::is_stored_bare(&stored)) {
                return Ok(());
            }
        }
        self.push(key, Event::V4(event))
    }

    /// Takes the leases of a DHCPv6 client; `link`: the link that was asked for.
    pub(super) fn client6(
        &mut self,
        client: &Client6Leases,
        link: Option<Ipv6Addr>,
    ) -> Result<(), IntakeError> {
        let feed = self.intake.number();
        for lease in &client.leases {
            let vpn = lease4::vpn(client.vpn.as_ref());
            let prefix_len = lease.prefix_len.unwrap_or(128);
            let key = key6(&self.hashes, vpn.as_ref(), lease.address, prefix_len);
            let event = if lease.valid > 0 {
                self.note(key);
                Some(lease6::live(client, lease, link, feed))
            } else {
                // It is not told by that: another client may be stored, whose lease nobody tells any more.
                if self.unsettled.contains(&key) {
                    self.settle()?;
                }
                let view = self.intake.store().reader().view();
                let stored = view.binding6(&vpn, lease.address, prefix_len);
                lease6::over(client, lease, stored.as_ref(), feed)
            };
            if let Some(event) = event {
                self.push(key, Event::V6(event))?;
            }
        }
        Ok(())
    }

    /// Says that everything before `base_time` has been told, and keeps it with what was told.
    pub(super) fn save(
        &mut self,
        position: &Position,
        base_time: UnixSeconds,
    ) -> Result<(), IntakeError> {
        let progress = Progress {
            position: position.write(),
            read_up_to: Stamp::from_millis(u64::from(base_time.0) * 1_000),
        };
        let is_known = self.intake.progress() == &progress;
        if !self.events.is_empty() || !is_known {
            let events = std::mem::take(&mut self.events);
            self.intake.submit(events, Some(progress))?;
        }
        self.settle()
    }

    /// Nothing can be gone on from any more, and of the server's time it is as late as this.
    pub(super) fn forget_position(&mut self, time: UnixSeconds) -> Result<(), IntakeError> {
        let progress = Progress {
            position: Vec::new(),
            read_up_to: Stamp::from_millis(u64::from(time.0) * 1_000),
        };
        let events = std::mem::take(&mut self.events);
        self.intake.submit(events, Some(progress))?;
        self.settle()
    }

    /// Waits until everything is in the store.
    pub(super) fn settle(&mut self) -> Result<(), IntakeError> {
        self.intake.submit(std::mem::take(&mut self.events), None)?;
        self.intake.settle()?;
        self.unsettled.clear();
        Ok(())
    }

    /// The full answer has ended, as of this time: what is here by this feed's word, and would have been told, has ended; what
    /// has ended before was forgotten, where ends are told. Gives of how many leases that is so.
    pub(super) fn sweep(&mut self, scope: &Scope, as_of: UnixSeconds) -> Result<u64, IntakeError> {
        let Some(mut told) = self.told.take() else {
            return Ok(0);
        };
        self.settle()?;
        told.tidy();
        let feed = self.intake.number();
        let reader = self.intake.store().reader();
        // What is known first-hand was improved by somebody else, whose word the server's silence is not.
        let is_its = |of: u16, is_remote: bool| of == feed && is_remote;
        let end = |record: Record<'_>| {
            let (key, event) = match record {
                Record::Bind4(lease)
                    if is_its(lease.feed(), lease.is_remote()) && scope.has4(&lease) =>
                {
                    let key = key4(&self.hashes, lease.vpn(), u32::from(lease.address()));
                    (key, Event::V4(gone4(&lease, scope, as_of, feed)))
                }
                Record::Bind6(lease)
                    if is_its(lease.feed(), lease.is_remote())
                        && lease.state() == State::Active
                        && scope.has6(&lease) =>
                {
                    let key = key6(
                        &self.hashes,
                        lease.vpn(),
                        lease.address(),
                        lease.prefix_len(),
                    );
                    (key, Event::V6(gone6(&lease, as_of, feed)))
                }
                _ => return None,
            };
            told.keys.binary_search(&key).is_err().then_some(event)
        };
        held::sweep_records(&reader, end, |ended| self.intake.submit(ended, None))
    }

    /// The links that leases of this feed have told, and the relay agents of those that have told no link.
    pub(super) fn known_relays(&self) -> (HashSet<Ipv6Addr>, HashSet<Vec<u8>>) {
        let (mut links, mut relay_ids) = (HashSet::new(), HashSet::new());
        let view = self.intake.store().reader().view();
        let feed = self.intake.number();
        for scanned in view.scan(ScanFrom::Start).filter(|scanned| scanned.newest) {
            match scanned.record {
                Record::Bind6(lease) if lease.feed() == feed => match lease.link() {
                    Link6::Address(link) => {
                        links.insert(link);
                    }
                    Link6::Unknown | Link6::Subnet(_) => {
                        relay_ids
                            .extend(lease.hops().filter_map(|hop| hop.relay_id).map(Vec::from));
                    }
                },
                _ => {}
            }
        }
        (links, relay_ids)
    }

    fn push(&mut self, key: u64, event: Event) -> Result<(), IntakeError> {
        self.events.push(event);
        self.unsettled.insert(key);
        if self.unsettled.len() >= MOST_UNSETTLED {
            return self.settle();
        }
        if self.events.len() >= BATCH {
            self.intake.submit(std::mem::take(&mut self.events), None)?;
        }
        Ok(())
    }

    fn note(&mut self, key: u64) {
        if let Some(told) = &mut self.told {
            told.add(key);
        }
    }
}

fn key4(hashes: &RandomState, vpn: VpnRef<'_>, address: u32) -> u64 {
    hashes.hash_one((vpn.vss(), address))
}

fn key6(hashes: &RandomState, vpn: VpnRef<'_>, address: Ipv6Addr, prefix_len: u8) -> u64 {
    hashes.hash_one((vpn.vss(), address, prefix_len))
}

/// What is not told of an address: it is forgotten if everything would be told, else its lease has ended somehow.
fn gone4(lease: &Bind4<'_>, scope: &Scope, as_of: UnixSeconds, feed: u16) -> Event4 {
    if matches!(scope, Scope::All) {
        return lease4::forgotten(lease, as_of.0, feed);
    }
    let (state, since) = lease6::end(lease.end(), as_of.0);
    Event4 {
        vpn: lease.vpn().to_vpn(),
        state_since: Some(since),
        remote: true,
        feed,
        ..Event4::new(lease.address(), state)
    }
}

fn gone6(lease: &Bind6<'_>, as_of: UnixSeconds, feed: u16) -> Event6 {
    let (state, since) = lease6::end(lease.end(), as_of.0);
    Event6 {
        vpn: lease.vpn().to_vpn(),
        prefix_len: lease.prefix_len(),
        kind: lease.kind(),
        state_since: Some(since),
        remote: true,
        feed,
        ..Event6::new(lease.address(), state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_repeats_itself_takes_no_more_room() {
        let mut told = Told::default();
        for round in 0..10 {
            for key in 0..MOST_UNSETTLED as u64 {
                told.add(key);
                assert!(told.keys.len() <= 2 * MOST_UNSETTLED, "round {round}");
            }
        }
        told.tidy();
        assert!(told.keys.iter().copied().eq(0..MOST_UNSETTLED as u64));
    }
}
