//! The blocking client against servers of a few lines that live in the test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use leaseq_requestor::client::{self, Client, ClientError};
use leaseq_requestor::{
    Answer, Event, Jitter, ProtocolFault, Query, Query4, Query6, QueryError, Selector4, Selector6,
    Timers,
};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::v4::{self, Header, message_type, option_code};
use leaseq_wire::{OutBuf, v6};

const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

fn reply4(xid: u32, kind: u8, address: [u8; 4]) -> Vec<u8> {
    let mut octets = [0; 400];
    let mut out = OutBuf::new(&mut octets);
    let header = Header {
        ciaddr: address.into(),
        ..Header::reply(xid)
    };
    let mut writer = v4::MessageWriter::start(&mut out, &header, kind).unwrap();
    writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
    writer.finish();
    out.as_slice().to_vec()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// Requests on a connection, one after the other.
struct Requests {
    stream: TcpStream,
    octets: Vec<u8>,
}

impl Requests {
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Split::Frame { message, consumed } = frame::split(&self.octets) {
                let message = message.to_vec();
                self.octets.drain(..consumed);
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).unwrap() {
                0 => return None,
                n => self.octets.extend(&buffer[..n]),
            }
        }
    }
}

/// A server of one connection.
fn tcp_server<T: Send + 'static>(
    serve: impl FnOnce(Requests) -> T + Send + 'static,
) -> (SocketAddr, thread::JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        serve(Requests {
            stream,
            octets: Vec::new(),
        })
    });
    (address, server)
}

fn by_client(n: u8) -> Query {
    Query::V4(Query4::new(Selector4::ClientId(vec![n])))
}

