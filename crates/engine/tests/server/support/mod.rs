//! A server over a small store, and a requestor of blocking sockets.

mod active;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leaseq_engine::{Engine, EngineConfig, Listeners};
use leaseq_session::{
    ActiveSettings, CloseReason, Counters, Dhcp4Settings, Discard, Limits, Refusal, ReplyTo,
    RequestorRule, Settings,
};
use leaseq_store::{
    Event, Event4, Event6, HwAddr, Link6, Options, Relay6, State, Store, SyncMode, Topology,
};
use leaseq_wire::{OutBuf, frame, v4, v6};
use tempfile::TempDir;

pub use active::{Heard4, Heard6, active4, active4_of_relay, active6, changed4, changed6};

/// How long a test waits for something that must come.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until something holds that must come to hold.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not come to hold");
        std::thread::yield_now();
    }
}

/// A running server with its store.
pub struct Server {
    pub engine: Engine,
    store: Option<Store>,
    _dir: TempDir,
}

/// How a server is to be.
pub struct Setup {
    pub limits: Limits,
    pub active: ActiveSettings,
    pub shutdown_timeout: Duration,
    /// Relays, each with its own relay-id in both families.
    pub relays: u32,
    /// Bindings of each relay and family.
    pub bindings: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            limits: Limits::default(),
            active: ActiveSettings {
                enabled: true,
                insecure: true,
                relay_scope: true,
                ..ActiveSettings::default()
            },
            shutdown_timeout: Duration::from_secs(60),
            relays: 10,
            bindings: 20,
        }
    }
}

impl Setup {
    pub fn start(self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 4 << 20,
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).unwrap();
        let mut events = Vec::new();
        for relay in 0..self.relays {
            for number in 0..self.bindings {
                events.push(binding4(relay, number));
                events.push(binding6(relay, number));
            }
        }
        let count = events.len();
        let committed = store.submit(events).unwrap().wait().unwrap();
        assert_eq!(
            (committed.rejected.len(), committed.changed as usize),
            (0, count),
            "the store is filled"
        );
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let loopback6: SocketAddr = "[::1]:0".parse().unwrap();
        let listeners = Listeners {
            dhcp4_tcp: vec![loopback],
            dhcp4_udp: vec![loopback],
            dhcp6_tcp: vec![loopback6],
            dhcp6_udp: vec![loopback6],
        };
        let config = EngineConfig {
            shutdown_timeout: self.shutdown_timeout,
            ..EngineConfig::default()
        };
        let settings = Arc::new(Settings {
            active: self.active,
            ..Settings::clone(&settings(self.limits))
        });
        let engine = Engine::start(config, listeners, settings, store.reader()).unwrap();
        Server {
            engine,
            store: Some(store),
            _dir: dir,
        }
    }
}

/// Settings that serve loopback.
pub fn settings(limits: Limits) -> Arc<Settings> {
    let rule = |network: &str| Arc::new(RequestorRule::all(network.parse().unwrap()));
    Arc::new(Settings {
        limits,
        dhcp4: Dhcp4Settings {
            reply_to: ReplyTo::Source,
            ..Dhcp4Settings::default()
        },
        requestors: vec![rule("127.0.0.0/8"), rule("::1/128")],
        ..Settings::default()
    })
}

impl Server {
    pub fn connect4(&self) -> Requestor {
        Requestor::connect(self.engine.addresses().dhcp4_tcp[0])
    }

    pub fn connect6(&self) -> Requestor {
        Requestor::connect(self.engine.addresses().dhcp6_tcp[0])
    }

    /// Commits events.
    pub fn commit(&self, events: Vec<Event>) {
        let store = self.store.as_ref().expect("the server runs");
        let count = events.len();
        let committed = store.submit(events).unwrap().wait().unwrap();
        assert_eq!(
            (committed.rejected.len(), committed.changed as usize),
            (0, count)
        );
    }

    fn sum(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        let counters = self.engine.counters().iter();
        counters.map(|counters| count(counters)).sum()
    }

    /// Waits until that many streams of both families have begun and not ended.
    pub fn until_streams(&self, count: u64) {
        let open = |counters: &Counters| {
            [&counters.v4, &counters.v6]
                .map(|family| family.streams_opened.get() - family.streams_closed.get())
                .iter()
                .sum()
        };
        until("the streams are open", || self.sum(open) == count);
        // What is asked is noted at the end of a turn: then a stream has found its place in the log, and is told what is
        // committed from now on.
        until("the streams have begun", || {
            let connections = self.engine.connections();
            let begun = connections
                .iter()
                .filter(|one| one.is_stream && one.queries_asked > 0);
            begun.count() as u64 >= count
        });
    }

    /// Connections closed for a reason so far, first of DHCPv4, then of DHCPv6.
    pub fn closed(&self, reason: CloseReason) -> (u64, u64) {
        (
            self.sum(|counters| counters.v4.closed.of(reason).get()),
            self.sum(|counters| counters.v6.closed.of(reason).get()),
        )
    }

