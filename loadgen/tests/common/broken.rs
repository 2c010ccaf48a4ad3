//! A deliberately broken server: a right one behind a proxy that does one wrong thing to one connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use leaseq_requestor::Family;
use leaseq_wire::{frame, v4, v6};

/// What is done wrong, to a message that tells a binding or to the one that ends the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The binding is not told.
    Drop,
    /// It is told twice.
    Repeat,
    /// The connection ends within it.
    Cut,
    /// Nothing comes from there on, and the connection stays.
    Silence,
    /// It has another transaction id.
    WrongXid,
    /// One octet of the option or field that says who the client is is another.
    OtherClient,
    /// The relay agent information, or relay data, has another octet.
    OtherRelay,
    /// The address is another one.
    OtherAddress,
    /// The lease ends an hour later.
    LongerLease,
    /// The last transaction was an hour earlier.
    EarlierTransaction,
    /// base-time is an hour ahead.
    FutureBaseTime,
    /// A length that is longer than its message.
    Overrun,
    /// A frame of no octets comes before it.
    EmptyFrame,
    /// The end is told twice.
    SecondEnd,
    /// The end is not told, and the connection closed.
    NoEnd,
    /// The end tells a failure.
    Failure,
}

/// The proxy. Dropped, it takes no more connections.
pub struct Broken {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    family: Family,
    what: Break,
    /// The connection that is treated so, counted from 0; all others are passed on as they are.
    victim: u32,
    /// The message of its answer, counted from 0 over those that tell bindings.
    message: u32,
    /// The victim's first request.
    request: Mutex<Option<Vec<u8>>>,
    is_done: AtomicBool,
    connections: AtomicU32,
    ended: AtomicBool,
}

impl Broken {
    /// Stands before a server.
    pub fn before(
        upstream: SocketAddr,
        family: Family,
        what: Break,
        victim: u32,
        message: u32,
    ) -> Self {
        let local: SocketAddr = match family {
            Family::V4 => ([127, 0, 0, 1], 0).into(),
            Family::V6 => (std::net::Ipv6Addr::LOCALHOST, 0).into(),
        };
        let listener = TcpListener::bind(local).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            family,
            what,
            victim,
            message,
            request: Mutex::new(None),
            is_done: AtomicBool::new(false),
            connections: AtomicU32::new(0),
            ended: AtomicBool::new(false),
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    break;
                }
                let shared = accepting.clone();
                thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    /// The wrong thing was done.
    pub fn is_done(&self) -> bool {
        self.shared.is_done.load(Ordering::SeqCst)
    }

    /// The first request on the connection to which it was done, without its frame.
    pub fn request(&self) -> Vec<u8> {
        let request = self.shared.request.lock().unwrap();
        request.clone().expect("the victim has asked")
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(server) = TcpStream::connect(self.upstream) else {
            return;
        };
        let is_victim = number == self.victim;
        thread::scope(|scope| {
            scope.spawn(|| self.requests(&client, &server, is_victim));
            // What goes wrong with a connection here ends it, as it would without a proxy.
            let _ = match is_victim {
                true => self.broken_answers(&server, &client),
                false => io::copy(&mut &server, &mut &client).map(drop),
            };
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        });
    }

