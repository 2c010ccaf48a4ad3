//! Active leasequery (RFC 7724): what a stream tells, and when.

use std::time::Duration;

use leaseq_session::{CloseReason, Fate, QueryKind, Settings};
use leaseq_store::{Event4, State, Vpn};

use crate::fixture::{Requestor, START, Server, active_settings, lease, relay_id, relay_info};
use crate::message::{Message4, Query4};

pub const SECOND: Duration = Duration::from_secs(1);
pub const HOUR: Duration = Duration::from_secs(3_600);

/// DHCPLEASEACTIVE, DHCPLEASEUNASSIGNED, DHCPLEASEQUERYSTATUS.
pub const ACTIVE: u8 = 13;
pub const UNASSIGNED: u8 = 11;
pub const STATUS: u8 = 17;

/// What a stream says in a status.
pub const DATA_MISSING: u8 = 5;
const CONNECTION_ACTIVE: u8 = 6;
pub const CATCH_UP_COMPLETE: u8 = 7;

pub fn server() -> Server {
    Server::with(active_settings(), vec![])
}

pub fn relay_scoped() -> Settings {
    let mut settings = active_settings();
    settings.active.relay_scope = true;
    settings
}

pub fn address(last: u8) -> [u8; 4] {
    [100, 64, 0, last]
}

pub fn in_state(last: u8, state: State) -> Event4 {
    Event4::new(address(last).into(), state)
}

/// A stream of everything, at the log's tail.
pub fn stream(server: &Server, query: &Query4) -> Requestor {
    let mut requestor = server.connect();
    requestor.ask(query);
    requestor.run(server);
    assert!(requestor.connection.is_stream());
    requestor
}

/// Address and message type of each message about a binding; of the others the status.
pub fn outline(messages: &[Message4]) -> Vec<(u8, u8)> {
    let short = |message: &Message4| match message.status() {
        Some(status) => (message.message_type, status),
        None => (message.message_type, message.ciaddr.octets()[3]),
    };
    messages.iter().map(short).collect()
}

pub fn base_times(messages: &[Message4]) -> Vec<u32> {
    let base = |message: &Message4| message.number(152).expect("base-time is in every message");
    messages.iter().map(base).collect()
}

#[test]
fn a_stream_without_a_start_time_tells_what_changes_from_now_on() {
    let mut server = server();
    server.store([lease(address(1), 1), lease(address(2), 2)]);
    let mut requestor = stream(&server, &Query4::active(7));
    assert_eq!(requestor.messages(), [], "nothing has changed yet");
    server.advance(60 * SECOND);
    server.change([lease(address(3), 3), in_state(1, State::Released)]);
    let told = requestor.hear(&server);
    assert_eq!(outline(&told), [(ACTIVE, 3), (UNASSIGNED, 1)]);
    assert!(told.iter().all(|message| message.xid == 7));
    assert_eq!(base_times(&told), [START + 60; 2]);
    let named: Vec<bool> = told.iter().map(|m| m.options.contains_key(&54)).collect();
    assert_eq!(named, [true, false], "the server is named once");
    let v4 = &server.counters.v4;
    assert_eq!(v4.queries.of(QueryKind::Active).get(), 1);
    assert_eq!((v4.streams_opened.get(), v4.streams_closed.get()), (1, 0));
    assert_eq!((v4.bindings.get(), v4.sent_messages.get()), (2, 2));
}

#[test]
fn the_server_is_named_in_the_first_message_also_of_a_stream_that_shares_later() {
    let server = server();
    let mut first = stream(&server, &Query4::active(1));
    let mut second = stream(&server, &Query4::active(2));
    for change in 1..=3 {
        server.change([lease(address(change), u32::from(change))]);
        for requestor in [&mut first, &mut second] {
            let told = requestor.hear(&server);
            assert_eq!(outline(&told), [(ACTIVE, change)]);
            assert_eq!(told[0].options.contains_key(&54), change == 1);
        }
    }
}

