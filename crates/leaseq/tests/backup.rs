//! `leaseq store backup`: of a store that nobody has open, and of one that a server fills and compacts meanwhile.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use common::{Server, export, leaseq, run, stat, stderr, stdout, text};
use rustix::process::Signal;
use serde_json::{Value, json};

const HOSTS: u32 = 500;
/// Time of the first event, Unix seconds.
const T0: u32 = 1_790_000_000;

fn write_config(dir: &Path, store: &Path) -> PathBuf {
    let file = dir.join("leaseq.toml");
    let text = format!(
        r#"
[store]
dir = "{}"
sync = "never"
segment-size = "256KiB"
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = []
[admin]
listen = "off"
[[feed]]
kind = "ndjson"
listen = "127.0.0.1:0"
"#,
        store.display()
    );
    fs::write(&file, text).unwrap();
    file
}

fn backup(store: &Path, to: &Path) -> Output {
    let arguments = [
        "store",
        "backup",
        "--data-dir",
        text(store),
        "--to",
        text(to),
    ];
    leaseq(&arguments).output().expect("the binary")
}

/// The event number `n`: one host after another.
fn numbered(n: u32) -> String {
    let host = n % HOSTS;
    format!(
        "{{\"family\":4,\"address\":\"10.0.{}.{}\",\"state\":\"active\",\"client_id\":\"01{host:08x}\",\"cltt\":{},\"valid_lifetime\":1000000000}}\n",
        host >> 8,
        host & 255,
        T0 + n
    )
}

/// Writes event after event to the server, and counts those that are acknowledged.
fn write_events(address: &str, done: &AtomicBool, acknowledged: &AtomicU32) {
    let mut feed = TcpStream::connect(address).unwrap();
    let mut answers = BufReader::new(feed.try_clone().unwrap());
    let mut line = String::new();
    let mut next = 0;
    while !done.load(Ordering::SeqCst) {
        let lines: String = (next..next + 100).map(numbered).collect();
        next += 100;
        feed.write_all(lines.as_bytes()).unwrap();
        while acknowledged.load(Ordering::SeqCst) < next {
            line.clear();
            answers.read_line(&mut line).unwrap();
            let answer: Value = serde_json::from_str(&line).expect("an answer");
            let count = answer["ok"].as_u64().expect("nothing is rejected");
            acknowledged.store(count as u32, Ordering::SeqCst);
        }
    }
}

/// How many events the leases of a store are made of; they must be those of the first so many.
fn events_in(store: &Path) -> u32 {
    let mut numbers = vec![None; HOSTS as usize];
    for lease in export(store) {
        let number = lease["cltt"].as_u64().unwrap() as u32 - T0;
        numbers[(number % HOSTS) as usize] = Some(number);
    }
    let events = numbers.iter().flatten().max().map_or(0, |last| last + 1);
    let expected: Vec<Option<u32>> = (0..HOSTS)
        .map(|host| (host..events).step_by(HOSTS as usize).next_back())
        .collect();
    assert_eq!(numbers, expected, "{events} events");
    events
}

#[test]
fn a_live_store_is_copied_as_of_one_moment_while_it_is_fed_and_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = Server::start(&write_config(dir.path(), &store));
    let done = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU32::new(0));
    let writing = {
        let (done, acknowledged) = (Arc::clone(&done), Arc::clone(&acknowledged));
        let address = server.ready("feed").to_owned();
        thread::spawn(move || write_events(&address, &done, &acknowledged))
    };
    let compacting = {
        let (done, store) = (Arc::clone(&done), store.clone());
        thread::spawn(move || {
            while !done.load(Ordering::SeqCst) {
                run(&["store", "compact", "--data-dir", text(&store)], 0);
            }
        })
    };
    let mut before = 0;
    for round in 0..5 {
        // Several segments' worth apart.
        while acknowledged.load(Ordering::SeqCst) < before + 10_000 {
            thread::yield_now();
        }
        before = acknowledged.load(Ordering::SeqCst);
        let to = dir.path().join(format!("copy-{round}"));
        let output = backup(&store, &to);
        let after = acknowledged.load(Ordering::SeqCst);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let told = stdout(&output);
        assert!(
            told.starts_with(&format!("{}: a good copy up to record ", to.display())),
            "{told}"
        );
        run(&["store", "verify", "--data-dir", text(&to)], 0);
        let events = events_in(&to);
        // One batch may be durable and not yet acknowledged.
        assert!(
            (before..=after + 100).contains(&events),
            "{before} {events} {after}"
        );
    }
    done.store(true, Ordering::SeqCst);
    writing.join().unwrap();
    compacting.join().unwrap();
    let all = acknowledged.load(Ordering::SeqCst);
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    assert_eq!(events_in(&store), all);

    // A server goes on with a copy as with any store.
    let copy = dir.path().join("copy-4");
    let kept = events_in(&copy);
    let server = Server::start(&write_config(dir.path(), &copy));
    assert_eq!(server.ready("bindings"), HOSTS.to_string());
    let mut feed = TcpStream::connect(server.ready("feed")).unwrap();
    feed.write_all(numbered(kept).as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(&feed).read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"ok\":1}\n");
    assert_eq!(events_in(&copy), kept + 1);
}

