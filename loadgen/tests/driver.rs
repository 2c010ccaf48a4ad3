//! Changes driven into leaseq's real feed listener, and into feeds that misbehave.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use leaseq_feed::run::Status;
use leaseq_feed::socket::{Address, NdjsonListener};
use leaseq_loadgen::changes::{Driver, Mark, Schedule};
use leaseq_loadgen::data::{Inventory, Source};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::measure::clock::now_ns;
use leaseq_loadgen::scenario::Changes;
use leaseq_loadgen::work::board::Board;
use leaseq_requestor::Family;
use leaseq_store::{Options, State, Store, SyncMode, Topology, Vpn};

const PATIENCE: Duration = Duration::from_secs(60);
/// Bindings of each family.
const ROWS: u32 = 200;

/// A board and bindings for both families.
struct Run {
    dir: tempfile::TempDir,
    board: Arc<Board>,
}

impl Run {
    fn new(capacity: u64) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let board = Board::create(&dir.path().join("board"), capacity).unwrap();
        Run {
            dir,
            board: Arc::new(board),
        }
    }

    fn feed(&self) -> PathBuf {
        self.dir.path().join("feed.sock")
    }

    fn side(&self, family: Family) -> (Arc<Inventory>, Arc<Schedule>) {
        let source = Source::MadeUp {
            relays: 4,
            bindings_per_relay: ROWS / 4,
            cltt: 1_700_000_000,
            valid: 1 << 30,
        };
        let inventory = Inventory::load(family, &source).unwrap();
        let schedule = Schedule::new(ROWS, ROWS, 20, 7);
        (Arc::new(inventory), Arc::new(schedule))
    }

    fn drive(&self, per_second: f64, families: &[Family]) -> Driver {
        let changes = Changes {
            per_second,
            bindings: None,
            release_percent: 20,
        };
        let sides = families.iter().map(|family| self.side(*family)).collect();
        Driver::start(&self.feed(), &changes, sides, Arc::clone(&self.board)).unwrap()
    }

    /// Until so many changes of a family are acknowledged.
    fn wait_for(&self, family: Family, acknowledged: u64) {
        while self.board.acknowledged(family) < acknowledged {
            thread::yield_now();
        }
    }
}

fn status() -> Arc<Status> {
    Arc::new(Status::new("leases", "ndjson", None, "a socket"))
}

fn store(run: &Run) -> Arc<Store> {
    let options = Options {
        sync: SyncMode::Never,
        segment_size: 1 << 20,
        ..Options::default()
    };
    let dir = run.dir.path().join("store");
    Arc::new(Store::open(&dir, options, Topology::default()).unwrap())
}

#[test]
fn every_change_of_both_families_is_acknowledged_and_is_what_the_store_holds() {
    let run = Run::new(100_000);
    let store = store(&run);
    let _listener =
        NdjsonListener::start(&Address::Unix(run.feed()), Arc::clone(&store), status()).unwrap();
    let driver = run.drive(20_000.0, &[Family::V4, Family::V6]);
    for family in [Family::V4, Family::V6] {
        run.wait_for(family, 1_000);
    }
    let driven = driver.stop(PATIENCE);
    assert_eq!((driven.faults.len(), driven.reasons.len()), (0, 0));
    let result = driven.result;
    let submitted = run.board.submitted(Family::V4) + run.board.submitted(Family::V6);
    assert_eq!(result.submitted, submitted);
    assert_eq!((result.acknowledged, result.refused), (submitted, 0));
    assert_eq!(result.acknowledgement.count(), submitted);
    assert_eq!(result.lateness.count(), submitted);
    for family in [Family::V4, Family::V6] {
        let upto = run.board.submitted(family);
        assert_eq!(run.board.acknowledged(family), upto);
        for number in 1..=upto {
            let (submitted, acknowledged) = run.board.times(family, number).unwrap();
            assert!(0 < submitted && submitted <= acknowledged);
        }
    }
    // The store's state is that of the last change of each binding.
    let (_, schedule) = run.side(Family::V4);
    let upto = run.board.submitted(Family::V4);
    let reader = store.reader();
    let view = reader.view();
    for row in 0..ROWS {
        let latest = schedule.latest(row, upto);
        assert_ne!(latest, 0);
        let address = ((10_u32 << 24) + row).into();
        let binding = view.binding4(&Vpn::GLOBAL, address).unwrap();
        let is_released = binding.state() == State::Released;
        assert_eq!(is_released, schedule.is_release(latest), "change {latest}");
        let options = binding.to_event().options.unwrap();
        let (_, name) = options.iter().find(|(code, _)| *code == 12).unwrap();
        assert_eq!(Mark::of_host_name(name).unwrap().number, latest);
    }
}

