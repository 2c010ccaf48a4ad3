//! Thousands of requestors on virtual time: quick ones, slow ones, dead ones, rude ones, and some that close half-way.
//!
//! A seed reproduces a run: `LEASEQ_SEED` sets it, `LEASEQ_REQUESTORS` the number of requestors.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::Duration;

use leaseq_session::{CloseReason, Fate, Mono};
use leaseq_wire::v4::{Message, option_code};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use crate::fixture::{Requestor, Server, lease, limits, relay_id};
use crate::message::Query4;

const RELAYS: u32 = 40;
const BINDINGS: u32 = 60;
const TIMEOUT: Duration = Duration::from_secs(300);
/// A requestor that is served takes its longest break between two reads.
const LONGEST_BREAK: Duration = Duration::from_secs(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Takes everything at once.
    Quick,
    /// Takes a little now and then.
    Slow,
    /// Asks and is never heard of again.
    Dead,
    /// Sends what is no query after its queries.
    Rude,
    /// Stops in the middle of a query.
    Halting,
    /// Closes its side when it has asked.
    Closing,
}

const MANNERS: [Manner; 8] = [
    Manner::Quick,
    Manner::Quick,
    Manner::Slow,
    Manner::Slow,
    Manner::Dead,
    Manner::Rude,
    Manner::Halting,
    Manner::Closing,
];

struct Peer {
    manner: Manner,
    requestor: Requestor,
    /// Relay asked for by transaction id.
    asked: BTreeMap<u32, u32>,
    told: BTreeMap<u32, BTreeSet<Ipv4Addr>>,
    ended: BTreeMap<u32, Option<u8>>,
    /// Octets in flight to it.
    unacknowledged: usize,
    began: Mono,
    finished: Option<Mono>,
    outcome: Option<Fate>,
}

/// As much of a message as a requestor has to look at.
struct Heard {
    xid: u32,
    message_type: u8,
    ciaddr: Ipv4Addr,
    status: Option<u8>,
}

impl Heard {
    fn read(octets: &[u8]) -> Heard {
        let message = Message::parse(octets).expect("a message");
        Heard {
            xid: message.xid(),
            message_type: message.message_type().expect("a message type"),
            ciaddr: message.ciaddr(),
            status: message
                .option(option_code::STATUS_CODE)
                .and_then(|status| status.bytes().next()),
        }
    }
}

impl Peer {
    fn new(server: &Server, manner: Manner, rng: &mut StdRng) -> Peer {
        let mut requestor = server.connect();
        let mut asked = BTreeMap::new();
        for xid in 0..rng.random_range(1..=12) {
            let relay = rng.random_range(0..RELAYS);
            asked.insert(xid, relay);
            requestor.ask(&Query4::bulk(xid).relay_id(&relay_id(relay)));
        }
        match manner {
            Manner::Rude => requestor.to_server.extend([0, 0]),
            Manner::Halting => requestor
                .to_server
                .extend(&Query4::bulk(99).frame()[..rng.random_range(1..200)]),
            _ => {}
        }
        Peer {
            manner,
            requestor,
            asked,
            told: BTreeMap::new(),
            ended: BTreeMap::new(),
            unacknowledged: 0,
            began: server.now,
            finished: None,
            outcome: None,
        }
    }

    /// One turn of the server for this peer; when the peer is to have its next one.
    fn turn(&mut self, server: &Server, rng: &mut StdRng) -> Option<Mono> {
        let connection = &mut self.requestor.connection;
        if connection
            .deadline()
            .is_some_and(|deadline| deadline <= server.now)
        {
            connection.tick(server.now, self.unacknowledged);
        }
        self.requestor.deliver(server);
        let asked_all = self.requestor.to_server.is_empty();
        if self.manner == Manner::Closing && asked_all && self.outcome.is_none() {
            self.requestor.connection.peer_closed(server.now);
        }
        // The kernel takes a bounded amount; what a slow or dead peer does not take stays there.
        if self.requestor.connection.has_output() && self.unacknowledged < 64 * 1_024 {
            let target = rng.random_range(1..=16 * 1_024);
            let octets = self.requestor.transmit(server, target);
            self.requestor.connection.written(octets, server.now);
            self.unacknowledged += octets;
        }
        let takes = match self.manner {
            Manner::Quick | Manner::Rude | Manner::Halting | Manner::Closing => self.unacknowledged,
            Manner::Slow => self.unacknowledged.min(rng.random_range(500..20_000)),
            Manner::Dead => 0,
        };
        self.unacknowledged -= takes;
        let mut heard = Vec::new();
        self.requestor
            .each_message(|octets| heard.push(Heard::read(octets)));
        for message in heard {
            self.hear(message, server.now);
        }
        match self.requestor.connection.fate() {
            Fate::Open => {}
            fate => {
                self.outcome = Some(fate);
                return None;
            }
        }
        let wait = match self.manner {
            Manner::Slow => {
                Duration::from_millis(rng.random_range(1_000..LONGEST_BREAK.as_millis() as u64))
            }
            _ => Duration::from_millis(rng.random_range(1..50)),
        };
        let busy = self.requestor.connection.has_output() && self.unacknowledged < 64 * 1_024;
        let asks = !self.requestor.to_server.is_empty() && self.requestor.connection.wants_input();
        let moving = busy || asks || self.unacknowledged > 0 && self.manner != Manner::Dead;
        let deadline = self.requestor.connection.deadline();
        match moving {
            true => Some(deadline.map_or(server.now + wait, |deadline| {
                deadline.min(server.now + wait)
            })),
            false => deadline,
        }
    }

