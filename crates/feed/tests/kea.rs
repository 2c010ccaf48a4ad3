//! Kea lease files: rows of each kind, versions of the header, files of the clean-up, and lines that are rubbish.

use std::fs;
use std::path::Path;

use leaseq_feed::kea::{self, Family, LeaseFile, OpenError};
use leaseq_feed::{ReadError, Rejection};
use leaseq_store::{Event, Event4, Event6, LeaseKind, Link6, State};
use proptest::prelude::*;

const HEADER4: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id";
const HEADER6: &str = "address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,\
                       fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id";

fn read(text: &str) -> Vec<Result<Event, Rejection>> {
    let file = LeaseFile::read("leases.csv".into(), text.as_bytes(), 0)
        .expect("a header")
        .expect("not empty");
    file.map(|item| match item {
        Ok(event) => Ok(event),
        Err(ReadError::Rejected(rejection)) => Err(rejection),
        Err(ReadError::Io { source, .. }) => panic!("{source}"),
    })
    .collect()
}

fn row4(row: &str) -> Result<Event4, String> {
    match read(&format!("{HEADER4}\n{row}\n")).remove(0) {
        Ok(Event::V4(event)) => Ok(event),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(rejection.reason),
    }
}

fn row6(row: &str) -> Result<Event6, String> {
    match read(&format!("{HEADER6}\n{row}\n")).remove(0) {
        Ok(Event::V6(event)) => Ok(event),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(rejection.reason),
    }
}

#[test]
fn a_v4_row_tells_the_whole_binding() {
    let context =
        r#"{"ISC":{"relay-agent-info":{"relay-id":"AABB"&#x2c"sub-options":"0x02020102"}}}"#;
    let row = format!(
        "192.0.2.7,02:1a:00:00:00:01,01:02:1a:00:00:00:01,3600,1700003600,4,0,0,caf&#xc3&#xa9&#x2c x,0,{context},0"
    );
    let event = row4(&row).unwrap();
    assert_eq!(
        event.address,
        "192.0.2.7".parse::<std::net::Ipv4Addr>().unwrap()
    );
    assert_eq!(event.state, State::Active);
    let hwaddr = event.hwaddr.unwrap();
    assert_eq!(
        (hwaddr.htype, &hwaddr.octets[..]),
        (1, &[2, 0x1a, 0, 0, 0, 1][..])
    );
    assert_eq!(
        event.client_id.as_deref(),
        Some(&[1, 2, 0x1a, 0, 0, 0, 1][..])
    );
    assert_eq!(
        (event.cltt, event.lease_time),
        (Some(1_700_000_000), Some(3600))
    );
    assert_eq!(
        event.options,
        Some(vec![(12, "caf\u{e9}, x".as_bytes().to_vec())])
    );
    assert_eq!(event.relay_agent_info, Some(vec![2, 2, 1, 2]));
}

#[test]
fn states_lifetimes_and_deletion_of_v4_rows() {
    let row = |valid: u32, expire: u64, state: &str| {
        row4(&format!("192.0.2.7,,,{valid},{expire},4,0,0,,{state},,0"))
    };
    let event = row(3600, 5000, "1").unwrap();
    assert_eq!(
        (event.state, event.hwaddr, event.client_id),
        (State::Abandoned, None, None)
    );
    let event = row(3600, 5000, "2").unwrap();
    assert_eq!(
        (event.state, event.state_since),
        (State::Expired, Some(5000))
    );
    assert_eq!(row(3600, 5000, "3").unwrap().state, State::Released);
    let event = row(0, 5000, "0").unwrap();
    assert_eq!(
        (event.state, event.cltt, event.lease_time),
        (State::Available, None, None)
    );
    // Infinite, as the sum of both, or with the cltt as the end.
    for expire in [1_000 + u64::from(u32::MAX), 1_000] {
        let event = row(u32::MAX, expire, "0").unwrap();
        assert_eq!(
            (event.cltt, event.lease_time),
            (Some(1_000), Some(u32::MAX))
        );
    }
    assert_eq!(
        row(3600, 5000, "7"),
        Err("state: expected a state from 0 to 4, found 7".into())
    );
    assert_eq!(
        row(3600, 3599, "0"),
        Err("expire: expected valid_lifetime 3600 and a time from 1970 to 2106, found 3599".into())
    );
}

