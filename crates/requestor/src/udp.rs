//! One query over UDP: when to send it again, and which datagram answers it. No socket, no clock.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use leaseq_wire::parameters::{LQ_MAX_RC, LQ_MAX_RT, LQ_TIMEOUT};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::message_type::{DHCPLEASEACTIVE, DHCPLEASEUNASSIGNED, DHCPLEASEUNKNOWN};
use leaseq_wire::v6::message_type::LEASEQUERY_REPLY;
use leaseq_wire::{v4, v6};

use crate::bulk6::read_client;
use crate::random::Random;
use crate::{
    Client6Leases, Lease4, ProtocolFault, Query, QueryError, Status, ValueError, ValueProblem,
};

/// When a query is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Time from the first transmission to the second. Each time after it is twice the one before.
    pub initial: Duration,
    /// The longest time between two transmissions.
    pub max: Duration,
    /// Transmissions in all; after the last one its time is waited out.
    pub transmissions: u32,
    /// How much times are changed at random, so that requestors do not keep step.
    pub jitter: Jitter,
}

/// How much a time between two transmissions is changed at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Up to this much shorter or longer; the next time doubles what it would have been (RFC 2131 §4.1).
    Within(Duration),
    /// By up to a tenth, and the next time doubles what it was (RFC 8415 §15).
    Tenth,
}

impl Timers {
    /// RFC 5007 §4.1.4, with the algorithm of RFC 8415 §15.
    pub const V6: Self = Self {
        initial: LQ_TIMEOUT,
        max: LQ_MAX_RT,
        transmissions: LQ_MAX_RC,
        jitter: Jitter::Tenth,
    };

    /// RFC 4388 §6.6, which refers to RFC 2131 §4.1. How often, the RFCs leave open.
    pub const V4: Self = Self {
        initial: Duration::from_secs(4),
        max: Duration::from_secs(64),
        transmissions: 3,
        jitter: Jitter::Within(Duration::from_secs(1)),
    };
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Send this datagram, then ask again.
    Send(&'a [u8]),
    /// Wait for a datagram until then, then ask again.
    WaitUntil(Instant),
    /// No answer came in time.
    Failed,
}

/// The answer to a query over UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// DHCPv4: the state of an address.
    Lease4(Lease4),
    /// DHCPv4: the server knows nothing of it (DHCPLEASEUNKNOWN).
    Unknown,
    /// DHCPv6: the client's leases; none if it has none.
    Clients6(Vec<Client6Leases>),
    /// DHCPv6: the client has leases on these links; ask about each (RFC 5007 §4.3.3).
    Links6(Vec<Ipv6Addr>),
    /// DHCPv6: the query failed.
    Failed(Status),
}

/// A query over UDP.
#[derive(Clone, Debug)]
pub struct UdpExchange {
    request: Vec<u8>,
    xid: u32,
    /// DHCPv6: our DUID, which the answer repeats.
    requestor: Option<Vec<u8>>,
    timers: Timers,
    sent: u32,
    /// What the next one is made from.
    interval: Duration,
    due: Option<Instant>,
    random: Random,
}

impl UdpExchange {
    /// A query with this transaction id, sent with the timers of its family. `random` is where the jitter of the times
    /// comes from.
    ///
    /// # Errors
    /// If the query does not exist over UDP.
    pub fn new(query: &Query, xid: u32, random: u64) -> Result<Self, QueryError> {
        let xid = query.xid(xid);
        let (requestor, timers) = match query {
            Query::V4(_) => (None, Timers::V4),
            Query::V6(query) => (Some(query.requestor.clone()), Timers::V6),
        };
        let request = query.udp_request(xid)?;
        Ok(Self {
            request,
            xid,
            requestor,
            timers,
            sent: 0,
            interval: Duration::ZERO,
            due: None,
            random: Random::new(random),
        })
    }

    /// Uses other timers.
    #[must_use]
    pub fn with_timers(self, timers: Timers) -> Self {
        Self { timers, ..self }
    }

