//! What is written is read back with the same meaning, by us and by an independent decoder.

use std::net::Ipv6Addr;

use dhcproto::v6 as peer;
use dhcproto::{Decodable, Decoder};
use leaseq_wire::OutBuf;
use leaseq_wire::time::Seconds2000;
use leaseq_wire::v6::{
    ClientData, IaAddr, IaPrefix, LqQuery, LqRelayData, Message, MessageWriter, Options, OroCodes,
    QueryType, RelayChain, Status, StatusCode, option_code as code,
};
use proptest::prelude::*;

/// An option as its sender means it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    Octets(u16, Vec<u8>),
    Number(u16, u32),
    Address(Ipv6Addr, u32, u32),
    Prefix(Ipv6Addr, u8, u32, u32),
    Oro(Vec<u16>),
    Status(u16, String),
    Query(u8, Ipv6Addr, Vec<Meaning>),
    Client(Vec<Meaning>),
    Relay(Ipv6Addr, Vec<u8>),
}

impl Meaning {
    fn write(&self, writer: &mut MessageWriter<'_, '_>) {
        match self {
            Self::Octets(code::CLIENTID, value) => writer.client_id(value),
            Self::Octets(code::SERVERID, value) => writer.server_id(value),
            Self::Octets(code::RELAY_ID, value) => writer.relay_id(value),
            Self::Octets(code, value) => writer.option(*code, value),
            Self::Number(code::CLT_TIME, value) => writer.clt_time(*value),
            Self::Number(code::LQ_BASE_TIME, value) => writer.base_time(Seconds2000(*value)),
            Self::Number(code::LQ_START_TIME, value) => writer.start_time(Seconds2000(*value)),
            Self::Number(code::LQ_END_TIME, value) => writer.end_time(Seconds2000(*value)),
            Self::Number(code, value) => writer.option_u32(*code, *value),
            Self::Address(address, preferred, valid) => writer.iaaddr(*address, *preferred, *valid),
            Self::Prefix(prefix, len, preferred, valid) => {
                writer.iaprefix(*prefix, *len, *preferred, *valid)
            }
            Self::Oro(codes) => writer.oro(codes),
            Self::Status(code, text) => writer.status(StatusCode::from_u16(*code).unwrap(), text),
            Self::Query(kind, link, inner) => {
                let start = writer
                    .begin_lq_query(QueryType::from_u8(*kind).unwrap(), *link)
                    .unwrap();
                inner.iter().for_each(|option| option.write(writer));
                writer.end_option(start)
            }
            Self::Client(inner) => {
                let start = writer.begin_option(code::CLIENT_DATA).unwrap();
                inner.iter().for_each(|option| option.write(writer));
                writer.end_option(start)
            }
            Self::Relay(peer, message) => writer.relay_data(*peer, message),
        }
        .unwrap();
    }

    /// The meaning of an option to our decoder.
    fn ours((code, value): (u16, &[u8])) -> Self {
        match code {
            code::IAADDR => {
                let lease = IaAddr::parse(value).unwrap();
                assert!(lease.options.is_empty());
                Self::Address(lease.address, lease.preferred, lease.valid)
            }
            code::IAPREFIX => {
                let lease = IaPrefix::parse(value).unwrap();
                assert!(lease.options.is_empty());
                Self::Prefix(lease.prefix, lease.prefix_len, lease.preferred, lease.valid)
            }
            code::ORO => Self::Oro(OroCodes::new(value).collect()),
            code::STATUS_CODE => {
                let status = Status::parse(value).unwrap();
                Self::Status(
                    status.code,
                    String::from_utf8(status.text.to_vec()).unwrap(),
                )
            }
            code::LQ_QUERY => {
                let query = LqQuery::parse(value).unwrap();
                Self::Query(
                    query.query_type,
                    query.link_address,
                    sorted(query.options.iter().map(Self::ours)),
                )
            }
            code::CLIENT_DATA => {
                let client = ClientData::parse(value).unwrap();
                Self::Client(sorted(client.options.iter().map(Self::ours)))
            }
            code::LQ_RELAY_DATA => {
                let relay = LqRelayData::parse(value).unwrap();
                Self::Relay(relay.peer_address, relay.message.to_vec())
            }
            code::CLT_TIME | code::LQ_BASE_TIME | code::LQ_START_TIME | code::LQ_END_TIME => {
                Self::Number(code, u32::from_be_bytes(value.try_into().unwrap()))
            }
            _ => Self::Octets(code, value.to_vec()),
        }
    }

