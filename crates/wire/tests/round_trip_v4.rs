//! What is written is read back with the same meaning, by us and by an independent decoder.

use std::net::Ipv4Addr;

use dhcproto::v4 as peer;
use dhcproto::{Decodable, Decoder};
use leaseq_wire::OutBuf;
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::relay_info::RelayInfo;
use leaseq_wire::v4::{
    DhcpState, Header, Message, MessageWriter, Status, StatusCode, option_code as code, suboption,
};
use leaseq_wire::vss::Vss;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// An option as its sender means it.
#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    Number(u8, u32),
    Octet(u8, u8),
    Address(u8, Ipv4Addr),
    Octets(u8, Vec<u8>),
    RelayInfo(Vec<(u8, Vec<u8>)>),
    Status(StatusCode, String),
    BaseTime(UnixSeconds),
    QueryStart(UnixSeconds),
    QueryEnd(UnixSeconds),
    State(DhcpState),
    VpnName(String),
    VpnId([u8; 7]),
}

impl Meaning {
    fn write(&self, writer: &mut MessageWriter<'_, '_>) {
        match self {
            Self::Number(code, value) => writer.option_u32(*code, *value),
            Self::Octet(code, value) => writer.option_u8(*code, *value),
            Self::Address(code, value) => writer.option_address(*code, *value),
            Self::Octets(code, value) => writer.option(*code, value),
            Self::RelayInfo(sub) => {
                let sub: Vec<_> = sub
                    .iter()
                    .map(|(code, value)| (*code, value.as_slice()))
                    .collect();
                writer.relay_agent_information(&sub)
            }
            Self::Status(code, text) => writer.status(*code, text),
            Self::BaseTime(time) => writer.base_time(*time),
            Self::QueryStart(time) => writer.query_start_time(*time),
            Self::QueryEnd(time) => writer.query_end_time(*time),
            Self::State(state) => writer.dhcp_state(*state),
            Self::VpnName(name) => writer.vss(&Vss::Ascii(name.as_bytes())),
            Self::VpnId(id) => writer.vss(&Vss::Rfc2685(id)),
        }
        .unwrap();
    }

    fn code(&self) -> u8 {
        match self {
            Self::Number(code, _)
            | Self::Octet(code, _)
            | Self::Address(code, _)
            | Self::Octets(code, _) => *code,
            Self::RelayInfo(_) => code::RELAY_AGENT_INFORMATION,
            Self::Status(..) => code::STATUS_CODE,
            Self::BaseTime(_) => code::BASE_TIME,
            Self::QueryStart(_) => code::QUERY_START_TIME,
            Self::QueryEnd(_) => code::QUERY_END_TIME,
            Self::State(_) => code::DHCP_STATE,
            Self::VpnName(_) | Self::VpnId(_) => code::VSS,
        }
    }

    fn check(&self, message: &Message<'_>) {
        let value = message.option(self.code()).expect("the option is there");
        match self {
            Self::Number(_, number)
            | Self::BaseTime(UnixSeconds(number))
            | Self::QueryStart(UnixSeconds(number))
            | Self::QueryEnd(UnixSeconds(number)) => assert_eq!(value.to_u32(), Some(*number)),
            Self::Octet(_, octet) => assert_eq!(value.to_u8(), Some(*octet)),
            Self::Address(_, address) => assert_eq!(value.to_ipv4(), Some(*address)),
            Self::Octets(_, octets) => {
                assert_eq!(value, octets.as_slice());
                assert!(octets.iter().all(|octet| value.contains(*octet)));
            }
            Self::RelayInfo(sub) => {
                let mut buffer = [0; 4096];
                let info = RelayInfo::parse(value.contiguous(&mut buffer).unwrap()).unwrap();
                assert_eq!(
                    info.iter()
                        .map(|(code, value)| (code, value.to_vec()))
                        .collect::<Vec<_>>(),
                    *sub
                );
            }
            Self::Status(code, text) => {
                let status = Status::read(&value).unwrap();
                assert_eq!(status.known(), Some(*code));
                assert_eq!(status.text().collect::<Vec<_>>(), text.as_bytes());
            }
            Self::State(state) => {
                assert_eq!(value.to_u8().and_then(DhcpState::from_u8), Some(*state))
            }
            Self::VpnName(name) => {
                assert_eq!(
                    Vss::parse(value.as_slice().unwrap()),
                    Ok(Vss::Ascii(name.as_bytes()))
                );
            }
            Self::VpnId(id) => {
                assert_eq!(Vss::parse(value.as_slice().unwrap()), Ok(Vss::Rfc2685(id)))
            }
        }
    }

