//! The kind `limits`: how many connections there may be, and how many queries on one.

use std::sync::atomic::AtomicBool;

use super::connections::Maximum;
use super::probe::ProbeError;
use super::subject::Subject;
use super::{Outcome, Servers, not_tested, queries};
use crate::result::Finding;
use crate::scenario::{Limits, Scenario};

/// Finds the limits that the scenario expects, of each family that has a server, and compares. Nobody else may use the
/// server meanwhile: connections of others take room. `stop` ends it early; what was found until then is told.
#[must_use]
pub fn limits(scenario: &Scenario, servers: &Servers, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    for subject in Subject::of(scenario, servers, stop) {
        let tests = [of_all, of_one_requestor, of_queries];
        for test in tests {
            match test(&subject, &scenario.limits) {
                Ok(findings) => outcome.find("limits", findings),
                // Interrupted: anything else that goes wrong is a finding.
                Err(_) => return outcome,
            }
        }
    }
    outcome
}

/// Connections of a family.
fn of_all(subject: &Subject<'_>, limits: &Limits) -> Result<Vec<Finding>, ProbeError> {
    let Some(expected) = limits.max_connections else {
        return Ok(Vec::new());
    };
    let each = limits
        .max_connections_per_requestor
        .filter(|each| *each > 0);
    let each = each.unwrap_or(u32::MAX);
    let sources = subject.sources;
    let maximum = Maximum {
        subject,
        what: format!("max-connections {}", subject.name()),
        expected,
        refused_within: limits.refused_within.get(),
        source: &|number| sources.address(number / each),
    };
    if expected / each >= sources.count() {
        let why = format!(
            "one requestor may have {each}, and only {} of our addresses {} known",
            sources.count(),
            if sources.count() == 1 { "is" } else { "are" },
        );
        return Ok(vec![maximum.not_tested(&why)]);
    }
    maximum.find(&mut |_| Ok(Vec::new()))
}

/// Connections of one requestor.
fn of_one_requestor(subject: &Subject<'_>, limits: &Limits) -> Result<Vec<Finding>, ProbeError> {
    let Some(expected) = limits.max_connections_per_requestor else {
        return Ok(Vec::new());
    };
    let sources = subject.sources;
    let maximum = Maximum {
        subject,
        what: format!("max-connections-per-requestor {}", subject.name()),
        expected,
        refused_within: limits.refused_within.get(),
        source: &|_| sources.address(0),
    };
    let room = limits.max_connections.unwrap_or(u32::MAX);
    if room <= expected {
        let why = format!("max-connections, {room}, comes first");
        return Ok(vec![maximum.not_tested(&why)]);
    }
    maximum.find(&mut |maximum| {
        let what = format!("{}, another requestor", maximum.what);
        let expected = "served beside them".to_owned();
        if sources.count() < 2 {
            let why = "only one of our addresses is known: a group of the family can name a network as its source";
            return Ok(vec![not_tested(what, expected, why)]);
        }
        let other = maximum.serve(sources.address(1));
        let (found, holds) = match other {
            Ok(probe) => {
                probe.close();
                ("served beside them".to_owned(), true)
            }
            Err(ProbeError::Stopped) => return Err(ProbeError::Stopped),
            Err(error) => (error.to_string(), false),
        };
        Ok(vec![Finding {
            what,
            expected,
            found,
            holds,
        }])
    })
}

/// Queries that run at a time on a connection.
fn of_queries(subject: &Subject<'_>, limits: &Limits) -> Result<Vec<Finding>, ProbeError> {
    let Some(expected) = limits.max_queries_per_connection else {
        return Ok(Vec::new());
    };
    Ok(vec![queries::at_a_time(subject, expected)?])
}
