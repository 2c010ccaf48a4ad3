//! What a scenario must keep to beside its form: that its parts fit together, and that it can be run here.

mod amounts;
mod group;

use std::net::IpAddr;

use leaseq_toml_file::{Step, instead};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};
use toml::{Table, Value};

use super::{Behaviour, FamilyNumber, Kind, Scenario};
use crate::measure::Count;

/// A rule that a scenario breaks.
#[derive(Debug)]
pub struct Broken {
    /// The key that is to blame.
    pub path: Vec<Step>,
    /// What was expected, what came, and what to do.
    pub reason: String,
}

type Checked = Result<(), Broken>;

fn broken(path: &[Step], reason: impl Into<String>) -> Checked {
    Err(Broken {
        path: path.to_vec(),
        reason: reason.into(),
    })
}

/// A path of keys and numbers.
macro_rules! place {
    ($($step:expr),+) => { &[$(leaseq_toml_file::Step::from($step)),+] };
}
use place;

/// Checks a scenario. `table` is the same as it was written: it tells keys that were left out from those at their defaults.
pub fn check(scenario: &Scenario, table: &Table) -> Checked {
    kind(scenario, table)?;
    target(scenario)?;
    for (index, group) in scenario.group.iter().enumerate() {
        let keys = table
            .get("group")
            .and_then(|groups| groups.get(index))
            .and_then(Value::as_table);
        group::check(group, index, scenario, keys)?;
        if let Some(other) = scenario.group[..index]
            .iter()
            .position(|other| other.name == group.name)
        {
            return broken(
                place!["group", index, "name"],
                format!(
                    "two groups are called {:?}: number {other} and number {index}, counted from 0",
                    group.name
                ),
            );
        }
    }
    changes(scenario)?;
    sweep(scenario, table)?;
    require(scenario)?;
    amounts::check(scenario)
}

/// Sections belong to one kind of scenario.
fn kind(scenario: &Scenario, table: &Table) -> Checked {
    let (name, foreign): (&str, &[&str]) = match scenario.kind {
        Kind::Load => ("load", &["limits", "timeouts"]),
        Kind::Limits => (
            "limits",
            &["timeouts", "group", "changes", "sweep", "require"],
        ),
        Kind::Timeouts => (
            "timeouts",
            &["limits", "group", "changes", "sweep", "require"],
        ),
    };
    if let Some(section) = foreign.iter().find(|section| table.contains_key(**section)) {
        return broken(
            place![*section],
            format!(
                "[{section}] is not for a scenario of kind \"{name}\"{}",
                match *section {
                    "limits" | "timeouts" =>
                        format!("; write kind = \"{section}\", or leave the section out"),
                    _ => "; leave the section out, or the kind".to_owned(),
                }
            ),
        );
    }
    let (limits, timeouts) = (&scenario.limits, &scenario.timeouts);
    match scenario.kind {
        Kind::Load if scenario.group.is_empty() => broken(
            place!["kind"],
            "a scenario of kind \"load\" needs at least one [[group]] of relays",
        ),
        Kind::Limits
            if limits.max_connections.is_none()
                && limits.max_connections_per_requestor.is_none()
                && limits.max_queries_per_connection.is_none() =>
        {
            broken(
                place!["limits"],
                "expected at least one of max-connections, max-connections-per-requestor and max-queries-per-connection in [limits]",
            )
        }
        Kind::Limits => Ok(()),
        Kind::Timeouts => {
            let expected = [
                ("bulk-idle", timeouts.bulk_idle),
                ("bulk-send", timeouts.bulk_send),
                ("active-idle", timeouts.active_idle),
                ("active-send", timeouts.active_send),
            ];
            if expected.iter().all(|(_, span)| span.is_none()) {
                return broken(
                    place!["timeouts"],
                    "expected at least one of bulk-idle, bulk-send, active-idle and active-send in [timeouts]",
                );
            }
            for (key, span) in expected {
                if span.is_some_and(|span| span.get().is_zero()) {
                    return broken(place!["timeouts", key], "expected a time above 0s");
                }
            }
            match timeouts.innocent_factor {
                0 => broken(
                    place!["timeouts", "innocent-factor"],
                    "expected at least 1, found 0",
                ),
                _ => Ok(()),
            }
        }
        Kind::Load => Ok(()),
    }
}

