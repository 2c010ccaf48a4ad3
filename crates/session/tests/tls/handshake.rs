//! Handshakes that fail, take too long, or are too many; and how TLS ends.

use std::io::Read;

use leaseq_session::{CloseReason, Family, Fate};
use rustls::{AlertDescription, Error};

use crate::certificates;
use crate::site::{
    FAMILIES, Peer, SECOND, Site, VERSIONS, bulk, bulk_of, settings, settings_with, starttls,
};

/// Content type of an alert's record.
const ALERT: u8 = 21;

#[test]
fn what_is_not_tls_ends_the_connection() {
    for family in FAMILIES {
        for garbage in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            &[0; 64],
            &[0xff; 20_000],
            &[22, 3, 1, 0xff, 0xff, 1, 2, 3],
            &bulk(family, 9),
        ] {
            let mut site = Site::new(settings(), 1);
            let mut peer = site.connect(family);
            peer.send(&[&starttls(family, 1), garbage].concat());
            peer.run(&site);
            assert!(
                peer.is_closed_for(CloseReason::TlsHandshake),
                "{garbage:?}: {:?}",
                peer.connection.fate()
            );
            assert_eq!(site.closed(family, CloseReason::TlsHandshake), 1);
            let answer = 2 + usize::from(u16::from_be_bytes([peer.wire[0], peer.wire[1]]));
            // What does not even look like a record is not told why.
            assert!(
                matches!(peer.wire.get(answer), None | Some(&ALERT)),
                "{garbage:?}"
            );
            assert!(peer.wire.len() < answer + 64);
        }
    }
}

#[test]
fn a_requestor_without_a_certificate_is_told_so_and_closed() {
    for family in FAMILIES {
        for version in VERSIONS {
            let mut site = Site::new(settings(), 1);
            let mut peer = site.connect(family);
            peer.start_tls(certificates::requestor(version, false));
            peer.send(&bulk(family, 2));
            peer.run(&site);
            assert!(peer.is_closed_for(CloseReason::TlsHandshake));
            let Some(Error::AlertReceived(alert)) = peer.error else {
                panic!("expected an alert, found {:?}", peer.error);
            };
            assert!(
                matches!(
                    alert,
                    AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure
                ),
                "{alert:?}"
            );
            assert_eq!(peer.messages().len(), 1, "nothing but the answer is told");
            assert_eq!(site.count(family).tls_handshakes.get(), 0);
            assert_eq!(site.count(family).received_messages.get(), 1);
        }
    }
}

#[test]
fn a_handshake_that_is_not_completed_in_time_ends_the_connection() {
    for family in FAMILIES {
        // Not begun; begun with one octet.
        for begun in [&[][..], &[22]] {
            let mut site = Site::new(settings(), 1);
            let mut peer = site.connect(family);
            peer.send(&[&starttls(family, 1)[..], begun].concat());
            peer.run(&site);
            peer.wait(&mut site, 9 * SECOND);
            assert_eq!(peer.connection.fate(), Fate::Open);
            peer.wait(&mut site, 2 * SECOND);
            assert!(peer.is_closed_for(CloseReason::TlsTimeout));
            assert_eq!(site.closed(family, CloseReason::TlsTimeout), 1);
        }
    }
}

#[test]
fn a_requestor_that_leaves_during_the_handshake_is_closed() {
    for family in FAMILIES {
        let mut site = Site::new(settings(), 1);
        let mut peer = site.connect(family);
        peer.send(&[&starttls(family, 1)[..], &[22, 3, 1]].concat());
        peer.run(&site);
        peer.connection.peer_closed(site.now);
        assert!(peer.is_closed_for(CloseReason::TlsHandshake));
    }
}

/// Peers that have sent DHCPTLS and their ClientHello.
fn starters(site: &mut Site, number: usize) -> Vec<Peer> {
    (0..number)
        .map(|_| {
            let mut peer = site.connect(Family::V4);
            peer.start_tls(certificates::requestor(&rustls::version::TLS13, true));
            peer.deliver(site);
            peer
        })
        .collect()
}

