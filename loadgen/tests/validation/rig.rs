//! leaseq without sockets, filled with made-up bindings, and changes that are made by hand.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use leaseq_feed::ndjson;
use leaseq_loadgen::changes::{Change, Schedule};
use leaseq_loadgen::check::{BulkCheck, BulkEnd, Expected};
use leaseq_loadgen::data::{Inventory, Source};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::scenario::By;
use leaseq_loadgen::work::board::Board;
use leaseq_requestor::{Bulk, Family, Query};
use leaseq_session::{
    Admission, Connection, Counters, Family as Side, Hub, Mono, Network, RequestorRule, Settings,
    Turn,
};
use leaseq_store::{
    LinkConfig, ManualClock, Options, Prefix6, Range4, Reader, Store, SyncMode, Topology, Vpn,
};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::UnixSeconds;
use tempfile::TempDir;

/// Our own DUID.
pub const REQUESTOR: &[u8] = b"\0\x03\0\x01loadgen";
/// Octets of the largest frame.
pub const MAX_FRAME: usize = frame::HEADER + frame::MAX_MESSAGE;
const VALID: u32 = 86_400;

/// A server that holds what an inventory has.
pub struct Rig {
    pub family: Family,
    pub inventory: Arc<Inventory>,
    pub schedule: Arc<Schedule>,
    pub board: Arc<Board>,
    pub start: u32,
    pub hub: Rc<Hub>,
    store: Store,
    reader: Reader,
    clock: Arc<ManualClock>,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    admission: Arc<Admission>,
    now: Mono,
    keys: usize,
    _dir: TempDir,
}

/// How a rig is made.
pub struct Plan {
    pub family: Family,
    pub relays: u32,
    pub per_relay: u32,
    /// Rows that change.
    pub changing: u32,
    pub release_percent: u32,
    pub seed: u64,
}

/// Faults that a check found: kind and text.
pub type Faults = Vec<(FaultKind, String)>;

impl Rig {
    pub fn new(plan: &Plan) -> Self {
        let start = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as u32;
        let source = Source::MadeUp {
            relays: plan.relays,
            bindings_per_relay: plan.per_relay,
            cltt: start - 1_000,
            valid: VALID,
        };
        Self::with(plan, &source, start)
    }

