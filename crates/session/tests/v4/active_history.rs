//! Active leasequery (RFC 7724): what a stream tells of the time before it began.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use leaseq_store::{Event4, State};

use crate::active::{
    ACTIVE, CATCH_UP_COMPLETE, DATA_MISSING, HOUR, SECOND, STATUS, UNASSIGNED, address, base_times,
    in_state, outline, relay_scoped, server, stream,
};
use crate::fixture::{START, Server, active_settings, lease, range, relay_id};
use crate::message::{Message4, Query4};

#[test]
fn a_stream_with_a_start_time_catches_up_says_so_and_goes_on() {
    let mut server = server();
    for last in 1..=4 {
        server.store([lease(address(last), u32::from(last))]);
        server.advance(10 * SECOND);
    }
    let mut requestor = stream(&server, &Query4::active(7).since(START + 10));
    let told = requestor.messages();
    let complete = (STATUS, CATCH_UP_COMPLETE);
    assert_eq!(
        outline(&told),
        [(ACTIVE, 2), (ACTIVE, 3), (ACTIVE, 4), complete],
        "from that second on, that second included"
    );
    assert_eq!(
        base_times(&told),
        [START + 10, START + 20, START + 30, START + 40],
        "each binding at its own change, the end now"
    );
    server.change([in_state(2, State::Released)]);
    assert_eq!(outline(&requestor.hear(&server)), [(UNASSIGNED, 2)]);
    assert_eq!(server.counters.v4.caught_up.get(), 1);
}

#[test]
fn catch_up_tells_each_binding_once_in_its_present_state() {
    let mut server = server();
    server.store([lease(address(1), 1), lease(address(2), 2)]);
    for _ in 0..5 {
        server.advance(10 * SECOND);
        let renewed = Event4 {
            cltt: Some(START + 50),
            ..lease(address(1), 1)
        };
        server.store([renewed, in_state(2, State::Released)]);
        server.store([in_state(1, State::Released), lease(address(2), 2)]);
    }
    let mut requestor = stream(&server, &Query4::active(7).since(START));
    assert_eq!(
        outline(&requestor.messages()),
        [(UNASSIGNED, 1), (ACTIVE, 2), (STATUS, CATCH_UP_COMPLETE)]
    );
}

#[test]
fn with_nothing_to_catch_up_completion_is_said_at_once() {
    let mut server = server();
    server.store([lease(address(1), 1)]);
    server.advance(HOUR / 2);
    for since in [START + 1, START + 1_800, u32::MAX] {
        let mut requestor = stream(&server, &Query4::active(7).since(since));
        assert_eq!(
            outline(&requestor.messages()),
            [(STATUS, CATCH_UP_COMPLETE)],
            "since {since}"
        );
    }
}

#[test]
fn changes_during_catch_up_are_told_as_well() {
    let server = server();
    server.store((1..=200).map(|last| lease(address(last), u32::from(last))));
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(7).since(START));
    requestor.deliver(&server);
    let mut messages = Vec::new();
    for last in 1..=200 {
        assert!(requestor.connection.has_output());
        requestor.transmit(&server, 1);
        messages.extend(requestor.messages());
        // What was told before changes again, and so does what was not yet.
        if last % 10 == 0 {
            server.change([
                in_state(last - 5, State::Released),
                in_state(205, State::Reset),
            ]);
        }
    }
    messages.extend(requestor.hear(&server));
    let ends = messages
        .iter()
        .filter(|m| m.status() == Some(CATCH_UP_COMPLETE));
    assert_eq!(ends.count(), 1);
    let mut last_told = BTreeMap::new();
    for message in messages.iter().filter(|m| m.status().is_none()) {
        last_told.insert(message.ciaddr, message.message_type);
    }
    for last in 1..=200 {
        let expected = if last % 10 == 5 { UNASSIGNED } else { ACTIVE };
        assert_eq!(
            last_told[&Ipv4Addr::from(address(last))],
            expected,
            "{last}"
        );
    }
    assert_eq!(last_told[&Ipv4Addr::from(address(205))], UNASSIGNED);
}