#[test]
fn handshakes_above_the_bound_wait_in_order_with_their_octets_unread() {
    let mut site = Site::new(
        settings_with(|settings| {
            if let Some(tls) = &mut settings.tls {
                tls.max_handshakes = 1;
            }
        }),
        1,
    );
    let mut peers = starters(&mut site, 4);
    assert_eq!(site.count(Family::V4).tls_delayed.get(), 3);
    for peer in &mut peers[1..] {
        peer.transmit(&site);
        assert_eq!(peer.told(), [(18, 1, None)], "each is answered at once");
        assert!(!peer.to_server.is_empty() && !peer.connection.wants_input());
        assert!(!peer.connection.has_output());
    }
    // One that waits leaves; it is not waited for.
    drop(peers.remove(2));
    let mut done = Vec::new();
    while !peers.is_empty() {
        let mut peer = peers.remove(0);
        assert!(peer.connection.wants_input());
        peer.run(&site);
        assert_eq!(peer.error, None);
        assert!(peer.tls.as_ref().is_some_and(|tls| !tls.is_handshaking()));
        assert_eq!(
            site.ready(),
            peers
                .first()
                .map(|next| next.key)
                .into_iter()
                .collect::<Vec<_>>(),
            "the next one is woken, and nobody else"
        );
        done.push(peer);
    }
    assert_eq!(site.count(Family::V4).tls_handshakes.get(), 3);
}

#[test]
fn a_place_is_given_up_by_failure_timeout_and_end() {
    let mut site = Site::new(
        settings_with(|settings| {
            if let Some(tls) = &mut settings.tls {
                tls.max_handshakes = 1;
            }
        }),
        1,
    );
    let mut peers = starters(&mut site, 4);
    peers[0].connection.terminate();
    assert_eq!(site.ready(), [peers[1].key]);
    // The time of one that had to wait begins when it has its turn; it sends half of its ClientHello.
    peers[1].wait(&mut site, 60 * SECOND);
    peers[1].to_server.truncate(20);
    peers[1].deliver(&site);
    peers[1].wait(&mut site, 9 * SECOND);
    assert_eq!(peers[1].connection.fate(), Fate::Open);
    peers[1].wait(&mut site, 2 * SECOND);
    peers[1].run(&site);
    assert!(peers[1].is_closed_for(CloseReason::TlsTimeout));
    assert_eq!(site.ready(), [peers[2].key]);
    peers[2].to_server = vec![7; 100];
    peers[2].tls = None;
    peers[2].run(&site);
    assert!(peers[2].is_closed_for(CloseReason::TlsHandshake));
    assert_eq!(site.ready(), [peers[3].key]);
    // Whoever waits does not wait for ever either.
    let mut last = starters(&mut site, 1).remove(0);
    last.run(&site);
    last.wait(&mut site, 299 * SECOND);
    assert_eq!(last.connection.fate(), Fate::Open);
    last.wait(&mut site, 2 * SECOND);
    assert!(last.is_closed_for(CloseReason::TlsTimeout));
}

#[test]
fn an_idle_connection_on_tls_is_closed_with_close_notify() {
    for family in FAMILIES {
        for version in VERSIONS {
            let mut site = Site::new(settings(), 1);
            let mut peer = site.connect_tls(family, version);
            peer.wait(&mut site, 299 * SECOND);
            assert_eq!(peer.connection.fate(), Fate::Open);
            peer.wait(&mut site, 2 * SECOND);
            peer.connection.tick(site.now, 0);
            assert_eq!(
                peer.connection.fate(),
                Fate::Open,
                "something is to be said"
            );
            assert!(peer.connection.has_output());
            peer.run(&site);
            assert!(peer.is_closed_for(CloseReason::Idle));
            let tls = peer.tls.as_mut().expect("TLS");
            assert_eq!(tls.reader().read(&mut [0]).expect("an end"), 0);
        }
    }
}