#[test]
fn each_kind_of_change_is_told_as_what_it_is() {
    let mut server = server();
    let wanted = [51, 61, 82, 91, 152, 153, 156];
    let mut requestor = stream(&server, &Query4::active(7).want(&wanted));
    let state = |state| in_state(1, state);
    let moved = Event4 {
        relay_agent_info: Some(relay_info(5, 1)),
        ..lease(address(1), 1)
    };
    let renewed = |seconds| Event4 {
        cltt: Some(START + seconds),
        state_since: Some(START),
        ..lease(address(1), 1)
    };
    let changes = [
        ("new", lease(address(1), 1), ACTIVE, State::Active),
        ("renewed", renewed(20), ACTIVE, State::Active),
        ("moved", moved, ACTIVE, State::Active),
        (
            "another client",
            lease(address(1), 2),
            ACTIVE,
            State::Active,
        ),
        (
            "released",
            state(State::Released),
            UNASSIGNED,
            State::Released,
        ),
        (
            "deleted",
            state(State::Available),
            UNASSIGNED,
            State::Available,
        ),
        (
            "declined",
            state(State::Abandoned),
            UNASSIGNED,
            State::Abandoned,
        ),
        ("reset", state(State::Reset), UNASSIGNED, State::Reset),
        ("remote", state(State::Remote), UNASSIGNED, State::Remote),
        (
            "between",
            state(State::Transitioning),
            UNASSIGNED,
            State::Transitioning,
        ),
        ("leased again", renewed(100), ACTIVE, State::Active),
    ];
    for (number, (what, event, message_type, state)) in changes.into_iter().enumerate() {
        server.advance(10 * SECOND);
        let now = START + 10 * (number as u32 + 1);
        let (cltt, since) = (event.cltt, event.state_since.unwrap_or(now));
        assert_eq!(
            server.change([event]),
            [requestor.key],
            "{what}: it is woken"
        );
        let told = requestor.hear(&server);
        assert_eq!(outline(&told), [(message_type, 1)], "{what}");
        let told = &told[0];
        assert_eq!(told.octet(156), Some(state as u8), "{what}");
        assert_eq!(told.number(152), Some(now), "{what}");
        assert_eq!(told.number(153), Some(now - since), "{what}");
        let left = (state == State::Active).then(|| 3_600 - (now - cltt.expect("a lease")));
        assert_eq!(told.number(51), left, "{what}");
    }
}

#[test]
fn an_event_that_changes_nothing_is_not_told() {
    let server = server();
    let mut requestor = stream(&server, &Query4::active(7));
    assert_eq!(server.change([lease(address(1), 1)]), [requestor.key]);
    assert_eq!(requestor.hear(&server).len(), 1);
    assert_eq!(server.change([lease(address(1), 1)]), [0; 0]);
    assert_eq!(requestor.hear(&server), []);
}

#[test]
fn a_lease_that_runs_out_is_told_when_it_does() {
    let mut server = server();
    let mut requestor = stream(&server, &Query4::active(7).want(&[153, 156]));
    server.change([lease(address(1), 1)]);
    requestor.hear(&server);
    server.advance(HOUR - SECOND);
    assert_eq!(server.committed(), [0; 0]);
    server.advance(SECOND);
    assert_eq!(server.committed(), [requestor.key]);
    let told = requestor.hear(&server);
    assert_eq!(outline(&told), [(UNASSIGNED, 1)]);
    assert_eq!(told[0].octet(156), Some(State::Expired as u8));
    assert_eq!(
        (told[0].number(152), told[0].number(153)),
        (Some(START + 3_600), Some(0))
    );
}

#[test]
fn a_keepalive_comes_each_idle_timeout_and_only_when_there_is_nothing_to_tell() {
    let mut server = server();
    let mut requestor = stream(&server, &Query4::active(7));
    let mut heard = Vec::new();
    for second in 1..=400 {
        requestor.live(&mut server, SECOND);
        // Changes every 20 seconds, from 100 to 200; none before and none after.
        if (100..=200).contains(&second) && second % 20 == 0 {
            server.change([Event4 {
                cltt: Some(START + second),
                ..lease(address(1), 1)
            }]);
        }
        for message in requestor.hear(&server) {
            assert_eq!(
                message.number(152),
                Some(START + second),
                "base-time is now"
            );
            heard.push((second, message.status()));
        }
    }
    let keepalive = |second| (second, Some(CONNECTION_ACTIVE));
    let change = |second| (second, None);
    assert_eq!(
        heard,
        [
            keepalive(60),
            change(100),
            change(120),
            change(140),
            change(160),
            change(180),
            change(200),
            keepalive(260),
            keepalive(320),
            keepalive(380),
        ]
    );
    assert_eq!(server.counters.v4.keepalives.get(), 4);
}

#[test]
fn the_idle_timeout_is_configurable() {
    let mut settings = active_settings();
    settings.active.idle_timeout = 7 * SECOND;
    let mut server = Server::with(settings, vec![]);
    let mut requestor = stream(&server, &Query4::active(7));
    requestor.live(&mut server, 70 * SECOND);
    assert_eq!(requestor.messages().len(), 10);
}

#[test]
fn a_keepalive_of_a_stream_that_nothing_concerns_moves_its_base_time_on() {
    let mut server = Server::with(relay_scoped(), vec![]);
    let mut requestor = stream(&server, &Query4::active(7).relay_id(&relay_id(99)));
    for minute in 1..=3 {
        server.change([Event4 {
            cltt: Some(START + minute),
            ..lease(address(1), 1)
        }]);
        requestor.live(&mut server, 60 * SECOND);
        let told = requestor.messages();
        assert_eq!(outline(&told), [(STATUS, CONNECTION_ACTIVE)]);
        assert_eq!(base_times(&told), [START + 60 * minute]);
    }
}

