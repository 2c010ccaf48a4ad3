//! Where a mirror has come to, as the store keeps it.

use leaseq_wire::time::{Seconds2000, UnixSeconds};
use serde::{Deserialize, Serialize};

/// The earliest time that either family can ask from: nobody who asks from it has been told anything before.
pub(super) fn beginning() -> UnixSeconds {
    Seconds2000(0).into()
}

/// Up to where a server has told everything. JSON in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The server, as it is configured: a position at another one means nothing.
    server: String,
    base_time: u32,
}

impl Position {
    pub(super) fn new(server: &str, base_time: UnixSeconds) -> Self {
        Self {
            server: server.to_owned(),
            base_time: base_time.0,
        }
    }

    /// The base-time in what the store keeps, if it is this server's.
    pub(super) fn read(kept: &[u8], server: &str) -> Option<UnixSeconds> {
        let position: Self = serde_json::from_slice(kept).ok()?;
        (position.server == server).then_some(UnixSeconds(position.base_time))
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_at_its_server_alone() {
        let time = UnixSeconds(1_790_000_000);
        let kept = Position::new("192.0.2.1", time).write();
        assert_eq!(Position::read(&kept, "192.0.2.1"), Some(time));
        assert_eq!(Position::read(&kept, "192.0.2.2"), None);
        for rubbish in [&b""[..], b"{}", b"17", b"{\"server\":\"192.0.2.1\"}"] {
            assert_eq!(Position::read(rubbish, "192.0.2.1"), None);
        }
    }
}