    fn check_with_peer(&self, message: &peer::Message) {
        use peer::DhcpOption as O;
        let option = message
            .opts()
            .get(self.code().into())
            .expect("the peer finds the option");
        match (self, option) {
            (Self::Number(_, ours), O::AddressLeaseTime(theirs))
            | (Self::Number(_, ours), O::Renewal(theirs))
            | (Self::Number(_, ours), O::Rebinding(theirs))
            | (Self::Number(_, ours), O::ClientLastTransactionTime(theirs))
            | (Self::Number(_, ours), O::BulkLeasQueryStartTimeOfState(theirs))
            | (Self::BaseTime(UnixSeconds(ours)), O::BulkLeaseQueryBaseTime(theirs))
            | (Self::QueryStart(UnixSeconds(ours)), O::BulkLeaseQueryQueryStartTime(theirs))
            | (Self::QueryEnd(UnixSeconds(ours)), O::BulkLeaseQueryQueryEndTime(theirs)) => {
                assert_eq!(ours, theirs)
            }
            (Self::Octet(_, ours), O::BulkLeaseQueryDataSource(theirs)) => {
                assert_eq!(*ours, u8::from(*theirs))
            }
            (Self::Address(_, ours), O::ServerIdentifier(theirs)) => assert_eq!(ours, theirs),
            (Self::Octets(_, ours), O::ClientIdentifier(theirs)) => assert_eq!(ours, theirs),
            (Self::Octets(_, ours), O::ParameterRequestList(theirs)) => {
                assert_eq!(
                    *ours,
                    theirs
                        .iter()
                        .map(|code| u8::from(*code))
                        .collect::<Vec<_>>()
                );
            }
            (Self::Octets(_, ours), O::AssociatedIp(theirs)) => {
                assert_eq!(
                    *ours,
                    theirs
                        .iter()
                        .flat_map(|address| address.octets())
                        .collect::<Vec<_>>()
                );
            }
            (Self::Octets(_, ours), O::Unknown(theirs)) => assert_eq!(ours, theirs.data()),
            (Self::RelayInfo(ours), O::RelayAgentInformation(theirs)) => {
                assert_eq!(theirs.iter().count(), ours.len());
                for (code, value) in ours {
                    use peer::relay::RelayInfo as R;
                    let found = match theirs
                        .get((*code).into())
                        .expect("the peer finds the sub-option")
                    {
                        R::AgentCircuitId(octets) | R::AgentRemoteId(octets) => octets,
                        R::Unknown(unknown) => unknown.data(),
                        other => panic!("sub-option {code} is {other:?} to the peer"),
                    };
                    assert_eq!(found, value);
                }
            }
            (Self::Status(code, text), O::BulkLeaseQueryStatusCode(their_code, their_text)) => {
                assert_eq!((*code as u8, text), (u8::from(*their_code), their_text));
            }
            (Self::State(ours), O::BulkLeaseQueryDhcpState(theirs)) => {
                assert_eq!(*ours as u8, u8::from(*theirs))
            }
            (Self::VpnName(name), O::Unknown(theirs)) => {
                assert_eq!(theirs.data().split_first(), Some((&0, name.as_bytes())));
            }
            (Self::VpnId(id), O::Unknown(theirs)) => {
                assert_eq!(theirs.data().split_first(), Some((&1, &id[..])))
            }
            (ours, theirs) => panic!("{ours:?} is {theirs:?} to the peer"),
        }
    }
}

fn octets(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), len)
}

