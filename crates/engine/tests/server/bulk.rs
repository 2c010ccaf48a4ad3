//! Bulk queries and datagrams, the engine's own limits, reload and shutdown.

use std::net::{Shutdown, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use leaseq_session::{CloseReason, Family, Limits, Refusal};
use leaseq_wire::{OutBuf, v4, v6};

use crate::support::{
    PATIENCE, Requestor, Setup, Told, address4, address6, all4, by_relay4, by_relay6, duid,
    expected4, expected6, settings, udp4, until,
};

fn plenty() -> Limits {
    Limits {
        max_connections: 5_000,
        ..Limits::default()
    }
}

#[test]
fn a_thousand_relays_recover_at_once() {
    let server = Setup {
        limits: plenty(),
        relays: 1_000,
        bindings: 20,
        ..Setup::default()
    }
    .start();
    let mut requestors: Vec<Requestor> = (0..1_000).map(|_| server.connect4()).collect();
    for (relay, requestor) in requestors.iter_mut().enumerate() {
        requestor.send(&by_relay4(7, relay as u32));
    }
    assert_eq!(server.engine.open_connections(Family::V4), 1_000);
    for (relay, requestor) in requestors.iter_mut().enumerate() {
        assert_eq!(
            requestor.recover4(),
            expected4(relay as u32, 20),
            "relay {relay}"
        );
    }
    let list = server.engine.connections();
    assert_eq!(list.len(), 1_000);
    assert!(
        list.iter()
            .all(|info| info.family == Family::V4 && info.sent_octets > 0)
    );
    let mut ports: Vec<u16> = list.iter().map(|info| info.peer.port()).collect();
    ports.sort_unstable();
    let mut own: Vec<u16> = requestors
        .iter()
        .map(|requestor| requestor.stream.local_addr().unwrap().port())
        .collect();
    own.sort_unstable();
    assert_eq!(ports, own);
}

#[test]
fn both_families_recover_side_by_side() {
    let server = Setup {
        limits: plenty(),
        relays: 100,
        ..Setup::default()
    }
    .start();
    let mut v4: Vec<Requestor> = (0..100).map(|_| server.connect4()).collect();
    let mut v6: Vec<Requestor> = (0..100).map(|_| server.connect6()).collect();
    for relay in 0..100 {
        v4[relay].send(&by_relay4(1, relay as u32));
        v6[relay].send(&by_relay6(1, relay as u32));
    }
    for relay in 0..100 {
        assert_eq!(
            v4[relay].recover4(),
            expected4(relay as u32, 20),
            "relay {relay}"
        );
        assert_eq!(
            v6[relay].recover6(),
            expected6(relay as u32, 20),
            "relay {relay}"
        );
    }
}

#[test]
fn the_eleventh_connection_is_closed_at_once_and_counted() {
    let server = Setup::default().start();
    let mut kept: Vec<Requestor> = (0..10).map(|_| server.connect4()).collect();
    assert!(server.connect4().is_closed());
    assert_eq!(server.refused4(Refusal::MaxConnections), 1);
    for (relay, requestor) in kept.iter_mut().enumerate() {
        requestor.send(&by_relay4(1, relay as u32));
        assert_eq!(requestor.recover4(), expected4(relay as u32, 20));
    }
    // The other family has its own ten.
    let mut sixth = server.connect6();
    sixth.send(&by_relay6(1, 3));
    assert_eq!(sixth.recover6(), expected6(3, 20));
    // One that goes makes room for another.
    let mut gone = kept.pop().unwrap();
    gone.stream.shutdown(Shutdown::Write).unwrap();
    assert!(gone.is_closed());
    until("a place is free", || {
        server.engine.open_connections(Family::V4) < 10
    });
    let mut next = server.connect4();
    next.send(&by_relay4(1, 0));
    assert_eq!(next.recover4(), expected4(0, 20));
}

/// Rubbish that a requestor may send; each closes its connection, and only that.
fn rubbish() -> Vec<(&'static str, Vec<u8>)> {
    let mut random = Vec::new();
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..20_000 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        random.push(state as u8);
    }
    let mut overrun = by_relay4(5, 1);
    let last = overrun.len() - 12;
    overrun[last] = 255;
    vec![
        ("random octets", random),
        ("a frame without octets", vec![0, 0]),
        ("a frame shorter than a header", vec![0, 3, 1, 1, 6]),
        ("options that overrun", overrun),
        ("a message of no known type", {
            let mut reply = by_relay4(5, 1);
            reply[2 + 240 + 2] = 99;
            reply
        }),
    ]
}

