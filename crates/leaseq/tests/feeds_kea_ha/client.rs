//! Clients behind a relay agent on loopback.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::json;

use crate::kea::Kea;

/// How often a message is sent before the test fails; Kea may be late.
const TRIES: usize = 10;
/// The same of a release, which is looked at at once.
const RELEASE_TRIES: usize = 2_000;

/// DHCPv4 clients.
pub struct Clients4<'a> {
    kea: &'a Kea,
    server: Option<Vec<u8>>,
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const RELEASE: u8 = 7;

impl<'a> Clients4<'a> {
    pub fn new(kea: &'a Kea) -> Self {
        Clients4 { kea, server: None }
    }

    /// A client gets an address.
    pub fn get(&mut self, number: u32) -> Ipv4Addr {
        let offer = self.exchange(
            &message(DISCOVER, number, Ipv4Addr::UNSPECIFIED, &[]),
            number,
            OFFER,
        );
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(&offer[16..20]).unwrap());
        let server = option4(&offer, 54).unwrap().to_vec();
        let wanted = [&[50, 4][..], &address.octets(), &[54, 4], &server].concat();
        self.server = Some(server);
        let request = message(REQUEST, number, Ipv4Addr::UNSPECIFIED, &wanted);
        let ack = self.exchange(&request, number, ACK);
        assert_eq!(ack[16..20], address.octets());
        address
    }

    /// A client gives its address back. Kea does not answer that, and may drop it: it is sent until the lease is gone.
    pub fn release(&mut self, number: u32, address: Ipv4Addr) {
        let server = self.server.clone().unwrap();
        let release = message(RELEASE, number, address, &[&[54, 4][..], &server].concat());
        for _ in 0..RELEASE_TRIES {
            self.send(&release);
            let lease = json!({"ip-address": address.to_string()});
            if self.kea.ask("lease4-get", lease)["result"] == 3 {
                return;
            }
        }
        panic!("Kea does not release {address}");
    }

    /// The same, said once: it is up to Kea whether it hears it.
    pub fn release_once(&self, number: u32, address: Ipv4Addr) {
        let server = self.server.clone().unwrap();
        self.send(&message(
            RELEASE,
            number,
            address,
            &[&[54, 4][..], &server].concat(),
        ));
    }

    /// A client says that its address is in use already. Kea does not answer that either.
    pub fn decline(&self, number: u32, address: Ipv4Addr) {
        let server = self.server.clone().unwrap();
        let told = [&[50, 4][..], &address.octets(), &[54, 4], &server].concat();
        let decline = message(DECLINE, number, Ipv4Addr::UNSPECIFIED, &told);
        for _ in 0..RELEASE_TRIES {
            self.send(&decline);
            let lease = json!({"ip-address": address.to_string()});
            if self.kea.ask("lease4-get", lease)["arguments"]["state"] == 1 {
                return;
            }
        }
        panic!("Kea does not take {address} for declined");
    }

    fn send(&self, message: &[u8]) {
        let to = ("127.0.0.1", self.kea.server_port);
        self.kea.relay.send_to(message, to).unwrap();
    }

    fn exchange(&self, message: &[u8], number: u32, expected: u8) -> Vec<u8> {
        let mut answer = vec![0; 2_000];
        for _ in 0..TRIES {
            self.send(message);
            while let Ok(octets) = self.kea.relay.recv(&mut answer) {
                let is_it = octets > 240
                    && answer[4..8] == number.to_be_bytes()
                    && option4(&answer[..octets], 53) == Some(&[expected]);
                if is_it {
                    answer.truncate(octets);
                    return answer;
                }
            }
        }
        panic!("Kea does not answer client {number}");
    }
}

fn message(kind: u8, number: u32, ciaddr: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 1];
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&ciaddr.octets());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[127, 0, 0, 1]);
    message.extend_from_slice(&[2, 0]);
    message.extend_from_slice(&number.to_be_bytes());
    message.resize(236, 0);
    message.extend_from_slice(&[0x63, 0x82, 0x53, 0x63, 53, 1, kind, 61, 5, 0]);
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(options);
    // circuit-id, remote-id
    message.extend_from_slice(&[82, 10, 1, 4]);
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&[2, 2, b'r', b'1', 255]);
    message
}

