//! A relay agent with clients behind it, as far as a DHCPv6 server can tell.

use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const RELAY_FORW: u8 = 12;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const RELAY_MSG: u16 = 9;
const IA_PD: u16 = 25;
const IA_PREFIX: u16 = 26;
/// Octets of an association before its options, and of a relayed message before its own.
const IA_HEADER: usize = 12;
const RELAY_HEADER: usize = 34;

/// A relay agent.
pub struct Relay6 {
    socket: UdpSocket,
    link: Ipv6Addr,
    server: Ipv6Addr,
}

/// What a client got.
#[derive(Clone)]
pub struct Leased6 {
    client: u8,
    pub address: Ipv6Addr,
    /// If it asked for one.
    pub prefix: Option<Ipv6Addr>,
    server: Vec<u8>,
    associations: Vec<u8>,
}

impl Relay6 {
    /// One at `address`, on the link of which `link` is an address.
    pub fn new(address: Ipv6Addr, link: Ipv6Addr, server: Ipv6Addr) -> Relay6 {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let local = std::net::SocketAddrV6::new(address, 547, 0, 0);
        socket.bind(&local.into()).unwrap();
        let socket = UdpSocket::from(socket);
        let patience = Duration::from_secs(5);
        socket.set_read_timeout(Some(patience)).unwrap();
        Relay6 {
            socket,
            link,
            server,
        }
    }

    /// Gets an address for the client of this number, or renews it; and a prefix if it wants one.
    pub fn lease(&self, client: u8, wants_prefix: bool) -> Leased6 {
        let codes: &[u16] = match wants_prefix {
            true => &[IA_NA, IA_PD],
            false => &[IA_NA],
        };
        let association = |code: &u16| {
            let iaid = u32::from(client).to_be_bytes();
            option(*code, &[&iaid[..], &[0; 8]].concat())
        };
        let wanted: Vec<u8> = codes.iter().flat_map(association).collect();
        let advertise = self.exchange(client, SOLICIT, &wanted, ADVERTISE);
        let (server, offered) = given(&advertise, codes);
        let request = [option(SERVER_ID, &server), offered].concat();
        let reply = self.exchange(client, REQUEST, &request, REPLY);
        let (server, associations) = given(&reply, codes);
        let addresses = find(&reply[4..], IA_NA).unwrap();
        let address = find(&addresses[IA_HEADER..], IA_ADDRESS).expect("an address");
        let prefix = wants_prefix.then(|| {
            let prefixes = find(&reply[4..], IA_PD).unwrap();
            let prefix = find(&prefixes[IA_HEADER..], IA_PREFIX).expect("a prefix");
            ipv6(&prefix[9..])
        });
        Leased6 {
            client,
            address: ipv6(address),
            prefix,
            server,
            associations,
        }
    }

    /// Gives back all that a client has.
    pub fn release(&self, lease: &Leased6) {
        let options = [option(SERVER_ID, &lease.server), lease.associations.clone()].concat();
        self.exchange(lease.client, RELEASE, &options, REPLY);
    }

    /// Sends a message, and again if no answer comes; gives the answer.
    fn exchange(&self, client: u8, kind: u8, options: &[u8], expected: u8) -> Vec<u8> {
        // Each type of message has a transaction of its own, lest a late answer to one be taken for that to the next.
        let xid = [1, kind, client];
        let message = [
            &[kind],
            &xid[..],
            &option(CLIENT_ID, &duid(client)),
            options,
        ]
        .concat();
        let peer: Ipv6Addr = "fe80::1".parse().unwrap();
        let relayed = [
            &[RELAY_FORW, 0][..],
            &self.link.octets(),
            &peer.octets(),
            &option(RELAY_MSG, &message),
        ]
        .concat();
        let mut answer = [0; 2_000];
        for _ in 0..5 {
            self.socket.send_to(&relayed, (self.server, 547)).unwrap();
            while let Ok(octets) = self.socket.recv(&mut answer) {
                let relayed = answer[..octets].get(RELAY_HEADER..);
                let inner = relayed.and_then(|options| find(options, RELAY_MSG));
                if let Some(inner) = inner
                    && inner.starts_with(&[expected, xid[0], xid[1], xid[2]])
                {
                    return inner.to_vec();
                }
            }
        }
        panic!("the server does not answer client {client}");
    }
}

/// The DUID of a client.
pub fn duid(client: u8) -> [u8; 10] {
    [0, 3, 0, 1, 2, 0, 0x5e, 0, 0, client]
}

/// The server's DUID, and the associations with what is in them.
fn given(message: &[u8], codes: &[u16]) -> (Vec<u8>, Vec<u8>) {
    let options = &message[4..];
    let server = find(options, SERVER_ID).expect("a server identifier");
    let association = |code: &u16| option(*code, find(options, *code).expect("an association"));
    (
        server.to_vec(),
        codes.iter().flat_map(association).collect(),
    )
}

fn ipv6(octets: &[u8]) -> Ipv6Addr {
    (*octets.first_chunk::<16>().expect("an address")).into()
}

fn option(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

fn find(options: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = options;
    while let [a, b, c, d, after @ ..] = rest {
        let (code, length) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let (value, after) = after.split_at_checked(usize::from(length))?;
        if code == wanted {
            return Some(value);
        }
        rest = after;
    }
    None
}
