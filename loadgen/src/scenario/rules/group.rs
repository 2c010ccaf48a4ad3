//! What a group of relays must keep to: its behaviour says which keys it has and what it can ask by.

use toml::Table;

use super::{Checked, broken, is_network, place};
use crate::scenario::{Amount, Behaviour, By, FamilyNumber, Group, Kind, Scenario};

/// Keys that every group may have.
const COMMON: &[&str] = &[
    "name",
    "family",
    "behaviour",
    "relays",
    "at-once",
    "window",
    "source",
];

/// Keys that a behaviour has beside those.
fn keys_of(behaviour: Behaviour) -> &'static [&'static str] {
    match behaviour {
        Behaviour::Recover => &["tls", "by", "rounds", "pause"],
        Behaviour::Parallel => &["tls", "by", "rounds", "pause", "queries"],
        Behaviour::Follow => &["tls", "by", "catch-up"],
        Behaviour::RecoverThenFollow => &["tls", "by"],
        Behaviour::Udp => &["by", "rate", "in-flight"],
        Behaviour::ReadSlowly => &[
            "tls",
            "by",
            "rounds",
            "pause",
            "octets-per-second",
            "receive-buffer",
        ],
        Behaviour::StopReading => &["tls", "by", "rounds", "pause", "after", "receive-buffer"],
        Behaviour::Reset => &["tls", "by", "rounds", "pause", "after"],
        Behaviour::HalfQuery | Behaviour::Rubbish | Behaviour::Silent => {
            &["tls", "rounds", "pause"]
        }
        Behaviour::Reconnect | Behaviour::IgnoreLimit => &["tls"],
    }
}

/// The most queries over UDP that may wait for their answers: each keeps its datagram, and DHCPv6 has 2^24 transaction ids.
const MOST_IN_FLIGHT: u32 = 1_000_000;

/// All behaviours, to say which of them have a key.
const BEHAVIOURS: [Behaviour; 13] = [
    Behaviour::Recover,
    Behaviour::Follow,
    Behaviour::RecoverThenFollow,
    Behaviour::Parallel,
    Behaviour::Udp,
    Behaviour::ReadSlowly,
    Behaviour::StopReading,
    Behaviour::HalfQuery,
    Behaviour::Rubbish,
    Behaviour::Reset,
    Behaviour::Silent,
    Behaviour::Reconnect,
    Behaviour::IgnoreLimit,
];

/// What a behaviour can ask by. RFC 6926 knows no query by link; RFC 5460 none about everything; an active query of
/// DHCPv6 without filters is about everything (RFC 7653).
fn selectors(behaviour: Behaviour, family: FamilyNumber) -> &'static [By] {
    use FamilyNumber::{V4, V6};
    match (behaviour, family) {
        (Behaviour::Udp, V4) => &[By::Address, By::Hwaddr, By::ClientId, By::RemoteId],
        (Behaviour::Udp, V6) => &[By::Address, By::ClientId],
        (Behaviour::Follow, V6) => &[By::RelayId, By::RemoteId, By::Link, By::All],
        (_, V4) => &[By::RelayId, By::RemoteId, By::All],
        (_, V6) => &[By::RelayId, By::RemoteId, By::Link],
    }
}

/// A name as TOML has it.
fn name_of(what: impl serde::Serialize) -> String {
    match toml::Value::try_from(what) {
        Ok(toml::Value::String(name)) => name,
        _ => unreachable!("these are written as text"),
    }
}

/// Checks the group of this number. `keys`: as it was written.
pub fn check(group: &Group, index: usize, scenario: &Scenario, keys: Option<&Table>) -> Checked {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    if group.name.is_empty() || !group.name.chars().all(allowed) {
        return broken(
            place!["group", index, "name"],
            format!(
                "expected letters, digits, `-` and `_`, found {:?}",
                group.name
            ),
        );
    }
    only_its_keys(group, index, keys)?;
    selector(group, index)?;
    for (key, amount) in [("relays", group.relays), ("at-once", group.at_once)] {
        if amount == Amount::Number(0) || amount == Amount::Percent(0.0) {
            return broken(
                place!["group", index, key],
                "expected at least 1, found 0; a group without relays is left out",
            );
        }
    }
    let relays = group.relays.of(scenario.data.relays);
    if group.follows() && group.at_once.of(relays) < relays {
        return broken(
            place!["group", index, "at-once"],
            format!(
                "relays that follow go on until the end, so {} of {relays} would never begin; set `relays` instead",
                relays - group.at_once.of(relays)
            ),
        );
    }
    let least = [
        ("queries", group.queries.is_some_and(|queries| queries == 0)),
        (
            "octets-per-second",
            group.octets_per_second.is_some_and(|octets| octets == 0),
        ),
        (
            "receive-buffer",
            group.receive_buffer.is_some_and(|octets| octets == 0),
        ),
    ];
    for (key, is_zero) in least {
        if is_zero {
            return broken(place!["group", index, key], "expected at least 1, found 0");
        }
    }
    if let Some(rate) = group.rate
        && !(rate.is_finite() && rate > 0.0 && rate <= 1e7)
    {
        return broken(
            place!["group", index, "rate"],
            format!("expected queries a second, above 0 and at most 10000000, found {rate}"),
        );
    }
    in_flight(group, index)?;
    if let Some(source) = &group.source
        && !is_network(source, group.family)
    {
        return broken(
            place!["group", index, "source"],
            format!(
                "expected an address or a network of the group's family such as \"127.0.0.0/8\", found {source:?}"
            ),
        );
    }
    debug_assert_eq!(scenario.kind, Kind::Load, "others have no groups");
    Ok(())
}

fn in_flight(group: &Group, index: usize) -> Checked {
    let Some(queries) = group.in_flight else {
        return Ok(());
    };
    if !(1..=MOST_IN_FLIGHT).contains(&queries) {
        return broken(
            place!["group", index, "in-flight"],
            format!("expected from 1 to {MOST_IN_FLIGHT} queries, found {queries}"),
        );
    }
    if group.rate.is_none() {
        return broken(
            place!["group", index, "in-flight"],
            "`in-flight` is for a group with a `rate`; without one each relay has one query at a time",
        );
    }
    Ok(())
}

fn only_its_keys(group: &Group, index: usize, keys: Option<&Table>) -> Checked {
    let own = keys_of(group.behaviour);
    let Some(foreign) = keys.and_then(|keys| {
        keys.keys()
            .find(|key| !COMMON.contains(&key.as_str()) && !own.contains(&key.as_str()))
    }) else {
        return Ok(());
    };
    let users: Vec<String> = BEHAVIOURS
        .into_iter()
        .filter(|behaviour| keys_of(*behaviour).contains(&foreign.as_str()))
        .map(name_of)
        .collect();
    broken(
        place!["group", index, foreign.as_str()],
        format!(
            "`{foreign}` is not for a group that does \"{}\", which has {}; it is for {}",
            name_of(group.behaviour),
            own.join(", "),
            users.join(", "),
        ),
    )
}

fn selector(group: &Group, index: usize) -> Checked {
    let (Some(by), can) = (group.by, selectors(group.behaviour, group.family)) else {
        return Ok(());
    };
    if can.contains(&by) {
        return Ok(());
    }
    let known: Vec<String> = can.iter().map(name_of).collect();
    broken(
        place!["group", index, "by"],
        format!(
            "a group of family {} that does \"{}\" can ask by {}, found {}",
            u8::from(group.family),
            name_of(group.behaviour),
            known.join(", "),
            name_of(by),
        ),
    )
}
