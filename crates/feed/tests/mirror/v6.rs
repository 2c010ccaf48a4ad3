//! DHCPv6: an active query from the beginning of time, or by links and relay agents.

use std::time::Duration;

use leaseq_feed::mirror::Family;
use leaseq_feed::run::Phase;
use leaseq_store::{Link6, State};
use leaseq_wire::v6::StatusCode::{self, CatchUpComplete, DataMissing, NotSupported};
use leaseq_wire::v6::message_type::{
    ACTIVELEASEQUERY, LEASEQUERY, LEASEQUERY_DATA, LEASEQUERY_DONE, LEASEQUERY_REPLY,
};

use crate::server::{Connection, Mirror, Part, Request6, base, client6, message6, part};

/// 2000-01-01, in Unix time.
const BEGINNING: u32 = 946_684_800;

fn reply(request: &Request6, after: u32, status: Option<StatusCode>) -> Vec<u8> {
    message6(request, LEASEQUERY_REPLY, after, |writer| {
        if let Some(status) = status {
            writer.status(status, "").unwrap();
        }
    })
}

fn status(request: &Request6, after: u32, status: StatusCode) -> Vec<u8> {
    message6(request, LEASEQUERY_DATA, after, |writer| {
        writer.status(status, "").unwrap();
    })
}

fn client(request: &Request6, after: u32, duid: u8, leases: &[(u16, u32)]) -> Vec<u8> {
    client6(request, LEASEQUERY_DATA, after, duid, leases)
}

/// Takes an active query from this time, and begins to answer it.
fn begin(connection: &mut Connection, since: u32) -> Request6 {
    let request = connection.request6(ACTIVELEASEQUERY);
    assert_eq!(request.since, Some(since));
    connection.say(&reply(&request, 0, None));
    request
}

#[test]
fn everything_is_told_from_the_beginning_and_then_what_changes() {
    let mirror = Mirror::start(
        Family::V6,
        vec![part(|mut connection| {
            let request = begin(&mut connection, BEGINNING);
            connection.say(&client(&request, 0, 1, &[(1, 3_000), (2, 4_000)]));
            connection.say(&client(&request, 0, 2, &[(3, u32::MAX)]));
            connection.say(&status(&request, 2, CatchUpComplete));
            connection.say(&client(&request, 3, 1, &[(1, 0), (2, 3_997)]));
            // This address has another client by now: its old one's word is not heard.
            connection.say(&client(&request, 4, 9, &[(3, 0)]));
            connection.hold();
        })],
    );
    mirror.wait_until("the last change", |mirror| mirror.has_read_up_to(4));
    let lease = mirror.lease6(2).unwrap();
    assert_eq!(
        (
            lease.state,
            lease.cltt,
            lease.valid_lifetime,
            lease.duid.as_deref()
        ),
        (
            State::Active,
            Some(base() + 3 - 600),
            Some(4_597),
            Some(&[0, 3, 0, 1][..])
        )
    );
    assert_eq!(
        lease.link,
        Some(Link6::Address("2001:db8:7::1".parse().unwrap()))
    );
    let ended = mirror.lease6(1).unwrap();
    assert_eq!(
        (ended.state, ended.state_since),
        (State::Released, Some(base() + 3))
    );
    let forever = mirror.lease6(3).unwrap();
    assert_eq!(
        (forever.state, forever.valid_lifetime),
        (State::Active, Some(u32::MAX))
    );
    mirror.wait_until("the phase", |mirror| {
        mirror.status().phase == Phase::Following
    });
    assert!(!mirror.misses_something());
}

#[test]
fn a_gap_has_everything_told_from_the_beginning_again() {
    let mirror = Mirror::start(
        Family::V6,
        vec![
            part(|mut connection| {
                let request = begin(&mut connection, BEGINNING);
                connection.say(&client(&request, 0, 1, &[(1, 3_000)]));
                connection.say(&client(&request, 0, 2, &[(2, 3_000)]));
                connection.say(&status(&request, 2, CatchUpComplete));
                connection.say(&status(&request, 3, StatusCode::Success));
            }),
            part(|mut connection| {
                let request = begin(&mut connection, base() + 3);
                connection.say(&status(&request, 10, DataMissing));
                connection.hold();
            }),
            part(|mut connection| {
                let request = begin(&mut connection, BEGINNING);
                connection.say(&client(&request, 11, 2, &[(2, 3_000)]));
                // Cut: what was not told yet has not ended by that.
            }),
            part(|mut connection| {
                let request = begin(&mut connection, BEGINNING);
                connection.say(&client(&request, 11, 2, &[(2, 3_000)]));
                connection.say(&client(&request, 11, 3, &[(3, 3_000)]));
                // The first one's address had another client in between, of which only the end is told.
                connection.say(&client(&request, 11, 9, &[(1, 0)]));
                connection.say(&status(&request, 12, CatchUpComplete));
                connection.say(&status(&request, 13, StatusCode::Success));
                connection.hold();
            }),
        ],
    );
    (0..3).for_each(|_| mirror.wait_for_part());
    mirror.wait_until("the keepalive's time", |mirror| mirror.has_read_up_to(13));
    assert_eq!(mirror.state6(1), Some(State::Released));
    assert_eq!(mirror.state6(2), Some(State::Active));
    assert_eq!(mirror.state6(3), Some(State::Active));
}

