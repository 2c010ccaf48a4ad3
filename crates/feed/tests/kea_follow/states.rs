//! Every state in which Kea and its clean-up may leave their files: a feed that starts there, with nothing in its store or with what
//! it once read, or that meets it while it runs, holds what the files say, and each row is handed over once.
//!
//! A row of the tables is written as the number of its lease and a letter for its age: `2b` is a later row of the lease than `2a`,
//! and `2-` takes it away. A file has a header unless it is written `empty`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use leaseq_feed::kea::Family;
use leaseq_feed::run::Phase;

use crate::fixture::Fixture;
use crate::sim::{HEADER, Model, address};

const LIFETIME: u32 = 1 << 30;

struct State {
    /// When Kea or its clean-up leaves this.
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// The last rows of all files.
    leases: &'static str,
}

const LIVE: &str = "";
const STATES: [State; 20] = [
    State {
        name: "Kea was never started",
        files: &[],
        leases: "",
    },
    State {
        name: "Kea has just made its first file",
        files: &[(LIVE, "empty")],
        leases: "",
    },
    State {
        name: "Kea has no lease",
        files: &[(LIVE, "")],
        leases: "",
    },
    State {
        name: "Kea runs, and has not cleaned up yet",
        files: &[(LIVE, "1a 2a 3a 1b 2-")],
        leases: "1b 3a",
    },
    State {
        name: "the first clean-up: the live file has become its input",
        files: &[(".1", "1a 2a 3a 1b 2-")],
        leases: "1b 3a",
    },
    State {
        name: "the first clean-up: a new live file was made",
        files: &[(".1", "1a 2a 3a"), (LIVE, "empty")],
        leases: "1a 2a 3a",
    },
    State {
        name: "the first clean-up: Kea writes on",
        files: &[(".1", "1a 2a 3a"), (LIVE, "2- 4a")],
        leases: "1a 3a 4a",
    },
    State {
        name: "the first clean-up writes its result",
        files: &[(".1", "1a 2a 3a"), (".output", "1a"), (LIVE, "2- 4a")],
        leases: "1a 3a 4a",
    },
    State {
        name: "the first clean-up has its result",
        files: &[(".1", "1a 2a 3a 3-"), (".completed", "1a 2a"), (LIVE, "4a")],
        leases: "1a 2a 4a",
    },
    State {
        name: "the first clean-up has removed its input",
        files: &[(".completed", "1a 2a"), (LIVE, "4a 1b")],
        leases: "1b 2a 4a",
    },
    State {
        name: "a clean-up is done",
        files: &[(".2", "1a 2a"), (LIVE, "4a 1b")],
        leases: "1b 2a 4a",
    },
    State {
        name: "a clean-up is done that found nothing to keep",
        files: &[(".2", "empty"), (LIVE, "4a")],
        leases: "4a",
    },
    State {
        name: "a further clean-up: the live file has become its input",
        files: &[(".2", "1a 2a 3a"), (".1", "1b 2- 4a")],
        leases: "1b 3a 4a",
    },
    State {
        name: "a further clean-up: a new live file was made",
        files: &[(".2", "1a 2a 3a"), (".1", "1b 2- 4a"), (LIVE, "empty")],
        leases: "1b 3a 4a",
    },
    State {
        name: "a further clean-up writes its result, or died of it",
        files: &[
            (".2", "1a 2a 3a"),
            (".1", "1b 2- 4a"),
            (".output", "1b 3a"),
            (LIVE, "3b"),
        ],
        leases: "1b 3b 4a",
    },
    State {
        name: "a further clean-up has its result",
        files: &[
            (".2", "1a 2a 3a"),
            (".1", "1b 2- 4a"),
            (".completed", "1b 3a 4a"),
            (LIVE, "3-"),
        ],
        leases: "1b 4a",
    },
    State {
        name: "a further clean-up has removed the result of the one before",
        files: &[(".1", "1b 2- 4a"), (".completed", "1b 3a 4a"), (LIVE, "3-")],
        leases: "1b 4a",
    },
    State {
        name: "a result, and no live file: it was lost, or is being restored",
        files: &[(".completed", "1b 3a 4a")],
        leases: "1b 3a 4a",
    },
    State {
        name: "a result with its input, and no live file",
        files: &[
            (".2", "1a 2a 3a"),
            (".1", "1b 2- 4a"),
            (".completed", "1b 3a 4a"),
        ],
        leases: "1b 3a 4a",
    },
    State {
        name: "the result of the clean-up before, and no live file",
        files: &[(".2", "1a 2a 3a")],
        leases: "1a 2a 3a",
    },
];

fn cltt(age: u8) -> u32 {
    1_700_000_000 + u32::from(age - b'a')
}

fn row(row: &str) -> String {
    let (number, age) = row.split_at(row.len() - 1);
    let address = address(number.parse().unwrap());
    let (lifetime, expire) = match age.as_bytes()[0] {
        b'-' => (0, 1_700_000_500),
        age => (LIFETIME, cltt(age) + LIFETIME),
    };
    format!("{address},02:00:00:00:00:01,,{lifetime},{expire},1,0,0,,0,,0\n")
}

fn rows(rows: &str) -> String {
    rows.split_whitespace().map(row).collect()
}

