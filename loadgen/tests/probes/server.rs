//! A server in this process with made-up bindings.

use std::sync::Arc;
use std::time::Duration;

use leaseq_engine::{Engine, EngineConfig, Listeners};
use leaseq_feed::ndjson;
use leaseq_loadgen::data::{Inventory, Source};
use leaseq_loadgen::probes::{Outcome, Servers};
use leaseq_loadgen::scenario::TlsFiles;
use leaseq_requestor::Family;
use leaseq_requestor::tls::TlsClient;
use leaseq_session::{ActiveSettings, Limits, RequestorRule, Settings, TlsSettings};
use leaseq_store::{Options, Store, SyncMode, Topology};
use tempfile::TempDir;

use crate::certificates::Certificates;

/// Bindings of each family: those of a relay are told in several turns, all of them are more than a connection's buffers
/// hold.
const SOURCE: Source = Source::MadeUp {
    relays: 60,
    bindings_per_relay: 300,
    cltt: 1_790_000_000,
    valid: 1 << 30,
};

pub struct Server {
    pub servers: Servers,
    engine: Engine,
    store: Option<Store>,
    _dir: TempDir,
}

impl Server {
    /// On TCP without TLS.
    pub fn start(limits: Limits, active: ActiveSettings) -> Self {
        Self::start_as(limits, active, false)
    }

    /// On TLS only.
    pub fn start_secure(limits: Limits, active: ActiveSettings) -> Self {
        Self::start_as(limits, active, true)
    }

    fn start_as(limits: Limits, active: ActiveSettings, is_secure: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 4 << 20,
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).unwrap();
        let inventories = [Family::V4, Family::V6]
            .map(|family| Arc::new(Inventory::load(family, &SOURCE).unwrap()));
        for inventory in &inventories {
            let mut line = String::new();
            let events = (0..inventory.len()).map(|row| {
                line.clear();
                inventory.line(row, None, &mut line);
                ndjson::parse(line.trim_end().as_bytes()).unwrap()
            });
            let committed = store.submit(events.collect()).unwrap().wait().unwrap();
            assert_eq!(committed.rejected.len(), 0, "the store is filled");
        }
        let listeners = Listeners {
            dhcp4_tcp: vec!["127.0.0.1:0".parse().unwrap()],
            dhcp6_tcp: vec!["[::1]:0".parse().unwrap()],
            ..Listeners::default()
        };
        let config = EngineConfig {
            shutdown_timeout: Duration::from_millis(100),
            ..EngineConfig::default()
        };
        let rule = |network: &str| Arc::new(RequestorRule::all(network.parse().unwrap()));
        let certificates = Certificates::new(dir.path());
        let secure = TlsSettings {
            config: certificates.server(),
            bulk_required: true,
            handshake_timeout: Duration::from_secs(60),
            max_handshakes: 32,
        };
        let settings = Arc::new(Settings {
            tls: is_secure.then_some(secure),
            limits,
            active,
            requestors: vec![rule("127.0.0.0/8"), rule("::1/128")],
            ..Settings::default()
        });
        let engine = Engine::start(config, listeners, settings, store.reader()).unwrap();
        let [inventory4, inventory6] = inventories.map(Some);
        let servers = Servers {
            v4: Some(engine.addresses().dhcp4_tcp[0]),
            v6: Some(engine.addresses().dhcp6_tcp[0]),
            tls: is_secure.then(|| client(&certificates.files)),
            inventory4,
            inventory6,
        };
        Self {
            servers,
            engine,
            store: Some(store),
            _dir: dir,
        }
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

fn client(files: &TlsFiles) -> TlsClient {
    let [ca, certificate, key] =
        [&files.ca, &files.certificate, &files.key].map(|path| std::fs::read(path).unwrap());
    TlsClient::new(&ca, &certificate, &key, &files.server_name).unwrap()
}

/// Active leasequery without TLS.
pub fn active() -> ActiveSettings {
    ActiveSettings {
        enabled: true,
        insecure: true,
        ..ActiveSettings::default()
    }
}

/// What was found of something.
pub fn found<'o>(outcome: &'o Outcome, what: &str) -> (&'o str, bool) {
    let finding = outcome
        .findings
        .iter()
        .find(|finding| finding.what == what)
        .unwrap_or_else(|| panic!("nothing was found of {what}: {outcome:#?}"));
    (&finding.found, finding.holds)
}

/// What does not hold.
pub fn wrong(outcome: &Outcome) -> Vec<&str> {
    let wrong = outcome.findings.iter().filter(|finding| !finding.holds);
    wrong.map(|finding| finding.what.as_str()).collect()
}
