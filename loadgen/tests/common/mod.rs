//! A server of the same process over made-up bindings, and runs of relays against it.

#![allow(dead_code)] // each test binary uses its part

pub mod broken;
pub mod certificates;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use leaseq_engine::{Engine, EngineConfig, Listeners};
use leaseq_loadgen::changes::Change;
use leaseq_loadgen::data::{Inventory, Source};
use leaseq_loadgen::measure::clock::now_ns;
use leaseq_loadgen::scenario::{FamilyNumber, Scenario};
use leaseq_loadgen::work::board::{Board, Phase};
use leaseq_loadgen::work::plan::{Outcome, Plan, Progress};
use leaseq_loadgen::work::threads::{self, schedule};
use leaseq_requestor::Family;
use leaseq_requestor::client::now;
use leaseq_session::{
    ActiveSettings, Dhcp4Settings, Limits, ReplyTo, RequestorRule, Settings, TlsSettings,
};
use leaseq_store::{Event, Options, Range4, Store, SyncMode, Topology, Vpn};
use tempfile::TempDir;

use certificates::Certificates;

/// Valid lifetime of the bindings, in seconds.
pub const VALID: u32 = 86_400;

/// A running server with its store.
pub struct Server {
    pub engine: Engine,
    pub source: Source,
    pub certificates: Certificates,
    store: Option<Store>,
    dir: TempDir,
}

/// How a server is to be.
pub struct Setup {
    pub relays: u32,
    pub bindings_per_relay: u32,
    pub limits: Limits,
    pub shutdown_timeout: Duration,
    /// It offers TLS: then bulk queries are answered with and without it, and active ones with it only.
    pub is_secure: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            relays: 10,
            bindings_per_relay: 20,
            limits: Limits {
                max_connections: 5_000,
                ..Limits::default()
            },
            shutdown_timeout: Duration::from_secs(5),
            is_secure: false,
        }
    }
}

impl Setup {
    /// Fills a store with the made-up bindings of both families, and serves it on loopback: bulk, active and UDP.
    pub fn start(self) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let cltt = now().0 - 60;
        let source = Source::MadeUp {
            relays: self.relays,
            bindings_per_relay: self.bindings_per_relay,
            cltt,
            valid: VALID,
        };
        let last = 0x0a00_0000 + self.relays * self.bindings_per_relay - 1;
        let topology = Topology {
            ranges4: vec![Range4 {
                vpn: Vpn::GLOBAL,
                first: 0x0a00_0000.into(),
                last: last.into(),
            }],
            ..Topology::default()
        };
        let options = Options {
            sync: SyncMode::Never,
            ..Options::default()
        };
        let store = Store::open(&dir.path().join("store"), options, topology).unwrap();
        let mut text = String::new();
        for family in [Family::V4, Family::V6] {
            let inventory = Inventory::load(family, &source).unwrap();
            (0..inventory.len()).for_each(|row| inventory.line(row, None, &mut text));
        }
        commit(&store, &text);
        let certificates = Certificates::new(dir.path());
        let settings = settings(self.limits, self.is_secure.then_some(&certificates));
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
        let engine = Engine::start(config, listeners, settings, store.reader()).unwrap();
        Server {
            engine,
            source,
            certificates,
            store: Some(store),
            dir,
        }
    }
}

/// Puts NDJSON lines into a store, durably.
fn commit(store: &Store, lines: &str) {
    let events: Vec<Event> = lines
        .lines()
        .map(|line| leaseq_feed::ndjson::parse(line.as_bytes()).unwrap())
        .collect();
    let committed = store.submit(events).unwrap().wait().unwrap();
    assert_eq!(committed.rejected, []);
}