fn option4(message: &[u8], code: u8) -> Option<&[u8]> {
    let mut rest = message.get(240..)?;
    while let [found, length, more @ ..] = rest {
        let value = more.get(..usize::from(*length))?;
        if *found == code {
            return Some(value);
        }
        rest = &more[value.len()..];
    }
    None
}

/// DHCPv6 clients.
pub struct Clients6<'a>(&'a Kea);

/// What a client was given.
pub struct Leases6 {
    pub address: Ipv6Addr,
    server: Vec<u8>,
    /// Its options IA_NA and IA_PD as they were given.
    associations: Vec<u8>,
}

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST6: u8 = 3;
const REPLY: u8 = 7;
const RELEASE6: u8 = 8;
const IA_NA: u16 = 3;
const IA_PD: u16 = 25;

impl<'a> Clients6<'a> {
    pub fn new(kea: &'a Kea) -> Self {
        Clients6(kea)
    }

    /// A client gets an address and a prefix.
    pub fn get(&mut self, number: u32) -> Leases6 {
        let association =
            |code, iaid: u32| option6(code, &[iaid.to_be_bytes().as_slice(), &[0; 8]].concat());
        let wanted = [association(IA_NA, 11), association(IA_PD, 12)].concat();
        let advertise = self.exchange(SOLICIT, number, &wanted, ADVERTISE);
        let (server, associations) = given(&advertise);
        let wanted = [option6(2, &server), associations].concat();
        let reply = self.exchange(REQUEST6, number, &wanted, REPLY);
        let (server, associations) = given(&reply);
        let ia_na = find6(&reply[4..], IA_NA).unwrap();
        let address = find6(&ia_na[12..], 5).expect("an address");
        let address = Ipv6Addr::from(<[u8; 16]>::try_from(&address[..16]).unwrap());
        Leases6 {
            address,
            server,
            associations,
        }
    }

    /// A client gives back all that it has.
    pub fn release(&mut self, number: u32, leases: &Leases6) {
        let options = [option6(2, &leases.server), leases.associations.clone()].concat();
        self.exchange(RELEASE6, number, &options, REPLY);
    }

    fn exchange(&self, kind: u8, number: u32, options: &[u8], expected: u8) -> Vec<u8> {
        // Message types have transactions of their own, lest a late answer to one be taken for that to the next.
        let xid = [kind, (number >> 8) as u8, number as u8];
        let duid = [&[0, 3, 0, 1, 2, 0][..], &number.to_be_bytes()].concat();
        let message = [&[kind][..], &xid, &option6(1, &duid), options].concat();
        let link: Ipv6Addr = "2001:db8:7::1".parse().unwrap();
        let peer: Ipv6Addr = "fe80::1".parse().unwrap();
        let relayed = [
            &[12, 0][..],
            &link.octets(),
            &peer.octets(),
            &option6(9, &message),
            &option6(37, &[&[0, 0, 9, 0xbf][..], &number.to_be_bytes()].concat()),
            &option6(53, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1]),
        ]
        .concat();
        let mut answer = vec![0; 4_000];
        for _ in 0..TRIES {
            let to = ("::1", self.0.server_port);
            self.0.relay.send_to(&relayed, to).unwrap();
            while let Ok(octets) = self.0.relay.recv(&mut answer) {
                let inner = answer[..octets].get(34..).and_then(|rest| find6(rest, 9));
                if let Some(inner) = inner
                    && inner[0] == expected
                    && inner[1..4] == xid
                {
                    return inner.to_vec();
                }
            }
        }
        panic!("Kea does not answer client {number}");
    }
}

/// The server's DUID, and the associations with what is in them.
fn given(message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let options = &message[4..];
    let server = find6(options, 2).expect("a server identifier").to_vec();
    let associations = [IA_NA, IA_PD]
        .map(|code| option6(code, find6(options, code).expect("an association")))
        .concat();
    (server, associations)
}

fn option6(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

fn find6(options: &[u8], code: u16) -> Option<&[u8]> {
    let mut rest = options;
    while let [high, low, length_high, length_low, more @ ..] = rest {
        let value = more.get(..usize::from(u16::from_be_bytes([*length_high, *length_low])))?;
        if u16::from_be_bytes([*high, *low]) == code {
            return Some(value);
        }
        rest = &more[value.len()..];
    }
    None
}
