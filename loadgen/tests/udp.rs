//! Relays that ask over UDP: a real server, one that does not answer, and one that loses datagrams.

mod common;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Run, Server, Setup};
use leaseq_loadgen::measure::{Count, Measures};
use leaseq_loadgen::work::board::Phase;
use leaseq_loadgen::work::plan::Outcome;

/// Lets relays run until `is_enough` of what they measured, and then has them end.
fn run_until(run: &Run, is_enough: impl Fn(&Measures) -> bool) -> Outcome {
    let mut total = Measures::default();
    run.finish(&mut |progress| {
        total.add(&progress.since_last);
        if is_enough(&total) {
            run.board.set_phase(Phase::Settling);
        }
    })
}

fn run(server: &Server, groups: &str) -> Run {
    let mut run = server.run(&format!(
        "duration = \"10m\"\ninterval = \"20ms\"\n{groups}"
    ));
    let (v4, v6) = server.udp_addresses();
    (run.plan.server4, run.plan.server6) = (Some(v4), Some(v6));
    run
}

#[test]
fn each_kind_of_query_is_answered_one_after_the_other() {
    let server = Setup::default().start();
    let mut groups = String::new();
    let kinds = [
        (4, "address"),
        (4, "hwaddr"),
        (4, "client-id"),
        (4, "remote-id"),
        (6, "address"),
        (6, "client-id"),
    ];
    for (family, by) in kinds {
        groups += &format!(
            "[[group]]\nname = \"{family} {by}\"\nfamily = {family}\nbehaviour = \"udp\"\nby = \"{by}\"\nat-once = 4\n"
        );
    }
    let run = run(&server, &groups);
    let outcome = run_until(&run, |total| total.counted(Count::UdpAnswers) > 3_000);
    assert_eq!(outcome.first_faults, []);
    for group in &outcome.groups {
        let measures = &group.measures;
        let answers = measures.counted(Count::UdpAnswers);
        assert!(answers >= 10, "{}: {answers}", group.name);
        assert_eq!(measures.counted(Count::UdpQueries), answers);
        assert_eq!(measures.udp.count(), answers);
        assert_eq!(measures.udp_round_trip.count(), answers);
        assert!(measures.udp_lateness.is_empty());
    }
}

#[test]
fn a_fixed_rate_is_that_of_the_group_and_comes_from_all_its_places() {
    let server = Setup::default().start();
    let groups = ["4", "6"].map(|family| {
        format!(
            "[[group]]\nname = \"v{family}\"\nfamily = {family}\nbehaviour = \"udp\"\nby = \"address\"\nrate = 2000.0\n"
        )
    });
    let run = run(&server, &groups.concat());
    let outcome = run_until(&run, |total| total.counted(Count::UdpAnswers) > 2_000);
    assert_eq!(outcome.first_faults, []);
    for group in &outcome.groups {
        let measures = &group.measures;
        let queries = measures.counted(Count::UdpQueries);
        // What is due by then is asked: neither less, nor once for each of the ten places.
        assert!(queries as f64 <= 2_000.0 * group.seconds + 20.0);
        assert!(queries > 500);
        assert_eq!(measures.counted(Count::UdpAnswers), queries);
        assert_eq!(measures.udp_lateness.count(), queries);
    }
}

/// A DHCPv6 server's socket, and the run of one place that asks it.
fn alone(rest: &str, top: &str) -> (UdpSocket, Run, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let socket = UdpSocket::bind("[::1]:0").unwrap();
    let server = socket.local_addr().unwrap();
    let scenario = format!(
        "{top}duration = \"10m\"\ninterval = \"20ms\"\n[[group]]\nname = \"one\"\nfamily = 6\nbehaviour = \"udp\"\nby = \"address\"\nrelays = 1\n{rest}"
    );
    let run = Run::new(dir.path(), &scenario, |mut plan| {
        plan.server6 = Some(server);
        plan
    });
    (socket, run, dir)
}

/// A LEASEQUERY-REPLY that tells nothing of the client: the server does not know it.
fn reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request[..4].to_vec();
    reply[0] = 15;
    // CLIENTID is the request's first option.
    let length = usize::from(u16::from_be_bytes([request[6], request[7]]));
    reply.extend(&request[4..8 + length]);
    reply.extend([0, 2, 0, 3, 0, 3, 9]);
    reply
}

