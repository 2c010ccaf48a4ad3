//! The line by which leaseq tells that it serves, and where.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What the line begins with.
const BEGIN: &str = "leaseq ready ";

/// What the line tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ready {
    pub tcp4: Option<SocketAddr>,
    pub udp4: Option<SocketAddr>,
    pub tcp6: Option<SocketAddr>,
    pub udp6: Option<SocketAddr>,
    /// The first feed on a UNIX socket.
    pub feed: Option<PathBuf>,
    /// Bindings in the store, of all states.
    pub bindings: Option<u64>,
}

impl Ready {
    /// `None`: another line. Of several addresses the first one is taken; unknown fields are passed over.
    pub fn read(line: &str) -> Option<Self> {
        let mut ready = Self::default();
        for field in line.strip_prefix(BEGIN)?.split_ascii_whitespace() {
            let (key, value) = field.split_once('=')?;
            let address = || value.split(',').find_map(|address| address.parse().ok());
            match key {
                "dhcp4-tcp" => ready.tcp4 = address(),
                "dhcp4-udp" => ready.udp4 = address(),
                "dhcp6-tcp" => ready.tcp6 = address(),
                "dhcp6-udp" => ready.udp6 = address(),
                "feed" => {
                    let paths = value
                        .split(',')
                        .filter_map(|feed| feed.strip_prefix("unix:"));
                    ready.feed = paths.map(PathBuf::from).next();
                }
                "bindings" => ready.bindings = value.parse().ok(),
                _ => {}
            }
        }
        Some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read() {
        let line = "leaseq ready dhcp4-tcp=127.0.0.1:6767,192.0.2.1:67 dhcp4-udp=- dhcp6-tcp=[::1]:5547 dhcp6-udp=[::1]:5547 \
                    admin=127.0.0.1:8067 feed=127.0.0.1:9,unix:/run/feed.sock bindings=1000000 recovered_ms=412\n";
        let expected = Ready {
            tcp4: "127.0.0.1:6767".parse().ok(),
            udp4: None,
            tcp6: "[::1]:5547".parse().ok(),
            udp6: "[::1]:5547".parse().ok(),
            feed: Some("/run/feed.sock".into()),
            bindings: Some(1_000_000),
        };
        assert_eq!(Ready::read(line), Some(expected));
        assert_eq!(Ready::read("something else"), None);
        assert_eq!(Ready::read("leaseq ready rubbish"), None);
    }
}