/// One option of each code that leasequery has; a test takes some of them.
fn every_option() -> impl Strategy<Value = Vec<Meaning>> {
    let numbers =
        (any::<[u32; 5]>(), any::<u8>(), any::<[u8; 4]>()).prop_map(|(numbers, octet, address)| {
            vec![
                Meaning::Number(code::IP_ADDRESS_LEASE_TIME, numbers[0]),
                Meaning::Number(code::RENEWAL_TIME, numbers[1]),
                Meaning::Number(code::REBINDING_TIME, numbers[2]),
                Meaning::Number(code::CLIENT_LAST_TRANSACTION_TIME, numbers[3]),
                Meaning::Number(code::START_TIME_OF_STATE, numbers[4]),
                Meaning::Octet(code::DATA_SOURCE, octet),
                Meaning::Address(code::SERVER_IDENTIFIER, address.into()),
            ]
        });
    let times = any::<[u32; 3]>().prop_map(|[base, start, end]| {
        vec![
            Meaning::BaseTime(UnixSeconds(base)),
            Meaning::QueryStart(UnixSeconds(start)),
            Meaning::QueryEnd(UnixSeconds(end)),
        ]
    });
    let long = (
        octets(1..700),
        octets(1..300),
        octets(1..40),
        octets(0..600),
    )
        .prop_map(|(client, requested, addresses, unassigned)| {
            let addresses = addresses.iter().flat_map(|n| [198, 51, 100, *n]).collect();
            vec![
                Meaning::Octets(code::CLIENT_IDENTIFIER, client),
                Meaning::Octets(code::PARAMETER_REQUEST_LIST, requested),
                Meaning::Octets(code::ASSOCIATED_IP, addresses),
                Meaning::Octets(230, unassigned),
            ]
        });
    let relay =
        (octets(0..256), octets(0..256), octets(0..256)).prop_map(|(circuit, remote, relay)| {
            let sub = [
                (suboption::CIRCUIT_ID, circuit),
                (suboption::REMOTE_ID, remote),
                (suboption::RELAY_ID, relay),
            ];
            vec![Meaning::RelayInfo(sub.to_vec())]
        });
    let vpn = prop_oneof![
        "[ -~]{0,254}".prop_map(Meaning::VpnName),
        any::<[u8; 7]>().prop_map(Meaning::VpnId)
    ];
    let rest =
        (0_u8..=8, "[ -~äß]{0,100}", 1_u8..=8, vpn).prop_map(|(status, text, state, vpn)| {
            let status = StatusCode::from_u8(status).unwrap();
            vec![
                Meaning::Status(status, text),
                Meaning::State(DhcpState::from_u8(state).unwrap()),
                vpn,
            ]
        });
    (numbers, times, long, relay, rest).prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

fn options() -> impl Strategy<Value = Vec<Meaning>> {
    every_option().prop_flat_map(|all| {
        let len = all.len();
        subsequence(all, 0..=len).prop_shuffle()
    })
}

fn header() -> impl Strategy<Value = Header> {
    let numbers = (
        1_u8..=2,
        1_u8..=32,
        0_u8..=16,
        any::<u8>(),
        any::<u32>(),
        any::<u16>(),
        any::<u16>(),
    );
    (numbers, any::<[[u8; 4]; 4]>(), any::<[u8; 16]>()).prop_map(
        |(numbers, addresses, mut chaddr)| {
            let (op, htype, hlen, hops, xid, secs, flags) = numbers;
            chaddr[usize::from(hlen)..].fill(0);
            let [ciaddr, yiaddr, siaddr, giaddr] = addresses.map(Ipv4Addr::from);
            Header {
                op,
                htype,
                hlen,
                hops,
                xid,
                secs,
                flags,
                ciaddr,
                yiaddr,
                siaddr,
                giaddr,
                chaddr,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_means_the_same_to_all(header in header(), kind in 10_u8..=18, options in options()) {
        let mut buffer = [0xee; 8192];
        let mut out = OutBuf::new(&mut buffer);
        let mut writer = MessageWriter::start(&mut out, &header, kind).unwrap();
        options.iter().for_each(|option| option.write(&mut writer));
        prop_assert_eq!(writer.finish(), out.len());

        let message = Message::parse(out.as_slice()).unwrap();
        prop_assert_eq!(Header::of(&message), header);
        prop_assert_eq!(message.message_type(), Some(kind));
        prop_assert_eq!(message.chaddr(), &header.chaddr[..header.hlen.into()]);
        options.iter().for_each(|option| option.check(&message));
        let codes: Vec<u8> = message.options().map(|(code, _)| code).collect();
        let expected: Vec<u8> = std::iter::once(53).chain(options.iter().map(Meaning::code)).collect();
        prop_assert_eq!(codes, expected);

        let theirs = peer::Message::decode(&mut Decoder::new(out.as_slice())).unwrap();
        prop_assert_eq!(u8::from(theirs.opcode()), header.op);
        prop_assert_eq!((u8::from(theirs.htype()), theirs.hlen()), (header.htype, header.hlen));
        prop_assert_eq!((theirs.hops(), theirs.xid()), (header.hops, header.xid));
        prop_assert_eq!((theirs.secs(), u16::from(theirs.flags())), (header.secs, header.flags));
        prop_assert_eq!([theirs.ciaddr(), theirs.yiaddr()], [header.ciaddr, header.yiaddr]);
        prop_assert_eq!([theirs.siaddr(), theirs.giaddr()], [header.siaddr, header.giaddr]);
        prop_assert_eq!(theirs.chaddr(), message.chaddr());
        prop_assert_eq!(theirs.opts().msg_type().map(u8::from), Some(kind));
        options.iter().for_each(|option| option.check_with_peer(&theirs));
    }

    /// Whatever the size of the buffer, a message that runs into its end is whole as far as it went.
    #[test]
    fn a_full_buffer_never_holds_a_broken_message(options in options(), size in 0_usize..1200) {
        let mut buffer = vec![0xee; size];
        let mut out = OutBuf::new(&mut buffer);
        let Ok(mut writer) = MessageWriter::start(&mut out, &Header::reply(9), 13) else {
            prop_assert!(size < 244 && out.is_empty());
            return Ok(());
        };
        let mut fitted = vec![53];
        for option in &options {
            if let Meaning::Octets(code, value) = option
                && writer.option(*code, value).is_ok()
            {
                fitted.push(*code);
            }
        }
        writer.finish();
        let message = Message::parse(out.as_slice()).unwrap();
        prop_assert_eq!(message.options().map(|(code, _)| code).collect::<Vec<_>>(), fitted);
    }

    /// RFC 3396: fragments of one option, other options between them, in the options field and in `file` and `sname`.
    #[test]
    fn fragments_are_put_together_in_order(
        parts in proptest::collection::vec(octets(0..20), 3..6),
        overload in 0_u8..=3,
    ) {
        let mut buffer = [0; 1024];
        let mut out = OutBuf::new(&mut buffer);
        let mut writer = MessageWriter::start(&mut out, &Header::request(1), 14).unwrap();
        writer.option_u8(code::OPTION_OVERLOAD, overload).unwrap();
        for part in &parts {
            writer.option(code::CLIENT_IDENTIFIER, part).unwrap();
            writer.raw_options(&[0, 0]).unwrap();
            writer.option_u8(code::DHCP_STATE, 2).unwrap();
        }
        writer.finish();
        let octets = out.as_mut_slice();
        octets[108..114].copy_from_slice(&[61, 2, b'f', b'f', 61, 0]);
        octets[44..49].copy_from_slice(&[0, 61, 1, b's', 255]);
        let mut expected = parts.concat();
        if overload & 1 != 0 { expected.extend(b"ff"); }
        if overload & 2 != 0 { expected.extend(b"s"); }

        let message = Message::parse(out.as_slice()).unwrap();
        let value = message.option(code::CLIENT_IDENTIFIER).unwrap();
        prop_assert_eq!(value.len(), expected.len());
        prop_assert!(value == expected.as_slice());
        prop_assert_eq!(value.bytes().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(value.fragments().collect::<Vec<_>>().concat(), expected);
    }
}
