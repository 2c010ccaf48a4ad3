//! What systemd is told: that the server is ready, lives, reloads and stops.

mod common;

use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::{leaseq, text};
use rustix::process::{Pid, Signal, kill_process};

/// A server of which this test is the service manager.
struct Service {
    process: Child,
    told: UnixDatagram,
    dir: Option<tempfile::TempDir>,
}

impl Service {
    fn start(watchdog: Option<Duration>) -> Service {
        Service::start_in(tempfile::tempdir().unwrap(), watchdog, &[])
    }

    fn start_in(dir: tempfile::TempDir, watchdog: Option<Duration>, arguments: &[&str]) -> Service {
        let (config, socket) = (dir.path().join("leaseq.toml"), dir.path().join("notify"));
        std::fs::write(
            &config,
            "[dhcp4]\nlisten-tcp = [\"127.0.0.1:0\"]\n[dhcp6]\nlisten-tcp = []\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        )
        .unwrap();
        let _ = std::fs::remove_file(&socket);
        let told = UnixDatagram::bind(&socket).unwrap();
        told.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let store = dir.path().join("store");
        let mut command = leaseq(&[
            "serve",
            "--config",
            text(&config),
            "--data-dir",
            text(&store),
        ]);
        command
            .args(arguments)
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC");
        if let Some(patience) = watchdog {
            command.env("WATCHDOG_USEC", patience.as_micros().to_string());
        }
        let process = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Service {
            process,
            told,
            dir: Some(dir),
        }
    }

    /// Kills it; its directory is left.
    fn kill(mut self) -> tempfile::TempDir {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.dir.take().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    fn next(&self) -> String {
        let mut message = [0; 512];
        let octets = self.told.recv(&mut message).expect("a message in time");
        String::from_utf8_lossy(&message[..octets])
            .trim_end()
            .to_owned()
    }

    /// The next message that is not about what a server that serves is doing.
    fn next_step(&self) -> String {
        loop {
            let message = self.next();
            if !message.starts_with("STATUS=") || message.contains('\n') {
                return message;
            }
        }
    }

    /// Waits for this status.
    fn wait_for_status(&self, text: &str) {
        while self.next() != format!("STATUS={text}") {}
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_start_a_reload_and_a_stop_are_told() {
    let mut service = Service::start(None);
    assert_eq!(service.next_step(), "READY=1");
    service.signal(Signal::HUP);
    let reloading = service.next_step();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(service.next_step(), "READY=1");
    service.signal(Signal::TERM);
    // The time that connections are given to end, and two minutes.
    assert_eq!(
        service.next_step(),
        "STOPPING=1\nSTATUS=ending feeds and connections\nEXTEND_TIMEOUT_USEC=125000000"
    );
    assert_eq!(
        service.next(),
        "STATUS=closing the store\nEXTEND_TIMEOUT_USEC=120000000"
    );
    assert!(service.process.wait().unwrap().success());
}

#[test]
fn what_a_server_does_is_told_while_it_reads_its_store_serves_and_drains() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start_in(dir, None, &["--sample", "200000"]);
    service.wait_for_status("200000 bindings, no feeds");
    // Without a checkpoint the whole log is read.
    let service = Service::start_in(service.kill(), None, &[]);
    let reading = service.next();
    let (status, more_time) = reading.split_once('\n').expect("two words");
    let percent = status
        .strip_prefix("STATUS=reading the log: ")
        .and_then(|rest| rest.strip_suffix(" %")?.parse::<u32>().ok());
    assert!(
        percent.is_some_and(|percent| (1..100).contains(&percent)),
        "{reading}"
    );
    assert_eq!(more_time, "EXTEND_TIMEOUT_USEC=120000000");
    service.wait_for_status("200000 bindings, no feeds");
    let store = service.dir.as_ref().unwrap().path().join("store");
    let drain = ["ctl", "drain", "--over", "0s", "--data-dir", text(&store)];
    assert!(leaseq(&drain).output().unwrap().status.success());
    service.wait_for_status("draining, 0 of 0 connections left; 200000 bindings, no feeds");
}

#[test]
fn the_watchdog_is_told_again_and_again_that_the_server_lives() {
    let service = Service::start(Some(Duration::from_millis(400)));
    let told: Vec<String> = (0..5).map(|_| service.next()).collect();
    let lives = told
        .iter()
        .filter(|message| *message == "WATCHDOG=1")
        .count();
    assert!(
        lives >= 3 && told.contains(&"READY=1".to_owned()),
        "{told:?}"
    );
}
