//! One picture of what several servers tell (RFC 6926 §7.6).
//!
//! Servers that share addresses may each tell of the same one. Which of two records is better is decided by when the client
//! was last heard of, or else by since when the state lasts, and at last by which server has it first-hand. Absolute times of
//! different servers are comparable only in one clock: each record comes with the skew of its server's clock.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use leaseq_wire::time::UnixSeconds;

use crate::follow::Key;
use crate::{Client6Leases, Lease4, Lease6};

/// How far a server's clock is ahead of ours, in seconds; negative: behind (RFC 6926 §7.4). With clocks that are kept in
/// step it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockSkew(pub i64);

impl ClockSkew {
    /// That of a server whose message with this base-time was received at this time of our clock.
    #[must_use]
    pub fn of(base_time: UnixSeconds, received: UnixSeconds) -> Self {
        Self(i64::from(base_time.0) - i64::from(received.0))
    }

    fn ours(self, time: UnixSeconds) -> i64 {
        i64::from(time.0) - self.0
    }
}

/// A record with the times that decide, in our clock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dated<T> {
    record: T,
    last_transaction: Option<i64>,
    state_since: Option<i64>,
    /// The server has it from another one.
    is_remote: bool,
    /// When it was true.
    as_of: i64,
}

impl<T> Dated<T> {
    /// Whether it is better than what is known. The section leaves open what is undecided at the end; then the
    /// one that was true later is, and of two that are equal in that too the new one.
    fn is_better_than(&self, known: &Self) -> bool {
        // A record without its own time of the last transaction is compared by since when its state lasts.
        let (ours, theirs) = match (self.last_transaction, known.last_transaction) {
            (None, None) => (self.state_since, known.state_since),
            (Some(ours), Some(theirs)) => (Some(ours), Some(theirs)),
            (Some(ours), None) => (Some(ours), known.state_since),
            (None, Some(theirs)) => (self.state_since, Some(theirs)),
        };
        if let (Some(ours), Some(theirs)) = (ours, theirs)
            && ours != theirs
        {
            return ours > theirs;
        }
        if self.is_remote != known.is_remote {
            return known.is_remote;
        }
        self.as_of >= known.as_of
    }
}

/// Records by key, of each the best there is.
#[derive(Clone, Debug)]
struct Best<T> {
    records: HashMap<Key, Dated<T>>,
}

impl<T> Default for Best<T> {
    fn default() -> Self {
        Self {
            records: HashMap::new(),
        }
    }
}

impl<T> Best<T> {
    fn take(&mut self, key: Key, new: Dated<T>) -> bool {
        match self.records.entry(key) {
            Entry::Occupied(mut known) => {
                let is_better = new.is_better_than(known.get());
                if is_better {
                    known.insert(new);
                }
                is_better
            }
            Entry::Vacant(place) => {
                place.insert(new);
                true
            }
        }
    }
}

/// IPv4 addresses, each by the best that any server told of it. An address is known by its VPN too.
#[derive(Clone, Debug, Default)]
pub struct Merged4 {
    best: Best<Lease4>,
}

impl Merged4 {
    /// Nothing has been told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a server told. `false`: what is known is better.
    pub fn take(&mut self, lease: Lease4, skew: ClockSkew) -> bool {
        let ours = |time| skew.ours(time);
        let dated = Dated {
            last_transaction: lease.cltt().map(ours),
            state_since: lease.state_since().map(ours),
            is_remote: lease.remote,
            as_of: ours(lease.as_of),
            record: lease,
        };
        self.best.take(Key::v4(&dated.record), dated)
    }

    /// The best record of each address, in no order.
    pub fn leases(&self) -> impl Iterator<Item = &Lease4> {
        self.best.records.values().map(|dated| &dated.record)
    }
}

/// DHCPv6 leases, each by the best that any server told of it. The RFCs say nothing of DHCPv6 here; it tells neither states
/// nor where a binding came from, so CLT_TIME decides.
#[derive(Clone, Debug, Default)]
pub struct Merged6 {
    best: Best<Lease6>,
}

impl Merged6 {
    /// Nothing has been told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a server told of a client. Gives the leases of it that are better than what is known.
    pub fn take(&mut self, client: &Client6Leases, skew: ClockSkew) -> Vec<Lease6> {
        let ours = |time| skew.ours(time);
        let is_better = |lease: &&Lease6| {
            let dated = Dated {
                record: **lease,
                last_transaction: client.cltt().map(ours),
                state_since: None,
                is_remote: false,
                as_of: ours(client.as_of),
            };
            self.best.take(Key::v6(client, lease), dated)
        };
        client.leases.iter().filter(is_better).copied().collect()
    }

