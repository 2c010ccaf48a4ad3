//! What the unit tests of this module share: a store, the context that a query sees, queries as octets, and messages read
//! by our decoder and by an independent one.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use dhcproto::v4 as peer;
use dhcproto::{Decodable, Decoder};
use leaseq_store::{
    Event, Event4, HwAddr, ManualClock, Options, Reader, Record, ScanFrom, Stamp, State, Store,
    SyncMode, Topology, View,
};
use leaseq_wire::OutBuf;
use leaseq_wire::frame::{self, Split};
use leaseq_wire::v4::message_type::DHCPACTIVELEASEQUERY;
use leaseq_wire::v4::{Header, Message, MessageWriter, op};
use tempfile::TempDir;

use crate::active::{StreamRequest, Teller};
use crate::counters::Counters;
use crate::query::{Opened, QueryContext, Quota, RunningQuery, StepEnd};
use crate::settings::{RequestorRule, Settings};

/// Server time at the start of every test, Unix seconds.
pub(super) const START: u32 = 1_790_000_000;
/// The server's identity.
pub(super) const SERVER: [u8; 4] = [192, 0, 2, 1];

pub(super) struct Rig {
    store: Store,
    reader: Reader,
    pub(super) clock: Arc<ManualClock>,
    pub(super) settings: Settings,
    pub(super) rule: RequestorRule,
    pub(super) counters: Counters,
    _dir: TempDir,
}

impl Rig {
    /// Active leasequery is served, to everybody, about everything.
    pub(super) fn new() -> Rig {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(u64::from(START) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).expect("the store opens");
        let mut settings = Settings::default();
        settings.active.enabled = true;
        settings.active.insecure = true;
        settings.dhcp4.server_identifier = SERVER.into();
        Rig {
            reader: store.reader(),
            store,
            clock,
            settings,
            rule: RequestorRule::all("0.0.0.0/0".parse().expect("a network")),
            counters: Counters::default(),
            _dir: dir,
        }
    }

    pub(super) fn store(&self, event: Event4) {
        let pending = self.store.submit(vec![Event::V4(event)]);
        let committed = pending.expect("submitted").wait().expect("committed");
        assert_eq!(committed.rejected, []);
    }

    pub(super) fn view(&self) -> View {
        self.reader.view()
    }

    pub(super) fn cx<'t>(&'t self, view: &'t View) -> QueryContext<'t> {
        QueryContext {
            view,
            server_time: self.reader.now(),
            settings: &self.settings,
            rule: &self.rule,
            counters: &self.counters,
        }
    }

    pub(super) fn start(&self, query: &[u8]) -> Opened {
        super::start(&self.cx(&self.view()), query)
    }

    /// The stream that a query starts.
    pub(super) fn stream(&self, query: &Query) -> StreamRequest {
        match self.start(&query.octets()) {
            Opened::Stream(request) => request,
            _ => panic!("a stream"),
        }
    }

    /// The one message of an answer, and how the query ended.
    pub(super) fn answer(&self, mut query: Box<dyn RunningQuery>) -> (Heard, StepEnd) {
        let mut octets = [0; 2_048];
        let mut out = OutBuf::new(&mut octets);
        let mut quota = Quota {
            bindings: 1,
            octets: 1,
            examined: 1,
        };
        let end = query.step(&self.cx(&self.view()), &mut out, &mut quota);
        (only(&out), end.expect("room"))
    }

    /// What a teller writes of each record that a stream is given, oldest first: the newest of each binding, and departures.
    pub(super) fn tell_all(&self, teller: &mut dyn Teller) -> Vec<Heard> {
        let view = self.view();
        let mut octets = vec![0; 1 << 20];
        let mut out = OutBuf::new(&mut octets);
        for scanned in view.scan(ScanFrom::Start).filter(|scanned| scanned.newest) {
            let base = scanned.record.stamp();
            let before = heard(&out).len();
            let told = teller
                .record(&self.cx(&view), &scanned.record, base, &mut out)
                .expect("room");
            let written = heard(&out).len() - before;
            assert_eq!(
                (told.messages as usize, told.bindings as usize),
                (written, written)
            );
        }
        heard(&out)
    }

    /// Calls `call` with the last record of the log.
    pub(super) fn last<T>(&self, call: impl FnOnce(&QueryContext<'_>, &Record<'_>) -> T) -> T {
        let view = self.view();
        let last = view.scan(ScanFrom::Start).last().expect("a record");
        call(&self.cx(&view), &last.record)
    }
}

