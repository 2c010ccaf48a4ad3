//! The load generator's own server: the real one is configured, filled, started, used again and ended as it says.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::{export, leaseq, stat, stdout, text};
use leaseq_loadgen::data::Inventory;
use leaseq_loadgen::scenario::{FamilyNumber, Scenario};
use leaseq_loadgen::server::{DataDirError, Own, OwnError, Step};

const BOTH: [FamilyNumber; 2] = [FamilyNumber::V4, FamilyNumber::V6];
const V4: [FamilyNumber; 1] = [FamilyNumber::V4];

fn scenario(text: &str) -> Scenario {
    let mut scenario: Scenario = toml::from_str(&format!(
        "{text}\n[data]\nrelays = 3\nbindings-per-relay = 100\n"
    ))
    .expect("a scenario");
    scenario.server.binary = Some(env!("CARGO_BIN_EXE_leaseq").into());
    scenario
}

fn start(
    scenario: &Scenario,
    families: &[FamilyNumber],
    dir: &Path,
) -> Result<(Own, Vec<Step>), OwnError> {
    let mut steps = Vec::new();
    let own = Own::start(scenario, families, dir, &mut |step| {
        steps.push(step);
        true
    })?;
    Ok((own, steps))
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect()
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_server_is_filled_and_serves_both_families_on_one_port_each_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let scenario = scenario("[[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'follow'\n");
    let (own, steps) = start(&scenario, &BOTH, dir.path()).expect("a server");
    assert_eq!(steps.last(), Some(&Step::Ready));
    assert!(steps.contains(&Step::Filling {
        done: 600,
        total: 600
    }));
    assert!(own.version().starts_with("leaseq "), "{}", own.version());
    assert!(own.fill_time().is_some() && !own.start_time().is_zero());
    for server in [own.server4(), own.server6()] {
        let server = server.expect("an address");
        TcpStream::connect(server).expect("a listener");
        assert!(UdpSocket::bind(server).is_err());
    }
    // The feed takes a change of a row.
    let source = &own.sources()[&FamilyNumber::V4];
    let inventory = Inventory::load(FamilyNumber::V4.into(), source).expect("an inventory");
    let mut line = String::new();
    inventory.line(7, None, &mut line);
    let mut feed = UnixStream::connect(own.feed().expect("a feed")).expect("a listener");
    feed.write_all(line.as_bytes()).expect("written");
    let mut answer = String::new();
    BufReader::new(feed)
        .read_line(&mut answer)
        .expect("an answer");
    assert_eq!(answer, "{\"ok\":1}\n");
    let query = leaseq(&[
        "query",
        &own.server4().expect("an address").to_string(),
        "v4",
        "--all",
        "--format",
        "ndjson",
    ])
    .output()
    .expect("the binary");
    assert_eq!(stdout(&query).lines().count(), 300);
    let pid = own.pid();
    assert!(is_running(pid));
    own.stop().expect("a clean end");
    assert!(!is_running(pid));
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn the_store_holds_every_row_as_it_is_made_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let mut scenario = scenario("");
    scenario.server.data_dir = Some(store.clone());
    let (own, _) = start(&scenario, &BOTH, dir.path()).expect("a server");
    let sources = own.sources().clone();
    drop(own);
    let held = export(&store);
    assert_eq!(held.len(), 600);
    for family in BOTH {
        let inventory = Inventory::load(family.into(), &sources[&family]).expect("an inventory");
        for row in 0..inventory.len() {
            let mut line = String::new();
            inventory.line(row, None, &mut line);
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let fields = line.as_object().expect("an object");
            // The store tells some more than the line: what it knows by itself.
            let is_same = |lease: &serde_json::Value| {
                fields
                    .iter()
                    .all(|(key, value)| lease.get(key) == Some(value))
            };
            assert!(held.iter().any(is_same), "{line}");
        }
    }
}

