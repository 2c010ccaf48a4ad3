//! Relays spread over worker processes, and over a thread of our own, against a real server.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use common::{Run, Server, Setup};
use leaseq_loadgen::measure::Count;
use leaseq_loadgen::measure::clock::now_ns;
use leaseq_loadgen::result::State;
use leaseq_loadgen::scenario::Scenario;
use leaseq_loadgen::work::board::Phase;
use leaseq_loadgen::work::plan::{Outcome, Progress};
use leaseq_loadgen::work::processes::{ROLE, Workers, WorkersError, how_many};
use leaseq_loadgen::work::threads::Inventories;

const BINARY: &str = env!("CARGO_BIN_EXE_leaseq-loadgen");
const SCENARIO: &str = r#"
    interval = "20ms"

    [[group]]
    name = "v4"
    family = 4
    behaviour = "recover"
    by = "relay-id"
    window = "100ms"

    [[group]]
    name = "v6"
    family = 6
    behaviour = "recover"
    by = "remote-id"
    at-once = 7
"#;

fn server() -> Server {
    Setup {
        relays: 50,
        ..Setup::default()
    }
    .start()
}

/// Begins when all are ready, and polls until all have ended.
fn finish(run: &Run, mut workers: Workers) -> (Vec<Progress>, Outcome) {
    while !workers.ready().unwrap() {
        thread::yield_now();
    }
    run.board.set_begin_ns(now_ns());
    run.board.set_phase(Phase::Running);
    let mut told = Vec::new();
    while !told
        .last()
        .is_some_and(|progress: &Progress| progress.is_finished)
    {
        told.extend(workers.poll().unwrap());
        thread::yield_now();
    }
    (told, workers.join().unwrap())
}

#[test]
fn three_processes_do_together_what_one_does() {
    let server = server();
    for processes in [1, 3] {
        let run = server.run(SCENARIO);
        let workers = match processes {
            1 => Workers::start(&run.plan, 1, Inventories::new()),
            _ => Workers::start_processes(&run.plan, processes, BINARY.as_ref()),
        }
        .unwrap();
        let pids = workers.pids();
        assert_eq!(pids.len(), if processes == 1 { 0 } else { 3 });
        let (told, outcome) = finish(&run, workers);
        assert_eq!(outcome.first_faults, []);
        for group in &outcome.groups {
            let counted = group.measures.counted(Count::Recoveries);
            assert_eq!((group.relays, counted), (50, 50), "{}", group.name);
            assert_eq!(group.measures.recovery.count(), 50);
        }
        // What was told meanwhile adds up to what came of it.
        let bindings = |progress: &Progress| progress.since_last.counted(Count::Bindings);
        let total: u64 = outcome
            .groups
            .iter()
            .map(|group| group.measures.counted(Count::Bindings))
            .sum();
        assert!(total >= 50 * 20);
        assert_eq!(told.iter().map(bindings).sum::<u64>(), total);
        let last = told.last().unwrap();
        assert_eq!(last.states[&State::Done], 57);
        assert!(outcome.thread_cpu.len() >= processes as usize);
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
        }
    }
}

#[test]
fn a_plan_that_cannot_be_worked_at_is_told() {
    let server = server();
    let mut run = server.run(SCENARIO);
    run.plan.server6 = None;
    let expected = "group v6: there is no server for DHCPv6";
    let mut workers = Workers::start_processes(&run.plan, 2, BINARY.as_ref()).unwrap();
    let failed = loop {
        match workers.ready() {
            Ok(is_ready) => assert!(!is_ready),
            Err(failed) => break failed,
        }
    };
    assert!(
        matches!(&failed, WorkersError::Ended { words, .. } if words.contains(expected)),
        "{failed}"
    );
    let mut workers = Workers::start(&run.plan, 1, Inventories::new()).unwrap();
    let failed = loop {
        match workers.ready() {
            Ok(is_ready) => assert!(!is_ready),
            Err(failed) => break failed,
        }
    };
    assert_eq!(failed.to_string(), expected);
}

#[test]
fn a_process_that_is_killed_is_told_and_the_others_end_with_us() {
    let server = server();
    let run = server.run(SCENARIO);
    let mut workers = Workers::start_processes(&run.plan, 3, BINARY.as_ref()).unwrap();
    while !workers.ready().unwrap() {
        thread::yield_now();
    }
    let pids = workers.pids();
    let killed = rustix::process::Pid::from_raw(pids[1] as i32).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    let failed = loop {
        if let Err(failed) = workers.poll() {
            break failed;
        }
        thread::yield_now();
    };
    assert!(
        failed
            .to_string()
            .starts_with("worker process 1 ended with signal: 9"),
        "{failed}"
    );
    drop(workers);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}

#[test]
fn another_program_is_no_worker() {
    let server = server();
    let run = server.run(SCENARIO);
    let mut workers = Workers::start_processes(&run.plan, 2, "/bin/echo".as_ref()).unwrap();
    let failed = loop {
        if let Err(failed) = workers.poll() {
            break failed;
        }
        thread::yield_now();
    };
    assert!(matches!(failed, WorkersError::Message { .. }), "{failed}");
}

#[test]
fn a_worker_ends_when_whoever_started_it_is_gone() {
    let server = server();
    let run = server.run(SCENARIO);
    let mut child = Command::new(BINARY)
        .arg(ROLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    writeln!(input, "{}", serde_json::to_string(&run.plan).unwrap()).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "\"ready\"");
    drop(input);
    // Its relays have not begun, and never will.
    assert!(lines.map_while(Result::ok).count() > 0);
    assert!(child.wait().unwrap().success());
    assert_eq!(run.board.phase(), Phase::Stopping);
    let rubbish = Command::new(BINARY)
        .arg(ROLE)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(rubbish.status.code(), Some(1));
    let told = String::from_utf8_lossy(&rubbish.stderr);
    assert!(told.contains("expected a plan on standard input"), "{told}");
}

#[test]
fn processes_are_as_many_as_sockets_ask_for() {
    let scenario = |text: &str| -> Scenario { toml::from_str(text).unwrap() };
    assert_eq!(how_many(&scenario("processes = 3")), 3);
    assert_eq!(how_many(&scenario(SCENARIO)), 1);
    let many = scenario(
        "data.relays = 1000000\n[[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'follow'\n",
    );
    assert!(how_many(&many) >= 1_000_000 / 15_000);
}