#[test]
fn datagrams_that_are_lost_are_sent_again() {
    let (socket, run, _dir) = alone("", "");
    let dropped = AtomicU64::new(0);
    let outcome = thread::scope(|scope| {
        let (dropped, board) = (&dropped, &run.board);
        scope.spawn(move || {
            let mut seen = BTreeSet::new();
            let mut octets = [0; 2_000];
            socket
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            for _ in 0..4 {
                let (count, from): (usize, SocketAddr) = socket.recv_from(&mut octets).unwrap();
                let request = &octets[..count];
                match seen.insert(request.to_vec()) {
                    true => drop(dropped.fetch_add(1, Ordering::Relaxed)),
                    false => {
                        // Twice, for it was sent twice.
                        socket.send_to(&reply(request), from).unwrap();
                        socket.send_to(&reply(request), from).unwrap();
                    }
                }
                if dropped.load(Ordering::Relaxed) == 2 {
                    board.set_phase(Phase::Settling);
                }
            }
        });
        run.finish(&mut |_| {})
    });
    assert_eq!(outcome.first_faults, []);
    let measures = &outcome.groups[0].measures;
    assert_eq!(measures.counted(Count::UdpQueries), 2);
    assert_eq!(measures.counted(Count::Retransmissions), 2);
    assert_eq!(measures.counted(Count::UdpAnswers), 2);
    // What was answered took longer than the time to the second datagram, and nobody knows which one it was.
    assert!(measures.udp.quantile(0.1) >= 0.9);
    assert!(measures.udp_round_trip.is_empty());
}

#[test]
fn queries_that_nobody_answers_are_lost() {
    let (socket, run, _dir) = alone("rate = 50.0\n", "patience = \"1500ms\"\n");
    let outcome = run_until(&run, |total| total.counted(Count::UdpQueries) >= 5);
    drop(socket);
    assert_eq!(outcome.first_faults, []);
    let measures = &outcome.groups[0].measures;
    let queries = measures.counted(Count::UdpQueries);
    assert!(queries >= 5);
    assert_eq!(measures.counted(Count::UdpLost), queries);
    // Each of them for the first time after a second.
    assert_eq!(measures.counted(Count::Retransmissions), queries);
    assert_eq!(measures.counted(Count::UdpAnswers), 0);
}

#[test]
fn a_server_that_answers_nothing_does_not_make_queries_pile_up() {
    let (socket, run, _dir) = alone("rate = 2000.0\nin-flight = 10\n", "patience = \"1500ms\"\n");
    let outcome = run_until(&run, |total| total.counted(Count::UdpNotSent) >= 50);
    drop(socket);
    assert_eq!(outcome.first_faults, []);
    let measures = &outcome.groups[0].measures;
    // None of the first ten was answered or given up meanwhile, and nothing is asked late.
    assert_eq!(measures.counted(Count::UdpQueries), 10);
    assert_eq!(measures.counted(Count::UdpLost), 10);
    assert!(measures.counted(Count::UdpNotSent) >= 50);
    assert_eq!(measures.udp_lateness.count(), 10);
}

#[test]
fn an_answer_that_nobody_asked_for_is_a_fault() {
    let (socket, run, _dir) = alone("", "");
    let outcome = thread::scope(|scope| {
        let board = &run.board;
        scope.spawn(move || {
            let mut octets = [0; 2_000];
            let (count, from) = socket.recv_from(&mut octets).unwrap();
            let good = reply(&octets[..count]);
            let mut other = good.clone();
            other[1] ^= 0x80;
            for datagram in [&other[..], &good, &good, b"xx"] {
                socket.send_to(datagram, from).unwrap();
            }
            board.set_phase(Phase::Settling);
            // Later ones, which were asked before that was known.
            let timeout = Some(Duration::from_millis(500));
            socket.set_read_timeout(timeout).unwrap();
            while let Ok((count, from)) = socket.recv_from(&mut octets) {
                socket.send_to(&reply(&octets[..count]), from).unwrap();
            }
        });
        run.finish(&mut |_| {})
    });
    let kinds: Vec<&str> = outcome.faults.keys().map(|kind| kind.name()).collect();
    assert_eq!(kinds, ["protocol", "unknown-xid", "repeated"]);
    assert!(outcome.faults.values().all(|count| *count == 1));
}

