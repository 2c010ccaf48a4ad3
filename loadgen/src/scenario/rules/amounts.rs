//! What a scenario asks of this machine: whether it can have so many bindings, changes and open files at all.

use rustix::process::{Resource, getrlimit};

use super::{Checked, broken, place};
use crate::scenario::Scenario;

/// The most bindings of a family: the addresses of 10.0.0.0/8.
pub const MOST_BINDINGS: u64 = 1 << 24;
/// The most relays: each has a link of its own in DHCPv6.
pub const MOST_RELAYS: u32 = 1_000_000;
/// The most changes of one run: when each was submitted and acknowledged is kept.
pub const MOST_CHANGES: f64 = 5e7;
/// Open files that a process needs beside its relays' sockets.
const OTHER_FILES: u64 = 200;
/// The most runs of a sweep.
const MOST_POINTS: usize = 1_000;

/// Checks them.
pub fn check(scenario: &Scenario) -> Checked {
    times(scenario)?;
    bindings(scenario)?;
    if let Some(changes) = &scenario.changes {
        let seconds = scenario.duration.get().as_secs_f64();
        if changes.per_second * seconds > MOST_CHANGES {
            return broken(
                place!["changes", "per-second"],
                format!(
                    "{} changes a second for {} are more than the {MOST_CHANGES} that a run can have",
                    changes.per_second, scenario.duration
                ),
            );
        }
    }
    open_files(scenario)
}

fn times(scenario: &Scenario) -> Checked {
    let times = [
        ("duration", scenario.duration, 1),
        ("patience", scenario.patience, 1_000),
        ("interval", scenario.interval, 100),
    ];
    for (key, span, least_ms) in times {
        if span.get().as_millis() < least_ms {
            return broken(
                place![key],
                format!("expected at least {least_ms}ms, found {span}"),
            );
        }
    }
    Ok(())
}

fn bindings(scenario: &Scenario) -> Checked {
    // Those of a server that runs already are not made up.
    if scenario.target.is_given() {
        return Ok(());
    }
    let data = &scenario.data;
    let sweep = scenario.sweep.clone().unwrap_or_default();
    let of =
        |one: u32, swept: Vec<u32>, section: (&'static str, &'static str)| match swept.iter().max()
        {
            Some(most) => (*most, ("sweep", section.1)),
            None => (one, section),
        };
    let points = [
        sweep.relays.len(),
        sweep.bindings_per_relay.len(),
        sweep.changes_per_second.len(),
        sweep.udp_rate.len(),
    ]
    .into_iter()
    .fold(1_usize, |all, values| all.saturating_mul(values.max(1)));
    if points > MOST_POINTS {
        return broken(
            place!["sweep"],
            format!("{points} combinations are more than the {MOST_POINTS} that can be run"),
        );
    }
    let (relays, of_relays) = of(data.relays, sweep.relays, ("data", "relays"));
    let (each, of_each) = of(
        data.bindings_per_relay,
        sweep.bindings_per_relay,
        ("data", "bindings-per-relay"),
    );
    for (number, (section, key)) in [(relays, of_relays), (each, of_each)] {
        if number == 0 {
            return broken(place![section, key], "expected at least 1, found 0");
        }
    }
    if relays > MOST_RELAYS {
        return broken(
            place![of_relays.0, of_relays.1],
            format!("expected at most {MOST_RELAYS} relays, found {relays}"),
        );
    }
    let bindings = u64::from(relays) * u64::from(each);
    if bindings > MOST_BINDINGS {
        return broken(
            place![of_each.0, of_each.1],
            format!(
                "{relays} relays with {each} bindings each are {bindings}; at most {MOST_BINDINGS} can be made up"
            ),
        );
    }
    Ok(())
}

fn open_files(scenario: &Scenario) -> Checked {
    let limit = getrlimit(Resource::Nofile);
    // The soft limit is raised to the hard one when relays begin.
    let Some(allowed) = limit.maximum.or(limit.current) else {
        return Ok(());
    };
    let sockets = |index: &usize| scenario.sockets(&scenario.group[*index]);
    let Some(largest) = (0..scenario.group.len()).max_by_key(sockets) else {
        return Ok(());
    };
    let all: u64 = (0..scenario.group.len()).map(|index| sockets(&index)).sum();
    if let Some(processes) = scenario.processes {
        if processes == 0 || processes > 256 {
            return broken(
                place!["processes"],
                format!("expected from 1 to 256, found {processes}"),
            );
        }
        let needed = all.div_ceil(u64::from(processes)) + OTHER_FILES;
        if needed > allowed {
            return broken(
                place!["processes"],
                format!(
                    "{all} relays at a time in {processes} processes need {needed} open files each, and this machine allows {allowed} (ulimit -Hn); expected at least {} processes",
                    all.div_ceil(allowed.saturating_sub(OTHER_FILES).max(1))
                ),
            );
        }
    }
    // A server of our own has as many connections, in one process.
    let needed = all + OTHER_FILES;
    if !scenario.target.is_given() && needed > allowed {
        return broken(
            place!["group", largest, "relays"],
            format!(
                "all groups have {all} relays at a time, so the server needs {needed} open files, and this machine allows {allowed} (ulimit -Hn)"
            ),
        );
    }
    Ok(())
}
