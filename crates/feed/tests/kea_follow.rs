//! The feed `kea-memfile` against a simulated Kea: every step of the clean-up, with the feed running, stopped and started again
//! at each of them, and what else may happen to a file. After all of it the store holds what the rows say.

#[path = "kea_follow/faults.rs"]
mod faults;
#[path = "kea_follow/fixture.rs"]
mod fixture;
#[path = "kea_follow/sim.rs"]
mod sim;
#[path = "kea_follow/states.rs"]
mod states;

use proptest::prelude::*;

use fixture::Fixture;
use sim::{CYCLE, Sim};

/// Two clean-ups, with rows between all their steps; the feed does not run from the step `stop` to the step `start`.
fn two_clean_ups(stop: usize, start: usize, in_step: bool) {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    let context = format!("stopped at {stop}, started at {start}, in step: {in_step}");
    for number in 0..20 {
        kea.lease(number);
    }
    feed.start();
    feed.equals(&kea, &context);
    for step in 0..2 * CYCLE {
        if step == stop {
            feed.stop();
        }
        kea.step();
        // A new lease, a renewed one and one that is given back, wherever Kea can write.
        kea.lease(100 + step as u8);
        kea.lease(5);
        kea.remove(step as u8 % 20);
        if step == start {
            feed.start();
        }
        // A feed that starts between Kea's renaming and the new file ends nothing before that is there.
        if in_step && feed.runs() && kea.is_live() {
            feed.equals(&kea, &context);
        }
    }
    if !feed.runs() {
        feed.start();
    }
    feed.equals(&kea, &context);
    feed.stop();
    feed.is_equal(&kea, &context);
}

#[test]
fn nothing_is_lost_wherever_in_a_clean_up_the_feed_stops_and_starts() {
    for stop in 0..CYCLE {
        // The feed misses one step, some, all of a clean-up but a step, a whole one, one and a half.
        for missed in [0, 3, CYCLE - 2, CYCLE - 1, CYCLE + 4] {
            two_clean_ups(stop, stop + missed, true);
        }
    }
}

#[test]
fn nothing_is_lost_when_the_feed_lags_behind_clean_ups() {
    for stop in (0..2 * CYCLE).chain([usize::MAX]) {
        two_clean_ups(stop, stop.saturating_add(CYCLE), false);
    }
}

/// What happens next in a random run.
#[derive(Clone, Debug)]
enum Happening {
    Lease(u8),
    Remove(u8),
    Expire(u8),
    Rubbish,
    /// A row of which the first octets are written now and the others with the next row.
    Half(u8),
    CleanUp,
    Reopen,
    Stop,
    Start,
    Equal,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0u8..12).prop_map(Happening::Lease),
        3 => (0u8..12).prop_map(Happening::Remove),
        1 => (0u8..12).prop_map(Happening::Expire),
        1 => Just(Happening::Rubbish),
        2 => (0u8..12).prop_map(Happening::Half),
        8 => Just(Happening::CleanUp),
        1 => Just(Happening::Reopen),
        2 => Just(Happening::Stop),
        2 => Just(Happening::Start),
        1 => Just(Happening::Equal),
    ]
}

proptest! {
    // A case that fails does so after a long wait: it is not made much smaller.
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 10, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_the_rows_say(happenings in proptest::collection::vec(happening(), 1..80)) {
        let mut kea = Sim::new();
        let mut feed = Fixture::new(&kea);
        feed.start();
        for happening in happenings {
            match happening {
                Happening::Lease(number) => kea.lease(number),
                Happening::Remove(number) => kea.remove(number),
                Happening::Expire(number) => kea.expire(number),
                Happening::Rubbish => kea.write("rubbish,row\n"),
                Happening::Half(number) => kea.half(number),
                Happening::CleanUp => kea.step(),
                Happening::Reopen => kea.reopen(),
                Happening::Stop => feed.stop(),
                Happening::Start => feed.start(),
                Happening::Equal => {
                    kea.write("");
                    if feed.runs() && kea.is_live() {
                        feed.equals(&kea, "in between");
                    }
                }
            }
        }
        kea.finish();
        feed.start();
        feed.equals(&kea, "at the end");
        feed.stop();
        feed.start();
        feed.equals(&kea, "after a restart");
    }
}
