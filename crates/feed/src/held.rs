//! Leases that the store holds of a feed, and their ends when the source no longer tells of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_store::{
    Bind4, Bind6, Event, Event4, Event6, Reader, Record, ScanFrom, Stamp, State, View, Vpn,
};

/// Ends that a sweep hands over at a time.
const BATCH: usize = 1_000;

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
        .filter_map(move |scanned| Held::of(scanned.record, feed))
}

/// Ends the leases of a feed that its source no longer has, as `is_gone` says of each: they are in `state` from now on, or have
/// run out. `submit` is given the ends piece by piece; what was submitted before has to be settled.
pub(crate) fn sweep<E>(
    reader: &Reader,
    feed: u16,
    state: State,
    mut is_gone: impl FnMut(&Held<'_>) -> bool,
    submit: impl FnMut(Vec<Event>) -> Result<(), E>,
) -> Result<(), E> {
    let now = reader.now();
    let end = |record: Record<'_>| {
        let lease = Held::of(record, feed)?;
        is_gone(&lease).then(|| lease.end(state, now))
    };
    sweep_records(reader, end, submit).map(drop)
}

/// Goes through the newest record of each binding, and hands over piece by piece what `end` gives for it. Gives how many ends
/// that were.
pub(crate) fn sweep_records<E>(
    reader: &Reader,
    mut end: impl FnMut(Record<'_>) -> Option<Event>,
    mut submit: impl FnMut(Vec<Event>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut from = ScanFrom::Start;
    let mut swept = 0;
    loop {
        // A view holds maps of the log, so it is not kept while the store works.
        let view = reader.view();
        let mut scan = view.scan(from);
        let gone: Vec<Event> = scan
            .by_ref()
            .filter(|scanned| scanned.newest)
            .filter_map(|scanned| end(scanned.record))
            .take(BATCH)
            .collect();
        from = ScanFrom::Sequence(scan.next_sequence());
        drop(view);
        if gone.is_empty() {
            return Ok(swept);
        }
        swept += gone.len() as u64;
        submit(gone)?;
    }
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
                Held::of6(view.binding6(&Vpn::GLOBAL, address, prefix_len)?, feed)
            }
        }
    }

    fn of(record: Record<'v>, feed: u16) -> Option<Self> {
        match record {
            Record::Bind4(lease) => Held::of4(lease, feed),
            Record::Bind6(lease) => Held::of6(lease, feed),
            _ => None,
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

    fn state(&self) -> State {
        match self {
            Held::V4(lease) => lease.state(),
            Held::V6(lease) => lease.state(),
        }
    }

    /// Its end, for its source no longer has it: it has run out, or it is in `state` from now on. What was abandoned was
    /// nobody's, and is free again.
    pub(crate) fn end(&self, state: State, now: Stamp) -> Event {
        let past = self
            .runs_out()
            .filter(|end| *end <= u64::from(now.seconds()));
        let (state, state_since) = match (self.state(), past) {
            (State::Abandoned, _) => (State::Available, Some(now.seconds())),
            (_, Some(end)) => (State::Expired, u32::try_from(end).ok()),
            (_, None) => (state, Some(now.seconds())),
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

#[cfg(test)]
mod tests {
    use leaseq_store::{LeaseKind, Options, Store, SyncMode, Topology};

    use super::*;

    #[test]
    fn a_prefix_is_told_from_an_address_in_it_and_only_what_is_gone_ends() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).unwrap();
        let feed = store.feed_id("leases").unwrap();
        let first: Ipv6Addr = "2001:db8:1::".parse().unwrap();
        let lease = |prefix_len, kind| {
            Event::V6(Event6 {
                prefix_len,
                kind,
                duid: Some(vec![0, 3, 0, 1, 2]),
                iaid: Some(1),
                feed,
                ..Event6::new(first, State::Active)
            })
        };
        let mut abandoned = Event4::new(Ipv4Addr::LOCALHOST, State::Abandoned);
        abandoned.feed = feed;
        let events = vec![
            lease(56, LeaseKind::Pd),
            lease(128, LeaseKind::Na),
            Event::V4(abandoned),
        ];
        store.submit(events).unwrap().wait().unwrap();
        let reader = store.reader();
        let view = reader.view();
        for prefix_len in [56, 128] {
            let found = Held::find(&view, feed, &Key::V6(first, prefix_len)).unwrap();
            assert_eq!(found.key(), Key::V6(first, prefix_len));
        }
        assert!(Held::find(&view, feed, &Key::V6(first, 64)).is_none());
        let mut ended = Vec::new();
        let is_gone = |lease: &Held<'_>| lease.key() != Key::V6(first, 128);
        sweep(&reader, feed, State::Released, is_gone, |ends| {
            for end in &ends {
                let state = match end {
                    Event::V4(event) => event.state,
                    Event::V6(event) => event.state,
                    Event::Feed(_) => unreachable!("a lease"),
                };
                ended.push((Key::of(end).unwrap(), state));
            }
            store.submit(ends).unwrap().wait().map(drop)
        })
        .unwrap();
        let expected = [
            (Key::V6(first, 56), State::Released),
            (Key::V4(Ipv4Addr::LOCALHOST), State::Available),
        ];
        assert_eq!(ended, expected);
    }
}