#[test]
fn a_stopped_store_is_copied_with_its_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let leases = dir.path().join("leases.ndjson");
    fs::write(&leases, (0..1_500).map(numbered).collect::<String>()).unwrap();
    run(&["import", "--data-dir", text(&store), text(&leases)], 0);
    let to = dir.path().join("backups/today");
    let output = backup(&store, &to);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert_eq!(events_in(&to), 1_500);
    assert_eq!(stat(&to)["sequence"], stat(&store)["sequence"]);
    assert_eq!(stat(&to)["dead_records"], 1_000);

    let again = backup(&store, &to);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(
        stderr(&again),
        format!(
            "leaseq: {}: no backup was made: {} is not empty: expected an empty directory, or one that is yet to be made\n",
            store.display(),
            to.display()
        )
    );
    assert_eq!(events_in(&to), 1_500, "what was there is left");
    let nothing = backup(&dir.path().join("backups"), &dir.path().join("other"));
    assert_eq!(nothing.status.code(), Some(1));
    assert!(
        stderr(&nothing).contains("holds no store"),
        "{}",
        stderr(&nothing)
    );
    assert!(!dir.path().join("other").exists());
}

#[test]
fn a_copy_of_a_server_that_goes_away_or_lies_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fs::create_dir(&store).unwrap();
    let listener = UnixListener::bind(store.join("control.sock")).unwrap();
    let segment = "0000000000000001-00000000.seg";
    let announced = |part: Value, octets: usize| {
        let mut answer = format!("{part}\n").into_bytes();
        answer.resize(answer.len() + octets, 0);
        answer
    };
    let whole = json!({"part": "segment", "file": segment, "size": 65_536, "octets": 4_096});
    let outside = json!({"part": "segment", "file": "../outside.seg", "size": 65_536, "octets": 1});
    let end = json!({"end": "done", "sequence": 7});
    let identity = json!({"part": "store", "sequence": 7, "octets": 64});
    let failed = json!({"end": "failed", "error": "a reason"});
    for (answer, told) in [
        (
            announced(whole.clone(), 100),
            "the server has gone before it had sent everything",
        ),
        (
            announced(whole.clone(), 4_096),
            "has gone before it had answered",
        ),
        (
            [announced(whole.clone(), 4_096), announced(end.clone(), 0)].concat(),
            "has not told whose log it is",
        ),
        (
            [announced(whole.clone(), 4_096), announced(failed, 0)].concat(),
            "a reason",
        ),
        (
            [
                announced(whole, 4_096),
                announced(identity, 64),
                announced(end, 0),
            ]
            .concat(),
            "cannot be read back",
        ),
        (announced(outside, 1), "expected a new segment"),
        (
            b"what?\n".to_vec(),
            "expected a part of a store, found \"what?\"",
        ),
    ] {
        let serving = thread::spawn({
            let listener = listener.try_clone().unwrap();
            move || {
                let (mut client, _) = listener.accept().unwrap();
                let mut request = String::new();
                BufReader::new(&client).read_line(&mut request).unwrap();
                // The client may have seen enough.
                let _ = client.write_all(&answer);
                request
            }
        });
        let to = dir.path().join("copy");
        let output = backup(&store, &to);
        assert_eq!(serving.join().unwrap(), "{\"command\":\"backup\"}\n");
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains(told),
            "{told}: {}",
            stderr(&output)
        );
        assert!(!to.exists(), "{told}");
    }
    assert!(!dir.path().join("outside.seg").exists());
}