    /// Datagrams sent so far.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent
    }

    /// What is to be done at this time.
    pub fn step(&mut self, now: Instant) -> Step<'_> {
        match self.due {
            Some(due) if now < due => Step::WaitUntil(due),
            _ if self.sent >= self.timers.transmissions => Step::Failed,
            _ => {
                let interval = self.next_interval();
                self.sent += 1;
                self.due = Some(now + interval);
                Step::Send(&self.request)
            }
        }
    }

    fn next_interval(&mut self) -> Duration {
        let Timers {
            initial,
            max,
            jitter,
            ..
        } = self.timers;
        let first = self.sent == 0;
        match jitter {
            Jitter::Within(spread) => {
                self.interval = if first {
                    initial
                } else {
                    (self.interval * 2).min(max)
                };
                self.vary(self.interval, spread)
            }
            Jitter::Tenth => {
                let previous = self.interval;
                self.interval = match first {
                    true => self.vary(initial, initial / 10),
                    false => self.vary(previous * 2, previous / 10),
                };
                if self.interval > max {
                    self.interval = self.vary(max, max / 10);
                }
                self.interval
            }
        }
    }

    /// A time at random between `time - spread` and `time + spread`.
    fn vary(&mut self, time: Duration, spread: Duration) -> Duration {
        (time + self.random.up_to(spread * 2)).saturating_sub(spread)
    }

    /// Looks at a datagram received at this time. `None`: it is not an answer to this query and is to be ignored.
    ///
    /// # Errors
    /// If it is the answer, but cannot be read.
    pub fn receive(
        &self,
        datagram: &[u8],
        received: UnixSeconds,
    ) -> Result<Option<Answer>, ProtocolFault> {
        match &self.requestor {
            None => self.receive4(datagram, received),
            Some(requestor) => self.receive6(requestor, datagram, received),
        }
    }

    fn receive4(
        &self,
        datagram: &[u8],
        received: UnixSeconds,
    ) -> Result<Option<Answer>, ProtocolFault> {
        let Ok(message) = v4::Message::parse(datagram) else {
            return Ok(None);
        };
        if message.op() != v4::op::BOOTREPLY || message.xid() != self.xid {
            return Ok(None);
        }
        match message.message_type() {
            Some(DHCPLEASEUNKNOWN) => Ok(Some(Answer::Unknown)),
            Some(DHCPLEASEACTIVE | DHCPLEASEUNASSIGNED) => Lease4::read(&message, received)
                .map(|lease| Some(Answer::Lease4(lease)))
                .map_err(ProtocolFault::Value),
            _ => Ok(None),
        }
    }

    /// RFC 5007 §4.2.2 says what is to be discarded, §4.3.3 what the rest means.
    fn receive6(
        &self,
        requestor: &[u8],
        datagram: &[u8],
        received: UnixSeconds,
    ) -> Result<Option<Answer>, ProtocolFault> {
        let Ok(message) = v6::Message::parse(datagram) else {
            return Ok(None);
        };
        let options = message.options();
        let is_answer = message.msg_type() == LEASEQUERY_REPLY
            && message.xid() == self.xid
            && options.find(v6::option_code::SERVERID).is_some()
            && options.find(v6::option_code::CLIENTID) == Some(requestor);
        if !is_answer {
            return Ok(None);
        }
        if let Some(status) = Status::of6(&options).filter(|status| status.code != 0) {
            return Ok(Some(Answer::Failed(status)));
        }
        if let Some(links) = options.find(v6::option_code::LQ_CLIENT_LINK) {
            if links.len() % 16 != 0 {
                let problem = ValueProblem::Length {
                    expected: links.len() / 16 * 16 + 16,
                    got: links.len(),
                };
                return Err(ProtocolFault::Value(ValueError {
                    code: v6::option_code::LQ_CLIENT_LINK,
                    problem,
                }));
            }
            return Ok(Some(Answer::Links6(v6::Links::new(links).collect())));
        }
        let mut clients = Vec::new();
        for (_, value) in options
            .iter()
            .filter(|(code, _)| *code == v6::option_code::CLIENT_DATA)
        {
            let client = read_client(value)?;
            clients.push(
                Client6Leases::read(&message, &client, received).map_err(ProtocolFault::Value)?,
            );
        }
        Ok(Some(Answer::Clients6(clients)))
    }
}
