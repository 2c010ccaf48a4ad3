//! How many connections there are: in all, of a requestor, and which one goes when there is one too many.

use leaseq_session::{Admitted, CloseReason, Family, Fate, OnLimit, Refusal, Refused, Settings};

use crate::family::{FAMILIES, assert_terminated, bulk, hear, settings};
use crate::fixture::Server;

const OTHER: [u8; 4] = [10, 0, 0, 2];

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

/// A further connection of the requestor that has the others.
fn admit(server: &Server, family: Family) -> Admitted {
    let from = [10, 0, 0, 1].into();
    server.admission.admit(family, from).expect("admitted")
}

fn limited(change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    change(&mut settings);
    Server::with(settings, vec![])
}

#[test]
fn bulk_and_active_count_together_for_each_family() {
    for family in FAMILIES {
        let server = limited(|settings| settings.limits.max_connections = 3);
        let idle = server.connect_as(family);
        let stream = server.stream_as(family, 1);
        let mut asking = server.connect_as(family);
        asking.to_server.extend(bulk(family, 2, 0));
        asking.run(&server);
        for from in [[10, 0, 0, 1], OTHER] {
            let refused = server.try_connect_as(family, from).err();
            assert_eq!(refused, Some(Refused::MaxConnections));
        }
        assert_eq!(server.refused(family, Refusal::MaxConnections), 2);
        assert!(
            server.try_connect_as(other(family), OTHER).is_ok(),
            "the other family has its own"
        );
        // The refusals are no matter to those that are there.
        assert_eq!(stream.connection.fate(), Fate::Open);
        drop(stream);
        let again = server.try_connect_as(family, OTHER);
        assert!(again.is_ok(), "a stream gives its place back");
        drop((idle, asking, again));
        assert_eq!(server.admission.open(family), 0);
    }
}

#[test]
fn a_requestor_s_bulk_and_active_connections_count_together() {
    for family in FAMILIES {
        let server = limited(|settings| settings.limits.max_connections_per_requestor = 2);
        let _idle = server.connect_as(family);
        let _stream = server.stream_as(family, 1);
        let refused = server.try_connect_as(family, [10, 0, 0, 1]).err();
        assert_eq!(refused, Some(Refused::MaxConnectionsPerRequestor));
        assert_eq!(
            server.refused(family, Refusal::MaxConnectionsPerRequestor),
            1
        );
        assert!(server.try_connect_as(family, OTHER).is_ok());
        assert!(server.try_connect_as(other(family), [10, 0, 0, 1]).is_ok());
    }
}

#[test]
fn a_stream_is_replaced_like_any_connection_and_told_so_last_of_all() {
    for family in FAMILIES {
        let server = limited(|settings| {
            settings.limits.max_connections_per_requestor = 2;
            settings.limits.on_limit = OnLimit::ReplaceOldest;
        });
        let mut oldest = server.stream_as(family, 1);
        let younger = server.stream_as(family, 2);
        let newest = admit(&server, family);
        assert_eq!(newest.replaces(), Some(oldest.connection.id()));
        oldest.connection.replaced();
        assert!(oldest.connection.has_output() && !oldest.connection.wants_input());
        assert_terminated(&hear(&mut oldest, &server), 1);
        let reason = CloseReason::Replaced;
        assert_eq!(oldest.connection.fate(), Fate::CloseWhenWritten(reason));
        assert_eq!(server.closed(family, reason), 1);
        assert_eq!(
            server.refused(family, Refusal::MaxConnectionsPerRequestor),
            0
        );
        assert_eq!(younger.connection.fate(), Fate::Open);
        assert_eq!(server.admission.open(family), 2);
        drop(oldest);
        assert_eq!(
            server.admission.open(family),
            2,
            "its place has changed hands"
        );
    }
}

#[test]
fn a_full_server_replaces_the_requestor_s_own_oldest_and_nobody_else_s() {
    for family in FAMILIES {
        let server = limited(|settings| {
            settings.limits.max_connections = 2;
            settings.limits.on_limit = OnLimit::ReplaceOldest;
        });
        let stream = server.stream_as(family, 1);
        let _other = server.try_connect_as(family, OTHER).expect("admitted");
        let refused = server.try_connect_as(family, [10, 0, 0, 3]).err();
        assert_eq!(
            refused,
            Some(Refused::MaxConnections),
            "it has none to give up"
        );
        assert_eq!(server.refused(family, Refusal::MaxConnections), 1);
        let newest = admit(&server, family);
        assert_eq!(newest.replaces(), Some(stream.connection.id()));
    }
}
