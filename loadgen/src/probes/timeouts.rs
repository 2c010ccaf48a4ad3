//! The kind `timeouts`: when a server gives up on requestors that say or take nothing, and that nobody else suffers from them.

use std::sync::atomic::AtomicBool;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::blocked::{self, Asked};
use super::idle::{self, Said};
use super::innocent::{self, Phase, Suffered};
use super::keepalive::{self, Idle};
use super::probe::ProbeError;
use super::subject::Subject;
use super::window::Window;
use super::{Outcome, Servers};
use crate::result::Finding;
use crate::scenario::{Scenario, Timeouts};

/// How often the innocent relays are looked at before the tests begin.
const LOOK: Duration = Duration::from_millis(10);

/// A test, and what it is about if it cannot even begin.
struct Test<'s> {
    what: String,
    expected: String,
    run: Box<dyn FnOnce() -> Result<Vec<Finding>, ProbeError> + Send + 's>,
}

/// Measures the timeouts that the scenario expects, of each family that has a server, and compares, while innocent relays
/// recover beside. All run at the same time, each on a connection of its own: it takes little more than the longest
/// timeout. `stop` ends it early; what was found until then is told.
#[must_use]
pub fn timeouts(scenario: &Scenario, servers: &Servers, stop: &AtomicBool) -> Outcome {
    let expected = &scenario.timeouts;
    let subjects = Subject::of(scenario, servers, stop);
    let is_still = scenario.changes.is_none();
    let mut outcome = Outcome::default();
    let phase = Phase::default();
    thread::scope(|scope| {
        let innocent: Vec<_> = subjects
            .iter()
            .map(|subject| start_innocent(scope, subject, expected.innocent, is_still, &phase))
            .collect();
        wait_for_innocent(&subjects, expected.innocent, &phase);
        phase.begin();
        let running: Vec<_> = subjects
            .iter()
            .flat_map(|subject| tests(subject, expected))
            .map(
                |Test {
                     what,
                     expected,
                     run,
                 }| (what, expected, scope.spawn(run)),
            )
            .collect();
        for (what, expected, test) in running {
            match test.join() {
                Ok(Ok(findings)) => outcome.find("timeouts", findings),
                Ok(Err(ProbeError::Stopped)) => {}
                Ok(Err(error)) => {
                    let found = format!("no connection to test it on: {error}");
                    outcome.find("timeouts", vec![failed(what, expected, found)]);
                }
                Err(_) => {
                    let found = "the test itself failed".into();
                    outcome.find("timeouts", vec![failed(what, expected, found)]);
                }
            }
        }
        phase.end();
        for (subject, relays) in subjects.iter().zip(innocent) {
            let mut all = Suffered::default();
            for relay in relays {
                all.add(relay.join().unwrap_or_default());
            }
            if expected.innocent > 0 && !subject.is_stopped() {
                all.judge(subject, expected, &mut outcome);
            }
        }
    });
    outcome
}

fn failed(what: String, expected: String, found: String) -> Finding {
    Finding {
        what,
        expected,
        found,
        holds: false,
    }
}

fn start_innocent<'scope>(
    scope: &'scope Scope<'scope, '_>,
    subject: &'scope Subject<'_>,
    count: u32,
    is_still: bool,
    phase: &'scope Phase,
) -> Vec<ScopedJoinHandle<'scope, Suffered>> {
    (0..count)
        .map(|relay| scope.spawn(move || innocent::recover(subject, relay, is_still, phase)))
        .collect()
}

/// Waits until all of them know how long a recovery takes when nothing else happens, as far as they find out at all.
fn wait_for_innocent(subjects: &[Subject<'_>], count: u32, phase: &Phase) {
    let Some(first) = subjects.first() else {
        return;
    };
    let all = count * subjects.len() as u32;
    let begun = Instant::now();
    while phase.ready() < all && begun.elapsed() < first.patience && !first.is_stopped() {
        thread::sleep(LOOK);
    }
}

/// The tests of a family.
fn tests<'s>(subject: &'s Subject<'_>, expected: &Timeouts) -> Vec<Test<'s>> {
    let tolerance = expected.tolerance.get();
    let mut tests = Vec::new();
    if let Some(timeout) = expected.bulk_idle {
        let window = Window::new(timeout.get(), tolerance);
        tests.extend(Said::ALL.map(|said| Test {
            what: said.what(subject),
            expected: window.expected("closed"),
            run: Box::new(move || Ok(vec![idle::wait(subject, &window, said)?])),
        }));
    }
    let sending = [expected.bulk_send, expected.active_send];
    for (asked, timeout) in Asked::ALL.into_iter().zip(sending) {
        let Some(timeout) = timeout.map(|timeout| timeout.get()) else {
            continue;
        };
        let window = Window::looked_for(timeout, tolerance);
        tests.push(Test {
            what: asked.what(subject),
            expected: window.expected("ended"),
            run: Box::new(move || Ok(vec![blocked::stop_reading(subject, &window, asked)?])),
        });
        tests.push(Test {
            what: asked.what_slow(subject),
            expected: "kept".into(),
            run: Box::new(move || {
                Ok(vec![blocked::read_slowly(
                    subject, timeout, &window, asked,
                )?])
            }),
        });
    }
    // An active connection is expected to be there only if something is expected of it.
    if expected.active_idle.is_some() || expected.active_send.is_some() {
        let keepalive = expected
            .active_idle
            .map(|timeout| Window::new(timeout.get(), tolerance));
        let kept = expected
            .bulk_idle
            .map(|timeout| Window::new(timeout.get(), tolerance).latest);
        if keepalive.is_some() || kept.is_some() {
            tests.push(Test {
                what: match keepalive {
                    Some(_) => Idle::what_keepalive(subject, 1),
                    None => Idle::what_kept(subject),
                },
                expected: keepalive.map_or("kept".into(), |window| window.expected("sent")),
                run: Box::new(move || keepalive::listen(subject, &Idle { keepalive, kept })),
            });
        }
    }
    tests
}