    /// DHCPv4 datagrams that were discarded for a reason so far.
    pub fn discarded_datagrams4(&self, reason: Discard) -> u64 {
        self.sum(|counters| counters.v4.udp_discarded.of(reason).get())
    }

    /// DHCPv4 queries that were kept back because their requestor asks too often.
    pub fn delayed4(&self) -> u64 {
        self.sum(|counters| counters.v4.delayed.get())
    }

    /// Refusals of DHCPv4 connections so far.
    pub fn refused4(&self, reason: Refusal) -> u64 {
        self.sum(|counters| counters.refused_v4.of(reason).get())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.engine.shutdown();
        if let Some(store) = self.store.take() {
            store.stop().unwrap();
        }
    }
}

/// relay-id of a relay: a DUID of type 3.
pub fn relay_id(relay: u32) -> Vec<u8> {
    [&[0, 3, 0, 1, 2, 0][..], &relay.to_be_bytes()].concat()
}

pub fn address4(relay: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + relay * 1_024 + number)
}

pub fn address6(relay: u32, number: u32) -> Ipv6Addr {
    Ipv6Addr::new(
        0x2001,
        0xdb8,
        relay as u16,
        0,
        0,
        0,
        (number >> 16) as u16,
        number as u16,
    )
}

pub fn binding4(relay: u32, number: u32) -> Event {
    let address = address4(relay, number);
    let octets = [&[2, 0][..], &address.octets()].concat();
    let id = relay_id(relay);
    let circuit = format!("eth 0/1:{number}");
    let mut info = vec![1, circuit.len() as u8];
    info.extend_from_slice(circuit.as_bytes());
    info.extend_from_slice(&[12, id.len() as u8]);
    info.extend_from_slice(&id);
    Event::V4(Event4 {
        hwaddr: Some(HwAddr {
            htype: 1,
            octets: octets.as_slice().into(),
        }),
        client_id: Some([&[1][..], &octets].concat()),
        lease_time: Some(86_400),
        relay_agent_info: Some(info),
        ..Event4::new(address, State::Active)
    })
}

pub fn binding6(relay: u32, number: u32) -> Event {
    let id = relay_id(relay);
    let mut options = vec![0, 53, 0, id.len() as u8];
    options.extend_from_slice(&id);
    let link = address6(relay, 0xffff_0001);
    Event::V6(Event6 {
        duid: Some(duid(relay, number)),
        iaid: Some(1),
        link: Some(Link6::Address(link)),
        preferred_lifetime: Some(3_600),
        valid_lifetime: Some(86_400),
        relay: Some(vec![Relay6 {
            link,
            peer: "fe80::1".parse().unwrap(),
            options,
        }]),
        ..Event6::new(address6(relay, number), State::Active)
    })
}

pub fn duid(relay: u32, number: u32) -> Vec<u8> {
    [
        &[0, 3, 0, 1][..],
        &relay.to_be_bytes(),
        &number.to_be_bytes(),
    ]
    .concat()
}

/// The frame of a message that `write` writes.
pub fn framed(write: impl FnOnce(&mut OutBuf<'_>)) -> Vec<u8> {
    let mut octets = vec![0; 65_537];
    let mut out = OutBuf::new(&mut octets);
    let start = frame::begin(&mut out).unwrap();
    write(&mut out);
    frame::end(&mut out, start).unwrap();
    out.as_slice().to_vec()
}

/// A bulk query for the bindings of a relay.
pub fn by_relay4(xid: u32, relay: u32) -> Vec<u8> {
    framed(|out| {
        let header = v4::Header::request(xid);
        let mut query =
            v4::MessageWriter::start(out, &header, v4::message_type::DHCPBULKLEASEQUERY).unwrap();
        query
            .relay_agent_information(&[(v4::suboption::RELAY_ID, &relay_id(relay))])
            .unwrap();
        query.finish();
    })
}

/// A bulk query for all configured addresses.
pub fn all4(xid: u32) -> Vec<u8> {
    framed(|out| {
        let header = v4::Header::request(xid);
        v4::MessageWriter::start(out, &header, v4::message_type::DHCPBULKLEASEQUERY)
            .unwrap()
            .finish();
    })
}

/// A DHCPLEASEQUERY by address, as a datagram.
pub fn udp4(xid: u32, address: Ipv4Addr) -> Vec<u8> {
    let mut octets = vec![0; 1_500];
    let mut out = OutBuf::new(&mut octets);
    let header = v4::Header {
        ciaddr: address,
        giaddr: Ipv4Addr::LOCALHOST,
        ..v4::Header::request(xid)
    };
    v4::MessageWriter::start(&mut out, &header, v4::message_type::DHCPLEASEQUERY)
        .unwrap()
        .finish();
    out.as_slice().to_vec()
}

/// A LEASEQUERY for the bindings of a relay.
pub fn by_relay6(xid: u32, relay: u32) -> Vec<u8> {
    framed(|out| {
        let mut query = v6::MessageWriter::start(out, v6::message_type::LEASEQUERY, xid).unwrap();
        query
            .client_id(&[0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, 9])
            .unwrap();
        let start = query
            .begin_lq_query(v6::QueryType::ByRelayId, Ipv6Addr::UNSPECIFIED)
            .unwrap();
        query.relay_id(&relay_id(relay)).unwrap();
        query.end_option(start).unwrap();
        query.finish();
    })
}

/// What a connection has told until a query's end, or its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub addresses: BTreeSet<IpAddr>,
    /// Messages that carried an address told before.
    pub repeated: usize,
    /// The status of the last message, if it had one.
    pub status: Option<u16>,
    /// Whether the connection ended rather than the query.
    pub ended: bool,
}

