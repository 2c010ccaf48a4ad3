//! The queries over UDP that wait for their answers: by transaction id, and by the time at which each is sent again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Instant;

use ahash::RandomState;
use leaseq_requestor::{Answer, Family, ProtocolFault, Query, QueryError, Step, UdpExchange};
use leaseq_wire::time::UnixSeconds;
use slab::Slab;

/// Queries that have ended and of which more than one datagram was sent, so that more answers may come: the latest ones.
const KEPT: usize = 1 << 16;

/// Transaction ids are our own: no seed need be secret.
const SPREAD: RandomState = RandomState::with_seeds(1, 2, 3, 4);

/// What a query is to whoever asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The row that it is about.
    pub row: u32,
    /// Number of the socket.
    pub socket: u32,
    /// The place whose query it is, by its number of those on this thread; none: that of the fixed rate.
    pub place: Option<u32>,
    /// When it was due, in nanoseconds of the run's clock.
    pub due: u64,
    /// Changes that were acknowledged before it was sent.
    pub acknowledged: u64,
}

/// What a datagram is.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are answers, and each is taken at once"
)]
pub enum Received {
    /// The answer to a query, which has ended with it; or why it cannot be read.
    Answer {
        /// What was asked.
        asked: Asked,
        /// Its transaction id.
        xid: u32,
        /// What was answered.
        answer: Result<Answer, ProtocolFault>,
        /// When it was sent, if that was only once: else it is not known which datagram was answered.
        sent: Option<u64>,
    },
    /// One more answer to a query that was sent more than once, as there may be.
    Extra,
    /// One more answer to a query that was sent once.
    Repeated(u32),
    /// An answer to no query.
    UnknownXid(u32),
    /// No answer: no message, of another type, or for another requestor.
    NoAnswer,
}

struct Waiting {
    exchange: UdpExchange,
    asked: Asked,
    xid: u32,
    sent: u64,
}

/// The queries of a thread that wait for their answers.
pub struct Table {
    family: Family,
    waiting: Slab<Waiting>,
    by_xid: HashMap<u32, usize, RandomState>,
    /// When a query is to be sent again, which one, and its transaction id then.
    timers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    first_xid: u32,
    /// Queries so far; their transaction ids follow each other.
    begun: u32,
    random: u64,
    several: Several,
}

impl Table {
    /// None waits. `random` is where transaction ids begin, and jitter comes from.
    #[must_use]
    pub fn new(family: Family, random: u64) -> Self {
        Self {
            family,
            waiting: Slab::new(),
            by_xid: HashMap::with_hasher(SPREAD),
            timers: BinaryHeap::new(),
            first_xid: random as u32,
            begun: 0,
            random,
            several: Several::default(),
        }
    }

    /// No query waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queries that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When something is to be done, if no answer comes before.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Asks: hands the datagram over, to be sent now.
    ///
    /// # Errors
    /// If the query does not exist over UDP.
    pub fn ask(
        &mut self,
        query: &Query,
        asked: Asked,
        (now, now_ns): (Instant, u64),
        send: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), QueryError> {
        let xid = query.xid(self.first_xid.wrapping_add(self.begun));
        let random = self.random ^ u64::from(self.begun).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let exchange = UdpExchange::new(query, xid, random)?;
        self.begun = self.begun.wrapping_add(1);
        let slot = self.waiting.insert(Waiting {
            exchange,
            asked,
            xid,
            sent: now_ns,
        });
        if let Some(before) = self.by_xid.insert(xid, slot) {
            // Transaction ids have come round, and one has waited all that time; in DHCPv6 there are 2^24, far more than
            // can wait.
            self.waiting.try_remove(before);
        }
        self.step(slot, now, now_ns, send);
        Ok(())
    }

    /// Gives up all that wait, and says how many.
    pub fn give_up(&mut self) -> u64 {
        let given_up = self.waiting.len() as u64;
        self.waiting.clear();
        self.by_xid.clear();
        self.timers.clear();
        given_up
    }

    /// Sends again what is due, and tells of each that is given up; says how many datagrams were sent again.
    pub fn overdue(
        &mut self,
        (now, now_ns): (Instant, u64),
        send: &mut dyn FnMut(u32, &[u8]),
        lost: &mut dyn FnMut(Asked),
    ) -> u64 {
        let mut again = 0;
        while let Some(Reverse((at, slot, xid))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if self.waiting.get(slot).is_none_or(|query| query.xid != xid) {
                continue;
            }
            match self.step(slot, now, now_ns, send) {
                true => again += 1,
                false => {
                    let Some(query) = self.end(slot) else {
                        continue;
                    };
                    self.several.add(query.xid, query.exchange.sent());
                    lost(query.asked);
                }
            }
        }
        // Those of answered queries go when they are due; but not so many of them are kept.
        if self.timers.len() > 4 * self.waiting.len() + 1_024 {
            let waiting = &self.waiting;
            self.timers.retain(|Reverse((_, slot, xid))| {
                waiting.get(*slot).is_some_and(|query| query.xid == *xid)
            });
        }
        again
    }

