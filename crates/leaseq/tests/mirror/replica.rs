//! A mirror is equal to its server, as leasequery tells it, after whatever happened on the way.

use crate::changes::{Changes, marker, now};
use crate::node::{Node, assert_equal};
use crate::proxy::Proxy;

const STORE: &str = "sync = \"never\"\nsegment-size = \"1MiB\"\nexpiry-grace = \"1s\"";

struct Link {
    v4: Proxy,
    v6: Proxy,
}

impl Link {
    fn to(origin: &Node) -> Link {
        Link {
            v4: Proxy::to(origin.v4),
            v6: Proxy::to(origin.v6),
        }
    }

    fn each(&self, mut act: impl FnMut(&Proxy)) {
        act(&self.v4);
        act(&self.v6);
    }
}

/// Waits until the mirror has what the origin is told last, and compares.
pub fn settle_and_compare(mut origin: Node, mut mirror: Node) {
    for number in 20..23 {
        origin.feed(&marker(number));
        mirror.wait_for_client(number);
    }
    mirror.stop();
    origin.stop();
    assert_equal(&origin, &mirror, now());
}

#[test]
fn a_replica_that_is_cut_off_again_and_again_ends_equal() {
    let mut changes = Changes::new(7);
    let mut origin = Node::origin(STORE);
    origin.feed(&changes.some(300));
    let link = Link::to(&origin);
    let mut mirror = Node::mirror(STORE, link.v4.address, link.v6.address);
    for round in 0..9 {
        let fuse = 200 + changes.number(20_000);
        link.each(|proxy| proxy.cut_after(fuse));
        origin.feed(&changes.some(60));
        if changes.number(2) == 0 {
            link.each(Proxy::cut);
        }
        match round {
            2 | 7 => {
                mirror.kill();
                origin.feed(&changes.some(60));
                mirror.start_again();
            }
            4 => {
                origin.kill();
                origin.start_again();
            }
            5 => {
                origin.stop();
                origin.start_again();
                mirror.stop();
                mirror.start_again();
            }
            _ => {}
        }
        origin.feed(&changes.some(60));
        link.each(Proxy::heal);
        origin.feed(&marker(round));
        mirror.wait_for_client(round);
    }
    settle_and_compare(origin, mirror);
}

#[test]
fn what_is_forgotten_while_the_mirror_is_away_has_ended_there_too() {
    // Ends are forgotten at once when the log is compacted, and it is compacted soon.
    let forgetful =
        "sync = \"never\"\nsegment-size = \"64KiB\"\nhistory = \"0s\"\nexpiry-grace = \"1s\"";
    let mut changes = Changes::new(11);
    let mut origin = Node::origin(forgetful);
    origin.feed(&changes.some(400));
    let link = Link::to(&origin);
    let mut mirror = Node::mirror(STORE, link.v4.address, link.v6.address);
    origin.feed(&marker(0));
    mirror.wait_for_client(0);
    mirror.stop();
    let (away, mut dropped) = (1_000 * (now() + 1), 0);
    for _ in 0..40 {
        origin.feed(&changes.some(3_000));
        origin.stop();
        dropped = origin.stat()["dropped_until_ms"].as_u64().unwrap();
        origin.start_again();
        if dropped > away {
            break;
        }
    }
    assert!(dropped > away, "nothing was forgotten");
    // From now on nothing is: what the mirror is told it may keep.
    origin.stop();
    origin.set_store(&forgetful.replace("history = \"0s\"\n", ""));
    origin.start_again();
    mirror.start_again();
    let log = mirror.server().wait_for_log("mirror-gap");
    assert!(log.contains("cannot tell all changes"), "{log}");
    settle_and_compare(origin, mirror);
}
