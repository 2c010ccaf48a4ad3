//! How many queries run, how often they come, and how often in vain.

use std::time::Duration;

use leaseq_session::{CloseReason, Family, Fate, QueryKind, Settings};

use crate::family::{FAMILIES, active, bulk, hear, heard, lease, settings};
use crate::fixture::{Requestor, Server};

const SECOND: Duration = Duration::from_secs(1);

fn limited(family: Family, change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings();
    change(&mut settings);
    let server = Server::with(settings, vec![]);
    server.fill(family, 0..300, 0);
    server
}

fn ask(requestor: &mut Requestor, octets: &[u8]) {
    requestor.to_server.extend(octets);
}

#[test]
fn no_more_queries_are_read_than_may_run() {
    for family in FAMILIES {
        let server = limited(family, |settings| {
            settings.limits.max_queries_per_connection = 3
        });
        let mut requestor = server.connect_as(family);
        let query = bulk(family, 0, 0);
        (0..10).for_each(|xid| ask(&mut requestor, &bulk(family, xid, 0)));
        requestor.deliver(&server);
        assert_eq!(requestor.connection.running_queries(), 3);
        assert!(!requestor.connection.wants_input());
        assert_eq!(
            requestor.to_server.len(),
            7 * query.len(),
            "the fourth is not begun"
        );
        let told = hear(&mut requestor, &server);
        assert_eq!(told.iter().filter(|heard| heard.tells).count(), 3_000);
        let queries = &server.count(family).queries;
        assert_eq!(queries.of(QueryKind::RelayId).get(), 10);
    }
}

#[test]
fn a_query_above_the_requestor_s_rate_waits_be_it_bulk_or_active() {
    for family in FAMILIES {
        let mut server = limited(family, |settings| settings.limits.queries_per_second = 1);
        let mut first = server.connect_as(family);
        ask(&mut first, &bulk(family, 1, 0));
        first.run(&server);
        let mut second = server.connect_as(family);
        ask(&mut second, &active(family, 2));
        second.run(&server);
        assert!(!second.connection.is_stream() && !second.connection.wants_input());
        assert_eq!(server.count(family).delayed.get(), 1);
        let deadline = second.connection.deadline().expect("its turn");
        assert_eq!(deadline - server.now, SECOND);
        second.live(&mut server, SECOND);
        assert!(
            second.connection.is_stream(),
            "it was kept, and is answered now"
        );
        // The rate is one of queries: what a stream tells does not count.
        heard(&mut second);
        server.fill(family, 1_000..1_100, 1);
        let told = hear(&mut second, &server);
        assert_eq!(told.iter().filter(|heard| heard.tells).count(), 100);
        assert_eq!(server.count(family).delayed.get(), 1);
        // Another requestor has its own rate.
        let mut other = server
            .try_connect_as(family, [10, 0, 0, 2])
            .expect("admitted");
        ask(&mut other, &active(family, 3));
        other.run(&server);
        assert!(other.connection.is_stream());
    }
}

#[test]
fn queries_in_a_row_that_find_nothing_close_the_connection_but_a_quiet_stream_does_not() {
    for family in FAMILIES {
        let mut server = limited(family, |settings| settings.limits.max_empty_replies = 3);
        let mut requestor = server.connect_as(family);
        for (xid, relay) in [(1, 7), (2, 8), (3, 0), (4, 7), (5, 8)] {
            ask(&mut requestor, &bulk(family, xid, relay));
            requestor.run(&server);
            assert_eq!(requestor.connection.fate(), Fate::Open);
        }
        ask(&mut requestor, &bulk(family, 6, 9));
        requestor.run(&server);
        let reason = CloseReason::EmptyReplies;
        assert_eq!(requestor.connection.fate(), Fate::CloseWhenWritten(reason));
        assert_eq!(server.closed(family, reason), 1);

        let mut stream = server.stream_as(family, 1);
        stream.live(&mut server, 600 * SECOND);
        assert_eq!(stream.connection.fate(), Fate::Open);
        let told = heard(&mut stream);
        assert!(told.len() == 10 && told.iter().all(|heard| !heard.tells));
    }
}

#[test]
fn a_stream_is_one_query_however_many_a_connection_may_run() {
    for family in FAMILIES {
        for most in [1, 8] {
            let server = limited(family, |settings| {
                settings.limits.max_queries_per_connection = most
            });
            let mut stream = server.stream_as(family, 1);
            ask(&mut stream, &active(family, 2));
            hear(&mut stream, &server);
            let reason = CloseReason::BesideActive;
            assert_eq!(stream.connection.fate(), Fate::CloseWhenWritten(reason));
            assert_eq!(server.closed(family, reason), 1);
            server.store_all(vec![lease(family, 1_000, 0, "")]);
            assert!(server.committed().is_empty());
        }
    }
}
