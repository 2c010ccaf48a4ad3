//! Whether the servers that send to a feed have the leases that its control channel tells.
//!
//! Servers that share their leases may share a feed. Of others that do, the leases are ended by each pull, because the server
//! that is asked does not have them. What was sent since the last pull shows it: it is noted of a few leases who sent them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

/// Leases of which is noted who sent them, from one pull to the next.
const NOTED: usize = 1_024;
/// An administrator may end a few leases with a command, of which Kea tells nothing. More than that are remarkable.
const FEW: usize = 8;
/// Of so many leases of a server one that is not there is remarkable.
const ONE_IN: usize = 4;

/// Who sent leases since the last pull.
#[derive(Default)]
pub(super) struct Origins {
    of_lease: HashMap<u64, Origin>,
}

struct Origin {
    from: IpAddr,
    is_gone: bool,
}

/// A server whose leases are not those of the one that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    from: IpAddr,
    gone: usize,
    sent: usize,
}

impl Origins {
    /// A server sent this lease.
    pub(super) fn note(&mut self, lease: u64, from: IpAddr) {
        if self.of_lease.len() < NOTED || self.of_lease.contains_key(&lease) {
            let is_gone = false;
            self.of_lease.insert(lease, Origin { from, is_gone });
        }
    }

    /// The server that is asked does not have this lease.
    pub(super) fn is_gone(&mut self, lease: u64) {
        if let Some(origin) = self.of_lease.get_mut(&lease) {
            origin.is_gone = true;
        }
    }

    /// A pull has ended: whose leases the server that was asked does not have. Another time begins.
    pub(super) fn end(&mut self) -> Option<Foreign> {
        let mut of_server: BTreeMap<IpAddr, (usize, usize)> = BTreeMap::new();
        for Origin { from, is_gone } in std::mem::take(&mut self.of_lease).into_values() {
            let (gone, sent) = of_server.entry(from).or_default();
            *gone += usize::from(is_gone);
            *sent += 1;
        }
        let (from, (gone, sent)) = of_server
            .into_iter()
            .max_by_key(|(_, (gone, _))| *gone)
            .filter(|(_, (gone, sent))| *gone > FEW && gone * ONE_IN >= *sent)?;
        Some(Foreign { from, gone, sent })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign { from, gone, sent } = self;
        write!(
            out,
            "{gone} of {sent} leases that {from} had sent were not among those of the server that is asked, and were ended"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_server_of_whose_leases_many_are_gone_is_foreign() {
        let mut origins = Origins::default();
        (0..100).for_each(|lease| origins.note(lease, ONE));
        (100..140).for_each(|lease| origins.note(lease, OTHER));
        (0..20).for_each(|lease| origins.is_gone(lease));
        assert_eq!(origins.end(), None, "one in five is not remarkable");
        (0..100).for_each(|lease| origins.note(lease, ONE));
        (100..140).for_each(|lease| origins.note(lease, OTHER));
        (100..140).for_each(|lease| origins.is_gone(lease));
        let told = origins.end().unwrap().to_string();
        assert_eq!(
            told,
            "40 of 40 leases that 192.0.2.2 had sent were not among those of the server that is asked, and were ended"
        );
        assert_eq!(origins.end(), None, "nothing was sent since");
    }

    #[test]
    fn few_leases_prove_nothing_and_many_take_no_room() {
        let mut origins = Origins::default();
        for lease in 0..8 {
            origins.note(lease, ONE);
            origins.is_gone(lease);
        }
        assert_eq!(origins.end(), None);
        (0..10_000).for_each(|lease| origins.note(lease, ONE));
        assert_eq!(origins.of_lease.len(), NOTED);
    }
}
