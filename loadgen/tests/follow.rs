//! Relays that follow a real server while bindings change, and servers that do not let them.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Run, Server, Setup, change};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::measure::Count;
use leaseq_loadgen::result::{GroupResult, State};
use leaseq_loadgen::scenario::FamilyNumber;
use leaseq_loadgen::work::board::Phase;
use leaseq_loadgen::work::plan::{Outcome, Plan};

const FAMILIES: [FamilyNumber; 2] = [FamilyNumber::V4, FamilyNumber::V6];

fn run(server: &Server, groups: &str) -> Run {
    let top = "duration = \"10m\"\npatience = \"20s\"\ninterval = \"10ms\"\n[changes]\nper-second = 1\nrelease-percent = 30\n";
    server.run(&format!("{top}{groups}"))
}

/// Where a run has come to, told at each interval until it ends.
struct Followers(Receiver<u32>);

impl Followers {
    /// Waits until so many follow. `false`: the run has ended before.
    fn are(&self, relays: u32) -> bool {
        self.0.iter().any(|number| number >= relays)
    }

    /// Waits until they are fewer.
    fn are_fewer_than(&self, relays: u32) -> bool {
        self.0.iter().any(|number| number < relays)
    }
}

/// Runs relays, does something as soon as so many of them follow, and has them end.
fn once_they_follow(run: &Run, relays: u32, act: impl FnOnce(&Followers) + Send) -> Outcome {
    let (follow, followed) = channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let followers = Followers(followed);
            if followers.are(relays) {
                act(&followers);
            }
            run.board.set_phase(Phase::Settling);
        });
        run.finish(&mut move |progress| {
            if !progress.faults.is_empty() {
                // The test fails: there is no use in waiting.
                run.board.set_phase(Phase::Settling);
            }
            let number = progress.states.get(&State::Following).copied();
            // Who has seen enough listens no more.
            let _ = follow.send(number.unwrap_or_default());
        })
    })
}

fn count(group: &GroupResult, what: Count) -> u64 {
    group.measures.counted(what)
}

fn group(name: &str, family: u8, by: &str, rest: &str) -> String {
    format!(
        "[[group]]\nname = \"{name}\"\nfamily = {family}\nby = \"{by}\"\ncatch-up = \"all\"\nbehaviour = \"follow\"\n{rest}\n"
    )
}

#[test]
fn each_change_is_heard_once_by_those_whom_it_concerns() {
    let server = Setup::default().start();
    let groups = [
        group("v4 relay-id", 4, "relay-id", ""),
        group("v4 remote-id", 4, "remote-id", ""),
        group("v4 all", 4, "all", "relays = 3"),
        group("v6 relay-id", 6, "relay-id", ""),
        group("v6 remote-id", 6, "remote-id", ""),
        group("v6 all", 6, "all", "relays = 3"),
    ];
    let run = run(&server, &groups.concat());
    let outcome = once_they_follow(&run, 46, |_| change(&server, &run, 150));
    assert_eq!(outcome.first_faults, []);
    for group in &outcome.groups {
        let followers_of_each = if group.name.ends_with("all") { 3 } else { 1 };
        let heard = 150 * followers_of_each;
        assert_eq!(group.measures.propagation.count(), heard, "{}", group.name);
        assert_eq!(group.measures.submitted_to_relay.count(), heard);
        // Catch-up told everything before, and nothing was told twice.
        let before = match group.name.as_str() {
            name if name.starts_with("v4") => 200 * followers_of_each,
            // Of 200 leases every fifth is the prefix of a client that is told with its address.
            _ => 160 * followers_of_each,
        };
        let messages = count(group, Count::StreamMessages);
        match group.name.starts_with("v4") {
            true => assert_eq!(messages, before + heard, "{}", group.name),
            // Changes of two leases of a client may be told in one message.
            false => assert!((before..=before + heard).contains(&messages)),
        }
        assert_eq!(
            group.measures.catch_up.count(),
            count(group, Count::Connections)
        );
        assert_eq!(count(group, Count::LostConnections), 0);
    }
}

