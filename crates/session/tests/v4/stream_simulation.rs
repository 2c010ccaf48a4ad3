//! Hundreds of active streams on one hub, on virtual time, while leases change: quick requestors, slow ones, dead ones, rude
//! ones, and some that ask again, stop in the middle of a query, or close their side.
//!
//! A seed reproduces a run: `LEASEQ_SEED` sets it, `LEASEQ_STREAMS` the number of streams.

use std::collections::BTreeMap;
use std::time::Duration;

use leaseq_session::{CloseReason, Fate, Mono};
use leaseq_store::{Event4, State};
use leaseq_wire::v4::{Message, message_type, option_code};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::active::relay_scoped;
use crate::fixture::{Requestor, START, Server, lease, relay_id, relay_info};
use crate::message::Query4;
use crate::simulation::setting;

const RELAYS: u32 = 12;
const ADDRESSES: u32 = 240;
/// Seconds in which leases change.
const BUSY: u32 = 700;
/// Seconds after that in which there are but keepalives.
const QUIET: u32 = 200;
/// Octets in flight to a requestor beyond which its kernel takes no more.
const WINDOW: usize = 16 * 1_024;
const SEND: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Takes everything at once.
    Quick,
    /// Takes a little now and then.
    Slow,
    /// Is never heard of again.
    Dead,
    /// Sends what is no message.
    Rude,
    /// Asks again beside its stream.
    Greedy,
    /// Stops in the middle of a query.
    Halting,
    /// Closes its side.
    Closing,
}

const MANNERS: [Manner; 10] = [
    Manner::Quick,
    Manner::Quick,
    Manner::Quick,
    Manner::Slow,
    Manner::Slow,
    Manner::Dead,
    Manner::Rude,
    Manner::Greedy,
    Manner::Halting,
    Manner::Closing,
];

impl Manner {
    /// How its connection ends before the server stops.
    fn ends(self) -> Option<CloseReason> {
        match self {
            Manner::Quick | Manner::Slow => None,
            Manner::Dead => Some(CloseReason::SendBlocked),
            Manner::Rude => Some(CloseReason::EmptyFrame),
            Manner::Greedy => Some(CloseReason::BesideActive),
            Manner::Halting => Some(CloseReason::ReadBlocked),
            Manner::Closing => Some(CloseReason::PeerClosed),
        }
    }
}

/// What the source of the leases knows of an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    relay: u32,
    active: bool,
    changed: Mono,
}

struct Peer {
    manner: Manner,
    requestor: Requestor,
    xid: u32,
    /// The relay agent it asks for; none: everything.
    relay: Option<u32>,
    /// It asked for everything since the start.
    whole: bool,
    began: Mono,
    /// When it does what its manner is.
    acts: Mono,
    acted: bool,
    /// When a slow one takes something again.
    takes: Mono,
    unacknowledged: usize,
    /// Whether each address that it was told of is leased.
    told: BTreeMap<u32, bool>,
    base: u32,
    /// The last message was QueryTerminated.
    terminated: bool,
    outcome: Option<(Fate, Mono)>,
}

impl Peer {
    fn new(server: &Server, manner: Manner, xid: u32, rng: &mut StdRng) -> Peer {
        let relay = rng.random_bool(0.6).then(|| rng.random_range(0..RELAYS));
        let whole = rng.random_bool(0.5);
        let mut query = Query4::active(xid);
        if let Some(relay) = relay {
            query = query.relay_id(&relay_id(relay));
        }
        if whole {
            query = query.since(START);
        }
        let mut requestor = server.connect();
        requestor.ask(&query);
        requestor.deliver(server);
        Peer {
            manner,
            requestor,
            xid,
            relay,
            whole,
            began: server.now,
            acts: server.now + Duration::from_millis(rng.random_range(1..200_000)),
            acted: false,
            takes: server.now,
            unacknowledged: 0,
            told: BTreeMap::new(),
            base: 0,
            terminated: false,
            outcome: None,
        }
    }