fn settings(limits: Limits, secure: Option<&Certificates>) -> Arc<Settings> {
    let rule = |network: &str| Arc::new(RequestorRule::all(network.parse().unwrap()));
    Arc::new(Settings {
        limits,
        dhcp4: Dhcp4Settings {
            reply_to: ReplyTo::Source,
            ..Dhcp4Settings::default()
        },
        active: ActiveSettings {
            enabled: true,
            insecure: secure.is_none(),
            relay_scope: true,
            ..ActiveSettings::default()
        },
        tls: secure.map(|certificates| TlsSettings {
            config: certificates.server(),
            bulk_required: false,
            handshake_timeout: Duration::from_secs(60),
            max_handshakes: 32,
        }),
        requestors: vec![rule("127.0.0.0/8"), rule("::1/128")],
        ..Settings::default()
    })
}

impl Server {
    /// What the store of a family held at first.
    pub fn inventory(&self, family: Family) -> Inventory {
        Inventory::load(family, &self.source).unwrap()
    }

    /// Puts NDJSON lines into the store, durably.
    pub fn commit(&self, lines: &str) {
        commit(self.store.as_ref().expect("the server runs"), lines);
    }

    /// A directory for whatever a test needs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A run of a scenario, which has not begun, against this server. Groups as TOML, the rest as in `top`.
    pub fn run(&self, scenario: &str) -> Run {
        let addresses = self.engine.addresses();
        let (server4, server6) = (addresses.dhcp4_tcp[0], addresses.dhcp6_tcp[0]);
        let families = [FamilyNumber::V4, FamilyNumber::V6];
        let sources = families.map(|family| (family, self.source.clone()));
        Run::new(self.dir(), scenario, |plan| Plan {
            server4: Some(server4),
            server6: Some(server6),
            sources: BTreeMap::from(sources),
            tls: Some(self.certificates.files.clone()),
            ..plan
        })
    }

    /// The addresses for UDP, DHCPv4 and DHCPv6: not those of TCP.
    pub fn udp_addresses(&self) -> (SocketAddr, SocketAddr) {
        let addresses = self.engine.addresses();
        (addresses.dhcp4_udp[0], addresses.dhcp6_udp[0])
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

/// A run of relays.
pub struct Run {
    pub plan: Plan,
    pub board: Arc<Board>,
}

impl Run {
    /// A run whose plan `complete` knows the servers of.
    pub fn new(dir: &Path, scenario: &str, complete: impl FnOnce(Plan) -> Plan) -> Self {
        let scenario: Scenario = toml::from_str(scenario).unwrap();
        let path = tempfile::Builder::new()
            .prefix("run")
            .tempdir_in(dir)
            .unwrap()
            .keep()
            .join("board");
        let board = Arc::new(Board::create(&path, 1_000_000).unwrap());
        let plan = complete(Plan {
            interval: scenario.interval,
            scenario,
            server4: None,
            server6: None,
            sources: BTreeMap::new(),
            tls: None,
            board: path,
            process: 0,
            processes: 1,
        });
        Self { plan, board }
    }

    /// Lets relays begin, and waits until all have ended. `on_progress` is called at each interval.
    pub fn finish(&self, on_progress: &mut dyn FnMut(&Progress)) -> Outcome {
        self.board.set_begin_ns(now_ns());
        self.board.set_phase(Phase::Running);
        threads::run(&self.plan, &mut |progress| on_progress(&progress)).unwrap()
    }
}

/// Makes so many changes of each family of a run, one commit for each five of them.
pub fn change(server: &Server, run: &Run, changes: u64) {
    for family in [FamilyNumber::V4, FamilyNumber::V6] {
        let inventory = server.inventory(family.into());
        let schedule = schedule(&run.plan.scenario, &inventory).unwrap();
        for _ in 0..changes / 5 {
            let mut lines = String::new();
            for _ in 0..5 {
                let number = run.board.submit(family.into()).unwrap();
                let change = Change {
                    number,
                    is_release: schedule.is_release(number),
                    at: now().0,
                };
                inventory.line(schedule.row(number), Some(change), &mut lines);
            }
            server.commit(&lines);
            run.board
                .acknowledge(family.into(), run.board.submitted(family.into()));
        }
    }
}
