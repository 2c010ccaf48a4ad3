//! What is told of a lease, as values, as NDJSON and as rows of a table.

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_requestor::{
    Client6Leases, Lease4, Query4, Query6, Selector4, Selector6, ValueProblem, Vpn, render,
};
use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v4::relay_info::RelayInfo;
use leaseq_wire::v4::{self, DhcpState, Header, option_code as code4, suboption};
use leaseq_wire::v6::{self, ClientData, LqQuery, QueryType, option_code as code6};
use leaseq_wire::vss::Vss;
use leaseq_wire::{INFINITY, OutBuf, frame};
use proptest::prelude::*;

const RECEIVED: UnixSeconds = UnixSeconds(1_790_000_500);
const BASE: UnixSeconds = UnixSeconds(1_790_000_000);
const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

fn lease4(
    kind: u8,
    write: impl FnOnce(&mut v4::MessageWriter<'_, '_>),
) -> Result<Lease4, leaseq_requestor::ValueError> {
    let mut octets = [0; 2048];
    let mut out = OutBuf::new(&mut octets);
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0x5e, 0x10, 0, 1]);
    let ciaddr = Ipv4Addr::new(198, 51, 100, 23);
    let header = Header {
        htype: 1,
        hlen: 6,
        chaddr,
        ciaddr,
        ..Header::reply(1)
    };
    let mut writer = v4::MessageWriter::start(&mut out, &header, kind).unwrap();
    write(&mut writer);
    writer.finish();
    Lease4::read(&v4::Message::parse(out.as_slice()).unwrap(), RECEIVED)
}

#[test]
fn a_v4_lease_is_rendered_whole() {
    let lease = lease4(13, |writer| {
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.base_time(BASE).unwrap();
        writer
            .client_identifier(&[1, 2, 0, 0x5e, 0x10, 0, 1])
            .unwrap();
        writer
            .option_u32(code4::IP_ADDRESS_LEASE_TIME, 3000)
            .unwrap();
        writer.option_u32(code4::RENEWAL_TIME, 1200).unwrap();
        writer.option_u32(code4::REBINDING_TIME, 2550).unwrap();
        writer
            .option_u32(code4::CLIENT_LAST_TRANSACTION_TIME, 600)
            .unwrap();
        writer
            .option_u32(code4::START_TIME_OF_STATE, 10_000)
            .unwrap();
        writer.dhcp_state(DhcpState::Active).unwrap();
        writer.option_u8(code4::DATA_SOURCE, 0xff).unwrap();
        writer
            .relay_agent_information(&[
                (suboption::REMOTE_ID, b"rmt-7"),
                (suboption::RELAY_ID, &[0, 3, 0, 1]),
            ])
            .unwrap();
        writer.vss(&Vss::Ascii(b"blue \"7\"")).unwrap();
        writer.option(12, b"host").unwrap();
    })
    .unwrap();
    assert_eq!(
        (lease.as_of, lease.cltt()),
        (BASE, Some(UnixSeconds(BASE.0 - 600)))
    );
    assert_eq!(
        render::ndjson(&lease),
        concat!(
            r#"{"family":4,"address":"198.51.100.23","state":"active","hwaddr":"01:02:00:5e:10:00:01","#,
            r#""client_id":"0102005e100001","cltt":1789999400,"state_since":1789990000,"valid_lifetime":3600,"#,
            r#""t1":1800,"t2":3150,"relay_agent_info":"0205726d742d370c0400030001","options":{"12":"686f7374"},"#,
            r#""vpn":"blue \"7\"","source":"remote"}"#,
            "\n"
        )
    );
    let row = [
        "198.51.100.23",
        "active",
        "02:00:5e:10:00:01",
        "50m",
        "10m ago",
        "rmt-7",
        "00030001",
        "blue \"7\"",
    ];
    assert_eq!(render::table_row(&lease), [row.map(String::from)]);
}

