//! What the tests of the real binary share: commands, samples, and a server that is killed when a test is over.

#![allow(dead_code)] // each test binary uses its part

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary with these arguments.
pub fn leaseq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leaseq"));
    command
        .args(arguments)
        .env_remove("LEASEQ_LOG")
        .env("COLUMNS", "100");
    command
}

/// What it wrote to standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs the binary and expects this exit status; what it wrote to standard output.
pub fn run(arguments: &[&str], status: i32) -> String {
    let output = leaseq(arguments).output().expect("the binary");
    assert_eq!(
        output.status.code(),
        Some(status),
        "{arguments:?}: {}",
        stderr(&output)
    );
    stdout(&output)
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Kea's lease files and what must be found in them.
pub struct Sample {
    pub v4: PathBuf,
    pub v6: PathBuf,
    pub expected: Value,
}

/// Makes a sample in `dir` with this many subscribers of each family.
pub fn sample(dir: &Path, subscribers: u32, relays: u32) -> Sample {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/make-kea-leases");
    let numbers = [subscribers.to_string(), relays.to_string()];
    let output = Command::new("python3")
        .arg(script)
        .args([
            "--out",
            text(dir),
            "--v4",
            &numbers[0],
            "--v6",
            &numbers[0],
            "--relays",
            &numbers[1],
        ])
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", stderr(&output));
    let expected = fs::read(dir.join("expected.json")).expect("what must be found");
    Sample {
        v4: dir.join("kea-leases4.csv"),
        v6: dir.join("kea-leases6.csv"),
        expected: serde_json::from_slice(&expected).expect("JSON"),
    }
}

/// The figures of a store.
pub fn stat(store: &Path) -> Value {
    let text = run(
        &[
            "store",
            "stat",
            "--format",
            "json",
            "--data-dir",
            text(store),
        ],
        0,
    );
    serde_json::from_str(&text).expect("JSON")
}

/// The lines of an export, parsed.
pub fn export(store: &Path) -> Vec<Value> {
    let lines = run(&["store", "export", "--data-dir", text(store)], 0);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}

/// A running `leaseq serve`.
pub struct Server {
    child: Child,
    ready: HashMap<String, String>,
    log: Receiver<String>,
}

impl Server {
    /// Starts it with a configuration file, and waits until it is ready.
    pub fn start(config: &Path) -> Server {
        Server::start_with(&["serve", "--log-format", "json", "--config", text(config)])
    }

    /// Starts it with these arguments, and waits until it is ready.
    pub fn start_with(arguments: &[&str]) -> Server {
        let mut command = leaseq(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let (lines, log) = channel();
        thread::spawn(move || {
            errors
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| lines.send(line))
        });
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe"))
            .read_line(&mut line)
            .expect("the ready line");
        let Some(fields) = line.strip_prefix("leaseq ready ") else {
            let _ = child.kill();
            panic!(
                "expected the ready line, found {line:?}; the log: {:?}",
                log.iter().collect::<Vec<_>>()
            );
        };
        let pairs = fields
            .split_whitespace()
            .filter_map(|field| field.split_once('='));
        let ready = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Server { child, ready, log }
    }

    /// A field of the ready line.
    pub fn ready(&self, key: &str) -> &str {
        self.ready
            .get(key)
            .unwrap_or_else(|| panic!("no {key} in the ready line: {:?}", self.ready))
    }

    /// An address of the ready line.
    pub fn address(&self, key: &str) -> SocketAddr {
        self.ready(key).parse().expect("an address")
    }

    /// Number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a running process");
    }

    /// Waits for a line of the log that holds this text.
    pub fn wait_for_log(&self, part: &str) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no line of the log holds {part:?}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Kills it, as a loss of power of this process alone.
    pub fn kill(mut self) {
        self.child.kill().expect("a running process");
        self.child.wait().expect("a child");
    }

    /// Waits for its end; how it ended, and the rest of its log.
    pub fn wait(mut self) -> (ExitStatus, Vec<String>) {
        let status = self.child.wait().expect("a child");
        (status, self.log.iter().collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.log.iter().for_each(|line| println!("{line}"));
        }
    }
}