#[test]
fn rubbish_costs_its_own_connection_only() {
    let server = Setup {
        limits: plenty(),
        ..Setup::default()
    }
    .start();
    let mut living = server.connect4();
    for (what, octets) in rubbish() {
        let mut rude = server.connect4();
        rude.send(&octets);
        // Half-closed, it has to end whatever was made of the octets.
        rude.stream.shutdown(Shutdown::Write).unwrap();
        let told = rude.recover4();
        assert!(told.addresses.is_empty(), "{what}: {told:?}");
        living.send(&by_relay4(1, 2));
        assert_eq!(living.recover4(), expected4(2, 20), "after {what}");
        let mut sixth = server.connect6();
        sixth.send(&octets);
        sixth.stream.shutdown(Shutdown::Write).unwrap();
        assert!(sixth.recover6().addresses.is_empty(), "{what}");
    }
}

#[test]
fn a_frame_that_is_never_completed_times_out() {
    let limits = Limits {
        data_timeout: Duration::from_millis(300),
        ..plenty()
    };
    let server = Setup {
        limits,
        ..Setup::default()
    }
    .start();
    let mut silent = server.connect4();
    silent.send(&[0xff, 0xff, 1, 1, 6]);
    assert!(silent.is_closed());
    let mut idle = server.connect4();
    assert!(idle.is_closed());
    let closed = |reason| {
        server
            .engine
            .counters()
            .iter()
            .map(|counters| counters.v4.closed.of(reason).get())
            .sum::<u64>()
    };
    assert_eq!(
        (closed(CloseReason::ReadBlocked), closed(CloseReason::Idle)),
        (1, 1)
    );
}

