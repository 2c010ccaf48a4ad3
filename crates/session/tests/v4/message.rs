//! Messages as a requestor makes and reads them. Each one read is read by an independent decoder as well.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4 as peer;
use dhcproto::{Decodable, Decoder, Encodable};
use leaseq_wire::OutBuf;
use leaseq_wire::v4::{Header, Message, MessageWriter, message_type};

/// A query being made.
#[derive(Clone)]
pub struct Query4 {
    pub xid: u32,
    pub message_type: u8,
    pub header: Header,
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Query4 {
    /// A bulk query for all configured addresses.
    pub fn bulk(xid: u32) -> Query4 {
        Query4 {
            xid,
            message_type: message_type::DHCPBULKLEASEQUERY,
            header: Header::request(xid),
            options: Vec::new(),
        }
    }

    /// An active query.
    pub fn active(xid: u32) -> Query4 {
        Query4 {
            message_type: message_type::DHCPACTIVELEASEQUERY,
            ..Query4::bulk(xid)
        }
    }

    /// A UDP query without a key, from the relay agent at 10.0.0.1.
    pub fn udp(xid: u32) -> Query4 {
        let header = Header {
            giaddr: Ipv4Addr::new(10, 0, 0, 1),
            ..Header::request(xid)
        };
        Query4 {
            xid,
            message_type: message_type::DHCPLEASEQUERY,
            header,
            options: Vec::new(),
        }
    }

    pub fn option(mut self, code: u8, value: &[u8]) -> Query4 {
        self.options.push((code, value.to_vec()));
        self
    }

    pub fn want(self, codes: &[u8]) -> Query4 {
        self.option(55, codes)
    }

    pub fn address(mut self, address: [u8; 4]) -> Query4 {
        self.header.ciaddr = address.into();
        self
    }

    pub fn hwaddr(mut self, htype: u8, address: &[u8]) -> Query4 {
        self.header.htype = htype;
        self.header.hlen = address.len() as u8;
        self.header.chaddr[..address.len()].copy_from_slice(address);
        self
    }

    pub fn client_id(self, id: &[u8]) -> Query4 {
        self.option(61, id)
    }

    pub fn remote_id(self, id: &[u8]) -> Query4 {
        self.option(82, &[&[2, id.len() as u8], id].concat())
    }

    pub fn relay_id(self, id: &[u8]) -> Query4 {
        self.option(82, &[&[12, id.len() as u8], id].concat())
    }

    pub fn since(self, time: u32) -> Query4 {
        self.option(154, &time.to_be_bytes())
    }

    pub fn until(self, time: u32) -> Query4 {
        self.option(155, &time.to_be_bytes())
    }

    pub fn vpn(self, vss: &[u8]) -> Query4 {
        self.option(221, vss)
    }

    pub fn message(&self) -> Vec<u8> {
        let mut octets = vec![0; 65_535];
        let mut out = OutBuf::new(&mut octets);
        let mut writer =
            MessageWriter::start(&mut out, &self.header, self.message_type).expect("room");
        for (code, value) in &self.options {
            writer.option(*code, value).expect("room");
        }
        let len = writer.finish();
        octets.truncate(len);
        octets
    }

    pub fn frame(&self) -> Vec<u8> {
        framed(&self.message())
    }
}

pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// A message read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message4 {
    pub message_type: u8,
    pub xid: u32,
    pub htype: u8,
    pub chaddr: Vec<u8>,
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub options: BTreeMap<u8, Vec<u8>>,
}

impl Message4 {
    /// Reads a server's message with our decoder and with an independent one, which must see the same.
    pub fn read(octets: &[u8]) -> Message4 {
        let message = Message::parse(octets).expect("our decoder reads it");
        assert_eq!((message.op(), message.secs(), message.hops()), (2, 0, 0));
        assert!(message.yiaddr().is_unspecified() && message.siaddr().is_unspecified());
        assert_eq!(octets[44..236], [0; 192], "sname and file are empty");
        assert_eq!(octets.last(), Some(&255), "END is the last octet");
        let options: BTreeMap<u8, Vec<u8>> = message
            .options()
            .filter(|(code, _)| *code != 53)
            .map(|(code, value)| (code, value.bytes().collect()))
            .collect();
        let read = Message4 {
            message_type: message.message_type().expect("a message type"),
            xid: message.xid(),
            htype: message.htype(),
            chaddr: message.chaddr().to_vec(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            options,
        };
        read.check_with_peer(octets);
        read
    }

    fn check_with_peer(&self, octets: &[u8]) {
        let theirs =
            peer::Message::decode(&mut Decoder::new(octets)).expect("the other decoder reads it");
        assert_eq!(
            (theirs.xid(), theirs.ciaddr(), theirs.giaddr()),
            (self.xid, self.ciaddr, self.giaddr)
        );
        assert_eq!(theirs.chaddr(), self.chaddr);
        assert_eq!(
            theirs.opts().iter().count(),
            self.options.len() + 1,
            "as many options, and the message type"
        );
        for (code, value) in &self.options {
            let option = theirs
                .opts()
                .get(peer::OptionCode::from(*code))
                .expect("the option is there");
            // Written again it is the same, unless it is split or its text is kept in another form.
            if value.len() <= 255 && *code != 151 && *code != 92 {
                let written = option.to_vec().expect("written again");
                assert_eq!(
                    written,
                    [&[*code, value.len() as u8], &value[..]].concat(),
                    "option {code}"
                );
            }
        }
    }

    pub fn number(&self, code: u8) -> Option<u32> {
        self.options
            .get(&code)
            .map(|value| u32::from_be_bytes(value[..].try_into().expect("4 octets")))
    }

    pub fn octet(&self, code: u8) -> Option<u8> {
        self.options.get(&code).map(|value| {
            value[..]
                .try_into()
                .map(|[octet]: [u8; 1]| octet)
                .expect("1 octet")
        })
    }

    pub fn status(&self) -> Option<u8> {
        self.options.get(&151).map(|value| value[0])
    }

    pub fn codes(&self) -> Vec<u8> {
        self.options.keys().copied().collect()
    }
}
