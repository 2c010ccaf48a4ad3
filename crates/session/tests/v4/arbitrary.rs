//! Whatever a requestor sends, nothing panics, and no connection keeps more than it may.

use leaseq_session::{CloseReason, Fate};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{Server, active_settings, lease, range};
use crate::message::Query4;

thread_local! {
    /// One store for all cases of a test: nothing that a requestor sends changes it.
    static LEASES: Server = {
        let mut settings = active_settings();
        settings.active.relay_scope = true;
        let server = Server::with(settings, vec![range([100, 64, 0, 0], [100, 64, 0, 63], "")]);
        server.store((0..40).map(|n| lease([100, 64, 0, n], u32::from(n))));
        server
    };
}

/// Octets that are nearly queries: some of them changed, cut, or repeated.
fn nearly_queries() -> impl Strategy<Value = Vec<u8>> {
    let option = (any::<u8>(), vec(any::<u8>(), 0..12));
    let query = (any::<u32>(), 10_u8..20, vec(option, 0..5), any::<bool>()).prop_map(
        |(xid, message_type, options, plain)| {
            let query = Query4 {
                message_type: if plain { 14 } else { message_type },
                ..Query4::bulk(xid % 4)
            };
            options
                .into_iter()
                .fold(query, |query, (code, value)| {
                    query.option(code.max(1), &value)
                })
                .frame()
        },
    );
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (
        vec(query, 1..6),
        damage,
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(queries, damage, cut, cuts)| {
            let mut octets = queries.concat();
            for (at, octet) in damage {
                let at = at.index(octets.len());
                octets[at] = octet;
            }
            if cuts {
                octets.truncate(cut.index(octets.len()));
            }
            octets
        })
}

fn run(octets: &[u8], chunk: usize) -> (Vec<u8>, Fate) {
    LEASES.with(|server| run_at(server, octets, chunk))
}

fn run_at(server: &Server, octets: &[u8], chunk: usize) -> (Vec<u8>, Fate) {
    let mut requestor = server.connect();
    for part in octets.chunks(chunk) {
        requestor.to_server.extend(part);
        requestor.run(server);
        if requestor.connection.fate() != Fate::Open {
            break;
        }
    }
    let received = requestor.from_server.clone();
    requestor.messages();
    assert!(
        requestor.from_server.is_empty(),
        "only whole messages were sent"
    );
    (received, requestor.connection.fate())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_octets_never_panic(octets in vec(any::<u8>(), 0..600), chunk in 1..600_usize) {
        run(&octets, chunk);
    }

    #[test]
    fn nearly_queries_are_answered_the_same_however_they_are_cut(octets in nearly_queries(), chunk in 1..400_usize) {
        let (whole, fate) = run(&octets, octets.len().max(1));
        let (cut, cut_fate) = run(&octets, chunk);
        // Queries that come together run in parallel: their messages are in another order, transaction ids may clash, an
        // active one among them has the connection to itself, and one that is refused closes it.
        for reason in [
            CloseReason::DuplicateXid,
            CloseReason::BesideActive,
            CloseReason::QueryFailed,
        ] {
            prop_assume!(![fate, cut_fate].contains(&Fate::CloseWhenWritten(reason)));
        }
        prop_assert_eq!(fate, cut_fate);
        if fate == Fate::Open {
            prop_assert_eq!(whole.len(), cut.len());
        }
    }

    #[test]
    fn arbitrary_datagrams_never_panic(octets in prop_oneof![vec(any::<u8>(), 0..600), nearly_queries().prop_map(|frames| frames[2.min(frames.len())..].to_vec())]) {
        LEASES.with(|server| server.udp_to(&octets));
    }
}
