//! A running `leaseq watch`, and the server that it watches.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::{Server, export, leaseq, text};

/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `leaseq watch`.
pub struct Watch {
    child: Child,
    lines: Receiver<String>,
    log: Receiver<Value>,
    told: Vec<Value>,
}

impl Watch {
    pub fn start(server: &str, rest: &[&str]) -> Watch {
        let quick = [
            "--retry",
            "50ms",
            "--max-retry",
            "200ms",
            "--log-format",
            "json",
        ];
        let arguments = [&["watch", server], rest, &quick].concat();
        let mut child = leaseq(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (line, lines) = channel();
        let output = BufReader::new(output.expect("a pipe"));
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|text| line.send(text))
        });
        let (message, log) = channel();
        let errors = BufReader::new(errors.expect("a pipe"));
        thread::spawn(move || {
            let messages = errors.lines().map_while(Result::ok);
            messages
                .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
                .try_for_each(|text| message.send(text))
        });
        Watch {
            child,
            lines,
            log,
            told: Vec::new(),
        }
    }

    /// Waits for a message of the log with this id.
    pub fn wait_for_log(&self, id: &str) -> Value {
        loop {
            let message = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no message {id}"));
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Waits for a change of this address.
    pub fn wait_for(&mut self, address: &str) -> Value {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no change of {address}"));
            self.told
                .push(serde_json::from_str(&line).expect("a JSON line"));
            let last = self.told.last().unwrap();
            if last["address"] == address {
                return last.clone();
            }
        }
    }

    /// Ends it with a signal: how it ended, and all that it told.
    pub fn end(mut self) -> (ExitStatus, Vec<Value>) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("a running process");
        let status = self.child.wait().expect("a child");
        let rest = self
            .lines
            .iter()
            .map(|line| serde_json::from_str(&line).unwrap());
        let told = self.told.drain(..).chain(rest).collect();
        (status, told)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that can be killed and comes back at the same address.
pub struct Restarting {
    pub dir: tempfile::TempDir,
    server: Option<Server>,
    pub address: SocketAddr,
    family: u8,
}

impl Restarting {
    pub fn start(family: u8) -> Restarting {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path(), family, None);
        let address = server.address(if family == 4 {
            "dhcp4-tcp"
        } else {
            "dhcp6-tcp"
        });
        Restarting {
            dir,
            server: Some(server),
            address,
            family,
        }
    }

    /// Sends lines to the feed; they are durable afterwards.
    pub fn feed(&self, lines: &[Value]) {
        let mut stream = UnixStream::connect(self.dir.path().join("feed.sock")).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        let expected = format!("{{\"ok\":{}}}\n", lines.len());
        assert!(answers.ends_with(&expected), "{answers}");
    }

    pub fn kill(&mut self) {
        self.server.take().unwrap().kill();
        let _ = fs::remove_file(self.dir.path().join("feed.sock"));
    }

    pub fn start_again(&mut self) {
        self.server = Some(start(self.dir.path(), self.family, Some(self.address)));
    }

    /// Ends it, and gives what is in its store.
    pub fn end(mut self) -> Vec<Value> {
        self.kill();
        export(&self.dir.path().join("store"))
    }
}

fn start(dir: &Path, family: u8, address: Option<SocketAddr>) -> Server {
    let at = |own: u8, any: &str| match address {
        Some(address) if own == family => address.to_string(),
        _ => any.to_owned(),
    };
    let config = format!(
        r#"
[store]
dir = "{0}/store"
sync = "never"
segment-size = "1MiB"
[engine]
cores = [0]
[dhcp4]
listen-tcp = ["{1}"]
server-identifier = "127.0.0.1"
[[dhcp4.subnet]]
prefix = "198.51.100.0/24"
[dhcp6]
listen-tcp = ["{2}"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[dhcp6.link]]
name = "pop-7"
prefixes = ["2001:db8:7::/48"]
delegated = ["2001:db8:7000::/36"]
[active]
relay-scope = true
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[[feed]]
kind = "ndjson"
listen = "unix:{0}/feed.sock"
"#,
        dir.display(),
        at(4, "127.0.0.1:0"),
        at(6, "[::1]:0"),
    );
    let file = dir.join("leaseq.toml");
    fs::write(&file, config).unwrap();
    let arguments = [
        "serve",
        "--active-insecure",
        "--log-format",
        "json",
        "--config",
        text(&file),
    ];
    Server::start_with(&arguments)
}
