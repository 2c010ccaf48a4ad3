//! Followers of random histories: whatever happens to a store, and however a requestor reads what its active query is told,
//! it ends up with the bindings that the store has.
//!
//! Streams of every kind follow a store over connections on virtual time while leases come, move, end and change hands,
//! while the log is compacted and the server restarted. A follower reads as slowly as it likes, is cut off, and comes back
//! with the last base-time that it may remember (RFC 7724 §7.3). From time to time everything comes to rest, and then each
//! follower's table must be what a full scan of the log has for its query: the model knows no index and no cursor.
//!
//! A seed reproduces a run, but for what the store's own thread does by itself. `LEASEQ_SEED` runs one seed alone,
//! `LEASEQ_FOLLOWERS` that many seeds of each kind.

mod follower;
mod history;
mod table4;
mod table6;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use leaseq_session::Family;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use world::{Plan, World};

/// What a seed is run with.
struct Case {
    family: Family,
    /// How long ends and departures are kept.
    history: Duration,
    /// Bursts of changes, more than a core holds for a stream.
    floods: bool,
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// What happened in the histories of a case. What never happens is not tested.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Messages taken by followers.
    messages: u64,
    /// Times that a stream had caught up.
    caught_up: u64,
    /// Times that more waited for a stream than is held, so that it read the log by itself.
    lagged: u64,
    /// Times that a stream said DataMissing.
    data_missing: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        self.messages += other.messages;
        self.caught_up += other.caught_up;
        self.lagged += other.lagged;
        self.data_missing += other.data_missing;
    }
}

fn run(case: &Case, seeds: u64) -> Seen {
    let seeds = match setting("LEASEQ_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("LEASEQ_FOLLOWERS").unwrap_or(seeds),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let result = catch_unwind(AssertUnwindSafe(|| follow(case, seed)));
        match result {
            Ok(more) => seen += more,
            Err(panic) => {
                eprintln!("LEASEQ_SEED={seed} reproduces this");
                resume_unwind(panic);
            }
        }
    }
    println!("{seen:?}");
    assert!(seen.messages > 0 && seen.caught_up > 0, "{seen:?}");
    seen
}

/// One history with its followers.
fn follow(case: &Case, seed: u64) -> Seen {
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = Plan {
        family: case.family,
        history: case.history,
        floods: case.floods,
        mixed: rng.random_bool(0.5),
        followers: rng.random_range(4..=9),
    };
    let mut world = World::new(plan, rng);
    for _ in 0..3 {
        for _ in 0..120 {
            world.step();
        }
        world.settle();
        world.check();
    }
    world.seen()
}

/// Whether one seed alone is run: then not everything happens.
fn is_one_seed() -> bool {
    setting("LEASEQ_SEED").is_some()
}

const LONG: Duration = Duration::from_secs(24 * 3_600);
const SHORT: Duration = Duration::from_secs(90);

#[test]
fn dhcpv4_followers_end_up_with_what_the_store_has() {
    let case = Case {
        family: Family::V4,
        history: LONG,
        floods: false,
    };
    run(&case, 24);
}

#[test]
fn dhcpv4_followers_start_anew_where_history_is_missing() {
    let case = Case {
        family: Family::V4,
        history: SHORT,
        floods: false,
    };
    let seen = run(&case, 24);
    assert!(seen.data_missing > 0 || is_one_seed());
}

#[test]
fn dhcpv4_followers_read_on_where_more_changed_than_is_held() {
    let case = Case {
        family: Family::V4,
        history: LONG,
        floods: true,
    };
    let seen = run(&case, 6);
    assert!(seen.lagged > 0 || is_one_seed());
}

#[test]
fn dhcpv6_followers_end_up_with_what_the_store_has() {
    let case = Case {
        family: Family::V6,
        history: LONG,
        floods: false,
    };
    run(&case, 24);
}

#[test]
fn dhcpv6_followers_start_anew_where_history_is_missing() {
    let case = Case {
        family: Family::V6,
        history: SHORT,
        floods: false,
    };
    let seen = run(&case, 24);
    assert!(seen.data_missing > 0 || is_one_seed());
}

#[test]
fn dhcpv6_followers_read_on_where_more_changed_than_is_held() {
    let case = Case {
        family: Family::V6,
        history: LONG,
        floods: true,
    };
    let seen = run(&case, 6);
    assert!(seen.lagged > 0 || is_one_seed());
}