    /// One turn of the server for it, if there is anything to do.
    fn turn(&mut self, server: &Server, rng: &mut StdRng) {
        if self.outcome.is_some() {
            return;
        }
        let due = |deadline: Mono| deadline <= server.now;
        if self.requestor.connection.deadline().is_some_and(due) {
            let unacknowledged = self.unacknowledged;
            self.requestor.connection.tick(server.now, unacknowledged);
        }
        if !self.acted && self.acts <= server.now {
            self.acted = true;
            self.act(server, rng);
        }
        self.requestor.deliver(server);
        for _ in 0..8 {
            if !self.requestor.connection.has_output() || self.unacknowledged >= WINDOW {
                break;
            }
            let octets = self.requestor.transmit(server, rng.random_range(1..=8_192));
            self.requestor.connection.written(octets, server.now);
            self.unacknowledged += octets;
            self.take(server, rng);
        }
        self.take(server, rng);
        match self.requestor.connection.fate() {
            Fate::Open => {}
            fate => self.outcome = Some((fate, server.now)),
        }
    }

    fn act(&mut self, server: &Server, rng: &mut StdRng) {
        let query = Query4::active(self.xid + 1).frame();
        match self.manner {
            Manner::Rude => self.requestor.to_server.extend([0, 0]),
            Manner::Greedy => self.requestor.to_server.extend(query),
            Manner::Halting => {
                let part = rng.random_range(1..query.len());
                self.requestor.to_server.extend(&query[..part]);
            }
            Manner::Closing => self.requestor.connection.peer_closed(server.now),
            Manner::Quick | Manner::Slow | Manner::Dead => {}
        }
    }

    /// Takes what its manner is to take, and reads it.
    fn take(&mut self, server: &Server, rng: &mut StdRng) {
        let takes = match self.manner {
            Manner::Dead => 0,
            Manner::Slow if self.takes > server.now => 0,
            Manner::Slow => {
                self.takes = server.now + Duration::from_millis(rng.random_range(500..90_000));
                self.unacknowledged.min(rng.random_range(300..6_000))
            }
            _ => self.unacknowledged,
        };
        self.unacknowledged -= takes;
        let (xid, mut base) = (self.xid, self.base);
        let (told, terminated) = (&mut self.told, &mut self.terminated);
        self.requestor.each_message(|octets| {
            let message = Message::parse(octets).expect("a message");
            if message.xid() != xid {
                assert_eq!(message.xid(), xid + 1, "the refusal of what came beside it");
                return;
            }
            assert!(!*terminated, "QueryTerminated is the last message");
            let number = |code| message.option(code).and_then(|value| value.to_u32());
            let now = number(option_code::BASE_TIME).expect("base-time in every message");
            assert!(now >= base, "base-time never goes back");
            base = now;
            let address = u32::from(message.ciaddr()).wrapping_sub(0x6440_0000);
            match message.message_type().expect("a message type") {
                message_type::DHCPLEASEACTIVE => drop(told.insert(address, true)),
                message_type::DHCPLEASEUNASSIGNED => drop(told.insert(address, false)),
                message_type::DHCPLEASEQUERYSTATUS => {
                    let status = message.option(option_code::STATUS_CODE).expect("a status");
                    *terminated = status.bytes().next() == Some(2);
                }
                other => panic!("a message of type {other}"),
            }
        });
        self.base = base;
    }

    /// It was told what is true now of every address that changed while it listened, and that it asked for.
    fn check_told(&self, leases: &BTreeMap<u32, Known>) {
        for (address, known) in leases {
            let here = self.relay.is_none_or(|relay| relay == known.relay);
            let told = self.told.get(address).copied();
            if known.changed <= self.began && !self.whole {
                assert_eq!(told, None, "{address} has not changed since");
            } else if known.active && here {
                assert_eq!(told, Some(true), "{address} {:?} {known:?}", self.manner);
            } else {
                assert_ne!(told, Some(true), "{address} {:?} {known:?}", self.manner);
            }
        }
    }
}

/// A change of an address: a lease, of the same relay agent or another, or its end.
fn change(address: u32, known: &mut Known, now: Mono, second: u32, rng: &mut StdRng) -> Event4 {
    known.changed = now;
    known.active = rng.random_bool(0.7);
    if !known.active {
        let mut end = Event4::new((0x6440_0000 + address).into(), State::Released);
        end.state_since = Some(START + second);
        return end;
    }
    if rng.random_bool(0.3) {
        known.relay = rng.random_range(0..RELAYS);
    }
    let mut event = lease((0x6440_0000 + address).to_be_bytes(), address);
    event.relay_agent_info = Some(relay_info(known.relay, address));
    event.cltt = Some(START + second);
    event.lease_time = Some(u32::MAX);
    event
}

