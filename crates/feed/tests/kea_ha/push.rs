//! What Kea pushes, and what else comes to the socket.

use std::net::TcpStream;

use leaseq_feed::run::Phase;
use leaseq_store::{LeaseKind, State};
use serde_json::{Value, json};

use crate::fixture::{Kea, NOW, fixture, pushed4};

/// Sends a request as it was recorded; the answer.
fn replay(kea: &mut Kea, recorded: &str) -> Value {
    kea.send(recorded.as_bytes());
    let (status, answer) = kea.receive().expect("a response");
    assert_eq!(status, 200);
    answer[0].clone()
}

#[test]
fn what_kea_sends_of_v4_is_stored() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    let answer = replay(&mut kea, include_str!("lease4-update.http"));
    assert_eq!(answer, json!({"result": 0, "text": "IPv4 lease updated."}));
    // It is durable, and visible, once it is answered.
    let lease = feed.lease4("198.51.100.10").unwrap();
    assert_eq!(
        (lease.state, lease.cltt, lease.lease_time),
        (State::Active, Some(1_795_343_440), Some(600))
    );
    assert_eq!(lease.client_id, Some(vec![0, 1, 2, 1]));
    assert_eq!(
        lease.relay_agent_info,
        Some(vec![1, 2, 0x41, 1, 2, 2, 0x52, 1])
    );
    assert_eq!(lease.options, Some(vec![(12, b"h".to_vec())]));
    replay(&mut kea, include_str!("lease4-update-second.http"));
    assert_eq!(feed.lease4("198.51.100.11").unwrap().state, State::Active);
    let answer = replay(&mut kea, include_str!("lease4-del.http"));
    assert_eq!(answer, json!({"result": 0, "text": "IPv4 lease deleted."}));
    let lease = feed.lease4("198.51.100.11").unwrap();
    assert_eq!(
        (lease.state, lease.state_since, lease.client_id),
        (State::Released, Some(NOW as u32), Some(vec![0, 1, 2, 2]))
    );
    assert_eq!(feed.lease4("198.51.100.10").unwrap().state, State::Active);
    let told = feed.told();
    assert_eq!((told.events, told.rejected), (3, 0));
    assert_eq!(told.phase, Phase::Following);
}

#[test]
fn what_kea_sends_of_v6_is_stored() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    for request in [
        include_str!("lease6-bulk-apply.http"),
        include_str!("lease6-bulk-apply-second.http"),
    ] {
        let text = "Bulk apply of 2 IPv6 leases completed.";
        assert_eq!(
            replay(&mut kea, request),
            json!({"result": 0, "text": text})
        );
    }
    let lease = feed.lease6("2001:db8:7::1001").unwrap();
    assert_eq!((lease.state, lease.kind), (State::Active, LeaseKind::Na));
    assert_eq!(
        (lease.preferred_lifetime, lease.valid_lifetime, lease.iaid),
        (Some(400), Some(600), Some(11))
    );
    let relay = &lease.relay.unwrap()[0];
    assert_eq!(
        relay.link,
        "2001:db8:7::1".parse::<std::net::Ipv6Addr>().unwrap()
    );
    assert_eq!(relay.options.len(), 34);
    let prefix = feed.lease6("2001:db8:7000:100::").unwrap();
    assert_eq!(
        (prefix.kind, prefix.prefix_len, prefix.iaid),
        (LeaseKind::Pd, 56, Some(12))
    );
    replay(&mut kea, include_str!("lease6-bulk-apply-deleted.http"));
    assert_eq!(
        feed.lease6("2001:db8:7::1001").unwrap().state,
        State::Released
    );
    assert_eq!(
        feed.lease6("2001:db8:7000:100::").unwrap().state,
        State::Active
    );
}