/// A lease of an hour that began at [`START`], behind this relay agent and circuit.
pub(super) fn lease(address: [u8; 4], relay_id: &[u8], remote_id: &[u8]) -> Event4 {
    let mut event = Event4::new(address.into(), State::Active);
    event.hwaddr = Some(HwAddr {
        htype: 1,
        octets: [2, 0x5e, 0x10, 0, 0, 7].as_slice().into(),
    });
    event.client_id = Some(vec![1, 2, 0x5e, 0x10, 0, 0, 7]);
    event.cltt = Some(START);
    event.state_since = Some(START);
    event.lease_time = Some(3_600);
    event.relay_agent_info = Some(relay_info(relay_id, remote_id));
    event.options = Some(vec![(12, b"host".to_vec()), (92, vec![9; 4])]);
    event
}

pub(super) fn relay_info(relay_id: &[u8], remote_id: &[u8]) -> Vec<u8> {
    let part = |code, value: &[u8]| [&[code, value.len() as u8], value].concat();
    let given = [(12, relay_id), (2, remote_id)];
    given
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(code, value)| part(code, value))
        .collect()
}

/// A query being made.
#[derive(Clone)]
pub(super) struct Query {
    pub(super) header: Header,
    pub(super) message_type: u8,
    pub(super) options: Vec<(u8, Vec<u8>)>,
}

impl Query {
    pub(super) fn active(xid: u32) -> Query {
        Query {
            header: Header::request(xid),
            message_type: DHCPACTIVELEASEQUERY,
            options: Vec::new(),
        }
    }

    pub(super) fn option(mut self, code: u8, value: &[u8]) -> Query {
        self.options.push((code, value.to_vec()));
        self
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        let mut octets = vec![0; 4_096];
        let mut out = OutBuf::new(&mut octets);
        let mut writer =
            MessageWriter::start(&mut out, &self.header, self.message_type).expect("room");
        for (code, value) in &self.options {
            writer.option(*code, value).expect("room");
        }
        let len = writer.finish();
        octets.truncate(len);
        octets
    }
}

/// A message that the server wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) message_type: u8,
    pub(super) xid: u32,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) chaddr: Vec<u8>,
    pub(super) options: BTreeMap<u8, Vec<u8>>,
}

impl Heard {
    fn read(octets: &[u8]) -> Heard {
        let message = Message::parse(octets).expect("our decoder reads it");
        assert_eq!(message.op(), op::BOOTREPLY);
        let options: BTreeMap<u8, Vec<u8>> = message
            .options()
            .map(|(code, value)| (code, value.bytes().collect()))
            .collect();
        let theirs =
            peer::Message::decode(&mut Decoder::new(octets)).expect("the other decoder reads it");
        assert_eq!(
            (theirs.xid(), theirs.ciaddr()),
            (message.xid(), message.ciaddr())
        );
        assert_eq!(theirs.chaddr(), message.chaddr());
        let mut codes: Vec<u8> = theirs
            .opts()
            .iter()
            .map(|(code, _)| u8::from(*code))
            .collect();
        codes.sort_unstable();
        assert_eq!(codes, options.keys().copied().collect::<Vec<_>>());
        Heard {
            message_type: message.message_type().expect("a message type"),
            xid: message.xid(),
            ciaddr: message.ciaddr(),
            chaddr: message.chaddr().to_vec(),
            options,
        }
    }

    pub(super) fn number(&self, code: u8) -> Option<u32> {
        let value = self.options.get(&code)?;
        Some(u32::from_be_bytes(value[..].try_into().expect("4 octets")))
    }

    pub(super) fn octet(&self, code: u8) -> Option<u8> {
        self.options.get(&code).map(|value| value[0])
    }

    pub(super) fn codes(&self) -> Vec<u8> {
        self.options.keys().copied().collect()
    }
}

/// The messages in a buffer, which holds nothing but whole frames.
pub(super) fn heard(out: &OutBuf<'_>) -> Vec<Heard> {
    let mut rest = out.as_slice();
    let mut messages = Vec::new();
    while let Split::Frame { message, consumed } = frame::split(rest) {
        messages.push(Heard::read(message));
        rest = &rest[consumed..];
    }
    assert_eq!(rest, [], "only whole frames");
    messages
}

/// The one message in a buffer.
pub(super) fn only(out: &OutBuf<'_>) -> Heard {
    let [message] = <[Heard; 1]>::try_from(heard(out)).expect("one message");
    message
}

/// The second of a stamp's base-time.
pub(super) fn at(seconds: u32) -> Stamp {
    Stamp::from_seconds(seconds)
}
