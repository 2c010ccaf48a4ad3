//! A stream's teller in front of a real store: what it makes of records, how far behind the store it ever reads them.

mod following;
mod messages;
mod refusals;
mod standing;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use leaseq_store::{
    Event, Event6, LeaseKind, LinkConfig, LogCursor, ManualClock, Options, Prefix6, Reader, Relay6,
    ScanFrom, Stamp, State, Store, SyncMode, Topology, View,
};
use leaseq_wire::v6::{ClientData, Message, Status, message_type, option_code as code};
use leaseq_wire::{OutBuf, frame};

use super::*;
use crate::active::{Say, Teller, Told};
use crate::counters::Counters;
use crate::query::Quota;
use crate::settings::{LinkRule, RequestorRule, Settings};

/// Server time at the beginning of each test, Unix seconds.
const NOW: u32 = 1_790_000_000;
const NOW_2000: u32 = NOW - 946_684_800;
const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, 1];
const REQUESTOR: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];
const XID: u32 = 0x0001_0203;

/// A store with links 1 and 2, active leasequery enabled, and a requestor that may see everything.
struct Site {
    store: Store,
    reader: Reader,
    clock: Arc<ManualClock>,
    settings: Settings,
    rule: RequestorRule,
    counters: Counters,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(u64::from(NOW) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            clock: clock.clone(),
            ..Options::default()
        };
        let link = |n: u16| LinkConfig {
            name: format!("pop-{n}"),
            prefixes: vec![Prefix6 {
                address: ip(&format!("2001:db8:{n}::")),
                len: 48,
            }],
            delegated: vec![Prefix6 {
                address: ip(&format!("3fff:{:x}::", n << 8)),
                len: 24,
            }],
        };
        let topology = Topology {
            links6: vec![link(1), link(2)],
            ..Topology::default()
        };
        let store = Store::open(dir.path(), options, topology).unwrap();
        let mut settings = Settings::default();
        settings.active.enabled = true;
        settings.active.insecure = true;
        settings.dhcp6.server_duid = SERVER.to_vec();
        Site {
            reader: store.reader(),
            store,
            clock,
            settings,
            rule: RequestorRule::all("::/0".parse().unwrap()),
            counters: Counters::default(),
            _dir: dir,
        }
    }

    /// Commits events as one batch, which must change something. Gives the sequence of its first record.
    fn add(&self, events: impl IntoIterator<Item = Event6>) -> u64 {
        let before = self.reader.published().sequence;
        let events = events.into_iter().map(Event::V6).collect();
        let committed = self.store.submit(events).unwrap().wait().unwrap();
        assert!(committed.rejected.is_empty(), "{:?}", committed.rejected);
        before + 1
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(seconds * 1_000);
    }

    /// A second later, so that stamps differ.
    fn later(&self, events: impl IntoIterator<Item = Event6>) -> u64 {
        self.advance(1);
        self.add(events)
    }

    fn cx<'t>(&'t self, view: &'t View) -> QueryContext<'t> {
        QueryContext {
            view,
            server_time: self.reader.now(),
            settings: &self.settings,
            rule: &self.rule,
            counters: &self.counters,
        }
    }

    fn open(&self, request: &Asked) -> Opened {
        let view = self.reader.view();
        start(&self.cx(&view), &request.octets())
    }

    /// The stream that a query starts.
    fn stream(&self, request: &Asked) -> StreamRequest {
        match self.open(request) {
            Opened::Stream(stream) => stream,
            _ => panic!("no stream"),
        }
    }

    fn teller(&self, request: &Asked) -> Box<dyn Teller> {
        self.stream(request).teller
    }

    /// What a teller says of the records from a sequence on, as the store is now.
    fn told(&self, teller: &mut dyn Teller, from: u64) -> Vec<Line> {
        let mut follower = Follower::at(from);
        follower.read(self, teller, usize::MAX)
    }
}

/// Reads the log for a teller.
struct Follower {
    cursor: LogCursor,
}

impl Follower {
    fn at(sequence: u64) -> Follower {
        Follower {
            cursor: LogCursor::new(ScanFrom::Sequence(sequence)),
        }
    }