#[test]
fn v6_rows_tell_addresses_and_prefixes_with_their_relays() {
    let context = r#"{"ISC":{"relay-info":[{"hop":1&#x2c"link":"2001:db8:ffff::1"&#x2c"peer":"2001:db8:7::1"}&#x2c{"hop":0&#x2c"link":"2001:db8:7::1"&#x2c"peer":"fe80::1"&#x2c"options":"0x003500021234"}]}}"#;
    let event = row6(&format!(
        "2001:db8:7:1::5,00:03:00:01:02,3600,5000,9,1800,0,77,128,0,0,h,02:03,0,{context},1,2,0"
    ))
    .unwrap();
    assert_eq!(
        (event.kind, event.prefix_len, event.iaid),
        (LeaseKind::Na, 128, Some(77))
    );
    assert_eq!(event.duid, Some(vec![0, 3, 0, 1, 2]));
    assert_eq!(
        (event.cltt, event.preferred_lifetime, event.valid_lifetime),
        (Some(1400), Some(1800), Some(3600))
    );
    assert_eq!(
        event.link,
        Some(Link6::Address("2001:db8:7::1".parse().unwrap()))
    );
    let relay = event.relay.unwrap();
    assert_eq!(relay[1].options, [0, 53, 0, 2, 0x12, 0x34]);
    let event =
        row6("3fff:0:0:100::,00:03:00:01:02,3600,5000,9,1800,2,78,56,0,0,,,0,,1,2,0").unwrap();
    assert_eq!((event.kind, event.prefix_len), (LeaseKind::Pd, 56));
    assert_eq!((event.link, event.relay), (Some(Link6::Subnet(9)), None));
    let declined = row6("2001:db8::9,00:00:00,3600,5000,9,1800,0,78,128,0,0,,,1,,1,2,0").unwrap();
    assert_eq!(
        (declined.state, declined.duid, declined.link),
        (State::Abandoned, None, None)
    );
    let temporary = row6("2001:db8::9,01,3600,5000,9,1800,1,78,128,0,0,,,4,,1,2,0").unwrap();
    assert_eq!(
        (temporary.kind, temporary.state),
        (LeaseKind::Ta, State::Active)
    );
}

#[test]
fn a_relay_that_leaves_its_link_open_does_not_name_the_link() {
    let context = r#"{"ISC":{"relays":[{"link":"2001:db8:7::1"&#x2c"peer":"fe80::2"}&#x2c{"link":"::"&#x2c"peer":"fe80::1"}]}}"#;
    let event = row6(&format!(
        "2001:db8:7:1::5,01,3600,5000,9,1800,0,77,128,0,0,h,,0,{context},1,2,0"
    ))
    .unwrap();
    assert_eq!(
        event.link,
        Some(Link6::Address("2001:db8:7::1".parse().unwrap()))
    );
}

#[test]
fn columns_are_found_by_name_and_the_last_ones_may_be_missing() {
    let text = "address,client_id,expire,valid_lifetime,hwaddr\n192.0.2.7,01,5000,3600,02:03\n192.0.2.8,01,5000,3600,02:04,\n";
    let read = read(text);
    let Ok(Event::V4(event)) = &read[0] else {
        panic!("{read:?}")
    };
    assert_eq!((event.cltt, event.state), (Some(1400), State::Active));
    assert_eq!(
        read[1].as_ref().unwrap_err().reason,
        "expected 5 columns, found more"
    );
    let short = row4("192.0.2.7,02:03,01,3600,5000,4,0,0,,0").unwrap();
    assert_eq!(short.cltt, Some(1400));
    assert_eq!(
        row4("192.0.2.7,02:03,01,3600,5000,4"),
        Err("expected 12 columns, found 6".into())
    );
}

#[test]
fn a_rejected_row_names_its_line_and_harms_no_other() {
    let text = format!(
        "{HEADER4}\n192.0.2.1,,,60,5000,1,0,0,,0,,0\n\nbogus,,,60,5000,1,0,0,,0,,0\n192.0.2.2,0x,,60,5000,1,0,0,,0,,0\n\
         192.0.2.3,,,60,5000,1,0,0,,0,{{\"ISC\",0\n192.0.2.4,,,60,5000,1,0,0,,0,,0\n192.0.2.5,,,60,50"
    );
    let told: Vec<String> = read(&text)
        .into_iter()
        .map(|item| item.map_or_else(|told| told.to_string(), |_| "taken".into()))
        .collect();
    assert_eq!(
        told,
        [
            "taken",
            "leases.csv:4: address: expected an IPv4 address, found \"bogus\"",
            "leases.csv:5: hwaddr: expected hex digits, found another character at offset 1",
            "leases.csv:6: user_context is not as Kea writes it: EOF while parsing an object (column 6)",
            "taken",
            "leases.csv:8: expected 12 columns, found 5",
        ]
    );
}

