//! Connections summed up: by what they are used for, how far streams are behind, who is blocked.

use std::cmp::Reverse;
use std::time::Duration;

use leaseq_engine::{ConnectionInfo, ConnectionKind};
use leaseq_session::Family;

/// Less than this is no lag, and no blocking: a requestor that keeps up has so much of it.
pub const NOTICEABLE: Duration = Duration::from_secs(1);

/// What connections are used for, with the word for it.
pub const KINDS: [(ConnectionKind, &str); 3] = [
    (ConnectionKind::Idle, "idle"),
    (ConnectionKind::Bulk, "bulk"),
    (ConnectionKind::Active, "active"),
];

/// The connections of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// In the order of [`KINDS`], first without TLS, then on it.
    pub kinds: [[u64; 2]; 3],
    /// Streams that tell what changed since the time that was asked for.
    pub catching_up: u64,
    /// Other streams that are behind for [`NOTICEABLE`] or longer.
    pub lagging: u64,
    /// Age of the oldest state that such a stream tells.
    pub most_behind: Duration,
    /// The most records that such a stream has not looked at.
    pub most_behind_records: u64,
    /// Requestors that have taken nothing for [`NOTICEABLE`] or longer.
    pub blocked: u64,
    /// The longest of it.
    pub longest_blocked: Duration,
}

impl Overview {
    /// The connections of each family: DHCPv4, DHCPv6.
    pub fn of(connections: &[ConnectionInfo]) -> [Overview; 2] {
        let mut overviews: [Overview; 2] = Default::default();
        for connection in connections {
            overviews[connection.family as usize].add(connection);
        }
        overviews
    }

    /// Connections of one kind, on TLS or not.
    pub fn of_kind(&self, kind: ConnectionKind) -> u64 {
        let at = KINDS.iter().position(|(other, _)| *other == kind);
        at.map_or(0, |at| self.kinds[at].iter().sum())
    }

    fn add(&mut self, connection: &ConnectionInfo) {
        let kind = connection.kind();
        if let Some(at) = KINDS.iter().position(|(other, _)| *other == kind) {
            self.kinds[at][usize::from(connection.is_tls)] += 1;
        }
        if let Some(stream) = connection.stream {
            if stream.catching_up {
                self.catching_up += 1;
            } else {
                self.most_behind = self.most_behind.max(stream.behind);
                self.most_behind_records = self.most_behind_records.max(stream.behind_records);
                self.lagging += u64::from(stream.behind >= NOTICEABLE);
            }
        }
        if let Some(blocked) = blocked(connection) {
            self.blocked += 1;
            self.longest_blocked = self.longest_blocked.max(blocked);
        }
    }
}

/// For how long a requestor has taken nothing, if that is to be noticed.
pub fn blocked(connection: &ConnectionInfo) -> Option<Duration> {
    connection.blocked.filter(|blocked| *blocked >= NOTICEABLE)
}

/// The connections that need attention most, in this order: blocked the longest, furthest behind, at work, and then the
/// longest there; at most so many.
pub fn most_notable(mut connections: Vec<ConnectionInfo>, most: usize) -> Vec<ConnectionInfo> {
    let rank = |connection: &ConnectionInfo| {
        let behind = connection
            .stream
            .map_or(Duration::ZERO, |stream| stream.behind);
        let busy = connection.kind() == ConnectionKind::Bulk;
        Reverse((blocked(connection), behind, busy))
    };
    connections.sort_unstable_by_key(|connection| (rank(connection), connection.id));
    connections.truncate(most);
    connections
}

/// The word for a family, as a number.
pub fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use leaseq_engine::{ConnectionState, StreamInfo};

    use super::*;

    fn connection(id: u64, running: u32) -> ConnectionInfo {
        ConnectionInfo {
            id,
            peer: "192.0.2.1:999".parse().unwrap(),
            family: Family::V4,
            core: 0,
            state: ConnectionState::Idle,
            is_stream: false,
            is_tls: false,
            queries_running: running,
            queries_asked: 1,
            stream: None,
            blocked: None,
            sent_octets: 0,
            received_octets: 0,
            since: SystemTime::UNIX_EPOCH,
        }
    }

    fn stream(id: u64, behind_s: u64, catching_up: bool) -> ConnectionInfo {
        ConnectionInfo {
            is_stream: true,
            is_tls: true,
            stream: Some(StreamInfo {
                catching_up,
                behind_records: 10 * behind_s,
                behind: Duration::from_secs(behind_s),
            }),
            ..connection(id, 1)
        }
    }

    fn some() -> Vec<ConnectionInfo> {
        let mut blocked = connection(4, 2);
        blocked.blocked = Some(Duration::from_secs(7));
        let mut busy = connection(5, 1);
        busy.blocked = Some(Duration::from_millis(20));
        let mut sixth = stream(6, 0, false);
        sixth.family = Family::V6;
        vec![
            connection(1, 0),
            stream(2, 3, false),
            stream(3, 86_400, true),
            blocked,
            busy,
            sixth,
        ]
    }

    #[test]
    fn they_are_summed_up_by_family_kind_and_trouble() {
        let [v4, v6] = Overview::of(&some());
        let told = Overview {
            kinds: [[1, 0], [2, 0], [0, 2]],
            catching_up: 1,
            lagging: 1,
            most_behind: Duration::from_secs(3),
            most_behind_records: 30,
            blocked: 1,
            longest_blocked: Duration::from_secs(7),
        };
        assert_eq!(v4, told);
        assert_eq!(v4.of_kind(ConnectionKind::Active), 2);
        assert_eq!((v6.kinds, v6.lagging), ([[0, 0], [0, 0], [0, 1]], 0));
    }

    #[test]
    fn those_in_trouble_come_first() {
        let ids = |most| {
            let listed = most_notable(some(), most);
            listed.iter().map(|info| info.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(10), [4, 3, 2, 5, 1, 6]);
        assert_eq!(ids(2), [4, 3]);
    }
}
