//! A store, a connection and a responder on virtual time, and a reader of replies that asks two decoders.

mod decode;
mod request;

use std::cell::Cell;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use leaseq_session::{
    Admission, Connection, Counters, Family, Fate, LinkRule, Mono, Network, RequestorRule,
    Responder, Settings, Turn,
};
use leaseq_store::{
    Event, Event6, LeaseKind, LinkConfig, ManualClock, Options, Prefix6, Relay6, State, Store,
    SyncMode, Topology,
};
use leaseq_wire::frame::{Split, split};

pub use decode::{Leases, Reply, Told};
pub use request::{Request, by_address, by_client_id, by_link, by_relay_id, by_remote_id};

/// Server time at the beginning of each test, Unix seconds.
pub const NOW: u32 = 1_790_000_000;

/// The same in seconds since 2000.
pub const NOW_2000: u32 = NOW - 946_684_800;

/// The server's DUID.
pub const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, 1];

/// The requestor's DUID.
pub const REQUESTOR: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

/// The requestor's address and port.
pub fn requestor() -> SocketAddr {
    "[2001:db8:ffff::9]:40000".parse().unwrap()
}

/// An address from its text.
pub fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The DUID of client number `n`.
pub fn duid(n: u32) -> Vec<u8> {
    [&[0, 2, 0, 0, 0x0d, 0xe9][..], &n.to_be_bytes()].concat()
}

/// The relay-id of relay agent number `n`.
pub fn relay_id(n: u8) -> Vec<u8> {
    vec![0, 3, 0, 1, 2, 0xbb, 6, 0, 0, n]
}

/// The remote-id of circuit number `n`.
pub fn remote_id(n: u32) -> Vec<u8> {
    [&[0, 0, 0x0d, 0xe9][..], format!("rmt-{n}").as_bytes()].concat()
}

/// An option as on the wire.
pub fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

/// A link with a /48 of addresses, and delegations from a /40.
fn link(n: u16) -> LinkConfig {
    LinkConfig {
        name: format!("pop-{n}"),
        prefixes: vec![prefix(&format!("2001:db8:{n}::"), 48)],
        delegated: vec![prefix(&format!("3fff:{:x}::", n << 8), 24)],
    }
}

fn prefix(address: &str, len: u8) -> Prefix6 {
    Prefix6 {
        address: ip(address),
        len,
    }
}

/// An active lease of an address, 100 seconds old, 3,500 of its 3,600 seconds left, behind relay agent `link`.
pub fn address(text: &str, client: u32, link: u8) -> Event6 {
    Event6 {
        duid: Some(duid(client)),
        iaid: Some(1),
        cltt: Some(NOW - 100),
        state_since: Some(NOW - 5_000),
        preferred_lifetime: Some(1_800),
        valid_lifetime: Some(3_600),
        relay: Some(vec![relay(link, client)]),
        ..Event6::new(ip(text), State::Active)
    }
}

/// An active delegation, like [`address`].
pub fn delegation(text: &str, len: u8, client: u32, link: u8) -> Event6 {
    Event6 {
        prefix_len: len,
        kind: LeaseKind::Pd,
        ..address(text, client, link)
    }
}

/// The relay agent of a link as it forwarded a client's message: with relay-id and remote-id.
pub fn relay(link: u8, client: u32) -> Relay6 {
    Relay6 {
        link: ip(&format!("2001:db8:{link}::1")),
        peer: ip("fe80::1"),
        options: [option(53, &relay_id(link)), option(37, &remote_id(client))].concat(),
    }
}

/// A lease that is over.
pub fn ended(event: Event6, state: State) -> Event6 {
    Event6 {
        state,
        state_since: Some(NOW - 10),
        ..event
    }
}

