//! What goes into a TLS record, and that every octet is accounted for.

use std::time::Duration;

use leaseq_session::{CloseReason, Family, Fate};
use leaseq_store::Event;

use crate::site::{SECOND, Site, VERSIONS, bulk, lease4, message4, settings};

/// Content type of application data's record.
const APPLICATION_DATA: u8 = 23;
/// Octets of plaintext that a record holds at most.
const RECORD: usize = 16_384;

/// Lengths of the application data in each record: what encryption adds is taken off.
fn records(mut wire: &[u8], version: rustls::ProtocolVersion) -> Vec<usize> {
    // TLS 1.3: an octet of content type and a tag of 16; TLS 1.2: a nonce of 8 and the tag.
    let added = match version {
        rustls::ProtocolVersion::TLSv1_3 => 17,
        _ => 24,
    };
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = wire {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        assert_eq!(*kind, APPLICATION_DATA);
        lengths.push(length - added);
        wire = &rest[length..];
    }
    assert!(wire.is_empty());
    lengths
}

/// Lengths of frames laid into records of their own.
fn own_records(messages: &[Vec<u8>]) -> Vec<usize> {
    let mut lengths = Vec::new();
    for message in messages {
        let mut left = message.len() + 2;
        while left > RECORD {
            lengths.push(RECORD);
            left -= RECORD;
        }
        lengths.push(left);
    }
    lengths
}

#[test]
fn a_dhcpv4_message_has_a_record_of_its_own() {
    for version in VERSIONS {
        let mut site = Site::new(settings(), 500);
        let mut peer = site.connect_tls(Family::V4, version);
        peer.messages();
        peer.send(&message4(14, 2, &[]));
        peer.run(&site);
        let messages = peer.messages();
        assert_eq!(messages.len(), 501);
        assert_eq!(records(&peer.wire, version.version), own_records(&messages));
    }
}

#[test]
fn a_message_longer_than_a_record_spans_records_of_its_own() {
    for version in VERSIONS {
        let site = &mut Site::new(settings(), 1);
        let mut long = lease4(7);
        long.options = Some(vec![(43, vec![0x5a; 20_000])]);
        site.store(vec![Event::V4(long)]);
        let mut peer = site.connect_tls(Family::V4, version);
        peer.messages();
        peer.send(&message4(14, 2, &[(55, &[43, 61])]));
        peer.run(site);
        let messages = peer.messages();
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().any(|message| message.len() > 20_000));
        let records = records(&peer.wire, version.version);
        assert_eq!(records, own_records(&messages));
        assert_eq!(records.len(), 4);
    }
}

#[test]
fn dhcpv6_messages_share_records() {
    for version in VERSIONS {
        let mut site = Site::new(settings(), 500);
        let mut peer = site.connect_tls(Family::V6, version);
        peer.messages();
        peer.send(&bulk(Family::V6, 2));
        peer.run(&site);
        let messages = peer.messages();
        assert_eq!(messages.len(), 501);
        let records = records(&peer.wire, version.version);
        let octets: usize = messages.iter().map(|message| message.len() + 2).sum();
        assert_eq!(records.iter().sum::<usize>(), octets);
        assert!(records.len() <= octets / RECORD + 2, "{records:?}");
    }
}

#[test]
fn the_octets_on_the_wire_are_the_ones_that_count() {
    for version in VERSIONS {
        let mut site = Site::new(settings(), 2_000);
        let mut peer = site.connect(Family::V4);
        peer.start_tls(crate::certificates::requestor(version, true));
        peer.run(&site);
        peer.send(&message4(14, 2, &[]));
        peer.deliver(&site);
        let before = peer.wire.len();
        let octets = peer.transmit(&site);
        assert_eq!(octets, peer.wire.len() - before);
        let sent = site.count(Family::V4).sent_octets.get();
        assert_eq!(sent, peer.wire.len() as u64);
        // The kernel has taken all of it and the requestor acknowledges nothing.
        peer.connection.written(octets, site.now);
        let timeout = site.now + settings().limits.data_timeout;
        // The first look finds that what was sent before has been acknowledged.
        let first_look = peer.connection.deadline().expect("a look") - site.now;
        let latest = timeout + first_look;
        while peer.connection.fate() == Fate::Open && site.now < latest {
            let deadline = peer.connection.deadline().expect("a look");
            let by = deadline - site.now;
            site.advance(by);
            peer.connection.tick(site.now, octets);
        }
        assert_eq!(
            peer.connection.fate(),
            Fate::Abort(CloseReason::SendBlocked)
        );
        assert!((timeout..=latest).contains(&site.now), "{:?}", site.now);
    }
}

#[test]
fn little_room_makes_many_writes_and_the_same_octets() {
    let mut site = Site::new(settings(), 800);
    let mut peer = site.connect_tls(Family::V4, &rustls::version::TLS13);
    peer.messages();
    peer.target = 1;
    peer.send(&message4(14, 2, &[]));
    peer.deliver(&site);
    let mut writes = 0;
    while peer.connection.has_output() {
        let octets = peer.transmit(&site);
        assert!(octets > 0 && octets < 1_000);
        peer.connection.written(octets, site.now);
        writes += 1;
    }
    assert_eq!((peer.messages().len(), writes), (801, 801));
    peer.wait(&mut site, Duration::from_secs(200));
    peer.connection.tick(site.now, 0);
    assert_eq!(peer.connection.fate(), Fate::Open);
    peer.wait(&mut site, 101 * SECOND);
    peer.run(&site);
    assert!(peer.is_closed_for(CloseReason::Idle));
}
