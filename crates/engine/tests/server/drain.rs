//! A server that is drained: hundreds of streams are told their end one after another, bulk queries are finished first, and
//! nobody is let in any more.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use leaseq_session::Limits;
use leaseq_store::State;
use leaseq_wire::{v4, v6};

use crate::support::{
    Heard4, Setup, active4, active6, address4, by_relay4, changed4, changed6, expected4, udp4,
    until,
};

/// So long that next to nobody's turn comes while a test runs.
const FAR: Duration = Duration::from_secs(100_000);

#[test]
fn hundreds_of_streams_are_told_their_end() {
    const OF_EACH: usize = 200;
    let limits = Limits {
        max_connections: 5_000,
        ..Limits::default()
    };
    let server = Setup {
        limits,
        ..Setup::default()
    }
    .start();
    assert_eq!(server.engine.draining(), None);
    let mut fourth: Vec<_> = (0..OF_EACH).map(|_| server.connect4()).collect();
    let mut sixth: Vec<_> = (0..OF_EACH).map(|_| server.connect6()).collect();
    fourth
        .iter_mut()
        .for_each(|stream| stream.send(&active4(5, None)));
    sixth.iter_mut().for_each(|stream| stream.send(&active6(6)));
    server.until_streams(2 * OF_EACH as u64);
    let addresses = server.engine.addresses();
    let drained = server.engine.drain(FAR);
    for address in [addresses.dhcp4_tcp[0], addresses.dhcp6_tcp[0]] {
        assert!(
            TcpStream::connect(address).is_err(),
            "the listeners are closed"
        );
    }
    let progress = server.engine.draining().expect("a drain");
    assert_eq!(
        (progress.connections, progress.over),
        (2 * OF_EACH as u32, FAR)
    );
    // Their turns are spread: they go on to be told of changes meanwhile.
    assert!(progress.left >= progress.connections - 5, "{progress:?}");
    server.commit(vec![
        changed4(1, 900, State::Active),
        changed6(1, 900, State::Active),
    ]);
    let told = Heard4::lease(5, v4::message_type::DHCPLEASEACTIVE, address4(1, 900));
    let served = fourth
        .iter_mut()
        .filter_map(|stream| stream.hear4())
        .filter(|heard| *heard == told)
        .count();
    assert!(served >= OF_EACH - 5, "{served} are served");
    // UDP is answered too.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket.connect(addresses.dhcp4_udp[0]).unwrap();
    socket.send(&udp4(9, address4(1, 1))).unwrap();
    assert!(socket.recv(&mut [0; 1_500]).unwrap() > 0);
    assert!(!drained.wait_timeout(Duration::ZERO));
    // And now all at once.
    let fourth = fourth.into_iter().map(|mut stream| {
        std::thread::spawn(move || match stream.last4() {
            // Its turn had come before.
            None => true,
            last => last == Some(Heard4::status(5, v4::StatusCode::QueryTerminated)),
        })
    });
    let sixth = sixth.into_iter().map(|mut stream| {
        std::thread::spawn(move || {
            let status = stream.last6().and_then(|last| last.status);
            status == Some(v6::StatusCode::QueryTerminated as u16)
        })
    });
    let readers: Vec<_> = fourth.chain(sixth).collect();
    server.engine.drain(Duration::ZERO).wait();
    drained.wait();
    let ended = readers.into_iter().map(|reader| reader.join().unwrap());
    assert_eq!(ended.filter(|told| *told).count(), 2 * OF_EACH);
    until("nobody is left", || {
        server
            .engine
            .draining()
            .is_some_and(|progress| progress.left == 0)
    });
    let progress = server.engine.draining().expect("a drain");
    assert_eq!(progress.connections, 2 * OF_EACH as u32);
}

#[test]
fn a_bulk_query_is_finished_before_its_connection_ends() {
    let server = Setup {
        bindings: 1_000,
        ..Setup::default()
    }
    .start();
    let mut busy = server.connect4();
    let mut idle = server.connect4();
    busy.send(&by_relay4(5, 1));
    busy.message().expect("the query has begun");
    // Its turn is somewhere in an hour: the reply does not wait for it, nor is it cut off by it.
    server.engine.drain(Duration::from_secs(3_600));
    let reader = std::thread::spawn(move || {
        let told = busy.recover4();
        (told, busy.is_closed())
    });
    let idle_reader = std::thread::spawn(move || idle.is_closed());
    until("the query is finished", || {
        server
            .engine
            .connections()
            .iter()
            .all(|one| one.queries_running == 0)
    });
    server.engine.drain(Duration::ZERO).wait();
    let (told, closed) = reader.join().unwrap();
    let expected = expected4(1, 1_000);
    assert!(closed);
    assert_eq!((told.status, told.ended), (expected.status, expected.ended));
    // One message was read before.
    assert_eq!(told.addresses.len() + 1, expected.addresses.len());
    assert!(idle_reader.join().unwrap());
}