/// A store with links 1 to 4, settings, and a clock that stands at [`NOW`].
pub struct Site {
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub settings: Settings,
    pub counters: Arc<Counters>,
    pub hub: std::rc::Rc<leaseq_session::Hub>,
    keys: Cell<usize>,
    started: Mono,
    _dir: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        let links6 = (1..=4).map(link).collect();
        Self::with_topology(Topology {
            links6,
            ..Topology::default()
        })
    }

    pub fn with_topology(topology: Topology) -> Self {
        Self::at(NOW, topology)
    }

    /// A site whose clock stands at `now`, Unix seconds.
    pub fn at(now: u32, topology: Topology) -> Self {
        let history = Options::default().history;
        Self::open(now, topology, history, 1 << 20)
    }

    /// A site that serves active queries without TLS.
    pub fn active() -> Self {
        let mut site = Self::new();
        site.settings.active.enabled = true;
        site.settings.active.insecure = true;
        site
    }

    /// The same with a store that keeps ends and departures for an hour, and whose log has small segments.
    pub fn forgetful() -> Self {
        let links6 = (1..=4).map(link).collect();
        let topology = Topology {
            links6,
            ..Topology::default()
        };
        let mut site = Self::open(NOW, topology, Duration::from_secs(3_600), 64 << 10);
        site.settings.active.enabled = true;
        site.settings.active.insecure = true;
        site
    }

    fn open(now: u32, topology: Topology, history: Duration, segment_size: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(u64::from(now) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size,
            history,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, topology).unwrap();
        let rule = RequestorRule::all("::/0".parse::<Network>().unwrap());
        let mut settings = Settings {
            requestors: vec![Arc::new(rule)],
            ..Settings::default()
        };
        settings.dhcp6.server_duid = SERVER.to_vec();
        Self {
            store,
            clock,
            settings,
            counters: Arc::default(),
            hub: leaseq_session::Hub::new(),
            keys: Cell::new(0),
            started: Mono::from_millis(1_000),
            _dir: dir,
        }
    }

    /// A site with these leases.
    pub fn holding(events: impl IntoIterator<Item = Event6>) -> Self {
        let site = Self::new();
        site.add(events);
        site
    }

    /// Stores events; all of them are to be accepted.
    pub fn add(&self, events: impl IntoIterator<Item = Event6>) {
        let events = events.into_iter().map(Event::V6).collect();
        let committed = self.store.submit(events).unwrap().wait().unwrap();
        assert!(committed.rejected.is_empty(), "{:?}", committed.rejected);
    }

    /// Has the hub look at what was committed, as the engine does after a commit; whom it wakes.
    pub fn committed(&self) -> Vec<usize> {
        let mut woken = Vec::new();
        loop {
            let reader = self.store.reader();
            let server_time = reader.now();
            let view = reader.view();
            let turn = Turn {
                view: &view,
                now: self.started,
                server_time,
            };
            if !self.hub.committed(&turn, &mut |key| woken.push(key)) {
                woken.sort_unstable();
                return woken;
            }
        }
    }

    /// Stores events and has the hub look at them; whom it wakes.
    pub fn change(&self, events: impl IntoIterator<Item = Event6>) -> Vec<usize> {
        self.add(events);
        self.committed()
    }

    /// Opens a connection on which a stream has begun, and takes its LEASEQUERY-REPLY, which has no client and no status.
    pub fn stream(&self, request: &Request) -> Pair<'_> {
        let mut pair = self.connect();
        pair.send(&request.clone().active());
        let mut said = pair.messages_of_one_turn();
        let begun = Reply::read(&said.remove(0));
        assert_eq!(begun.message_type, 15);
        assert_eq!((begun.status, &begun.client), (None, &None));
        assert_eq!(begun.server_id.as_deref(), Some(SERVER));
        assert_eq!(begun.client_id.as_deref(), Some(REQUESTOR));
        pair.unheard = said;
        pair
    }

    /// Changes what the requestor may ask and see.
    pub fn restrict(&mut self, change: impl FnOnce(&mut RequestorRule)) {
        let mut rule = (*self.settings.requestors[0]).clone();
        change(&mut rule);
        self.settings.requestors = vec![Arc::new(rule)];
    }

    /// Limits the requestor to a link.
    pub fn restrict_to_link(&mut self, n: u8) {
        self.restrict(|rule| {
            rule.links = vec![LinkRule {
                name: format!("pop-{n}"),
                prefixes: vec![format!("2001:db8:{n}::/48").parse().unwrap()],
            }];
        });
    }

    /// Opens a connection.
    pub fn connect(&self) -> Pair<'_> {
        let settings = Arc::new(self.settings.clone());
        let admission = Admission::new(settings.clone());
        let admitted = admission.admit(Family::V6, requestor().ip()).unwrap();
        let counters = self.counters.clone();
        let key = self.keys.replace(self.keys.get() + 1);
        Pair {
            key,
            connection: Connection::new(
                settings,
                counters,
                self.hub.clone(),
                key,
                Family::V6,
                admitted,
                requestor(),
                self.started,
            ),
            site: self,
            now: self.started,
            unread: Vec::new(),
            unheard: Vec::new(),
            buffer: vec![0; 65_537],
            target: 65_537,
        }
    }

    /// All replies to one query on a connection of its own.
    pub fn bulk(&self, request: &Request) -> Vec<Reply> {
        let mut pair = self.connect();
        pair.send(request);
        pair.replies()
    }

    /// What a bulk query tells of clients; its answer is checked to be whole and in order.
    pub fn clients(&self, request: &Request) -> Vec<Told> {
        let replies = self.bulk(request);
        told(&replies)
    }

    /// The reply to a query over UDP.
    pub fn udp(&self, request: &Request) -> Option<Reply> {
        self.datagram(&request.octets())
            .map(|octets| Reply::read(&octets))
    }

    /// The datagram that answers a datagram.
    pub fn datagram(&self, request: &[u8]) -> Option<Vec<u8>> {
        let settings = Arc::new(self.settings.clone());
        let admission = Admission::new(settings.clone());
        let mut responder = Responder::new(settings, self.counters.clone(), admission);
        let reader = self.store.reader();
        let view = reader.view();
        let turn = Turn {
            view: &view,
            now: self.started,
            server_time: reader.now(),
        };
        let mut out = vec![0; 65_536];
        let reply = responder.answer(&turn, Family::V6, requestor(), request, &mut out)?;
        assert_eq!(reply.to, requestor());
        out.truncate(reply.octets);
        Some(out)
    }
}

