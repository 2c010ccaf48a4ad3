//! What a connection is doing, for those who watch the server.

use super::Connection;
use super::secure::Channel;
use crate::Mono;
use crate::active::StreamPlace;

/// What a connection is doing now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Queries that were taken up since it was accepted.
    pub asked: u64,
    /// Queries that are being answered.
    pub running: u32,
    /// Whether it is on TLS, or about to be.
    pub is_tls: bool,
    /// Since when the requestor has acknowledged nothing although octets are outstanding. Looked at a few times in the time
    /// that it may be so; none: at the last look there was progress.
    pub stalled_since: Option<Mono>,
    /// How far its stream has come, if it is an active one.
    pub stream: Option<StreamPlace>,
}

impl Connection {
    /// What it is doing.
    pub fn activity(&self) -> Activity {
        Activity {
            asked: self.asked,
            running: u32::try_from(self.queries.len()).unwrap_or(u32::MAX),
            is_tls: self.channel == Channel::Secured,
            stalled_since: self.outgoing.stalled_since(),
            stream: self.queries.iter().find_map(|query| query.place()),
        }
    }
}