#[test]
fn the_rate_is_kept_and_nothing_is_driven_without_one() {
    let run = Run::new(1_000);
    let store = store(&run);
    let _listener = NdjsonListener::start(&Address::Unix(run.feed()), store, status()).unwrap();
    let driven = run.drive(0.0, &[Family::V4]).stop(PATIENCE);
    assert_eq!((driven.result.submitted, driven.faults.len()), (0, 0));
    // They begin when relays do, and none is early.
    let begin = now_ns() + 20_000_000;
    run.board.set_begin_ns(begin);
    let driver = run.drive(1_000.0, &[Family::V6]);
    run.wait_for(Family::V6, 100);
    let _ = driver.stop(PATIENCE);
    for number in 1..=100 {
        let (submitted, _) = run.board.times(Family::V6, number).unwrap();
        assert!(submitted >= begin + (number - 1) * 1_000_000);
    }
}

#[test]
fn a_full_board_ends_the_driving_and_says_so() {
    let run = Run::new(50);
    let store = store(&run);
    let _listener = NdjsonListener::start(&Address::Unix(run.feed()), store, status()).unwrap();
    let driver = run.drive(1e9, &[Family::V4]);
    run.wait_for(Family::V4, 50);
    let driven = driver.stop(PATIENCE);
    assert_eq!((driven.result.acknowledged, driven.faults.len()), (50, 0));
    assert_eq!(driven.reasons.len(), 1);
    assert!(driven.reasons[0].contains("room for 50 changes"));
}

/// A feed that answers by `answer(number, line)`; nothing: it closes.
fn feed(run: &Run, answer: impl Fn(u64, &str) -> Option<String> + Send + 'static) {
    let listener = UnixListener::bind(run.feed()).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        for (number, line) in (1..).zip(lines.map_while(Result::ok)) {
            let Some(answer) = answer(number, &line) else {
                return;
            };
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
}

#[test]
fn refused_lines_are_counted_and_told() {
    let run = Run::new(1_000);
    feed(&run, |number, _| {
        Some(match number % 10 {
            0 => format!("{{\"line\":{number},\"error\":\"not today\"}}\n"),
            _ => format!("{{\"ok\":{number}}}\n"),
        })
    });
    let driver = run.drive(50_000.0, &[Family::V4]);
    run.wait_for(Family::V4, 999);
    let driven = driver.stop(PATIENCE);
    let result = &driven.result;
    assert_eq!(
        (result.submitted, result.acknowledged, result.refused),
        (1_000, 900, 100)
    );
    assert_eq!(driven.faults[&FaultKind::Status], 100);
    let first = driven.first_faults[0].to_string();
    assert!(
        first.starts_with("status: changes relay 0, change 10 of v4: the feed refused it: not today; the line: {\"family\":4,"),
        "{first}"
    );
}

#[test]
fn a_feed_that_closes_or_answers_rubbish_is_a_fault() {
    for (answer, told) in [
        (None, "the connection to the feed ended before its time"),
        (Some("{\"ok\":\n"), "expected an answer of a feed"),
        (
            Some("{\"ok\":999999}\n"),
            "expected an answer to a line after 9",
        ),
        (Some("{\"ok\":9}\n"), "expected an answer to a line after 9"),
    ] {
        let run = Run::new(100);
        feed(&run, move |number, _| match number {
            ..10 => Some(format!("{{\"ok\":{number}}}\n")),
            _ => answer.map(str::to_owned),
        });
        let driver = run.drive(1e6, &[Family::V6]);
        run.wait_for(Family::V6, 9);
        // Its end is seen before we end it ourselves.
        while driver.is_running() {
            thread::yield_now();
        }
        let driven = driver.stop(PATIENCE);
        assert_eq!(driven.faults[&FaultKind::Lost], 1, "{told}");
        let text = &driven.first_faults[0].text;
        assert!(
            text.contains(told) && text.contains("were not answered"),
            "{text}"
        );
        assert_eq!(driven.result.acknowledged, 9);
    }
}

#[test]
fn a_feed_that_does_not_answer_does_not_hold_the_end_up() {
    let run = Run::new(1_000_000);
    feed(&run, |number, _| match number {
        1..=5 => Some(format!("{{\"ok\":{number}}}\n")),
        // Reads no further, and answers no more.
        _ => loop {
            thread::park();
        },
    });
    let driver = run.drive(1e9, &[Family::V4]);
    run.wait_for(Family::V4, 5);
    let driven = driver.stop(Duration::from_millis(1));
    assert_eq!(driven.faults[&FaultKind::Late], 1);
    assert_eq!(driven.result.acknowledged, 5);
    assert!(driven.result.submitted > 5);
}