#[test]
fn streams_of_one_form_are_told_the_same_octets_but_for_the_transaction_id() {
    let server = server();
    let xids = [7, 0xffff_ffff, 0];
    let mut streams = xids.map(|xid| stream(&server, &Query4::active(xid).want(&[51, 61, 82])));
    // Another form beside them.
    let mut other = stream(&server, &Query4::active(9).want(&[51]));
    server.change([lease(address(1), 1)]);
    for requestor in streams.iter_mut().chain([&mut other]) {
        requestor.hear(&server);
    }
    server.change((2..=50).map(|last| lease(address(last), u32::from(last))));
    let octets = streams.each_mut().map(|requestor| {
        requestor.run(&server);
        let mut messages = Vec::new();
        requestor.each_message(|message| messages.push(message.to_vec()));
        messages
    });
    for (xid, messages) in xids.iter().zip(&octets) {
        assert_eq!(messages.len(), 49);
        for (message, first) in messages.iter().zip(&octets[0]) {
            assert_eq!(message[4..8], xid.to_be_bytes());
            assert_eq!((&message[..4], &message[8..]), (&first[..4], &first[8..]));
        }
    }
    let told = other.hear(&server);
    assert_eq!(told.len(), 49);
    assert!(told.iter().all(|message| message.codes() == [51, 152]));
}

#[test]
fn a_slow_reader_is_told_the_newest_state_and_not_what_led_to_it() {
    let mut server = server();
    let mut quick = stream(&server, &Query4::active(1));
    let mut slow = stream(&server, &Query4::active(2));
    server.change([lease(address(0), 0)]);
    quick.hear(&server);
    slow.hear(&server);
    let rounds = 3_000;
    let mut told_quick = 0;
    for round in 1..=rounds {
        server.advance(SECOND / 100);
        server.change((1..=2).map(|last| Event4 {
            cltt: Some(START + round),
            ..lease(address(last), u32::from(last))
        }));
        told_quick += quick.hear(&server).len();
    }
    assert_eq!(told_quick, 2 * rounds as usize);
    let told = slow.hear(&server);
    assert_eq!(outline(&told), [(ACTIVE, 1), (ACTIVE, 2)], "each once");
    let cltt = |message: &Message4| {
        message.number(152).expect("base-time") - message.number(91).expect("a transaction")
    };
    assert!(
        told.iter().all(|message| cltt(message) >= START + 30),
        "the newest"
    );
    assert_eq!(server.counters.v4.lagged.get(), 1);
    // It is at the tail again.
    assert_eq!(server.change([lease(address(3), 3)]), [quick.key, slow.key]);
    assert_eq!(outline(&slow.hear(&server)), [(ACTIVE, 3)]);
}

#[test]
fn a_stream_narrowed_to_a_relay_agent_is_told_of_it_alone() {
    let server = Server::with(relay_scoped(), vec![]);
    // Clients below 1,000 are behind relay agent 0, those from 5,000 on behind 5.
    let mut requestor = stream(&server, &Query4::active(7).relay_id(&relay_id(5)));
    assert_eq!(
        server.change([lease(address(1), 1), lease(address(2), 2)]),
        [0; 0],
        "it is not even woken"
    );
    assert_eq!(server.change([lease(address(3), 5_003)]), [requestor.key]);
    assert_eq!(outline(&requestor.hear(&server)), [(ACTIVE, 3)]);
    // One that leaves it has ended for it; one that comes is new.
    server.change([lease(address(3), 3), lease(address(1), 5_001)]);
    let told = requestor.hear(&server);
    assert_eq!(outline(&told), [(UNASSIGNED, 3), (ACTIVE, 1)]);
    assert!(told[0].chaddr.is_empty() && !told[0].options.contains_key(&82));
    // One that ends there, too.
    server.change([in_state(1, State::Released), in_state(2, State::Released)]);
    assert_eq!(outline(&requestor.hear(&server)), [(UNASSIGNED, 1)]);
}

#[test]
fn every_vpn_is_told_and_names_itself() {
    let server = server();
    let mut requestor = stream(&server, &Query4::active(7));
    server.change(["", "red", "blue"].map(|vpn| Event4 {
        vpn: Vpn::named(vpn),
        ..lease(address(1), 1)
    }));
    let told = requestor.hear(&server);
    let vpns: Vec<_> = told.iter().map(|m| m.options.get(&221).cloned()).collect();
    assert_eq!(
        vpns,
        [None, Some(b"\0red".to_vec()), Some(b"\0blue".to_vec())]
    );
}

#[test]
fn in_secure_mode_a_query_without_tls_closes_the_connection() {
    let mut settings = active_settings();
    settings.active.insecure = false;
    let server = Server::with(settings, vec![]);
    let mut requestor = server.connect();
    requestor.ask(&Query4::active(7));
    assert_eq!(requestor.hear(&server), []);
    assert_eq!(
        requestor.connection.fate(),
        Fate::CloseWhenWritten(CloseReason::TlsRequired)
    );
}
