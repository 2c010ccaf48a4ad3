//! How streams and the hub share the log between them, with a protocol of a few lines in place of a family's.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;

use leaseq_store::{
    Bind4, Event, Event4, ManualClock, Options, Reader, Record, Stamp, State, Store, SyncMode,
    Topology,
};
use leaseq_wire::{Full, OutBuf, frame};

use super::{Hub, Say, Scope, Stream, StreamRequest, Teller, Told};
use crate::Mono;
use crate::connection::Turn;
use crate::counters::Counters;
use crate::query::{QueryContext, Quota, RunningQuery, StepEnd};
use crate::settings::{Family, RequestorRule, Settings};

/// Octets of a frame about a binding, of whatever else is said, and where the transaction id lies.
const XID_AT: usize = 4;

/// Tells sequence and address of each record as one frame, padded to a length.
struct Plain {
    xid: u32,
    relay_id: Option<Vec<u8>>,
    padding: usize,
    /// Records encoded by tellers of this kind.
    encoded: Rc<Cell<usize>>,
}

fn put(out: &mut OutBuf<'_>, xid: u32, kind: u8, body: &[u8]) -> Result<(), Full> {
    let start = frame::begin(out)?;
    let written = (|| {
        out.put(&[kind, 0, 0, 0])?;
        out.put_u32(xid)?;
        out.put(body)
    })();
    if written.is_err() {
        frame::cancel(out, start);
        return Err(Full);
    }
    frame::end(out, start).map(|_| ())
}

fn bind<'r>(record: &Record<'r>) -> Option<Bind4<'r>> {
    match record {
        Record::Bind4(bind) => Some(*bind),
        _ => None,
    }
}

