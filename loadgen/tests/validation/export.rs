//! Inventories from an export: with everything that made-up bindings have not.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use leaseq_loadgen::check::{BulkCheck, Picture};
use leaseq_loadgen::data::{DataError, Inventory, LeaseKey, Source};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::scenario::By;
use leaseq_requestor::{Family, Query};
use tempfile::NamedTempFile;

use crate::rig::{Plan, REQUESTOR, Rig};
use crate::stream::{Follower, queries};

fn plan(family: Family) -> Plan {
    Plan {
        family,
        relays: 1,
        per_relay: 1,
        changing: u32::MAX,
        release_percent: 40,
        seed: 5,
    }
}

fn start() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as u32
}

/// Of both families: other states, other VPNs, infinite leases, long option 82, several relay agents on the way, clients with
/// leases behind different ones.
fn lines(start: u32) -> String {
    let mut lines = String::new();
    let cltt = start - 500;
    for n in 0..60_u32 {
        let relay = n % 3;
        let vpn = match n % 10 {
            8 => ",\"vpn\":\"red\"",
            9 => ",\"vpn\":\"00005e:00000007\"",
            _ => "",
        };
        let state = if n % 7 == 6 { "expired" } else { "active" };
        let valid = if n % 6 == 5 { u32::MAX } else { 3_600 + 50 * n };
        // Longer than one option can be.
        let circuit = if n == 12 {
            "ab".repeat(250)
        } else {
            format!("{n:08x}")
        };
        let _ = writeln!(
            lines,
            "{{\"family\":4,\"address\":\"198.51.100.{n}\",\"state\":\"{state}\",\"hwaddr\":\"01:02:00:00:00:00:{n:02x}\",\
             \"client_id\":\"ff{n:04x}\",\"cltt\":{},\"valid_lifetime\":{valid},\
             \"relay_agent_info\":\"01{:02x}{circuit}0204000000{relay:02x}0c0200{relay:02x}\",\
             \"options\":{{\"12\":\"686f7374\",\"60\":\"61\"}}{vpn}}}",
            cltt + n,
            circuit.len() / 2,
        );
    }
    lines.push_str("{\"family\":4,\"address\":\"198.51.100.99\",\"state\":\"available\"}\n\n");
    for n in 0..60_u32 {
        // Clients of three leases: two addresses and a prefix, some of them behind another relay agent.
        let (client, kind) = (n / 3, n % 3);
        let link = client % 2;
        let relay = if client % 5 == 4 { kind } else { client % 3 };
        let lease = match kind {
            2 => format!("\"prefix\":\"2001:db8:f{client:03x}::/48\""),
            _ => format!("\"address\":\"2001:db8:{link}::{client:x}:{kind}\""),
        };
        let state = if n % 11 == 10 { "released" } else { "active" };
        let lifetimes = match n % 6 {
            5 => String::new(),
            _ => format!(
                ",\"preferred_lifetime\":{},\"valid_lifetime\":{}",
                1_800 + n,
                7_200 + n
            ),
        };
        let inner = format!(
            "{{\"link\":\"2001:db8:{link}::1\",\"peer\":\"fe80::{client:x}\",\"options\":\"00350002ee{relay:02x}\"}}"
        );
        let outer = format!(
            "{{\"link\":\"2001:db8:ffff::{relay}\",\"peer\":\"fe80::1:{relay}\",\"options\":\"00250005000000ff{relay:02x}\"}},"
        );
        let outer = if client % 4 == 0 {
            outer
        } else {
            String::new()
        };
        let _ = writeln!(
            lines,
            "{{\"family\":6,{lease},\"duid\":\"000300{client:04x}\",\"iaid\":{kind},\"state\":\"{state}\",\"cltt\":{}{lifetimes},\
             \"relay\":[{outer}{inner}]}}",
            cltt + n,
        );
    }
    lines
}

fn file(lines: &str) -> (NamedTempFile, Source) {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    let source = Source::Export {
        path: file.path().to_owned(),
    };
    (file, source)
}

#[test]
fn an_export_has_rows_and_what_can_be_asked_about_them() {
    let text = lines(start());
    let (_file, source) = file(&text);
    let v4 = Inventory::load(Family::V4, &source).unwrap();
    assert_eq!(
        (v4.len(), v4.relays(), v4.targets(By::RemoteId)),
        (61, 3, 3)
    );
    let row = v4.find(LeaseKey::V4([198, 51, 100, 7].into())).unwrap();
    assert_eq!(v4.name(row), "198.51.100.7");
    // That one is in another VPN.
    assert_eq!(v4.find(LeaseKey::V4([198, 51, 100, 8].into())), None);
    assert_eq!(v4.rows(By::RelayId, 1).len(), 20);
    assert!(v4.rows(By::RelayId, 1).place(row).is_some());
    for by in [By::Address, By::Hwaddr, By::ClientId, By::RemoteId] {
        assert!(v4.udp_query(by, row, b"").unwrap().udp_request(1).is_ok());
    }
    let v6 = Inventory::load(Family::V6, &source).unwrap();
    assert_eq!(
        (
            v6.len(),
            v6.relays(),
            v6.targets(By::RemoteId),
            v6.targets(By::Link)
        ),
        (60, 3, 3, 2)
    );
    let Some(Query::V6(query)) = v6.query(By::Link, 1, REQUESTOR) else {
        panic!()
    };
    assert_eq!(query.link.to_string(), "2001:db8:1::1");
    // Of the clients with a lease behind each relay agent all three belong to each.
    let rows = v6.rows(By::RelayId, 0);
    let mut v6_lines = text.lines().filter(|line| line.contains("\"family\":6"));
    let mut is_direct = |n: usize| {
        let line = v6_lines.nth(n).unwrap();
        let is_it = |row: &u32| {
            let mut found = String::new();
            v6.line(*row, None, &mut found);
            found.trim_end() == line
        };
        let row = (0..v6.len()).find(is_it).unwrap();
        rows.is_direct(rows.place(row).unwrap())
    };
    assert_eq!((is_direct(12), is_direct(0)), (true, false));
}

