//! DHCPv4: all configured addresses, then what changes.

use leaseq_feed::mirror::Family;
use leaseq_feed::run::Phase;
use leaseq_store::State;
use leaseq_wire::v4::DhcpState;
use leaseq_wire::v4::StatusCode::{CatchUpComplete, ConnectionActive, DataMissing, NotAllowed};
use leaseq_wire::v4::message_type::{DHCPACTIVELEASEQUERY, DHCPBULKLEASEQUERY};

use crate::server::{Mirror, Part, active4, base, done4, free4, part, status4, stream4};

/// Answers the bulk query with these addresses as leased.
pub fn bulk(leased: &'static [u8], after: u32) -> Part {
    part(move |mut connection| {
        let (xid, since) = connection.request4(DHCPBULKLEASEQUERY);
        assert_eq!(since, None);
        for last in leased {
            connection.say(&active4(xid, *last, after));
        }
        connection.say(&done4(xid, after, None));
        connection.hold();
    })
}

#[test]
fn what_is_there_comes_first_and_then_what_changes() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
                connection.say(&active4(xid, 1, 0));
                connection.say(&free4(xid, 3, 1, DhcpState::Available));
                connection.say(&free4(xid, 4, 1, DhcpState::Released));
                connection.say(&active4(xid, 2, 2));
                connection.say(&done4(xid, 2, None));
                connection.hold();
            }),
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
                assert_eq!(
                    since,
                    Some(base()),
                    "the first base-time of the bulk answer"
                );
                connection.say(&active4(xid, 5, 3));
                connection.say(&status4(xid, 4, CatchUpComplete));
                connection.say(&free4(xid, 1, 5, DhcpState::Released));
                connection.hold();
            }),
        ],
    );
    mirror.wait_until("the last change", |mirror| mirror.has_read_up_to(5));
    let lease = mirror.lease4(2).unwrap();
    assert_eq!(lease.state, State::Active);
    assert_eq!(
        (lease.cltt, lease.state_since, lease.lease_time, lease.t1),
        (
            Some(base() + 2 - 600),
            Some(base() + 2 - 1_800),
            Some(3_600),
            Some(1_500)
        ),
        "times are absolute, by the base-time that they came with"
    );
    assert!(lease.remote && lease.feed == mirror.feed_state().number);
    assert_eq!(lease.client_id.as_deref(), Some(&[1, 0xaa, 2][..]));
    assert_eq!(lease.options.unwrap(), [(12, b"host".to_vec())]);
    let ended = mirror.lease4(1).unwrap();
    assert_eq!(
        (ended.state, ended.state_since),
        (State::Released, Some(base() + 5))
    );
    assert_eq!(
        ended.relay_agent_info, None,
        "what was not told of the end is not kept"
    );
    assert_eq!(mirror.state4(3), None, "an address that nobody had");
    assert_eq!(mirror.state4(4), Some(State::Released));
    assert_eq!(mirror.state4(5), Some(State::Active));
    mirror.wait_until("the phase", |mirror| {
        mirror.status().phase == Phase::Following
    });
    assert!(!mirror.misses_something());
}

#[test]
fn a_lost_connection_is_caught_up_with_from_the_last_base_time() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            bulk(&[1], 0),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
                connection.say(&status4(xid, 4, CatchUpComplete));
                let whole = active4(xid, 2, 7);
                connection.say(&whole);
                // The next one is cut off in the middle.
                connection.say(&active4(xid, 3, 9)[..100]);
            }),
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
                assert_eq!(since, Some(base() + 7));
                connection.say(&active4(xid, 2, 7));
                connection.say(&active4(xid, 3, 9));
                // Cut before it has caught up: the last base-time before that counts.
            }),
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
                assert_eq!(since, Some(base() + 7));
                connection.say(&status4(xid, 11, CatchUpComplete));
                connection.say(&status4(xid, 12, ConnectionActive));
                connection.hold();
            }),
        ],
    );
    (0..3).for_each(|_| mirror.wait_for_part());
    mirror.wait_until("the keepalive's time", |mirror| mirror.has_read_up_to(12));
    for last in 1..=3 {
        assert_eq!(mirror.state4(last), Some(State::Active), "{last}");
    }
    assert!(mirror.status().troubles >= 2);
}

#[test]
fn data_missing_has_everything_read_again_and_what_is_not_told_ends() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
                for last in [1, 2] {
                    connection.say(&active4(xid, last, 0));
                }
                connection.say(&free4(xid, 3, 0, DhcpState::Expired));
                connection.say(&done4(xid, 0, None));
            }),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
                connection.say(&status4(xid, 5, DataMissing));
                connection.hold();
            }),
            bulk(&[1, 4], 6),
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
                assert_eq!(since, Some(base() + 6));
                connection.say(&status4(xid, 7, CatchUpComplete));
                connection.say(&status4(xid, 8, ConnectionActive));
                connection.hold();
            }),
        ],
    );
    mirror.wait_until("the keepalive's time", |mirror| mirror.has_read_up_to(8));
    assert_eq!(mirror.state4(1), Some(State::Active));
    assert_eq!(mirror.state4(4), Some(State::Active));
    let gone = mirror.lease4(2).unwrap();
    assert_eq!(
        (gone.state, gone.state_since),
        (State::Available, Some(base() + 6))
    );
    assert_eq!(
        (gone.client_id, gone.hwaddr),
        (None, None),
        "the server has forgotten it"
    );
    assert_eq!(mirror.state4(3), Some(State::Available));
}

