//! How far a feed of lease files has come, as the store keeps it.

use std::path::Path;

use leaseq_store::Event;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::follow::{Position, Tail};
use crate::kea::cleanup::{name_in_kea, with_suffix};

/// A place in a live file, or in one that has become the input of a clean-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The place.
    pub(super) at: Position,
    /// Whether rows had relay data.
    pub(super) relays: Relays,
}

/// Whether Kea tells of relays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Relays {
    /// No lease was read yet.
    #[default]
    Unknown,
    /// No lease had relay data.
    Never,
    /// A lease had it.
    Told,
}

impl Relays {
    /// Takes note of a row.
    pub(super) fn see(&mut self, event: &Event) {
        let (is_lease, has_relay) = match event {
            Event::V4(event) => (event.lease_time.is_some(), event.relay_agent_info.is_some()),
            Event::V6(event) => (event.valid_lifetime.is_some(), event.relay.is_some()),
            Event::Feed(_) => return,
        };
        match self {
            _ if has_relay => *self = Relays::Told,
            Relays::Unknown if is_lease => *self = Relays::Never,
            _ => {}
        }
    }
}

impl Place {
    /// As the store keeps it.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The place that the store kept; none if there was none, or another version wrote it.
    pub(super) fn decode(octets: &[u8]) -> Option<Place> {
        serde_json::from_slice(octets).ok()
    }

    /// The file of the place, wherever a clean-up has brought it, if it is still there.
    ///
    /// Kea renames the live file to `.1` when it begins a clean-up, and not before the last `.1` is gone; the clean-up reads it
    /// and removes it. So it is the one or the other, or its rows are in the clean-up's result.
    pub(super) fn find(&self, live: &Path) -> Result<Option<Tail>, Fault> {
        // The live file again at the end: it may have been renamed between the first two looks.
        let input = with_suffix(&name_in_kea(live), ".1");
        for path in [live, &input, live] {
            if let Some(tail) = Tail::resume(path, &self.at)? {
                return Ok(Some(tail));
            }
        }
        Ok(None)
    }
}
