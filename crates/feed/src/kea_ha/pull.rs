//! All leases of a server, read through its control channel page by page; and an end to those that it no longer has.
//!
//! Kea does not wait for a backup's answer unless it is told to, so that an update may be lost. A pull makes that good.

use std::collections::HashSet;
use std::time::Instant;

use leaseq_store::State;
use serde_json::{Value, json};

use super::control::{AskError, Channel};
use super::lease;
use super::peer::Peer;
use crate::held::{Held, Key, sweep};
use crate::kea::Family;
use crate::run::{Intake, IntakeError};

/// Leases asked for at a time.
const PAGE: usize = 1_024;
/// A server that tells of more leases does not come to an end.
const MOST_LEASES: usize = 200_000_000;

/// Why a pull was not finished. What it had read is stored, and nothing was ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    /// The control channel failed.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A page that is none.
    #[error("expected a page of leases: {0}")]
    Page(String),
    /// The store failed.
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

/// Reads all leases of a server. `confirm` is called after each page.
pub(super) fn pull(
    channel: &Channel,
    family: Family,
    peer: &Peer,
    intake: &mut Intake,
    confirm: impl FnMut(&mut Intake) -> Result<(), IntakeError>,
) -> Result<(), PullError> {
    let (began, since) = (Instant::now(), intake.now());
    peer.begin_pull(family);
    let mut pull = Pull {
        channel,
        family,
        peer,
        intake,
        confirm,
        there: HashSet::new(),
    };
    let pulled = pull.pages().and_then(|()| pull.sweep());
    let leases = pull.there.len();
    peer.end_pull(family, pulled.is_ok().then_some(since));
    let ended = pulled?;
    tracing::info!(
        id = "kea-ha-pulled",
        feed = peer.status().name(),
        from = %channel.address(),
        leases,
        ended,
        ms = began.elapsed().as_millis() as u64,
        "all leases of Kea were read"
    );
    Ok(())
}

struct Pull<'a, C> {
    channel: &'a Channel,
    family: Family,
    peer: &'a Peer,
    intake: &'a mut Intake,
    confirm: C,
    /// Keys of the leases that the server has.
    there: HashSet<u64>,
}

impl<C: FnMut(&mut Intake) -> Result<(), IntakeError>> Pull<'_, C> {
    fn pages(&mut self) -> Result<(), PullError> {
        let command = match self.family {
            Family::V4 => "lease4-get-page",
            Family::V6 => "lease6-get-page",
        };
        let mut from = "start".to_owned();
        loop {
            let asked = self.intake.now();
            let page = json!({"from": from, "limit": PAGE});
            let Some(arguments) = self.channel.ask(command, page)? else {
                return Ok(());
            };
            let leases = arguments.get("leases").and_then(Value::as_array);
            let leases =
                leases.ok_or_else(|| PullError::Page("it has no list \"leases\"".to_owned()))?;
            let Some(last) = leases.last() else {
                return Ok(());
            };
            let last = lease::address(last)
                .ok_or_else(|| PullError::Page("its last lease has no address".to_owned()))?;
            let before = self.there.len();
            self.take(leases)?;
            if self.there.len() == before || last == from {
                let told = format!("after {from} expected other leases than before");
                return Err(PullError::Page(told));
            }
            if self.there.len() > MOST_LEASES {
                let told = format!("expected at most {MOST_LEASES} leases in all");
                return Err(PullError::Page(told));
            }
            from = last.to_owned();
            self.peer.confirm(self.family, asked);
            (self.confirm)(self.intake)?;
        }
    }

    fn take(&mut self, leases: &[Value]) -> Result<(), PullError> {
        let feed = self.intake.number();
        let mut events = Vec::with_capacity(leases.len());
        for lease in leases {
            match lease::event(self.family, lease, feed) {
                Ok(event) => {
                    let place = Key::of(&event);
                    self.there.extend(place.map(|place| self.peer.key(place)));
                    events.push(event);
                }
                Err(reason) => {
                    // What the lease is of may be told all the same: then it is not gone.
                    if let Ok(event) = lease::deletion(self.family, &only_place(lease), feed, 0) {
                        let place = Key::of(&event);
                        self.there.extend(place.map(|place| self.peer.key(place)));
                    }
                    let address = lease::address(lease).unwrap_or("a lease");
                    let told = format!("{}: {address}: {reason}", self.channel.address());
                    self.peer.status().reject(told);
                }
            }
        }
        self.peer
            .submit_pulled(self.family, events, true, self.intake)?;
        Ok(())
    }

    /// Ends the leases of this feed that the server no longer has; how many.
    fn sweep(&mut self) -> Result<usize, PullError> {
        self.intake.settle()?;
        let reader = self.intake.store().reader();
        let (feed, there, peer) = (self.intake.number(), &self.there, self.peer);
        let (family, intake) = (self.family, &mut *self.intake);
        let is_gone = |lease: &Held<'_>| {
            let of_family = matches!(
                (lease, family),
                (Held::V4(_), Family::V4) | (Held::V6(_), Family::V6)
            );
            of_family && !there.contains(&peer.key(lease.key()))
        };
        let mut ended = 0;
        sweep(&reader, feed, State::Released, is_gone, |ends| {
            ended += peer.submit_pulled(family, ends, false, intake)?;
            Ok::<_, IntakeError>(())
        })?;
        self.intake.settle()?;
        Ok(ended)
    }
}

/// A lease with nothing but what it is of.
fn only_place(lease: &Value) -> Value {
    let mut place = json!({});
    for key in ["ip-address", "type", "prefix-len"] {
        if let Some(value) = lease.get(key) {
            place[key] = value.clone();
        }
    }
    place
}
