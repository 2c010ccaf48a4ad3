//! A running server through its control socket: what it tells, what it is told to do, and who may not disturb it.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Server, export, leaseq, run, stderr, stdout, text};
use leaseq_requestor::client::now;
use rustix::process::Signal;
use serde_json::Value;

fn write_config(dir: &Path, extra: &str) -> PathBuf {
    let file = dir.join("leaseq.toml");
    let text = format!(
        r#"
[store]
dir = "{0}/store"
sync = "never"
segment-size = "256KiB"
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = []
[[requestor]]
network = "127.0.0.0/8"
[admin]
listen = "off"
{extra}
"#,
        dir.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn start(config: &Path, extra: &[&str]) -> Server {
    let arguments = ["serve", "--log-format", "json", "--config", text(config)];
    Server::start_with(&[&arguments, extra].concat())
}

fn ctl(store: &Path, command: &[&str]) -> Output {
    let arguments = [&["ctl"], command, &["--data-dir", text(store)]].concat();
    leaseq(&arguments).output().expect("the binary")
}

/// The objects that a command prints as JSON.
fn objects(store: &Path, command: &[&str]) -> Vec<Value> {
    let output = ctl(store, &[command, &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = stdout(&output);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

fn sorted(mut lines: Vec<Value>) -> Vec<String> {
    let mut lines: Vec<String> = lines.drain(..).map(|line| line.to_string()).collect();
    lines.sort();
    lines
}

#[test]
fn store_commands_work_on_a_store_that_a_server_has_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let store = dir.path().join("store");
    let server = start(&config, &["--sample", "3000"]);
    let asked = format!(
        "{}: open in process {}, which is asked",
        store.display(),
        server.pid()
    );
    for (command, told) in [
        ("stat", "records in "),
        ("verify", "good, "),
        ("compact", " octets before, "),
        ("export", "{\"family\":"),
    ] {
        let output = leaseq(&["store", command, "--data-dir", text(&store)])
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{command}: {}",
            stderr(&output)
        );
        assert!(
            stdout(&output).contains(told),
            "{command}: {}",
            stdout(&output)
        );
        assert!(
            stderr(&output).starts_with(&asked),
            "{command}: {}",
            stderr(&output)
        );
    }
    let live = sorted(export(&store));
    assert!(live.len() >= 3_000, "{} leases", live.len());
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(!store.join("control.sock").exists());
    assert_eq!(sorted(export(&store)), live);
}

#[test]
fn what_leasequery_tells_is_exported_alike_from_a_running_server_and_a_stopped_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(
        dir.path(),
        "[[dhcp6.link]]\nname = \"all\"\nprefixes = [\"2001:db8::/32\"]\n",
    );
    let store = dir.path().join("store");
    let server = start(&config, &["--sample", "3000"]);
    // What runs out meanwhile has run out by then in both.
    let at = (now().0 + 600).to_string();
    let export = [
        "store",
        "export",
        "--as-leasequery",
        "--data-dir",
        text(&store),
    ];
    let at_that_time = [&export[..], &["--at", &at]].concat();
    let with_config = [&at_that_time[..], &["--config", text(&config)]].concat();
    let live = run(&at_that_time, 0);
    assert!(live.lines().count() > 2_000, "{}", live.lines().count());
    assert!(run(&export, 0).starts_with("{\"address\":"));
    let refused = leaseq(&with_config).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let told = stderr(&refused);
    assert!(
        told.contains("--config: expected a store that no server has open"),
        "{told}"
    );
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(
        run(&with_config, 0) == live,
        "the stopped store tells something else"
    );
}

#[test]
fn an_export_that_nobody_reads_to_its_end_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let store = dir.path().join("store");
    let server = start(&config, &["--sample", "20000"]);
    let mut rude = UnixStream::connect(store.join("control.sock")).unwrap();
    rude.write_all(b"{\"command\":\"export\"}\n").unwrap();
    let mut first = [0; 10];
    rude.read_exact(&mut first).unwrap();
    let status = objects(&store, &["status"]);
    assert_eq!(status[0]["status"]["ready"], true);
    // It goes on to wait for its reader, and does not keep the server from stopping.
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
}

#[test]
fn connections_are_listed_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let store = dir.path().join("store");
    let server = start(&config, &[]);
    let mut one = TcpStream::connect(server.address("dhcp4-tcp")).unwrap();
    let other = TcpStream::connect(server.address("dhcp4-tcp")).unwrap();
    let peer = |stream: &TcpStream| stream.local_addr().unwrap().to_string();
    let listed = || -> Vec<(u64, String)> {
        objects(&store, &["connections"])
            .iter()
            .map(|object| {
                let connection = &object["connection"];
                let id = connection["id"].as_u64().expect("a number");
                (
                    id,
                    connection["peer"].as_str().expect("an address").to_owned(),
                )
            })
            .collect()
    };
    // They are accepted in order, but not before `connect` returns.
    let mut found = listed();
    while found.len() < 2 {
        found = listed();
    }
    let peers: Vec<&String> = found.iter().map(|(_, peer)| peer).collect();
    assert_eq!(peers, [&peer(&one), &peer(&other)]);
    assert!(objects(&store, &["streams"]).is_empty());
    let shown = stdout(&ctl(&store, &["connections"]));
    assert!(
        shown.contains(&peer(&one)) && shown.ends_with("2 in all\n"),
        "{shown}"
    );
    let id = found[0].0.to_string();
    let output = ctl(&store, &["close", &id]);
    assert_eq!(stdout(&output), format!("connection {id} was reset\n"));
    assert!(
        !matches!(one.read(&mut [0; 1]), Ok(1..)),
        "it was to be reset"
    );
    while listed().len() > 1 {}
    let output = ctl(&store, &["close", "999"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "leaseq: no connection 999 is open\n");
}

#[test]
fn the_socket_is_the_owner_s_and_bad_requests_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere.sock");
    let extra = format!("[control]\nsocket = \"unix:{}\"\n", elsewhere.display());
    let config = write_config(dir.path(), &extra);
    let store = dir.path().join("store");
    let server = start(&config, &[]);
    let mode = fs::metadata(&elsewhere).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for (sent, told) in [
        (&b"garbage\n"[..], "not a request"),
        (b"{\"command\":\"close\"}\n", "missing field `id`"),
        (b"{\"command\":\"export\"", "expected a request on one line"),
        (&[b'x'; 5_000], "expected a request on one line"),
        (b"", "expected a request on one line"),
        (&[0xff, 0xfe, b'\n'], "not a request"),
    ] {
        let mut client = UnixStream::connect(&elsewhere).unwrap();
        // A long one is refused before all of it is taken.
        let _ = client.write_all(sent);
        let _ = client.shutdown(Shutdown::Write);
        let mut answer = String::new();
        let _ = BufReader::new(&client).read_line(&mut answer);
        let end: Value = serde_json::from_str(&answer).expect("an end");
        assert_eq!(end["end"], "failed");
        let error = end["error"].as_str().unwrap();
        assert!(error.contains(told), "{error}");
    }
    // Found from the store's directory, and by its own name in both ways of writing it.
    assert_eq!(objects(&store, &["status"])[0]["status"]["ready"], true);
    for socket in [text(&elsewhere), &format!("unix:{}", elsewhere.display())] {
        let shown = run(&["ctl", "status", "--socket", socket], 0);
        assert!(shown.starts_with("leaseq "), "{shown}");
    }
    drop(server);
    // It was killed: both are stale, and the next server takes their places.
    let server = start(&config, &[]);
    assert_eq!(objects(&store, &["status"])[0]["status"]["ready"], true);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    assert!(!elsewhere.exists() && fs::symlink_metadata(store.join("control.sock")).is_err());
}

