//! How octets are moved, over real sockets: by the pattern protocol, so that only the engine is under test.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use leaseq_session::Family;

use crate::config::{EngineConfig, Listeners};
use crate::pattern::{FAREWELL, FirstFew, PANIC, Pattern, RESET, SUBSCRIBE, octet};
use crate::placement::Placement;
use crate::registry::{ConnectionState, Moment};
use crate::running::Running;

const MIB: u64 = 1 << 20;

struct Setup {
    connections: usize,
    timeout: Duration,
    idle_turns: u32,
    panics_when_blocked: bool,
    threads: usize,
    config: EngineConfig,
}

impl Default for Setup {
    fn default() -> Self {
        let config = EngineConfig {
            shutdown_timeout: Duration::from_secs(30),
            ..EngineConfig::default()
        };
        Setup {
            connections: 100_000,
            timeout: Duration::from_secs(300),
            idle_turns: 0,
            panics_when_blocked: false,
            threads: 1,
            config,
        }
    }
}

struct Server {
    running: Running<Pattern>,
    open: Arc<AtomicUsize>,
    commits: Arc<AtomicU64>,
}

impl Setup {
    fn start(self) -> Server {
        let open = Arc::new(AtomicUsize::new(0));
        let commits = Arc::new(AtomicU64::new(0));
        let pattern = Pattern {
            timeout: self.timeout,
            idle_turns: self.idle_turns,
            panics_when_blocked: self.panics_when_blocked,
            open: open.clone(),
            commits: commits.clone(),
            subscribers: RefCell::default(),
        };
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listeners = Listeners {
            dhcp4_tcp: vec![loopback],
            dhcp4_udp: vec![loopback],
            ..Listeners::default()
        };
        let placement = Placement {
            threads: vec![None; self.threads],
        };
        let gate = FirstFew(AtomicUsize::new(self.connections));
        let running = Running::start(&self.config, &placement, &listeners, gate, move |_| {
            pattern.clone()
        })
        .unwrap();
        Server {
            running,
            open,
            commits,
        }
    }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.running.addresses().dhcp4_tcp[0]).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }
}

fn ask(stream: &mut TcpStream, octets: u64) {
    stream.write_all(&octets.to_be_bytes()).unwrap();
}

/// Reads a whole reply and checks every octet.
fn expect(stream: &mut TcpStream, octets: u64) {
    let mut at = 0;
    let mut buffer = vec![0; 256 << 10];
    while at < octets {
        let room = buffer.len().min((octets - at) as usize);
        let count = stream.read(&mut buffer[..room]).unwrap();
        assert!(count > 0, "the connection ended after {at} of {octets}");
        assert!(
            buffer[..count]
                .iter()
                .zip(at..)
                .all(|(&got, at)| got == octet(at)),
            "wrong octets after {at}"
        );
        at += count as u64;
    }
}

/// Waits until something holds that must come to hold.
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what} does not come to hold"
        );
        std::thread::yield_now();
    }
}

/// Reads until the connection ends, in whatever way.
fn drain(stream: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut read = Vec::new();
    let mut buffer = [0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (read, None),
            Ok(count) => read.extend_from_slice(&buffer[..count]),
            Err(error) => return (read, Some(error.kind())),
        }
    }
}

#[test]
fn moves_a_long_reply_whole() {
    let server = Setup::default().start();
    let mut stream = server.connect();
    for octets in [1, 40 * MIB, 3, 70_000] {
        ask(&mut stream, octets);
        expect(&mut stream, octets);
    }
    let list = server.running.registry.list(&Moment::default());
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].peer, stream.local_addr().unwrap());
    assert_eq!(list[0].received_octets, 32);
}

#[test]
fn requests_come_in_any_pieces_and_many_at_once() {
    let server = Setup::default().start();
    let mut stream = server.connect();
    let mut requests = Vec::new();
    let sizes: Vec<u64> = (0..2_000).map(|number| number % 700 + 1).collect();
    sizes
        .iter()
        .for_each(|size| requests.extend_from_slice(&size.to_be_bytes()));
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for piece in requests.chunks(13) {
            writer.write_all(piece).unwrap();
        }
    });
    sizes.iter().for_each(|&size| expect(&mut stream, size));
    sender.join().unwrap();
}