/// What goes with a server that runs already, and what with one of our own.
fn target(scenario: &Scenario) -> Checked {
    let target = &scenario.target;
    if !target.is_given() {
        let only_with_server = [
            ("feed", target.feed.is_some()),
            ("expect", target.expect.is_some()),
            ("pid", target.pid.is_some()),
        ];
        for (key, is_given) in only_with_server {
            if is_given {
                return broken(
                    place!["target", key],
                    format!(
                        "`{key}` is about a server that runs already; say which with server4 or server6"
                    ),
                );
            }
        }
        if scenario.tls.is_some() {
            return broken(
                place!["tls"],
                "[tls] is for a server that runs already; for a server of its own the generator makes certificates",
            );
        }
        return Ok(());
    }
    for (key, address, is_right) in [
        (
            "server4",
            target.server4,
            target.server4.is_none_or(|address| address.is_ipv4()),
        ),
        (
            "server6",
            target.server6,
            target.server6.is_none_or(|address| {
                address.is_ipv6() || address.ip().to_canonical().is_loopback()
            }),
        ),
    ] {
        if let (Some(address), false) = (address, is_right) {
            return broken(
                place!["target", key],
                format!("expected an address of the family, found {address}"),
            );
        }
    }
    for (index, group) in scenario.group.iter().enumerate() {
        let (key, address) = match group.family {
            FamilyNumber::V4 => ("server4", target.server4),
            FamilyNumber::V6 => ("server6", target.server6),
        };
        if address.is_none() {
            return broken(
                place!["group", index, "family"],
                format!(
                    "group {:?} needs a server of its family; give {key}",
                    group.name
                ),
            );
        }
        if group.tls && scenario.tls.is_none() {
            return broken(
                place!["group", index, "tls"],
                "TLS with a server that runs already needs ca, certificate, key and server-name in [tls]",
            );
        }
    }
    if scenario.changes.is_some() {
        for (key, is_given) in [
            ("feed", target.feed.is_some()),
            ("expect", target.expect.is_some()),
        ] {
            if !is_given {
                return broken(
                    place!["changes"],
                    format!(
                        "changes in a server that runs already need its {}; give {key}, or leave [changes] out",
                        match key {
                            "feed" => "NDJSON feed",
                            _ => "bindings, as exported",
                        }
                    ),
                );
            }
        }
    }
    Ok(())
}

fn changes(scenario: &Scenario) -> Checked {
    let Some(changes) = &scenario.changes else {
        return Ok(());
    };
    if !(changes.per_second.is_finite() && (0.0..=1e6).contains(&changes.per_second)) {
        return broken(
            place!["changes", "per-second"],
            format!("expected from 0 to 1000000, found {}", changes.per_second),
        );
    }
    if changes.bindings == Some(0) {
        return broken(
            place!["changes", "bindings"],
            "expected at least 1, found 0; without the key all change",
        );
    }
    if changes.release_percent > 100 {
        return broken(
            place!["changes", "release-percent"],
            format!("expected at most 100, found {}", changes.release_percent),
        );
    }
    Ok(())
}

