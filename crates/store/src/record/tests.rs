use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use smallvec::SmallVec;

use super::*;
use crate::event::{Event4, Event6, FeedEvent, HwAddr, INFINITE, LeaseKind, Relay6, State};
use crate::vpn::Vpn;

pub(crate) fn full4() -> Event4 {
    Event4 {
        vpn: Vpn::named("red"),
        hwaddr: Some(HwAddr {
            htype: 1,
            octets: SmallVec::from_slice(&[2, 0, 0x5e, 0x10, 0, 1]),
        }),
        client_id: Some(vec![1, 2, 0, 0x5e, 0x10, 0, 1]),
        cltt: Some(1_790_000_000),
        state_since: Some(1_789_990_000),
        lease_time: Some(3_600),
        t1: Some(1_800),
        t2: Some(3_150),
        relay_agent_info: Some(vec![1, 2, 9, 9, 2, 3, b'r', b'i', b'd', 12, 2, 0, 7]),
        options: Some(vec![(12, b"host".to_vec()), (60, vec![1; 300])]),
        remote: true,
        feed: 3,
        ..Event4::new(Ipv4Addr::new(198, 51, 100, 23), State::Active)
    }
}

pub(crate) fn full6() -> Event6 {
    let relay = |link: &str, options: &[u8]| Relay6 {
        link: link.parse().unwrap(),
        peer: "fe80::1".parse().unwrap(),
        options: options.to_vec(),
    };
    Event6 {
        vpn: Vpn::named("red"),
        prefix_len: 56,
        kind: LeaseKind::Pd,
        duid: Some(vec![0, 3, 0, 1, 2, 0, 0x5e, 0x10, 0, 1]),
        iaid: Some(7),
        link: Some(Link6::Address("2001:db8:7::1".parse().unwrap())),
        cltt: Some(1_790_000_000),
        state_since: Some(1_789_990_000),
        preferred_lifetime: Some(1_800),
        valid_lifetime: Some(3_600),
        relay: Some(vec![
            relay("::", &[0, 18, 0, 2, 5, 5]),
            relay(
                "2001:db8:7::1",
                &[0, 53, 0, 3, 0, 4, 9, 0, 37, 0, 5, 0, 0, 0, 9, 1],
            ),
        ]),
        options: Some(vec![(23, vec![0; 16]), (24, vec![])]),
        remote: false,
        feed: 1,
        ..Event6::new("2001:db8:7100::".parse().unwrap(), State::Active)
    }
}

#[test]
fn a_bind4_gives_back_its_event() {
    let event = full4();
    let mut out = Vec::new();
    let length = encode4(&mut out, &event, 77, Stamp::from_millis(5_000));
    assert_eq!(length, out.len());
    let Ok(Record::Bind4(record)) = parse(&out) else {
        panic!("{:?}", parse(&out))
    };
    assert_eq!(record.to_event(), event);
    assert_eq!(record.sequence(), 77);
    assert_eq!(record.stamp(), Stamp::from_millis(5_000));
    assert_eq!(record.remote_id(), Some(&b"rid"[..]));
    assert_eq!(record.relay_id(), Some(&[0, 7][..]));
    assert_eq!(
        record.client_id_option(),
        &[61, 7, 1, 2, 0, 0x5e, 0x10, 0, 1]
    );
    assert_eq!(&record.relay_info_option()[..2], &[82, 13]);
    assert_eq!(record.vpn(), event.vpn);
    assert!(record.has_client_id(&[1, 2, 0, 0x5e, 0x10, 0, 1]));
    assert!(!record.has_client_id(&[1, 2, 0, 0x5e, 0x10, 0]));
    assert!(!record.has_client_id(&[]));
}

