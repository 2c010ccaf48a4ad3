//! The feed `isc-dhcpd`.

use std::fs;

use leaseq_feed::run::{Feed, Phase};
use leaseq_feed::{Settings, isc};
use leaseq_store::{Link6, State};

use crate::fixture::{Fixture, now};

const HEADER: &str = "# The format of this file is documented in the dhcpd.leases(5) manual page.\n\nauthoring-byte-order little-endian;\n\n";
const ONE: [u8; 4] = [192, 0, 2, 1];
const TWO: [u8; 4] = [192, 0, 2, 2];
const THREE: [u8; 4] = [192, 0, 2, 3];

/// The declaration of a lease that began `age` seconds ago.
fn lease(address: [u8; 4], state: &str, age: u64) -> String {
    let [a, b, c, d] = address;
    let start = now() - age;
    let end = if state == "active" {
        start + 3_600
    } else {
        start
    };
    format!(
        "lease {a}.{b}.{c}.{d} {{\n  starts epoch {start}; # comment\n  ends epoch {end}; # comment\n  cltt epoch {start};\n  binding state {state};\n  \
         next binding state free;\n  hardware ethernet 02:00:5e:00:00:0{d};\n  option agent.remote-id \"modem-{d}\";\n  on expiry {{\n    \
         log (info, \"x\");\n  }}\n}}\n"
    )
}

fn start(fixture: &Fixture) -> Feed {
    fixture.start(&Settings::IscDhcpd(isc::Settings {
        name: "dhcpd".into(),
        path: fixture.path(),
    }))
}

#[test]
fn leases_arrive_as_they_are_appended() {
    let fixture = Fixture::new();
    fixture.append(HEADER);
    let feed = start(&fixture);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.events, told.kind), (0, "isc-dhcpd"));
    fixture.append(&lease(ONE, "active", 60));
    let stored = fixture.until_state(ONE, State::Active);
    assert_eq!(
        stored.relay_agent_info.as_deref(),
        Some(&b"\x02\x07modem-1"[..])
    );
    assert_eq!(stored.lease_time, Some(3_600));
    fixture.append(&lease(ONE, "free", 30));
    let freed = fixture.until_state(ONE, State::Available);
    // What dhcpd no longer says of the client stays known.
    assert_eq!(freed.hwaddr, stored.hwaddr);
    fixture.append(
        "ia-pd \"\\001\\000\\000\\000\\000\\003x\" {\n  cltt epoch 1795344394;\n  iaprefix 2001:db8:100::/56 {\n    binding state active;\n    \
         preferred-life 400;\n    max-life 600;\n    ends never;\n  }\n}\n\n",
    );
    fixture.until("the prefix", || fixture.lease6("2001:db8:100::").is_some());
    let prefix = fixture.lease6("2001:db8:100::").unwrap();
    assert_eq!(
        (prefix.iaid, prefix.prefix_len, prefix.link),
        (Some(1), 56, Some(Link6::Unknown))
    );
    let told = feed.status().snapshot();
    assert_eq!((told.rejected, told.troubles, fixture.changes()), (0, 0, 3));
    feed.stop();
}

#[test]
fn a_declaration_counts_when_it_is_whole() {
    let fixture = Fixture::new();
    let text = lease(TWO, "active", 60);
    let (first, second) = text.split_at(text.len() / 2);
    fixture.append(&format!("{HEADER}{}{first}", lease(ONE, "active", 60)));
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    assert!(fixture.lease4(ONE).is_some() && fixture.lease4(TWO).is_none());
    feed.stop();
    // Started again in the middle of it, it goes on at its beginning.
    let feed = start(&fixture);
    fixture.append(second);
    fixture.until_state(TWO, State::Active);
    assert_eq!(feed.status().snapshot().rejected, 0);
    feed.stop();
}

#[test]
fn a_restart_finds_its_place() {
    let fixture = Fixture::new();
    fixture.append(&format!(
        "{HEADER}{}{}",
        lease(ONE, "active", 60),
        lease(TWO, "active", 60)
    ));
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    feed.stop();
    fixture.append(&lease(THREE, "active", 60));
    fixture.append("lease 192.0.2.4 {\n  rubbish\n}\n");
    let feed = start(&fixture);
    fixture.until_state(THREE, State::Active);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.events, told.rejected, fixture.changes()), (1, 1, 3));
    let fault = told.trouble.unwrap().text;
    let line = fs::read_to_string(fixture.path()).unwrap().lines().count();
    assert!(
        fault.contains(&format!("leases:{line}: expected \";\"")),
        "{fault} {line}"
    );
    feed.stop();
}