#[test]
fn a_reset_in_the_middle_of_a_frame_leaves_nothing_behind() {
    let server = Setup {
        limits: plenty(),
        ..Setup::default()
    }
    .start();
    for relay in 0..10 {
        let mut dying = server.connect4();
        let query = by_relay4(1, relay);
        dying.send(&query[..query.len() / 2]);
        socket2::SockRef::from(&dying.stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(dying);
        let mut living = server.connect4();
        living.send(&query);
        assert_eq!(living.recover4(), expected4(relay, 20));
        living.stream.shutdown(Shutdown::Write).unwrap();
        assert!(living.is_closed());
    }
    until("all are gone", || {
        server.engine.open_connections(Family::V4) == 0
    });
    assert!(server.engine.connections().is_empty());
}

#[test]
fn a_requestor_that_stops_reading_is_closed_and_others_are_not_slowed() {
    let limits = Limits {
        data_timeout: Duration::from_millis(500),
        ..plenty()
    };
    let server = Setup {
        limits,
        relays: 100,
        bindings: 200,
        ..Setup::default()
    }
    .start();
    let address = server.engine.addresses().dhcp4_tcp[0];
    let mut blocked: Vec<Requestor> = (0..5).map(|_| Requestor::connect_narrow(address)).collect();
    blocked
        .iter_mut()
        .for_each(|requestor| requestor.send(&all4(1)));
    let closed = || -> u64 {
        let counters = server.engine.counters().iter();
        counters
            .map(|counters| counters.v4.closed.of(CloseReason::SendBlocked).get())
            .sum()
    };
    let mut rounds = 0;
    while closed() < 5 {
        let mut living = server.connect4();
        living.send(&by_relay4(1, rounds % 100));
        assert_eq!(living.recover4(), expected4(rounds % 100, 200));
        rounds += 1;
    }
    for requestor in &mut blocked {
        while requestor.read_some() {}
    }
}

#[test]
fn a_half_closed_v6_requestor_gets_its_answers() {
    let server = Setup {
        relays: 3,
        bindings: 3_000,
        ..Setup::default()
    }
    .start();
    let mut requestor = server.connect6();
    requestor.send(&[by_relay6(1, 1), by_relay6(2, 2)].concat());
    requestor.stream.shutdown(Shutdown::Write).unwrap();
    let mut addresses = requestor.recover6().addresses;
    addresses.extend(requestor.recover6().addresses);
    let mut both = expected6(1, 3_000).addresses;
    both.extend(expected6(2, 3_000).addresses);
    assert_eq!(addresses, both);
    assert!(requestor.is_closed());
}

#[test]
fn shutting_down_ends_running_queries_with_query_terminated() {
    let server = Setup {
        relays: 100,
        bindings: 300,
        ..Setup::default()
    }
    .start();
    let address = server.engine.addresses().dhcp4_tcp[0];
    let mut busy = Requestor::connect_narrow(address);
    busy.send(&all4(9));
    let first = busy.message().expect("the query has begun");
    assert_eq!(
        v4::Message::parse(&first).unwrap().message_type(),
        Some(v4::message_type::DHCPLEASEACTIVE)
    );
    let mut idle = server.connect4();
    idle.send(&by_relay4(1, 1));
    assert_eq!(idle.recover4(), expected4(1, 300));
    let reader = std::thread::spawn(move || {
        let told = busy.recover4();
        (told, busy.is_closed())
    });
    let idle_reader = std::thread::spawn(move || idle.is_closed());
    server.engine.shutdown();
    let (told, closed) = reader.join().unwrap();
    assert_eq!(told.status, Some(v4::StatusCode::QueryTerminated as u16));
    assert!(!told.ended && closed && told.addresses.len() < 30_000);
    assert!(idle_reader.join().unwrap());
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
    server.engine.shutdown();
}

#[test]
fn udp_answers_both_families() {
    let server = Setup::default().start();
    let addresses = server.engine.addresses();
    let mut request = vec![0; 1_500];
    let mut answer = [0; 2_000];

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let wanted = address4(3, 4);
    socket
        .send_to(&udp4(77, wanted), addresses.dhcp4_udp[0])
        .unwrap();
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from, addresses.dhcp4_udp[0]);
    let reply = v4::Message::parse(&answer[..length]).unwrap();
    assert_eq!((reply.xid(), reply.ciaddr()), (77, wanted));
    assert_eq!(
        reply.message_type(),
        Some(v4::message_type::DHCPLEASEACTIVE)
    );

    let socket = UdpSocket::bind("[::1]:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = OutBuf::new(&mut request);
    let mut query = v6::MessageWriter::start(&mut out, v6::message_type::LEASEQUERY, 78).unwrap();
    query
        .client_id(&[0, 3, 0, 1, 2, 0, 0x5e, 0, 0x53, 9])
        .unwrap();
    let start = query
        .begin_lq_query(v6::QueryType::ByAddress, "::".parse().unwrap())
        .unwrap();
    query.iaaddr(address6(3, 4), 0, 0).unwrap();
    query.end_option(start).unwrap();
    query.finish();
    socket
        .send_to(out.as_slice(), addresses.dhcp6_udp[0])
        .unwrap();
    let (length, from) = socket.recv_from(&mut answer).unwrap();
    assert_eq!(from, addresses.dhcp6_udp[0]);
    let reply = v6::Message::parse(&answer[..length]).unwrap();
    assert_eq!(
        (reply.xid(), reply.msg_type()),
        (78, v6::message_type::LEASEQUERY_REPLY)
    );
    let client =
        v6::ClientData::parse(reply.option(v6::option_code::CLIENT_DATA).unwrap()).unwrap();
    assert_eq!(client.client_id(), Some(&duid(3, 4)[..]));
}

#[test]
fn reloaded_settings_hold_for_new_connections() {
    let server = Setup::default().start();
    let mut before = server.connect4();
    server.engine.reload(settings(Limits {
        max_connections: 1,
        ..Limits::default()
    }));
    assert!(server.connect4().is_closed());
    before.send(&by_relay4(1, 1));
    assert_eq!(
        before.recover4(),
        expected4(1, 20),
        "an open connection stays"
    );
    let nobody = Arc::new(leaseq_session::Settings {
        requestors: vec![],
        ..(*settings(Limits::default())).clone()
    });
    server.engine.reload(nobody);
    assert!(server.connect4().is_closed());
    assert_eq!(server.refused4(Refusal::NotPermitted), 1);
}

#[test]
fn a_connection_can_be_closed_by_its_number() {
    let server = Setup::default().start();
    let mut requestor = server.connect4();
    requestor.send(&by_relay4(1, 1));
    assert_eq!(requestor.recover4(), expected4(1, 20));
    let id = server.engine.connections()[0].id;
    assert!(server.engine.close_connection(id));
    assert_eq!(
        requestor.recover4(),
        Told {
            ended: true,
            ..Told::default()
        }
    );
}