    /// The best record of each lease with its key, in no order.
    pub fn leases(&self) -> impl Iterator<Item = (&Key, &Lease6)> {
        let records = self.best.records.iter();
        records.map(|(key, dated)| (key, &dated.record))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use leaseq_wire::v4::DhcpState;

    use super::*;
    use crate::Vpn;

    const BASE: u32 = 1_790_000_000;

    /// A record as of [`BASE`] with these seconds since the last transaction and the start of the state.
    fn lease(last_transaction: Option<u32>, in_state: Option<u32>) -> Lease4 {
        Lease4 {
            address: Ipv4Addr::new(198, 51, 100, 7),
            state: DhcpState::Active,
            hwaddr: None,
            client_id: None,
            as_of: UnixSeconds(BASE),
            last_transaction,
            in_state,
            lease_time: None,
            renewal: None,
            rebinding: None,
            relay_agent_info: None,
            associated: Vec::new(),
            vpn: None,
            remote: false,
            options: Vec::new(),
        }
    }

    /// Whether the second is better than the first, told in this order.
    fn second_wins(first: &Lease4, second: &Lease4) -> bool {
        let mut merged = Merged4::new();
        assert!(merged.take(first.clone(), ClockSkew(0)));
        let wins = merged.take(second.clone(), ClockSkew(0));
        let kept = merged.leases().next().unwrap();
        assert_eq!(kept, if wins { second } else { first });
        wins
    }

    /// The better one wins, whichever comes first.
    fn assert_better(better: &Lease4, worse: &Lease4) {
        assert!(second_wins(worse, better), "{better:?}");
        assert!(!second_wins(better, worse), "{worse:?}");
    }

    #[test]
    fn the_later_last_transaction_is_better() {
        // Whatever the state's times and the data source say.
        let remote = Lease4 {
            remote: true,
            ..lease(Some(10), Some(500))
        };
        assert_better(&remote, &lease(Some(11), Some(5)));
    }

    #[test]
    fn a_last_transaction_is_compared_with_the_other_s_start_of_state() {
        assert_better(&lease(Some(10), Some(500)), &lease(None, Some(11)));
        assert_better(&lease(None, Some(10)), &lease(Some(11), Some(1)));
    }

    #[test]
    fn without_last_transactions_the_later_start_of_state_is_better() {
        assert_better(&lease(None, Some(10)), &lease(None, Some(11)));
    }

    #[test]
    fn what_is_undecided_goes_to_the_local_record() {
        let remote = |lease| Lease4 {
            remote: true,
            ..lease
        };
        let times = [
            (Some(10), Some(10)),
            (None, Some(10)),
            (Some(10), None),
            (None, None),
        ];
        for (last_transaction, in_state) in times {
            let local = lease(last_transaction, in_state);
            assert_better(&local, &remote(local.clone()));
        }
        // One has only the one time and the other only the other, and they are the same.
        assert_better(&lease(Some(10), None), &remote(lease(None, Some(10))));
        // Nothing to compare with.
        assert_better(&lease(None, None), &remote(lease(Some(10), None)));
    }

    #[test]
    fn what_is_undecided_at_the_end_goes_to_the_later_base_time() {
        // The times are the same in absolute terms.
        let later = Lease4 {
            as_of: UnixSeconds(BASE + 5),
            ..lease(Some(15), Some(25))
        };
        assert_better(&later, &lease(Some(10), Some(20)));
        assert!(
            second_wins(&later, &later),
            "the newcomer of two equal ones"
        );
    }

    #[test]
    fn times_are_compared_in_our_clock() {
        let mut merged = Merged4::new();
        // The first server's clock is an hour ahead: its transaction was 3,590 s before the second one's.
        let ahead = ClockSkew::of(UnixSeconds(BASE + 3600), UnixSeconds(BASE));
        assert_eq!(ahead, ClockSkew(3600));
        let first = Lease4 {
            as_of: UnixSeconds(BASE + 3600),
            ..lease(Some(20), None)
        };
        assert!(merged.take(first.clone(), ahead));
        assert!(merged.take(lease(Some(10), None), ClockSkew(0)));
        assert!(!merged.take(first, ahead));
    }

    #[test]
    fn vpns_keep_their_addresses_apart() {
        let mut merged = Merged4::new();
        let blue = Lease4 {
            vpn: Some(Vpn::parse("blue").unwrap()),
            ..lease(Some(10), None)
        };
        assert!(merged.take(lease(Some(5), None), ClockSkew(0)));
        assert!(merged.take(blue, ClockSkew(0)));
        assert_eq!(merged.leases().count(), 2);
    }

    #[test]
    fn v6_leases_go_by_the_client_s_last_transaction() {
        let client = |last_transaction, valids: [u32; 2]| Client6Leases {
            duid: Some(vec![1]),
            leases: (1..)
                .zip(valids)
                .map(|(last, valid)| Lease6 {
                    address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into(),
                    prefix_len: None,
                    preferred: valid,
                    valid,
                })
                .collect(),
            as_of: UnixSeconds(BASE),
            last_transaction,
            relays: Vec::new(),
            vpn: None,
            options: Vec::new(),
        };
        let mut merged = Merged6::new();
        let take = |merged: &mut Merged6, last_transaction, valids| {
            let client = client(last_transaction, valids);
            merged.take(&client, ClockSkew(0)).len()
        };
        assert_eq!(take(&mut merged, Some(10), [60, 60]), 2);
        assert_eq!(take(&mut merged, Some(11), [0, 0]), 0);
        assert_eq!(take(&mut merged, Some(9), [0, 70]), 2);
        let mut valids: Vec<_> = merged.leases().map(|(_, lease)| lease.valid).collect();
        valids.sort_unstable();
        assert_eq!(valids, [0, 70]);
    }
}
