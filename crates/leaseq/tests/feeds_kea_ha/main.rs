//! Kea itself, with its high availability hook in mode `passive-backup`, and leaseq as its backup: leases that clients get
//! through a relay agent, and such as an administrator adds, arrive on active leasequery streams, and in the end the store
//! holds what Kea holds.
//!
//! `LEASEQ_KEA_LEASES` says how many clients each family has.

mod burst;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod kea;
mod place;
mod restart;
mod secure;
mod stream;

use std::collections::{BTreeMap, HashSet};
use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use client::{Clients4, Clients6};
use common::{Server, export, text};
use kea::{Kea, installed};
use stream::Stream;

/// Clients of each family.
fn clients() -> u32 {
    let asked = std::env::var("LEASEQ_KEA_LEASES").ok();
    asked.map_or(40, |asked| asked.parse().expect("a number of leases"))
}

fn config(dir: &std::path::Path) -> String {
    format!(
        r#"
[store]
dir = "{0}/store"
[engine]
cores = [0]
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[[feed]]
kind = "kea-ha"
listen = "127.0.0.1:0"
control4 = "unix:{0}/kea4.sock"
control6 = "unix:{0}/kea6.sock"
pull-interval = "2s"
"#,
        dir.display()
    )
}

#[test]
fn what_kea_gives_arrives_on_streams_and_in_the_store() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let file = path.join("leaseq.toml");
    fs::write(&file, config(path)).unwrap();
    // leaseq is there before Kea is.
    let server = Server::start_with(&[
        "serve",
        "--active-insecure",
        "--log-format",
        "json",
        "--config",
        text(&file),
    ]);
    let url = format!("http://{}/", server.ready("feed"));
    let mut stream4 = Stream::start(server.ready("dhcp4-tcp"), "v4");
    let mut stream6 = Stream::start(server.ready("dhcp6-tcp"), "v6");
    let kea4 = Kea::start(4, path, &url);
    let kea6 = Kea::start(6, path, &url);

    // Through packets: each client gets leases, and afterwards each fifth gives them back.
    let count = clients();
    let (mut clients4, mut clients6) = (Clients4::new(&kea4), Clients6::new(&kea6));
    let given4: Vec<_> = (0..count).map(|number| clients4.get(number)).collect();
    stream4.wait_for_all(given4.iter().map(ToString::to_string).collect(), false);
    let given6: Vec<_> = (0..count).map(|number| clients6.get(number)).collect();
    let addresses = given6.iter().map(|leases| leases.address.to_string());
    stream6.wait_for_all(addresses.collect(), false);
    let (mut back4, mut back6) = (HashSet::new(), HashSet::new());
    for number in (4..count).step_by(5) {
        let (address, leases) = (given4[number as usize], &given6[number as usize]);
        clients4.release(number, address);
        back4.insert(address.to_string());
        clients6.release(number, leases);
        back6.insert(leases.address.to_string());
    }
    stream4.wait_for_all(back4, true);
    stream6.wait_for_all(back6, true);

    // By an administrator, of which Kea tells its backup nothing: the next reading of all leases finds it.
    let added = kea4.ask(
        "lease4-add",
        json!({"ip-address": "10.77.255.250", "hw-address": "02:00:00:00:ff:fa", "subnet-id": 7}),
    );
    assert_eq!(added["result"], 0, "{added}");
    stream4.wait_for("10.77.255.250");
    let gone = kea4.ask("lease4-del", json!({"ip-address": "10.77.255.250"}));
    assert_eq!(gone["result"], 0, "{gone}");
    assert_eq!(stream4.wait_for("10.77.255.250")["ended"], true);
    let added = kea6.ask(
        "lease6-add",
        json!({"ip-address": "2001:db8:7:ffff::1", "duid": "00:01:02:03:04:05", "iaid": 7, "subnet-id": 9}),
    );
    assert_eq!(added["result"], 0, "{added}");
    stream6.wait_for("2001:db8:7:ffff::1");

    let (all4, all6) = (kea4.leases(), kea6.leases());
    assert_eq!(all4.len() as u32, count - count / 5);
    assert_eq!(all6.len() as u32, 2 * (count - count / 5) + 1);
    println!(
        "changes told: {} of v4, {} of v6",
        stream4.told, stream6.told
    );
    stream4.end();
    stream6.end();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log:?}");
    assert!(
        !log.iter().any(|line| line.contains("feed-rejected")),
        "{log:?}"
    );
    let exported = export(&path.join("store"));
    assert_equal(&exported, 4, all4.iter().map(lease4));
    assert_equal(&exported, 6, all6.iter().map(lease6));
}

/// The leases of a family that are active, and no others, are these.
fn assert_equal(exported: &[Value], family: u8, expected: impl Iterator<Item = Value>) {
    let key = |lease: &Value| {
        let key = lease.get("address").or(lease.get("prefix")).unwrap();
        key.as_str().unwrap().to_owned()
    };
    let mut held: BTreeMap<String, Value> = exported
        .iter()
        .filter(|lease| lease["family"] == family && lease["state"] == "active")
        .map(|lease| (key(lease), lease.clone()))
        .collect();
    for lease in expected {
        let key = key(&lease);
        let held = held
            .remove(&key)
            .unwrap_or_else(|| panic!("{key} is not in the store"));
        for (name, value) in lease.as_object().unwrap() {
            assert_eq!(&held[name], value, "{key}: {name}");
        }
    }
    assert!(held.is_empty(), "Kea does not hold {held:?}");
}

fn hex(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("expected hex, found {value}"))
        .trim_start_matches("0x")
        .replace(':', "")
        .to_ascii_lowercase()
}

/// Since Kea 2.3 it is an object.
fn relay_agent_info(lease: &Value) -> &Value {
    let told = &lease["user-context"]["ISC"]["relay-agent-info"];
    told.get("sub-options").unwrap_or(told)
}

/// A lease of Kea as an export tells it.
fn lease4(lease: &Value) -> Value {
    json!({
        "address": lease["ip-address"],
        "hwaddr": format!("01:{}", lease["hw-address"].as_str().unwrap()),
        "client_id": hex(&lease["client-id"]),
        "cltt": lease["cltt"],
        "valid_lifetime": lease["valid-lft"],
        "relay_agent_info": hex(relay_agent_info(lease)),
    })
}

fn lease6(lease: &Value) -> Value {
    let mut told = json!({
        "duid": hex(&lease["duid"]),
        "iaid": lease["iaid"],
        "cltt": lease["cltt"],
        "preferred_lifetime": lease["preferred-lft"],
        "valid_lifetime": lease["valid-lft"],
    });
    let address = lease["ip-address"].as_str().unwrap();
    if lease["type"] == "IA_PD" {
        told["prefix"] = format!("{address}/{}", lease["prefix-len"]).into();
    } else {
        told["address"] = address.into();
    }
    if let Some(hop) = lease["user-context"]["ISC"]["relays"].get(0) {
        told["relay"] =
            json!([{"link": hop["link"], "peer": hop["peer"], "options": hex(&hop["options"])}]);
    }
    told
}