    /// The meaning of an option to the peer; it knows the forms of leasequery's own options only as octets.
    fn theirs(option: &peer::DhcpOption) -> Self {
        use peer::DhcpOption as O;
        match option {
            O::ClientId(duid) => Self::Octets(code::CLIENTID, duid.clone()),
            O::ServerId(duid) => Self::Octets(code::SERVERID, duid.clone()),
            O::IAAddr(lease) => Self::Address(lease.addr, lease.preferred_life, lease.valid_life),
            O::IAPrefix(lease) => Self::Prefix(
                lease.prefix_ip,
                lease.prefix_len,
                lease.preferred_lifetime,
                lease.valid_lifetime,
            ),
            O::ORO(oro) => Self::Oro(oro.opts.iter().map(|code| u16::from(*code)).collect()),
            O::StatusCode(status) => Self::Status(status.status.into(), status.msg.clone()),
            O::Unknown(unknown) => {
                let (code, value) = (u16::from(unknown.code()), unknown.data());
                let options = |octets: &[u8]| {
                    let options = peer::DhcpOptions::decode(&mut Decoder::new(octets)).unwrap();
                    sorted(options.iter().map(Self::theirs))
                };
                match code {
                    code::LQ_QUERY => {
                        Self::Query(value[0], address(&value[1..17]), options(&value[17..]))
                    }
                    code::CLIENT_DATA => Self::Client(options(value)),
                    code::LQ_RELAY_DATA => Self::Relay(address(&value[..16]), value[16..].to_vec()),
                    code::CLT_TIME
                    | code::LQ_BASE_TIME
                    | code::LQ_START_TIME
                    | code::LQ_END_TIME => {
                        Self::Number(code, u32::from_be_bytes(value.try_into().unwrap()))
                    }
                    _ => Self::Octets(code, value.to_vec()),
                }
            }
            other => panic!("unexpected to the peer: {other:?}"),
        }
    }

    /// The peer sorts options, so all are compared in one order.
    fn sort(&mut self) {
        if let Self::Query(_, _, inner) | Self::Client(inner) = self {
            inner.iter_mut().for_each(Self::sort);
            inner.sort();
        }
    }
}

fn sorted(options: impl Iterator<Item = Meaning>) -> Vec<Meaning> {
    let mut options: Vec<_> = options.collect();
    options.iter_mut().for_each(Meaning::sort);
    options.sort();
    options
}

fn address(octets: &[u8]) -> Ipv6Addr {
    Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap())
}

fn octets(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), len)
}

fn any_address() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Ipv6Addr::from)
}

/// Options without others in them. The codes that the ORO may name are those that the peer keeps apart.
fn leaf() -> impl Strategy<Value = Meaning> {
    prop_oneof![
        (
            prop::sample::select(vec![
                code::CLIENTID,
                code::SERVERID,
                code::RELAY_ID,
                code::REMOTE_ID,
                code::VSS
            ]),
            octets(0..140)
        )
            .prop_map(|(code, value)| Meaning::Octets(code, value)),
        (
            prop::sample::select(vec![
                code::CLT_TIME,
                code::LQ_BASE_TIME,
                code::LQ_START_TIME,
                code::LQ_END_TIME
            ]),
            any::<u32>()
        )
            .prop_map(|(code, value)| Meaning::Number(code, value)),
        (any_address(), any::<u32>(), any::<u32>()).prop_map(|(a, p, v)| Meaning::Address(a, p, v)),
        (any_address(), 0_u8..=128, any::<u32>(), any::<u32>())
            .prop_map(|(a, l, p, v)| Meaning::Prefix(a, l, p, v)),
        (0_u16..=15, "[ -~äß]{0,60}").prop_map(|(code, text)| Meaning::Status(code, text)),
        (any_address(), octets(0..200)).prop_map(|(peer, message)| Meaning::Relay(peer, message)),
        proptest::collection::vec(any::<[u8; 16]>(), 1..4)
            .prop_map(|links| Meaning::Octets(code::LQ_CLIENT_LINK, links.concat())),
        octets(0..9).prop_map(|value| Meaning::Octets(65_000, value)),
    ]
}

