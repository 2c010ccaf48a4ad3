//! Leases that the store holds of a feed, and their ends when the source no longer tells of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_store::{
    Bind4, Bind6, Event, Event4, Event6, Record, ScanFrom, Stamp, State, View, Vpn,
};

/// What a lease is of; sources without VPNs need no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address or prefix, and its length.
    V6(Ipv6Addr, u8),
}

impl Key {
    /// What an event is of; `None` for a feed's position.
    pub(crate) fn of(event: &Event) -> Option<Key> {
        match event {
            Event::V4(event) => Some(Key::V4(event.address)),
            Event::V6(event) => Some(Key::V6(event.address, event.prefix_len)),
            Event::Feed(_) => None,
        }
    }
}

/// Leases of this feed that have not ended, in the order in which they were stored.
pub(crate) fn held(view: &View, feed: u16) -> impl Iterator<Item = Held<'_>> {
    view.scan(ScanFrom::Start)
        .filter(|scanned| scanned.newest)
        .filter_map(move |scanned| match scanned.record {
            Record::Bind4(lease) => Held::of4(lease, feed),
            Record::Bind6(lease) => Held::of6(lease, feed),
            _ => None,
        })
}

/// A lease of a feed that has not ended.
pub(crate) enum Held<'v> {
    /// Of an IPv4 address.
    V4(Bind4<'v>),
    /// Of an IPv6 address or prefix.
    V6(Bind6<'v>),
}

impl<'v> Held<'v> {
    /// The lease of this key, if the feed has it and it has not ended.
    pub(crate) fn find(view: &'v View, feed: u16, key: &Key) -> Option<Self> {
        match *key {
            Key::V4(address) => Held::of4(view.binding4(&Vpn::GLOBAL, address)?, feed),
            Key::V6(address, prefix_len) => {
                let lease = view.lease6(&Vpn::GLOBAL, address)?;
                let is_it = lease.address() == address && lease.prefix_len() == prefix_len;
                is_it.then(|| Held::of6(lease, feed)).flatten()
            }
        }
    }

    fn of4(lease: Bind4<'v>, feed: u16) -> Option<Self> {
        let holds =
            lease.feed() == feed && !lease.state().is_end() && lease.vpn() == Vpn::GLOBAL.as_ref();
        holds.then_some(Held::V4(lease))
    }

    fn of6(lease: Bind6<'v>, feed: u16) -> Option<Self> {
        let holds =
            lease.feed() == feed && !lease.state().is_end() && lease.vpn() == Vpn::GLOBAL.as_ref();
        holds.then_some(Held::V6(lease))
    }

    /// What it is of.
    pub(crate) fn key(&self) -> Key {
        match self {
            Held::V4(lease) => Key::V4(lease.address()),
            Held::V6(lease) => Key::V6(lease.address(), lease.prefix_len()),
        }
    }

    /// When it runs out, Unix seconds; `None`: never.
    pub(crate) fn runs_out(&self) -> Option<u64> {
        match self {
            Held::V4(lease) => lease.end(),
            Held::V6(lease) => lease.end(),
        }
    }

    /// Its end, for its source no longer has it: it has run out, or it is in `state` from now on.
    pub(crate) fn end(&self, state: State, now: Stamp) -> Event {
        let past = self
            .runs_out()
            .filter(|end| *end <= u64::from(now.seconds()));
        let (state, state_since) = match past {
            Some(end) => (State::Expired, u32::try_from(end).ok()),
            None => (state, Some(now.seconds())),
        };
        match self {
            Held::V4(lease) => Event::V4(Event4 {
                state_since,
                feed: lease.feed(),
                ..Event4::new(lease.address(), state)
            }),
            Held::V6(lease) => Event::V6(Event6 {
                prefix_len: lease.prefix_len(),
                kind: lease.kind(),
                state_since,
                feed: lease.feed(),
                ..Event6::new(lease.address(), state)
            }),
        }
    }
}
