//! How long a connection waits: for a query, for the rest of one, for its requestor to take what it is told.

use std::time::Duration;

use leaseq_session::{CloseReason, Family, Fate, Settings};

use crate::family::{FAMILIES, Status, active, assert_terminated, bulk, hear, heard, settings};
use crate::fixture::{Requestor, Server};

const SECOND: Duration = Duration::from_secs(1);
/// BULK_LQ_DATA_TIMEOUT, ACTIVE_LQ_SEND_TIMEOUT and ACTIVE_LQ_IDLE_TIMEOUT.
const DATA: Duration = Duration::from_secs(300);
const SEND: Duration = Duration::from_secs(120);
const IDLE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn server(family: Family) -> Server {
    server_with(family, settings())
}

fn server_with(family: Family, settings: Settings) -> Server {
    let server = Server::with(settings, vec![]);
    server.fill(family, 0..500, 0);
    server
}

fn closing(reason: CloseReason) -> Fate {
    Fate::CloseWhenWritten(reason)
}

/// Has the server write, and its kernel take it; octets that the requestor has not acknowledged then.
fn write_unacknowledged(requestor: &mut Requestor, server: &Server) -> usize {
    let octets = requestor.transmit(server, 16 * 1_024);
    assert!(octets > 0);
    requestor.connection.written(octets, server.now);
    octets
}

#[test]
fn without_a_query_a_connection_is_closed_after_the_data_timeout_from_the_last_done() {
    for family in FAMILIES {
        let mut server = server(family);
        let mut requestor = server.connect_as(family);
        requestor.live(&mut server, DATA / 2);
        requestor.to_server.extend(bulk(family, 1, 0));
        requestor.live(&mut server, DATA - SECOND);
        assert_eq!(requestor.connection.fate(), Fate::Open);
        requestor.live(&mut server, SECOND);
        assert_eq!(requestor.connection.fate(), closing(CloseReason::Idle));
        assert_eq!(server.closed(family, CloseReason::Idle), 1);
    }
}

#[test]
fn a_stream_is_never_closed_for_being_idle() {
    for family in FAMILIES {
        let mut server = server(family);
        let mut stream = server.stream_as(family, 1);
        stream.live(&mut server, 3_000 * SECOND);
        assert_eq!(stream.connection.fate(), Fate::Open);
        let told = heard(&mut stream);
        assert_eq!(told.len(), 50, "a keepalive each 60 seconds");
        assert!(
            told.iter()
                .all(|heard| heard.status == Some(Status::ConnectionActive))
        );
        assert_eq!(server.count(family).keepalives.get(), 50);
        stream.live(&mut server, DAY);
        assert_eq!(stream.connection.fate(), Fate::Open);
        assert_eq!(server.count(family).closed.total(), 0);
    }
}

#[test]
fn half_a_query_closes_the_connection_after_the_data_timeout() {
    for family in FAMILIES {
        let mut server = server(family);
        let query = bulk(family, 1, 0);
        let mut requestor = server.connect_as(family);
        requestor.to_server.extend(&query[..query.len() / 2]);
        requestor.live(&mut server, DATA - SECOND);
        // Another octet is no progress that counts.
        requestor.to_server.extend(&query[query.len() / 2..][..1]);
        requestor.run(&server);
        assert_eq!(requestor.connection.fate(), Fate::Open);
        requestor.live(&mut server, SECOND);
        assert_eq!(
            requestor.connection.fate(),
            closing(CloseReason::ReadBlocked)
        );
        assert_eq!(server.closed(family, CloseReason::ReadBlocked), 1);
    }
}

#[test]
fn half_a_query_beside_a_stream_closes_the_connection_after_the_data_timeout() {
    for family in FAMILIES {
        let mut server = server(family);
        let mut stream = server.stream_as(family, 1);
        let query = active(family, 2);
        stream.to_server.extend(&query[..query.len() - 1]);
        stream.live(&mut server, DATA - SECOND);
        assert_eq!(stream.connection.fate(), Fate::Open);
        assert_eq!(heard(&mut stream).len(), 4, "keepalives go on");
        stream.live(&mut server, SECOND);
        assert_eq!(stream.connection.fate(), closing(CloseReason::ReadBlocked));
        assert_terminated(&heard(&mut stream), 1);
        assert_eq!(server.closed(family, CloseReason::ReadBlocked), 1);
    }
}

