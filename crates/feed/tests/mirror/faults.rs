//! Servers that are silent, cut off what they say, or say nonsense.

use std::time::Duration;

use leaseq_feed::mirror::Family;
use leaseq_feed::run::Phase;
use leaseq_store::State;
use leaseq_wire::v4::StatusCode::{
    self, CatchUpComplete, ConnectionActive, DataMissing, NotAllowed, QueryTerminated, UnspecFail,
};
use leaseq_wire::v4::message_type::{
    DHCPACTIVELEASEQUERY, DHCPBULKLEASEQUERY, DHCPLEASEUNASSIGNED,
};

use crate::server::{Mirror, Part, active4, base, done4, message4, part, status4, stream4};
use crate::v4::bulk;

/// Ends the bulk query with this status after these addresses.
fn failing(leased: &'static [u8], status: StatusCode) -> Part {
    part(move |mut connection| {
        let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
        for last in leased {
            connection.say(&active4(xid, *last, 0));
        }
        connection.say(&done4(xid, 0, Some(status)));
        connection.hold();
    })
}

/// Waits until the mirror waits because of this.
fn wait_for_trouble(mirror: &Mirror, cause: &str) {
    mirror.wait_until(cause, |mirror| {
        let status = mirror.status();
        let trouble = status.trouble.map(|trouble| trouble.text);
        status.phase == Phase::Waiting && trouble.is_some_and(|text| text.contains(cause))
    });
}

#[test]
fn a_bulk_answer_that_is_cut_off_is_asked_for_again() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
                connection.say(&active4(xid, 1, 0));
                connection.say(&active4(xid, 2, 0)[..50]);
            }),
            bulk(&[1, 2], 1),
        ],
    );
    mirror.wait_until("the whole answer", |mirror| mirror.has_read_up_to(1));
    assert_eq!(mirror.state4(2), Some(State::Active));
    assert_eq!(mirror.status().troubles, 1);
}

#[test]
fn a_bulk_answer_that_fails_is_asked_for_again() {
    for status in [UnspecFail, QueryTerminated] {
        let mirror = Mirror::start(Family::V4, vec![failing(&[1], status), bulk(&[2], 1)]);
        mirror.wait_until("the whole answer", |mirror| mirror.has_read_up_to(1));
        let trouble = mirror.status().trouble.unwrap().text;
        assert!(
            trouble.contains(&format!("refused a bulk query: {status:?}")),
            "{trouble}"
        );
        assert_eq!(mirror.state4(2), Some(State::Active));
    }
}

#[test]
fn a_server_that_ends_each_bulk_answer_is_told_of_and_never_swept_by() {
    let script = vec![
        bulk(&[1, 2], 0),
        part(|mut connection| {
            let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
            connection.say(&status4(xid, 1, DataMissing));
            connection.hold();
        }),
        failing(&[1], QueryTerminated),
        failing(&[1], QueryTerminated),
    ];
    let mirror = Mirror::start(Family::V4, script);
    (0..2).for_each(|_| mirror.wait_for_part());
    for troubles in 1..=2 {
        mirror.wait_for_part();
        mirror.wait_until("the trouble", |mirror| mirror.status().troubles == troubles);
        wait_for_trouble(&mirror, "refused a bulk query: QueryTerminated");
    }
    assert_eq!(mirror.state4(1), Some(State::Active));
    assert_eq!(mirror.state4(2), Some(State::Active));
}

#[test]
fn a_server_that_allows_nothing_is_asked_again_for_all_vpns() {
    let refused = |has_vpns: bool| {
        part(move |mut connection| {
            let request = connection.request();
            let message = leaseq_wire::v4::Message::parse(&request).unwrap();
            assert_eq!(message.option(221).is_some(), has_vpns);
            connection.say(&done4(message.xid(), 0, Some(NotAllowed)));
        })
    };
    let allowed = part(|mut connection| {
        let request = connection.request();
        let message = leaseq_wire::v4::Message::parse(&request).unwrap();
        assert!(message.option(221).is_some());
        let xid = message.xid();
        connection.say(&active4(xid, 1, 1));
        connection.say(&done4(xid, 1, None));
    });
    let mirror = Mirror::start(Family::V4, vec![refused(true), refused(false), allowed]);
    wait_for_trouble(&mirror, "refused a bulk query: NotAllowed");
    mirror.wait_until("the answer", |mirror| mirror.has_read_up_to(1));
    assert_eq!(mirror.state4(1), Some(State::Active));
    assert!(!mirror.misses_something());
}

