//! A server without sockets: a store in a temporary directory, clocks that move when told, and requestors whose
//! connections are driven by hand.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leaseq_session::{
    Admission, Connection, Counters, Family, Fate, Hub, Limits, Mono, Network, Refused, Reply,
    RequestorRule, Responder, Settings, Turn,
};
use leaseq_store::{
    Event, Event4, HwAddr, ManualClock, Options, Range4, Reader, State, Store, SyncMode, Topology,
    Vpn,
};
use leaseq_wire::frame::{self, Split};
use tempfile::TempDir;

use crate::message::{Message4, Query4};

/// Server time at the start of every test, Unix seconds.
pub const START: u32 = 1_790_000_000;
/// The server's identity.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The longest frame.
pub const MAX_FRAME: usize = frame::HEADER + frame::MAX_MESSAGE;

pub struct Server {
    store: Store,
    pub reader: Reader,
    clock: Arc<ManualClock>,
    pub settings: Arc<Settings>,
    pub counters: Arc<Counters>,
    pub hub: Rc<Hub>,
    keys: Cell<usize>,
    pub admission: Arc<Admission>,
    pub now: Mono,
    _dir: TempDir,
}

/// Settings that let everybody ask for everything.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.limits.max_connections = u32::MAX;
    settings.dhcp4.server_identifier = SERVER;
    settings.requestors = vec![everybody()];
    settings
}

pub fn everybody() -> Arc<RequestorRule> {
    Arc::new(RequestorRule::all(
        "0.0.0.0/0".parse::<Network>().expect("a network"),
    ))
}

/// As [`settings`], and active leasequery is served without TLS.
pub fn active_settings() -> Settings {
    let mut settings = settings();
    settings.active.enabled = true;
    settings.active.insecure = true;
    settings
}