#[test]
fn a_line_that_is_none_is_told_with_its_place() {
    let good = lines(start());
    let first = good.lines().next().unwrap();
    for (line, expected) in [
        (
            "{\"family\":4",
            "line:123: column 11: EOF while parsing an object",
        ),
        (
            "{\"family\":5,\"state\":\"active\"}",
            "line:123: family: expected 4 or 6, found 5",
        ),
        (
            "{\"family\":4,\"state\":\"active\"}",
            "line:123: expected one address, or in DHCPv6 one prefix",
        ),
        (
            "{\"family\":4,\"address\":\"10.0.0\",\"state\":\"active\"}",
            "line:123: address: cannot read \"10.0.0\"",
        ),
        (
            "{\"family\":4,\"address\":\"10.0.0.1\",\"state\":\"active\",\"client_id\":\"1\"}",
            "line:123: client_id: expected hex, found \"1\"",
        ),
        (first, "line:123: 198.51.100.0 is there a second time"),
    ] {
        let (file, source) = file(&format!("{good}{line}\n"));
        let error = Inventory::load(Family::V4, &source)
            .unwrap_err()
            .to_string();
        let path = file.path().display().to_string();
        assert_eq!(error.replace(&path, "line"), expected);
    }
    let missing = Source::Export {
        path: "/nowhere/at/all".into(),
    };
    assert!(matches!(
        Inventory::load(Family::V4, &missing),
        Err(DataError::Read { .. })
    ));
    let (_file, empty) = file("\n");
    assert!(matches!(
        Inventory::load(Family::V6, &empty),
        Err(DataError::Empty)
    ));
}

#[test]
fn a_true_server_is_accepted_while_exported_bindings_change() {
    for family in [Family::V4, Family::V6] {
        let start = start();
        let (_file, source) = file(&lines(start));
        let mut rig = Rig::with(&plan(family), &source, start);
        let mut followers: Vec<Follower> = queries(&rig)
            .into_iter()
            .map(|(by, relay)| Follower::new(&mut rig, by, relay, &Picture::nothing(), None))
            .collect();
        for follower in &mut followers {
            follower.hear_all(&rig);
            follower.check.live();
        }
        for round in 0..80 {
            for (by, relay) in rig.bulk_queries() {
                let (number, line) = rig.submit();
                let check = BulkCheck::new(&rig.expected(by, relay), rig.unix());
                let answer = rig.bulk(by, relay);
                rig.store_lines(&line);
                rig.board.acknowledge(family, number);
                let (_, faults) = rig.run_check(check, by, relay, &answer);
                assert_eq!(faults, [], "{by:?} {relay} {round}");
            }
            for follower in &mut followers {
                follower.hear_all(&rig);
                assert_eq!(follower.faults, [], "{round}");
            }
            rig.pass(10);
        }
        for follower in &mut followers {
            assert!(follower.check.is_complete());
            assert_eq!(follower.end(), &[]);
        }
    }
}

#[test]
fn what_differs_from_an_export_is_found() {
    for family in [Family::V4, Family::V6] {
        let start = start();
        let text = lines(start);
        let (_file, source) = file(&text);
        let mut rig = Rig::with(&plan(family), &source, start);
        // The server holds others than were exported.
        // In DHCPv6 the relay agents told are those of the lease that the client spoke about last: of three the third.
        let rows = rig.inventory.rows(By::RelayId, 1);
        let row = rows
            .iter()
            .find(|row| family == Family::V4 || row % 3 == 2)
            .unwrap();
        let mut line = String::new();
        rig.inventory.line(row, None, &mut line);
        let other = match family {
            Family::V4 => line.replace("\"client_id\":\"ff", "\"client_id\":\"fe"),
            Family::V6 => line.replace("fe80::", "fe80::7:"),
        };
        assert_ne!(line, other);
        rig.store_lines(&other);
        let answer = rig.bulk(By::RelayId, 1);
        let (_, faults) = rig.check_bulk(By::RelayId, 1, &answer);
        let kinds: Vec<_> = faults.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [FaultKind::Different], "{faults:?}");
        let text = &faults[0].1;
        assert!(text.contains("expected") && text.contains("came"), "{text}");
    }
}

#[test]
fn only_active_leases_can_be_changed_and_they_come_first() {
    let (_file, source) = file(&lines(start()));
    for family in [Family::V4, Family::V6] {
        let inventory = Inventory::load(family, &source).unwrap();
        let active = inventory.changeable();
        assert!(0 < active && active < inventory.len());
        let is_active = |row: u32| {
            let mut line = String::new();
            inventory.line(row, None, &mut line);
            line.contains("\"state\":\"active\"")
        };
        assert!((0..active).all(is_active) && !(active..inventory.len()).any(is_active));
    }
}