#[test]
fn a_stream_that_has_nothing_to_tell_is_none_that_failed() {
    let server = Setup::default().start();
    let groups = FAMILIES.map(|family| {
        let number = u8::from(family);
        group(&format!("v{number}"), number, "relay-id", "").replace("\"all\"", "\"none\"")
    });
    let run = run(&server, &groups.concat());
    let outcome = once_they_follow(&run, 20, |_| {});
    assert_eq!(outcome.first_faults, []);
    let messages = |group: &GroupResult| count(group, Count::StreamMessages);
    assert_eq!(outcome.groups.iter().map(messages).sum::<u64>(), 0);
}

#[test]
fn followers_miss_nothing_over_lost_connections() {
    let server = Setup {
        is_secure: true,
        ..Setup::default()
    }
    .start();
    let groups = [
        group("v4", 4, "relay-id", "tls = true"),
        group("v6", 6, "relay-id", "tls = true"),
    ];
    let mut run = run(&server, &groups.concat());
    run.plan.scenario.patience = "10s".parse().unwrap();
    let proxies = [run.plan.server4, run.plan.server6].map(|server| Proxy::to(server.unwrap()));
    run.plan.server4 = Some(proxies[0].address);
    run.plan.server6 = Some(proxies[1].address);
    let outcome = once_they_follow(&run, 20, |followed| {
        change(&server, &run, 50);
        proxies.iter().for_each(Proxy::cut);
        // While nobody listens.
        change(&server, &run, 50);
        if followed.are_fewer_than(20) && followed.are(20) {
            change(&server, &run, 50);
        }
    });
    assert_eq!(outcome.first_faults, []);
    for group in &outcome.groups {
        assert_eq!(count(group, Count::LostConnections), 10, "{}", group.name);
        assert_eq!(count(group, Count::Connections), 20);
        assert_eq!(group.measures.catch_up.count(), 20);
        // What came in a catch-up is not measured.
        assert!(group.measures.propagation.count() >= 50);
        assert!(group.measures.propagation.count() <= 150);
    }
}

#[test]
fn those_that_recovered_first_end_with_what_the_store_holds() {
    let server = Setup::default().start();
    let groups = FAMILIES.map(|family| {
        let number = u8::from(family);
        let rest = "";
        group(&format!("v{number}"), number, "relay-id", rest)
            .replace("catch-up = \"all\"\n", "")
            .replace("\"follow\"", "\"recover-then-follow\"")
    });
    let run = run(&server, &groups.concat());
    // Also while they recover.
    change(&server, &run, 20);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| change(&server, &run, 100));
        once_they_follow(&run, 20, |_| change(&server, &run, 100))
    });
    assert_eq!(outcome.first_faults, []);
    for group in &outcome.groups {
        assert_eq!(count(group, Count::Recoveries), 10);
        assert_eq!(group.measures.catch_up.count(), 10);
        assert!(group.measures.propagation.count() >= 100, "{}", group.name);
    }
}

/// Connections between relays and a server, which can be cut.
struct Proxy {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let kept = streams.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let far = TcpStream::connect(server).unwrap();
                let pairs = [(&near, &far), (&far, &near)];
                for (from, to) in pairs {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || pump(from, to));
                }
                kept.lock().unwrap().extend([near, far]);
            }
        });
        Self { address, streams }
    }

    fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A run of two followers of a server that is none of ours.
fn of_server(server: SocketAddr, rest: &str) -> (Run, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let family = if server.is_ipv4() { 4 } else { 6 };
    let scenario = format!(
        "duration = \"10m\"\npatience = \"4s\"\ninterval = \"10ms\"\n{}",
        group("some", family, "relay-id", rest)
    );
    let run = Run::new(dir.path(), &scenario, |plan| Plan {
        server4: Some(server),
        server6: Some(server),
        ..plan
    });
    (run, dir)
}

/// Reads one framed message.
fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

/// Answers each connection's first message with what `answer` makes of it, and ends the connection.
fn answers(
    address: &str,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, Arc<Mutex<u32>>) {
    let listener = TcpListener::bind(address).unwrap();
    let address = listener.local_addr().unwrap();
    let number = Arc::new(Mutex::new(0));
    let counted = number.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let Some(message) = read_message(&mut stream) else {
                continue;
            };
            *counted.lock().unwrap() += 1;
            let _ = stream.write_all(&answer(&message));
        }
    });
    (address, number)
}

