//! A server without sockets, and requestors that speak TLS with it or not.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leaseq_session::{
    Admission, CloseReason, Connection, Counters, Family, FamilyCounters, Fate, Hub, Mono, Network,
    RequestorRule, Settings, TlsSettings, Turn,
};
use leaseq_store::{
    Event, Event4, Event6, ManualClock, Options, Reader, Relay6, State, Store, SyncMode, Topology,
};
use leaseq_wire::OutBuf;
use leaseq_wire::frame::{self, Split};
use leaseq_wire::v4::{Header, MessageWriter};
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};
use tempfile::TempDir;

use crate::certificates;

pub const SECOND: Duration = Duration::from_secs(1);
pub const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
pub const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];
/// Server time at the start of every test, Unix seconds.
const START: u32 = 1_790_000_000;
const MAX_FRAME: usize = frame::HEADER + frame::MAX_MESSAGE;

pub struct Site {
    store: Store,
    pub reader: Reader,
    pub settings: Arc<Settings>,
    pub counters: Arc<Counters>,
    pub hub: Rc<Hub>,
    admission: Arc<Admission>,
    clock: Arc<ManualClock>,
    pub now: Mono,
    next_key: usize,
    _dir: TempDir,
}

/// Everybody may ask for everything, and TLS is offered.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.limits.max_connections = u32::MAX;
    settings.active.enabled = true;
    settings.tls = Some(TlsSettings {
        config: certificates::server(),
        bulk_required: false,
        handshake_timeout: Duration::from_secs(10),
        max_handshakes: 64,
    });
    settings.requestors = ["0.0.0.0/0", "::/0"]
        .map(|network| {
            Arc::new(RequestorRule::all(
                network.parse::<Network>().expect("a network"),
            ))
        })
        .to_vec();
    settings
}

pub fn settings_with(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings);
    settings
}

pub fn lease4(n: u32) -> Event4 {
    let mut event = Event4::new(Ipv4Addr::from(0x6440_0000 + n), State::Active);
    event.client_id = Some([&[0][..], &n.to_be_bytes()].concat());
    event.cltt = Some(START);
    event.lease_time = Some(3_600);
    event
}

pub fn lease6(n: u32) -> Event6 {
    let link = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1);
    Event6 {
        duid: Some([&[0, 3, 0, 1][..], &n.to_be_bytes()].concat()),
        cltt: Some(START),
        preferred_lifetime: Some(1_800),
        valid_lifetime: Some(3_600),
        relay: Some(vec![Relay6 {
            link,
            peer: Ipv6Addr::LOCALHOST,
            options: Vec::new(),
        }]),
        ..Event6::new(
            Ipv6Addr::from(u128::from(link) + 0x1_0000 + u128::from(n)),
            State::Active,
        )
    }
}

impl Site {
    /// With some leases of each family.
    pub fn new(settings: Settings, leases: u32) -> Site {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(u64::from(START) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 4 << 20,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).expect("a store");
        let settings = Arc::new(settings);
        let site = Site {
            reader: store.reader(),
            store,
            admission: Admission::new(Arc::clone(&settings)),
            settings,
            counters: Arc::default(),
            hub: Hub::new(),
            clock,
            now: Mono::from_millis(1_000_000),
            next_key: 0,
            _dir: dir,
        };
        let events = (1..=leases).flat_map(|n| [Event::V4(lease4(n)), Event::V6(lease6(n))]);
        site.store(events.collect());
        site
    }

