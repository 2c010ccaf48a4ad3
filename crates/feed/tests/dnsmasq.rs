//! The lease file of dnsmasq: what the server wrote, and what is left of a damaged one.

use std::fs;
use std::path::{Path, PathBuf};

use leaseq_feed::dnsmasq::{self, Leases, is_lease_file};
use leaseq_feed::{ReadError, ndjson};
use leaseq_store::{Event, INFINITE, LeaseKind, State};
use proptest::prelude::*;

/// A time at which the leases of the file that the server wrote had not ended.
const NOW: u32 = 1_795_343_800;

fn data() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dnsmasq/mixed.leases");
    fs::read(path).unwrap()
}

fn read(text: &[u8], now: u32) -> (Vec<Event>, Vec<String>) {
    let (mut events, mut rejected) = (Vec::new(), Vec::new());
    for item in Leases::read(PathBuf::from("leases"), text, 0, now) {
        match item {
            Ok(event) => events.push(event),
            Err(ReadError::Rejected(told)) => rejected.push(told.to_string()),
            Err(error) => panic!("{error}"),
        }
    }
    (events, rejected)
}

fn one(line: &str) -> Event {
    let (mut events, rejected) = read(format!("{line}\n").as_bytes(), NOW);
    assert_eq!((events.len(), rejected.len()), (1, 0), "{rejected:?}");
    events.remove(0)
}

#[test]
fn the_file_of_the_server_is_read_whole() {
    let text = data();
    assert!(is_lease_file(&text[..100]));
    let (events, rejected) = read(&text, NOW);
    assert_eq!(rejected, [""; 0]);
    let mut lines = String::new();
    for event in &events {
        match event {
            Event::V4(event) => ndjson::write4(event, &mut lines),
            Event::V6(event) => ndjson::write6(event, &mut lines),
            Event::Feed(_) => panic!("no position lies in a lease file"),
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn a_lease_file_is_known_by_its_beginning() {
    assert!(is_lease_file(b"duid 00:01:02\n"));
    assert!(is_lease_file(b"0 02:00:5e:00:00:01 192.0.2.1 * *"));
    for text in [
        "",
        "\n",
        "address,hwaddr\n",
        "lease 192.0.2.1 {\n",
        "{\"family\":4}\n",
        "a b c d e\n",
    ] {
        assert!(!is_lease_file(text.as_bytes()), "{text}");
    }
}

#[test]
fn an_end_is_told_as_what_is_left_of_the_lease() {
    let Event::V4(lease) = one(&format!("{} 02:00:5e:00:00:01 192.0.2.1 host *", NOW + 600)) else {
        panic!()
    };
    assert_eq!(
        (lease.state, lease.cltt, lease.lease_time),
        (State::Active, Some(NOW), Some(600))
    );
    assert_eq!(lease.options, Some(vec![(12, b"host".to_vec())]));
    let Event::V4(lease) = one("0 06-01:02 192.0.2.1 * ff:1") else {
        panic!()
    };
    assert_eq!(lease.lease_time, Some(INFINITE));
    assert_eq!(lease.hwaddr.unwrap().htype, 6);
    assert_eq!(lease.client_id, Some(vec![255, 1]));
    let Event::V4(lease) = one(&format!("{NOW} 00- 192.0.2.1 * *")) else {
        panic!()
    };
    assert_eq!(
        (lease.state, lease.state_since),
        (State::Expired, Some(NOW))
    );
    assert_eq!((lease.lease_time, lease.hwaddr), (None, None));
}

#[test]
fn an_ipv6_lease_has_iaid_and_duid() {
    let Event::V6(lease) = one(&format!("{} T7 2001:db8::1 * 00:03", NOW + 60)) else {
        panic!()
    };
    assert_eq!(
        (lease.kind, lease.iaid, lease.valid_lifetime),
        (LeaseKind::Ta, Some(7), Some(60))
    );
    assert_eq!(lease.duid, Some(vec![0, 3]));
}

#[test]
fn lines_at_the_end_tell_relay_agent_and_vendor_class() {
    let text = "1800000000 02:00:5e:00:00:01 192.0.2.1 host *\nduid 00:01\n1800000000 1 2001:db8::1 * 00:03\n\
                agent-info 192.0.2.1 02:01:ff\nvendorclass 192.0.2.1 61:62\nagent-info 2001:db8::1 00\nagent-info 192.0.2.9 00\n";
    let mut leases = Leases::read(PathBuf::from("leases"), text.as_bytes(), 0, NOW);
    let events: Vec<Event> = leases.by_ref().map(Result::unwrap).collect();
    assert_eq!((leases.of_v4(), leases.with_relay_data()), (1, 1));
    let Event::V4(lease) = &events[0] else {
        panic!()
    };
    assert_eq!(lease.relay_agent_info, Some(vec![2, 1, 255]));
    assert_eq!(
        lease.options,
        Some(vec![(12, b"host".to_vec()), (60, b"ab".to_vec())])
    );
}

#[test]
fn refusals_name_the_line_and_what_was_expected() {
    let text = "soon 02:00:5e:00:00:01 192.0.2.1 * *\n3600 02:00:5e:00:00:01 192.0.2.1 * *\n1800000000 02:00 192.0.2.1 *\n\
                1800000000 xx-02 192.0.2.1 * *\n1800000000 0200 192.0.2.1 * *\n1800000000 02:00 192.0.2 * *\n\
                1800000000 x 2001:db8::1 * 00:01\n1800000000 1 2001:db8::1 * *\n1800000000 02:00 192.0.2.1 * zz\nagent-info 192.0.2.1\n\
                agent-info 192.0.2 00\nvendorclass 192.0.2.1 0x\n\n1800000000 02:00 192.0.2.1 * 01";
    let (events, rejected) = read(text.as_bytes(), NOW);
    assert_eq!(events, []);
    insta::assert_snapshot!(rejected.join("\n"));
}

proptest! {
    #[test]
    fn a_cut_loses_only_the_lines_that_it_hits(at in any::<prop::sample::Index>(), length in 0_usize..400) {
        let text = data();
        let from = at.index(text.len());
        let to = (from + length).min(text.len());
        let mut whole = text[..from].to_vec();
        whole.truncate(whole.iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1));
        let after = &text[to..];
        let after = &after[after.iter().position(|octet| *octet == b'\n').map_or(after.len(), |at| at + 1)..];
        let mut expected = read(&whole, NOW).0;
        expected.extend(read(after, NOW).0);
        let left = read(&[&text[..from], &text[to..]].concat(), NOW).0;
        let mut left = left.iter();
        prop_assert!(expected.iter().all(|event| left.any(|other| other == event)));
    }

    #[test]
    fn nothing_panics_and_every_event_can_be_stored(
        lines in prop::collection::vec("(0|[0-9]{1,20}|duid|agent-info|vendorclass) [-T0-9a-f:]{0,20} ?(192\\.0\\.2\\.[0-9]|[0-9a-f:.]{0,20})( .{0,4}){0,3}", 0..20),
        now in any::<u32>(),
    ) {
        let (leases, _) = dnsmasq::parse(format!("{}\n", lines.join("\n")).as_bytes(), 7);
        for lease in leases {
            prop_assert_eq!(lease.clone().seen_at(now).check(), Ok(()));
        }
    }
}
