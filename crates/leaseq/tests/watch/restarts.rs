//! Against the real server, killed and started again.

use std::fs;

use serde_json::Value;

use crate::common::{Server, leaseq, stderr, stdout, text};
use crate::leases::{active4, active6, assert_equal, ended4, ended6, prefix6, table};
use crate::process::{Restarting, Watch};

/// Watches while leases change and the server is killed and comes back, and compares what was told with the store.
fn survives_a_restart(
    family: u8,
    filter: &[&str],
    active: fn(u8, u32) -> Value,
    ended: fn(u8, &str) -> Value,
    more: fn(u8, &str) -> Value,
) {
    let address = |last: u8| active(last, 0)["address"].as_str().unwrap().to_owned();
    let mut server = Restarting::start(family);
    let before: Vec<_> = (1..=20).map(|last| active(last, 3600)).collect();
    server.feed(&before);
    let name = format!("v{family}");
    let arguments = [&[name.as_str(), "--since", "1"], filter].concat();
    let mut watch = Watch::start(&server.address.to_string(), &arguments);
    watch.wait_for_log("watch-caught-up");
    server.feed(&[
        active(21, 3600),
        ended(1, "released"),
        more(1, "active"),
        active(22, 3600),
    ]);
    assert_eq!(watch.wait_for(&address(22))["ended"], false);
    for round in 0..2_u8 {
        let lifetime = 4000 + u32::from(round);
        // Some of it is told before the server dies, some after it has come back.
        server.feed(&[
            active(2, lifetime),
            ended(3 + round, "expired"),
            more(2 + round, "active"),
        ]);
        server.kill();
        watch.wait_for_log("watch-down");
        server.start_again();
        server.feed(&[
            active(5 + round, lifetime),
            ended(7 + round, "released"),
            active(30 + round, lifetime),
        ]);
        watch.wait_for_log("watch-caught-up");
        server.feed(&[
            ended(9 + round, "released"),
            more(1, "released"),
            active(40 + round, lifetime),
        ]);
        watch.wait_for(&address(40 + round));
    }
    let (status, told) = watch.end();
    assert_eq!(status.code(), Some(0));
    assert_equal(&told, &server.end());
}

#[test]
fn v4_changes_are_told_across_restarts() {
    survives_a_restart(4, &[], active4, ended4, |last, state| match state {
        "active" => active4(100 + last, 3600),
        _ => ended4(100 + last, state),
    });
}

#[test]
fn v4_changes_of_a_relay_agent_are_told_across_restarts() {
    survives_a_restart(
        4,
        &["--relay-id", "09"],
        active4,
        ended4,
        |last, state| match state {
            "active" => active4(100 + last, 3600),
            _ => ended4(100 + last, state),
        },
    );
}

#[test]
fn v6_changes_are_told_across_restarts() {
    survives_a_restart(6, &[], active6, ended6, prefix6);
}

#[test]
fn v6_changes_behind_a_relay_agent_are_told_across_restarts() {
    survives_a_restart(6, &["--relay-id", "09"], active6, ended6, prefix6);
}

#[test]
fn a_state_file_takes_up_where_the_last_watch_ended() {
    let server = Restarting::start(4);
    let state = server.dir.path().join("watch.state");
    let address = server.address.to_string();
    let arguments = ["v4", "--since", "1", "--state", text(&state)];
    server.feed(&[active4(1, 3600)]);
    let watch = Watch::start(&address, &arguments);
    watch.wait_for_log("watch-caught-up");
    let (status, told) = watch.end();
    assert_eq!((status.code(), table(&told).len()), (Some(0), 1));
    let seconds: u64 = fs::read_to_string(&state).unwrap().trim().parse().unwrap();
    server.feed(&[active4(2, 3600)]);
    let rest = [&arguments[..], &["--until-caught-up"]].concat();
    let output = leaseq(&[&["watch", address.as_str()], &rest[..]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("since={seconds}")),
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).contains("198.51.100.2"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_server_without_active_leasequery_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("leaseq.toml");
    let told = format!(
        "[store]\ndir = \"{}\"\n[dhcp4]\nlisten-tcp = [\"127.0.0.1:0\"]\n[dhcp6]\nlisten-tcp = [\"[::1]:0\"]\nserver-duid = \"00030001\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[requestor]]\nnetwork = \"::1\"\n",
        data.display()
    );
    fs::write(&config, told).unwrap();
    let server = Server::start(&config);
    let address = server.address("dhcp6-tcp").to_string();
    let output = leaseq(&["watch", &address, "v6"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let end = "leaseq: the server ended the query: NotSupported";
    assert!(stderr(&output).contains(end), "{}", stderr(&output));
}
