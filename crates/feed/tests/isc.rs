//! Lease files of ISC dhcpd: what the server wrote, what it can write, and what is left of a damaged one.

use std::fs;
use std::path::{Path, PathBuf};

use leaseq_feed::isc::{Leases, is_lease_file};
use leaseq_feed::{ReadError, Rejection, ndjson};
use leaseq_store::{Event, Event4, Event6, INFINITE, LeaseKind, State};
use proptest::prelude::*;

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/isc");
    fs::read(path.join(name)).unwrap()
}

fn read(text: &[u8]) -> Vec<Result<Event, Rejection>> {
    let leases = Leases::read(PathBuf::from("leases"), text, 0);
    let result = |item| match item {
        Ok(event) => Ok(event),
        Err(ReadError::Rejected(rejection)) => Err(rejection),
        Err(error) => panic!("{error}"),
    };
    leases.map(result).collect()
}

fn events(text: &[u8]) -> Vec<Event> {
    let read = read(text).into_iter();
    read.map(|item| item.unwrap_or_else(|told| panic!("{told}")))
        .collect()
}

fn lease4(inside: &str) -> Event4 {
    let text = format!("lease 192.0.2.1 {{\n{inside}\n}}\n");
    match <[Event; 1]>::try_from(events(text.as_bytes())) {
        Ok([Event::V4(event)]) => event,
        other => panic!("{other:?}"),
    }
}

fn leases6(text: &str) -> Vec<Event6> {
    let of_v6 = |event| match event {
        Event::V6(event) => event,
        other => panic!("{other:?}"),
    };
    events(text.as_bytes()).into_iter().map(of_v6).collect()
}

fn as_lines(events: &[Event]) -> String {
    let mut out = String::new();
    for event in events {
        match event {
            Event::V4(event) => ndjson::write4(event, &mut out),
            Event::V6(event) => ndjson::write6(event, &mut out),
            Event::Feed(_) => panic!("no position lies in a lease file"),
        }
    }
    out
}

#[test]
fn files_of_the_server_are_read_whole() {
    for name in ["appended4", "rewritten4", "appended6", "rewritten6"] {
        let text = data(&format!("{name}.leases"));
        assert!(is_lease_file(&text[..100]), "{name}");
        insta::assert_snapshot!(name, as_lines(&events(&text)));
    }
}

#[test]
fn relay_data_is_counted() {
    let text = data("appended4.leases");
    let mut leases = Leases::read(PathBuf::from("leases"), &text[..], 0);
    assert!(leases.by_ref().all(|item| item.is_ok()));
    let told = leases.relay_data();
    assert_eq!((told.leases4, told.leases4_with, told.leases6), (8, 6, 0));
    assert_eq!(leases.octets_done(), text.len() as u64);
}

#[test]
fn a_lease_file_is_known_by_its_beginning() {
    for text in [
        "# The format of this file is documented in the dhcpd.leases(5) manual page.\n",
        "\n# a comment\nlease 192.0.2.1 {\n",
        "authoring-byte-order little-endian;\n",
        "ia-na \"x\" {\n",
        "server-duid \"x\";\n",
    ] {
        assert!(is_lease_file(text.as_bytes()), "{text}");
    }
    for text in [
        "",
        "# a comment\n",
        "address,hwaddr,client_id\n",
        "{\"family\":4}\n",
        "1795344368 *\n",
    ] {
        assert!(!is_lease_file(text.as_bytes()), "{text}");
    }
}

#[test]
fn each_binding_state_has_its_dhcp_state() {
    for (name, state) in [
        ("active", State::Active),
        ("free", State::Available),
        ("backup", State::Available),
        ("abandoned", State::Abandoned),
        ("expired", State::Expired),
        ("released", State::Released),
        ("reset", State::Reset),
    ] {
        let lease = lease4(&format!(
            "starts epoch 1000; ends epoch 1600; cltt epoch 1100; binding state {name}; next binding state free;"
        ));
        let lives = matches!(state, State::Active | State::Abandoned);
        assert_eq!(lease.state, state, "{name}");
        assert_eq!(lease.cltt, Some(1_100), "{name}");
        assert_eq!(lease.lease_time, lives.then_some(500), "{name}");
        assert_eq!(lease.state_since, (!lives).then_some(1_600), "{name}");
    }
}

#[test]
fn times_are_counted_from_the_last_transaction() {
    assert_eq!(
        lease4("starts epoch 1000; ends epoch 1600;").lease_time,
        Some(600)
    );
    assert_eq!(
        lease4("cltt epoch 1000; ends never;").lease_time,
        Some(INFINITE)
    );
    assert_eq!(
        lease4("cltt epoch 1000; ends epoch 900;").lease_time,
        Some(1)
    );
    assert_eq!(
        lease4("cltt epoch 1000; ends epoch 5000000000;").lease_time,
        Some(INFINITE - 1)
    );
    assert_eq!(
        lease4("starts 0 2026/11/22 10:33:11;").cltt,
        Some(1_795_343_591)
    );
    let nothing = lease4("");
    assert_eq!(
        (nothing.state, nothing.cltt, nothing.lease_time),
        (State::Active, None, None)
    );
}