    fn requests(&self, mut client: &TcpStream, mut server: &TcpStream, is_victim: bool) {
        let mut octets = [0; 4_096];
        while let Ok(count) = client.read(&mut octets) {
            if count == 0 {
                break;
            }
            let mut request = self.request.lock().unwrap();
            if is_victim && request.is_none() {
                // Requests are short and come whole.
                *request = Some(octets[2..count].to_vec());
            }
            drop(request);
            if server.write_all(&octets[..count]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Write);
    }

    fn broken_answers(&self, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut input = Vec::new();
        let mut octets = vec![0; 65_536];
        let mut bindings = 0;
        loop {
            while let frame::Split::Frame { message, consumed } = frame::split(&input) {
                let message = message.to_vec();
                input.drain(..consumed);
                let tells = self.tells(&message);
                let ends = !tells && self.is_end(&message);
                let is_it = match self.what {
                    Break::SecondEnd | Break::NoEnd | Break::Failure => ends,
                    _ => tells && bindings == self.message,
                };
                bindings += u32::from(tells);
                if !is_it || self.is_done.load(Ordering::SeqCst) {
                    client.write_all(&framed(&message))?;
                    continue;
                }
                self.is_done.store(true, Ordering::SeqCst);
                match self.what {
                    Break::Drop => {}
                    Break::Repeat | Break::SecondEnd => {
                        client.write_all(&framed(&message))?;
                        client.write_all(&framed(&message))?;
                    }
                    Break::Cut => {
                        client.write_all(&framed(&message)[..message.len() / 2])?;
                        return Ok(());
                    }
                    Break::NoEnd => return Ok(()),
                    Break::Silence => {
                        // Until the client has enough of it.
                        while client.read(&mut octets).is_ok_and(|count| count > 0) {}
                        return Ok(());
                    }
                    Break::EmptyFrame => {
                        client.write_all(&[&[0, 0], &*framed(&message)].concat())?
                    }
                    _ => client.write_all(&framed(&self.altered(message)))?,
                }
            }
            match server.read(&mut octets)? {
                0 => return Ok(()),
                count => input.extend_from_slice(&octets[..count]),
            }
        }
    }

    fn tells(&self, message: &[u8]) -> bool {
        match self.family {
            Family::V4 => v4::Message::parse(message).is_ok_and(|message| {
                matches!(
                    message.message_type(),
                    Some(v4::message_type::DHCPLEASEACTIVE | v4::message_type::DHCPLEASEUNASSIGNED)
                )
            }),
            Family::V6 => v6::Message::parse(message)
                .is_ok_and(|message| message.option(v6::option_code::CLIENT_DATA).is_some()),
        }
    }

    fn is_end(&self, message: &[u8]) -> bool {
        match self.family {
            Family::V4 => v4::Message::parse(message).is_ok_and(|message| {
                message.message_type() == Some(v4::message_type::DHCPLEASEQUERYDONE)
            }),
            Family::V6 => v6::Message::parse(message)
                .is_ok_and(|message| message.msg_type() == v6::message_type::LEASEQUERY_DONE),
        }
    }

    fn altered(&self, mut message: Vec<u8>) -> Vec<u8> {
        match (self.what, self.family) {
            (Break::WrongXid, Family::V4) => message[7] ^= 0x55,
            (Break::WrongXid, Family::V6) => message[3] ^= 0x55,
            (Break::OtherAddress, Family::V4) => message[12..16].copy_from_slice(&[192, 0, 2, 77]),
            (Break::OtherClient, Family::V4) => {
                let at = option4(&message, v4::option_code::CLIENT_IDENTIFIER);
                message[at + 3] ^= 1;
            }
            (Break::OtherRelay, Family::V4) => {
                let at = option4(&message, v4::option_code::RELAY_AGENT_INFORMATION);
                message[at + 5] ^= 1;
            }
            (Break::LongerLease, Family::V4) => {
                let at = option4(&message, v4::option_code::IP_ADDRESS_LEASE_TIME);
                add_seconds(&mut message[at + 2..at + 6], 3_600);
            }
            (Break::EarlierTransaction, Family::V4) => {
                let at = option4(&message, v4::option_code::CLIENT_LAST_TRANSACTION_TIME);
                add_seconds(&mut message[at + 2..at + 6], 3_600);
            }
            (Break::FutureBaseTime, Family::V4) => {
                let at = option4(&message, v4::option_code::BASE_TIME);
                add_seconds(&mut message[at + 2..at + 6], 3_600);
            }
            (Break::Overrun, Family::V4) => {
                let at = option4(&message, v4::option_code::CLIENT_IDENTIFIER);
                message[at + 1] = 250;
                message.truncate(at + 40);
            }
            (Break::Failure, Family::V4) => {
                // Status code 1, UnspecFail, before the end of the options.
                let end = message.iter().rposition(|octet| *octet == 255).unwrap();
                message.splice(end..end, [v4::option_code::STATUS_CODE, 1, 1]);
            }
            (Break::Failure, Family::V6) => {
                message.extend([0, v6::option_code::STATUS_CODE as u8, 0, 2, 0, 1]);
            }
            (Break::FutureBaseTime, Family::V6) => {
                let at = option6(&message, 4, message.len(), v6::option_code::LQ_BASE_TIME);
                add_seconds(&mut message[at + 4..at + 8], 3_600);
            }
            (Break::Overrun, Family::V6) => {
                let at = option6(&message, 4, message.len(), v6::option_code::CLIENT_DATA);
                message[at + 2] = 0xff;
            }
            (what, Family::V6) => self.altered_client(what, &mut message),
            (what, Family::V4) => unreachable!("{what:?} alters no message"),
        }
        message
    }

    /// Alters what is in CLIENT_DATA.
    fn altered_client(&self, what: Break, message: &mut [u8]) {
        let data = option6(message, 4, message.len(), v6::option_code::CLIENT_DATA);
        let len = usize::from(u16::from_be_bytes([message[data + 2], message[data + 3]]));
        let (from, to) = (data + 4, data + 4 + len);
        let inside = |message: &[u8], code| option6(message, from, to, code);
        match what {
            Break::OtherClient => {
                let at = inside(message, v6::option_code::CLIENTID);
                message[at + 9] ^= 1;
            }
            Break::OtherRelay => {
                let at = inside(message, v6::option_code::LQ_RELAY_DATA);
                let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
                message[at + 4 + len - 1] ^= 1;
            }
            Break::OtherAddress => {
                let at = inside(message, v6::option_code::IAADDR);
                message[at + 4 + 8] ^= 0x40;
            }
            Break::LongerLease => {
                let at = inside(message, v6::option_code::IAADDR);
                add_seconds(&mut message[at + 24..at + 28], 3_600);
            }
            Break::EarlierTransaction => {
                let at = inside(message, v6::option_code::CLT_TIME);
                add_seconds(&mut message[at + 4..at + 8], 3_600);
            }
            other => unreachable!("{other:?} alters no client"),
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    framed
}

/// Where an option of a DHCPv4 message begins.
fn option4(message: &[u8], code: u8) -> usize {
    let mut at = v4::HEADER_LEN;
    while message[at] != code {
        at += if message[at] == 0 {
            1
        } else {
            2 + usize::from(message[at + 1])
        };
    }
    at
}

/// Where an option begins among those from one place to another.
fn option6(message: &[u8], from: usize, to: usize, code: u16) -> usize {
    let mut at = from;
    while at < to {
        if message[at..at + 2] == code.to_be_bytes() {
            return at;
        }
        at += 4 + usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
    }
    panic!("there is no option {code}")
}

fn add_seconds(field: &mut [u8], seconds: u32) {
    let value = u32::from_be_bytes((&*field).try_into().unwrap());
    field.copy_from_slice(&value.wrapping_add(seconds).to_be_bytes());
}
