//! What a follower's caller knows to be leased, and how stream and fill make one picture of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{Client6Leases, Lease4, Lease6, Vpn};

/// What a lease is known by: its VPN and address, in DHCPv6 its client too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// An IPv4 address.
    V4 {
        /// The VPN, unless it is the global one.
        vpn: Option<Vpn>,
        /// The address.
        address: Ipv4Addr,
    },
    /// An IPv6 address, or a delegated prefix.
    V6 {
        /// The VPN, unless it is the global one.
        vpn: Option<Vpn>,
        /// The client's DUID.
        duid: Option<Vec<u8>>,
        /// The address, or the prefix's.
        address: Ipv6Addr,
        /// Length of a delegated prefix; an address has none.
        prefix_len: Option<u8>,
    },
}

impl Key {
    /// That of an IPv4 address.
    #[must_use]
    pub fn v4(lease: &Lease4) -> Self {
        Self::V4 {
            vpn: lease.vpn.clone(),
            address: lease.address,
        }
    }

    /// That of a lease of a DHCPv6 client.
    #[must_use]
    pub fn v6(client: &Client6Leases, lease: &Lease6) -> Self {
        Self::V6 {
            vpn: client.vpn.clone(),
            duid: client.duid.clone(),
            address: lease.address,
            prefix_len: lease.prefix_len,
        }
    }
}

/// The leases that are known to live. While a [gap](super::Gap) is open it holds apart what the stream tells, which is
/// the newest there is, from what the fill tells, which may be older than it.
#[derive(Clone, Debug, Default)]
pub struct Known {
    leases: HashMap<Key, Told>,
    gap_is_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It lives; told when no gap was open.
    Before,
    /// Told by the stream since the gap opened: it lives, or has ended.
    ByStream { lives: bool },
    /// Told by the fill: likewise.
    ByFill { lives: bool },
}

impl Known {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leases that are known to live.
    #[must_use]
    pub fn len(&self) -> usize {
        let lives = |told: &&Told| {
            matches!(
                told,
                Told::Before | Told::ByStream { lives: true } | Told::ByFill { lives: true }
            )
        };
        self.leases.values().filter(lives).count()
    }

    /// None is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stream tells that a lease lives or has ended.
    pub fn stream(&mut self, key: Key, lives: bool) {
        match (self.gap_is_open, lives) {
            (true, lives) => {
                self.leases.insert(key, Told::ByStream { lives });
            }
            (false, true) => {
                self.leases.insert(key, Told::Before);
            }
            (false, false) => {
                self.leases.remove(&key);
            }
        }
    }

    /// A gap is open.
    pub fn gap(&mut self) {
        self.end_gap();
        self.gap_is_open = true;
    }

    /// The fill tells that a lease lives or has ended. `false`: the stream has told something newer of it, and this is to
    /// be dropped.
    pub fn fill(&mut self, key: Key, lives: bool) -> bool {
        match self.leases.get(&key) {
            Some(Told::ByStream { .. }) => false,
            _ => {
                self.leases.insert(key, Told::ByFill { lives });
                true
            }
        }
    }

    /// The gap is filled. Of a fill by [`Filling::Sweep`](super::Filling::Sweep): gives the leases that have ended in it, for
    /// neither stream nor fill told of them.
    pub fn filled(&mut self, sweep: bool) -> Vec<Key> {
        let is_swept =
            |(key, told): (&Key, &Told)| (sweep && *told == Told::Before).then(|| key.clone());
        let ended: Vec<_> = self.leases.iter().filter_map(is_swept).collect();
        for key in &ended {
            self.leases.remove(key);
        }
        self.end_gap();
        ended
    }

    fn end_gap(&mut self) {
        self.gap_is_open = false;
        self.leases.retain(|_, told| {
            let ended = matches!(
                told,
                Told::ByStream { lives: false } | Told::ByFill { lives: false }
            );
            *told = Told::Before;
            !ended
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> Key {
        Key::V4 {
            vpn: None,
            address: Ipv4Addr::new(198, 51, 100, last),
        }
    }

    #[test]
    fn what_neither_stream_nor_fill_tells_is_swept() {
        let mut known = Known::new();
        for last in 1..=5 {
            known.stream(key(last), true);
        }
        known.stream(key(5), false);
        known.gap();
        known.stream(key(1), true);
        known.stream(key(2), false);
        assert!(known.fill(key(3), true));
        assert_eq!(known.filled(true), [key(4)]);
        assert_eq!(known.len(), 2);
        // Nothing of it is left for the next gap.
        known.gap();
        assert_eq!(known.filled(true).len(), 2);
        assert!(known.is_empty());
    }

    #[test]
    fn the_stream_s_word_stands_against_the_fill_s() {
        let mut known = Known::new();
        known.gap();
        known.stream(key(1), false);
        assert!(!known.fill(key(1), true));
        assert!(known.fill(key(2), true));
        known.stream(key(2), false);
        assert!(known.fill(key(3), false));
        assert_eq!(known.filled(true), []);
        assert!(known.is_empty());
    }

    #[test]
    fn a_fill_of_a_window_sweeps_nothing() {
        let mut known = Known::new();
        known.stream(key(1), true);
        known.stream(key(2), true);
        known.gap();
        assert!(known.fill(key(2), false));
        assert_eq!((known.filled(false), known.len()), (vec![], 1));
    }

    #[test]
    fn a_gap_that_opens_again_forgets_the_first_fill() {
        let mut known = Known::new();
        known.gap();
        assert!(known.fill(key(1), true));
        known.gap();
        assert_eq!(known.filled(true), [key(1)]);
    }
}
