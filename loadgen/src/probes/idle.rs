//! Bulk connections that say too little: they must be closed after the data timeout.

use std::time::Instant;

use leaseq_requestor::client::random;

use super::probe::{Probe, ProbeError};
use super::subject::Subject;
use super::window::Window;
use crate::result::Finding;

/// What a connection says before it falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    Nothing,
    /// Half a query.
    Half,
    /// A query, which has been answered.
    Query,
}

impl Said {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Half, Self::Query];

    /// What is tested.
    pub fn what(self, subject: &Subject<'_>) -> String {
        let said = match self {
            Self::Nothing => "without a query",
            Self::Half => "with half a query",
            Self::Query => "after an answered query",
        };
        format!("bulk-idle {}, {said}", subject.name())
    }
}

/// Says so much and waits to be closed.
///
/// # Errors
/// If it does not come to waiting.
pub(super) fn wait(
    subject: &Subject<'_>,
    window: &Window,
    said: Said,
) -> Result<Finding, ProbeError> {
    let mut probe = Probe::open(subject, subject.another())?;
    let query = subject.small(0);
    match said {
        Said::Nothing => {}
        Said::Half => {
            let request = query.bulk_request(query.xid(random() as u32))?;
            probe.send(&request[..request.len() / 2])?;
        }
        Said::Query => {
            probe.recover(&query)?;
        }
    }
    let begun = Instant::now();
    let end = probe.wait_for_end(begun + window.give_up)?;
    let end = end.map(|(ending, at)| (ending.to_string(), at.saturating_duration_since(begun)));
    let after = end.as_ref().map(|(how, after)| (how.as_str(), *after));
    Ok(window.judge(said.what(subject), "closed", after))
}