    /// What is said of the next records.
    fn read(&mut self, site: &Site, teller: &mut dyn Teller, most: usize) -> Vec<Line> {
        let view = site.reader.view();
        let cx = site.cx(&view);
        let mut lines = Vec::new();
        for _ in 0..most {
            let Some(record) = view.next_record(&mut self.cursor) else {
                break;
            };
            if !view.is_newest(&record) {
                continue;
            }
            let mut octets = vec![0; 1 << 20];
            let mut out = OutBuf::new(&mut octets);
            let told = teller
                .record(&cx, &record, record.stamp(), &mut out)
                .unwrap();
            let messages = messages(out.as_slice());
            assert_eq!(messages.len(), told.messages as usize);
            let read: Vec<Line> = messages.iter().map(|octets| Line::read(octets)).collect();
            let bindings: usize = read.iter().map(|line| line.leases.len()).sum();
            assert_eq!(bindings, told.bindings as usize);
            if told.messages > 0 {
                assert!(teller.may_concern(&record));
            }
            lines.extend(read);
        }
        lines
    }
}

fn messages(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while !octets.is_empty() {
        let frame::Split::Frame { message, consumed } = frame::split(octets) else {
            panic!("{} octets are not whole frames", octets.len());
        };
        messages.push(message.to_vec());
        octets = &octets[consumed..];
    }
    messages
}

/// A message, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    message_type: u8,
    xid: u32,
    server_id: Option<Vec<u8>>,
    requestor: Option<Vec<u8>>,
    status: Option<u16>,
    base_time: Option<u32>,
    vss: Option<Vec<u8>>,
    duid: Option<Vec<u8>>,
    clt_time: Option<u32>,
    relay_data: bool,
    others: Vec<u16>,
    /// Addresses and prefixes with preferred and valid lifetime, in the order told.
    leases: Vec<(String, u32, u32)>,
}

impl Line {
    fn read(octets: &[u8]) -> Line {
        let message = Message::parse(octets).unwrap();
        // The other decoder has to understand it too.
        let theirs: dhcproto::v6::Message =
            dhcproto::Decodable::decode(&mut dhcproto::Decoder::new(octets)).unwrap();
        assert_eq!(theirs.opts().iter().count(), message.iter().count());
        let number = |value: &[u8]| u32::from_be_bytes(value.try_into().unwrap());
        let mut line = Line {
            message_type: message.msg_type(),
            xid: message.xid(),
            ..Line::default()
        };
        for (option, value) in message.iter() {
            match option {
                code::SERVERID => line.server_id = Some(value.to_vec()),
                code::CLIENTID => line.requestor = Some(value.to_vec()),
                code::STATUS_CODE => line.status = Some(Status::parse(value).unwrap().code),
                code::LQ_BASE_TIME => line.base_time = Some(number(value)),
                code::VSS => line.vss = Some(value.to_vec()),
                code::CLIENT_DATA => {
                    let client = ClientData::parse(value).unwrap();
                    assert_eq!(line.duid, None, "two clients");
                    line.duid = Some(client.client_id().unwrap().to_vec());
                    line.clt_time = client.clt_time();
                    line.relay_data = client.relay_data().is_some();
                    for lease in client.leases() {
                        let lease = lease.unwrap();
                        let (address, len) = lease.prefix();
                        line.leases.push((
                            format!("{address}/{len}"),
                            lease.preferred(),
                            lease.valid(),
                        ));
                    }
                    let codes = client.options.iter().map(|(option, _)| option);
                    line.others
                        .extend(codes.filter(|option| ![1, 5, 26, 46, 47].contains(option)));
                }
                other => panic!("option {other}"),
            }
        }
        line
    }

    /// Client and leases: `1: 2001:db8:1::a 3500, 2001:db8:1::b over`.
    fn text(&self) -> String {
        let duid = self.duid.as_deref().expect("a client");
        let leases = self.leases.iter().map(|(lease, _, valid)| {
            let lease = lease.trim_end_matches("/128");
            match valid {
                0 => format!("{lease} over"),
                valid => format!("{lease} {valid}"),
            }
        });
        let leases: Vec<String> = leases.collect();
        format!("{}: {}", duid[duid.len() - 1], leases.join(", "))
    }
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(Line::text).collect()
}

/// An ACTIVELEASEQUERY as a requestor writes it.
#[derive(Clone, Debug)]
struct Asked {
    requestor: Option<Vec<u8>>,
    /// Value of LQ_QUERY without an ORO.
    query: Option<Vec<u8>>,
    query_oro: Vec<u16>,
    oro: Vec<u16>,
    options: Vec<u8>,
}

