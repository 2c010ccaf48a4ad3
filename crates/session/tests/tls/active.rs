//! Active streams on TLS.

use leaseq_session::{Family, Fate};
use leaseq_store::{Event, State};

use crate::site::{Site, VERSIONS, active, lease4, lease6, settings};

#[test]
fn a_stream_on_tls_tells_what_is_committed() {
    for version in VERSIONS {
        let mut site = Site::new(settings(), 10);
        let mut peer = site.connect_tls(Family::V4, version);
        peer.told();
        peer.send(&active(Family::V4, 5));
        peer.run(&site);
        assert!(peer.connection.is_stream());
        assert_eq!((peer.told(), peer.connection.fate()), (vec![], Fate::Open));
        for n in 100..150 {
            let mut lease = lease4(n);
            site.store(vec![Event::V4(lease.clone())]);
            let mut woken = Vec::new();
            while site.turn(|turn| site.hub.committed(turn, &mut |key| woken.push(key))) {}
            assert_eq!(woken, [peer.key]);
            peer.run(&site);
            assert_eq!(peer.told(), [(13, 5, None)]);
            lease.state = State::Released;
            site.store(vec![Event::V4(lease)]);
            while site.turn(|turn| site.hub.committed(turn, &mut |_| {})) {}
            peer.run(&site);
            assert_eq!(peer.told(), [(11, 5, None)]);
        }
        assert_eq!(peer.error, None);
    }
}

#[test]
fn a_dhcpv6_stream_on_tls_tells_what_is_committed() {
    for version in VERSIONS {
        let mut site = Site::new(settings(), 10);
        let mut peer = site.connect_tls(Family::V6, version);
        peer.told();
        peer.send(&active(Family::V6, 5));
        peer.run(&site);
        assert!(peer.connection.is_stream());
        assert_eq!(peer.told(), [(15, 5, None)], "it is answered at once");
        for n in 100..110 {
            site.store(vec![Event::V6(lease6(n))]);
            while site.turn(|turn| site.hub.committed(turn, &mut |_| {})) {}
            peer.run(&site);
            assert_eq!(peer.told(), [(17, 5, None)]);
        }
        assert_eq!((&peer.error, peer.connection.fate()), (&None, Fate::Open));
    }
}
