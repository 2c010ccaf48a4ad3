//! DHCPTLS and STARTTLS: what is answered, and what may be said without TLS.

use leaseq_session::{CloseReason, Family, Fate, Settings};

use crate::certificates;
use crate::site::{
    FAMILIES, Peer, SECOND, Site, VERSIONS, active, bulk, bulk_of, message4, message6, settings,
    settings_with, starttls,
};

/// Type of the answer to DHCPTLS or STARTTLS, and the status TLSConnectionRefused.
fn answer(family: Family) -> (u8, u16) {
    match family {
        Family::V4 => (18, 8),
        Family::V6 => (7, 15),
    }
}

#[test]
fn tls_begins_after_an_answer_without_a_status_and_queries_are_answered_on_it() {
    for family in FAMILIES {
        for version in VERSIONS {
            let mut site = Site::new(settings(), 300);
            let mut plain = site.connect(family);
            plain.send(&bulk(family, 5));
            plain.run(&site);
            let mut peer = site.connect(family);
            peer.start_tls(certificates::requestor(version, true));
            peer.send(&bulk(family, 5));
            peer.run(&site);
            let mut told = peer.messages();
            let first = told.remove(0);
            assert_eq!(
                crate::site::told(family, &first),
                (answer(family).0, 1, None)
            );
            assert_eq!(told, plain.messages());
            assert_eq!(peer.error, None);
            assert_eq!(peer.connection.fate(), Fate::Open);
            assert_eq!(site.count(family).tls_handshakes.get(), 1);
            assert_eq!(
                peer.tls.as_ref().and_then(|tls| tls.protocol_version()),
                Some(version.version)
            );
        }
    }
}

#[test]
fn octets_may_be_cut_anywhere() {
    for family in FAMILIES {
        for version in VERSIONS {
            for (chunk, target) in [(1, 1), (2, 100), (3, 1_000), (17, 5), (1_000, 65_536)] {
                let mut site = Site::new(settings(), 20);
                let mut peer = site.connect(family);
                (peer.chunk, peer.target) = (chunk, target);
                peer.start_tls(certificates::requestor(version, true));
                peer.run(&site);
                peer.send(&[bulk(family, 5), bulk_of(family, 6, 3)].concat());
                peer.run(&site);
                let told = peer.told();
                assert_eq!(peer.error, None, "reads of {chunk}");
                assert_eq!(told[0], (answer(family).0, 1, None));
                let expected = match family {
                    Family::V4 => 1 + 1 + 2,
                    Family::V6 => 1 + 21 + 2,
                };
                assert_eq!(told.len(), expected, "reads of {chunk}: {told:?}");
            }
        }
    }
}

#[test]
fn the_answer_does_not_wait_for_the_handshake_and_the_handshake_not_for_the_answer() {
    for family in FAMILIES {
        let mut site = Site::new(settings(), 1);
        let mut peer = site.connect(family);
        // The ClientHello comes in the read that DHCPTLS comes in.
        peer.start_tls(certificates::requestor(&rustls::version::TLS13, true));
        peer.deliver(&site);
        assert_eq!(peer.to_server, [0; 0], "all of it is taken");
        peer.run(&site);
        assert_eq!(peer.told(), [(answer(family).0, 1, None)]);
        assert_eq!(site.count(family).tls_handshakes.get(), 1);
        // Alone, it is answered alone.
        let mut peer = site.connect(family);
        peer.send(&starttls(family, 2));
        peer.run(&site);
        assert_eq!(peer.told(), [(answer(family).0, 2, None)]);
        assert!(peer.connection.wants_input() && peer.connection.fate() == Fate::Open);
    }
}

#[test]
fn options_of_the_request_are_ignored() {
    let mut site = Site::new(settings(), 1);
    for (family, request) in [
        (
            Family::V4,
            message4(18, 7, &[(151, &[8]), (82, &[2, 1, 0])]),
        ),
        (
            Family::V6,
            message6(23, 7, &[(13, &[0, 15]), (99, &[1]), (6, &[1])]),
        ),
    ] {
        let mut peer = site.connect(family);
        peer.send(&request);
        peer.run(&site);
        assert_eq!(peer.told(), [(answer(family).0, 7, None)]);
    }
}

#[test]
fn tls_is_asked_for_in_the_first_message_or_refused_and_the_connection_stays() {
    for family in FAMILIES {
        let mut site = Site::new(settings(), 3);
        let (message_type, refused) = answer(family);
        let mut peer = site.connect(family);
        peer.send(&[bulk_of(family, 1, 1), starttls(family, 2)].concat());
        peer.run(&site);
        assert!(peer.told().contains(&(message_type, 2, Some(refused))));
        peer.send(&bulk_of(family, 3, 1));
        peer.run(&site);
        assert_eq!(peer.told().len(), 2);
        assert_eq!(peer.connection.fate(), Fate::Open);
        // On TLS there is no second one.
        let mut peer = site.connect_tls(family, &rustls::version::TLS13);
        peer.told();
        peer.send(&starttls(family, 4));
        peer.run(&site);
        assert_eq!(peer.told(), [(message_type, 4, Some(refused))]);
        assert_eq!(peer.connection.fate(), Fate::Open);
    }
}