#[test]
fn a_backup_answers_as_kea_would() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    let answer = kea.command("ha-heartbeat", json!({"server-name": "primary"}));
    assert_eq!(answer["result"], 0);
    let told = &answer["arguments"];
    assert_eq!(
        (
            &told["state"],
            &told["scopes"],
            &told["unsent-update-count"]
        ),
        (&json!("backup"), &json!([]), &json!(0))
    );
    let date = told["date-time"].as_str().unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    for name in ["dhcp-disable", "dhcp-enable", "ha-maintenance-notify"] {
        assert_eq!(kea.command(name, json!({}))["result"], 0);
    }
    let status = kea.command("status-get", json!({}));
    assert_eq!(status["arguments"]["pid"], std::process::id());
    assert_eq!(
        kea.command("lease4-wipe", json!({})),
        json!({"result": 2, "text": "'lease4-wipe' command not supported."})
    );
    assert_eq!(feed.told().rejected, 0);
}

#[test]
fn a_lease_that_cannot_be_understood_harms_no_other() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    let mut wrong = pushed4(10, NOW);
    wrong["hw-address"] = "02:0g".into();
    let answer = kea.command("lease4-update", wrong);
    assert_eq!(answer["result"], 1);
    let text = answer["text"].as_str().unwrap();
    assert!(
        text.starts_with("198.51.100.10: hw-address: expected hex digits"),
        "{text}"
    );
    let good = json!({
        "ip-address": "2001:db8:7::1", "duid": "00:01", "iaid": 1, "type": "IA_NA", "valid-lft": 600, "expire": NOW + 600,
    });
    let no_duid = json!({
        "ip-address": "2001:db8:7::2", "iaid": 1, "type": "IA_NA", "valid-lft": 600, "expire": NOW + 600,
    });
    let answer = kea.command(
        "lease6-bulk-apply",
        json!({"deleted-leases": [5, {"ip-address": "2001:db8:7::3", "type": "IA_PD"}], "leases": [no_duid, good]}),
    );
    assert_eq!(answer["result"], 0);
    assert_eq!(answer["text"], "Bulk apply of 1 IPv6 leases completed.");
    let failed = &answer["arguments"]["failed-leases"];
    assert_eq!(failed.as_array().unwrap().len(), 1);
    assert_eq!(failed[0]["ip-address"], "2001:db8:7::2");
    assert_eq!(failed[0]["result"], 1);
    let failed = &answer["arguments"]["failed-deleted-leases"];
    assert_eq!(failed.as_array().unwrap().len(), 2);
    assert_eq!(failed[1]["type"], "IA_PD");
    assert!(feed.lease6("2001:db8:7::1").is_some());
    assert_eq!(feed.told().rejected, 4);
}

#[test]
fn an_update_that_was_overtaken_changes_nothing() {
    let feed = fixture(None, None);
    let (mut one, mut other) = (feed.kea(), feed.kea());
    one.command("lease4-update", pushed4(10, NOW));
    // The renewal before came later, over another connection.
    let answer = other.command("lease4-update", pushed4(10, NOW - 10));
    assert_eq!(answer["result"], 0);
    assert_eq!(feed.lease4("198.51.100.10").unwrap().cltt, Some(NOW as u32));
    // So did the end of the lease that another client had before, be it in the same second.
    for given in [NOW - 10, NOW] {
        let mut ended = pushed4(10, given);
        ended["client-id"] = "01:ff".into();
        assert_eq!(other.command("lease4-del", ended)["result"], 0);
        assert_eq!(feed.lease4("198.51.100.10").unwrap().state, State::Active);
    }
    // A clock that was set back is none of that.
    other.command("lease4-update", pushed4(10, NOW - 100));
    assert_eq!(
        feed.lease4("198.51.100.10").unwrap().cltt,
        Some(NOW as u32 - 100)
    );
    other.command("lease4-del", pushed4(10, NOW - 100));
    assert_eq!(feed.lease4("198.51.100.10").unwrap().state, State::Released);
}

#[test]
fn what_is_no_command_is_refused() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    assert_eq!(
        kea.post("{"),
        (400, json!({"result": 400, "text": "Bad Request"}))
    );
    let (status, answer) = kea.post("[]");
    assert_eq!((status, &answer[0]["result"]), (200, &json!(1)));
    kea.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(kea.receive().unwrap().0, 405);
    let mut rude = feed.kea();
    rude.send(b"\x16\x03\x01 no HTTP at all\r\n\r\n");
    assert_eq!(kea.command("ha-heartbeat", json!({}))["result"], 0);
}

