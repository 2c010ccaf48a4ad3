//! The real server with real sockets: every relay's bindings, once each; changes of a feed; signals; the admin HTTP.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;

use common::{Server, export, leaseq, run, sample, stderr, text};
use leaseq_requestor::{Event, Query, Query4, Query6, Selector4, Selector6, client};
use rustix::process::Signal;
use serde_json::Value;

const REQUESTOR: [u8; 4] = [0, 3, 0, 1];

fn write_config(dir: &Path, extra: &str) -> std::path::PathBuf {
    let file = dir.join("leaseq.toml");
    let text = format!(
        r#"
[store]
dir = "{0}/store"
sync = "never"
segment-size = "1MiB"
[engine]
cores = "auto"
[limits]
max-connections = 50
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
listen-udp = ["127.0.0.1:0"]
reply-to = "source"
server-identifier = "127.0.0.1"
[[dhcp4.subnet]]
prefix = "100.64.0.0/21"
[dhcp6]
listen-tcp = ["[::1]:0"]
listen-udp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[[feed]]
kind = "ndjson"
listen = "unix:{0}/feed.sock"
{extra}
"#,
        dir.display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// Addresses that were told: active ones, and others.
#[derive(Default)]
struct Told4 {
    active: Vec<String>,
    others: Vec<String>,
}

fn bulk4(server: SocketAddr, selector: Selector4) -> Told4 {
    let mut told = Told4::default();
    let mut done = false;
    client::bulk(server, &Query::V4(Query4::new(selector)), &mut |event| {
        match event {
            Event::Binding4(binding) => {
                let place = if binding.is_active() {
                    &mut told.active
                } else {
                    &mut told.others
                };
                place.push(binding.address().to_string());
            }
            Event::Done(end) => {
                assert!(end.status.is_none(), "{:?}", end.status);
                done = true;
            }
            _ => panic!("an event of the other family"),
        }
        ControlFlow::Continue(())
    })
    .expect("an answer");
    assert!(done);
    told
}

/// The leases of each client that is told, by address or prefix.
fn bulk6(server: SocketAddr, selector: Selector6, link: Ipv6Addr) -> Vec<Vec<String>> {
    let mut clients = Vec::new();
    let mut done = false;
    let mut query = Query6::new(selector, &REQUESTOR);
    query.link = link;
    client::bulk(server, &Query::V6(query), &mut |event| {
        match event {
            Event::Client6(told) => {
                let leases = told.client.leases().map(|lease| {
                    let (address, length) = lease.expect("a readable lease").prefix();
                    format!("{address}/{length}")
                });
                clients.push(leases.collect());
            }
            Event::Done(end) => {
                assert!(end.failure().is_none(), "{:?}", end.status);
                done = true;
            }
            Event::Binding4(_) => panic!("an event of the other family"),
        }
        ControlFlow::Continue(())
    })
    .expect("an answer");
    assert!(done);
    clients
}

fn hex(text: &str) -> Vec<u8> {
    leaseq_feed::hex::decode_any(text).expect("hex")
}

fn assert_no_twice<'a>(all: impl IntoIterator<Item = &'a String>) -> usize {
    let mut seen = HashSet::new();
    for one in all {
        assert!(seen.insert(one), "{one} was told twice");
    }
    seen.len()
}

/// Every n-th of the keys, so that a test takes its time for some of thousands.
fn every(n: usize, counts: &Value) -> BTreeMap<String, usize> {
    let all: BTreeMap<String, usize> = serde_json::from_value(counts.clone()).expect("counts");
    all.into_iter().step_by(n).collect()
}

/// Active lines of an export by the value of a field.
fn by_field(lines: &[Value], field: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines.iter().filter(|line| line["state"] == "active") {
        if let Some(value) = line[field].as_str() {
            *counts.entry(value.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn every_relay_gets_its_bindings_once_and_every_selector_finds_them() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample(dir.path(), 1_500, 15);
    let store = dir.path().join("store");
    run(
        &[
            "import",
            "--data-dir",
            text(&store),
            text(&sample.v4),
            text(&sample.v6),
        ],
        0,
    );
    let lines = export(&store);
    let server = Server::start(&write_config(dir.path(), ""));
    let (v4, v6) = (server.address("dhcp4-tcp"), server.address("dhcp6-tcp"));
    let expected = (&sample.expected["v4"], &sample.expected["v6"]);

    for (relay, count) in every(1, &expected.0["by_relay_id"]) {
        let told = bulk4(v4, Selector4::RelayId(hex(&relay)));
        assert_eq!(
            (assert_no_twice(&told.active), told.others.len()),
            (count, 0),
            "relay {relay}"
        );
    }
    for (remote, count) in every(40, &expected.0["by_remote_id"]) {
        assert_eq!(
            bulk4(v4, Selector4::RemoteId(hex(&remote))).active.len(),
            count,
            "remote-id {remote}"
        );
    }
    for (hwaddr, count) in by_field(&lines, "hwaddr").into_iter().step_by(40) {
        let octets = hex(&hwaddr);
        let told = bulk4(
            v4,
            Selector4::HwAddr {
                htype: octets[0],
                octets: octets[1..].to_vec(),
            },
        );
        assert_eq!(assert_no_twice(&told.active), count, "hwaddr {hwaddr}");
    }
    for (client, count) in by_field(&lines, "client_id").into_iter().step_by(40) {
        assert_eq!(
            bulk4(v4, Selector4::ClientId(hex(&client))).active.len(),
            count,
            "client-id {client}"
        );
    }
    // Every host of 100.64.0.0/21, which holds all of the sample.
    let all = bulk4(v4, Selector4::All);
    let bindings = expected.0["bindings"].as_u64().unwrap() as usize;
    assert_eq!(assert_no_twice(all.active.iter().chain(&all.others)), 2_046);
    assert_eq!(all.active.len(), bindings);

    let any = Ipv6Addr::UNSPECIFIED;
    let clients_of = &expected.1["clients_by_relay_id"];
    for (number, (relay, count)) in every(1, &expected.1["by_relay_id"]).into_iter().enumerate() {
        let told = bulk6(v6, Selector6::RelayId(hex(&relay)), any);
        assert_eq!(
            assert_no_twice(told.iter().flatten()),
            count,
            "relay {relay}"
        );
        assert_eq!(
            Some(told.len() as u64),
            clients_of[&relay].as_u64(),
            "relay {relay}"
        );
        let link: Ipv6Addr = format!("2001:db8:{:x}::1", number + 1).parse().unwrap();
        assert_eq!(
            bulk6(v6, Selector6::Link, link).len(),
            told.len(),
            "link {link}"
        );
    }
    for (remote, count) in every(40, &expected.1["by_remote_id"]) {
        let told = bulk6(v6, Selector6::RemoteId(hex(&remote)), any);
        assert_eq!(
            assert_no_twice(told.iter().flatten()),
            count,
            "remote-id {remote}"
        );
    }
    for (duid, count) in by_field(&lines, "duid").into_iter().step_by(40) {
        let told = bulk6(v6, Selector6::Duid(hex(&duid)), any);
        assert_eq!(assert_no_twice(told.iter().flatten()), count, "DUID {duid}");
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

/// Sends lines to the feed socket and gives the answers up to the last of them.
fn feed(socket: &Path, lines: &[String]) -> Vec<String> {
    let mut stream = UnixStream::connect(socket).expect("the feed socket");
    stream
        .write_all(lines.concat().as_bytes())
        .expect("a reader");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("a socket");
    BufReader::new(stream)
        .lines()
        .collect::<Result<_, _>>()
        .expect("answers")
}

fn lease(address: &str, state: &str) -> String {
    format!(
        "{{\"family\":4,\"address\":\"{address}\",\"state\":\"{state}\",\"client_id\":\"01aabb\",\"valid_lifetime\":3600}}\n"
    )
}

#[test]
fn what_a_feed_tells_is_visible_to_the_next_query() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&write_config(dir.path(), ""));
    let socket = dir.path().join("feed.sock");
    let v4 = server.address("dhcp4-tcp");
    let client = || Selector4::ClientId(hex("01aabb"));
    assert_eq!(bulk4(v4, client()).active.len(), 0);
    let answers = feed(
        &socket,
        &[
            lease("100.64.0.1", "active"),
            "rubbish\n".into(),
            lease("192.0.2.1", "active"),
        ],
    );
    assert_eq!(
        answers,
        [
            "{\"ok\":1}",
            "{\"line\":2,\"error\":\"expected a JSON object\"}",
            "{\"ok\":3}"
        ]
    );
    let mut told = bulk4(v4, client()).active;
    told.sort();
    assert_eq!(told, ["100.64.0.1", "192.0.2.1"]);
    assert_eq!(
        feed(&socket, &[lease("192.0.2.1", "released")]),
        ["{\"ok\":1}"]
    );
    assert_eq!(bulk4(v4, client()).active, ["100.64.0.1"]);
    let by_address = Query::V4(Query4::new(Selector4::Ip("100.64.0.1".parse().unwrap())));
    match client::udp(server.address("dhcp4-udp"), &by_address).expect("an answer") {
        leaseq_requestor::Answer::Lease4(lease) => assert_eq!(lease.client_id, Some(hex("01aabb"))),
        other => panic!("{other:?}"),
    }
    server.signal(Signal::INT);
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(!socket.exists());
    assert_eq!(export(&dir.path().join("store")).len(), 2);
}

fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the admin HTTP");
    let request = format!("GET {path} HTTP/1.1\r\nHost: leaseq\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a reader");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a header");
    (
        head.lines().next().unwrap_or_default().to_owned(),
        body.to_owned(),
    )
}

#[test]
fn the_admin_http_tells_health_metrics_and_status() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&write_config(dir.path(), ""));
    feed(
        &dir.path().join("feed.sock"),
        &[lease("100.64.0.1", "active")],
    );
    bulk4(
        server.address("dhcp4-tcp"),
        Selector4::ClientId(hex("01aabb")),
    );
    let admin = server.address("admin");
    let ok = "HTTP/1.1 200 OK".to_owned();
    assert_eq!(get(admin, "/healthz"), (ok.clone(), "ok\n".into()));
    assert_eq!(get(admin, "/readyz"), (ok.clone(), "ready\n".into()));
    let (status, metrics) = get(admin, "/metrics");
    assert_eq!(status, ok);
    for line in [
        "leaseq_bindings{family=\"4\",state=\"active\"} 1",
        "leaseq_queries_total{family=\"4\",kind=\"client-id\"} 1",
        "leaseq_bindings_sent_total{family=\"4\"} 1",
        "leaseq_connections_opened_total{family=\"4\"} 1",
        "leaseq_store_events_total 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} is not in\n{metrics}"
        );
    }
    let mut told = HashSet::new();
    for name in metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
    {
        assert!(told.insert(name), "{name} comes twice");
    }
    let (_, text) = get(admin, "/api/status");
    let status: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&status["ready"], &status["store"]["v4"]["states"]["active"]),
        (&true.into(), &1.into())
    );
    assert_eq!(get(admin, "/nothing").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn a_reload_changes_requestors_names_the_rest_and_survives_a_bad_file() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let server = Server::start(&config);
    let v4 = server.address("dhcp4-tcp");
    let by_client = Query::V4(Query4::new(Selector4::ClientId(vec![1])));
    let ask = || client::bulk(v4, &by_client, &mut |_| ControlFlow::Continue(()));
    ask().expect("an answer");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("127.0.0.0/8", "192.0.2.0/24")
            .replace("1MiB", "2MiB"),
    )
    .unwrap();
    server.signal(Signal::HUP);
    assert!(
        server
            .wait_for_log("reload-needs-restart")
            .contains("store.segment-size")
    );
    server.wait_for_log("reload-done");
    ask().expect_err("this requestor is served no more");
    fs::write(&config, "[limits]\nmax-conections = 1\n").unwrap();
    server.signal(Signal::HUP);
    assert!(
        server
            .wait_for_log("reload-refused")
            .contains("did you mean `max-connections`?")
    );
    ask().expect_err("a bad file changes nothing");
    fs::write(&config, text).unwrap();
    server.signal(Signal::HUP);
    server.wait_for_log("reload-done");
    ask().expect("an answer again");
}