fn options() -> impl Strategy<Value = Vec<Meaning>> {
    let inner = || proptest::collection::vec(leaf(), 0..6);
    let oro = prop::sample::subsequence(vec![23_u16, 24, 31, 17, 82], 0..=5).prop_map(Meaning::Oro);
    let top = prop_oneof![
        4 => leaf(),
        1 => oro,
        1 => (1_u8..=5, any_address(), inner()).prop_map(|(kind, link, inner)| Meaning::Query(kind, link, inner)),
        2 => inner().prop_map(Meaning::Client),
    ];
    proptest::collection::vec(top, 0..8)
}

proptest! {
    #[test]
    fn what_is_written_means_the_same_to_all(
        kind in prop::sample::select(vec![7_u8, 14, 15, 16, 17, 22, 23]),
        xid in 0_u32..=0x00ff_ffff,
        options in options(),
    ) {
        let mut buffer = [0xee; 16_384];
        let mut out = OutBuf::new(&mut buffer);
        let mut writer = MessageWriter::start(&mut out, kind, xid).unwrap();
        options.iter().for_each(|option| option.write(&mut writer));
        prop_assert_eq!(writer.finish(), out.len());
        let meant = sorted(options.into_iter());

        let message = Message::parse(out.as_slice()).unwrap();
        prop_assert_eq!((message.msg_type(), message.xid()), (kind, xid));
        prop_assert_eq!(&sorted(message.iter().map(Meaning::ours)), &meant);

        let theirs = peer::Message::decode(&mut Decoder::new(out.as_slice())).unwrap();
        prop_assert_eq!((u8::from(theirs.msg_type()), theirs.xid_num()), (kind, xid));
        prop_assert_eq!(sorted(theirs.opts().iter().map(Meaning::theirs)), meant);
    }

    #[test]
    fn relays_are_read_from_the_outermost_inwards(
        hops in proptest::collection::vec((any_address(), any_address(), octets(0..30)), 1..40),
        client_message in any::<bool>(),
    ) {
        // Built from the innermost one outwards, each in the RELAY_MSG of the next.
        let mut message = if client_message { vec![1, 2, 3, 4] } else { Vec::new() };
        for (n, (link, peer, interface)) in hops.iter().rev().enumerate() {
            let mut octets = [12, n as u8].to_vec();
            octets.extend(link.octets().iter().chain(&peer.octets()));
            octets.extend([0, 18, 0, interface.len() as u8].iter().chain(interface));
            if !message.is_empty() {
                octets.extend(9_u16.to_be_bytes().iter().chain(&(message.len() as u16).to_be_bytes()));
                octets.append(&mut message);
            }
            message = octets;
        }
        let read: Vec<_> = RelayChain::new(&message).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(read.len(), hops.len().min(32));
        for (relay, (link, peer, interface)) in read.iter().zip(&hops) {
            prop_assert_eq!((relay.link_address, relay.peer_address), (*link, *peer));
            prop_assert_eq!(relay.options.find(code::INTERFACE_ID), Some(interface.as_slice()));
        }
        // The peer knows DHCPv6 messages in a RELAY_MSG only if they are relayed ones.
        if !client_message {
            let mut theirs = peer::RelayMessage::decode(&mut Decoder::new(&message)).unwrap();
            for (link, peer, _) in &hops {
                prop_assert_eq!((theirs.link_addr(), theirs.peer_addr()), (*link, *peer));
                let inner = theirs.opts().get(peer::OptionCode::RelayMsg).cloned();
                if let Some(peer::DhcpOption::RelayMsg(inner)) = inner { theirs = inner; }
            }
        }
    }

    /// Whatever the size of the buffer, an option that runs into its end leaves nothing behind.
    #[test]
    fn a_full_buffer_never_holds_a_broken_option(options in options(), size in 4_usize..400) {
        let mut buffer = vec![0xee; size];
        let mut out = OutBuf::new(&mut buffer);
        let mut writer = MessageWriter::start(&mut out, 17, 9).unwrap();
        let mut fitted = Vec::new();
        for option in &options {
            let done = match option {
                Meaning::Octets(code, value) => writer.option(*code, value),
                Meaning::Address(address, preferred, valid) => writer.iaaddr(*address, *preferred, *valid),
                Meaning::Relay(peer, message) => writer.relay_data(*peer, message),
                _ => continue,
            };
            if done.is_ok() { fitted.push(option.clone()); }
        }
        writer.finish();
        let read: Vec<_> = Options::parse(&out.as_slice()[4..]).unwrap().iter().map(Meaning::ours).collect();
        prop_assert_eq!(read, fitted);
    }
}