    /// Does what a query wants done. `false`: it is to be given up.
    fn step(
        &mut self,
        slot: usize,
        now: Instant,
        now_ns: u64,
        send: &mut dyn FnMut(u32, &[u8]),
    ) -> bool {
        let Some(query) = self.waiting.get_mut(slot) else {
            return false;
        };
        loop {
            match query.exchange.step(now) {
                Step::Send(datagram) => {
                    query.sent = now_ns;
                    send(query.asked.socket, datagram);
                }
                Step::WaitUntil(at) => {
                    self.timers.push(Reverse((at, slot, query.xid)));
                    return true;
                }
                Step::Failed => return false,
            }
        }
    }

    fn end(&mut self, slot: usize) -> Option<Waiting> {
        let query = self.waiting.try_remove(slot)?;
        self.by_xid.remove(&query.xid);
        Some(query)
    }

    /// Takes a datagram.
    pub fn receive(&mut self, datagram: &[u8], received: UnixSeconds) -> Received {
        let Some(xid) = xid(self.family, datagram) else {
            return Received::NoAnswer;
        };
        let Some(&slot) = self.by_xid.get(&xid) else {
            return match self.several.take(xid) {
                true => Received::Extra,
                false if self.was_begun(xid) && self.several.is_full() => Received::Extra,
                false if self.was_begun(xid) => Received::Repeated(xid),
                false => Received::UnknownXid(xid),
            };
        };
        let Some(waiting) = self.waiting.get(slot) else {
            return Received::NoAnswer;
        };
        let answer = match waiting.exchange.receive(datagram, received) {
            Ok(None) => return Received::NoAnswer,
            Ok(Some(answer)) => Ok(answer),
            Err(fault) => Err(fault),
        };
        let Some(query) = self.end(slot) else {
            return Received::NoAnswer;
        };
        let sent = query.exchange.sent();
        if sent > 1 {
            self.several.add(xid, sent - 1);
        }
        Received::Answer {
            asked: query.asked,
            xid,
            answer,
            sent: (sent == 1).then_some(query.sent),
        }
    }

    /// A query of ours had this transaction id.
    fn was_begun(&self, xid: u32) -> bool {
        match self.family {
            Family::V4 => xid.wrapping_sub(self.first_xid) < self.begun,
            Family::V6 => (xid.wrapping_sub(self.first_xid) & V6_XIDS) < self.begun,
        }
    }
}

/// The bits of a DHCPv6 transaction id.
const V6_XIDS: u32 = 0x00ff_ffff;

/// The transaction id of a message.
fn xid(family: Family, datagram: &[u8]) -> Option<u32> {
    match family {
        Family::V4 => {
            let octets = datagram.get(4..8)?;
            Some(u32::from_be_bytes(octets.try_into().ok()?))
        }
        Family::V6 => {
            let octets = datagram.get(..4)?;
            Some(u32::from_be_bytes(octets.try_into().ok()?) & V6_XIDS)
        }
    }
}

/// Queries that have ended, and how many answers to each may still come.
struct Several {
    answers: HashMap<u32, u32, RandomState>,
    order: VecDeque<u32>,
}

impl Default for Several {
    fn default() -> Self {
        Self {
            answers: HashMap::with_hasher(SPREAD),
            order: VecDeque::new(),
        }
    }
}

impl Several {
    fn add(&mut self, xid: u32, answers: u32) {
        if self.is_full()
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
        self.answers.insert(xid, answers);
        self.order.push_back(xid);
    }

    fn is_full(&self) -> bool {
        self.order.len() >= KEPT
    }