#[test]
fn a_server_that_is_stopping_is_asked_for_all_vpns_afterwards() {
    let stopping = failing(&[], QueryTerminated);
    let back = part(|mut connection| {
        let request = connection.request();
        let message = leaseq_wire::v4::Message::parse(&request).unwrap();
        assert!(message.option(221).is_some());
        connection.say(&done4(message.xid(), 1, None));
    });
    let mirror = Mirror::start(Family::V4, vec![stopping, back]);
    (0..2).for_each(|_| mirror.wait_for_part());
    mirror.wait_until("the answer", |mirror| mirror.has_read_up_to(1));
}

#[test]
fn a_bulk_answer_that_is_no_leasequery_breaks_off_and_is_asked_for_again() {
    let rubbish = |octets: &'static [u8]| {
        part(move |mut connection| {
            let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
            connection.say(&active4(xid, 1, 0));
            connection.say(octets);
            connection.hold();
        })
    };
    let script = vec![
        // No frame, and a frame of nothing that is a message.
        rubbish(&[0, 0]),
        rubbish(b"\0\x10HTTP/1.1 400 Bad"),
        bulk(&[1], 1),
    ];
    let mirror = Mirror::start(Family::V4, script);
    wait_for_trouble(&mirror, "broke the protocol");
    mirror.wait_until("the whole answer", |mirror| mirror.has_read_up_to(1));
    assert_eq!(mirror.status().troubles, 2);
}

#[test]
fn a_server_that_stalls_is_given_up_and_asked_again() {
    let stalls = part(|mut connection| {
        let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
        connection.say(&active4(xid, 1, 0));
        connection.say(&active4(xid, 2, 0)[..70]);
        connection.hold();
    });
    let script = vec![
        stalls,
        bulk(&[1, 2], 1),
        part(|mut connection| {
            let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
            connection.say(&status4(xid, 2, CatchUpComplete));
            connection.say(&active4(xid, 3, 3));
            connection.say(&active4(xid, 4, 4)[..70]);
            connection.hold();
        }),
        stream4(3, 5, &[(4, 6)]),
    ];
    let mirror = Mirror::start_with(Family::V4, script, |settings| {
        settings.data_timeout = Duration::from_millis(200);
        settings.receive_timeout = Duration::from_millis(200);
    });
    wait_for_trouble(&mirror, "no answer from ");
    (0..2).for_each(|_| mirror.wait_for_part());
    wait_for_trouble(&mirror, "silent");
    mirror.wait_until("the change", |mirror| mirror.has_read_up_to(6));
    for last in 1..=4 {
        assert_eq!(mirror.state4(last), Some(State::Active), "{last}");
    }
}

#[test]
fn a_clock_that_was_put_back_has_everything_read_again() {
    let script = vec![
        bulk(&[1, 2], 3_600),
        part(|mut connection| {
            let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
            assert_eq!(since, Some(base() + 3_600));
            connection.say(&status4(xid, 3_600, CatchUpComplete));
            connection.say(&status4(xid, 3_601, ConnectionActive));
            // To the second is no step.
            connection.say(&status4(xid, 3_600, ConnectionActive));
            connection.say(&active4(xid, 3, 4));
            connection.hold();
        }),
        bulk(&[2, 3], 5),
        part(|mut connection| {
            let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
            assert_eq!(since, Some(base() + 5));
            connection.say(&status4(xid, 6, CatchUpComplete));
            connection.say(&status4(xid, 7, ConnectionActive));
            connection.hold();
        }),
    ];
    let mirror = Mirror::start(Family::V4, script);
    mirror.wait_until("the time after it", |mirror| mirror.has_read_up_to(7));
    let trouble = mirror.status().trouble.unwrap().text;
    assert!(trouble.contains("went back by 3597 s"), "{trouble}");
    assert_eq!(mirror.state4(1), Some(State::Available));
    assert_eq!(mirror.state4(3), Some(State::Active));
}