/// After which time a requestor that acknowledges nothing is cut off: asking in bulk, and on a stream.
fn cut_off(family: Family, settings: &Settings) -> [Duration; 2] {
    [false, true].map(|streams| {
        let mut server = server_with(family, settings.clone());
        let mut requestor = if streams {
            let mut stream = server.stream_as(family, 1);
            // Until what it began with is known to have arrived.
            stream.live(&mut server, IDLE - SECOND);
            server.fill(family, 1_000..1_100, 1);
            stream
        } else {
            let mut requestor = server.connect_as(family);
            requestor.to_server.extend(bulk(family, 1, 0));
            requestor.deliver(&server);
            requestor
        };
        let begin = server.now;
        let octets = write_unacknowledged(&mut requestor, &server);
        while requestor.connection.fate() == Fate::Open {
            requestor.wait(&mut server, SECOND, octets);
            assert!(server.now - begin < DAY, "never cut off");
        }
        let reason = CloseReason::SendBlocked;
        assert_eq!(requestor.connection.fate(), Fate::Abort(reason));
        assert_eq!(server.closed(family, reason), 1);
        assert!(!requestor.connection.has_output());
        assert_eq!(requestor.connection.deadline(), None);
        server.now - begin
    })
}

#[test]
fn a_requestor_that_takes_nothing_is_cut_off_after_the_timeout_of_its_kind_of_query() {
    for family in FAMILIES {
        assert_eq!(cut_off(family, &settings()), [DATA, SEND], "{family:?}");
        let mut other = settings();
        other.limits.data_timeout = 40 * SECOND;
        other.active.send_timeout = 200 * SECOND;
        assert_eq!(
            cut_off(family, &other),
            [40 * SECOND, 200 * SECOND],
            "{family:?}"
        );
    }
}

#[test]
fn a_stream_whose_requestor_takes_a_little_now_and_then_is_not_cut_off() {
    for family in FAMILIES {
        let mut server = server(family);
        let mut stream = server.stream_as(family, 1);
        server.fill(family, 1_000..1_100, 1);
        let octets = write_unacknowledged(&mut stream, &server);
        for round in 1..=50 {
            stream.wait(&mut server, SEND - SECOND, octets - round);
            assert_eq!(
                stream.connection.fate(),
                Fate::Open,
                "{family:?}, round {round}"
            );
        }
        stream.wait(&mut server, 2 * SEND, octets - 50);
        let reason = CloseReason::SendBlocked;
        assert_eq!(stream.connection.fate(), Fate::Abort(reason));
    }
}

#[test]
fn a_keepalive_that_nobody_acknowledges_gives_a_dead_requestor_away() {
    for family in FAMILIES {
        let mut server = server(family);
        let mut stream = server.stream_as(family, 1);
        let begin = server.now;
        stream.wait(&mut server, IDLE, 0);
        let mut unacknowledged = write_unacknowledged(&mut stream, &server);
        while stream.connection.fate() == Fate::Open {
            stream.wait(&mut server, SECOND, unacknowledged);
            if stream.connection.has_output() {
                unacknowledged += write_unacknowledged(&mut stream, &server);
            }
            assert!(server.now - begin < DAY, "never cut off");
        }
        assert_eq!(server.now - begin, IDLE + SEND, "{family:?}");
        assert_eq!(server.closed(family, CloseReason::SendBlocked), 1);
    }
}

#[test]
fn a_stream_whose_requestor_closes_its_side_is_closed() {
    for family in FAMILIES {
        let server = server(family);
        let mut stream = server.stream_as(family, 1);
        server.fill(family, 1_000..1_100, 1);
        stream.connection.peer_closed(server.now);
        hear(&mut stream, &server);
        assert_eq!(stream.connection.fate(), closing(CloseReason::PeerClosed));
        assert_eq!(server.closed(family, CloseReason::PeerClosed), 1);
        assert_eq!(
            (
                server.hub.streams(),
                server.count(family).streams_closed.get()
            ),
            (0, 1)
        );
    }
}