    pub fn store(&self, events: Vec<Event>) {
        let ticket = self.store.submit(events).expect("submitted");
        let committed = ticket.wait().expect("committed");
        assert_eq!(committed.rejected, [], "every event is taken");
    }

    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by.as_millis() as u64);
        self.now = self.now + by;
    }

    pub fn turn<T>(&self, call: impl FnOnce(&Turn<'_>) -> T) -> T {
        let server_time = self.reader.settled();
        let view = self.reader.view();
        call(&Turn {
            view: &view,
            now: self.now,
            server_time,
        })
    }

    pub fn count(&self, family: Family) -> &FamilyCounters {
        self.counters.of(family)
    }

    pub fn closed(&self, family: Family, reason: CloseReason) -> u64 {
        self.count(family).closed.of(reason).get()
    }

    /// Keys of the connections that something else has made ready.
    pub fn ready(&self) -> Vec<usize> {
        let mut keys = Vec::new();
        self.hub.ready(&mut |key| keys.push(key));
        keys
    }

    pub fn connect(&mut self, family: Family) -> Peer {
        let peer: SocketAddr = match family {
            Family::V4 => (Ipv4Addr::new(10, 0, 0, 1), 40_000).into(),
            Family::V6 => (Ipv6Addr::LOCALHOST, 40_000).into(),
        };
        let key = self.next_key;
        self.next_key += 1;
        let connection = Connection::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.counters),
            Rc::clone(&self.hub),
            key,
            family,
            self.admission.admit(family, peer.ip()).expect("admitted"),
            peer,
            self.now,
        );
        Peer {
            connection,
            key,
            family,
            tls: None,
            error: None,
            to_server: Vec::new(),
            wire: Vec::new(),
            heard: Vec::new(),
            answered: false,
            chunk: usize::MAX,
            target: 64 << 10,
            out: vec![0; 3 * MAX_FRAME],
        }
    }

    /// A connection on which the handshake is completed.
    pub fn connect_tls(
        &mut self,
        family: Family,
        version: &'static SupportedProtocolVersion,
    ) -> Peer {
        let mut peer = self.connect(family);
        peer.start_tls(certificates::requestor(version, true));
        peer.run(self);
        assert_eq!(peer.error, None);
        peer.wire.clear();
        peer
    }
}

/// A requestor and its connection.
pub struct Peer {
    pub connection: Connection,
    pub key: usize,
    pub family: Family,
    /// From the handshake on.
    pub tls: Option<ClientConnection>,
    /// Why TLS does not go on.
    pub error: Option<rustls::Error>,
    pub to_server: Vec<u8>,
    /// Every octet from the server.
    pub wire: Vec<u8>,
    /// Messages in clear, as far as they are not taken yet.
    heard: Vec<u8>,
    /// The server's answer to DHCPTLS or STARTTLS has come.
    answered: bool,
    /// Octets in a read.
    pub chunk: usize,
    /// Octets that the server is asked to write at a time.
    pub target: usize,
    out: Vec<u8>,
}

/// The message that asks for TLS.
pub fn starttls(family: Family, xid: u32) -> Vec<u8> {
    match family {
        Family::V4 => message4(18, xid, &[]),
        Family::V6 => message6(23, xid, &[]),
    }
}

/// All bindings: of every address, or of the link that they are on.
pub fn bulk(family: Family, xid: u32) -> Vec<u8> {
    match family {
        Family::V4 => message4(14, xid, &[(82, &[2, 4, 0, 0, 0, 0])]),
        Family::V6 => {
            let mut query = vec![4];
            query.extend(Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1).octets());
            message6(14, xid, &[(1, &[0, 2, 0, 0, 0, 9, 1]), (44, &query)])
        }
    }
}

/// One client's bindings.
pub fn bulk_of(family: Family, xid: u32, client: u32) -> Vec<u8> {
    let client = client.to_be_bytes();
    match family {
        Family::V4 => message4(14, xid, &[(61, &[&[0][..], &client].concat())]),
        Family::V6 => {
            let duid = [&[0, 1, 0, 8, 0, 3, 0, 1][..], &client].concat();
            let query = [&[2][..], &[0; 16], &duid].concat();
            message6(14, xid, &[(1, &[0, 2, 0, 0, 0, 9, 1]), (44, &query)])
        }
    }
}

pub fn active(family: Family, xid: u32) -> Vec<u8> {
    match family {
        Family::V4 => message4(16, xid, &[]),
        Family::V6 => message6(22, xid, &[(1, &[0, 2, 0, 0, 0, 9, 1])]),
    }
}

pub fn message4(message_type: u8, xid: u32, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut octets = vec![0; 2_048];
    let mut out = OutBuf::new(&mut octets);
    let mut writer =
        MessageWriter::start(&mut out, &Header::request(xid), message_type).expect("it fits");
    for (code, value) in options {
        writer.option(*code, value).expect("it fits");
    }
    writer.finish();
    framed(out.as_slice())
}