#[test]
fn the_requestor_s_rate_delays_the_answer_and_does_not_change_it() {
    for family in FAMILIES {
        let mut site = Site::new(
            settings_with(|settings| settings.limits.queries_per_second = 1),
            1,
        );
        let mut first = site.connect(family);
        first.send(&bulk_of(family, 1, 1));
        first.run(&site);
        let mut peer = site.connect(family);
        peer.start_tls(certificates::requestor(&rustls::version::TLS13, true));
        peer.run(&site);
        assert_eq!(peer.told(), [], "the query of the other connection counts");
        peer.wait(&mut site, 2 * SECOND);
        peer.run(&site);
        assert_eq!(peer.told(), [(answer(family).0, 1, None)]);
        assert_eq!(peer.error, None);
        peer.send(&bulk_of(family, 2, 1));
        peer.run(&site);
        peer.wait(&mut site, 2 * SECOND);
        peer.run(&site);
        assert_eq!(peer.told().len(), 2);
    }
}

/// What a server with these settings makes of a first message: what it tells, and why it closes.
fn first_message(
    settings: &Settings,
    family: Family,
    message: &[u8],
) -> (Vec<(u8, Option<u16>)>, Option<CloseReason>) {
    let mut site = Site::new(settings.clone(), 1);
    let mut peer = site.connect(family);
    peer.send(message);
    peer.run(&site);
    outcome(&mut peer)
}

fn outcome(peer: &mut Peer) -> (Vec<(u8, Option<u16>)>, Option<CloseReason>) {
    let told = peer.told();
    let told = told.into_iter().map(|(kind, _, status)| (kind, status));
    let closed = match peer.connection.fate() {
        Fate::Open => None,
        Fate::CloseWhenWritten(reason) | Fate::Abort(reason) => Some(reason),
    };
    (told.collect(), closed)
}

#[test]
fn in_secure_mode_an_active_query_without_tls_ends_the_connection() {
    let settings = settings();
    // Bulk lives on without TLS, unless it is required.
    for family in FAMILIES {
        let first = first_message(&settings, family, &active(family, 1));
        assert_eq!(first, (vec![], Some(CloseReason::TlsRequired)));
        let (told, closed) = first_message(&settings, family, &bulk_of(family, 1, 1));
        assert_eq!((told.len(), closed), (2, None));
    }
}

#[test]
fn where_bulk_is_on_tls_only_a_bulk_query_without_ends_the_connection() {
    let settings = settings_with(|settings| {
        if let Some(tls) = &mut settings.tls {
            tls.bulk_required = true;
        }
    });
    for family in FAMILIES {
        for message in [bulk_of(family, 1, 1), active(family, 1)] {
            let first = first_message(&settings, family, &message);
            assert_eq!(first, (vec![], Some(CloseReason::TlsRequired)));
        }
        let (told, closed) = first_message(&settings, family, &starttls(family, 1));
        assert_eq!((told, closed), (vec![(answer(family).0, None)], None));
        let mut site = Site::new(settings.clone(), 1);
        let mut peer = site.connect_tls(family, &rustls::version::TLS13);
        peer.told();
        peer.send(&bulk_of(family, 2, 1));
        peer.run(&site);
        assert_eq!(peer.told().len(), 2);
    }
}

#[test]
fn in_insecure_mode_tls_is_refused_and_queries_are_answered_without() {
    let insecure = settings_with(|settings| settings.active.insecure = true);
    // Without active leasequery its mode means nothing: TLS is offered.
    let off = settings_with(|settings| {
        settings.active.enabled = false;
        settings.active.insecure = true;
    });
    let no_certificate = settings_with(|settings| settings.tls = None);
    for family in FAMILIES {
        let (message_type, refused) = answer(family);
        for (settings, status) in [
            (&insecure, Some(refused)),
            (&no_certificate, Some(refused)),
            (&off, None),
        ] {
            let (told, closed) = first_message(settings, family, &starttls(family, 1));
            assert_eq!((told, closed), (vec![(message_type, status)], None));
        }
        let both = [starttls(family, 1), bulk_of(family, 2, 1)].concat();
        let (told, closed) = first_message(&insecure, family, &both);
        assert_eq!((told.len(), closed), (3, None), "it goes on without TLS");
        let (_, closed) = first_message(&insecure, family, &active(family, 1));
        assert_eq!(closed, None);
    }
}