#[test]
fn requests_that_are_too_long_or_cut_off_count_as_lost_updates() {
    let feed = fixture(None, None);
    let mut long = feed.kea();
    long.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 16777217\r\n\r\n");
    assert_eq!(long.receive().unwrap().0, 413);
    let mut endless = feed.kea();
    endless.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(endless.receive().unwrap().0, 411);
    assert_eq!(feed.told().troubles, 2);
    let mut slow = feed.kea();
    slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    // Others are served meanwhile.
    assert_eq!(feed.kea().command("ha-heartbeat", json!({}))["result"], 0);
    drop(slow);
    let mut kea = feed.kea();
    for _ in 0..10_000 {
        kea.command("ha-heartbeat", json!({}));
        if feed.told().troubles == 3 {
            break;
        }
    }
    let told = feed.told();
    assert_eq!(told.troubles, 3);
    assert!(told.trouble.unwrap().text.contains("was cut off"));
}

#[test]
fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let feed = fixture(None, None);
    let mut open: Vec<Kea> = (0..64).map(|_| feed.kea()).collect();
    for kea in &mut open {
        assert_eq!(kea.command("ha-heartbeat", json!({}))["result"], 0);
    }
    let mut refused = feed.kea();
    assert_eq!(refused.receive(), None);
    let told = feed.told().trouble.unwrap().text;
    assert!(told.contains("64 connections are open"), "{told}");
    let answer = open[63].command("lease4-update", pushed4(10, NOW));
    assert_eq!(answer["result"], 0);
    feed.feed.stop();
    assert!(TcpStream::connect(open[0].peer()).is_err());
    assert_eq!(open[0].receive(), None);
}

#[test]
fn without_a_control_channel_a_word_of_kea_is_what_counts_as_read() {
    let feed = fixture(None, None);
    let remark = |feed: &crate::fixture::Fixture| feed.told().remark.unwrap_or_default();
    feed.kea().command("lease4-update", pushed4(10, NOW));
    feed.wait_until(|feed| feed.state().position == b"4");
    assert!(remark(&feed).contains("control4"), "{}", remark(&feed));
    let state = feed.state();
    assert!(state.live);
    assert_eq!(state.read_up_to.millis(), NOW * 1_000);
    // Nobody speaks: nothing more is known.
    feed.clock.advance(60_000);
    feed.kea().command("list-commands", json!({}));
    feed.wait_until(|feed| feed.state().read_up_to.millis() == (NOW + 60) * 1_000);
    // A DHCPv6 server is there too: from now on both are to be heard.
    let lease = json!({
        "ip-address": "2001:db8:7::1", "duid": "00:01", "iaid": 1, "valid-lft": 600, "expire": NOW + 600,
    });
    feed.kea().command("lease6-update", lease);
    feed.wait_until(|feed| feed.state().position == b"46");
    let feed = feed.restart_feed(None);
    feed.clock.advance(60_000);
    feed.kea().command("list-commands", json!({}));
    feed.kea().command("lease4-update", pushed4(11, NOW + 120));
    assert_eq!(feed.state().read_up_to.millis(), (NOW + 60) * 1_000);
}

#[test]
fn leases_without_relay_data_are_remarked_until_one_has_some() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    let missing = |feed: &crate::fixture::Fixture| {
        let remark = feed.told().remark.unwrap_or_default();
        remark.contains("no lease of dhcp4 has relay data")
            && remark.contains("store-extended-info")
    };
    for last in 1..=20 {
        let mut lease = pushed4(last, NOW);
        lease.as_object_mut().unwrap().remove("user-context");
        kea.command("lease4-update", lease);
    }
    feed.wait_until(missing);
    kea.command("lease4-update", pushed4(21, NOW));
    feed.wait_until(|feed| !missing(feed));
}