#[test]
fn clients_are_told_in_each_spelling() {
    let hwaddr = |text| {
        let told = lease4(text).hwaddr.unwrap();
        (told.htype, told.octets.to_vec())
    };
    assert_eq!(
        hwaddr("hardware ethernet 2:0:5e:0:0:FF;"),
        (1, vec![2, 0, 0x5e, 0, 0, 255])
    );
    assert_eq!(hwaddr("hardware token-ring 01:02;"), (6, vec![1, 2]));
    assert_eq!(hwaddr("hardware unknown-27 01;"), (27, vec![1]));
    assert_eq!(lease4("hardware ethernet;").hwaddr, None);
    assert_eq!(
        lease4("uid \"\\001a\\\"\";").client_id,
        Some(b"\x01a\"".to_vec())
    );
    assert_eq!(lease4("uid 01:61:22;").client_id, Some(b"\x01a\"".to_vec()));
    assert_eq!(
        lease4("set vendor-class-identifier = \"MSFT\"; set other = %7;\nclient-hostname \"pc\";")
            .options,
        Some(vec![(12, b"pc".to_vec()), (60, b"MSFT".to_vec())])
    );
}

#[test]
fn options_of_the_relay_agent_are_put_together_again() {
    let lease = lease4(
        "option agent.remote-id \"modem\";\noption agent.circuit-id 0:1:ff;\noption agent.DOCSIS-device-class 2;\n\
         option agent.link-selection 192.0.2.0;\noption agent.unknown-12 0:7;\noption dhcp-message 3;\noption agent.odd 1;",
    );
    let expected = b"\x02\x05modem\x01\x03\x00\x01\xff\x04\x04\x00\x00\x00\x02\x05\x04\xc0\x00\x02\x00\x0c\x02\x00\x07";
    assert_eq!(lease.relay_agent_info.as_deref(), Some(&expected[..]));
}

#[test]
fn quotes_that_the_server_did_not_escape_harm_nothing() {
    let lease = "lease 192.0.2.1 {\n  binding state active;\n  uid \"one\";\n  on expiry {\n    set gone = \"yes { \"}\" ;\n    \
                 log (info, \"x\");\n  }\n}\n";
    let read = events(lease.repeat(2).as_bytes());
    assert_eq!(read.len(), 2);
    for event in read {
        let Event::V4(event) = event else { panic!() };
        assert_eq!(event.client_id.as_deref(), Some(&b"one"[..]));
    }
}

#[test]
fn an_iaid_has_the_byte_order_of_its_file() {
    let lease = "ia_na \"\\001\\002\\003\\004duid\" {\n cltt epoch 1000;\n iaaddr 2001:db8::1 {\n binding state active;\n ends epoch 1600;\n }\n}\n";
    let iaid = |order: &str| leases6(&format!("authoring-byte-order {order};\n{lease}"))[0].iaid;
    assert_eq!(iaid("little-endian"), Some(0x0403_0201));
    assert_eq!(iaid("big-endian"), Some(0x0102_0304));
}

