//! `kill -9`: what was acknowledged is there, and what was cut off can be done again.

mod common;

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use common::{Server, export, leaseq, run, sample, stat, text};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

const KILLS: usize = 10;

#[test]
fn an_import_that_was_killed_ten_times_can_be_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let sample = sample(dir.path(), 3_000, 10);
    let whole = dir.path().join("whole");
    run(
        &[
            "import",
            "--data-dir",
            text(&whole),
            text(&sample.v4),
            text(&sample.v6),
        ],
        0,
    );
    let lines = run(&["store", "export", "--data-dir", text(&whole)], 0);
    let lines: Vec<&str> = lines.split_inclusive('\n').collect();

    let store = dir.path().join("store");
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
    for kill in 1..=KILLS {
        let mut import = leaseq(&[
            "import",
            "--format",
            "ndjson",
            "--data-dir",
            text(&store),
            text(&pipe),
        ]);
        let mut import = import
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary");
        // The pipe opens when the import has opened its end, and a part of the lines is all that it ever gets.
        let mut writer = OpenOptions::new()
            .write(true)
            .open(&pipe)
            .expect("the pipe");
        let part = lines.len() * kill / (KILLS + 1);
        writer
            .write_all(lines[..part].concat().as_bytes())
            .expect("a reader");
        import.kill().expect("a running process");
        import.wait().expect("a child");
    }
    if store.join("STORE").exists() {
        run(&["store", "verify", "--data-dir", text(&store)], 0);
    }
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
    run(&["store", "verify", "--data-dir", text(&store)], 0);
    let (once, again) = (stat(&whole), stat(&store));
    assert_eq!(
        (&again["v4"]["states"], &again["v6"]["states"]),
        (&once["v4"]["states"], &once["v6"]["states"])
    );
}

fn write_config(dir: &Path) -> std::path::PathBuf {
    let file = dir.join("leaseq.toml");
    let text = format!(
        "[store]\ndir = \"{0}/store\"\nsegment-size = \"64KiB\"\n[dhcp4]\nlisten-tcp = []\n[dhcp6]\nlisten-tcp = []\n\
         [admin]\nlisten = \"off\"\n[[feed]]\nkind = \"ndjson\"\nlisten = \"unix:{0}/feed.sock\"\n",
        dir.display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// Sends lines until the first answer, kills the server, and gives the number of lines that were acknowledged.
fn feed_and_kill(server: Server, socket: &Path, lines: &str) -> usize {
    let stream = UnixStream::connect(socket).expect("the feed socket");
    let mut sending = stream.try_clone().expect("a socket");
    let lines = lines.to_owned();
    let sender = std::thread::spawn(move || sending.write_all(lines.as_bytes()));
    let mut answers = BufReader::new(stream).lines();
    let first = answers.next().expect("an answer").expect("an answer");
    server.kill();
    // What else was on its way when the server was killed counts too.
    let last = answers.map_while(Result::ok).last().unwrap_or(first);
    let _ = sender.join().expect("the sender");
    let answer: Value = serde_json::from_str(&last).expect("JSON");
    answer["ok"].as_u64().expect("an acknowledgement") as usize
}

#[test]
fn what_a_killed_server_acknowledged_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path());
    let store = dir.path().join("store");
    let mut acknowledged = HashSet::new();
    for kill in 0..KILLS {
        let addresses: Vec<String> = (0..2_000)
            .map(|n| format!("10.{kill}.{}.{}", n / 250, n % 250))
            .collect();
        let line = |address: &String| {
            format!(
                "{{\"family\":4,\"address\":\"{address}\",\"state\":\"active\",\"client_id\":\"01\"}}\n"
            )
        };
        let lines: String = addresses.iter().map(line).collect();
        let server = Server::start(&config);
        let count = feed_and_kill(server, &dir.path().join("feed.sock"), &lines);
        assert!(count > 0);
        acknowledged.extend(addresses.into_iter().take(count));
        run(&["store", "verify", "--data-dir", text(&store)], 0);
        let stored: HashSet<String> = export(&store)
            .iter()
            .map(|line| line["address"].as_str().expect("an address").to_owned())
            .collect();
        assert!(
            acknowledged.is_subset(&stored),
            "{} of {} are there",
            stored.len(),
            acknowledged.len()
        );
    }
}
