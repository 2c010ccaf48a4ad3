//! The line that says that the server is ready, and where it listens.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;

use leaseq_engine::Listeners;
use leaseq_feed::socket::Address;

/// What is written for a kind that nothing listens for.
const NONE: &str = "-";

/// The line, without its line end. Several addresses of a kind are separated by commas.
pub fn line(
    listeners: &Listeners,
    admin: Option<SocketAddr>,
    feeds: &[Address],
    bindings: u64,
    recovered_ms: u128,
) -> String {
    let mut line = "leaseq ready".to_owned();
    let kinds = [
        ("dhcp4-tcp", &listeners.dhcp4_tcp),
        ("dhcp4-udp", &listeners.dhcp4_udp),
        ("dhcp6-tcp", &listeners.dhcp6_tcp),
        ("dhcp6-udp", &listeners.dhcp6_udp),
    ];
    for (kind, addresses) in kinds {
        let _ = write!(line, " {kind}={}", list(addresses));
    }
    let _ = write!(line, " admin={}", list(admin.as_slice()));
    if !feeds.is_empty() {
        let _ = write!(line, " feed={}", list(feeds));
    }
    let _ = write!(line, " bindings={bindings} recovered_ms={recovered_ms}");
    line
}

fn list<T: Display>(addresses: &[T]) -> String {
    if addresses.is_empty() {
        return NONE.to_owned();
    }
    addresses
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_each_kind() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let listeners = Listeners {
            dhcp4_tcp: vec![address("127.0.0.1:6767"), address("192.0.2.1:67")],
            dhcp4_udp: vec![],
            dhcp6_tcp: vec![address("[::1]:5547")],
            dhcp6_udp: vec![address("[::1]:5547")],
        };
        let told = line(
            &listeners,
            Some(address("127.0.0.1:8067")),
            &[],
            1_000_000,
            412,
        );
        assert_eq!(
            told,
            "leaseq ready dhcp4-tcp=127.0.0.1:6767,192.0.2.1:67 dhcp4-udp=- dhcp6-tcp=[::1]:5547 dhcp6-udp=[::1]:5547 \
             admin=127.0.0.1:8067 bindings=1000000 recovered_ms=412"
        );
        let feed = "unix:/run/feed.sock".parse().unwrap();
        let told = line(&Listeners::default(), None, &[feed], 0, 0);
        assert!(
            told.ends_with(" admin=- feed=unix:/run/feed.sock bindings=0 recovered_ms=0"),
            "{told}"
        );
    }
}
