//! What relays say of servers that fail them, and how they end.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use common::{Run, Setup};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::measure::Count;
use leaseq_loadgen::result::State;
use leaseq_loadgen::scenario::By;
use leaseq_loadgen::work::board::Phase;
use leaseq_loadgen::work::plan::{Outcome, Plan};
use leaseq_loadgen::work::threads;
use leaseq_wire::{OutBuf, frame, v4};

/// A server that has every connection served by `serve`, with the transaction id of its query.
fn server(serve: impl Fn(TcpStream, u32) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || {
                let mut request = [0; 1_024];
                let count = stream.read(&mut request).unwrap_or_default();
                let frame::Split::Frame { message, .. } = frame::split(&request[..count]) else {
                    return;
                };
                let xid = v4::Message::parse(message).unwrap().xid();
                serve(stream, xid);
            });
        }
    });
    address
}

/// DHCPLEASEQUERYDONE, framed.
fn done(xid: u32) -> Vec<u8> {
    let mut octets = [0; 512];
    let mut out = OutBuf::new(&mut octets);
    let start = frame::begin(&mut out).unwrap();
    let header = v4::Header {
        op: v4::op::BOOTREPLY,
        ..v4::Header::request(xid)
    };
    let kind = v4::message_type::DHCPLEASEQUERYDONE;
    let mut writer = v4::MessageWriter::start(&mut out, &header, kind).unwrap();
    writer
        .option(v4::option_code::SERVER_IDENTIFIER, &[127, 0, 0, 1])
        .unwrap();
    writer.finish();
    frame::end(&mut out, start).unwrap();
    out.as_slice().to_vec()
}

/// Two relays that know nothing of what the server holds, with more of the scenario in `top`.
fn ask(server: SocketAddr, top: &str) -> Outcome {
    run(server, top).finish(&mut |_| {})
}

fn run(server: SocketAddr, top: &str) -> Run {
    let dir = std::env::temp_dir();
    let scenario = format!(
        r#"
        {top}
        [[group]]
        name = "relays"
        family = 4
        behaviour = "recover"
        relays = 2
        "#
    );
    Run::new(&dir, &scenario, |plan| Plan {
        server4: Some(server),
        ..plan
    })
}

fn only(outcome: &Outcome, kind: FaultKind) {
    let faults: Vec<_> = outcome.faults.iter().collect();
    assert_eq!(faults, [(&kind, &2)], "{:?}", outcome.first_faults);
}

#[test]
fn an_answer_without_end_is_lost() {
    let server = server(|mut stream, xid| {
        let done = done(xid);
        stream.write_all(&done[..done.len() - 1]).unwrap();
    });
    let outcome = ask(server, "");
    only(&outcome, FaultKind::Lost);
    let measures = &outcome.groups[0].measures;
    assert_eq!(measures.counted(Count::LostConnections), 2);
    assert_eq!(measures.counted(Count::Recoveries), 0);
    let fault = &outcome.first_faults[0];
    assert!(
        fault.query.starts_with("bulk v4 by relay-id 0003"),
        "{fault}"
    );
    assert!(fault.text.contains("1 queries unanswered"), "{fault}");
}

#[test]
fn silence_for_longer_than_patience_is_late() {
    let server = server(|stream, _| {
        // It ends with the relay.
        let _ = (&stream).read(&mut [0; 1]);
    });
    only(&ask(server, "patience = \"200ms\""), FaultKind::Late);
}

#[test]
fn a_message_after_the_end_is_found() {
    let server = server(|mut stream, xid| {
        stream.write_all(&done(xid)).unwrap();
        // The relay has closed its side.
        let _ = stream.read(&mut [0; 1]);
        let _ = stream.write_all(&done(xid));
    });
    let outcome = ask(server, "");
    only(&outcome, FaultKind::UnknownXid);
    assert_eq!(outcome.groups[0].measures.counted(Count::Recoveries), 2);
}

#[test]
fn rubbish_is_shown_in_octets() {
    let server = server(|mut stream, _| {
        stream.write_all(&[0, 3, 0xab, 0xcd, 0xef]).unwrap();
        let _ = stream.read(&mut [0; 1]);
    });
    let outcome = ask(server, "");
    only(&outcome, FaultKind::Protocol);
    assert_eq!(outcome.first_faults[0].octets, "abcdef");
}

#[test]
fn connections_that_are_refused_are_tried_again_until_patience_ends() {
    let server = server(|stream, _| drop(stream));
    let outcome = ask(server, "patience = \"1s\"");
    only(&outcome, FaultKind::NotConnected);
    // After 250 ms and 500 ms at most; the next pause would end after the patience.
    let refused = outcome.groups[0].measures.counted(Count::Refused);
    assert_eq!(refused, 2 * 3);
}

#[test]
fn a_server_that_stops_in_the_middle_is_told_and_ends_nobody_else() {
    let server = Setup {
        relays: 50,
        bindings_per_relay: 20,
        shutdown_timeout: std::time::Duration::from_millis(50),
        ..Setup::default()
    }
    .start();
    let run = server.run(
        r#"
        duration = "2s"
        patience = "500ms"
        interval = "50ms"
        [[group]]
        name = "relays"
        family = 4
        behaviour = "recover"
        rounds = "until-end"
        "#,
    );
    let mut recoveries = 0;
    let outcome = run.finish(&mut |progress| {
        recoveries += progress.since_last.counted(Count::Recoveries);
        if recoveries > 100 {
            server.engine.shutdown();
        }
    });
    assert!(recoveries > 100);
    assert!(outcome.faults[&FaultKind::NotConnected] >= 50);
    let others = outcome.faults.keys().find(|kind| {
        use FaultKind::{Lost, NotConnected, Status};
        ![Lost, NotConnected, Status].contains(kind)
    });
    assert_eq!(others, None, "{:?}", outcome.first_faults);
}

#[test]
fn stopping_ends_everything_at_once() {
    let server = server(|stream, _| {
        let _ = (&stream).read(&mut [0; 1]);
    });
    let run = run(server, "patience = \"1h\"\ninterval = \"20ms\"");
    let board = run.board.clone();
    let mut last = None;
    let outcome = run.finish(&mut |progress| {
        if progress.states.get(&State::Recovering) == Some(&2) {
            board.set_phase(Phase::Stopping);
        }
        last = Some(progress.clone());
    });
    assert_eq!(outcome.first_faults, []);
    let states = last.expect("there is a last progress").states;
    assert_eq!(states[&State::Done], 2, "{states:?}");
}

#[test]
fn those_whose_time_has_not_come_end_when_the_run_settles() {
    let server = server(|_, _| unreachable!("nobody asks"));
    let top = "patience = \"1h\"\ninterval = \"20ms\"";
    let mut run = run(server, top);
    run.plan.scenario.group[0].window = leaseq_loadgen::scenario::Span::from_secs(7_200);
    // The first place begins at once: another process has it.
    run.plan.processes = 64;
    run.plan.process = 1;
    let board = run.board.clone();
    let outcome = run.finish(&mut |_| board.set_phase(Phase::Settling));
    assert_eq!(outcome.first_faults, []);
    assert_eq!(outcome.groups[0].measures.counted(Count::Connections), 0);
}

#[test]
fn what_cannot_be_asked_is_no_run() {
    let server = server(|_, _| unreachable!("nobody asks"));
    let mut run = run(server, "");
    let group = &mut run.plan.scenario.group[0];
    group.by = Some(By::Link);
    let error = threads::run(&run.plan, &mut |_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "group relays: there is no bulk query by Link in DHCPv4"
    );
}
