//! The program's exit status: 0 where limits and timeouts are those expected, 1 where one is not.

use std::process::{Command, Output};
use std::time::Duration;

use leaseq_session::{ActiveSettings, Limits};

use crate::server::Server;

/// Runs a scenario against a server, of which the program is told no more than its address.
fn run(server: &Server, scenario: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.toml");
    std::fs::write(&file, scenario).unwrap();
    Command::new(env!("CARGO_BIN_EXE_leaseq-loadgen"))
        .arg("run")
        .arg(&file)
        .args(["--quiet", "--server4"])
        .arg(server.servers.v4.unwrap().to_string())
        .output()
        .unwrap()
}

fn assert_ends(output: &Output, status: i32, told: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(text.contains(told), "{text}");
}

#[test]
fn a_wrong_limit_ends_the_program_with_1() {
    let limits = Limits {
        max_connections: 6,
        max_connections_per_requestor: 0,
        ..Limits::default()
    };
    let server = Server::start(limits, ActiveSettings::default());
    let expected = |connections: u32| {
        format!(
            "kind = \"limits\"\npatience = \"10s\"\n[limits]\nmax-connections = {connections}\nrefused-within = \"5s\"\n"
        )
    };
    assert_ends(&run(&server, &expected(6)), 0, "6 served");
    assert_ends(&run(&server, &expected(5)), 1, "max-connections v4");
    assert_ends(&run(&server, &expected(7)), 1, "max-connections v4");
}

#[test]
fn a_wrong_timeout_ends_the_program_with_1() {
    let limits = Limits {
        data_timeout: Duration::from_millis(800),
        ..Limits::default()
    };
    let server = Server::start(limits, ActiveSettings::default());
    let expected = |idle: &str| {
        format!(
            "kind = \"timeouts\"\npatience = \"10s\"\n[timeouts]\nbulk-idle = \"{idle}\"\ntolerance = \"1500ms\"\n\
             innocent = 1\ninnocent-factor = 100000\n"
        )
    };
    assert_ends(&run(&server, &expected("800ms")), 0, "bulk-idle");
    assert_ends(&run(&server, &expected("3s")), 1, "bulk-idle");
}
