//! Listening elsewhere while the server runs: streams and queries under way go on, whatever is closed around them.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use leaseq_engine::Listeners;
use leaseq_store::State;
use leaseq_wire::v4;

use crate::support::{
    Heard4, Requestor, Server, Setup, active4, address4, by_relay4, changed4, expected4, udp4,
};

fn change(server: &Server, listeners: &Listeners) {
    let change = server.engine.prepare_listeners(listeners).unwrap();
    assert!(server.engine.change_listeners(change).is_empty());
}

fn answers_datagrams(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket.connect(address).unwrap();
    socket
        .send(&udp4(9, address4(1, 1)))
        .and_then(|_| socket.recv(&mut [0; 1_500]))
        .is_ok_and(|octets| octets > 0)
}

#[test]
fn streams_and_queries_go_on_when_their_listener_goes() {
    let server = Setup {
        bindings: 1_000,
        ..Setup::default()
    }
    .start();
    let before = server.engine.addresses();
    let mut stream = server.connect4();
    stream.send(&active4(5, None));
    server.until_streams(1);
    let mut busy = server.connect4();
    busy.send(&by_relay4(6, 1));
    busy.message().expect("the query has begun");
    let elsewhere: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let wanted = Listeners {
        dhcp4_tcp: vec![elsewhere],
        dhcp4_udp: vec![elsewhere],
        ..Listeners::default()
    };
    change(&server, &wanted);
    let after = server.engine.addresses();
    assert_eq!((after.dhcp4_tcp.len(), after.dhcp6_tcp.len()), (1, 0));
    for address in [before.dhcp4_tcp[0], before.dhcp6_tcp[0]] {
        assert!(TcpStream::connect(address).is_err(), "{address} is closed");
    }
    for address in [before.dhcp4_udp[0], before.dhcp6_udp[0]] {
        UdpSocket::bind(address).expect("the address of a closed socket");
    }
    assert!(answers_datagrams(after.dhcp4_udp[0]));
    let mut other = Requestor::connect(after.dhcp4_tcp[0]);
    other.send(&by_relay4(7, 2));
    assert_eq!(other.recover4(), expected4(2, 1_000));
    // Those of before have noticed nothing.
    let told = busy.recover4();
    assert_eq!(
        told.addresses.len() + 1,
        expected4(1, 1_000).addresses.len()
    );
    server.commit(vec![changed4(1, 1_001, State::Active)]);
    let told = Heard4::lease(5, v4::message_type::DHCPLEASEACTIVE, address4(1, 1_001));
    assert!(std::iter::from_fn(|| stream.hear4()).any(|heard| heard == told));
}

#[test]
fn the_same_addresses_are_left_alone() {
    let server = Setup::default().start();
    let before = server.engine.addresses();
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let loopback6: SocketAddr = "[::1]:0".parse().unwrap();
    let one_more: SocketAddr = "127.0.0.3:0".parse().unwrap();
    change(
        &server,
        &Listeners {
            dhcp4_tcp: vec![one_more, loopback],
            dhcp4_udp: vec![loopback, one_more],
            dhcp6_tcp: vec![loopback6],
            dhcp6_udp: vec![loopback6],
        },
    );
    let after = server.engine.addresses();
    assert_eq!(after.dhcp4_tcp[1..], before.dhcp4_tcp);
    assert_eq!(after.dhcp4_udp[..1], before.dhcp4_udp);
    assert_eq!(
        (after.dhcp6_tcp, after.dhcp6_udp),
        (before.dhcp6_tcp, before.dhcp6_udp)
    );
    for address in after.dhcp4_udp {
        assert!(answers_datagrams(address), "{address}");
    }
    for address in after.dhcp4_tcp {
        let mut requestor = Requestor::connect(address);
        requestor.send(&by_relay4(7, 2));
        assert_eq!(requestor.recover4(), expected4(2, 20));
    }
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let server = Setup::default().start();
    let before = server.engine.addresses();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let wanted = Listeners {
        dhcp4_tcp: vec!["127.0.0.2:0".parse().unwrap()],
        dhcp6_udp: vec![taken.local_addr().unwrap()],
        ..Listeners::default()
    };
    let refused = server.engine.prepare_listeners(&wanted).err().unwrap();
    assert!(
        refused.to_string().contains("another server has the port"),
        "{refused}"
    );
    assert_eq!(server.engine.addresses(), before);
    let mut requestor = server.connect4();
    requestor.send(&by_relay4(7, 2));
    assert_eq!(requestor.recover4(), expected4(2, 20));
}

#[test]
fn all_addresses_of_a_port_take_the_place_of_one_and_give_it_back() {
    let server = Setup::default().start();
    let before = server.engine.addresses();
    let (tcp, udp) = (before.dhcp4_tcp[0], before.dhcp4_udp[0]);
    let all = |address: SocketAddr| SocketAddr::from(([0, 0, 0, 0], address.port()));
    for (tcp, udp) in [(all(tcp), all(udp)), (tcp, udp)] {
        let wanted = Listeners {
            dhcp4_tcp: vec![tcp],
            dhcp4_udp: vec![udp],
            ..Listeners::default()
        };
        change(&server, &wanted);
        assert_eq!(server.engine.addresses(), wanted);
        assert!(answers_datagrams(before.dhcp4_udp[0]));
        let mut requestor = Requestor::connect(before.dhcp4_tcp[0]);
        requestor.send(&by_relay4(7, 2));
        assert_eq!(requestor.recover4(), expected4(2, 20));
    }
}

#[test]
fn a_drained_server_gets_no_listener_back() {
    let server = Setup::default().start();
    server.engine.drain(Duration::ZERO).wait();
    let before = server.engine.addresses();
    let elsewhere: SocketAddr = "127.0.0.2:0".parse().unwrap();
    change(
        &server,
        &Listeners {
            dhcp4_tcp: vec![elsewhere],
            dhcp4_udp: vec![elsewhere],
            ..Listeners::default()
        },
    );
    let after = server.engine.addresses();
    assert_eq!(after.dhcp4_tcp, before.dhcp4_tcp);
    assert!(TcpStream::connect(after.dhcp4_tcp[0]).is_err());
    assert!(answers_datagrams(after.dhcp4_udp[0]));
}