fn model(rows: &str) -> Model {
    let leases = rows.split_whitespace().map(|row| {
        let (number, age) = row.split_at(row.len() - 1);
        (address(number.parse().unwrap()), cltt(age.as_bytes()[0]))
    });
    leases.collect()
}

/// Puts files where those of a Kea are, in the place of all that are there.
fn put(live: &Path, files: &[(&str, &str)]) {
    let name = |suffix: &str| {
        let mut name = live.as_os_str().to_owned();
        name.push(suffix);
        std::path::PathBuf::from(name)
    };
    for suffix in [LIVE, ".1", ".2", ".output", ".completed"] {
        let _ = fs::remove_file(name(suffix));
    }
    for (suffix, text) in files {
        let text = match *text {
            "empty" => String::new(),
            text => HEADER.to_owned() + &rows(text),
        };
        // Files of Kea come to their names whole, by being renamed.
        let new = name(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, name(suffix)).unwrap();
    }
}

/// Kea runs, or is started again: it has a live file with a header, and writes.
fn go_on(live: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(live).unwrap();
    // In one write, so that a feed that waits for the header finds all of it.
    let header = match file.metadata().unwrap().len() {
        0 => HEADER,
        _ => "",
    };
    let text = header.to_owned() + &rows(text);
    file.write_all(text.as_bytes()).unwrap();
}

impl State {
    fn has_header(&self) -> bool {
        let mut live = self.files.iter().filter(|(suffix, _)| *suffix == LIVE);
        live.any(|(_, text)| *text != "empty")
    }

    /// Waits until the feed has made of the state what can be made of it.
    fn is_taken(&self, feed: &Fixture, leases: &Model) {
        feed.holds(leases, self.name);
        let phase = match self.has_header() {
            true => Phase::Following,
            false => Phase::Waiting,
        };
        feed.until(self.name, |feed| feed.status().phase == phase);
        feed.holds(leases, self.name);
    }
}

/// Runs it for each state, all beside each other: most of the time is spent waiting.
fn each(run: impl Fn(&State, &Path, &mut Fixture) + Sync) {
    std::thread::scope(|scope| {
        for state in &STATES {
            let run = &run;
            scope.spawn(move || {
                let dir = tempfile::tempdir().unwrap();
                let live = dir.path().join("leases4.csv");
                let mut feed = Fixture::of(live.clone(), Family::V4);
                run(state, &live, &mut feed);
                assert_eq!(feed.status().rejected, 0, "{}", state.name);
                feed.stop();
            });
        }
    });
}

/// Kea goes on, and the feed has all of it.
fn goes_on(state: &State, live: &Path, feed: &Fixture) {
    go_on(live, "1y 8a 9a 8- 9b");
    let mut leases = model(state.leases);
    leases.extend(model("1y 9b"));
    feed.holds(&leases, state.name);
    let follows = |feed: &Fixture| feed.status().phase == Phase::Following;
    feed.until(state.name, follows);
    feed.holds(&leases, state.name);
}

#[test]
fn a_feed_that_starts_in_any_state_loads_it_and_hands_each_row_over_once() {
    each(|state, live, feed| {
        put(live, state.files);
        feed.start();
        let leases = model(state.leases);
        state.is_taken(feed, &leases);
        assert_eq!(feed.status().events, leases.len() as u64, "{}", state.name);
        let troubles = u64::from(!state.has_header());
        assert_eq!(feed.status().troubles, troubles, "{}", state.name);
        goes_on(state, live, feed);
        // Of rows that follow each is handed over; of those that are loaded the last ones, and no lease's a second time.
        let more = if state.has_header() { 5 } else { 2 };
        let expected = leases.len() as u64 + more;
        feed.until(state.name, |feed| feed.status().events >= expected);
        let told = feed.status();
        assert_eq!(told.events, expected, "{}", state.name);
        assert_eq!(told.troubles, troubles, "{}", state.name);
    });
}

#[test]
fn what_was_removed_unseen_ends_when_all_files_are_there_and_not_before() {
    each(|state, live, feed| {
        put(live, &[(LIVE, "1a 2a 3a 7a")]);
        feed.start();
        feed.holds(&model("1a 2a 3a 7a"), state.name);
        feed.stop();
        put(live, state.files);
        feed.start();
        let mut leases = model(state.leases);
        if !state.has_header() {
            let removed = |suffix: &str| {
                let mut files = state.files.iter().filter(|(name, _)| *name == suffix);
                files.any(|(_, text)| text.contains("2-"))
            };
            let mut all = model("1a 2a 3a 7a");
            if removed(".1") && !state.files.iter().any(|(name, _)| *name == ".completed") {
                all.remove(&address(2));
            }
            all.extend(leases);
            leases = all;
        }
        state.is_taken(feed, &leases);
        goes_on(state, live, feed);
    });
}

#[test]
fn a_feed_that_runs_finds_its_way_from_any_state_into_which_the_files_jump() {
    each(|state, live, feed| {
        put(live, &[(LIVE, "1a 2a 3a 7a")]);
        feed.start();
        feed.holds(&model("1a 2a 3a 7a"), state.name);
        put(live, state.files);
        goes_on(state, live, feed);
    });
}
