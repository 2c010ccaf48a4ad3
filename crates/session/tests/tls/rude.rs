//! Requestors whose octets are changed, lost, doubled or made up on the way, in the handshake and after it.

use leaseq_session::{CloseReason, Family, Fate};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::certificates;
use crate::site::{FAMILIES, Peer, Site, VERSIONS, bulk_of, settings};

/// Rounds after which a connection that still moves would never come to rest.
const ROUNDS: usize = 200;

/// Does one harm to octets.
fn spoil(rng: &mut StdRng, octets: &mut Vec<u8>) {
    if octets.is_empty() {
        return;
    }
    let at = rng.random_range(0..octets.len());
    let end = rng.random_range(at..=octets.len());
    match rng.random_range(0..6) {
        0 => octets[at] ^= 1 << rng.random_range(0..8),
        1 => octets[at] = rng.random_range(0..=255),
        2 => drop(octets.drain(at..end)),
        3 => {
            let doubled = octets[at..end].to_vec();
            octets.splice(at..at, doubled);
        }
        4 => {
            let length = rng.random_range(1..40);
            let made_up: Vec<u8> = (0..length).map(|_| rng.random_range(0..=255)).collect();
            octets.splice(at..at, made_up);
        }
        _ => {
            // A record's header with any length.
            let kind = rng.random_range(20..25);
            let length: u16 = rng.random_range(0..=u16::MAX);
            let [high, low] = length.to_be_bytes();
            octets.splice(at..at, [kind, 3, 3, high, low]);
        }
    }
}

/// Moves octets until nothing moves any more, and spoils some on their way to the server.
fn run(rng: &mut StdRng, site: &Site, peer: &mut Peer, likely: f64) {
    for _ in 0..ROUNDS {
        if let Some(tls) = &mut peer.tls {
            while tls.wants_write() {
                tls.write_tls(&mut peer.to_server).expect("written");
            }
        }
        if rng.random_bool(likely) {
            spoil(rng, &mut peer.to_server);
        }
        let before = peer.to_server.len();
        peer.chunk = rng.random_range(1..3_000);
        peer.deliver(site);
        let mut octets = 0;
        if peer.connection.has_output() {
            octets = peer.transmit(site);
            peer.connection.written(octets, site.now);
        }
        let waits = peer.tls.as_ref().is_some_and(|tls| tls.wants_write());
        let is_open = peer.connection.fate() == Fate::Open;
        if !is_open || (octets == 0 && !waits && peer.to_server.len() == before) {
            return;
        }
    }
    panic!("the connection never came to rest");
}

#[test]
fn spoilt_octets_end_a_connection_at_worst() {
    let mut site = Site::new(settings(), 20);
    let mut ended_by_tls = 0;
    for seed in 0..600 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let family = FAMILIES[rng.random_range(0..2)];
        let version = VERSIONS[rng.random_range(0..2)];
        let mut peer = site.connect(family);
        peer.start_tls(certificates::requestor(version, rng.random_bool(0.8)));
        // In the handshake, or only after it.
        let in_handshake = rng.random_bool(0.5);
        run(rng, &site, &mut peer, if in_handshake { 0.5 } else { 0.0 });
        for xid in 2..6 {
            if peer.error.is_none() && peer.connection.fate() == Fate::Open {
                peer.send(&bulk_of(family, xid, 3));
                run(rng, &site, &mut peer, 0.4);
            }
        }
        peer.connection.peer_closed(site.now);
        while peer.connection.has_output() {
            let octets = peer.transmit(&site);
            peer.connection.written(octets, site.now);
        }
        match peer.connection.fate() {
            Fate::CloseWhenWritten(CloseReason::TlsHandshake | CloseReason::TlsBroken) => {
                ended_by_tls += 1;
            }
            Fate::CloseWhenWritten(_) => {}
            fate => panic!("seed {seed}: {fate:?}"),
        }
    }
    assert!(ended_by_tls > 100, "{ended_by_tls}");
    assert!(site.count(Family::V4).tls_handshakes.get() > 100);
}