#[test]
fn the_header_tells_the_family_and_other_files_are_refused() {
    assert_eq!(kea::family_of_header(HEADER4.as_bytes()), Some(Family::V4));
    assert_eq!(kea::family_of_header(HEADER6.as_bytes()), Some(Family::V6));
    assert_eq!(kea::family_of_header(b"{\"family\":4}"), None);
    let refused = |text: &str| match LeaseFile::read("x".into(), text.as_bytes(), 0) {
        Err(error @ OpenError::Header { .. }) => error.to_string(),
        _ => panic!("expected a refusal"),
    };
    assert_eq!(
        refused("lease 192.0.2.1 {\n"),
        "x:1: expected the header of a Kea lease file (\"address,...\"), found \"lease 192.0.2.1 {\""
    );
    assert_eq!(
        refused("address,client_id\n"),
        "x:1: expected a column \"hwaddr\" in the header"
    );
    assert!(LeaseFile::read("x".into(), &b""[..], 0).unwrap().is_none());
}

fn write(dir: &Path, name: &str, addresses: &[&str]) {
    let mut text = format!("{HEADER4}\n");
    for address in addresses {
        text += &format!("{address},,,60,5000,1,0,0,,0,,0\n");
    }
    fs::write(dir.join(name), text).unwrap();
}

#[test]
fn a_live_directory_is_read_with_the_files_of_the_clean_up() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "kea-leases4.csv", &["192.0.2.3"]);
    write(dir.path(), "kea-leases4.csv.1", &["192.0.2.2"]);
    write(dir.path(), "kea-leases4.csv.2", &["192.0.2.1"]);
    fs::write(dir.path().join("kea-leases4.csv.output"), "unfinished").unwrap();
    let leases = kea::read4(&dir.path().join("kea-leases4.csv"), 7).unwrap();
    assert_eq!(leases.family(), Some(Family::V4));
    let octets = leases.octets();
    let mut leases = leases;
    let mut addresses = Vec::new();
    for item in leases.by_ref() {
        let Ok(Event::V4(event)) = item else {
            panic!("{item:?}")
        };
        assert_eq!(event.feed, 7);
        addresses.push(event.address.to_string());
    }
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(
        (leases.octets_done(), leases.with_relay_data()),
        (octets, 0)
    );
    let wrong = kea::read6(&dir.path().join("kea-leases4.csv"), 0)
        .err()
        .expect("the wrong family");
    assert!(
        wrong
            .to_string()
            .ends_with("expected Kea's leases of DHCPv6, found those of DHCPv4"),
        "{wrong}"
    );
}

proptest! {
    #[test]
    fn no_row_panics(rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..120), 0..8)) {
        for header in [HEADER4, HEADER6] {
            let mut text = format!("{header}\n").into_bytes();
            for row in &rows {
                text.extend_from_slice(row);
                text.push(b'\n');
            }
            let file = LeaseFile::read("x".into(), &text[..], 0).unwrap().unwrap();
            prop_assert!(file.count() <= text.len());
        }
    }

    #[test]
    fn no_likely_row_panics(
        fields in proptest::collection::vec(prop_oneof![
            Just("192.0.2.1".to_owned()), Just("2001:db8::".to_owned()), Just("4294967295".to_owned()), Just("0".to_owned()),
            Just("1".to_owned()), Just("2".to_owned()), Just("01:02".to_owned()), Just(String::new()),
            Just(r#"{"ISC":{"relay-agent-info":{"remote-id":"01"}}}"#.to_owned()),
            Just(r#"{"ISC":{"relay-info":[{"remote-id":"01"}]}}"#.to_owned()), "[ -~]{0,12}",
        ], 0..20),
    ) {
        for header in [HEADER4, HEADER6] {
            let text = format!("{header}\n{}\n", fields.join(","));
            let file = LeaseFile::read("x".into(), text.as_bytes(), 0).unwrap().unwrap();
            for event in file.flatten() {
                let _ = event.check();
            }
        }
    }
}