impl Teller for Plain {
    fn scope(&self) -> Scope<'_> {
        self.relay_id.as_deref().map_or(Scope::V4, Scope::RelayId4)
    }

    fn shared_form(&self) -> Option<Vec<u8>> {
        self.relay_id.is_none().then(|| vec![self.padding as u8])
    }

    fn with_xid(&self, xid: u32) -> Box<dyn Teller> {
        Box::new(Plain {
            xid,
            relay_id: self.relay_id.clone(),
            encoded: Rc::clone(&self.encoded),
            ..*self
        })
    }

    fn record(
        &mut self,
        _cx: &QueryContext<'_>,
        record: &Record<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full> {
        let Some(bind) = bind(record)
            .filter(|bind| self.relay_id.is_none() || bind.relay_id() == self.relay_id.as_deref())
        else {
            return Ok(Told::default());
        };
        self.encoded.set(self.encoded.get() + 1);
        let start = out.len();
        let body = [
            &bind.address().octets()[..],
            &record.sequence().to_be_bytes(),
            &base.millis().to_be_bytes(),
            &[bind.state() as u8],
        ]
        .concat();
        let mut messages = 1;
        put(out, self.xid, 1, &body)?;
        for _ in 0..self.padding / 60_000 {
            messages += 1;
            if put(out, self.xid, 2, &[0; 60_000]).is_err() {
                out.truncate(start);
                return Err(Full);
            }
        }
        Ok(Told {
            messages,
            bindings: 1,
            examined: 0,
        })
    }

    fn say(
        &mut self,
        _cx: &QueryContext<'_>,
        say: Say,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<u32, Full> {
        let kind = match say {
            Say::Begin {
                data_missing: false,
            } => return Ok(0),
            Say::Begin { data_missing: true } | Say::DataMissing => b'M',
            Say::Keepalive => b'K',
            Say::CatchUpComplete => b'C',
            Say::Terminated(_) => b'T',
        };
        put(out, self.xid, kind, &base.millis().to_be_bytes())?;
        Ok(1)
    }
}

struct Server {
    store: Store,
    reader: Reader,
    clock: Arc<ManualClock>,
    hub: Rc<Hub>,
    settings: Arc<Settings>,
    rule: Arc<RequestorRule>,
    counters: Arc<Counters>,
    encoded: Rc<Cell<usize>>,
    _dir: tempfile::TempDir,
}

const START: u64 = 1_790_000_000;

impl Server {
    fn new() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(START * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).unwrap();
        Server {
            reader: store.reader(),
            store,
            clock,
            hub: Hub::new(),
            settings: Arc::default(),
            rule: Arc::new(RequestorRule::all("10.0.0.0/8".parse().unwrap())),
            counters: Arc::default(),
            encoded: Rc::default(),
            _dir: dir,
        }
    }

    /// Commits a change of each address in a batch of its own.
    fn change(&self, addresses: impl IntoIterator<Item = u32>, relay: u8) {
        for address in addresses {
            let mut event = Event4::new(Ipv4Addr::from(0x0a00_0000 + address), State::Active);
            event.relay_agent_info = Some(vec![12, 1, relay]);
            self.clock.advance(1);
            event.cltt = Some(self.reader.now().seconds());
            event.lease_time = Some(86_400 + self.reader.now().millis() as u32 % 1_000);
            let ticket = self.store.submit(vec![Event::V4(event)]).unwrap();
            ticket.wait().unwrap();
        }
    }

    fn turn<T>(&self, call: impl FnOnce(&Turn<'_>) -> T) -> T {
        let server_time = self.reader.settled();
        let view = self.reader.view();
        call(&Turn {
            view: &view,
            now: Mono::default(),
            server_time,
        })
    }

    /// Has the hub read what was committed; the keys of whom it woke.
    fn pump(&self) -> Vec<usize> {
        let mut woken = Vec::new();
        while self.turn(|turn| self.hub.committed(turn, &mut |key| woken.push(key))) {}
        woken
    }

    fn stream(&self, key: usize, relay: Option<u8>, since: Option<u32>) -> Follower {
        self.padded(key, relay, since, 0)
    }

    fn padded(
        &self,
        key: usize,
        relay: Option<u8>,
        since: Option<u32>,
        padding: usize,
    ) -> Follower {
        let teller = Plain {
            xid: key as u32,
            relay_id: relay.map(|relay| vec![relay]),
            padding,
            encoded: Rc::clone(&self.encoded),
        };
        let request = StreamRequest {
            xid: key as u32,
            since,
            teller: Box::new(teller),
        };
        Follower {
            key,
            stream: Stream::new(
                Rc::clone(&self.hub),
                key,
                Family::V4,
                Arc::clone(&self.settings),
                Arc::clone(&self.rule),
                Arc::clone(&self.counters),
                request,
                Mono::default(),
            ),
            said: String::new(),
            told: Vec::new(),
            table: BTreeMap::new(),
        }
    }
}

/// A stream and what it has told.
struct Follower {
    key: usize,
    stream: Stream,
    /// What was said beside bindings.
    said: String,
    /// Addresses in the order they were told in.
    told: Vec<u32>,
    /// The newest sequence told of each address.
    table: BTreeMap<u32, u64>,
}

impl Follower {
    /// One step, with a buffer of so many octets.
    fn step(&mut self, server: &Server, octets: usize) -> Option<StepEnd> {
        let mut buffer = vec![0; octets];
        let mut out = OutBuf::new(&mut buffer);
        let end = server.turn(|turn| {
            let cx = QueryContext {
                view: turn.view,
                server_time: turn.server_time,
                settings: &server.settings,
                rule: &server.rule,
                counters: &server.counters,
            };
            let mut quota = Quota {
                bindings: usize::MAX,
                octets,
                examined: 8_192,
            };
            self.stream.step(&cx, &mut out, &mut quota)
        });
        let length = out.len();
        self.take(&buffer[..length]);
        end.ok()
    }

    /// Steps until there is nothing to say.
    fn drain(&mut self, server: &Server, octets: usize) {
        while self.step(server, octets) != Some(StepEnd::Waiting) {}
        assert!(self.stream.is_waiting(), "what waits is told");
    }

    fn take(&mut self, mut octets: &[u8]) {
        while let frame::Split::Frame { message, consumed } = frame::split(octets) {
            octets = &octets[consumed..];
            let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
            assert_eq!(
                number(XID_AT),
                self.key as u32,
                "the stream's own transaction id"
            );
            match message[0] {
                1 => {
                    let sequence = u64::from(number(12)) << 32 | u64::from(number(16));
                    let address = number(8) - 0x0a00_0000;
                    self.told.push(address);
                    let before = self.table.insert(address, sequence);
                    assert!(before < Some(sequence), "nothing is told twice");
                }
                2 => {}
                kind => self.said.push(char::from(kind)),
            }
        }
        assert!(octets.is_empty(), "only whole frames are written");
    }
}

#[test]
fn streams_of_one_form_share_an_encoding_and_are_woken_once_until_they_have_taken_it() {
    let server = Server::new();
    let mut followers: Vec<Follower> = (1..=3).map(|key| server.stream(key, None, None)).collect();
    for follower in &mut followers {
        follower.drain(&server, 10_000);
    }
    server.change([1], 7);
    assert_eq!(server.pump(), [1, 2, 3]);
    for follower in &mut followers {
        assert!(!follower.stream.is_waiting());
        follower.drain(&server, 10_000);
    }
    assert_eq!(
        server.encoded.get(),
        3,
        "the first message of each is its own"
    );
    server.change(2..=5, 7);
    assert_eq!(server.pump(), [1, 2, 3]);
    server.change(6..=9, 7);
    assert_eq!(server.pump(), [0_usize; 0], "they are awake");
    assert_eq!(server.encoded.get(), 3 + 8, "once for all of them");
    followers[0].drain(&server, 10_000);
    server.change([10], 7);
    assert_eq!(server.pump(), [1]);
    for mut follower in followers {
        follower.drain(&server, 10_000);
        assert_eq!(follower.told, Vec::from_iter(1..=10));
    }
    assert_eq!(server.hub.streams(), 0, "dropped with their connections");
    assert_eq!(server.counters.v4.lagged.get(), 0);
}

#[test]
fn a_stream_is_told_what_its_scope_names_and_woken_for_nothing_else() {
    let server = Server::new();
    let mut wide = server.stream(1, None, None);
    let mut narrow = server.stream(2, Some(7), None);
    wide.drain(&server, 10_000);
    narrow.drain(&server, 10_000);
    server.change([1], 6);
    assert_eq!(server.pump(), [1]);
    server.change([2], 7);
    assert_eq!(server.pump(), [2]);
    narrow.drain(&server, 10_000);
    wide.drain(&server, 10_000);
    assert_eq!((wide.told, narrow.told), (vec![1, 2], vec![2]));
}

#[test]
fn a_stream_that_does_not_take_gets_the_newest_state_and_nothing_grows() {
    let server = Server::new();
    let mut quick = server.stream(1, None, None);
    let mut slow = server.stream(2, None, None);
    let mut narrow = server.stream(3, Some(7), None);
    // The first two share what follows their first messages.
    for change in 0..2 {
        for follower in [&mut quick, &mut slow, &mut narrow] {
            follower.drain(&server, 10_000);
        }
        server.change([change], 7);
        server.pump();
    }
    for follower in [&mut quick, &mut slow, &mut narrow] {
        follower.drain(&server, 10_000);
    }
    for round in 0..25_000 {
        server.change([round % 50], 7);
        server.pump();
        if round % 100 == 0 {
            quick.drain(&server, 100_000);
        }
    }
    for follower in [&mut quick, &mut slow, &mut narrow] {
        follower.drain(&server, 200);
        assert_eq!(follower.table, quick_table(&server), "{}", follower.key);
    }
    assert_eq!(quick.told.len(), 25_002);
    // What the ring no longer held was read from the log; there only the newest record of each binding is.
    // What is one stretch of the log was not too much to wait.
    assert_eq!(server.counters.v4.lagged.get(), 1);
    assert_eq!((slow.told.len(), narrow.told.len()), (52, 52));
    // They are at the tail again.
    server.change([51], 7);
    let mut woken = server.pump();
    woken.sort_unstable();
    assert_eq!(woken, [1, 2, 3]);
}

/// The newest sequence of each address, by a scan of the log.
fn quick_table(server: &Server) -> BTreeMap<u32, u64> {
    let view = server.reader.view();
    view.scan(leaseq_store::ScanFrom::Start)
        .filter(|scanned| scanned.newest)
        .filter_map(|scanned| bind(&scanned.record))
        .map(|bind| (u32::from(bind.address()) - 0x0a00_0000, bind.sequence()))
        .collect()
}

#[test]
fn more_than_may_wait_for_a_stream_is_read_from_the_log() {
    let server = Server::new();
    let mut narrow = server.stream(1, Some(7), None);
    narrow.drain(&server, 10_000);
    for round in 0..100 {
        server.change([round], 7);
        server.change(1_000..1_010, 6);
    }
    server.pump();
    narrow.drain(&server, 500);
    assert_eq!(narrow.told, Vec::from_iter(0..100));
    assert_eq!(server.counters.v4.lagged.get(), 1);
}

#[test]
fn what_lies_close_together_waits_as_one() {
    let server = Server::new();
    let mut narrow = server.stream(1, Some(7), None);
    narrow.drain(&server, 10_000);
    for round in 0..100 {
        server.change([round], 7);
        server.change(1_000..1_005, 6);
        // What comes while it is told is told as well.
        server.pump();
        if round % 10 == 0 {
            narrow.step(&server, 100);
        }
    }
    narrow.drain(&server, 500);
    assert_eq!(narrow.told, Vec::from_iter(0..100));
    assert_eq!(server.counters.v4.lagged.get(), 0);
}

#[test]
fn many_changes_in_a_row_do_not_leave_a_narrowed_stream_behind_that_takes_them() {
    let server = Server::new();
    let mut narrow = server.stream(1, Some(7), None);
    narrow.drain(&server, 100_000);
    server.change(0..1_000, 7);
    while server.turn(|turn| server.hub.committed(turn, &mut |_| {})) {
        narrow.drain(&server, 100_000);
    }
    narrow.drain(&server, 100_000);
    assert_eq!(narrow.told, Vec::from_iter(0..1_000));
    assert_eq!(server.counters.v4.lagged.get(), 0);
}

#[test]
fn a_stream_that_takes_a_chunk_after_each_call_is_not_left_behind_by_the_ring() {
    let server = Server::new();
    let mut wide = server.padded(1, None, None, 60_000);
    wide.drain(&server, 100_000);
    // It shares once it has said something of its own.
    server.change([0], 7);
    server.pump();
    wide.drain(&server, 100_000);
    server.change(1..100, 7);
    while server.turn(|turn| server.hub.committed(turn, &mut |_| {})) {
        // One record fits.
        wide.step(&server, 100_000);
    }
    wide.drain(&server, 100_000);
    assert_eq!(wide.told, Vec::from_iter(0..100));
    assert_eq!(server.counters.v4.lagged.get(), 0);
}

#[test]
fn a_stream_that_caught_up_further_than_the_hub_is_told_nothing_twice() {
    for relay in [None, Some(7)] {
        let server = Server::new();
        let mut first = server.stream(1, relay, None);
        first.drain(&server, 10_000);
        server.change(0..10, 7);
        // The hub has not looked yet.
        let mut late = server.stream(2, relay, Some(START as u32));
        late.drain(&server, 10_000);
        assert_eq!((late.said.as_str(), late.told.len()), ("C", 10));
        server.pump();
        late.drain(&server, 10_000);
        first.drain(&server, 10_000);
        assert_eq!((late.told.len(), first.told.len()), (10, 10));
        server.change(3..5, 7);
        server.pump();
        late.drain(&server, 10_000);
        assert_eq!(late.told.len(), 12);
        assert_eq!(late.table, quick_table(&server));
    }
}

#[test]
fn what_fits_into_no_buffer_is_told_in_pieces_to_every_stream() {
    let server = Server::new();
    let padding = 5 * 60_000;
    let mut streams = [
        server.padded(1, None, None, padding),
        server.padded(2, None, None, padding),
        server.padded(3, Some(7), None, padding),
    ];
    for change in 0..3 {
        for stream in &mut streams {
            stream.drain(&server, 65_537);
        }
        server.change([change], 7);
        server.pump();
    }
    for stream in &mut streams {
        stream.drain(&server, 65_537);
        assert_eq!(stream.told, [0, 1, 2]);
    }
}

#[test]
fn base_time_never_passes_what_was_not_told() {
    let server = Server::new();
    let mut narrow = server.stream(1, Some(7), None);
    let mut wide = server.stream(2, None, None);
    server.change([0], 7);
    for follower in [&mut narrow, &mut wide] {
        follower.drain(&server, 10_000);
    }
    server.pump();
    let told = server.reader.settled();
    server.clock.advance(10_000);
    let base = |follower: &Follower| {
        server.turn(|turn| {
            let cx = QueryContext {
                view: turn.view,
                server_time: turn.server_time,
                settings: &server.settings,
                rule: &server.rule,
                counters: &server.counters,
            };
            follower.stream.base_time(&cx)
        })
    };
    let quiet = server.reader.settled();
    assert_eq!(base(&narrow), quiet, "with nothing to tell it is now");
    server.change([1], 7);
    let changed = server.reader.published().stamp;
    server.clock.advance(10_000);
    for follower in [&narrow, &wide] {
        assert!(
            (told..=changed).contains(&base(follower)),
            "the hub has not looked"
        );
    }
    server.pump();
    server.clock.advance(10_000);
    for follower in [&mut narrow, &mut wide] {
        assert!(base(follower) <= changed, "the record waits");
        follower.drain(&server, 10_000);
        assert_eq!(base(follower), server.reader.settled());
    }
}

/// Relay agents whose changes follow each other in turn: so many that those of one lie far apart.
const RELAYS: u8 = 20;
/// So many that none has more changes than a stream may hold in a log of more records than the sweep looks at in a call.
const MANY_RELAYS: u8 = 250;

/// A server with a log of so many changes of each relay agent, whose narrowed streams soon catch up together.
fn behind(relays: u8, rounds: u32) -> Server {
    let mut server = Server::new();
    server.hub = Hub::joining_after(10);
    for round in 0..rounds {
        for relay in 0..relays {
            server.change([round * u32::from(relays) + u32::from(relay)], relay);
        }
    }
    server
}

/// The addresses of one relay agent, in the order of their changes.
fn of_relay(relay: u32, relays: u8, rounds: u32) -> Vec<u32> {
    (0..rounds)
        .map(|round| round * u32::from(relays) + relay)
        .collect()
}

#[test]
fn narrowed_streams_catch_up_together_and_are_told_all_in_order() {
    let server = behind(RELAYS, 100);
    let mut followers: Vec<Follower> = (0..40)
        .map(|key| server.stream(key, Some(key as u8 % RELAYS), Some(START as u32)))
        .collect();
    for follower in &mut followers {
        follower.drain(&server, 10_000);
        assert!(follower.said.is_empty(), "it has far to go");
    }
    assert!(server.hub.is_behind());
    // What changes meanwhile is told as well.
    server.change([0], 0);
    while server.turn(|turn| server.hub.committed(turn, &mut |_| {})) {
        for follower in &mut followers {
            follower.drain(&server, 10_000);
        }
    }
    for follower in &mut followers {
        follower.drain(&server, 10_000);
        while server.hub.is_behind() {
            server.pump();
            follower.drain(&server, 10_000);
        }
        assert_eq!(follower.said, "C");
        let mut expected = of_relay(follower.key as u32 % u32::from(RELAYS), RELAYS, 100);
        if expected[0] == 0 {
            // Told with what it was read first: at the beginning or, changed meanwhile, at the end.
            expected.retain(|address| *address != 0 || follower.told.first() == Some(&0));
            if follower.told.last() == Some(&0) {
                expected.push(0);
            }
        }
        assert_eq!(follower.told, expected);
    }
    assert_eq!(server.counters.v4.lagged.get(), 0);
    assert_eq!(server.counters.v4.caught_up.get(), 40);
    // From now on they are at the tail.
    server.change([1], 1);
    assert_eq!(server.pump().len(), 2);
}

#[test]
fn a_sweep_reads_on_while_what_lies_close_together_is_told() {
    let mut server = Server::new();
    server.hub = Hub::joining_after(10);
    server.change(0..1_000, 1);
    server.change(1_000..2_000, 2);
    let mut first = server.stream(1, Some(1), Some(START as u32));
    let mut second = server.stream(2, Some(2), Some(START as u32));
    first.drain(&server, 10_000);
    second.drain(&server, 10_000);
    let mut woken = server.pump();
    assert!(!server.hub.is_behind(), "it has come to the end in one go");
    woken.sort_unstable();
    woken.dedup();
    assert_eq!(woken, [1, 2]);
    // A message at a time, and what changes meanwhile is told once.
    first.step(&server, 60);
    server.change([999], 1);
    server.pump();
    first.drain(&server, 60);
    second.drain(&server, 60);
    first.drain(&server, 60);
    let expected: Vec<u32> = (0..1_000).collect();
    assert_eq!((first.told, first.said.as_str()), (expected, "C"));
    let expected: Vec<u32> = (1_000..2_000).collect();
    assert_eq!((second.told, second.said.as_str()), (expected, "C"));
    assert_eq!(server.counters.v4.lagged.get(), 0);
}

#[test]
fn who_comes_when_the_sweep_has_passed_waits_for_the_next_one() {
    let rounds = 24;
    let server = behind(MANY_RELAYS, rounds);
    let mut first = server.stream(1, Some(0), Some(START as u32));
    let mut other = server.stream(2, Some(1), Some(START as u32));
    first.drain(&server, 10_000);
    other.drain(&server, 10_000);
    assert!(server.turn(|turn| server.hub.committed(turn, &mut |_| {})));
    let mut late = server.stream(3, Some(2), Some(START as u32));
    late.drain(&server, 10_000);
    let before = late.told.len();
    assert!(before > 0 && before < 20, "it has begun by itself");
    let mut woken = Vec::new();
    let mut followers = [first, other, late];
    while server.hub.is_behind() {
        server.turn(|turn| server.hub.committed(turn, &mut |key| woken.push(key)));
        for follower in &mut followers {
            follower.drain(&server, 10_000);
        }
    }
    for (follower, relay) in followers.into_iter().zip(0..) {
        assert_eq!(follower.told, of_relay(relay, MANY_RELAYS, rounds));
        assert_eq!(follower.said, "C");
    }
    assert!(woken.contains(&3));
}

#[test]
fn a_stream_that_takes_nothing_leaves_the_sweep_and_holds_nobody_up() {
    let server = behind(RELAYS, 100);
    let mut slow = server.stream(1, Some(0), Some(START as u32));
    let mut quick = server.stream(2, Some(1), Some(START as u32));
    slow.drain(&server, 10_000);
    quick.drain(&server, 10_000);
    let mut calls = 0;
    while server.hub.is_behind() {
        server.turn(|turn| server.hub.committed(turn, &mut |_| {}));
        quick.drain(&server, 10_000);
        calls += 1;
    }
    assert!(calls < 5, "nobody is waited for: {calls} calls");
    quick.drain(&server, 10_000);
    assert_eq!(
        (quick.told, quick.said.as_str()),
        (of_relay(1, RELAYS, 100), "C")
    );
    // What is too much for it is not looked for until it has taken the rest.
    let held = slow.told.len();
    slow.step(&server, 60);
    assert!(!server.hub.is_behind());
    assert_eq!(slow.told.len(), held + 1);
    slow.drain(&server, 10_000);
    assert!(server.hub.is_behind());
    while server.hub.is_behind() {
        server.pump();
        slow.drain(&server, 10_000);
    }
    assert_eq!(
        (slow.told, slow.said.as_str()),
        (of_relay(0, RELAYS, 100), "C")
    );
    assert_eq!(server.counters.v4.lagged.get(), 0);
}

#[test]
fn streams_that_are_slow_are_told_all_in_order() {
    let rounds = 300;
    let server = behind(RELAYS, rounds);
    let mut followers: Vec<Follower> = (0..60)
        .map(|key| server.stream(key, Some(key as u8 % RELAYS), Some(START as u32)))
        .collect();
    let mut turn = 0;
    while followers.iter().any(|follower| follower.said.is_empty()) {
        assert!(turn < 100_000, "it comes to an end");
        server.turn(|turn| server.hub.committed(turn, &mut |_| {}));
        for follower in &mut followers {
            // Each at its own pace, and some come to rest for a while.
            if turn % (1 + follower.key % 7) == 0 {
                follower.step(&server, 100 * (1 + follower.key % 5));
            }
        }
        turn += 1;
    }
    for follower in followers {
        let relay = follower.key as u32 % u32::from(RELAYS);
        let expected = of_relay(relay, RELAYS, rounds);
        assert_eq!(follower.told, expected, "{}", follower.key);
        assert_eq!(follower.said, "C");
    }
}

#[test]
fn a_stream_that_leaves_a_sweep_leaves_nothing_behind() {
    let server = behind(MANY_RELAYS, 24);
    let mut gone = server.stream(1, Some(0), Some(START as u32));
    let mut stays = server.stream(2, Some(1), Some(START as u32));
    gone.drain(&server, 10_000);
    stays.drain(&server, 10_000);
    assert!(server.turn(|turn| server.hub.committed(turn, &mut |_| {})));
    let mut waiting = server.stream(3, Some(0), Some(START as u32));
    waiting.drain(&server, 10_000);
    drop(gone);
    assert!(server.hub.is_behind());
    drop(waiting);
    drop(stays);
    assert!(!server.hub.is_behind());
    assert_eq!(server.hub.streams(), 0);
    assert_eq!(server.pump(), [0_usize; 0]);
}
