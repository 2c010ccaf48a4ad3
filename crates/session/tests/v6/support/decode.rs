//! Reads replies with our decoder and with dhcproto's, which have to agree.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use dhcproto::v6::{DhcpOption, DhcpOptions, OptionCode};
use dhcproto::{Decodable, Decoder};
use leaseq_wire::v6::{ClientData, Links, Message, Options, Status, option_code as code};

/// Addresses and prefixes with preferred and valid lifetime.
pub type Leases = BTreeMap<(Ipv6Addr, u8), (u32, u32)>;

/// A client as a CLIENT_DATA tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub duid: Vec<u8>,
    pub leases: Leases,
    pub clt_time: Option<u32>,
    /// Value of LQ_RELAY_DATA.
    pub relay_data: Option<Vec<u8>>,
    /// Other options in order of their codes.
    pub options: Vec<(u16, Vec<u8>)>,
}

impl Told {
    /// The addresses and prefixes alone, as text.
    pub fn addresses(&self) -> Vec<String> {
        self.leases
            .keys()
            .map(|(address, len)| format!("{address}/{len}"))
            .collect()
    }
}

/// A message from the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub message_type: u8,
    pub xid: u32,
    pub server_id: Option<Vec<u8>>,
    pub client_id: Option<Vec<u8>>,
    pub status: Option<u16>,
    pub base_time: Option<u32>,
    pub vss: Option<Vec<u8>>,
    pub client: Option<Told>,
    pub links: Option<Vec<Ipv6Addr>>,
    /// Octets of the message.
    pub octets: usize,
}

impl Reply {
    /// Reads a message, in which nothing may be left over, twice or unknown.
    pub fn read(octets: &[u8]) -> Self {
        let ours = Self::by_us(octets);
        let theirs = Self::by_dhcproto(octets);
        // Not printed in full: a message may hold thousands of leases.
        if octets.len() < 1_000 {
            assert_eq!(ours, theirs, "the decoders disagree");
        }
        assert!(ours == theirs, "the decoders disagree");
        ours
    }

    /// One line: the status, or the client and its leases with their valid lifetimes, in order of their addresses.
    pub fn line(&self) -> String {
        let kind = match self.message_type {
            15 => "reply",
            16 => "done",
            17 => "data",
            other => panic!("message type {other}"),
        };
        let status = match self.status {
            None => String::new(),
            Some(8) => " malformed".to_owned(),
            Some(10) => " not allowed".to_owned(),
            Some(11) => " terminated".to_owned(),
            Some(12) => " data missing".to_owned(),
            Some(13) => " caught up".to_owned(),
            Some(other) => format!(" status {other}"),
        };
        let client = self.client.as_ref().map(|client| {
            let leases: Vec<String> = client
                .leases
                .iter()
                .map(|((address, len), (_, valid))| match (len, valid) {
                    (128, 0) => format!("{address} over"),
                    (128, valid) => format!("{address} {valid}"),
                    (len, 0) => format!("{address}/{len} over"),
                    (len, valid) => format!("{address}/{len} {valid}"),
                })
                .collect();
            let duid = client.duid.last().expect("a DUID");
            format!(" {duid}: {}", leases.join(", "))
        });
        format!("{kind}{status}{}", client.unwrap_or_default())
    }

    fn by_us(octets: &[u8]) -> Self {
        let message = Message::parse(octets).expect("a message");
        let mut reply = Self {
            message_type: message.msg_type(),
            xid: message.xid(),
            octets: octets.len(),
            ..Self::default()
        };
        for (option, value) in message.iter() {
            match option {
                code::SERVERID => set(&mut reply.server_id, value.to_vec()),
                code::CLIENTID => set(&mut reply.client_id, value.to_vec()),
                code::STATUS_CODE => {
                    let status = Status::parse(value).expect("a status");
                    assert!(std::str::from_utf8(status.text).is_ok());
                    set(&mut reply.status, status.code);
                }
                code::LQ_BASE_TIME => set(&mut reply.base_time, number(value)),
                code::VSS => set(&mut reply.vss, value.to_vec()),
                code::LQ_CLIENT_LINK => set(&mut reply.links, Links::new(value).collect()),
                code::CLIENT_DATA => set(&mut reply.client, client_by_us(value)),
                other => panic!("option {other} in a reply"),
            }
        }
        reply
    }