#[test]
fn turns_without_output_are_paused_not_lost() {
    let server = Setup {
        idle_turns: 50,
        ..Setup::default()
    }
    .start();
    let mut stream = server.connect();
    ask(&mut stream, 100_000);
    expect(&mut stream, 100_000);
}

#[test]
fn half_closed_peers_get_the_rest_and_then_the_end() {
    let server = Setup::default().start();
    let mut stream = server.connect();
    ask(&mut stream, 20 * MIB);
    stream.shutdown(Shutdown::Write).unwrap();
    expect(&mut stream, 20 * MIB);
    assert_eq!(drain(&mut stream), (vec![], None));
}

#[test]
fn a_thousand_connections_at_once() {
    let server = Setup {
        threads: 2,
        ..Setup::default()
    }
    .start();
    let mut streams: Vec<TcpStream> = (0..1_000).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(|stream| ask(stream, 30_000));
    streams.iter_mut().for_each(|stream| expect(stream, 30_000));
    let list = server.running.registry.list(&Moment::default());
    assert_eq!(list.len(), 1_000);
    let on_first = list.iter().filter(|info| info.core == 0).count();
    assert!(
        (450..=550).contains(&on_first),
        "{on_first} of 1,000 on the first of two cores"
    );
}

#[test]
fn beyond_the_limit_connections_are_closed_at_once() {
    let server = Setup {
        connections: 2,
        ..Setup::default()
    }
    .start();
    let mut kept = [server.connect(), server.connect()];
    let mut refused = server.connect();
    assert_eq!(drain(&mut refused), (vec![], None));
    for stream in &mut kept {
        ask(stream, 10);
        expect(stream, 10);
    }
}

#[test]
fn a_peer_that_stops_reading_is_reset_and_others_go_on() {
    let server = Setup {
        timeout: Duration::from_millis(300),
        ..Setup::default()
    }
    .start();
    let mut blocked: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    blocked
        .iter_mut()
        .for_each(|stream| ask(stream, 1_000 * MIB));
    blocked.iter_mut().for_each(|stream| expect(stream, 1_000));
    // The living one is served throughout: it asks until all the blocked ones are gone.
    let mut stream = server.connect();
    let mut sending_seen = false;
    while server.open.load(Ordering::SeqCst) > 1 {
        ask(&mut stream, 100_000);
        expect(&mut stream, 100_000);
        sending_seen |= server
            .running
            .registry
            .list(&Moment::default())
            .iter()
            .any(|info| info.state == ConnectionState::Sending);
    }
    assert!(sending_seen);
    // What they had not taken is free again; the last one's session may end just before its buffer does.
    until("nothing waits", || {
        server.running.stats.waiting_octets() == 0
    });
    for stream in &mut blocked {
        let (read, end) = drain(stream);
        assert!(
            end == Some(ErrorKind::ConnectionReset) || (read.len() as u64) < 1_000 * MIB,
            "{end:?}"
        );
    }
}

#[test]
fn a_slow_reader_is_not_a_blocked_one() {
    let server = Setup {
        timeout: Duration::from_secs(5),
        ..Setup::default()
    }
    .start();
    let mut stream = server.connect();
    ask(&mut stream, 30 * MIB);
    // Reading in small pieces keeps the server's side short of room all the time.
    let mut at = 0;
    let mut piece = [0; 3_000];
    while at < 30 * MIB {
        let count = stream.read(&mut piece).unwrap();
        assert!(
            count > 0
                && piece[..count]
                    .iter()
                    .zip(at..)
                    .all(|(&got, at)| got == octet(at))
        );
        at += count as u64;
    }
}

#[test]
fn a_reset_or_a_panic_costs_one_connection() {
    let server = Setup::default().start();
    let mut living = server.connect();
    for request in [RESET, PANIC] {
        let mut dying = server.connect();
        ask(&mut dying, request);
        let (read, end) = drain(&mut dying);
        assert!(
            read.is_empty() && matches!(end, None | Some(ErrorKind::ConnectionReset)),
            "{end:?}"
        );
        ask(&mut living, 5_000);
        expect(&mut living, 5_000);
    }
}

