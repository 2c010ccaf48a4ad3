//! A requestor that follows the store by active queries, and the connection that it has at the moment.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use dhcproto::{Decodable, Decoder};
use leaseq_requestor::{Active, ActiveEvent, ActiveStatusKind, Query};
use leaseq_session::{Connection, Family, Fate, RequestorRule, Turn};
use leaseq_store::View;
use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::UnixSeconds;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::table4::{Filter4, Table4};
use crate::table6::{Filter6, Table6};

/// The longest frame.
pub const MAX_FRAME: usize = frame::HEADER + frame::MAX_MESSAGE;
/// One message in so many is decoded by a stranger too.
const SAMPLE: u64 = 7;

/// What is followed, and what is known of it.
pub enum Side {
    V4(Filter4, Table4),
    V6(Filter6, Table6),
}

/// How a follower comes to know what there was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By catching up from the beginning of time.
    Beginning,
    /// By a bulk query, and an active one from the time of that on.
    Window,
    /// By a bulk query after an active one for what changes from now on.
    Live,
}

/// A follower.
pub struct Follower {
    pub side: Side,
    pub start: Start,
    pub from: IpAddr,
    pub rule: Arc<RequestorRule>,
    /// Most octets that it takes at a time.
    pub takes: usize,
    /// Octets that the kernel holds for it.
    pub kernel: usize,
    /// The base-time that it may resume from.
    pub remembered: Option<u32>,
    pub connected: Option<Connected>,
    pub next_xid: u32,
    /// Messages that it has been told, and those among them that say something is missing.
    pub messages: u64,
    pub data_missing: u64,
}

/// A connection, and everything on its way in it.
pub struct Connected {
    pub connection: Connection,
    active: Active,
    to_server: Vec<u8>,
    /// Octets handed out by the server that the kernel has not taken yet.
    writing: VecDeque<u8>,
    /// Octets that the follower has not taken yet.
    kernel: VecDeque<u8>,
    /// Something has happened since the connection had nothing to say.
    pub runnable: bool,
    /// What a bulk query tells is still to be taken in.
    pub wants_bulk: bool,
    /// base-times may be remembered.
    caught_up: bool,
    last_base: u32,
}

impl Follower {
    pub fn family(&self) -> Family {
        match self.side {
            Side::V4(..) => Family::V4,
            Side::V6(..) => Family::V6,
        }
    }

    fn query(&self) -> Query {
        match &self.side {
            Side::V4(filter, _) => filter.query().into(),
            Side::V6(filter, _) => filter.query().into(),
        }
    }

    /// Begins an active query on a new connection.
    pub fn connect(&mut self, connection: Connection, view: &View, settled: u32) {
        assert!(self.connected.is_none());
        if self.remembered.is_none() && self.start == Start::Window {
            self.take_bulk(view);
            self.remembered = Some(settled);
        }
        let since = match (self.remembered, self.start) {
            (Some(base), _) => Some(base),
            (None, Start::Beginning) => Some(946_684_800),
            (None, _) => None,
        };
        // Who asks from the beginning again knows nothing: what it was told before may have ended, and the end be forgotten.
        if self.remembered.is_none()
            && self.start == Start::Beginning
            && let Side::V6(_, table) = &mut self.side
        {
            *table = Table6::default();
        }
        self.next_xid += 1;
        let query = self.query();
        let request = query.active_request(self.next_xid, since.map(UnixSeconds));
        self.connected = Some(Connected {
            connection,
            active: Active::new(&query, self.next_xid, since.is_some()),
            to_server: request.expect("a request"),
            writing: VecDeque::new(),
            kernel: VecDeque::new(),
            runnable: false,
            wants_bulk: since.is_none(),
            caught_up: false,
            last_base: 0,
        });
    }

    /// Forgets what it knows and takes what a bulk query tells.
    fn take_bulk(&mut self, view: &View) {
        match &mut self.side {
            Side::V4(filter, table) => *table = Table4::of_store(view, filter, &self.rule),
            Side::V6(filter, table) => *table = Table6::of_store(view, filter, &self.rule),
        }
    }

    /// The server's turn for this follower, as the engine makes it: input, then output if the last one was written.
    pub fn serve(&mut self, turn: &Turn<'_>, target: usize, buffer: &mut [u8]) {
        let now = turn.server_time.seconds();
        let Some(connected) = &mut self.connected else {
            return;
        };
        let connection = &mut connected.connection;
        if !connected.to_server.is_empty() && connection.wants_input() {
            let taken = connection.receive(&connected.to_server, turn);
            connected.to_server.drain(..taken);
            connected.runnable = true;
        }
        if connected.runnable && connected.writing.is_empty() {
            let octets = if connection.has_output() {
                connection.transmit(turn, buffer, target)
            } else {
                0
            };
            connected.writing.extend(&buffer[..octets]);
            connected.runnable = connection.has_output();
            check_base_times(self.side.family(), &buffer[..octets], now);
        }
        let begun = connected.connection.is_stream() && !connected.connection.has_output();
        if begun && std::mem::take(&mut connected.wants_bulk) {
            connected.caught_up = true;
            self.take_bulk(turn.view);
        }
    }

    /// The kernel takes what was handed out, as far as there is room.
    pub fn write(&mut self, now: leaseq_session::Mono) {
        let Some(connected) = &mut self.connected else {
            return;
        };
        let room = self.kernel.saturating_sub(connected.kernel.len());
        let octets = room.min(connected.writing.len());
        if octets == 0 {
            return;
        }
        connected.kernel.extend(connected.writing.drain(..octets));
        connected.connection.written(octets, now);
        connected.runnable |= connected.writing.is_empty();
    }