#[test]
fn a_drained_server_has_nobody_and_stops_if_asked_to() {
    const CONNECTIONS: usize = 20;
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "[limits]\nmax-connections = 100\n");
    let store = dir.path().join("store");
    let server = start(&config, &[]);
    let address = server.address("dhcp4-tcp");
    let streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    while objects(&store, &["connections"]).len() < CONNECTIONS {}
    let refused = ctl(&store, &["drain", "--over", "2days"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("expected at most "),
        "{}",
        stderr(&refused)
    );
    let output = ctl(&store, &["drain", "--over", "10ms"]);
    assert_eq!(
        stdout(&output),
        format!("drained: {CONNECTIONS} connections were ended\n")
    );
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    assert!(
        TcpStream::connect(address).is_err(),
        "the listeners are closed"
    );
    let status = stdout(&ctl(&store, &["status"]));
    let told = format!("drained (0 of {CONNECTIONS} connections left), not ready: ");
    assert!(status.contains(&told), "{status}");
    let output = ctl(&store, &["drain", "--over", "0s", "--exit"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        log.iter()
            .any(|line| line.contains("\"reason\":\"drained\"")),
        "{log:?}"
    );
}

#[test]
fn a_reload_is_answered_with_what_came_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let store = dir.path().join("store");
    let _server = start(&config, &[]);
    assert_eq!(
        stdout(&ctl(&store, &["reload"])),
        "the configuration was read again\n"
    );
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("256KiB", "512KiB")).unwrap();
    let output = ctl(&store, &["reload"]);
    assert!(stdout(&output).contains("store.segment-size has changed, but needs a restart"));
    fs::write(&config, good.replace("sync", "sink")).unwrap();
    let output = ctl(&store, &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("unknown key `sink`") && told.contains("nothing is changed"),
        "{told}"
    );
}

#[test]
fn without_a_server_there_is_nobody_to_ask() {
    let dir = tempfile::tempdir().unwrap();
    let output = ctl(dir.path(), &["status"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("no server listens on "),
        "{}",
        stderr(&output)
    );
    let output = leaseq(&["ctl", "status", "--socket", "x", "--data-dir", "y"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}