/// A DHCPv6 message of this type to the requestor of another, with further options, framed.
fn message6(request: &[u8], kind: u8, further: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend(&request[1..4]);
    // CLIENTID is the request's first option.
    let length = usize::from(u16::from_be_bytes([request[6], request[7]]));
    message.extend(&request[4..8 + length]);
    message.extend([0, 2, 0, 3, 0, 3, 9]);
    message.extend(further);
    let mut framed = (message.len() as u16).to_be_bytes().to_vec();
    framed.extend(message);
    framed
}

#[test]
fn a_server_that_knows_no_active_leasequery_is_told_once_for_each_relay() {
    // DHCPv4: it ends the connection (RFC 7724 §8.1.1).
    let (server, asked) = answers("127.0.0.1:0", |_| Vec::new());
    let (run, _dir) = of_server(server, "relays = 2");
    let outcome = run.finish(&mut |_| {});
    assert_eq!(outcome.faults, [(FaultKind::Status, 2)].into());
    let text = &outcome.first_faults[0].text;
    assert!(text.contains("no active leasequery"), "{text}");
    assert_eq!(*asked.lock().unwrap(), 10);
    assert_eq!(count(&outcome.groups[0], Count::Refused), 10);

    // DHCPv6: it says so (NotSupported).
    let (server, asked) = answers("[::1]:0", |request| {
        message6(request, 15, &[0, 13, 0, 2, 0, 14])
    });
    let (run, _dir) = of_server(server, "relays = 2");
    let outcome = run.finish(&mut |_| {});
    assert_eq!(outcome.faults, [(FaultKind::Status, 2)].into());
    let fault = &outcome.first_faults[0];
    assert!(fault.text.contains("NotSupported"), "{}", fault.text);
    assert!(fault.octets.starts_with("0f"), "{}", fault.octets);
    assert_eq!(*asked.lock().unwrap(), 2);
}

#[test]
fn a_breach_of_the_protocol_is_shown_with_its_message() {
    let (server, _) = answers("[::1]:0", |request| {
        let mut other = request.to_vec();
        other[3] ^= 1;
        message6(&other, 15, &[])
    });
    let (run, _dir) = of_server(server, "relays = 2");
    let outcome = thread::scope(|scope| {
        let (seen, see) = channel();
        let board = &run.board;
        scope.spawn(move || {
            let is_fault = |faults: u64| faults >= 2;
            while !is_fault(see.recv().unwrap()) {}
            board.set_phase(Phase::Stopping);
        });
        run.finish(&mut |progress| {
            let _ = seen.send(progress.faults.values().sum());
        })
    });
    assert_eq!(
        outcome.faults.keys().collect::<Vec<_>>(),
        [&FaultKind::UnknownXid]
    );
    let fault = &outcome.first_faults[0];
    assert!(fault.octets.starts_with("0f"), "{}", fault.octets);
    assert!(
        fault.query.contains("active v6 by relay-id"),
        "{}",
        fault.query
    );
}

#[test]
fn what_a_server_cannot_tell_any_more_is_filled_by_bulk() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let (run, _dir) = of_server(listener.local_addr().unwrap(), "relays = 1");
    let outcome = thread::scope(|scope| {
        let board = &run.board;
        scope.spawn(move || {
            // DataMissing with a base-time.
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_message(&mut stream).unwrap();
            assert_eq!(request[0], 22);
            let missing = [0, 100, 0, 4, 0x30, 0, 0, 0, 0, 13, 0, 2, 0, 12];
            stream.write_all(&message6(&request, 15, &missing)).unwrap();
            // The bulk query for what is missing: there is nothing.
            let (mut fill, _) = listener.accept().unwrap();
            let request = read_message(&mut fill).unwrap();
            assert_eq!(request[0], 14);
            fill.write_all(&message6(&request, 15, &[])).unwrap();
            // It closes its second connection, and keeps the first one until it has all.
            assert_eq!(fill.read(&mut [0; 9]).unwrap(), 0);
            board.set_phase(Phase::Settling);
            assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
        });
        run.finish(&mut |_| {})
    });
    assert_eq!(outcome.first_faults, []);
    let group = &outcome.groups[0];
    assert_eq!(count(group, Count::Gaps), 1);
    assert_eq!(count(group, Count::LostConnections), 0);
}
