//! Servers that are silent, cut off what they say, or say nonsense.

use leaseq_feed::mirror::Family;
use leaseq_store::State;
use leaseq_wire::v4::StatusCode::{CatchUpComplete, UnspecFail};
use leaseq_wire::v4::message_type::{
    DHCPACTIVELEASEQUERY, DHCPBULKLEASEQUERY, DHCPLEASEUNASSIGNED,
};

use crate::server::{Mirror, active4, base, done4, message4, part, status4};
use crate::v4::bulk;

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
    let fails = || {
        part(|mut connection| {
            let (xid, _) = connection.request4(DHCPBULKLEASEQUERY);
            connection.say(&active4(xid, 1, 0));
            connection.say(&done4(xid, 0, Some(UnspecFail)));
        })
    };
    let mirror = Mirror::start(Family::V4, vec![fails(), bulk(&[2], 1)]);
    mirror.wait_until("the whole answer", |mirror| mirror.has_read_up_to(1));
    let trouble = mirror.status().trouble.unwrap().text;
    assert!(
        trouble.contains("refused a bulk query: UnspecFail"),
        "{trouble}"
    );
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
            part(|mut connection| {
                let (xid, since) = connection.request4(DHCPACTIVELEASEQUERY);
                assert_eq!(since, Some(base() + 2));
                connection.say(&status4(xid, 3, CatchUpComplete));
                connection.say(&active4(xid, 5, 4));
                connection.hold();
            }),
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
