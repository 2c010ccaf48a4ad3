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
    _dir: tempfile::TempDir,
}

impl Service {
    fn start(watchdog: Option<Duration>) -> Service {
        let dir = tempfile::tempdir().unwrap();
        let (config, socket) = (dir.path().join("leaseq.toml"), dir.path().join("notify"));
        std::fs::write(
            &config,
            "[dhcp4]\nlisten-tcp = [\"127.0.0.1:0\"]\n[dhcp6]\nlisten-tcp = []\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        )
        .unwrap();
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
            _dir: dir,
        }
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
    assert_eq!(service.next(), "READY=1");
    service.signal(Signal::HUP);
    let reloading = service.next();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert_eq!(service.next(), "READY=1");
    service.signal(Signal::TERM);
    assert_eq!(service.next(), "STOPPING=1");
    assert!(service.process.wait().unwrap().success());
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