pub fn message6(message_type: u8, xid: u32, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut octets = vec![message_type];
    octets.extend(&xid.to_be_bytes()[1..]);
    for (code, value) in options {
        octets.extend(code.to_be_bytes());
        octets.extend((value.len() as u16).to_be_bytes());
        octets.extend(*value);
    }
    framed(&octets)
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// Type of a message; its transaction id; its status, if it has one.
pub fn told(family: Family, message: &[u8]) -> (u8, u32, Option<u16>) {
    match family {
        Family::V4 => {
            let message = leaseq_wire::v4::Message::parse(message).expect("a message");
            let status = message
                .option(151)
                .and_then(|status| status.bytes().next())
                .map(u16::from);
            (
                message.message_type().expect("a type"),
                message.xid(),
                status,
            )
        }
        Family::V6 => {
            let parsed = leaseq_wire::v6::Message::parse(message).expect("a message");
            let status = parsed
                .option(13)
                .map(|status| u16::from_be_bytes([status[0], status[1]]));
            let xid = u32::from_be_bytes([0, message[1], message[2], message[3]]);
            (message[0], xid, status)
        }
    }
}

impl Peer {
    /// Asks for TLS, and begins it without waiting for the answer.
    pub fn start_tls(&mut self, config: Arc<ClientConfig>) {
        self.to_server.extend(starttls(self.family, 1));
        let name = certificates::NAME.try_into().expect("a name");
        self.tls = Some(ClientConnection::new(config, name).expect("a client"));
    }

    /// Sends frames: on TLS, if it has begun.
    pub fn send(&mut self, frames: &[u8]) {
        match &mut self.tls {
            None => self.to_server.extend(frames),
            Some(tls) => tls.writer().write_all(frames).expect("sent"),
        }
    }

    /// Has the server take what was sent, as far as it does.
    pub fn deliver(&mut self, site: &Site) {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                tls.write_tls(&mut self.to_server).expect("written");
            }
        }
        while !self.to_server.is_empty() && self.connection.wants_input() {
            let chunk = &self.to_server[..self.chunk.min(self.to_server.len())];
            let taken = site.turn(|turn| self.connection.receive(chunk, turn));
            self.to_server.drain(..taken);
            if taken == 0 {
                break;
            }
        }
    }

    /// Has the server write once, and hears it; how many octets.
    pub fn transmit(&mut self, site: &Site) -> usize {
        let Peer {
            connection,
            out,
            target,
            ..
        } = self;
        let octets = site.turn(|turn| connection.transmit(turn, out, *target));
        let octets = self.out[..octets].to_vec();
        self.wire.extend(&octets);
        self.hear(&octets);
        octets.len()
    }

    fn hear(&mut self, mut octets: &[u8]) {
        let Some(tls) = &mut self.tls else {
            self.heard.extend(octets);
            return;
        };
        if !self.answered {
            // The answer comes whole, and in clear.
            self.heard.extend(octets);
            let Split::Frame { consumed, .. } = frame::split(&self.heard) else {
                return;
            };
            self.answered = true;
            let rest = self.heard.split_off(consumed);
            return self.hear(&rest);
        }
        while !octets.is_empty() && self.error.is_none() {
            if tls.read_tls(&mut octets).expect("read") == 0 {
                break;
            }
            match tls.process_new_packets() {
                Err(error) => self.error = Some(error),
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    tls.reader().read_exact(&mut plain).expect("plaintext");
                    self.heard.extend(plain);
                }
            }
        }
    }

    /// Both of them until nothing moves any more; everything is taken and acknowledged.
    pub fn run(&mut self, site: &Site) {
        for _ in 0..1_000_000 {
            let before = self.to_server.len();
            self.deliver(site);
            let octets = if self.connection.has_output() {
                self.transmit(site)
            } else {
                0
            };
            self.connection.written(octets, site.now);
            let wants_write = self.tls.as_ref().is_some_and(|tls| tls.wants_write());
            if octets == 0
                && !self.connection.has_output()
                && !wants_write
                && self.to_server.len() == before
            {
                return;
            }
        }
        panic!("the connection never came to rest");
    }

    /// The messages that came, in clear.
    pub fn messages(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        let mut at = 0;
        while let Split::Frame { message, consumed } = frame::split(&self.heard[at..]) {
            messages.push(message.to_vec());
            at += consumed;
        }
        self.heard.drain(..at);
        messages
    }

    /// What came: types, transaction ids, statuses.
    pub fn told(&mut self) -> Vec<(u8, u32, Option<u16>)> {
        let family = self.family;
        self.messages()
            .iter()
            .map(|message| told(family, message))
            .collect()
    }

    /// Lets time pass until the deadlines of `time` from now are over; no octets are unacknowledged.
    pub fn wait(&mut self, site: &mut Site, time: Duration) {
        let end = site.now + time;
        while let Some(deadline) = self.connection.deadline().filter(|at| *at <= end) {
            let by = deadline - site.now;
            site.advance(by);
            self.connection.tick(site.now, 0);
            if self.connection.fate() != Fate::Open {
                return;
            }
        }
        let by = end - site.now;
        site.advance(by);
    }

    pub fn is_closed_for(&self, reason: CloseReason) -> bool {
        self.connection.fate() == Fate::CloseWhenWritten(reason)
    }
}
