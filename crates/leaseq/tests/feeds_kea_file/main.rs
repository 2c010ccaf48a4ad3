//! The feed `kea-memfile` beside a real Kea: leases come, change and go while Kea cleans up its files and starts again and leaseq
//! is killed. At the end both have the same leases.

#[path = "../common/mod.rs"]
mod common;
/// The same Kea as the feed's own tests run.
#[path = "../../../feed/tests/support/kea.rs"]
mod kea;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use common::{Server, export, leaseq, run, text};
use kea::{Kea, address, lease, renewed};

/// Leases of each protocol; `LEASEQ_KEA_LEASES` has another number.
const LEASES: u32 = 500;
/// Leases that are imported before the feed begins.
const IMPORTED: u32 = 10;
/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// leaseq, which can be killed and started again at the same address.
struct Leaseq {
    dir: PathBuf,
    family: u8,
    leases: PathBuf,
    address: SocketAddr,
    server: Option<Server>,
}

impl Leaseq {
    fn start(dir: &Path, family: u8, leases: PathBuf) -> Leaseq {
        let any = if family == 4 {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let mut leaseq = Leaseq {
            dir: dir.into(),
            family,
            leases,
            address: any.parse().unwrap(),
            server: None,
        };
        leaseq.start_again();
        let server = leaseq.server.as_ref().expect("a server");
        leaseq.address = server.address(&format!("dhcp{family}-tcp"));
        leaseq
    }

    fn start_again(&mut self) {
        let (family, address) = (self.family, self.address);
        let at = |own: u8, any: &str| match own == family {
            true => address.to_string(),
            false => any.to_owned(),
        };
        let config = format!(
            r#"
[store]
dir = "{0}/store{family}"
[engine]
cores = [0]
[dhcp4]
listen-tcp = ["{2}"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = ["{3}"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "off"
[[feed]]
kind = "kea-memfile"
family = {family}
path = "{1}"
"#,
            self.dir.display(),
            self.leases.display(),
            at(4, "127.0.0.1:0"),
            at(6, "[::1]:0"),
        );
        let file = self.dir.join(format!("leaseq{family}.toml"));
        fs::write(&file, config).unwrap();
        self.server = Some(Server::start_with(&[
            "serve",
            "--active-insecure",
            "--log-format",
            "json",
            "--config",
            text(&file),
        ]));
    }

    fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }
}

/// A `leaseq watch` that comes back whenever the server does.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(leaseq_at: &Leaseq) -> Watch {
        let (address, family) = (
            leaseq_at.address.to_string(),
            format!("v{}", leaseq_at.family),
        );
        // From the beginning: it may connect after the first lease.
        let arguments = [
            "watch", &address, &family, "--since", "0", "--format", "ndjson",
        ];
        let quick = ["--retry", "50ms", "--max-retry", "200ms"];
        let mut child = leaseq(&[&arguments[..], &quick].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (line, lines) = channel();
        thread::spawn(move || {
            let texts = output.lines().map_while(Result::ok);
            texts.into_iter().try_for_each(|text| line.send(text))
        });
        Watch { child, lines }
    }

    /// Waits until an address is told to be leased.
    fn wait_for(&self, address: IpAddr) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{address} is not told"));
            let change: Value = serde_json::from_str(&line).expect("JSON");
            if change["address"] == address.to_string() && change["state"] == "active" {
                return;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A lease in the words that Kea and leaseq share: client, last transaction, lifetime.
type Told = (String, u64, u64);

fn told_by_kea(leases: &[Value]) -> BTreeMap<String, Told> {
    let told = leases
        .iter()
        .filter(|lease| lease["state"] == 0)
        .map(|lease| {
            let client = lease["client-id"]
                .as_str()
                .or(lease["duid"].as_str())
                .expect("a client");
            let value = (
                client.replace(':', ""),
                number(&lease["cltt"]),
                number(&lease["valid-lft"]),
            );
            (
                lease["ip-address"].as_str().expect("an address").to_owned(),
                value,
            )
        });
    told.collect()
}

fn told_by_leaseq(leases: &[Value]) -> BTreeMap<String, Told> {
    let active = leases.iter().filter(|lease| lease["state"] == "active");
    let told = active.map(|lease| {
        let client = lease["client_id"]
            .as_str()
            .or(lease["duid"].as_str())
            .expect("a client");
        assert!(
            lease["relay_agent_info"].is_string() || lease["relay"][0]["options"].is_string(),
            "relay data of {lease}"
        );
        let value = (
            client.to_owned(),
            number(&lease["cltt"]),
            number(&lease["valid_lifetime"]),
        );
        (
            lease["address"].as_str().expect("an address").to_owned(),
            value,
        )
    });
    told.collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn leases_of_kea_and_of_leaseq_are_the_same(family: u8) {
    if !kea::installed() {
        return;
    }
    let leases = std::env::var("LEASEQ_KEA_LEASES").map_or(LEASES, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut kea = Kea::start(dir.path(), family);
    // What was there before is imported; then the feed takes it over.
    for number in 4 * leases..4 * leases + IMPORTED {
        kea.command("add", lease(family, number));
    }
    let store = dir.path().join(format!("store{family}"));
    run(
        &["import", "--data-dir", text(&store), text(&kea.leases())],
        0,
    );
    let mut leaseq = Leaseq::start(dir.path(), family, kea.leases());
    let watch = Watch::start(&leaseq);
    kea.command("add", lease(family, 0));
    watch.wait_for(address(family, 0));
    for number in 1..=leases {
        kea.command("add", lease(family, number));
        if number % 3 == 0 {
            kea.command("update", renewed(family, number / 2));
        }
        if number % 7 == 0 {
            let removed = number / 7 * 2;
            kea.command(
                "del",
                json!({"ip-address": address(family, removed), "subnet-id": 1}),
            );
            kea.command("add", lease(family, leases + removed));
        }
        let part = |of: u32| number == leases * of / 8;
        if part(1) || part(3) {
            // Down for a whole clean-up at least: what it had read is in the result by then.
            leaseq.kill();
            for _ in 0..3 {
                kea.wait_for_next("LFC_EXECUTE");
            }
            leaseq.start_again();
        } else if part(2) || part(6) {
            leaseq.kill();
            leaseq.start_again();
        } else if part(4) {
            kea.wait_for_next("LFC_EXECUTE");
        } else if part(5) {
            kea = kea.restart();
        }
    }
    // Two leases more, one after the other: when the second is told, all that was read with the first is done.
    for last in [3 * leases + 1, 3 * leases + 2] {
        kea.command("add", lease(family, last));
        watch.wait_for(address(family, last));
    }
    let expected = told_by_kea(&kea.all());
    leaseq.kill();
    let found = told_by_leaseq(&export(&store));
    let missing: Vec<_> = expected
        .iter()
        .filter(|(key, value)| found.get(*key) != Some(value))
        .collect();
    let more: Vec<_> = found
        .iter()
        .filter(|(key, value)| expected.get(*key) != Some(value))
        .collect();
    assert!(
        missing.is_empty() && more.is_empty(),
        "of {} leases of Kea these differ: {missing:?}; leaseq has {more:?}",
        expected.len()
    );
    println!("{} leases are the same", expected.len());
}

#[test]
fn leases_of_kea_4_and_of_leaseq_are_the_same() {
    leases_of_kea_and_of_leaseq_are_the_same(4);
}

#[test]
fn leases_of_kea_6_and_of_leaseq_are_the_same() {
    leases_of_kea_and_of_leaseq_are_the_same(6);
}
