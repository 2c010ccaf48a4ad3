//! Networks of a test's own, and servers in them.
//!
//! A DHCP server wants addresses and ports that belong to the machine. So a test that runs one starts itself again in a network
//! namespace of its own, where it may do as it likes.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// Set inside of the namespace.
const INSIDE: &str = "LEASEQ_TEST_NAMESPACE";
/// Set to `required` where a missing server is a fault.
const PEERS: &str = "LEASEQ_PEERS";
/// How long a server may take to say what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this is the inside of a namespace, and the test is to go on. If not, the test of this name was run in one, or skipped.
pub fn enter(test: &str, programs: &[(&str, &str)]) -> bool {
    if env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        return true;
    }
    let tools = [("unshare", "util-linux"), ("ip", "iproute2")];
    for (program, package) in programs.iter().chain(&tools) {
        if find(program).is_none() {
            skip(&format!("{program} is not installed (Debian: {package})"));
            return false;
        }
    }
    let mut arguments = vec!["--net"];
    // Who is not root is root in a namespace of users, if the system lets him.
    if !run(Command::new("unshare").args(["--net", "true"])) {
        arguments.push("--map-root-user");
        if !run(Command::new("unshare").args(&arguments).arg("true")) {
            skip("this system lets nobody make a network namespace here");
            return false;
        }
    }
    let status = Command::new("unshare")
        .args(&arguments)
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed in its namespace");
    false
}

fn skip(why: &str) {
    assert!(
        env::var(PEERS).as_deref() != Ok("required"),
        "{PEERS}=required, but {why}"
    );
    println!("skipped: {why}");
}

fn run(command: &mut Command) -> bool {
    let status = command.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Where a program is; servers are not always in the path of users.
fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Configures the network.
pub fn ip(arguments: &str) {
    let output = Command::new(find("ip").unwrap())
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {told}");
}

/// A server that runs until it is dropped.
pub struct Server {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Server {
    /// Starts a program; what it says can be waited for.
    pub fn start(program: &str, arguments: &[&str], dir: &Path) -> Server {
        let mut child = Command::new(find(program).unwrap())
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        let err = BufReader::new(child.stderr.take().unwrap());
        let said_too = said.clone();
        thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .all(|line| said.send(line).is_ok())
        });
        thread::spawn(move || {
            err.lines()
                .map_while(Result::ok)
                .all(|line| said_too.send(line).is_ok())
        });
        Server {
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to go on.
    pub fn go_on(&mut self) {
        self.input.take().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits until it says a line with this in it.
    pub fn until_says(&self, text: &str) {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => said.push(line),
                Err(_) => panic!("waited for {text:?}, it said:\n{}", said.join("\n")),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