#[test]
fn parallel_queries_share_a_connection_within_the_limit() {
    // Two at once: the third is asked when one of the first two has ended.
    let (address, server) = tcp_server(|mut requests| {
        let mut running = Vec::new();
        let mut asked = Vec::new();
        while let Some(request) = requests.next() {
            let message = v4::Message::parse(&request).unwrap();
            let client = message
                .option(option_code::CLIENT_IDENTIFIER)
                .unwrap()
                .to_u8()
                .unwrap();
            asked.push((client, running.len()));
            running.push((message.xid(), client));
            if running.len() == 2 || client == 3 {
                let (xid, client) = running.remove(0);
                let binding = reply4(xid, message_type::DHCPLEASEACTIVE, [198, 51, 100, client]);
                let done = reply4(xid, message_type::DHCPLEASEQUERYDONE, [0; 4]);
                requests
                    .stream
                    .write_all(&[framed(&binding), framed(&done)].concat())
                    .unwrap();
            }
            if client == 3 {
                for (xid, _) in running.drain(..) {
                    let done = reply4(xid, message_type::DHCPLEASEQUERYDONE, [0; 4]);
                    requests.stream.write_all(&framed(&done)).unwrap();
                }
            }
        }
        asked
    });
    let mut told = Vec::new();
    let client = Client {
        parallel: 2,
        ..Client::default()
    };
    let queries = [by_client(1), by_client(2), by_client(3)];
    client
        .bulk(address, &queries, &mut |index, event| {
            told.push(match event {
                Event::Binding4(binding) => (index, Some(binding.address().octets()[3])),
                _ => (index, None),
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    told.sort();
    assert_eq!(
        told,
        [(0, None), (0, Some(1)), (1, None), (1, Some(2)), (2, None)]
    );
    assert_eq!(server.join().unwrap(), [(1, 0), (2, 1), (3, 1)]);
}

#[test]
fn a_reader_can_break_off() {
    let (address, server) = tcp_server(|mut requests| {
        let xid = v4::Message::parse(&requests.next().unwrap()).unwrap().xid();
        let binding = |n| {
            framed(&reply4(
                xid,
                message_type::DHCPLEASEACTIVE,
                [198, 51, 100, n],
            ))
        };
        requests
            .stream
            .write_all(&[binding(1), binding(2)].concat())
            .unwrap();
        requests.next()
    });
    let mut told = 0;
    client::bulk(address, &by_client(1), &mut |_| {
        told += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(told, 1);
    assert_eq!(server.join().unwrap(), None);
}

#[test]
fn a_server_that_closes_early_or_refuses_is_told() {
    let (address, server) = tcp_server(|mut requests| drop(requests.next()));
    let error =
        client::bulk(address, &by_client(1), &mut |_| ControlFlow::Continue(())).unwrap_err();
    server.join().unwrap();
    assert!(
        matches!(error, ClientError::Protocol { source, .. }
            if source.fault == ProtocolFault::Closed { queries: 1, octets: 0 }),
        "{error}"
    );

    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error =
        client::bulk(nobody, &by_client(1), &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(
        matches!(error, ClientError::Connect { server, .. } if server == nobody),
        "{error}"
    );
}

#[test]
fn queries_that_cannot_be_asked_touch_no_socket() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let bulk = |queries: &[Query]| {
        Client::default()
            .bulk(nowhere, queries, &mut |_, _| ControlFlow::Continue(()))
            .unwrap_err()
    };
    let by_ip = Query::V4(Query4::new(Selector4::Ip(Ipv4Addr::LOCALHOST)));
    assert!(matches!(
        bulk(&[by_ip]),
        ClientError::Query(QueryError::UdpOnly)
    ));
    let v6 = Query::V6(Query6::new(Selector6::Duid(vec![1]), DUID));
    assert!(matches!(
        bulk(&[by_client(1), v6]),
        ClientError::MixedQueries
    ));
}

#[test]
fn udp_asks_again_until_answered() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut buffer = [0; 1500];
        let mut seen = Vec::new();
        // The first transmission is lost; the second gets a stranger's reply, then its own.
        for n in 0..2 {
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let message = v4::Message::parse(&buffer[..len]).unwrap();
            seen.push((message.xid(), message.giaddr()));
            if n == 1 {
                let xid = message.xid();
                let stranger = reply4(xid ^ 1, message_type::DHCPLEASEACTIVE, [9; 4]);
                socket.send_to(&stranger, from).unwrap();
                let own = reply4(xid, message_type::DHCPLEASEACTIVE, [198, 51, 100, 7]);
                socket.send_to(&own, from).unwrap();
            }
        }
        seen
    });
    let quick = Timers {
        initial: Duration::from_millis(20),
        transmissions: 50,
        jitter: Jitter::Within(Duration::from_millis(1)),
        ..Timers::V4
    };
    let client = Client {
        timers: Some(quick),
        ..Client::default()
    };
    let query = Query::V4(Query4::new(Selector4::Ip(Ipv4Addr::new(198, 51, 100, 7))));
    let (answer, datagram) = client.udp(address, &query).unwrap();
    let Answer::Lease4(lease) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(lease.address, Ipv4Addr::new(198, 51, 100, 7));
    assert!(v4::Message::parse(&datagram).is_ok());
    let seen = server.join().unwrap();
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].1, Ipv4Addr::LOCALHOST);
}

#[test]
fn udp_gives_up_after_its_transmissions() {
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    let address = socket.local_addr().unwrap();
    let timers = Timers {
        initial: Duration::from_millis(1),
        transmissions: 3,
        ..Timers::V6
    };
    let client = Client {
        timers: Some(timers),
        ..Client::default()
    };
    let query = Query::V6(Query6::new(Selector6::Duid(vec![1]), DUID));
    assert!(
        matches!(client.udp(address, &query), Err(ClientError::TimedOut(server)) if server == address)
    );
    socket.set_nonblocking(true).unwrap();
    let mut buffer = [0; 1500];
    let mut requests = Vec::new();
    while let Ok(len) = socket.recv(&mut buffer) {
        requests.push(buffer[..len].to_vec());
    }
    assert_eq!(requests.len(), 3);
    assert!(requests.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        v6::Message::parse(&requests[0]).unwrap().option(1),
        Some(DUID)
    );
}

#[test]
fn made_up_duids_are_uuids_and_differ() {
    let (one, other) = (client::random_duid(), client::random_duid());
    assert_ne!(one, other);
    assert_eq!(
        (one.len(), &one[..2], one[8] >> 4, one[10] >> 6),
        (18, &[0, 4][..], 4, 2)
    );
}
