//! NDJSON lines: the fields of each family, and what is told about lines that are no lease events.

use leaseq_feed::ReadError;
use leaseq_feed::ndjson::{self, Events};
use leaseq_store::{Event, Event4, Event6, HwAddr, LeaseKind, Link6, Relay6, State, Vpn};
use proptest::prelude::*;

fn event4(line: &str) -> Event4 {
    match ndjson::parse(line.as_bytes()) {
        Ok(Event::V4(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn event6(line: &str) -> Event6 {
    match ndjson::parse(line.as_bytes()) {
        Ok(Event::V6(event)) => event,
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> String {
    ndjson::parse(line.as_bytes()).expect_err(line).to_string()
}

#[test]
fn a_v4_line_tells_every_field() {
    let event = event4(
        r#"{"family":4,"address":"198.51.100.23","state":"active","hwaddr":"01:02:5e:10:00:00:01","client_id":"01025e10000001","cltt":1790000000,"state_since":1789990000,"valid_lifetime":3600,"t1":1800,"t2":3150,"relay_agent_info":"0104aabbccdd","options":{"12":"686f7374"},"vpn":"red","source":"remote"}"#,
    );
    let hwaddr = event.hwaddr.unwrap();
    assert_eq!(
        (hwaddr.htype, &hwaddr.octets[..]),
        (1, &[2, 0x5e, 0x10, 0, 0, 1][..])
    );
    assert_eq!(event.state, State::Active);
    assert_eq!(
        (event.cltt, event.state_since, event.lease_time),
        (Some(1_790_000_000), Some(1_789_990_000), Some(3600))
    );
    assert_eq!((event.t1, event.t2), (Some(1800), Some(3150)));
    assert_eq!(
        event.relay_agent_info,
        Some(vec![1, 4, 0xaa, 0xbb, 0xcc, 0xdd])
    );
    assert_eq!(event.options, Some(vec![(12, b"host".to_vec())]));
    assert_eq!((event.vpn, event.remote), (Vpn::named("red"), true));
}

#[test]
fn a_v6_line_tells_every_field() {
    let event = event6(
        r#"{"family":6,"address":"2001:db8:7::23","duid":"0003000102005e100001","iaid":1,"link":"2001:db8:7::1","state":"active","cltt":1790000000,"preferred_lifetime":1800,"valid_lifetime":3600,"relay":[{"link":"2001:db8:7::1","peer":"fe80::1","options":"00350001aa"}],"options":{"300":"01"}}"#,
    );
    assert_eq!(
        (event.prefix_len, event.kind, event.iaid),
        (128, LeaseKind::Na, Some(1))
    );
    assert_eq!(
        event.link,
        Some(Link6::Address("2001:db8:7::1".parse().unwrap()))
    );
    assert_eq!(event.relay.unwrap()[0].options, [0, 53, 0, 1, 0xaa]);
    assert_eq!(event.options, Some(vec![(300, vec![1])]));
    let event = event6(
        r#"{"family":6,"prefix":"2001:db8:7123::/56","duid":"0a","iaid":2,"state":"released","link":"subnet:9"}"#,
    );
    assert_eq!(
        (event.prefix_len, event.kind, event.state),
        (56, LeaseKind::Pd, State::Released)
    );
    assert_eq!(event.link, Some(Link6::Subnet(9)));
    assert_eq!(
        event6(r#"{"family":6,"address":"::1","state":"reset","lease_type":"ta"}"#).kind,
        LeaseKind::Ta
    );
}

#[test]
fn what_is_absent_stays_absent() {
    let event = event4(r#"{"family":4,"address":"198.51.100.23","state":"available"}"#);
    assert_eq!(
        event,
        Event4::new("198.51.100.23".parse().unwrap(), State::Available)
    );
}

#[test]
fn refusals_name_the_field_and_what_was_expected() {
    let lines = [
        "",
        "[]",
        r#"{"family":4,"address":"192.0.2.1"}"#,
        r#"{"family":5,"address":"192.0.2.1","state":"active"}"#,
        r#"{"family":4,"state":"active"}"#,
        r#"{"family":4,"address":"2001:db8::1","state":"active"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"leased"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","mac":"01"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","state":"active"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","duid":"00"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","hwaddr":""}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","hwaddr":"01:0g"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","client_id":"010"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","cltt":-1}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","options":{"256":"00"}}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","options":{"x":"00"}}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","options":{"12":"00","12":"01"}}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","source":"local"}"#,
        r#"{"family":4,"address":"192.0.2.1","state":"active","vpn":"hex:0"}"#,
        r#"{"family":6,"address":"::1","prefix":"::/64","state":"active"}"#,
        r#"{"family":6,"address":"::1","state":"active","lease_type":"pd"}"#,
        r#"{"family":6,"prefix":"2001:db8::","state":"active"}"#,
        r#"{"family":6,"address":"::1","state":"active","link":"subnet:x"}"#,
        r#"{"family":6,"address":"::1","state":"active","relay":[{"link":"::","peer":"::","hop":1}]}"#,
        r#"{"family":6,"address":"::1","state":"active","hwaddr":"01:02"}"#,
    ];
    let told: Vec<String> = lines
        .iter()
        .map(|line| format!("{line}\n  {}", refused(line)))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_file_goes_on_after_a_rejected_line() {
    let text = "{\"family\":4,\"address\":\"192.0.2.1\",\"state\":\"reset\"}\n\nrubbish\n{\"family\":4,\"address\":\"192.0.2.2\",\"state\":\"reset\"}";
    let items: Vec<_> = Events::new("feed.ndjson".into(), text.as_bytes()).collect();
    assert_eq!(items.len(), 3);
    assert!(items[0].is_ok() && items[2].is_ok());
    match &items[1] {
        Err(ReadError::Rejected(told)) => {
            assert_eq!(told.to_string(), "feed.ndjson:3: expected a JSON object");
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = ndjson::parse(&line);
    }

    #[test]
    fn no_likely_line_panics(
        fields in proptest::collection::vec((
            prop_oneof![
                Just("family"), Just("address"), Just("prefix"), Just("state"), Just("hwaddr"), Just("duid"), Just("link"),
                Just("relay"), Just("options"), Just("vpn"), Just("cltt"), Just("lease_type"),
            ],
            prop_oneof![
                Just("4".to_owned()), Just("6".to_owned()), Just("\"active\"".to_owned()), Just("\"::1\"".to_owned()),
                Just("\"192.0.2.1\"".to_owned()), Just("\"::/129\"".to_owned()), Just("{\"1\":\"00\"}".to_owned()),
                Just("[{\"link\":\"::\",\"peer\":\"::\"}]".to_owned()), "\"[ -!#-\\[\\]-~]{0,9}\"",
            ],
        ), 0..8),
    ) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        if let Ok(event) = ndjson::parse(format!("{{{}}}", fields.join(",")).as_bytes()) {
            let _ = event.check();
        }
    }
}

fn octets(most: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..most)
}

fn maybe_octets() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(octets(12))
}

fn state() -> impl Strategy<Value = State> {
    proptest::sample::select(State::ALL.to_vec())
}

fn maybe_number() -> impl Strategy<Value = Option<u32>> {
    proptest::option::of(any::<u32>())
}

prop_compose! {
    fn any_event4()(
        vss in octets(10), address: u32, state in state(), hwaddr in proptest::option::of((any::<u8>(), octets(17))),
        client_id in maybe_octets(), times in [maybe_number(), maybe_number(), maybe_number(), maybe_number(), maybe_number()],
        relay_agent_info in maybe_octets(),
        options in proptest::option::of(proptest::collection::btree_map(any::<u8>(), octets(5), 0..3)), remote: bool,
    ) -> Event4 {
        let [cltt, state_since, lease_time, t1, t2] = times;
        Event4 {
            vpn: Vpn::from_vss(&vss), address: address.into(), state,
            hwaddr: hwaddr.map(|(htype, octets)| HwAddr { htype, octets: octets.into() }),
            client_id, cltt, state_since, lease_time, t1, t2, relay_agent_info,
            options: options.map(|options| options.into_iter().collect()), remote, feed: 0,
        }
    }
}

prop_compose! {
    fn any_event6()(
        vss in octets(10), address: u128, kind in 0u8..3, prefix_len in 1u8..=128, duid in maybe_octets(), state in state(),
        link in proptest::option::of(prop_oneof![
            any::<u32>().prop_map(Link6::Subnet), any::<u128>().prop_map(|bits| Link6::Address(bits.into())),
        ]),
        times in [maybe_number(), maybe_number(), maybe_number(), maybe_number(), maybe_number()],
        relay in proptest::option::of(proptest::collection::vec((any::<u128>(), any::<u128>(), octets(9)), 0..3)),
        options in proptest::option::of(proptest::collection::btree_map(any::<u16>(), octets(5), 0..3)), remote: bool,
    ) -> Event6 {
        let [iaid, cltt, state_since, preferred_lifetime, valid_lifetime] = times;
        let relay6 = |(link, peer, options): (u128, u128, Vec<u8>)| Relay6 { link: link.into(), peer: peer.into(), options };
        let kind = LeaseKind::from_u8(kind).unwrap();
        Event6 {
            vpn: Vpn::from_vss(&vss), address: address.into(),
            prefix_len: if kind == LeaseKind::Pd { prefix_len } else { 128 }, kind, duid, iaid, link, state, cltt, state_since,
            preferred_lifetime, valid_lifetime, relay: relay.map(|hops| hops.into_iter().map(relay6).collect()),
            options: options.map(|options| options.into_iter().collect()), remote, feed: 0,
        }
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(event4 in any_event4(), event6 in any_event6()) {
        let mut text = String::new();
        ndjson::write4(&event4, &mut text);
        ndjson::write6(&event6, &mut text);
        let read: Vec<_> = text.lines().map(|line| ndjson::parse(line.as_bytes()).unwrap()).collect();
        prop_assert_eq!(read, [Event::V4(event4), Event::V6(event6)]);
    }
}