/// The value of a DHCPv4 option, to be altered.
fn option4(message: &mut [u8], code: u8) -> Option<&mut [u8]> {
    let mut at = 240;
    while let [found, length, ..] = message[at..] {
        match found {
            0 => at += 1,
            255 => return None,
            _ if found == code => return message.get_mut(at + 2..at + 2 + usize::from(length)),
            _ => at += 2 + usize::from(length),
        }
    }
    None
}

/// The value of a DHCPv6 option, to be altered.
fn option6(options: &mut [u8], code: u16) -> Option<&mut [u8]> {
    let mut at = 0;
    while let [a, b, c, d, ..] = options[at..] {
        let length = usize::from(u16::from_be_bytes([c, d]));
        if u16::from_be_bytes([a, b]) == code {
            return options.get_mut(at + 4..at + 4 + length);
        }
        at += 4 + length;
    }
    None
}

/// The value of an option of the client that a DHCPv6 answer tells.
fn of_client6(message: &mut [u8], code: u16) -> Option<&mut [u8]> {
    option6(option6(&mut message[4..], 45)?, code)
}

/// What is found when answers of the real server are altered on their way.
fn altered(family: u8, alter: impl Fn(&mut [u8]) + Sync) -> Outcome {
    let server = Setup::default().start();
    let mut run = run(
        &server,
        &format!(
            "[[group]]\nname = \"one\"\nfamily = {family}\nbehaviour = \"udp\"\nby = \"address\"\nat-once = 1\n"
        ),
    );
    let (v4, v6) = server.udp_addresses();
    let (any, real) = match family {
        4 => ("127.0.0.1:0", v4),
        _ => ("[::1]:0", v6),
    };
    let [asked, asks] = [(); 2].map(|()| UdpSocket::bind(any).unwrap());
    let between = asked.local_addr().unwrap();
    match family {
        4 => run.plan.server4 = Some(between),
        _ => run.plan.server6 = Some(between),
    }
    asks.connect(real).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (alter, is_over) = (&alter, &is_over);
        scope.spawn(move || {
            for socket in [&asked, &asks] {
                let timeout = Some(Duration::from_millis(100));
                socket.set_read_timeout(timeout).unwrap();
            }
            let mut octets = [0; 2_000];
            while !is_over.load(Ordering::Relaxed) {
                let Ok((count, from)) = asked.recv_from(&mut octets) else {
                    continue;
                };
                asks.send(&octets[..count]).unwrap();
                // What is not answered is asked again.
                if let Ok(count) = asks.recv(&mut octets) {
                    alter(&mut octets[..count]);
                    asked.send_to(&octets[..count], from).unwrap();
                }
            }
        });
        let outcome = run_until(&run, |total| total.counted(Count::UdpAnswers) > 30);
        is_over.store(true, Ordering::Relaxed);
        outcome
    })
}

#[test]
fn lifetimes_and_relay_data_are_compared() {
    let flip = |value: Option<&mut [u8]>, at: usize| {
        if let Some(octet) = value.and_then(|value| value.get_mut(at)) {
            *octet ^= 1;
        }
    };
    for family in [4, 6] {
        assert_eq!(altered(family, |_| {}).first_faults, [], "v{family}");
    }
    type Alter<'a> = &'a (dyn Fn(&mut [u8]) + Sync);
    let cases: [(u8, &str, &str, Alter<'_>); 5] = [
        (4, "times", "lease time", &|answer| {
            flip(option4(answer, 51), 1)
        }),
        (4, "times", "last transaction", &|answer| {
            flip(option4(answer, 91), 1);
        }),
        (4, "different", "relay agent information", &|answer| {
            flip(option4(answer, 82), 4);
        }),
        // IAADDR: the address, the preferred lifetime, the valid one.
        (6, "times", "valid", &|answer| {
            flip(of_client6(answer, 5), 21);
        }),
        // LQ_RELAY_DATA: the peer's address, then the relay's message with its link-address.
        (6, "different", "relay", &|answer| {
            flip(of_client6(answer, 47), 30);
        }),
    ];
    for (family, kind, words, alter) in cases {
        let outcome = altered(family, alter);
        let fault = outcome.first_faults.first();
        let fault = fault.unwrap_or_else(|| panic!("v{family} {words}: nothing was found"));
        assert_eq!(fault.kind.name(), kind, "{fault:?}");
        assert!(fault.text.contains(words), "{words}: {fault:?}");
    }
}