    /// One of the answers has come.
    fn take(&mut self, xid: u32) -> bool {
        match self.answers.get_mut(&xid) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leaseq_requestor::{Query4, Selector4};
    use leaseq_wire::OutBuf;
    use leaseq_wire::v4::{self, message_type as kind};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    fn query() -> Query {
        let address = Ipv4Addr::new(10, 0, 0, 7);
        let mut query = Query4::new(Selector4::Ip(address));
        query.giaddr = Ipv4Addr::LOCALHOST;
        query.into()
    }

    fn asked(row: u32) -> Asked {
        Asked {
            row,
            socket: 0,
            place: None,
            due: 0,
            acknowledged: 0,
        }
    }

    /// DHCPLEASEUNKNOWN to a request, or to one with another transaction id.
    fn unknown(request: &[u8], more: u32) -> Vec<u8> {
        let request = v4::Message::parse(request).unwrap();
        let mut octets = vec![0; 600];
        let mut out = OutBuf::new(&mut octets);
        let header = v4::Header {
            op: v4::op::BOOTREPLY,
            ..v4::Header::request(request.xid().wrapping_add(more))
        };
        v4::MessageWriter::start(&mut out, &header, kind::DHCPLEASEUNKNOWN)
            .unwrap()
            .finish();
        out.as_slice().to_vec()
    }

    struct Peer {
        table: Table,
        sent: Vec<Vec<u8>>,
        lost: Vec<u32>,
        now: Instant,
        again: u64,
    }

    impl Peer {
        fn new() -> Self {
            Self {
                table: Table::new(Family::V4, 77),
                sent: Vec::new(),
                lost: Vec::new(),
                now: Instant::now(),
                again: 0,
            }
        }

        fn ask(&mut self, row: u32) {
            let Self {
                table, sent, now, ..
            } = self;
            let mut send = |_: u32, octets: &[u8]| sent.push(octets.to_vec());
            table
                .ask(&query(), asked(row), (*now, u64::from(row)), &mut send)
                .unwrap();
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            let Self {
                table,
                sent,
                lost,
                now,
                again,
            } = self;
            *again += table.overdue(
                (*now, 0),
                &mut |_, octets| sent.push(octets.to_vec()),
                &mut |asked| lost.push(asked.row),
            );
        }

        fn receive(&mut self, octets: &[u8]) -> Received {
            self.table.receive(octets, NOW)
        }
    }

    #[test]
    fn answers_find_their_queries_in_any_order() {
        let mut peer = Peer::new();
        (1..=3).for_each(|row| peer.ask(row));
        for at in [1, 0, 2] {
            let answer = unknown(&peer.sent[at].clone(), 0);
            let Received::Answer {
                asked,
                answer: Ok(Answer::Unknown),
                sent,
                ..
            } = peer.receive(&answer)
            else {
                panic!("no answer");
            };
            assert_eq!(
                (asked.row, sent),
                (at as u32 + 1, Some(u64::from(asked.row)))
            );
        }
        assert!(peer.table.is_empty());
        // Whose datagram was sent once is answered once.
        let again = unknown(&peer.sent[0].clone(), 0);
        assert!(matches!(peer.receive(&again), Received::Repeated(_)));
        let other = unknown(&peer.sent[2].clone(), 1);
        assert!(matches!(peer.receive(&other), Received::UnknownXid(_)));
        assert!(matches!(peer.receive(&[1, 2, 3]), Received::NoAnswer));
        let request = peer.sent[0].clone();
        assert!(matches!(peer.receive(&request), Received::Repeated(_)));
    }

    #[test]
    fn what_is_not_answered_is_sent_again_and_then_given_up() {
        let mut peer = Peer::new();
        peer.ask(5);
        peer.pass(2);
        assert_eq!(peer.again, 0);
        peer.pass(4);
        peer.pass(10);
        assert_eq!((peer.again, peer.sent.len(), peer.lost.len()), (2, 3, 0));
        peer.pass(20);
        assert_eq!((peer.again, peer.lost.as_slice()), (2, &[5][..]));
        assert!(peer.table.is_empty() && peer.table.next().is_none());
        // Its answers may still come: one for each datagram.
        let answer = unknown(&peer.sent[0].clone(), 0);
        for _ in 0..3 {
            assert!(matches!(peer.receive(&answer), Received::Extra));
        }
        assert!(matches!(peer.receive(&answer), Received::Repeated(_)));
    }

    #[test]
    fn an_answer_after_a_second_datagram_may_come_twice_and_has_no_round_trip() {
        let mut peer = Peer::new();
        peer.ask(1);
        peer.pass(6);
        let answer = unknown(&peer.sent[1].clone(), 0);
        let received = peer.receive(&answer);
        assert!(matches!(received, Received::Answer { sent: None, .. }));
        assert!(matches!(peer.receive(&answer), Received::Extra));
        assert!(matches!(peer.receive(&answer), Received::Repeated(_)));
    }

    #[test]
    fn timers_of_answered_queries_do_not_pile_up() {
        let mut peer = Peer::new();
        for row in 0..10_000 {
            peer.ask(row);
            let answer = unknown(peer.sent.last().unwrap(), 0);
            assert!(matches!(peer.receive(&answer), Received::Answer { .. }));
            peer.pass(0);
        }
        assert!(peer.table.timers.len() <= 1_025);
    }
}
