//! Which row of each lease is its last one, over all files of a Kea.
//!
//! A load reads the files twice: first to find the last row of each lease, then to hand over just these. So a lease that was
//! given out, given back and given out again while nobody looked does not flicker in the store, and what is not here at the end
//! is gone. Some 9 octets an IPv4 lease and 25 an IPv6 lease, twice that while a table grows.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use leaseq_store::{Bind4, Bind6, Event};

/// The last row of each lease, by the number of its line over all files.
#[derive(Debug, Default)]
pub(super) struct LastRows {
    v4: HashMap<[u8; 4], u32>,
    v6: HashMap<([u8; 16], u8), u32>,
    /// Addresses of rows that could not be taken: whether they have a lease is not known.
    doubtful: HashSet<IpAddr>,
}

impl LastRows {
    /// The row of this number is of this lease. Numbers may wrap: then a row too many is handed over, before the last one.
    pub(super) fn note(&mut self, event: &Event, number: u32) {
        match event {
            Event::V4(event) => self.v4.insert(event.address.octets(), number),
            Event::V6(event) => self
                .v6
                .insert((event.address.octets(), event.prefix_len), number),
            Event::Feed(_) => None,
        };
    }

    /// A row of this address could not be taken.
    pub(super) fn doubt(&mut self, address: IpAddr) {
        self.doubtful.insert(address);
    }

    /// Whether the row of this number is the last one of its lease.
    pub(super) fn is_last(&self, event: &Event, number: u32) -> bool {
        let last = match event {
            Event::V4(event) => self.v4.get(&event.address.octets()),
            Event::V6(event) => self.v6.get(&(event.address.octets(), event.prefix_len)),
            Event::Feed(_) => None,
        };
        last == Some(&number)
    }

    /// Whether no row is of this lease.
    pub(super) fn lacks4(&self, lease: &Bind4<'_>) -> bool {
        let address = lease.address();
        !self.v4.contains_key(&address.octets()) && !self.doubtful.contains(&address.into())
    }

    /// Whether no row is of this lease.
    pub(super) fn lacks6(&self, lease: &Bind6<'_>) -> bool {
        let address = lease.address();
        let key = (address.octets(), lease.prefix_len());
        !self.v6.contains_key(&key) && !self.doubtful.contains(&address.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use leaseq_store::{Event4, Event6, State};

    use super::*;

    #[test]
    fn the_last_row_of_each_key_counts() {
        let v4 = Event::V4(Event4::new(Ipv4Addr::LOCALHOST, State::Active));
        let address = Event::V6(Event6::new(Ipv6Addr::LOCALHOST, State::Active));
        let mut prefix = Event6::new(Ipv6Addr::LOCALHOST, State::Active);
        prefix.prefix_len = 127;
        let prefix = Event::V6(prefix);
        let mut rows = LastRows::default();
        for (number, event) in [&v4, &address, &prefix, &v4].into_iter().enumerate() {
            rows.note(event, number as u32);
        }
        assert!(!rows.is_last(&v4, 0) && rows.is_last(&v4, 3));
        assert!(rows.is_last(&address, 1) && rows.is_last(&prefix, 2));
    }
}