    fn hear(&mut self, message: Heard, now: Mono) {
        let xid = message.xid;
        assert!(self.asked.contains_key(&xid), "an answer to what was asked");
        assert!(!self.ended.contains_key(&xid), "nothing after the DONE");
        if message.message_type == 15 {
            self.ended.insert(xid, message.status);
            if self.ended.len() == self.asked.len() {
                self.finished = Some(now);
            }
        } else {
            assert!(
                self.told.entry(xid).or_default().insert(message.ciaddr),
                "each address at most once"
            );
        }
    }

    /// Every query that ended well told exactly the bindings of its relay.
    fn check_complete(&self) {
        for (xid, status) in &self.ended {
            if status.is_none() {
                let relay = self.asked[xid];
                let expected: BTreeSet<_> = (0..BINDINGS).map(|n| address(relay, n)).collect();
                assert_eq!(
                    self.told.get(xid),
                    Some(&expected),
                    "{:?} {xid}",
                    self.manner
                );
            }
        }
    }
}

fn address(relay: u32, n: u32) -> Ipv4Addr {
    Ipv4Addr::new(100, 64, relay as u8, n as u8)
}

pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn requestors_of_all_manners_are_served_or_closed_and_none_starves() {
    let seed = setting("LEASEQ_SEED", 0x1ea5e9);
    let count = setting("LEASEQ_REQUESTORS", 2_000) as usize;
    let rng = &mut StdRng::seed_from_u64(seed);
    let mut server = Server::with(
        limits(|limits| limits.max_queries_per_connection = 5),
        vec![],
    );
    let leases = (0..RELAYS).flat_map(|relay| (0..BINDINGS).map(move |n| (relay, n)));
    server.store(leases.map(|(relay, n)| {
        let mut event = lease(address(relay, n).octets(), relay * 1_000 + n);
        event.lease_time = Some(u32::MAX);
        event
    }));
    let mut peers: Vec<Peer> = (0..count)
        .map(|_| {
            let manner = MANNERS[rng.random_range(0..MANNERS.len())];
            Peer::new(&server, manner, rng)
        })
        .collect();
    let mut agenda: BinaryHeap<Reverse<(Mono, u64, usize)>> = BinaryHeap::new();
    for number in 0..count {
        agenda.push(Reverse((server.now, rng.next_u64(), number)));
    }
    let start = server.now;
    let mut turns = 0_u64;
    while let Some(Reverse((when, _, number))) = agenda.pop() {
        turns += 1;
        assert!(
            turns < 4_000 * count as u64,
            "seed {seed}: never came to rest"
        );
        if when > server.now {
            let by = when - server.now;
            server.pass(by);
        }
        if let Some(next) = peers[number].turn(&server, rng) {
            agenda.push(Reverse((
                next.max(server.now + Duration::from_millis(1)),
                rng.next_u64(),
                number,
            )));
        }
    }

    let mut quick = Vec::new();
    for peer in &peers {
        peer.check_complete();
        let outcome = peer.outcome.expect("every connection ends some day");
        let (complete, reason) = match peer.manner {
            Manner::Quick => (true, CloseReason::Idle),
            Manner::Slow => (true, CloseReason::Idle),
            Manner::Halting => (true, CloseReason::ReadBlocked),
            Manner::Rude => (false, CloseReason::EmptyFrame),
            Manner::Closing => (false, CloseReason::PeerClosed),
            Manner::Dead => (false, CloseReason::SendBlocked),
        };
        let expected = if peer.manner == Manner::Dead {
            Fate::Abort(reason)
        } else {
            Fate::CloseWhenWritten(reason)
        };
        assert_eq!(outcome, expected, "seed {seed}: {:?}", peer.manner);
        if complete {
            let served = peer
                .finished
                .unwrap_or_else(|| panic!("seed {seed}: {:?} was not served", peer.manner));
            assert!(
                peer.ended.values().all(Option::is_none),
                "seed {seed}: {:?}",
                peer.manner
            );
            if peer.manner == Manner::Quick {
                quick.push((served - peer.began).as_millis() / peer.asked.len() as u128);
            }
        }
        if peer.manner == Manner::Rude {
            assert_eq!(
                peer.ended.len(),
                peer.asked.len(),
                "seed {seed}: each query has its DONE, with or without a status"
            );
        }
    }
    quick.sort();
    let median = quick[quick.len() / 2];
    let slowest = quick[quick.len() - 1];
    assert!(
        slowest <= 20 * median.max(1),
        "seed {seed}: the slowest took {slowest} ms a query, the median {median}"
    );
    assert!(server.now - start >= TIMEOUT);
    let v4 = &server.counters.v4;
    assert_eq!(
        v4.opened.get(),
        v4.closed.total(),
        "seed {seed}: every connection is closed once"
    );
    drop(peers);
    assert_eq!(
        server.admission.open(leaseq_session::Family::V4),
        0,
        "seed {seed}: every place is given back"
    );
}