#[test]
fn a_store_is_used_again_unless_it_was_changed_or_is_another_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let mut same = scenario("");
    same.server.data_dir = Some(store.clone());
    let (own, _) = start(&same, &V4, dir.path()).expect("a server");
    let sources = own.sources().clone();
    own.stop().expect("a clean end");
    let (own, steps) = start(&same, &V4, dir.path()).expect("a server");
    assert!(own.fill_time().is_none());
    assert!(
        !steps
            .iter()
            .any(|step| matches!(step, Step::Filling { .. }))
    );
    assert_eq!(own.sources(), &sources);
    // While it is open, nobody else may change it.
    let mut more = same.clone();
    more.data.relays = 4;
    let refused = start(&more, &V4, dir.path()).expect_err("a store in use");
    assert!(
        matches!(refused, OwnError::DataDir(DataDirError::InUse(_))),
        "{refused}"
    );
    own.stop().expect("a clean end");
    // Changes make it unfit for the next run, not for this one.
    let mut changing = same.clone();
    changing.changes = Some(toml::from_str("per-second = 10.0").expect("changes"));
    let (own, _) = start(&changing, &V4, dir.path()).expect("a server");
    assert!(own.fill_time().is_none());
    own.stop().expect("a clean end");
    let (own, _) = start(&same, &V4, dir.path()).expect("a server");
    assert!(own.fill_time().is_some());
    own.stop().expect("a clean end");
    let (own, _) = start(&more, &BOTH, dir.path()).expect("a server");
    assert_eq!(own.sources().len(), 2);
    own.stop().expect("a clean end");
    assert_eq!(stat(&store)["v4"]["bindings"], 400);
}

#[test]
fn a_directory_of_others_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    fs::create_dir(&store).expect("made");
    fs::write(store.join("diary.txt"), "mine").expect("written");
    let mut scenario = scenario("");
    scenario.server.data_dir = Some(store.clone());
    let refused = start(&scenario, &V4, dir.path()).expect_err("not ours");
    assert!(
        refused.to_string().contains("found something else there"),
        "{refused}"
    );
    assert_eq!(entries(&store), ["diary.txt"]);
    assert_eq!(entries(dir.path()), ["store"]);
}

#[test]
fn the_scenario_s_own_configuration_holds_and_a_bad_one_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let narrow = scenario("[server.config.dhcp4]\nlisten-udp = []\n");
    let (own, _) = start(&narrow, &V4, dir.path()).expect("a server");
    UdpSocket::bind(own.server4().expect("an address")).expect("nobody listens on UDP");
    drop(own);
    let asking = "[server.config.dhcp4]\nlisten-udp = []\n[[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'udp'\n";
    let refused = start(&scenario(asking), &V4, dir.path()).expect_err("no UDP");
    assert!(matches!(refused, OwnError::Unfit { .. }), "{refused}");
    let bad = scenario("[server.config.limits]\nmax-conections = 5\n");
    let refused = start(&bad, &V4, dir.path()).expect_err("an unknown key");
    assert!(refused.to_string().contains("max-conections"), "{refused}");
    assert_eq!(entries(dir.path()), [""; 0]);
}

#[test]
fn tls_comes_with_certificates_that_both_sides_accept() {
    let dir = tempfile::tempdir().expect("a directory");
    let scenario =
        scenario("[[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'follow'\ntls = true\n");
    let (own, _) = start(&scenario, &V4, dir.path()).expect("a server");
    let tls = own.tls().expect("certificates");
    let query = leaseq(&[
        "query",
        &own.server4().expect("an address").to_string(),
        "v4",
        "--all",
        "--format",
        "ndjson",
        "--tls",
        "--tls-ca",
        text(&tls.ca),
        "--tls-cert",
        text(&tls.certificate),
        "--tls-key",
        text(&tls.key),
        "--tls-name",
        &tls.server_name,
    ])
    .output()
    .expect("the binary");
    assert_eq!(
        stdout(&query).lines().count(),
        300,
        "{}",
        common::stderr(&query)
    );
}

#[test]
fn a_start_that_is_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    for give_up_at in [
        |step: Step| matches!(step, Step::Filling { .. }),
        |step: Step| step == Step::Starting,
    ] {
        let mut scenario = scenario("");
        scenario.server.data_dir = Some(store.clone());
        // So that each step takes long enough to be told.
        scenario.data.bindings_per_relay = 20_000;
        let tried = Own::start(&scenario, &V4, dir.path(), &mut |step| !give_up_at(step));
        match tried {
            Err(OwnError::GivenUp) => {}
            // It was ready before it could be given up.
            Ok(own) => drop(own),
            Err(error) => panic!("{error}"),
        }
    }
    let left = entries(dir.path());
    assert!(
        !left.iter().any(|name| name.starts_with("leaseq-")),
        "{left:?}"
    );
}

#[test]
fn a_server_that_dies_is_noticed_with_its_last_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut own, _) = start(&scenario(""), &V4, dir.path()).expect("a server");
    own.look().expect("a running server");
    let pid = rustix::process::Pid::from_raw(own.pid() as i32).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a running server");
    let ended = loop {
        if let Err(ended) = own.look() {
            break ended;
        }
        std::thread::yield_now();
    };
    assert!(
        ended.to_string().contains("ended with signal: 9"),
        "{ended}"
    );
    assert!(matches!(own.stop(), Err(OwnError::Ended { .. })));
}