#[test]
fn an_association_has_several_leases() {
    let text = "authoring-byte-order big-endian;\nia-pd 0:0:0:7:0:1 {\n  cltt epoch 1000;\n  iaprefix 2001:db8:100::/40 {\n    \
                binding state active;\n    preferred-life 300;\n    max-life 600;\n    ends epoch 1500;\n  }\n  \
                iaprefix 2001:db8:200::/48 {\n    binding state expired;\n    preferred-life 300;\n    max-life 600;\n    \
                ends epoch 1200;\n  }\n  iaprefix 2001:db8:300::/48 {\n    binding state released;\n    ends epoch 9000;\n  }\n  \
                iaprefix 2001:db8:400::/48 {\n    binding state active;\n    max-life 600;\n    ends never;\n  }\n}\n";
    let leases = leases6(text);
    let told: Vec<_> = leases
        .iter()
        .map(|lease| {
            (
                lease.prefix_len,
                lease.state,
                lease.state_since,
                lease.preferred_lifetime,
                lease.valid_lifetime,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (40, State::Active, None, Some(300), Some(500)),
            (48, State::Expired, Some(1_200), None, None),
            (48, State::Released, None, None, None),
            (48, State::Active, None, None, Some(INFINITE)),
        ]
    );
    for lease in leases {
        assert_eq!(
            (lease.kind, lease.iaid, lease.cltt),
            (LeaseKind::Pd, Some(7), Some(1_000))
        );
        assert_eq!(lease.duid.as_deref(), Some(&[0, 1][..]));
    }
}

#[test]
fn other_declarations_are_passed_over() {
    let text = "failover peer \"pair\" state {\n  my state normal at 4 2026/11/19 10:33:11;\n}\nhost a {\n  dynamic;\n}\n\
                class \"x\" {\n  dynamic;\n}\nsubclass \"x\" 01:02 {\n  deleted;\n}\ngroup g {\n  static;\n}\nlease 192.0.2.1 { }\n";
    assert_eq!(events(text.as_bytes()).len(), 1);
}

#[test]
fn refusals_name_the_line_and_what_was_expected() {
    let texts = [
        "lease 192.0.2 {\n}\n",
        "lease 192.0.2.1 {\n  starts 4 2026/11/19;\n}\n",
        "lease 192.0.2.1 {\n\n  binding state gone;\n}\n",
        "lease 192.0.2.1 {\n  hardware smoke 01;\n}\n",
        "lease 192.0.2.1 {\n  hardware ethernet 01:0203;\n}\n",
        "lease 192.0.2.1 {\n  hardware ethernet 0:1:2:3:4:5:6:7:8:9:a:b:c:d:e:f:10;\n}\n",
        "lease 192.0.2.1 {\n  uid \"open;\n}\n",
        "lease 192.0.2.1 {\n  option agent.link-selection \"x\";\n}\n",
        "lease 192.0.2.1;\n",
        "ia-na \"abc\" {\n}\n",
        "ia-na \"abcdef\" {\n  iaaddr 192.0.2.1 {\n  }\n}\n",
        "ia-pd \"abcdef\" {\n  iaprefix 2001:db8::1/56 {\n  }\n}\n",
        "ia-pd \"abcdef\" {\n  iaprefix 2001:db8::/200 {\n  }\n}\n",
        "authoring-byte-order middle-endian;\n",
        "rubbish;\n",
        "lease 192.0.2.1 {\n",
    ];
    let told: Vec<String> = texts
        .iter()
        .map(|text| match &read(text.as_bytes())[..] {
            [Err(told)] => told.to_string(),
            other => panic!("{text}: {other:?}"),
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

/// Where each declaration of leases lies in a file that the server wrote, and its events.
fn declarations(text: &[u8]) -> Vec<(usize, usize, Vec<Event>)> {
    let mut found = Vec::new();
    let (mut at, mut begun) = (0, None);
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if line.starts_with(b"lease ") || line.starts_with(b"ia-") {
            begun = Some(at);
        }
        at += line.len();
        if line == b"}\n"
            && let Some(from) = begun.take()
        {
            found.push((from, at, events(&text[from..at])));
        }
    }
    assert!(found.len() > 5);
    found
}

fn is_subsequence(expected: &[Event], read: &[Event]) -> bool {
    let mut read = read.iter();
    expected
        .iter()
        .all(|event| read.any(|other| other == event))
}

/// Events of what is left, which must have those of all declarations that neither lie in nor touch the damage.
fn survive(whole: &[u8], damaged: &[u8], from: usize, to: usize) -> Result<(), TestCaseError> {
    let untouched: Vec<Event> = declarations(whole)
        .into_iter()
        .filter(|(begin, end, _)| to < *begin || *end < from)
        .flat_map(|(_, _, events)| events)
        .collect();
    let left: Vec<Event> = read(damaged).into_iter().filter_map(Result::ok).collect();
    prop_assert!(is_subsequence(&untouched, &left));
    Ok(())
}

fn a_file() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec!["appended4", "rewritten4", "appended6", "rewritten6"])
        .prop_map(|name| data(&format!("{name}.leases")))
}

/// Garbage made of what the format is made of.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"{",
        b"}",
        b";",
        b"\"",
        b"\\",
        b"#",
        b"\n",
        b" ",
        b"ends",
        b"never",
        b"uid",
        b"binding",
        b"state",
        b"iaaddr",
        b"::1",
        b"on",
        b"option agent.circuit-id",
        b"\0",
        b"\xff",
        b"0:1",
        b",",
        b"epoch",
        b"9",
    ];
    let piece = prop_oneof![
        prop::sample::select(words).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..8),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_cut_loses_only_what_it_hits(text in a_file(), at in any::<prop::sample::Index>(), length in 0_usize..1_500) {
        let from = at.index(text.len());
        let to = (from + length).min(text.len());
        let damaged = [&text[..from], &text[to..]].concat();
        survive(&text, &damaged, from, to)?;
    }

    #[test]
    fn garbage_loses_only_what_it_hits(text in a_file(), at in any::<prop::sample::Index>(), garbage in garbage()) {
        let at = at.index(text.len());
        let damaged = [&text[..at], &garbage, &text[at..]].concat();
        survive(&text, &damaged, at, at)?;
    }

    #[test]
    fn nothing_panics_and_every_event_can_be_stored(lines in prop::collection::vec(garbage(), 0..20)) {
        let mut text = b"lease 192.0.2.1 {\n".to_vec();
        text.extend(lines.join(&b"\nia-na \"abcdefgh\" {\n"[..]));
        for event in read(&text).into_iter().flatten() {
            prop_assert_eq!(event.check(), Ok(()));
        }
    }
}