#[test]
fn a_new_file_ends_what_is_not_in_it_and_changes_nothing_else() {
    let fixture = Fixture::new();
    let leases = [ONE, TWO, THREE].map(|address| lease(address, "active", 60));
    fixture.append(&format!("{HEADER}{}", leases.concat()));
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    let before = fixture.lease4(TWO);
    fixture.replace(&format!("{HEADER}{}{}", leases[2], leases[1]));
    fixture.until_state(ONE, State::Available);
    assert_eq!(fixture.lease4(TWO), before);
    fixture.append(&lease(ONE, "active", 1));
    fixture.until_state(ONE, State::Active);
    assert_eq!(fixture.changes(), 3 + 1 + 1);
    feed.stop();
    // What is replaced while nobody looks counts the same.
    fixture.replace(&format!("{HEADER}{}", leases[1]));
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    for (address, state) in [
        (ONE, State::Available),
        (TWO, State::Active),
        (THREE, State::Available),
    ] {
        assert_eq!(fixture.lease4(address).unwrap().state, state, "{address:?}");
    }
    assert_eq!(fixture.lease4(TWO), before);
    feed.stop();
}

#[test]
fn a_file_that_is_read_again_does_not_make_leases_flicker() {
    let fixture = Fixture::new();
    let history = [
        lease(ONE, "active", 500),
        lease(ONE, "free", 400),
        lease(TWO, "active", 300),
        lease(ONE, "active", 200),
        lease(TWO, "free", 100),
    ];
    fixture.append(&format!("{HEADER}{}", history.concat()));
    let feed = start(&fixture);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.events, fixture.changes()), (2, 2));
    feed.stop();
    fixture.replace(&format!("{HEADER}{}", history.concat()));
    let feed = start(&fixture);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.events, fixture.changes()), (2, 2));
    feed.stop();
}

#[test]
fn leases_do_not_end_because_of_a_file_that_was_not_understood() {
    let fixture = Fixture::new();
    fixture.append(&format!(
        "{HEADER}{}{}",
        lease(ONE, "active", 60),
        lease(TWO, "active", 60)
    ));
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    let damaged = lease(ONE, "active", 60).replace("binding state active", "binding state lost");
    fixture.replace(&format!("{HEADER}{damaged}{}", lease(THREE, "active", 60)));
    fixture.until_state(THREE, State::Active);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.rejected, told.troubles), (1, 1));
    assert!(told.trouble.unwrap().text.contains("are not ended"));
    for address in [ONE, TWO] {
        assert_eq!(fixture.lease4(address).unwrap().state, State::Active);
    }
    feed.stop();
}

#[test]
fn a_missing_file_is_waited_for() {
    let fixture = Fixture::new();
    let feed = start(&fixture);
    fixture.until("it waits", || feed.status().phase() == Phase::Waiting);
    assert_eq!(feed.status().snapshot().loaded, None);
    fixture.replace(&format!("{HEADER}{}", lease(ONE, "active", 60)));
    fixture.until_state(ONE, State::Active);
    let told = fixture.until_follows(&feed);
    assert_eq!(told.troubles, 1);
    assert!(told.loaded.is_some());
    feed.stop();
}

#[test]
fn the_want_of_relay_data_is_remarked_on() {
    let fixture = Fixture::new();
    let direct = lease(ONE, "active", 60).replace("option agent.remote-id \"modem-1\";", "");
    fixture.append(&format!("{HEADER}{direct}"));
    let feed = start(&fixture);
    let told = fixture.until_follows(&feed);
    fixture.until("the remark", || feed.status().snapshot().remark.is_some());
    assert_eq!(told.rejected, 0);
    let remark = feed.status().snapshot().remark.unwrap();
    assert!(remark.contains("stash-agent-options true;"), "{remark}");
    fixture.append(&lease(TWO, "active", 60));
    fixture.until("no remark", || feed.status().snapshot().remark.is_none());
    feed.stop();
}
