//! `/healthz` and `/readyz`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{leaseq, text};
use crate::http::get;
use crate::setup::Setup;

#[test]
fn a_server_that_has_read_everything_is_ready() {
    let setup = Setup::start();
    let health = get(setup.admin(), "/healthz");
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let ready = get(setup.admin(), "/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    assert_eq!(ready.field("cache-control"), "no-store");
}

#[test]
fn while_the_server_starts_it_is_alive_and_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("leaseq.toml");
    let store = dir.path().join("store");
    let settings = format!(
        "[store]\ndir = \"{}\"\n[dhcp4]\nlisten-tcp = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        text(&store)
    );
    fs::write(&config, settings).unwrap();
    // Filling the store takes far longer than the requests below.
    let mut child = leaseq(&[
        "serve",
        "--log-format",
        "json",
        "--config",
        text(&config),
        "--sample",
        "2000000",
    ])
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let address = log
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
        .find(|line| line["id"] == "admin-listening")
        .and_then(|line| line["address"].as_str()?.parse().ok());
    let answers = address.map(|address| {
        ["/healthz", "/readyz", "/api/status", "/metrics", "/"].map(|path| get(address, path))
    });
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    let [health, ready, status, metrics, page] = answers.expect("a line with the address");
    assert_eq!(health.status, 200);
    assert_eq!((ready.status, ready.body.as_str()), (503, "starting\n"));
    let status: serde_json::Value = serde_json::from_str(&status.body).unwrap();
    assert_eq!(status["ready"], false);
    assert_eq!(status["unready_because"][0], "starting");
    assert!(metrics.body.lines().any(|line| line == "leaseq_ready 0"));
    assert_eq!(page.status, 200);
}