#[test]
fn a_clock_that_was_put_back_while_nobody_listened_is_noticed_too() {
    let script = vec![
        bulk(&[1, 2], 3_600),
        // Without active leasequery, by the next bulk answer.
        part(|mut connection| {
            connection.request4(DHCPACTIVELEASEQUERY);
        }),
        part(|mut connection| {
            let (xid, since) = connection.request4(DHCPBULKLEASEQUERY);
            assert_eq!(since, Some(base() + 3_600));
            connection.say(&done4(xid, 4, None));
            connection.hold();
        }),
        bulk(&[2], 5),
        // With it, by the end of catching up.
        part(|mut connection| {
            let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
            assert_eq!(since, Some(base() + 5));
            connection.say(&status4(xid, 1_000, CatchUpComplete));
            connection.say(&status4(xid, 1_000, ConnectionActive));
        }),
        stream4(1_000, 6, &[]),
        bulk(&[3], 7),
    ];
    let mirror = Mirror::start(Family::V4, script);
    mirror.wait_until("the last answer", |mirror| mirror.has_read_up_to(7));
    let states = [1, 2, 3].map(|last| mirror.state4(last));
    let [gone, lives] = [State::Available, State::Active].map(Some);
    assert_eq!(states, [gone, gone, lives]);
}

#[test]
fn rubbish_is_rejected_and_the_rest_kept() {
    let mirror = Mirror::start(
        Family::V4,
        vec![
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
                connection.say(&active4(xid, 1, 0));
                let odd = message4(xid, DHCPLEASEUNASSIGNED, 2, 0, |writer| {
                    writer.option(156, &[99]).unwrap();
                });
                connection.say(&odd);
                connection.say(&active4(xid, 3, 0));
                connection.say(&done4(xid, 0, None));
            }),
            part(|mut connection| {
                let (xid, _) = connection.request4(DHCPACTIVELEASEQUERY);
                connection.say(&status4(xid, 1, CatchUpComplete));
                connection.say(&active4(xid, 4, 2));
                // No frame of anything.
                connection.say(&[0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]);
                connection.hold();
            }),
            stream4(2, 3, &[(5, 4)]),
        ],
    );
    mirror.wait_until("what came later", |mirror| mirror.has_read_up_to(4));
    for last in [1, 3, 4, 5] {
        assert_eq!(mirror.state4(last), Some(State::Active), "{last}");
    }
    let status = mirror.status();
    assert_eq!(status.rejected, 1);
    assert!(status.trouble.unwrap().text.contains("broke the protocol"));
}

#[test]
fn a_server_that_is_silent_holds_nobody_up() {
    // Silent in bulk: it takes the request and says nothing.
    let mut mirror = Mirror::start(
        Family::V4,
        vec![part(|mut connection| {
            connection.request4(DHCPBULKLEASEQUERY);
            std::mem::forget(connection);
        })],
    );
    mirror.wait_for_part();
    mirror.stop();
    // Silent in the stream.
    let mut mirror = Mirror::start(
        Family::V4,
        vec![
            bulk(&[1], 0),
            part(|mut connection| {
                connection.request4(DHCPACTIVELEASEQUERY);
                std::mem::forget(connection);
            }),
        ],
    );
    (0..2).for_each(|_| mirror.wait_for_part());
    mirror.stop();
    assert_eq!(mirror.state4(1), Some(State::Active));
}

#[test]
fn nobody_there_is_waited_for() {
    let mut mirror = Mirror::start_with(Family::V4, Vec::new(), |settings| {
        settings.server = "127.0.0.1:1".into();
    });
    mirror.wait_until("the trouble", |mirror| mirror.status().troubles > 0);
    let trouble = mirror.status().trouble.unwrap().text;
    assert!(
        trouble.contains("cannot connect to 127.0.0.1:1: "),
        "{trouble}"
    );
    mirror.stop();
}