#[test]
fn an_identifier_that_the_split_cuts_is_copied() {
    let mut event = full4();
    let mut value = vec![1, 250];
    value.extend([0; 250]);
    value.extend([2, 8, 1, 2, 3, 4, 5, 6, 7, 8, 12, 2, 9, 9]);
    event.relay_agent_info = Some(value.clone());
    let mut out = Vec::new();
    encode4(&mut out, &event, 1, Stamp::ZERO);
    let Ok(Record::Bind4(record)) = parse(&out) else {
        panic!("{:?}", parse(&out))
    };
    assert_eq!(record.remote_id(), Some(&[1, 2, 3, 4, 5, 6, 7, 8][..]));
    assert_eq!(record.relay_id(), Some(&[9, 9][..]));
    assert_eq!(record.relay_info().unwrap().as_slice(), value);
}

#[test]
fn a_bind6_gives_back_its_event() {
    let event = full6();
    let mut out = Vec::new();
    encode6(&mut out, &event, 78, Stamp::from_millis(6_000));
    set_joined(&mut out, 78);
    let Ok(Record::Bind6(record)) = parse(&out) else {
        panic!("{:?}", parse(&out))
    };
    assert_eq!(record.to_event(), event);
    assert_eq!(record.joined(), 78);
    assert_eq!(&record.client_id_option()[..4], &[0, 1, 0, 10]);
    let hops: Vec<Hop<'_>> = record.hops().collect();
    assert_eq!(
        hops,
        vec![Hop {
            remote_id: Some(&[0, 0, 0, 9, 1]),
            relay_id: Some(&[0, 4, 9])
        }]
    );
    let data = record.relay_data_option();
    // peer-address: the nearest relay agent has no link-address, so its peer; then RELAY-FORW with hop count 1.
    assert_eq!(data[4..20], "fe80::1".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(data[20..22], [12, 1]);
}

#[test]
fn times_left() {
    let mut event = full4();
    let mut out = Vec::new();
    encode4(&mut out, &event, 1, Stamp::ZERO);
    let record = Bind4::trusted(&out);
    assert_eq!(record.end(), Some(1_790_003_600));
    assert_eq!(
        record.lease_left(Stamp::from_seconds(1_790_000_100)),
        Some(3_500)
    );
    assert_eq!(
        record.lease_left(Stamp::from_seconds(1_790_003_600)),
        Some(0)
    );
    assert!(!record.expiry_held(Stamp::from_seconds(1_790_003_600)));
    let held = record.with_grace(30);
    assert_eq!(
        held.lease_left(Stamp::from_seconds(1_790_009_999)),
        Some(30)
    );
    assert!(held.expiry_held(Stamp::from_seconds(1_790_009_999)));
    event.lease_time = Some(INFINITE);
    out.clear();
    encode4(&mut out, &event, 1, Stamp::ZERO);
    assert_eq!(
        Bind4::trusted(&out).lease_left(Stamp::from_seconds(u32::MAX)),
        Some(INFINITE)
    );
    assert_eq!(Bind4::trusted(&out).end(), None);
}

#[test]
fn the_window_has_both_ends() {
    let mut out = Vec::new();
    encode4(&mut out, &full4(), 1, Stamp::from_millis(1_790_000_500_999));
    let record = Bind4::trusted(&out);
    assert!(
        record.changed_in(1_790_000_500, 1_790_000_500),
        "the commit stamp"
    );
    assert!(
        record.changed_in(1_790_000_000, 1_790_000_000),
        "the last transaction"
    );
    assert!(
        record.changed_in(1_789_990_000, 1_789_990_000),
        "the start of the state"
    );
    assert!(!record.changed_in(1_790_000_501, u32::MAX));
    assert!(!record.changed_in(1_790_000_001, 1_790_000_499));
}

#[test]
fn departures_keep_the_selector_values() {
    let mut bind = Vec::new();
    encode4(&mut bind, &full4(), 1, Stamp::ZERO);
    let mut out = Vec::new();
    encode_departed4(&mut out, Bind4::trusted(&bind), 2, Stamp::from_millis(9));
    let Ok(Record::Departed4(gone)) = parse(&out) else {
        panic!("{:?}", parse(&out))
    };
    assert_eq!(gone.remote_id(), Some(&b"rid"[..]));
    assert_eq!(gone.relay_id(), Some(&[0, 7][..]));
    assert_eq!(
        (gone.vpn(), gone.address()),
        (Vpn::named("red").as_ref(), full4().address)
    );

    bind.clear();
    encode6(&mut bind, &full6(), 1, Stamp::ZERO);
    out.clear();
    let hops: Vec<Hop<'_>> = Bind6::trusted(&bind).hops().collect();
    encode_departed6(
        &mut out,
        Bind6::trusted(&bind),
        &hops,
        2,
        Stamp::from_millis(9),
    );
    let Ok(Record::Departed6(gone)) = parse(&out) else {
        panic!("{:?}", parse(&out))
    };
    let old = Bind6::trusted(&bind);
    assert_eq!(
        gone.hops().collect::<Vec<_>>(),
        old.hops().collect::<Vec<_>>()
    );
    assert_eq!(
        (gone.duid(), gone.link(), gone.vpn()),
        (old.duid(), old.link(), old.vpn())
    );
    assert_eq!(
        (gone.address(), gone.prefix_len(), gone.kind()),
        (old.address(), 56, LeaseKind::Pd)
    );
}

#[test]
fn a_feed_record_gives_back_its_event() {
    let event = FeedEvent {
        name: "kea4".to_owned(),
        position: b"17".to_vec(),
        read_up_to: Stamp::from_millis(1_234),
        live: true,
    };
    let mut out = Vec::new();
    encode_feed(&mut out, 2, &event, 5, Stamp::from_millis(1_300));
    let Ok(Record::Feed(feed)) = parse(&out) else {
        panic!("{:?}", parse(&out))
    };
    assert_eq!(
        (feed.number(), feed.name(), feed.position()),
        (2, "kea4", &b"17"[..])
    );
    assert_eq!(
        (feed.read_up_to(), feed.live()),
        (Stamp::from_millis(1_234), true)
    );
}

/// Calls every accessor; none may reach outside of the record.
fn touch(record: Record<'_>) {
    let _ = format!("{record:?}");
    match record {
        Record::Bind4(bind) => {
            let _ = (
                bind.to_event(),
                bind.remote_id(),
                bind.relay_id(),
                bind.has_client_id(&[1]),
            );
            let _ = (
                bind.client_id_and_relay_info(),
                bind.lease_left(Stamp::ZERO),
                bind.chaddr(),
            );
        }
        Record::Bind6(bind) => {
            let _ = (
                bind.to_event(),
                bind.hops().count(),
                bind.valid_left(Stamp::ZERO),
            );
        }
        Record::Departed4(gone) => {
            let _ = (gone.vpn(), gone.remote_id(), gone.relay_id());
        }
        Record::Departed6(gone) => {
            let _ = (gone.vpn(), gone.duid(), gone.link(), gone.hops().count());
        }
        Record::Feed(feed) => {
            let _ = (feed.name(), feed.position());
        }
    }
}

proptest! {
    #[test]
    fn no_octets_make_an_accessor_panic(which in 0usize..5, changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..12)) {
        let mut bind = Vec::new();
        let mut out = Vec::new();
        match which {
            0 => { encode4(&mut out, &full4(), 1, Stamp::ZERO); }
            1 => { encode6(&mut out, &full6(), 1, Stamp::ZERO); }
            2 => { encode4(&mut bind, &full4(), 1, Stamp::ZERO); encode_departed4(&mut out, Bind4::trusted(&bind), 1, Stamp::ZERO); }
            3 => { encode6(&mut bind, &full6(), 1, Stamp::ZERO); let hops: Vec<Hop<'_>> = Bind6::trusted(&bind).hops().collect(); encode_departed6(&mut out, Bind6::trusted(&bind), &hops, 1, Stamp::ZERO); }
            _ => { encode_feed(&mut out, 1, &FeedEvent { name: "n".into(), position: vec![1], read_up_to: Stamp::ZERO, live: true }, 1, Stamp::ZERO); }
        }
        for (at, octet) in changes {
            // Early octets hold the lengths and offsets.
            let at = usize::from(at) % if octet % 2 == 0 { out.len() } else { out.len().min(128) };
            if at >= 5 {
                out[at] = octet;
            }
        }
        if let Ok(record) = parse(&out) {
            touch(record);
        }
    }
}