pub fn limits(change: impl FnOnce(&mut Limits)) -> Settings {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

pub fn range(first: [u8; 4], last: [u8; 4], vpn: &str) -> Range4 {
    Range4 {
        vpn: Vpn::named(vpn),
        first: first.into(),
        last: last.into(),
    }
}

/// A lease of an hour that began at [`START`].
pub fn lease(address: [u8; 4], client: u32) -> Event4 {
    let mut event = Event4::new(address.into(), State::Active);
    let [_, b, c, d] = client.to_be_bytes();
    let mac = [0x02, 0x5e, 0x10, b, c, d];
    event.hwaddr = Some(HwAddr {
        htype: 1,
        octets: mac.as_slice().into(),
    });
    event.client_id = Some([&[1], &mac[..]].concat());
    event.cltt = Some(START);
    event.state_since = Some(START);
    event.lease_time = Some(3_600);
    event.relay_agent_info = Some(relay_info(client / 1_000, client));
    event
}

/// Option 82 with circuit-id, remote-id and relay-id.
pub fn relay_info(relay: u32, client: u32) -> Vec<u8> {
    let mut octets = vec![1, 4];
    octets.extend(client.to_be_bytes());
    octets.extend([2, 8]);
    octets.extend(remote_id(client));
    octets.extend([12, 8]);
    octets.extend(relay_id(relay));
    octets
}

pub fn remote_id(client: u32) -> [u8; 8] {
    let [a, b, c, d] = client.to_be_bytes();
    [b'r', b'e', b'm', b'-', a, b, c, d]
}

pub fn relay_id(relay: u32) -> [u8; 8] {
    let [a, b, c, d] = relay.to_be_bytes();
    [0, 3, 0, 1, a, b, c, d]
}

impl Server {
    /// With these configured ranges, at [`START`].
    pub fn new(ranges4: Vec<Range4>) -> Server {
        Server::with(settings(), ranges4)
    }

    pub fn with(settings: Settings, ranges4: Vec<Range4>) -> Server {
        let segment_size = 4 << 20;
        Server::open(settings, ranges4, Options::default().history, segment_size)
    }

    /// With a store that keeps ends and departures for so long, and whose log has small segments.
    pub fn keeping(settings: Settings, history: Duration) -> Server {
        Server::open(settings, vec![], history, 64 << 10)
    }

    /// With configured ranges, a history and segments of this size.
    pub fn open(
        settings: Settings,
        ranges4: Vec<Range4>,
        history: Duration,
        segment_size: u64,
    ) -> Server {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(u64::from(START) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size,
            history,
            clock: clock.clone(),
            ..Options::default()
        };
        let topology = Topology {
            ranges4,
            ..Topology::default()
        };
        let store = Store::open(dir.path(), options, topology).expect("the store opens");
        let settings = Arc::new(settings);
        Server {
            reader: store.reader(),
            store,
            clock,
            admission: Admission::new(Arc::clone(&settings)),
            settings,
            counters: Arc::default(),
            hub: Hub::new(),
            keys: Cell::new(0),
            now: Mono::from_millis(1_000_000),
            _dir: dir,
        }
    }

    /// Has the log compacted: ends that are older than the history are dropped.
    pub fn compact(&self) {
        self.store.compact_now().expect("compacted");
    }

    /// Has the hub look at what was committed, as the engine does after a commit; whom it wakes.
    pub fn committed(&self) -> Vec<usize> {
        let mut woken = Vec::new();
        while self.turn(|turn| self.hub.committed(turn, &mut |key| woken.push(key))) {}
        woken.sort_unstable();
        woken
    }

    /// Stores events and has the hub look at them; whom it wakes.
    pub fn change(&self, events: impl IntoIterator<Item = Event4>) -> Vec<usize> {
        self.store(events);
        self.committed()
    }

    /// Other settings for what is asked from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = Arc::new(settings);
        self.admission = Admission::new(Arc::clone(&self.settings));
    }

    /// Stores events and waits until they can be read.
    pub fn store(&self, events: impl IntoIterator<Item = Event4>) {
        let events: Vec<Event> = events.into_iter().map(Event::V4).collect();
        self.store_all(events);
    }

    pub fn store_all(&self, events: Vec<Event>) {
        let committed = self
            .store
            .submit(events)
            .expect("submitted")
            .wait()
            .expect("committed");
        assert_eq!(committed.rejected, [], "every event is taken");
    }

    /// Lets time pass, and the store see which leases are over.
    pub fn advance(&mut self, by: Duration) {
        self.pass(by);
        self.store.tick().expect("the store looks at the clock");
    }

    /// Lets time pass for everybody but the store's own thread.
    pub fn pass(&mut self, by: Duration) {
        self.clock.advance(by.as_millis() as u64);
        self.now = self.now + by;
    }

    /// Runs a call with the store and the time as they are now.
    pub fn turn<T>(&self, call: impl FnOnce(&Turn<'_>) -> T) -> T {
        let server_time = self.reader.settled();
        let view = self.reader.view();
        call(&Turn {
            view: &view,
            now: self.now,
            server_time,
        })
    }

    pub fn try_connect(&self, from: [u8; 4]) -> Result<Requestor, Refused> {
        self.try_connect_as(Family::V4, from)
    }

    pub fn try_connect_as(&self, family: Family, from: [u8; 4]) -> Result<Requestor, Refused> {
        let peer = SocketAddr::from((from, 40_000));
        let admitted = self.admission.admit(family, peer.ip())?;
        let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&self.counters));
        let key = self.keys.replace(self.keys.get() + 1);
        let connection = Connection::new(
            settings,
            counters,
            self.hub.clone(),
            key,
            family,
            admitted,
            peer,
            self.now,
        );
        Ok(Requestor {
            key,
            connection,
            to_server: Vec::new(),
            from_server: Vec::new(),
            buffer: vec![0; 2 * MAX_FRAME],
        })
    }

    pub fn connect(&self) -> Requestor {
        self.try_connect([10, 0, 0, 1]).expect("admitted")
    }

    /// Asks one query on a connection of its own; everything that comes back.
    pub fn bulk(&self, query: &Query4) -> Vec<Message4> {
        let mut requestor = self.connect();
        requestor.ask(query);
        requestor.run(self);
        assert_eq!(requestor.connection.fate(), Fate::Open);
        requestor.messages()
    }

    /// Asks one query whose answer ends well; the replies before the DHCPLEASEQUERYDONE.
    pub fn bulk_replies(&self, query: &Query4) -> Vec<Message4> {
        let mut messages = self.bulk(query);
        let done = messages.pop().expect("a last message");
        assert_eq!(
            (done.message_type, done.status()),
            (15, None),
            "ends with a DONE without a status"
        );
        assert!(
            messages
                .iter()
                .all(|message| message.xid == query.xid && message.message_type != 15)
        );
        messages
    }

    /// The addresses that a query is answered with, in order.
    pub fn bulk_addresses(&self, query: &Query4) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<_> = self
            .bulk_replies(query)
            .iter()
            .map(|reply| reply.ciaddr)
            .collect();
        addresses.sort();
        addresses
    }

    /// Sends a datagram; the answer and where it goes.
    pub fn udp_to(&self, request: &[u8]) -> Option<(Message4, SocketAddr)> {
        self.udp_from([10, 0, 0, 1], request)
    }

    pub fn udp_from(&self, from: [u8; 4], request: &[u8]) -> Option<(Message4, SocketAddr)> {
        let mut out = [0; 8_192];
        let Reply { octets, to } = self.datagram(from, request, &mut out)?;
        Some((Message4::read(&out[..octets]), to))
    }

    pub fn datagram(&self, from: [u8; 4], request: &[u8], out: &mut [u8]) -> Option<Reply> {
        let (settings, counters) = (Arc::clone(&self.settings), Arc::clone(&self.counters));
        let mut responder = Responder::new(settings, counters, Arc::clone(&self.admission));
        self.turn(|turn| {
            responder.answer(
                turn,
                Family::V4,
                (IpAddr::from(from), 6_767).into(),
                request,
                out,
            )
        })
    }

    pub fn udp(&self, query: &Query4) -> Option<Message4> {
        self.udp_to(&query.message()).map(|(message, _)| message)
    }
}

