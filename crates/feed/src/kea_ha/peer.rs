//! What the feed knows of the Kea servers that push to it, shared by the thread that takes pushes and the one that pulls.
//!
//! A push and a page of a pull may tell of one lease at the same time. What was pushed since a pull began is noted, under the
//! lock under which both are handed to the store, and wins over a page unless the page tells a later transaction.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use leaseq_store::{
    CommitError, Committed, Event, FeedIdError, Stamp, State as LeaseState, Store, SubmitError, Vpn,
};
use tokio::sync::{oneshot, watch};

use super::lease;
use super::origins::{Foreign, Origins};
use crate::held::Key;
use crate::kea::Family;
use crate::run::{Intake, IntakeError, Status};

/// Both families, in the order in which the feed keeps what it knows of them.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Kea sends over several connections at a time: an update that was overtaken by a newer one is at most this many seconds
/// older, because Kea gives up on an answer sooner. More is a clock that was set back.
const OVERTAKEN_SECONDS: u32 = 60;
/// Leases without relay data after which that is remarkable, if none has any.
const REMARKABLE: u64 = 20;

/// Place of a family in what is kept for both.
fn index(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// The Kea servers of a feed.
pub(super) struct Peer {
    store: Arc<Store>,
    status: Arc<Status>,
    started: Instant,
    keys: RandomState,
    ends: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    families: [Known; 2],
}

/// What is known of the servers of one family.
#[derive(Default)]
struct Known {
    /// One has sent something, now or before a restart.
    is_there: bool,
    /// When one was last heard of.
    heard: Option<Stamp>,
    /// When its control channel last answered, once everything was pulled.
    confirmed: Option<Stamp>,
    /// When an update was lost that no pull has made good since.
    lost: Option<Stamp>,
    /// While a pull runs: what was pushed since it began, and the transaction it told.
    pushed: Option<HashMap<u64, u32>>,
    /// Who sent leases since the last pull.
    origins: Origins,
    /// Who sent leases that the last pull did not find.
    foreign: Option<Foreign>,
    /// Leases with relay data, and without.
    with_relay_data: u64,
    without_relay_data: u64,
}

/// Why a push was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum PushError {
    /// The store takes nothing.
    #[error("the lease cannot be stored: {0}")]
    Submit(#[from] SubmitError),
    /// The store could not make it durable.
    #[error("the lease cannot be stored: {0}")]
    Commit(#[from] CommitError),
    /// The feed has no number.
    #[error("the feed's name cannot be stored: {0}")]
    Feed(#[from] FeedIdError),
}

impl Peer {
    pub(super) fn new(store: Arc<Store>, status: Arc<Status>) -> Peer {
        Peer {
            store,
            status,
            started: Instant::now(),
            keys: RandomState::new(),
            ends: watch::Sender::new(false),
            state: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Tells whoever waits on behalf of the feed that it ends.
    pub(super) fn end(&self) {
        self.ends.send_replace(true);
    }

    /// Becomes true when the feed ends.
    pub(super) fn ends(&self) -> watch::Receiver<bool> {
        self.ends.subscribe()
    }

    /// Server time.
    pub(super) fn now(&self) -> Stamp {
        self.store.reader().now()
    }

    /// Seconds since the feed was started.
    pub(super) fn uptime(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Number of the feed in the store.
    pub(super) fn number(&self) -> Result<u16, FeedIdError> {
        self.store.feed_id(self.status.name())
    }

    /// A place as a number: places of millions of leases are held during a pull. Two that share one would only keep a lease
    /// that is gone until the next pull, which counts otherwise.
    pub(super) fn key(&self, place: Key) -> u64 {
        self.keys.hash_one(place)
    }

    /// Hands a push of a server at `from` to the store; what comes of it is received once it is durable.
    pub(super) fn push(
        &self,
        family: Family,
        from: IpAddr,
        events: Vec<Event>,
    ) -> Result<oneshot::Receiver<Result<Committed, CommitError>>, PushError> {
        let at = self.now();
        let (send, receive) = oneshot::channel();
        let mut state = self.lock();
        let known = &mut state.families[index(family)];
        for event in &events {
            known.count(event);
            let Some(key) = Key::of(event).map(|place| self.key(place)) else {
                continue;
            };
            if is_active(event) {
                known.origins.note(key, from);
            }
            if let Some(pushed) = &mut known.pushed {
                let cltt = lease::cltt(event).unwrap_or(at.seconds());
                pushed.insert(key, cltt);
            }
        }
        let (status, count) = (Arc::clone(&self.status), events.len() as u64);
        self.store.submit_with(events, move |result| {
            if let Ok(committed) = &result {
                let stored = count.saturating_sub(committed.rejected.len() as u64);
                status.count(stored, committed.changed.into());
            }
            // Whoever pushed may have gone meanwhile.
            let _ = send.send(result);
        })?;
        known.hear(at);
        Ok(receive)
    }

    /// A server of this family, if that was told, has sent something.
    pub(super) fn heard(&self, family: Option<Family>) {
        let at = self.now();
        if let Some(family) = family {
            self.lock().families[index(family)].hear(at);
        }
    }

    /// An update was lost: one of this family, or one of which nothing is known. The next pull makes it good.
    pub(super) fn lost(&self, family: Option<Family>, reason: impl std::fmt::Display) {
        self.status.trouble(
            "kea-ha-update-lost",
            format_args!("an update of Kea may be lost: {reason}"),
        );
        self.mark_lost(family);
    }

    /// The same as [`Peer::lost`], where that was told and counted otherwise.
    pub(super) fn mark_lost(&self, family: Option<Family>) {
        let at = self.now();
        let mut state = self.lock();
        for one in FAMILIES {
            if family.is_none_or(|family| family == one) {
                state.families[index(one)].lost.get_or_insert(at);
            }
        }
    }

    /// Whether a pull has to make a lost update good.
    pub(super) fn has_lost(&self, family: Family) -> bool {
        self.lock().families[index(family)].lost.is_some()
    }

    /// When a server of this family was last heard of.
    pub(super) fn last_heard(&self, family: Family) -> Option<Stamp> {
        self.lock().families[index(family)].heard
    }

    /// Whether a newer update of the lease has overtaken this one.
    pub(super) fn is_overtaken(&self, event: &Event) -> bool {
        let Ok(number) = self.number() else {
            return false;
        };
        let view = self.store.reader().view();
        let (stored, same_client) = match event {
            Event::V4(event) => {
                let Some(stored) = view.binding4(&Vpn::GLOBAL, event.address) else {
                    return false;
                };
                if stored.feed() != number || stored.state() != LeaseState::Active {
                    return false;
                }
                let same = match (&event.client_id, &event.hwaddr) {
                    (Some(id), _) => stored.has_client_id(id),
                    (None, Some(hwaddr)) => stored.hwaddr() == hwaddr.octets.as_slice(),
                    (None, None) => true,
                };
                (stored.cltt(), same)
            }
            Event::V6(event) => {
                let Some(stored) = view.lease6(&Vpn::GLOBAL, event.address) else {
                    return false;
                };
                let is_it = stored.address() == event.address
                    && stored.prefix_len() == event.prefix_len
                    && stored.feed() == number;
                if !is_it || stored.state() != LeaseState::Active {
                    return false;
                }
                let duid = event.duid.as_deref();
                (stored.cltt(), duid.is_none_or(|duid| duid == stored.duid()))
            }
            Event::Feed(_) => return false,
        };
        let (Some(stored), Some(told)) = (stored, lease::cltt(event)) else {
            return false;
        };
        // The end of one client's lease does not end the lease that another has got since, be it within the same second.
        match stored.checked_sub(told) {
            Some(0) => !is_active(event) && !same_client,
            Some(older) => older <= OVERTAKEN_SECONDS,
            None => false,
        }
    }

    /// A pull of this family begins: from now on it is noted what is pushed.
    pub(super) fn begin_pull(&self, family: Family) {
        let known = &mut self.lock().families[index(family)];
        known.pushed = Some(HashMap::new());
        (known.with_relay_data, known.without_relay_data) = (0, 0);
    }

    /// A pull of this family has ended. If it had all leases, nothing that was lost before `began` is unknown any more.
    pub(super) fn end_pull(&self, family: Family, complete_since: Option<Stamp>) {
        let mut state = self.lock();
        let known = &mut state.families[index(family)];
        known.pushed = None;
        let Some(began) = complete_since else {
            return;
        };
        known.is_there = true;
        known.confirmed = known.confirmed.max(Some(began));
        known.lost = known.lost.filter(|lost| *lost > began);
        known.foreign = known.origins.end();
        let foreign = state.families.iter().zip(["control4", "control6"]);
        let told: Vec<String> = foreign
            .filter_map(|(known, control)| Some(format!("{control}: {}", known.foreign.as_ref()?)))
            .collect();
        drop(state);
        let remark = (!told.is_empty()).then(|| {
            let told = told.join("; ");
            format!("{told}: servers that do not share their leases need feeds of their own")
        });
        self.status.remark("kea-ha-foreign-leases", remark);
    }

    /// The control channel answered a question that was asked at this time.
    pub(super) fn confirm(&self, family: Family, asked: Stamp) {
        let known = &mut self.lock().families[index(family)];
        if known.confirmed.is_some() {
            known.confirmed = known.confirmed.max(Some(asked));
        }
    }

    /// Hands a page, or what a pull found to be gone, to the store; but what was pushed meanwhile is left out, unless it is
    /// older than what the page tells. How many events were handed over.
    pub(super) fn submit_pulled(
        &self,
        family: Family,
        events: Vec<Event>,
        of_page: bool,
        intake: &mut Intake,
    ) -> Result<usize, IntakeError> {
        // Waits for commits are over before the lock is taken.
        intake.settle()?;
        let mut state = self.lock();
        let known = &mut state.families[index(family)];
        let mut kept = events;
        kept.retain(|event| {
            let pushed = Key::of(event).map(|place| self.key(place));
            let pushed =
                pushed.and_then(|key| known.pushed.as_ref().and_then(|keys| keys.get(&key)));
            pushed.is_none_or(|pushed| {
                of_page && lease::cltt(event).is_some_and(|cltt| cltt > *pushed)
            })
        });
        if of_page {
            kept.iter().for_each(|event| known.count(event));
        } else {
            for place in kept.iter().filter_map(Key::of) {
                known.origins.is_gone(self.key(place));
            }
        }
        let count = kept.len();
        intake.submit(kept, None)?;
        Ok(count)
    }

    /// Nothing that the servers did before this is unknown; `None` if there is no such time. `controlled`: the families with a
    /// control channel.
    pub(super) fn read_up_to(&self, controlled: [bool; 2]) -> Option<Stamp> {
        let state = self.lock();
        let mut read = None;
        for (known, controlled) in state.families.iter().zip(controlled) {
            let up_to = match (controlled, known.is_there) {
                (false, false) => continue,
                // Without a control channel a loss cannot be made good: the last word counts.
                (false, true) => known.heard?,
                (true, _) => {
                    let up_to = known.confirmed?.max(known.heard.unwrap_or(Stamp::ZERO));
                    known.lost.map_or(up_to, |lost| up_to.min(lost))
                }
            };
            read = Some(read.map_or(up_to, |read: Stamp| read.min(up_to)));
        }
        read
    }

    /// The families of which servers are known, as the feed's position in the store.
    pub(super) fn position(&self) -> Vec<u8> {
        let state = self.lock();
        let known = state.families.iter().zip(b"46");
        known
            .filter_map(|(known, name)| known.is_there.then_some(*name))
            .collect()
    }

    /// Takes over what [`Peer::position`] said before a restart.
    pub(super) fn restore(&self, position: &[u8]) {
        let mut state = self.lock();
        for (known, name) in state.families.iter_mut().zip(b"46") {
            known.is_there |= position.contains(name);
        }
    }

    /// What the operator should know about relay data.
    pub(super) fn remark_relay_data(&self) {
        let missing: Vec<&str> = {
            let state = self.lock();
            let told = state.families.iter().zip(["dhcp4", "dhcp6"]);
            told.filter(|(known, _)| {
                known.with_relay_data == 0 && known.without_relay_data >= REMARKABLE
            })
            .map(|(_, name)| name)
            .collect()
        };
        let text = (!missing.is_empty()).then(|| {
            format!(
                "no lease of {} has relay data, so nothing is found by relay-id or remote-id: set \"store-extended-info\" \
                 to true in Kea",
                missing.join(" and ")
            )
        });
        self.status.remark("feed-no-relay-data", text);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the event tells of a lease that somebody has.
fn is_active(event: &Event) -> bool {
    match event {
        Event::V4(event) => event.state == LeaseState::Active,
        Event::V6(event) => event.state == LeaseState::Active,
        Event::Feed(_) => false,
    }
}

impl Known {
    fn hear(&mut self, at: Stamp) {
        self.is_there = true;
        self.heard = self.heard.max(Some(at));
    }

    fn count(&mut self, event: &Event) {
        if lease::has_relay_data(event) {
            self.with_relay_data += 1;
        } else {
            self.without_relay_data += 1;
        }
    }
}
