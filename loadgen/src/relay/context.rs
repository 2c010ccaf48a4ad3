//! What the relays of one group on one thread share.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leaseq_requestor::tls::TlsClient;
use leaseq_requestor::{Family, Query};
use leaseq_wire::v6::MAX_XID;
use tokio::sync::{Semaphore, watch};

use crate::changes::schedule::Schedule;
use crate::check::Expected;
use crate::data::Inventory;
use crate::net::channel::{Buffers, OpenLinks};
use crate::net::source::SourceNetwork;
use crate::relay::report::Report;
use crate::relay::{follow, udp};
use crate::scenario::{By, Group};
use crate::work::board::{Board, Phase};

/// What a thread's ticker tells its relays: the phase whenever it changes, and while the run settles ten times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Where the run is.
    pub phase: Phase,
    /// Beats before this one.
    pub number: u64,
}

/// What the relays of one group on one thread share.
pub struct Context {
    /// What they do.
    pub group: Group,
    /// Which DHCP.
    pub family: Family,
    /// The server, TCP and UDP.
    pub server: SocketAddr,
    /// How they show who they are, where the group uses TLS.
    pub tls: Option<TlsClient>,
    /// Networks they connect from.
    pub source: Option<SourceNetwork>,
    /// How long anything may take.
    pub patience: Duration,
    /// How many relays the group has.
    pub relays: u32,
    /// How many of them at a time.
    pub at_once: u32,
    /// What they ask about.
    pub inventory: Arc<Inventory>,
    /// The server holds what the inventory says: answers are compared with it. Otherwise their form is looked at only.
    pub is_known: bool,
    /// Which bindings change, if any do.
    pub schedule: Option<Arc<Schedule>>,
    /// Where the run is, and its changes.
    pub board: Arc<Board>,
    /// When relays begin.
    pub begin: Instant,
    /// How long relays without an end of their own go on.
    pub duration: Duration,
    /// What they have to tell.
    pub report: Report,
    /// Where connections of this thread read into.
    pub buffers: Buffers,
    /// Open connections of this thread.
    pub links: OpenLinks,
    /// A permit for whoever connects: more at a time would only wait in the server's queue, and fall out of it.
    pub connecting: Rc<Semaphore>,
    /// The thread's ticker.
    pub beats: watch::Receiver<Beat>,
    /// Where numbers at random come from.
    pub random: Random,
    /// Who asks over UDP for the group's places on this thread.
    pub askers: udp::Askers,
    /// How its followers on this thread follow.
    pub following: follow::Shared,
}

impl Context {
    /// Where the run is, as of the last beat.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.beats.borrow().phase
    }

    /// Everything ends at once.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.phase() >= Phase::Stopping
    }

    /// Nothing new is begun by relays without an end of their own.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase() >= Phase::Settling || self.begin + self.duration <= Instant::now()
    }

    /// Waits until the run is in this phase, or a later one.
    pub async fn reaches(&self, phase: Phase) {
        let mut beats = self.beats.clone();
        // If the ticker is gone, everything has ended.
        let _ = beats.wait_for(|beat| beat.phase >= phase).await;
    }

    /// Waits until everything ends at once.
    pub async fn stopped(&self) {
        self.reaches(Phase::Stopping).await;
    }

    /// Waits until then; `false`: the run has come to this phase before.
    pub async fn sleep_until(&self, at: Instant, unless: Phase) -> bool {
        if self.phase() >= unless {
            return false;
        }
        if at <= Instant::now() {
            return true;
        }
        tokio::select! {
            biased;
            () = self.reaches(unless) => false,
            () = tokio::time::sleep_until(at.into()) => true,
        }
    }

    /// What the group asks by.
    #[must_use]
    pub fn by(&self) -> By {
        self.group.by.unwrap_or(By::RelayId)
    }

    /// The bulk or active query about what is a relay's, asked by `requestor`.
    #[must_use]
    pub fn query(&self, relay: u32, requestor: u32) -> Option<Query> {
        let requestor = requestor_duid(requestor);
        self.inventory.query(self.by(), relay, &requestor)
    }

    /// What the answer to it is compared with.
    #[must_use]
    pub fn expected(&self, relay: u32) -> Expected {
        Expected {
            inventory: self.is_known.then(|| self.inventory.clone()),
            schedule: self.schedule.clone(),
            board: self.board.clone(),
            by: self.by(),
            relay,
            is_local: self.server.ip().is_loopback(),
        }
    }

    /// A number at random, all of 64 bits.
    pub fn random(&self) -> u64 {
        self.random.next()
    }

    /// A transaction id of this family made of a number.
    #[must_use]
    pub fn xid(&self, number: u64) -> u32 {
        match self.family {
            Family::V4 => number as u32,
            Family::V6 => number as u32 & MAX_XID,
        }
    }

    /// The pauses between attempts to connect.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff(FIRST_PAUSE)
    }
}

/// DUID (DUID-LL) that a relay shows as a requestor.
#[must_use]
pub fn requestor_duid(relay: u32) -> [u8; 10] {
    let mut duid = [0, 3, 0, 1, 2, 0x6d, 0, 0, 0, 0];
    duid[6..].copy_from_slice(&relay.to_be_bytes());
    duid
}

/// The first pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect: each twice as long as the one before, up to a limit, less up to a quarter at
/// random, so that relays refused together do not come back together.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    /// The next pause.
    pub fn next(&mut self, context: &Context) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        let quarter = pause.as_millis() as u64 / 4;
        pause - Duration::from_millis(context.random() % (quarter + 1))
    }
}

/// Numbers at random from a seed, the same ones each time: SplitMix64.
#[derive(Debug)]
pub struct Random(Cell<u64>);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// The next one.
    pub fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