    /// With an inventory from somewhere else.
    pub fn with(plan: &Plan, source: &Source, start: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inventory = Arc::new(Inventory::load(plan.family, source).unwrap());
        let clock = Arc::new(ManualClock::new(u64::from(start) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::open(&dir.path().join("store"), options, topology(plan)).unwrap();
        let mut settings = Settings::default();
        settings.limits.max_connections = u32::MAX;
        settings.dhcp4.server_identifier = [192, 0, 2, 1].into();
        settings.dhcp4.reply_to = leaseq_session::ReplyTo::Source;
        settings.active.enabled = true;
        settings.active.insecure = true;
        settings.active.relay_scope = true;
        let rule =
            |network: &str| Arc::new(RequestorRule::all(network.parse::<Network>().unwrap()));
        settings.requestors = vec![rule("0.0.0.0/0"), rule("::/0")];
        let settings = Arc::new(settings);
        let total = inventory.len();
        let rig = Self {
            family: plan.family,
            schedule: Arc::new(Schedule::new(
                plan.changing,
                total,
                plan.release_percent,
                plan.seed,
            )),
            board: Arc::new(Board::create(&dir.path().join("board"), 100_000).unwrap()),
            start,
            hub: Hub::new(),
            reader: store.reader(),
            store,
            clock,
            counters: Arc::default(),
            admission: Admission::new(Arc::clone(&settings)),
            settings,
            now: Mono::from_millis(1_000_000),
            keys: 0,
            inventory,
            _dir: dir,
        };
        let mut lines = String::new();
        (0..total).for_each(|row| rig.inventory.line(row, None, &mut lines));
        rig.store_lines(&lines);
        rig
    }

    /// What a query is compared with.
    pub fn expected(&self, by: By, relay: u32) -> Expected {
        Expected {
            inventory: Some(self.inventory.clone()),
            schedule: Some(self.schedule.clone()),
            board: self.board.clone(),
            by,
            relay,
            is_local: true,
        }
    }

    pub fn store_lines(&self, lines: &str) {
        let events = lines
            .lines()
            .map(|line| ndjson::parse(line.as_bytes()).unwrap());
        let committed = self.store.submit(events.collect()).unwrap().wait().unwrap();
        assert_eq!(committed.rejected, []);
    }

    /// A change is submitted: its line, and its number.
    pub fn submit(&self) -> (u64, String) {
        let number = self.board.submit(self.family).unwrap();
        let change = Change {
            number,
            is_release: self.schedule.is_release(number),
            at: self.unix().0,
        };
        let mut line = String::new();
        self.inventory
            .line(self.schedule.row(number), Some(change), &mut line);
        (number, line)
    }

    /// Changes are made and acknowledged.
    pub fn change(&self, times: u64) {
        for _ in 0..times {
            let (number, line) = self.submit();
            self.store_lines(&line);
            self.board.acknowledge(self.family, number);
        }
    }

    /// Time of the server, which is ours.
    pub fn unix(&self) -> UnixSeconds {
        UnixSeconds(self.reader.settled().seconds())
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.clock.advance(ms);
        self.now = self.now + std::time::Duration::from_millis(ms);
        self.store.tick().unwrap();
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

    /// The hub looks at what was committed.
    pub fn committed(&self) {
        while self.turn(|turn| self.hub.committed(turn, &mut |_| {})) {}
    }

    pub fn connect(&mut self, request: Vec<u8>) -> Requestor {
        let (side, peer): (Side, IpAddr) = match self.family {
            Family::V4 => (Side::V4, [127, 0, 0, 1].into()),
            Family::V6 => (Side::V6, "::1".parse().unwrap()),
        };
        self.keys += 1;
        let admitted = self.admission.admit(side, peer).unwrap();
        let connection = Connection::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.counters),
            self.hub.clone(),
            self.keys,
            side,
            admitted,
            SocketAddr::new(peer, 40_000),
            self.now,
        );
        Requestor {
            connection,
            to_server: request,
            buffer: vec![0; 2 * MAX_FRAME],
        }
    }

    /// The messages that answer a bulk query.
    pub fn bulk(&mut self, by: By, relay: u32) -> Vec<Vec<u8>> {
        let query = self.inventory.query(by, relay, REQUESTOR).unwrap();
        let mut requestor = self.connect(query.bulk_request(7).unwrap());
        let mut octets = Vec::new();
        requestor.run(self, &mut octets);
        messages(&octets)
    }

    /// What a check finds in messages that answer a bulk query.
    pub fn check_bulk(&self, by: By, relay: u32, answer: &[Vec<u8>]) -> (BulkEnd, Faults) {
        let check = BulkCheck::new(&self.expected(by, relay), self.unix());
        self.run_check(check, by, relay, answer)
    }

    /// What a check that has begun finds in messages that answer a bulk query.
    pub fn run_check(
        &self,
        mut check: BulkCheck,
        by: By,
        relay: u32,
        answer: &[Vec<u8>],
    ) -> (BulkEnd, Faults) {
        let query = self.inventory.query(by, relay, REQUESTOR).unwrap();
        let mut faults = Faults::new();
        let mut fault = |kind, text, _: &[u8]| faults.push((kind, text));
        let mut bulk = Bulk::like(&query);
        bulk.add(7);
        for message in answer {
            let octets = [&(message.len() as u16).to_be_bytes()[..], message].concat();
            bulk.push(&octets, &mut |event| {
                check.told(&event, self.unix(), &mut fault)
            })
            .unwrap();
        }
        let end = check.end(self.unix(), &mut fault);
        (end, faults)
    }

    /// Everything that can be asked in bulk.
    pub fn bulk_queries(&self) -> Vec<(By, u32)> {
        let kinds: &[By] = match self.family {
            Family::V4 => &[By::RelayId, By::RemoteId, By::All],
            Family::V6 => &[By::RelayId, By::RemoteId, By::Link],
        };
        let of = |by: &By| {
            (0..self.inventory.targets(*by)).map({
                let by = *by;
                move |relay| (by, relay)
            })
        };
        kinds.iter().flat_map(of).collect()
    }

    pub fn query(&self, by: By, relay: u32) -> Query {
        self.inventory.query(by, relay, REQUESTOR).unwrap()
    }
}

fn topology(plan: &Plan) -> Topology {
    let rows = plan.relays * plan.per_relay;
    let links = (0..plan.relays).map(|relay| LinkConfig {
        name: format!("relay {relay}"),
        prefixes: vec![Prefix6 {
            address: [
                0x2001,
                0xdb8,
                (relay >> 16) as u16,
                relay as u16,
                0,
                0,
                0,
                0,
            ]
            .into(),
            len: 64,
        }],
        delegated: Vec::new(),
    });
    Topology {
        ranges4: vec![Range4 {
            vpn: Vpn::GLOBAL,
            first: [10, 0, 0, 0].into(),
            last: ((10 << 24) + rows - 1).into(),
        }],
        links6: links.collect(),
    }
}

/// A requestor's connection.
pub struct Requestor {
    connection: Connection,
    to_server: Vec<u8>,
    buffer: Vec<u8>,
}

impl Requestor {
    /// Lets the server take the request and write about so many octets; whether anything moved.
    pub fn step(&mut self, rig: &Rig, target: usize, octets: &mut Vec<u8>) -> bool {
        let mut moved = 0;
        if self.connection.wants_input() && !self.to_server.is_empty() {
            moved = rig.turn(|turn| self.connection.receive(&self.to_server, turn));
            self.to_server.drain(..moved);
        }
        if self.connection.has_output() {
            let written = rig.turn(|turn| self.connection.transmit(turn, &mut self.buffer, target));
            octets.extend_from_slice(&self.buffer[..written]);
            self.connection.written(written, rig.now);
            moved += written;
        }
        moved > 0
    }

    /// Until nothing moves any more.
    pub fn run(&mut self, rig: &Rig, octets: &mut Vec<u8>) {
        while self.step(rig, 64 << 10, octets) {}
    }
}

/// The messages in octets of a connection, without their frames.
pub fn messages(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Split::Frame { message, consumed } = frame::split(octets) {
        messages.push(message.to_vec());
        octets = &octets[consumed..];
    }
    assert_eq!(octets, [0; 0], "whole frames");
    messages
}