#[test]
fn a_panic_while_octets_are_under_way_leaks_no_budget() {
    let server = Setup {
        timeout: Duration::from_millis(300),
        panics_when_blocked: true,
        ..Setup::default()
    }
    .start();
    let mut blocked = server.connect();
    ask(&mut blocked, 1_000 * MIB);
    expect(&mut blocked, 1_000);
    until("octets wait", || server.running.stats.waiting_octets() > 0);
    until("the session is gone", || {
        server.open.load(Ordering::SeqCst) == 0
    });
    until("nothing waits", || {
        server.running.stats.waiting_octets() == 0
    });
}

#[test]
fn idle_connections_time_out() {
    let server = Setup {
        timeout: Duration::from_millis(100),
        ..Setup::default()
    }
    .start();
    let mut stream = server.connect();
    let (read, end) = drain(&mut stream);
    assert!(
        read.is_empty() && matches!(end, None | Some(ErrorKind::ConnectionReset)),
        "{end:?}"
    );
}

#[test]
fn stopping_says_farewell_to_all() {
    let mut server = Setup {
        threads: 2,
        ..Setup::default()
    }
    .start();
    let mut idle = server.connect();
    ask(&mut idle, 10);
    expect(&mut idle, 10);
    let mut busy = server.connect();
    ask(&mut busy, u64::MAX / 2);
    expect(&mut busy, MIB);
    let reader = std::thread::spawn(move || drain(&mut busy));
    let idle_reader = std::thread::spawn(move || drain(&mut idle));
    server.running.stop();
    assert_eq!(idle_reader.join().unwrap(), (FAREWELL.to_vec(), None));
    let (read, end) = reader.join().unwrap();
    assert_eq!(end, None);
    assert!(
        read.ends_with(FAREWELL),
        "the last octets are {:?}",
        &read[read.len().saturating_sub(20)..]
    );
    assert!(
        TcpStream::connect(server.running.addresses().dhcp4_tcp[0]).is_err(),
        "the listener is closed"
    );
    assert_eq!(server.open.load(Ordering::SeqCst), 0);
}

#[test]
fn stopping_does_not_wait_for_a_blocked_peer_for_ever() {
    let config = EngineConfig {
        shutdown_timeout: Duration::from_millis(200),
        ..EngineConfig::default()
    };
    let mut server = Setup {
        config,
        ..Setup::default()
    }
    .start();
    let mut blocked = server.connect();
    ask(&mut blocked, u64::MAX / 2);
    expect(&mut blocked, MIB);
    server.running.stop();
    assert_eq!(server.open.load(Ordering::SeqCst), 0);
}

#[test]
fn a_drain_ends_connections_one_after_another() {
    const CONNECTIONS: usize = 300;
    let mut server = Setup {
        threads: 2,
        ..Setup::default()
    }
    .start();
    let mut streams = subscribe(&server, CONNECTIONS);
    // Nobody's turn comes soon, but for those that fall on the first moments.
    let slow = server.running.drain(Duration::from_secs(100_000));
    assert!(
        TcpStream::connect(server.running.addresses().dhcp4_tcp[0]).is_err(),
        "the listeners are closed"
    );
    let committed = server.running.on_commit();
    server.commits.fetch_add(1, Ordering::SeqCst);
    committed();
    let still_served = streams
        .iter_mut()
        .filter_map(|stream| stream.read_exact(&mut [0]).ok())
        .count();
    assert!(still_served >= CONNECTIONS - 5, "{still_served} are served");
    assert!(!slow.wait_timeout(Duration::ZERO));
    // All turns come at once: everybody is told, and nobody is reset.
    let readers: Vec<_> = streams
        .into_iter()
        .map(|mut stream| std::thread::spawn(move || drain(&mut stream)))
        .collect();
    server.running.drain(Duration::ZERO).wait();
    slow.wait();
    let farewells = readers
        .into_iter()
        .map(|reader| reader.join().unwrap())
        .filter(|end| *end == (FAREWELL.to_vec(), None))
        .count();
    assert!(farewells >= still_served, "{farewells} farewells");
    assert_eq!(server.open.load(Ordering::SeqCst), 0);
}