/// Lets an end at [`START`] be dropped from the log.
fn drop_an_end(server: &mut Server) {
    server.store([lease(address(9), 9)]);
    server.store([in_state(9, State::Released)]);
    fill(server);
    server.advance(2 * HOUR);
    fill(server);
    server.compact();
    assert!(server.reader.dropped_until().seconds() >= START);
}

/// A lease that begins now.
fn lease_now(server: &Server, last: u8) -> Event4 {
    let now = Some(server.reader.now().seconds());
    Event4 {
        cltt: now,
        state_since: now,
        ..lease(address(last), u32::from(last))
    }
}

/// Fills segments of the log, so that what lies before can be compacted.
fn fill(server: &Server) {
    for round in 0..8 {
        server.store((0..100).map(|client| {
            let mut event = lease([100, 65, 0, client], u32::from(client));
            event.lease_time = Some(u32::MAX);
            event.cltt = Some(server.reader.now().seconds() - round);
            event
        }));
    }
}

#[test]
fn a_start_time_that_the_history_does_not_reach_is_told_at_once() {
    let mut server = Server::keeping(active_settings(), HOUR);
    drop_an_end(&mut server);
    let dropped = server.reader.dropped_until().seconds();
    for since in [0, START - 1, dropped] {
        let mut requestor = stream(&server, &Query4::active(7).since(since));
        let told = requestor.messages();
        assert_eq!(outline(&told), [(STATUS, DATA_MISSING)], "and nothing else");
        assert_eq!(base_times(&told), [START + 7_200], "the current time");
        server.change([lease(address(1), 1), in_state(1, State::Released)]);
        assert_eq!(
            outline(&requestor.hear(&server)),
            [(UNASSIGNED, 1)],
            "it goes on live"
        );
    }
    assert_eq!(server.counters.v4.data_missing.get(), 3);
    assert_eq!(server.counters.v4.caught_up.get(), 0);
    let mut covered = stream(&server, &Query4::active(7).since(dropped + 1));
    let told = outline(&covered.messages());
    assert_eq!(told.last(), Some(&(STATUS, CATCH_UP_COMPLETE)));
}

/// What DataMissing makes a requestor ask (RFC 7724 §7.4.1) tells it what the log has forgotten.
#[test]
fn a_bulk_query_for_the_time_of_a_dropped_end_tells_its_address() {
    let ranges = vec![range(address(1), address(20), "")];
    let mut server = Server::open(active_settings(), ranges, HOUR, 64 << 10);
    server.advance(Duration::from_secs(60));
    drop_an_end(&mut server);
    let dropped = server.reader.dropped_until().seconds();
    assert!(dropped > START, "later than the store was made");
    let now = START + 7_260;
    let told = |since| server.bulk_addresses(&Query4::bulk(1).since(since).until(now));
    for since in [START + 30, dropped] {
        assert!(told(since).contains(&Ipv4Addr::from(address(9))), "{since}");
    }
    assert!(!told(dropped + 1).contains(&Ipv4Addr::from(address(9))));
}

#[test]
fn history_that_goes_while_a_stream_catches_up_ends_the_catch_up() {
    let mut server = Server::keeping(active_settings(), HOUR);
    server.store((1..=100).map(|last| lease(address(last), u32::from(last))));
    server.store((1..=50).map(|last| in_state(last, State::Released)));
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(7).since(START));
    requestor.deliver(&server);
    requestor.transmit(&server, 1);
    assert_eq!(requestor.messages().len(), 1, "it takes the first one only");
    fill(&server);
    server.advance(2 * HOUR);
    fill(&server);
    server.compact();
    let now = START + 7_200;
    let told = requestor.hear(&server);
    assert_eq!(outline(&told), [(STATUS, DATA_MISSING)]);
    assert_eq!(base_times(&told), [now]);
    server.change([lease_now(&server, 1)]);
    assert_eq!(outline(&requestor.hear(&server)), [(ACTIVE, 1)]);
    assert_eq!(server.counters.v4.data_missing.get(), 1);
}