    /// The follower takes some of what is there for it.
    pub fn read(&mut self, octets: usize, view: &View, now: u32) {
        let Some(connected) = &mut self.connected else {
            return;
        };
        let octets: Vec<u8> = {
            let octets = octets.min(connected.kernel.len());
            connected.kernel.drain(..octets).collect()
        };
        let Connected {
            active,
            caught_up,
            last_base,
            ..
        } = connected;
        let (side, rule) = (&mut self.side, &self.rule);
        let (remembered, messages) = (&mut self.remembered, &mut self.messages);
        let mut missing = false;
        let result = active.push(&octets, &mut |event| {
            *messages += 1;
            if messages.is_multiple_of(SAMPLE) {
                decode_by_stranger(side.family(), event.octets());
            }
            let base = event.base_time().expect("every message has a base-time").0;
            assert!(base <= now, "base-time {base} is ahead of {now}");
            assert!(base >= *last_base, "base-time goes back");
            *last_base = base;
            match (&event, &mut *side) {
                (ActiveEvent::Binding4(binding), Side::V4(filter, table)) => {
                    table.hear(filter, rule, binding);
                }
                (ActiveEvent::Client6(client), Side::V6(filter, table)) => {
                    table.hear(filter, rule, client);
                }
                (ActiveEvent::Status(status), _) => match status.kind {
                    ActiveStatusKind::ConnectionActive => {}
                    ActiveStatusKind::CatchUpComplete => *caught_up = true,
                    ActiveStatusKind::DataMissing => {
                        missing = true;
                        *caught_up = true;
                    }
                    ActiveStatusKind::Terminated | ActiveStatusKind::Failed => {
                        panic!("the query ended: {status:?}")
                    }
                },
                _ => panic!("told of the other family"),
            }
            if *caught_up {
                *remembered = Some(base);
            }
        });
        result.expect("no breach of the protocol");
        if missing {
            self.data_missing += 1;
            self.take_bulk(view);
        }
    }

    /// A deadline of the connection has come.
    pub fn tick(&mut self, now: leaseq_session::Mono) {
        let Some(connected) = &mut self.connected else {
            return;
        };
        let due = |connection: &Connection| connection.deadline().is_some_and(|due| due <= now);
        if due(&connected.connection) {
            connected.connection.tick(now, connected.kernel.len());
            connected.runnable = true;
        }
    }

    /// Closes the connection if the server wants that.
    pub fn close_if_ended(&mut self) {
        if self
            .connected
            .as_ref()
            .is_some_and(|connected| connected.connection.fate() != Fate::Open)
        {
            self.connected = None;
        }
    }

    /// Whether everything is told and taken. Panics if the server would say something and nothing makes it do so.
    pub fn is_at_rest(&self) -> bool {
        let Some(connected) = &self.connected else {
            return false;
        };
        let quiet = connected.to_server.is_empty()
            && connected.writing.is_empty()
            && connected.kernel.is_empty()
            && !connected.runnable;
        assert!(
            !quiet || !connected.connection.has_output(),
            "{self}: has something to say and was not woken"
        );
        quiet
    }

    /// Panics unless it has come to the end of its catching up.
    pub fn check(&self, view: &View) {
        let name = self.to_string();
        let connected = self.connected.as_ref().expect("connected");
        assert!(!connected.active.is_catching_up(), "{name}: catches up");
        assert!(!connected.wants_bulk, "{name}: has not begun");
        match &self.side {
            Side::V4(filter, table) => {
                table.check(&Table4::of_store(view, filter, &self.rule), &name);
            }
            Side::V6(filter, table) => table.check(view, filter, &self.rule, &name),
        }
    }

    /// How many octets it takes now.
    pub fn appetite(&self, rng: &mut StdRng) -> usize {
        rng.random_range(0..=self.takes)
    }
}

impl Side {
    fn family(&self) -> Family {
        match self {
            Side::V4(..) => Family::V4,
            Side::V6(..) => Family::V6,
        }
    }
}

impl fmt::Display for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.side {
            Side::V4(filter, _) => write!(f, "{filter:?}")?,
            Side::V6(filter, _) => write!(f, "{filter:?}")?,
        }
        write!(
            f,
            " from {:?}, takes {}, vpns {:?}, relay-ids {:?}, links {:?}, {} messages, {} times missing",
            self.start,
            self.takes,
            self.rule.vpns,
            self.rule.relay_ids,
            self.rule
                .links
                .iter()
                .map(|link| &link.name)
                .collect::<Vec<_>>(),
            self.messages,
            self.data_missing,
        )
    }
}

/// No message may say that more is told than was committed when it was written.
fn check_base_times(family: Family, mut octets: &[u8], now: u32) {
    while let Split::Frame { message, consumed } = frame::split(octets) {
        let base = match family {
            Family::V4 => leaseq_wire::v4::Message::parse(message)
                .expect("a message")
                .option(leaseq_wire::v4::option_code::BASE_TIME)
                .and_then(|value| value.to_u32()),
            Family::V6 => leaseq_wire::v6::Message::parse(message)
                .expect("a message")
                .option(leaseq_wire::v6::option_code::LQ_BASE_TIME)
                .and_then(|value| value.try_into().ok())
                .map(|octets| u32::from_be_bytes(octets) + 946_684_800),
        };
        assert!(base.expect("a base-time") <= now, "base-time after {now}");
        octets = &octets[consumed..];
    }
    assert!(octets.is_empty(), "whole frames");
}

fn decode_by_stranger(family: Family, octets: &[u8]) {
    let mut decoder = Decoder::new(octets);
    match family {
        Family::V4 => drop(dhcproto::v4::Message::decode(&mut decoder).expect("a message")),
        Family::V6 => drop(dhcproto::v6::Message::decode(&mut decoder).expect("a message")),
    }
}