impl Asked {
    /// All updates.
    fn all() -> Asked {
        Asked {
            requestor: Some(REQUESTOR.to_vec()),
            query: None,
            query_oro: Vec::new(),
            oro: Vec::new(),
            options: Vec::new(),
        }
    }

    fn by(query_type: u8, link: &str, options: Vec<u8>) -> Asked {
        let query = [&[query_type][..], &ip(link).octets(), &options].concat();
        Asked {
            query: Some(query),
            ..Asked::all()
        }
    }

    fn by_address(address: &str) -> Asked {
        let value = [&ip(address).octets()[..], &[0; 8]].concat();
        Asked::by(1, "::", option(code::IAADDR, &value))
    }

    fn by_client(n: u8) -> Asked {
        Asked::by(2, "::", option(code::CLIENTID, &duid(n)))
    }

    fn by_relay(n: u8) -> Asked {
        Asked::by(3, "::", option(code::RELAY_ID, &relay_id(n)))
    }

    fn by_link(link: &str) -> Asked {
        Asked::by(4, link, Vec::new())
    }

    fn by_remote(n: u8) -> Asked {
        Asked::by(5, "::", option(code::REMOTE_ID, &remote_id(n)))
    }

    fn with(mut self, code: u16, value: &[u8]) -> Asked {
        self.options.extend(option(code, value));
        self
    }

    /// Asks for options where the query has its ORO: in LQ_QUERY if there is one.
    fn oro(mut self, codes: &[u16]) -> Asked {
        match self.query {
            Some(_) => self.query_oro = codes.to_vec(),
            None => self.oro = codes.to_vec(),
        }
        self
    }

    fn octets(&self) -> Vec<u8> {
        let codes = |codes: &[u16]| -> Vec<u8> {
            codes.iter().flat_map(|code| code.to_be_bytes()).collect()
        };
        let mut octets = vec![message_type::ACTIVELEASEQUERY];
        octets.extend(&XID.to_be_bytes()[1..]);
        if let Some(requestor) = &self.requestor {
            octets.extend(option(code::CLIENTID, requestor));
        }
        if !self.oro.is_empty() {
            octets.extend(option(code::ORO, &codes(&self.oro)));
        }
        octets.extend(&self.options);
        if let Some(query) = &self.query {
            let mut query = query.clone();
            if !self.query_oro.is_empty() {
                query.extend(option(code::ORO, &codes(&self.query_oro)));
            }
            octets.extend(option(code::LQ_QUERY, &query));
        }
        octets
    }
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

fn duid(n: u8) -> Vec<u8> {
    vec![0, 2, 0, 0, 0x0d, 0xe9, n]
}

fn relay_id(n: u8) -> Vec<u8> {
    vec![0, 3, 0, 1, 2, 0xbb, 6, 0, 0, n]
}

fn remote_id(n: u8) -> Vec<u8> {
    vec![0, 0, 0x0d, 0xe9, b'r', n]
}

/// The relay agent `n`, which has a relay-id, and a remote-id of the same number.
fn relay(n: u8) -> Relay6 {
    Relay6 {
        link: Ipv6Addr::UNSPECIFIED,
        peer: ip("fe80::1"),
        options: [option(53, &relay_id(n)), option(37, &remote_id(n))].concat(),
    }
}

/// A lease of an address that client `client` has behind relay agent `at`: 3,500 of 3,600 seconds left at the beginning.
fn lease(address: &str, client: u8, at: u8) -> Event6 {
    Event6 {
        duid: Some(duid(client)),
        iaid: Some(1),
        cltt: Some(NOW - 100),
        state_since: Some(NOW - 5_000),
        preferred_lifetime: Some(1_800),
        valid_lifetime: Some(3_600),
        relay: Some(vec![relay(at)]),
        ..Event6::new(ip(address), State::Active)
    }
}

fn prefix(address: &str, len: u8, client: u8, at: u8) -> Event6 {
    Event6 {
        prefix_len: len,
        kind: LeaseKind::Pd,
        ..lease(address, client, at)
    }
}

/// The end of a lease: of it only what the record has is kept.
fn end(address: &str) -> Event6 {
    Event6::new(ip(address), State::Released)
}