/// A requestor and its connection.
pub struct Requestor {
    /// What the hub calls its connection by.
    pub key: usize,
    pub connection: Connection,
    pub to_server: Vec<u8>,
    pub from_server: Vec<u8>,
    buffer: Vec<u8>,
}

impl Requestor {
    pub fn ask(&mut self, query: &Query4) {
        self.to_server.extend(query.frame());
    }

    /// Gives the server what was sent to it, as far as it takes it.
    pub fn deliver(&mut self, server: &Server) {
        if self.connection.wants_input() && !self.to_server.is_empty() {
            let taken = server.turn(|turn| self.connection.receive(&self.to_server, turn));
            self.to_server.drain(..taken);
        }
    }

    /// Lets the server write about `target` octets; how many it wrote.
    pub fn transmit(&mut self, server: &Server, target: usize) -> usize {
        let octets = server.turn(|turn| self.connection.transmit(turn, &mut self.buffer, target));
        self.from_server.extend_from_slice(&self.buffer[..octets]);
        octets
    }

    /// Both of them until nothing moves any more; everything written is taken and acknowledged.
    pub fn run(&mut self, server: &Server) {
        for _ in 0..1_000_000 {
            let waiting = self.to_server.len();
            self.deliver(server);
            if !self.connection.has_output() {
                if self.to_server.len() == waiting {
                    return;
                }
                continue;
            }
            let octets = self.transmit(server, 64 * 1_024);
            self.connection.written(octets, server.now);
        }
        panic!("the connection never came to rest");
    }

    /// Lets time pass until `end` from now, ticking at each deadline with so many octets unacknowledged.
    pub fn wait(&mut self, server: &mut Server, end: Duration, unacknowledged: usize) {
        let end = server.now + end;
        while let Some(deadline) = self
            .connection
            .deadline()
            .filter(|deadline| *deadline <= end)
        {
            let by = deadline - server.now;
            server.advance(by);
            self.connection.tick(server.now, unacknowledged);
            if self.connection.fate() != Fate::Open {
                return;
            }
        }
        let by = end - server.now;
        server.advance(by);
    }

    /// Lets time pass for a requestor that takes and acknowledges everything at once.
    pub fn live(&mut self, server: &mut Server, time: Duration) {
        let end = server.now + time;
        self.run(server);
        while let Some(deadline) = self
            .connection
            .deadline()
            .filter(|deadline| *deadline <= end)
        {
            let by = deadline - server.now;
            server.advance(by);
            server.committed();
            self.connection.tick(server.now, 0);
            self.run(server);
            if self.connection.fate() != Fate::Open {
                return;
            }
        }
        let by = end - server.now;
        server.advance(by);
        server.committed();
        self.run(server);
    }

    /// Runs; what came.
    pub fn hear(&mut self, server: &Server) -> Vec<Message4> {
        self.run(server);
        self.messages()
    }

    /// The whole messages received so far, which are taken out.
    pub fn messages(&mut self) -> Vec<Message4> {
        let mut messages = Vec::new();
        self.each_message(|message| messages.push(Message4::read(message)));
        messages
    }

    /// Gives the whole messages received so far to `hear` and takes them out.
    pub fn each_message(&mut self, mut hear: impl FnMut(&[u8])) {
        let mut at = 0;
        while let Split::Frame { message, consumed } = frame::split(&self.from_server[at..]) {
            hear(message);
            at += consumed;
        }
        self.from_server.drain(..at);
    }
}