    fn by_dhcproto(octets: &[u8]) -> Self {
        let message = dhcproto::v6::Message::decode(&mut Decoder::new(octets)).expect("a message");
        let mut reply = Self {
            message_type: message.msg_type().into(),
            xid: message.xid_num(),
            octets: octets.len(),
            ..Self::default()
        };
        for option in message.opts().iter() {
            match option {
                DhcpOption::ServerId(duid) => set(&mut reply.server_id, duid.clone()),
                DhcpOption::ClientId(duid) => set(&mut reply.client_id, duid.clone()),
                DhcpOption::StatusCode(status) => set(&mut reply.status, status.status.into()),
                DhcpOption::Unknown(option) => {
                    let value = option.data();
                    match u16::from(option.code()) {
                        100 => set(&mut reply.base_time, number(value)),
                        68 => set(&mut reply.vss, value.to_vec()),
                        48 => set(&mut reply.links, Links::new(value).collect()),
                        45 => set(&mut reply.client, client_by_dhcproto(value)),
                        other => panic!("option {other} in a reply"),
                    }
                }
                other => panic!("option {other:?} in a reply"),
            }
        }
        reply
    }
}

fn client_by_us(value: &[u8]) -> Told {
    let client = ClientData::parse(value).expect("CLIENT_DATA");
    let mut told = Told {
        duid: client.client_id().expect("the client's DUID").to_vec(),
        clt_time: client.clt_time(),
        relay_data: client.options.find(code::LQ_RELAY_DATA).map(<[u8]>::to_vec),
        ..Told::default()
    };
    if let Some(relay_data) = client.relay_data() {
        let relays: Result<Vec<_>, _> = relay_data.expect("relay data").relays().collect();
        assert!(!relays.expect("relayed messages").is_empty());
    }
    for lease in client.leases() {
        let lease = lease.expect("a lease");
        let lifetimes = (lease.preferred(), lease.valid());
        assert_eq!(told.leases.insert(lease.prefix(), lifetimes), None, "twice");
    }
    told.options = others(client.options);
    told
}

fn others(options: Options<'_>) -> Vec<(u16, Vec<u8>)> {
    let mut others: Vec<_> = options
        .iter()
        .filter(|(option, _)| ![1, 5, 26, 46, 47].contains(option))
        .map(|(option, value)| (option, value.to_vec()))
        .collect();
    others.sort();
    others
}

fn client_by_dhcproto(value: &[u8]) -> Told {
    let options = DhcpOptions::decode(&mut Decoder::new(value)).expect("CLIENT_DATA");
    let mut told = Told::default();
    for option in options.iter() {
        match option {
            DhcpOption::ClientId(duid) => told.duid = duid.clone(),
            DhcpOption::IAAddr(lease) => {
                let lifetimes = (lease.preferred_life, lease.valid_life);
                told.leases.insert((lease.addr, 128), lifetimes);
            }
            DhcpOption::IAPrefix(lease) => {
                let lifetimes = (lease.preferred_lifetime, lease.valid_lifetime);
                told.leases
                    .insert((lease.prefix_ip, lease.prefix_len), lifetimes);
            }
            DhcpOption::Unknown(option) => match u16::from(option.code()) {
                46 => told.clt_time = Some(number(option.data())),
                47 => told.relay_data = Some(option.data().to_vec()),
                other => told.options.push((other, option.data().to_vec())),
            },
            // An option that dhcproto knows better than as octets: written out again.
            other => {
                let octets = encoded(other);
                told.options
                    .push((OptionCode::from(other).into(), octets[4..].to_vec()));
            }
        }
    }
    told.options.sort();
    told
}

fn encoded(option: &DhcpOption) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = dhcproto::Encoder::new(&mut octets);
    dhcproto::Encodable::encode(option, &mut encoder).expect("an option");
    octets
}

fn set<T>(field: &mut Option<T>, value: T) {
    assert!(field.replace(value).is_none(), "an option twice");
}

fn number(value: &[u8]) -> u32 {
    u32::from_be_bytes(value.try_into().expect("4 octets"))
}
