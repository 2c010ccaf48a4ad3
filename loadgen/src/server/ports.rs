//! Ports for a server of our own: the same number for TCP and UDP, which asking the kernel for any port does not give.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::ops::Range;

/// Where ports are looked for. Those that the kernel gives to outgoing connections are left out: one of ours could take
/// the port before the server does.
const CANDIDATES: Range<u16> = 10_000..60_000;
/// How many are tried.
const ATTEMPTS: u64 = 1_000;

/// A port of an address that nobody has, neither for TCP nor for UDP.
pub(super) fn free(address: IpAddr) -> io::Result<u16> {
    let outgoing = outgoing(&fs::read_to_string(
        "/proc/sys/net/ipv4/ip_local_port_range",
    )?);
    let hasher = RandomState::new();
    let candidates = (0..ATTEMPTS).map(|attempt| {
        let span = u64::from(CANDIDATES.end - CANDIDATES.start);
        CANDIDATES.start + (hasher.hash_one(attempt) % span) as u16
    });
    candidates
        .filter(|port| !outgoing.contains(port))
        .find(|port| is_free(address, *port))
        .ok_or_else(|| io::Error::other(format!("no port of {address} is free")))
}

fn is_free(address: IpAddr, port: u16) -> bool {
    TcpListener::bind((address, port)).is_ok() && UdpSocket::bind((address, port)).is_ok()
}

fn outgoing(text: &str) -> Range<u16> {
    let mut bounds = text.split_ascii_whitespace().map(str::parse);
    match (bounds.next(), bounds.next()) {
        // A system that uses nearly all of them leaves no choice.
        (Some(Ok(first)), Some(Ok(last))) if first > CANDIDATES.start + 1_000 => first..last,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_port_is_free_for_both_and_not_one_of_outgoing_connections() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let port = free(address).unwrap();
        assert!(CANDIDATES.contains(&port));
        let _udp = UdpSocket::bind((address, port)).unwrap();
        assert!(!is_free(address, port));
        assert_eq!(outgoing("32768\t60999\n"), 32_768..60_999);
        assert_eq!(outgoing("1024 65535"), 0..0);
    }
}
