//! A running `leaseq watch`.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::leaseq;

/// How long a test waits for a change, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// An active leasequery stream.
pub struct Stream {
    child: Child,
    lines: Receiver<String>,
    /// Changes that were told.
    pub told: u64,
}

impl Stream {
    /// One that tells everything that is there, and then what changes: it may begin late.
    pub fn start(server: &str, family: &str) -> Stream {
        let mut child = leaseq(&[
            "watch", server, family, "--since", "0", "--format", "ndjson",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (line, lines) = channel();
        thread::spawn(move || {
            let mut output = output.lines().map_while(Result::ok);
            output.try_for_each(|text| line.send(text))
        });
        Stream {
            child,
            lines,
            told: 0,
        }
    }

    /// Waits for a change of this address.
    pub fn wait_for(&mut self, address: &str) -> Value {
        self.next_of(|change| change["address"] == address, address)
    }

    /// Waits for the end of this address's lease.
    pub fn wait_for_ended(&mut self, address: &str) -> Value {
        let is_it = |change: &Value| change["address"] == address && change["ended"] == true;
        self.next_of(is_it, address)
    }

    /// Waits until each of these addresses was told in this state.
    pub fn wait_for_all(&mut self, addresses: HashSet<String>, ended: bool) {
        self.wait_for_each(addresses.into_iter().map(|address| (address, ended)));
    }

    /// The same, in a state of its own each: whether its lease has ended.
    pub fn wait_for_each(&mut self, wanted: impl IntoIterator<Item = (String, bool)>) {
        let mut wanted: HashSet<(String, bool)> = wanted.into_iter().collect();
        let told = |change: &Value| {
            let address = change["address"].as_str()?.to_owned();
            Some((address, change["ended"].as_bool()?))
        };
        while !wanted.is_empty() {
            let missing = format!(
                "{} addresses, {:?} among them (address, ended)",
                wanted.len(),
                wanted.iter().next()
            );
            let is_wanted =
                |change: &Value| told(change).is_some_and(|change| wanted.contains(&change));
            let change = self.next_of(is_wanted, &missing);
            wanted.remove(&told(&change).unwrap());
        }
    }

    fn next_of(&mut self, wanted: impl Fn(&Value) -> bool, what: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no change of {what}"));
            let change: Value = serde_json::from_str(&line).expect("a JSON line");
            self.told += 1;
            if wanted(&change) {
                return change;
            }
        }
    }

    /// Ends it, and expects that it ends well.
    pub fn end(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("a running process");
        assert!(self.child.wait().expect("a child").success());
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