#[test]
fn a_v4_lease_without_times_counts_from_its_reception() {
    let lease = lease4(11, |_| {}).unwrap();
    assert_eq!(
        (lease.as_of, lease.state, lease.cltt()),
        (RECEIVED, DhcpState::Available, None)
    );
    let json = r#"{"family":4,"address":"198.51.100.23","state":"available","hwaddr":"01:02:00:5e:10:00:01"}"#;
    assert_eq!(render::ndjson(&lease), format!("{json}\n"));
    let infinite = lease4(13, |writer| {
        writer
            .option_u32(code4::IP_ADDRESS_LEASE_TIME, INFINITY)
            .unwrap();
        writer
            .option_u32(code4::CLIENT_LAST_TRANSACTION_TIME, 9)
            .unwrap();
        writer.vss(&Vss::Global).unwrap();
    });
    let infinite = infinite.unwrap();
    assert_eq!(
        (
            infinite.from_last_transaction(INFINITY),
            infinite.vpn.clone()
        ),
        (INFINITY, None)
    );
    assert_eq!(infinite.from_last_transaction(INFINITY - 1), INFINITY - 1);
    assert_eq!(render::table_row(&infinite)[0][3], "infinite");
}

#[test]
fn v4_values_of_a_wrong_form_are_named() {
    let error = lease4(13, |writer| {
        writer.option(code4::BASE_TIME, &[1, 2]).unwrap()
    })
    .unwrap_err();
    assert_eq!(
        (error.code, error.problem),
        (
            152,
            ValueProblem::Length {
                expected: 4,
                got: 2
            }
        )
    );
    assert_eq!(error.to_string(), "option 152: expected 4 octets, got 2");
    let error = lease4(13, |writer| {
        writer.option_u8(code4::DHCP_STATE, 99).unwrap()
    })
    .unwrap_err();
    assert_eq!(
        (error.code, error.problem),
        (156, ValueProblem::Unknown(99))
    );
    let error = lease4(13, |writer| {
        writer.option(code4::ASSOCIATED_IP, &[1; 6]).unwrap()
    })
    .unwrap_err();
    assert_eq!(
        (error.code, error.problem),
        (
            92,
            ValueProblem::Length {
                expected: 8,
                got: 6
            }
        )
    );
    let error = lease4(13, |writer| writer.option(code4::VSS, &[7]).unwrap()).unwrap_err();
    assert!(matches!(error.problem, ValueProblem::Inside(_)));
}

fn client6(relay_beside: bool) -> Client6Leases {
    let relayed = {
        let mut octets = vec![12, 0];
        octets.extend("2001:db8:7::1".parse::<Ipv6Addr>().unwrap().octets());
        octets.extend("fe80::1".parse::<Ipv6Addr>().unwrap().octets());
        octets.extend([
            0, 37, 0, 7, 0, 0, 0x0d, 0xe9, b'a', b'b', b'c', 0, 53, 0, 2, 9, 9,
        ]);
        octets
    };
    let peer = "2001:db8::aa".parse().unwrap();
    let mut octets = [0; 1024];
    let mut out = OutBuf::new(&mut octets);
    let mut writer =
        v6::MessageWriter::start(&mut out, v6::message_type::LEASEQUERY_DATA, 1).unwrap();
    writer.base_time(BASE.into()).unwrap();
    if relay_beside {
        writer.relay_data(peer, &relayed).unwrap();
    }
    let client = writer.begin_option(code6::CLIENT_DATA).unwrap();
    writer.client_id(&[0, 3, 0, 1, 2]).unwrap();
    writer
        .iaaddr("2001:db8:7::23".parse().unwrap(), 1200, 3000)
        .unwrap();
    writer
        .iaprefix("2001:db8:7123::".parse().unwrap(), 56, 0, 0)
        .unwrap();
    writer.clt_time(600).unwrap();
    if !relay_beside {
        writer.relay_data(peer, &relayed).unwrap();
    }
    writer.option(23, &[0xab]).unwrap();
    writer.end_option(client).unwrap();
    writer.finish();
    let message = v6::Message::parse(out.as_slice()).unwrap();
    let client = ClientData::parse(message.option(code6::CLIENT_DATA).unwrap()).unwrap();
    Client6Leases::read(&message, &client, RECEIVED).unwrap()
}