#[test]
fn a_server_without_active_leasequery_is_asked_in_bulk_again() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            bulk(&[1, 2], 0),
            // An unsupported message has the connection closed.
            part(|mut connection| {
                connection.request4(DHCPACTIVELEASEQUERY);
            }),
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPBULKLEASEQUERY);
                assert_eq!(since, Some(base()), "only what has changed");
                connection.say(&free4(xid, 1, 20, DhcpState::Released));
                connection.say(&done4(xid, 20, None));
            }),
            part(|mut connection| {
                connection.request4(DHCPACTIVELEASEQUERY);
            }),
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPBULKLEASEQUERY);
                assert_eq!(since, Some(base() + 20));
                connection.say(&done4(xid, 30, None));
            }),
        ],
    );
    mirror.wait_until("the third answer", |mirror| mirror.has_read_up_to(30));
    assert_eq!(mirror.state4(1), Some(State::Released));
    assert_eq!(mirror.state4(2), Some(State::Active));
    let remark = mirror.status().remark.unwrap();
    assert!(remark.contains("no active leasequery"), "{remark}");
    assert!(mirror.status().loaded.is_some());
}

#[test]
fn active_leasequery_that_comes_later_is_used() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            bulk(&[1], 0),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
                connection.say(&status4(xid, 0, NotAllowed));
            }),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
                connection.say(&done4(xid, 2, None));
            }),
            stream4(2, 3, &[(2, 4)]),
        ],
    );
    mirror.wait_until("the change", |mirror| mirror.has_read_up_to(4));
    assert!(!mirror.misses_something());
}

#[test]
fn a_server_that_knows_no_vpns_is_asked_without() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            part(|mut connection| {
                let request = connection.request();
                let message = leaseq_wire::v4::Message::parse(&request).unwrap();
                assert!(message.option(221).is_some());
                connection.say(&done4(message.xid(), 0, Some(NotAllowed)));
            }),
            part(|mut connection| {
                let request = connection.request();
                let message = leaseq_wire::v4::Message::parse(&request).unwrap();
                assert!(message.option(221).is_none());
                let xid = message.xid();
                connection.say(&active4(xid, 1, 0));
                connection.say(&done4(xid, 0, None));
            }),
        ],
    );
    mirror.wait_until("the answer", |mirror| mirror.has_read_up_to(0));
    assert_eq!(mirror.state4(1), Some(State::Active));
}

#[test]
fn relay_agents_are_asked_for_where_everything_is_not_told() {
    let answer = |leased: &'static [u8], after| {
        part(move |mut connection| {
            let (xid, since) = connection.request4(DHCPBULKLEASEQUERY);
            assert_eq!(since, None, "such an answer never tells ends");
            for last in leased {
                connection.say(&active4(xid, *last, after));
            }
            connection.say(&done4(xid, after, None));
        })
    };
    let refuse = || {
        part(|mut connection| {
            connection.request4(DHCPACTIVELEASEQUERY);
        })
    };
    let script = vec![answer(&[1, 2], 0), refuse(), answer(&[2], 30)];
    let mirror = Mirror::start_with(Family::V4, script, |settings| {
        settings.relay_ids = vec![b"bng-7".to_vec()];
    });
    mirror.wait_until("the second answer", |mirror| mirror.has_read_up_to(30));
    let gone = mirror.lease4(1).unwrap();
    assert_eq!(
        (gone.state, gone.state_since),
        (State::Released, Some(base() + 30))
    );
    assert_eq!(mirror.state4(2), Some(State::Active));
    let remark = mirror.status().remark.unwrap();
    assert!(
        remark.contains("only what is asked for is known"),
        "{remark}"
    );
}

#[test]
fn a_restart_goes_on_where_the_store_has_come_to() {
    let mut mirror = Mirror::start(
        Family::V4,
        vec![
            bulk(&[1], 0),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
                connection.say(&status4(xid, 4, CatchUpComplete));
                connection.say(&active4(xid, 2, 7));
                connection.hold();
            }),
            stream4(7, 8, &[(3, 9)]),
        ],
    );
    mirror.wait_until("the change", |mirror| mirror.has_read_up_to(7));
    mirror.restart();
    mirror.wait_until("the change after it", |mirror| mirror.has_read_up_to(9));
}

#[test]
fn clocks_that_differ_are_told() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            bulk(&[1], 3_600),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
                connection.say(&status4(xid, 3_600, CatchUpComplete));
                connection.hold();
            }),
        ],
    );
    mirror.wait_until("the remark", |mirror| {
        let remark = mirror.status().remark.unwrap_or_default();
        remark.contains("minutes ahead of ours")
    });
}