#[test]
fn the_embedded_default_makes_a_reproducible_sample() {
    let dir = tempfile::tempdir().unwrap();
    let mut exports = Vec::new();
    for name in ["one", "other"] {
        let store = dir.path().join(name);
        let config = write_config(dir.path(), "");
        let server = Server::start_with(&[
            "serve",
            "--config",
            text(&config),
            "--data-dir",
            text(&store),
            "--sample",
            "3000",
        ]);
        assert_eq!(server.ready("bindings"), "3000");
        for _ in 0..8 {
            let line = server.wait_for_log("try: ");
            let asked = line.strip_prefix("try: leaseq ").expect("a command");
            let told = run(&asked.split(' ').collect::<Vec<_>>(), 0);
            assert!(told.lines().count() > 1, "{asked}: {told}");
        }
        let relay = bulk4(
            server.address("dhcp4-tcp"),
            Selector4::RelayId(hex("0003000102005e040000")),
        );
        assert!(
            (900..1_000).contains(&assert_no_twice(&relay.active)),
            "{}",
            relay.active.len()
        );
        server.signal(Signal::TERM);
        assert_eq!(server.wait().0.code(), Some(0));
        let lines = export(&store);
        let address = |line: &Value| {
            (
                line["address"].clone(),
                line["prefix"].clone(),
                line["state"].clone(),
                line["relay"].clone(),
            )
        };
        exports.push(lines.iter().map(address).collect::<Vec<_>>());
    }
    assert_eq!(exports[0], exports[1]);
}

#[test]
fn a_store_has_one_process_and_a_taken_port_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let server = Server::start(&config);
    let store = dir.path().join("store");
    let output = leaseq(&["serve", "--config", text(&config)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = format!("{} is in use by process {}", store.display(), server.pid());
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
    let taken = fs::read_to_string(&config).unwrap();
    let taken = taken
        .replacen("127.0.0.1:0", server.ready("dhcp4-tcp"), 1)
        .replace("feed.sock", "other.sock");
    fs::write(&config, taken).unwrap();
    let other = dir.path().join("other");
    let output = leaseq(&[
        "serve",
        "--config",
        text(&config),
        "--data-dir",
        text(&other),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = format!(
        "leaseq: the server cannot start: cannot listen on TCP {}: ",
        server.ready("dhcp4-tcp")
    );
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
}