#[test]
fn a_v6_client_is_rendered_a_line_a_lease() {
    let client = client6(false);
    // Relay data is understood beside CLIENT_DATA as well as in it.
    assert_eq!(client6(true), client);
    assert_eq!(
        (client.as_of, client.cltt()),
        (BASE, Some(UnixSeconds(BASE.0 - 600)))
    );
    assert_eq!(
        render::ndjson(&client),
        concat!(
            r#"{"family":6,"address":"2001:db8:7::23","duid":"0003000102","state":"active","cltt":1789999400,"#,
            r#""preferred_lifetime":1800,"valid_lifetime":3600,"#,
            r#""relay":[{"link":"2001:db8:7::1","peer":"fe80::1","options":"0025000700000de9616263003500020909"}],"#,
            r#""options":{"23":"ab"}}"#,
            "\n",
            r#"{"family":6,"prefix":"2001:db8:7123::/56","duid":"0003000102","state":"expired","cltt":1789999400,"#,
            r#""preferred_lifetime":0,"valid_lifetime":0,"#,
            r#""relay":[{"link":"2001:db8:7::1","peer":"fe80::1","options":"0025000700000de9616263003500020909"}],"#,
            r#""options":{"23":"ab"}}"#,
            "\n"
        )
    );
    let rows = render::table_row(&client);
    let row = [
        "2001:db8:7::23",
        "active",
        "0003000102",
        "50m",
        "10m ago",
        "3561:abc",
        "0909",
        "",
    ];
    assert_eq!(rows[0], row.map(String::from));
    assert_eq!(
        (rows[1][0].as_str(), rows[1][3].as_str()),
        ("2001:db8:7123::/56", "0s")
    );
}

fn octets(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), len)
}

fn vpn() -> impl Strategy<Value = Option<Vpn>> {
    prop::option::of(prop_oneof![
        "[ -~]{0,30}".prop_map(|name| Vpn::parse(&name).unwrap()),
        any::<[u8; 7]>().prop_map(|id| Vpn::new(&Vss::Rfc2685(&id))),
    ])
}