#[test]
fn history_that_a_stream_at_the_tail_has_heard_is_not_missing() {
    let mut server = Server::keeping(active_settings(), HOUR);
    let mut requestor = stream(&server, &Query4::active(7));
    server.change([lease(address(1), 1)]);
    requestor.hear(&server);
    drop_an_end(&mut server);
    server.committed();
    requestor.hear(&server);
    server.change([lease_now(&server, 2)]);
    assert_eq!(outline(&requestor.hear(&server)), [(ACTIVE, 2)]);
    assert_eq!(server.counters.v4.data_missing.get(), 0);
}

#[test]
fn a_stream_that_catches_up_is_told_what_left_its_filter() {
    let mut server = Server::with(relay_scoped(), vec![]);
    server.store((1..=4).map(|last| lease(address(last), 5_000 + u32::from(last))));
    server.advance(10 * SECOND);
    // 1 leaves, 2 leaves and comes back, 3 leaves and ends elsewhere, 4 stays.
    server.store([1, 2, 3].map(|last| lease(address(last), u32::from(last))));
    server.store([lease(address(2), 5_002), in_state(3, State::Released)]);
    let query = Query4::active(7).relay_id(&relay_id(5)).want(&[156]);
    let mut requestor = stream(&server, &query.since(START + 10));
    let told = requestor.messages();
    assert_eq!(
        outline(&told),
        [
            (UNASSIGNED, 1),
            (UNASSIGNED, 3),
            (ACTIVE, 2),
            (STATUS, CATCH_UP_COMPLETE)
        ]
    );
    let states: Vec<_> = told.iter().map(|message| message.octet(156)).collect();
    assert_eq!(
        states[..2],
        [Some(State::Available as u8), Some(State::Released as u8)]
    );
}

#[test]
fn a_stream_taken_up_at_the_last_base_time_misses_nothing() {
    let mut server = server();
    let mut change = 0_u32;
    // Several changes of a few addresses in each second.
    let mut work = |server: &mut Server| {
        for _ in 0..10 {
            change += 1;
            let last = (change * 7 % 20) as u8;
            let event = match change % 3 {
                0 => in_state(last, State::Released),
                _ => Event4 {
                    cltt: Some(START + change),
                    ..lease(address(last), change)
                },
            };
            server.change([event]);
            server.advance(SECOND / 7);
        }
    };
    let mut table = BTreeMap::new();
    let mut since = START;
    for round in 0..40 {
        work(&mut server);
        let mut requestor = server.connect();
        requestor.ask(&Query4::active(round).since(since).want(&[51, 61, 153, 156]));
        requestor.deliver(&server);
        // It hears a part of what there is while more happens, and loses the connection.
        for _ in 0..round {
            requestor.transmit(&server, 400);
            if round % 4 == 0 {
                work(&mut server);
            }
        }
        let mut complete = false;
        for message in requestor.messages() {
            complete |= message.status() == Some(CATCH_UP_COMPLETE);
            if complete {
                // RFC 7724 §7.4.1: not before the catch-up phase is over.
                since = message.number(152).expect("base-time");
            }
            if message.status().is_none() {
                table.insert(message.ciaddr, identity(&message));
            }
        }
    }
    let mut last = stream(
        &server,
        &Query4::active(99).since(since).want(&[51, 61, 153, 156]),
    );
    for message in last.messages() {
        if message.status().is_none() {
            table.insert(message.ciaddr, identity(&message));
        }
    }
    let mut whole = stream(
        &server,
        &Query4::active(99).since(0).want(&[51, 61, 153, 156]),
    );
    let expected: BTreeMap<_, _> = whole
        .messages()
        .iter()
        .filter(|message| message.status().is_none())
        .map(|message| (message.ciaddr, identity(message)))
        .collect();
    assert_eq!(expected.len(), 20);
    assert_eq!(table, expected);
}

/// What a message tells of a binding, whenever it is told.
fn identity(message: &Message4) -> (u8, Option<u8>, Option<Vec<u8>>, u32) {
    let since = message.number(152).expect("base-time") - message.number(153).expect("a start");
    (
        message.message_type,
        message.octet(156),
        message.options.get(&61).cloned(),
        since,
    )
}
