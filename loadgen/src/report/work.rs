//! Kinds of work: a model is fitted to points whose server had the same to do, only more or less of it.
//!
//! A storm with nothing beside it and relays that recover while others follow and ask have different costs a connection; one
//! curve through both says nothing of either.

use serde::Serialize;

use super::number::count;
use super::observe::Observation;
use crate::result::Point;
use crate::scenario::{Behaviour, By, CatchUp, FamilyNumber, Group, Rounds, Span};

/// What a point's server had to do, but for how many relays and bindings there were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    tasks: Vec<Task>,
    changes: f64,
    udp: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Task {
    behaviour: Behaviour,
    family: FamilyNumber,
    by: Option<By>,
    is_tls: bool,
    /// Its relays all begin at once, each once.
    is_storm: bool,
    window: Span,
    pause: Span,
    catch_up: CatchUp,
    queries: Option<u32>,
}

impl Work {
    /// Of a point with these groups, each with whether all its relays begin at once.
    #[must_use]
    pub fn of<'a>(point: &Point, groups: impl Iterator<Item = (&'a Group, bool)>) -> Self {
        Self {
            tasks: groups.map(|(group, all)| Task::of(group, all)).collect(),
            changes: point.changes_per_second,
            udp: point.udp_per_second,
        }
    }

    /// In words: `recover (DHCPv4, relay-id), 50 changes/s`.
    #[must_use]
    pub fn words(&self) -> String {
        let tasks: Vec<String> = self.tasks.iter().map(Task::words).collect();
        format!("{}{}", tasks.join(", "), self.rates())
    }

    /// What went on at a rate, as the end of a text: `, 50 changes/s, 200 UDP queries/s`.
    #[must_use]
    pub fn rates(&self) -> String {
        let rates = [(self.changes, "changes/s"), (self.udp, "UDP queries/s")];
        rates
            .into_iter()
            .filter(|(rate, _)| *rate > 0.0)
            .map(|(rate, of)| format!(", {} {of}", count(rate)))
            .collect()
    }
}

impl Task {
    fn of(group: &Group, all_at_once: bool) -> Self {
        Self {
            behaviour: group.behaviour,
            family: group.family,
            by: group.by,
            is_tls: group.tls,
            is_storm: all_at_once && group.rounds == Rounds::Times(1),
            window: group.window,
            pause: group.pause,
            catch_up: group.catch_up,
            queries: group.queries,
        }
    }

    fn words(&self) -> String {
        let mut text = format!("{} (DHCPv{}", name(self.behaviour), u8::from(self.family));
        if let Some(by) = self.by {
            text.push_str(&format!(", {}", name(by)));
        }
        text.push_str(if self.is_tls { ", TLS)" } else { ")" });
        text
    }
}

/// A name as scenarios have it.
fn name(what: impl Serialize) -> String {
    match toml::Value::try_from(what) {
        Ok(toml::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The largest set of points that can be compared, by `size`; of sets of one size, the one that comes first.
#[must_use]
pub fn most_alike<'a, 'b, S: Ord>(
    all: &[&'a Observation<'b>],
    is_alike: impl Fn(&Observation<'_>, &Observation<'_>) -> bool,
    size: impl Fn(&[&'a Observation<'b>]) -> S,
) -> Vec<&'a Observation<'b>> {
    let mut best = (None, Vec::new());
    for one in all {
        let alike: Vec<_> = all
            .iter()
            .copied()
            .filter(|other| one.work == other.work && is_alike(one, other))
            .collect();
        let size = Some(size(&alike));
        if size > best.0 {
            best = (size, alike);
        }
    }
    best.1
}