proptest! {
    #[test]
    fn v4_requests_say_what_the_query_means(
        kind in 0_u8..5, id in octets(1..200), xid in any::<u32>(), times in any::<(Option<u32>, Option<u32>)>(),
        vpn in vpn(), options in octets(0..300),
    ) {
        let hwaddr = id[..id.len().min(16)].to_vec();
        let selector = match kind {
            0 => Selector4::HwAddr { htype: 1, octets: hwaddr.clone() },
            1 => Selector4::ClientId(id.clone()),
            2 => Selector4::RemoteId(id.clone()),
            3 => Selector4::RelayId(id.clone()),
            _ => Selector4::All,
        };
        let (since, until) = (times.0.map(UnixSeconds), times.1.map(UnixSeconds));
        let query = Query4 { since, until, vpn: vpn.clone(), options: options.clone(), ..Query4::new(selector) };
        let request = query.bulk_request(xid).unwrap();
        let frame::Split::Frame { message, consumed } = frame::split(&request) else { panic!("no frame") };
        prop_assert_eq!(consumed, request.len());
        let message = v4::Message::parse(message).unwrap();
        prop_assert_eq!((message.xid(), message.message_type()), (xid, Some(14)));
        prop_assert!([message.ciaddr(), message.yiaddr(), message.siaddr()].iter().all(|a| a.is_unspecified()));
        prop_assert_eq!(message.chaddr(), if kind == 0 { &hwaddr[..] } else { &[] });
        let client = message.option(code4::CLIENT_IDENTIFIER).map(|value| value.bytes().collect::<Vec<_>>());
        prop_assert_eq!(client, (kind == 1).then(|| id.clone()));
        let mut buffer = [0; 512];
        let info = message.option(code4::RELAY_AGENT_INFORMATION);
        let info = info.map(|value| RelayInfo::parse(value.copy_to(&mut buffer).unwrap()).unwrap());
        let found = info.and_then(|info| info.iter().next());
        prop_assert_eq!(found, match kind {
            2 => Some((suboption::REMOTE_ID, &id[..])),
            3 => Some((suboption::RELAY_ID, &id[..])),
            _ => None,
        });
        let time = |code| message.option(code).map(|value| UnixSeconds(value.to_u32().unwrap()));
        prop_assert_eq!((time(code4::QUERY_START_TIME), time(code4::QUERY_END_TIME)), (since, until));
        let requested = message.option(code4::PARAMETER_REQUEST_LIST).map_or(vec![], |value| value.bytes().collect());
        prop_assert_eq!(requested, options);
        let asked = message.option(code4::VSS).map(|value| Vpn::read(value.as_slice().unwrap()).unwrap());
        prop_assert_eq!(asked, vpn);
    }

    #[test]
    fn v6_requests_say_what_the_query_means(
        kind in 1_u8..=5, id in octets(4..200), xid in any::<u32>(), times in any::<(Option<u32>, Option<u32>)>(),
        vpn in vpn(), options in proptest::collection::vec(any::<u16>(), 0..20), address in any::<[u8; 16]>(),
    ) {
        let address = Ipv6Addr::from(address);
        let selector = match kind {
            1 => Selector6::Address(address),
            2 => Selector6::Duid(id.clone()),
            3 => Selector6::RelayId(id.clone()),
            4 => Selector6::Link,
            _ => Selector6::RemoteId(id.clone()),
        };
        let link = if kind == 4 && address.is_unspecified() { Ipv6Addr::LOCALHOST } else { address };
        let (since, until) = (times.0.map(Seconds2000), times.1.map(Seconds2000));
        let query = Query6 {
            link, since, until, vpn: vpn.clone(), options: options.clone(), ..Query6::new(selector, DUID)
        };
        let request = query.bulk_request(xid).unwrap();
        let frame::Split::Frame { message, consumed } = frame::split(&request) else { panic!("no frame") };
        prop_assert_eq!(consumed, request.len());
        let message = v6::Message::parse(message).unwrap();
        prop_assert_eq!((message.xid(), message.msg_type()), (xid & v6::MAX_XID, 14));
        prop_assert_eq!(message.option(code6::CLIENTID), Some(DUID));
        let query = LqQuery::parse(message.option(code6::LQ_QUERY).unwrap()).unwrap();
        prop_assert_eq!((query.known(), query.link_address), (QueryType::from_u8(kind), link));
        let key = match kind {
            1 => code6::IAADDR,
            2 => code6::CLIENTID,
            3 => code6::RELAY_ID,
            4 => code6::VSS,
            _ => code6::REMOTE_ID,
        };
        let found = query.options.find(key);
        match kind {
            1 => prop_assert_eq!(v6::IaAddr::parse(found.unwrap()).unwrap().address, address),
            4 => prop_assert_eq!(found, None),
            _ => prop_assert_eq!(found, Some(&id[..])),
        }
        prop_assert!(options.iter().all(|code| query.options.requests(*code)));
        let time = |code| message.options().find_u32(code).map(Seconds2000);
        prop_assert_eq!((time(code6::LQ_START_TIME), time(code6::LQ_END_TIME)), (since, until));
        prop_assert_eq!(message.option(code6::VSS).map(|value| Vpn::read(value).unwrap()), vpn);
    }
}