#[test]
fn a_drain_lets_replies_be_finished() {
    let mut server = Setup::default().start();
    let mut busy = server.connect();
    ask(&mut busy, 64 * MIB);
    expect(&mut busy, MIB);
    // Wherever its turn falls, the end of the drain is far.
    server.running.drain(Duration::from_secs(600));
    let mut rest = 0;
    let mut buffer = vec![0; 256 << 10];
    while rest < 63 * MIB {
        let octets = busy.read(&mut buffer).unwrap();
        assert!(octets > 0, "the reply was cut off");
        rest += octets as u64;
    }
    let reader = std::thread::spawn(move || drain(&mut busy));
    server.running.drain(Duration::ZERO).wait();
    assert_eq!(reader.join().unwrap(), (FAREWELL.to_vec(), None));
}

#[test]
fn connections_of_one_family_are_ended() {
    let server = Setup::default().start();
    let mut stream = server.connect();
    ask(&mut stream, 10);
    expect(&mut stream, 10);
    server.running.end_connections(Family::V6);
    ask(&mut stream, 10);
    expect(&mut stream, 10);
    server.running.end_connections(Family::V4);
    assert_eq!(drain(&mut stream), (FAREWELL.to_vec(), None));
    let mut another = server.connect();
    ask(&mut another, 10);
    expect(&mut another, 10);
}

#[test]
fn an_administrator_can_end_a_connection() {
    let server = Setup::default().start();
    let mut stream = server.connect();
    ask(&mut stream, 10);
    expect(&mut stream, 10);
    let id = server.running.registry.list(&Moment::default())[0].id;
    assert!(server.running.abort(id));
    let (_, end) = drain(&mut stream);
    assert!(matches!(end, None | Some(ErrorKind::ConnectionReset)));
    assert!(!server.running.abort(id + 1_000_000));
}

#[test]
fn datagrams_are_answered_beside_streams() {
    let server = Setup::default().start();
    let mut stream = server.connect();
    ask(&mut stream, 200 * MIB);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket
        .connect(server.running.addresses().dhcp4_udp[0])
        .unwrap();
    let reader = std::thread::spawn(move || expect(&mut stream, 200 * MIB));
    for number in 0..1_000_u32 {
        let mut answer = [0; 10];
        socket.send(&number.to_be_bytes()).unwrap();
        assert_eq!(socket.recv(&mut answer).unwrap(), 4);
        assert_eq!(answer[..4], number.to_be_bytes());
    }
    reader.join().unwrap();
}

/// Subscribes connections, and waits until the server knows of all of them.
fn subscribe(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut streams: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    streams.iter_mut().for_each(|stream| ask(stream, SUBSCRIBE));
    until("all are streams", || {
        let list = server.running.registry.list(&Moment::default());
        list.iter().filter(|info| info.is_stream).count() == count
    });
    streams
}

#[test]
fn a_commit_wakes_every_stream_that_waits() {
    let server = Setup {
        threads: 2,
        ..Setup::default()
    }
    .start();
    let mut streams = subscribe(&server, 100);
    let mut plain = server.connect();
    let committed = server.running.on_commit();
    for _ in 0..20 {
        server.commits.fetch_add(1, Ordering::SeqCst);
        committed();
        for stream in &mut streams {
            stream.read_exact(&mut [0]).unwrap();
        }
    }
    ask(&mut plain, 10);
    expect(&mut plain, 10);
    let list = server.running.registry.list(&Moment::default());
    assert_eq!(list.iter().filter(|info| info.is_stream).count(), 100);
}

#[test]
fn no_commit_is_lost_however_they_fall() {
    let server = Setup::default().start();
    let mut streams = subscribe(&server, 30);
    let committed = server.running.on_commit();
    let total = 5_000;
    let commits = server.commits.clone();
    let writer = std::thread::spawn(move || {
        for _ in 0..total {
            commits.fetch_add(1, Ordering::SeqCst);
            committed();
        }
    });
    for stream in &mut streams {
        expect(stream, total);
    }
    writer.join().unwrap();
    // A stream that is idle again is woken by the next one.
    server.commits.fetch_add(1, Ordering::SeqCst);
    server.running.on_commit()();
    for stream in &mut streams {
        stream.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn commits_after_the_engine_has_stopped_do_no_harm() {
    let mut server = Setup::default().start();
    let mut streams = subscribe(&server, 3);
    let committed = server.running.on_commit();
    server.running.stop();
    server.commits.fetch_add(1, Ordering::SeqCst);
    committed();
    committed();
    for stream in &mut streams {
        assert!(drain(stream).0.ends_with(FAREWELL));
    }
}