#[test]
fn a_server_that_cannot_tell_the_past_is_followed_and_the_operator_told() {
    let mirror = Mirror::start(
        Family::V6,
        vec![
            part(|mut connection| {
                let request = connection.request6(ACTIVELEASEQUERY);
                connection.say(&reply(&request, 2, Some(DataMissing)));
                connection.hold();
            }),
            part(|mut connection| {
                let request = begin(&mut connection, base() + 2);
                connection.say(&status(&request, 3, CatchUpComplete));
                connection.say(&client(&request, 4, 1, &[(1, 3_000)]));
                connection.hold();
            }),
        ],
    );
    mirror.wait_until("the change", |mirror| mirror.has_read_up_to(4));
    assert_eq!(mirror.state6(1), Some(State::Active));
    let remark = mirror.status().remark.unwrap();
    assert!(
        remark.contains("configure `links` or `relay-ids`"),
        "{remark}"
    );
}

/// Answers the query by link with these addresses, each its own client's.
fn by_link(leases: &'static [u16], after: u32) -> Part {
    part(move |mut connection| {
        let request = connection.request6(LEASEQUERY);
        let mut kind = LEASEQUERY_REPLY;
        for last in leases {
            let duid = *last as u8;
            connection.say(&client6(&request, kind, after, duid, &[(*last, 3_000)]));
            kind = LEASEQUERY_DATA;
        }
        connection.say(&message6(&request, LEASEQUERY_DONE, after, |_| {}));
        connection.hold();
    })
}

fn no_active() -> Part {
    part(|mut connection| {
        let request = connection.request6(ACTIVELEASEQUERY);
        connection.say(&reply(&request, 0, Some(NotSupported)));
    })
}

#[test]
fn without_active_leasequery_links_are_asked_for_again_and_again() {
    let script = vec![
        no_active(),
        by_link(&[1, 2], 10),
        no_active(),
        by_link(&[2, 3], 30),
    ];
    let mirror = Mirror::start_with(Family::V6, script, |settings| {
        settings.links = vec!["2001:db8:7::1".parse().unwrap()];
    });
    mirror.wait_until("the second answer", |mirror| mirror.has_read_up_to(30));
    let states = [1, 2, 3].map(|last| mirror.state6(last).unwrap());
    assert_eq!(states, [State::Released, State::Active, State::Active]);
    let remark = mirror.status().remark.unwrap();
    assert!(remark.contains("NotSupported"), "{remark}");
    assert!(
        remark.contains("only what is asked for is known"),
        "{remark}"
    );
}

#[test]
fn without_anything_to_ask_for_that_is_said() {
    let mirror = Mirror::start_with(Family::V6, vec![no_active()], |settings| {
        settings.interval = Duration::from_secs(3_600);
    });
    mirror.wait_until("the trouble", |mirror| {
        let trouble = mirror.status().trouble;
        trouble.is_some_and(|trouble| trouble.text.contains("no `links` or `relay-ids`"))
    });
    assert_eq!(mirror.status().loaded, None);
}

#[test]
fn what_is_refused_of_several_bulk_queries_is_told_and_the_others_count() {
    let answer = |leases: &'static [u16], after| {
        part(move |mut connection| {
            for _ in 0..2 {
                let request = connection.request6(LEASEQUERY);
                if request.is_by_relay {
                    connection.say(&reply(&request, after, Some(StatusCode::UnknownQueryType)));
                    continue;
                }
                let mut kind = LEASEQUERY_REPLY;
                for last in leases {
                    connection.say(&client6(
                        &request,
                        kind,
                        after,
                        *last as u8,
                        &[(*last, 3_000)],
                    ));
                    kind = LEASEQUERY_DATA;
                }
                connection.say(&message6(&request, LEASEQUERY_DONE, after, |_| {}));
            }
            connection.hold();
        })
    };
    let script = vec![
        no_active(),
        answer(&[1, 2], 10),
        no_active(),
        answer(&[2], 30),
    ];
    let mirror = Mirror::start_with(Family::V6, script, |settings| {
        settings.links = vec!["2001:db8:7::1".parse().unwrap()];
        settings.relay_ids = vec![vec![0, 3, 0, 7]];
    });
    mirror.wait_until("the second answer", |mirror| mirror.has_read_up_to(30));
    let trouble = mirror.status().trouble.unwrap().text;
    assert!(
        trouble.contains("refused 1 bulk queries, the first with: UnknownQueryType"),
        "{trouble}"
    );
    let states = [1, 2].map(|last| mirror.state6(last).unwrap());
    assert_eq!(states, [State::Released, State::Active]);
}

#[test]
fn a_server_that_refuses_every_query_is_asked_again_later() {
    let refuse = || {
        part(|mut connection| {
            let request = connection.request6(LEASEQUERY);
            connection.say(&reply(&request, 0, Some(StatusCode::NotAllowed)));
            connection.hold();
        })
    };
    let script = vec![no_active(), refuse(), no_active(), by_link(&[1], 10)];
    let mirror = Mirror::start_with(Family::V6, script, |settings| {
        settings.links = vec!["2001:db8:7::1".parse().unwrap()];
    });
    mirror.wait_until("the trouble", |mirror| {
        let trouble = mirror.status().trouble;
        trouble.is_some_and(|trouble| trouble.text.contains("refused a bulk query: NotAllowed"))
    });
    mirror.wait_until("the answer", |mirror| mirror.has_read_up_to(10));
    assert_eq!(mirror.state6(1), Some(State::Active));
}
