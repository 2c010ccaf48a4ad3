//! A relay agent with clients behind it, as far as a DHCPv4 server can tell.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const RELEASE: u8 = 7;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// Where options begin.
const OPTIONS: usize = 240;

/// A relay agent.
pub struct Relay {
    socket: UdpSocket,
    address: Ipv4Addr,
    server: Ipv4Addr,
    xid: u32,
}

/// A lease that a client got.
#[derive(Clone, Copy)]
pub struct Leased {
    client: u8,
    pub address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Relay {
    pub fn new(address: Ipv4Addr, server: Ipv4Addr) -> Relay {
        // dnsmasq has the port on all addresses, and lets others have it too.
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&SocketAddrV4::new(address, 67).into()).unwrap();
        let socket = UdpSocket::from(socket);
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Relay {
            socket,
            address,
            server,
            xid: 0x1000,
        }
    }

    /// Gets a lease for the client of this number, or renews it; its relay agent calls it `modem-N`.
    pub fn lease(&mut self, client: u8) -> Leased {
        let offer = self.exchange(client, DISCOVER, &[]);
        let address = yiaddr(&offer);
        let server: [u8; 4] = option(&offer, 54).unwrap().try_into().unwrap();
        let wanted = [&[50, 4][..], &address.octets(), &[54, 4], &server].concat();
        let answer = self.exchange(client, REQUEST, &wanted);
        assert_eq!(option(&answer, 53).as_deref(), Some(&[ACK][..]));
        Leased {
            client,
            address: yiaddr(&answer),
            server: server.into(),
        }
    }

    /// Gives a lease back.
    pub fn release(&mut self, lease: Leased) {
        let server = [&[54, 4][..], &lease.server.octets()].concat();
        let message = self.message(lease.client, RELEASE, lease.address, &server);
        self.socket.send_to(&message, (self.server, 67)).unwrap();
    }

    /// Sends a message, and again if no answer comes; gives the answer.
    fn exchange(&mut self, client: u8, kind: u8, options: &[u8]) -> Vec<u8> {
        let message = self.message(client, kind, Ipv4Addr::UNSPECIFIED, options);
        let mut answer = [0; 1_500];
        for _ in 0..5 {
            self.socket.send_to(&message, (self.server, 67)).unwrap();
            while let Ok(octets) = self.socket.recv(&mut answer) {
                if octets > OPTIONS && answer[4..8] == message[4..8] {
                    return answer[..octets].to_vec();
                }
            }
        }
        panic!("the server does not answer client {client}");
    }

    fn message(&mut self, client: u8, kind: u8, ciaddr: Ipv4Addr, options: &[u8]) -> Vec<u8> {
        self.xid += 1;
        let mut message = vec![0; OPTIONS - COOKIE.len()];
        message[..4].copy_from_slice(&[1, 1, 6, 1]);
        message[4..8].copy_from_slice(&self.xid.to_be_bytes());
        message[12..16].copy_from_slice(&ciaddr.octets());
        message[24..28].copy_from_slice(&self.address.octets());
        message[28..34].copy_from_slice(&hwaddr(client));
        message.extend(COOKIE);
        message.extend([53, 1, kind]);
        message.extend(options);
        message.extend([61, 7, 1]);
        message.extend(hwaddr(client));
        let remote_id = remote_id(client);
        message.extend([82, remote_id.len() as u8]);
        message.extend(remote_id);
        message.push(255);
        message
    }
}

/// Hardware address of a client.
pub fn hwaddr(client: u8) -> [u8; 6] {
    [2, 0, 0x5e, 0, 0, client]
}

/// What the relay agent adds to the messages of a client: its remote-id.
pub fn remote_id(client: u8) -> Vec<u8> {
    let value = format!("modem-{client}");
    [&[2, value.len() as u8][..], value.as_bytes()].concat()
}

fn yiaddr(message: &[u8]) -> Ipv4Addr {
    let octets: [u8; 4] = message[16..20].try_into().unwrap();
    octets.into()
}

fn option(message: &[u8], wanted: u8) -> Option<Vec<u8>> {
    let mut rest = &message[OPTIONS..];
    while let [code, length, after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        if *code == wanted {
            return Some(value.to_vec());
        }
        rest = after;
    }
    None
}