/// A connection and the requestor's end of it.
pub struct Pair<'s> {
    /// What the hub calls its connection by.
    pub key: usize,
    pub connection: Connection,
    pub now: Mono,
    /// Size of the buffer that the engine offers, and the octets after which it stops asking.
    pub buffer: Vec<u8>,
    pub target: usize,
    site: &'s Site,
    unread: Vec<u8>,
    /// Messages that came with the first one of a stream.
    unheard: Vec<Vec<u8>>,
}

impl Pair<'_> {
    /// Sends a query.
    pub fn send(&mut self, request: &Request) {
        self.send_message(&request.octets());
    }

    /// Sends a message in a frame.
    pub fn send_message(&mut self, message: &[u8]) {
        let length = u16::try_from(message.len()).unwrap();
        self.unread.extend_from_slice(&length.to_be_bytes());
        self.unread.extend_from_slice(message);
    }

    /// Sends octets as they are.
    pub fn send_octets(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
    }

    /// One turn of the engine: offers what the requestor has sent, then takes what there is to send.
    pub fn turn(&mut self) -> Vec<u8> {
        let reader = self.site.store.reader();
        let view = reader.view();
        let turn = Turn {
            view: &view,
            now: self.now,
            server_time: reader.now(),
        };
        if !self.unread.is_empty() && self.connection.wants_input() {
            let consumed = self.connection.receive(&self.unread, &turn);
            self.unread.drain(..consumed);
        }
        let written = self
            .connection
            .transmit(&turn, &mut self.buffer, self.target);
        if written > 0 {
            self.connection.written(written, self.now);
        }
        self.buffer[..written].to_vec()
    }

    /// The messages of the turns until the connection has nothing left to say.
    pub fn messages(&mut self) -> Vec<Vec<u8>> {
        let mut heard = std::mem::take(&mut self.unheard);
        let mut octets = Vec::new();
        for _ in 0..100_000 {
            let sent = self.turn();
            let silent = sent.is_empty();
            octets.extend(sent);
            if silent && !self.connection.has_output() && !self.can_receive() {
                heard.extend(messages(&octets));
                return heard;
            }
        }
        panic!("the connection never falls silent");
    }

    fn can_receive(&self) -> bool {
        !self.unread.is_empty()
            && self.connection.wants_input()
            && self.connection.fate() == Fate::Open
    }

    /// What has come with the first message of a stream, else what one short turn says: a message or two.
    pub fn messages_of_one_turn(&mut self) -> Vec<Vec<u8>> {
        if !self.unheard.is_empty() {
            return std::mem::take(&mut self.unheard);
        }
        let target = std::mem::replace(&mut self.target, 1);
        let octets = self.turn();
        self.target = target;
        messages(&octets)
    }

    /// The same, decoded.
    pub fn replies_of_one_turn(&mut self) -> Vec<Reply> {
        let messages = self.messages_of_one_turn();
        messages.iter().map(|octets| Reply::read(octets)).collect()
    }

    /// What a stream says until it waits, one line a message.
    pub fn hear(&mut self) -> Vec<String> {
        self.replies().iter().map(Reply::line).collect()
    }

    /// Lets time pass for a requestor that takes and acknowledges everything at once; gives what comes, with the second.
    pub fn live(&mut self, seconds: u64) -> Vec<(u64, Reply)> {
        let mut heard = Vec::new();
        for second in 1..=seconds {
            self.advance(1);
            self.site.store.tick().unwrap();
            self.site.committed();
            if self
                .connection
                .deadline()
                .is_some_and(|deadline| deadline <= self.now)
            {
                self.connection.tick(self.now, 0);
            }
            heard.extend(self.replies().into_iter().map(|reply| (second, reply)));
        }
        heard
    }

    /// The same, decoded.
    pub fn replies(&mut self) -> Vec<Reply> {
        let messages = self.messages();
        messages.iter().map(|octets| Reply::read(octets)).collect()
    }

    /// Lets time pass on the engine's clock and the store's.
    pub fn advance(&mut self, seconds: u64) {
        self.site.clock.advance(seconds * 1_000);
        self.now = self.now + Duration::from_secs(seconds);
    }
}

/// Splits a stream into the messages of its frames, which must be whole.
pub fn messages(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !octets.is_empty() {
        let Split::Frame { message, consumed } = split(octets) else {
            panic!("{} octets are not whole frames", octets.len());
        };
        messages.push(message.to_vec());
        octets = &octets[consumed..];
    }
    messages
}

/// The clients of one whole successful answer.
pub fn told(replies: &[Reply]) -> Vec<Told> {
    let (first, rest) = replies.split_first().expect("a LEASEQUERY-REPLY");
    assert_eq!(first.message_type, 15);
    assert_eq!(first.status, None);
    let Some(client) = first.client.clone() else {
        assert!(rest.is_empty(), "a reply without data is the whole answer");
        return Vec::new();
    };
    let (done, data) = rest.split_last().expect("a LEASEQUERY-DONE");
    assert_eq!(
        (done.message_type, &done.status, &done.client),
        (16, &None, &None)
    );
    let mut clients = vec![client];
    for reply in data {
        assert_eq!(reply.message_type, 17);
        clients.push(reply.client.clone().expect("CLIENT_DATA"));
    }
    clients
}