/// The other side of a connection.
pub struct Requestor {
    pub stream: TcpStream,
    /// Whether the connection was reset.
    pub reset: bool,
    input: Vec<u8>,
}

impl Requestor {
    pub fn connect(server: SocketAddr) -> Requestor {
        Requestor::over(TcpStream::connect(server).unwrap())
    }

    /// One at another address of this machine: another requestor.
    pub fn connect_from(from: IpAddr, server: SocketAddr) -> Requestor {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(server),
            socket2::Type::STREAM,
            None,
        )
        .unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&server.into()).unwrap();
        Requestor::over(socket.into())
    }

    /// From now on its machine drops whatever comes: nothing is acknowledged, as if it were gone.
    pub fn die(&self) {
        const RETURN: u16 = 0x06;
        let drop_all = [socket2::SockFilter::new(RETURN, 0, 0, 0)];
        socket2::SockRef::from(&self.stream)
            .attach_filter(&drop_all)
            .unwrap();
    }

    /// One whose kernel holds little, so that the server is soon blocked if it does not read.
    pub fn connect_narrow(server: SocketAddr) -> Requestor {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(server),
            socket2::Type::STREAM,
            None,
        )
        .unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&server.into()).unwrap();
        Requestor::over(socket.into())
    }

    fn over(stream: TcpStream) -> Requestor {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Requestor {
            stream,
            reset: false,
            input: Vec::new(),
        }
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    /// Reads on; `false` if the connection has ended, be it by a reset.
    pub fn read_some(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                self.reset = true;
                false
            }
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    /// The next message; `None` if the connection has ended.
    pub fn message(&mut self) -> Option<Vec<u8>> {
        loop {
            match frame::split(&self.input) {
                frame::Split::Frame { message, consumed } => {
                    let message = message.to_vec();
                    self.input.drain(..consumed);
                    return Some(message);
                }
                frame::Split::ZeroLength => panic!("a frame without a message came"),
                frame::Split::Incomplete { .. } => {
                    if !self.read_some() {
                        assert!(self.input.is_empty(), "the connection ended within a frame");
                        return None;
                    }
                }
            }
        }
    }

    /// Whether the connection has ended without a word.
    pub fn is_closed(&mut self) -> bool {
        self.message().is_none()
    }

    /// Reads a DHCPv4 bulk query's replies to its end.
    pub fn recover4(&mut self) -> Told {
        let mut told = Told::default();
        while let Some(message) = self.message() {
            let message = v4::Message::parse(&message).unwrap();
            told.status = message
                .option(v4::option_code::STATUS_CODE)
                .and_then(|value| value.bytes().next())
                .map(u16::from);
            if message.message_type() == Some(v4::message_type::DHCPLEASEQUERYDONE) {
                return told;
            }
            told.repeated += usize::from(!told.addresses.insert(message.ciaddr().into()));
        }
        Told {
            ended: true,
            ..told
        }
    }

    /// Reads a DHCPv6 query's replies to its end.
    pub fn recover6(&mut self) -> Told {
        let mut told = Told::default();
        while let Some(message) = self.message() {
            let message = v6::Message::parse(&message).unwrap();
            told.status = message
                .option(v6::option_code::STATUS_CODE)
                .and_then(|value| Some(u16::from_be_bytes([*value.first()?, *value.get(1)?])));
            let Some(client) = message.option(v6::option_code::CLIENT_DATA) else {
                return told;
            };
            for lease in v6::ClientData::parse(client).unwrap().leases() {
                told.repeated +=
                    usize::from(!told.addresses.insert(lease.unwrap().prefix().0.into()));
            }
        }
        Told {
            ended: true,
            ..told
        }
    }
}

/// All that a relay has to be told.
pub fn expected4(relay: u32, bindings: u32) -> Told {
    let addresses = (0..bindings)
        .map(|number| address4(relay, number).into())
        .collect();
    Told {
        addresses,
        ..Told::default()
    }
}

/// All that a relay has to be told.
pub fn expected6(relay: u32, bindings: u32) -> Told {
    let addresses = (0..bindings)
        .map(|number| address6(relay, number).into())
        .collect();
    Told {
        addresses,
        ..Told::default()
    }
}