fn sweep(scenario: &Scenario, table: &Table) -> Checked {
    let Some(sweep) = &scenario.sweep else {
        return Ok(());
    };
    let is_written = |key| {
        table
            .get("sweep")
            .and_then(|sweep| sweep.get(key))
            .is_some()
    };
    let all_whole = |values: &[u32]| values.iter().all(|value| *value > 0);
    let all_rates = |values: &[f64]| {
        values
            .iter()
            .all(|value| value.is_finite() && *value >= 0.0)
    };
    let lists = [
        ("relays", sweep.relays.len(), all_whole(&sweep.relays)),
        (
            "bindings-per-relay",
            sweep.bindings_per_relay.len(),
            all_whole(&sweep.bindings_per_relay),
        ),
        (
            "changes-per-second",
            sweep.changes_per_second.len(),
            all_rates(&sweep.changes_per_second),
        ),
        (
            "udp-rate",
            sweep.udp_rate.len(),
            all_rates(&sweep.udp_rate) && !sweep.udp_rate.contains(&0.0),
        ),
    ];
    if lists.iter().all(|(_, count, _)| *count == 0) {
        return broken(
            place!["sweep"],
            "expected values of at least one of relays, bindings-per-relay, changes-per-second and udp-rate",
        );
    }
    for (key, count, is_right) in lists {
        if count == 0 && is_written(key) {
            return broken(
                place!["sweep", key],
                "expected at least one value; leave the key out",
            );
        }
        if !is_right {
            return broken(place!["sweep", key], "expected values above 0");
        }
    }
    let needs = [
        (
            "relays",
            scenario.target.is_given(),
            "the bindings of a server that runs already cannot be made up anew",
        ),
        (
            "bindings-per-relay",
            scenario.target.is_given(),
            "the bindings of a server that runs already cannot be made up anew",
        ),
        (
            "changes-per-second",
            scenario.changes.is_none(),
            "there are no changes; write a section [changes]",
        ),
        (
            "udp-rate",
            !scenario
                .group
                .iter()
                .any(|group| group.behaviour == Behaviour::Udp && group.rate.is_some()),
            "no group asks over UDP at a rate",
        ),
    ];
    for (key, is_missing, reason) in needs {
        if is_written(key) && is_missing {
            return broken(place!["sweep", key], reason);
        }
    }
    Ok(())
}

fn require(scenario: &Scenario) -> Checked {
    let require = &scenario.require;
    let figures = [
        ("slowest-to-median", require.slowest_to_median, 1.0),
        ("udp-lost-percent", require.udp_lost_percent, 0.0),
        ("memory-growth-percent", require.memory_growth_percent, 0.0),
        (
            "latency-growth-percent",
            require.latency_growth_percent,
            0.0,
        ),
    ];
    for (key, figure, least) in figures {
        if let Some(figure) = figure
            && !(figure.is_finite() && figure >= least)
        {
            return broken(
                place!["require", key],
                format!("expected at least {least}, found {figure}"),
            );
        }
    }
    if require.memory_growth_percent.is_some()
        && scenario.target.is_given()
        && scenario.target.pid.is_none()
    {
        return broken(
            place!["require", "memory-growth-percent"],
            "the memory of a server that runs already can be measured only on this machine; give its pid",
        );
    }
    for name in require.at_least.keys() {
        if count_of_name(name).is_none() {
            let what = format!("unknown count `{name}`");
            return broken(
                place!["require", "at-least", name.as_str()],
                instead(what, name, &COUNT_NAMES),
            );
        }
    }
    Ok(())
}

/// Names of [`Count`] as results and `require.at-least` have them.
const COUNT_NAMES: [&str; 13] = [
    "connections",
    "refused",
    "lost-connections",
    "recoveries",
    "bindings",
    "stream-messages",
    "stream-statuses",
    "octets",
    "udp-queries",
    "udp-answers",
    "retransmissions",
    "udp-lost",
    "gaps",
];

/// The count of a name.
pub(crate) fn count_of_name(name: &str) -> Option<Count> {
    let name: StrDeserializer<'_, ValueError> = name.into_deserializer();
    Count::deserialize(name).ok()
}

/// An address, or a network such as 127.0.0.0/8, of a family.
fn is_network(text: &str, family: FamilyNumber) -> bool {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, len.parse::<u8>().ok()),
        None => (text, Some(0)),
    };
    match (address.parse::<IpAddr>(), len) {
        (Ok(IpAddr::V4(_)), Some(len)) => family == FamilyNumber::V4 && len <= 32,
        (Ok(IpAddr::V6(_)), Some(len)) => family == FamilyNumber::V6 && len <= 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_count_is_one() {
        for name in COUNT_NAMES {
            let count = count_of_name(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(serde_json::to_value(count).unwrap(), name);
        }
        assert_eq!(count_of_name("binding"), None);
    }
}