#[test]
fn streams_of_all_manners_are_told_everything_or_closed() {
    let seed = setting("LEASEQ_SEED", 0x7724);
    let count = setting("LEASEQ_STREAMS", 400) as u32;
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut server = Server::with(relay_scoped(), vec![]);
    let mut leases = BTreeMap::new();
    let first = (0..ADDRESSES).map(|address| {
        let mut known = Known {
            relay: address % RELAYS,
            active: true,
            changed: server.now,
        };
        let event = change(address, &mut known, server.now, 0, rng);
        leases.insert(address, known);
        event
    });
    let first: Vec<Event4> = first.collect();
    server.store(first);
    server.pass(SECOND);
    let mut peers: Vec<Peer> = Vec::new();

    // After the last change everything comes to rest: the slow ones take at last what there is.
    let mut second = 1;
    while second < BUSY + QUIET || peers.iter().any(|peer| peer.is_behind()) {
        assert!(second < 100 * BUSY, "seed {seed}: never came to rest");
        server.pass(SECOND);
        second += 1;
        if second <= BUSY {
            let changes: Vec<Event4> = (0..rng.random_range(0..12))
                .map(|_| {
                    let address = rng.random_range(0..ADDRESSES);
                    let known = leases.get_mut(&address).expect("known");
                    change(address, known, server.now, second, rng)
                })
                .collect();
            // Of several changes of an address in one commit the last one counts; each is a change all the same.
            server.change(changes);
        }
        // They come one after another in the first minutes.
        while peers.len() < count as usize && (peers.len() as u32) < second * count / 200 {
            let manner = MANNERS[rng.random_range(0..MANNERS.len())];
            let xid = 2 * peers.len() as u32;
            peers.push(Peer::new(&server, manner, xid, rng));
        }
        for peer in &mut peers {
            if second == BUSY && peer.manner == Manner::Slow {
                peer.manner = Manner::Quick;
            }
            peer.turn(&server, rng);
        }
        // Those that lag catch up together, whether leases change or not.
        server.committed();
    }

    for peer in &mut peers {
        let Some(reason) = peer.manner.ends() else {
            assert_eq!(peer.outcome, None, "seed {seed}: {:?}", peer.manner);
            peer.check_told(&leases);
            continue;
        };
        let (fate, when) = peer.outcome.expect("it has ended");
        let (expected, latest) = match peer.manner {
            // Something is sent within the idle timeout, and looked at for the send timeout from then.
            Manner::Dead => (Fate::Abort(reason), peer.began + IDLE + SEND),
            Manner::Halting => (
                Fate::CloseWhenWritten(reason),
                peer.acts + Duration::from_secs(300),
            ),
            _ => (Fate::CloseWhenWritten(reason), peer.acts),
        };
        assert_eq!(fate, expected, "seed {seed}: {:?}", peer.manner);
        assert!(
            when <= latest + 2 * SECOND,
            "seed {seed}: {:?} ended {:?} late",
            peer.manner,
            when - latest
        );
        let told_why = !matches!(peer.manner, Manner::Dead | Manner::Closing);
        assert_eq!(peer.terminated, told_why, "seed {seed}: {:?}", peer.manner);
    }

    // The server stops: those that are left are told so.
    for peer in peers.iter_mut().filter(|peer| peer.outcome.is_none()) {
        peer.requestor.connection.terminate();
        peer.manner = Manner::Quick;
        peer.turn(&server, rng);
        let (fate, _) = peer.outcome.expect("it has ended");
        assert_eq!(fate, Fate::CloseWhenWritten(CloseReason::Shutdown));
        assert!(peer.terminated, "seed {seed}");
    }
    drop(peers);
    let v4 = &server.counters.v4;
    assert_eq!(server.hub.streams(), 0, "seed {seed}");
    assert_eq!(v4.streams_opened.get(), u64::from(count), "seed {seed}");
    assert_eq!(v4.streams_closed.get(), u64::from(count), "seed {seed}");
    assert_eq!(v4.closed.total(), u64::from(count), "seed {seed}");
    assert!(
        v4.keepalives.get() > 0 && v4.lagged.get() > 0,
        "seed {seed}"
    );
    assert_eq!(server.admission.open(leaseq_session::Family::V4), 0);
}

impl Peer {
    /// Whether something is still on its way to it, or it has still to end.
    fn is_behind(&self) -> bool {
        match self.manner.ends() {
            Some(_) => self.outcome.is_none(),
            None => self.unacknowledged > 0 || self.requestor.connection.has_output(),
        }
    }
}