#[test]
fn a_stop_ends_running_queries_on_tls_and_then_tls() {
    for family in FAMILIES {
        let mut site = Site::new(settings(), 3_000);
        let mut peer = site.connect_tls(family, &rustls::version::TLS13);
        peer.target = 1_000;
        peer.send(&bulk_all(family));
        peer.deliver(&site);
        peer.transmit(&site);
        peer.connection.terminate();
        peer.run(&site);
        assert!(peer.is_closed_for(CloseReason::Shutdown));
        let last = peer.told().pop().expect("a last message");
        let terminated = match family {
            Family::V4 => (15, 7, Some(2)),
            Family::V6 => (16, 7, Some(11)),
        };
        assert_eq!(last, terminated);
        assert_eq!(peer.error, None);
        let tls = peer.tls.as_mut().expect("TLS");
        assert_eq!(tls.reader().read(&mut [0]).expect("an end"), 0);
    }
}

/// A query with a long answer.
fn bulk_all(family: Family) -> Vec<u8> {
    match family {
        Family::V4 => crate::site::message4(14, 7, &[]),
        Family::V6 => bulk(family, 7),
    }
}

#[test]
fn close_notify_of_the_requestor_is_its_end() {
    for family in FAMILIES {
        let mut site = Site::new(settings(), 3);
        let mut peer = site.connect_tls(family, &rustls::version::TLS13);
        peer.told();
        peer.send(&bulk_of(family, 2, 1));
        peer.tls.as_mut().expect("TLS").send_close_notify();
        peer.run(&site);
        assert!(peer.is_closed_for(CloseReason::PeerClosed));
        // A DHCPv6 connection finishes its queries first (RFC 5460 §5.4); a DHCPv4 one does not (RFC 6926 §8.5).
        let expected = match family {
            Family::V4 => 0,
            Family::V6 => 2,
        };
        assert_eq!(peer.told().len(), expected);
    }
}

#[test]
fn what_was_tampered_with_ends_the_connection() {
    for family in FAMILIES {
        for version in VERSIONS {
            let mut site = Site::new(settings(), 1);
            let mut peer = site.connect_tls(family, version);
            peer.told();
            peer.send(&bulk_of(family, 2, 1));
            let tls = peer.tls.as_mut().expect("TLS");
            tls.write_tls(&mut peer.to_server).expect("written");
            *peer.to_server.last_mut().expect("octets") ^= 1;
            peer.run(&site);
            assert!(peer.is_closed_for(CloseReason::TlsBroken));
            assert!(matches!(
                peer.error,
                Some(Error::AlertReceived(AlertDescription::BadRecordMac))
            ));
            assert_eq!(peer.messages().len(), 0);
        }
    }
}

#[test]
fn a_flood_of_key_updates_ends_the_connection_and_takes_no_memory() {
    let mut site = Site::new(settings(), 1);
    let mut peer = site.connect_tls(Family::V4, &rustls::version::TLS13);
    peer.wire.clear();
    for _ in 0..100 {
        if let Some(tls) = &mut peer.tls {
            let _ = tls.refresh_traffic_keys();
        }
        peer.run(&site);
    }
    assert!(peer.is_closed_for(CloseReason::TlsBroken));
    assert!(peer.wire.len() < 4_096, "{}", peer.wire.len());
}

#[test]
fn a_few_key_updates_do_no_harm() {
    let mut site = Site::new(settings(), 5);
    let mut peer = site.connect_tls(Family::V4, &rustls::version::TLS13);
    peer.told();
    for xid in 10..30 {
        let tls = peer.tls.as_mut().expect("TLS");
        tls.refresh_traffic_keys().expect("new keys");
        peer.send(&bulk_of(Family::V4, xid, 1));
        peer.run(&site);
        assert_eq!(peer.told().len(), 2);
    }
    assert_eq!((peer.error, peer.connection.fate()), (None, Fate::Open));
}
