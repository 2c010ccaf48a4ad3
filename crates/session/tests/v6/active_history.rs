//! Active leasequery (RFC 7653) end to end: what a stream tells of the time before it began.

use crate::support::*;
use leaseq_store::{Event6, State};

fn released(text: &str) -> Event6 {
    Event6::new(ip(text), State::Released)
}

fn text(n: u32) -> String {
    format!("2001:db8:1::{n:x}")
}

#[test]
fn a_stream_with_a_start_time_catches_up_says_so_and_goes_on() {
    let site = Site::active();
    for n in 1..=4 {
        site.add([address(&text(n), n, 1)]);
        site.clock.advance(10_000);
    }
    let query = Request::all_updates().asking(&[100]).since(NOW_2000 + 10);
    let mut stream = site.stream(&query);
    let told = stream.replies();
    let lines: Vec<_> = told.iter().map(Reply::line).collect();
    assert_eq!(
        lines,
        [
            "data 2: 2001:db8:1::2 3490",
            "data 3: 2001:db8:1::3 3480",
            "data 4: 2001:db8:1::4 3470",
            "data caught up"
        ]
    );
    let base_times: Vec<_> = told.iter().map(|reply| reply.base_time).collect();
    let expected = [10, 20, 30, 40].map(|after| Some(NOW_2000 + after));
    assert_eq!(base_times, expected, "each at its own change, the end now");
    site.change([released(&text(2))]);
    assert_eq!(stream.hear(), ["data 2: 2001:db8:1::2 over"]);
    assert_eq!(site.counters.v6.caught_up.get(), 1);
}

#[test]
fn without_a_start_time_there_is_no_catch_up() {
    let site = Site::active();
    site.add([address(&text(1), 1, 1)]);
    let mut stream = site.stream(&Request::all_updates());
    assert_eq!(stream.hear(), Vec::<String>::new());
}

#[test]
fn with_nothing_to_catch_up_completion_is_said_at_once() {
    let site = Site::active();
    site.add([address(&text(1), 1, 1)]);
    site.clock.advance(5_000);
    for since in [NOW_2000 + 1, NOW_2000 + 5, u32::MAX - 946_684_800] {
        let mut stream = site.stream(&by_relay_id(1).since(since));
        assert_eq!(stream.hear(), ["data caught up"], "since {since}");
    }
}

#[test]
fn catch_up_tells_each_client_in_its_present_state() {
    let site = Site::active();
    site.add([address(&text(1), 1, 1), address(&text(2), 2, 1)]);
    for round in 0..5 {
        site.clock.advance(10_000);
        let renewed = Event6 {
            cltt: Some(NOW + round),
            ..address(&text(1), 1, 1)
        };
        site.add([renewed, released(&text(2))]);
        site.add([
            released(&text(1)),
            Event6 {
                cltt: Some(NOW + round),
                ..address(&text(2), 2, 1)
            },
        ]);
    }
    let mut stream = site.stream(&Request::all_updates().since(NOW_2000));
    assert_eq!(
        stream.hear(),
        [
            "data 1: 2001:db8:1::1 over",
            "data 2: 2001:db8:1::2 3554",
            "data caught up"
        ]
    );
}

#[test]
fn a_stream_that_catches_up_is_told_what_left_its_filter() {
    let site = Site::active();
    site.add((1..=4).map(|n| address(&text(n), n, 1)));
    site.clock.advance(10_000);
    let elsewhere = |n: u32| Event6 {
        link: Some(leaseq_store::Link6::Address(ip("2001:db8:1::1"))),
        relay: address(&text(n), n, 2).relay,
        ..address(&text(n), n, 1)
    };
    // 1 leaves, 2 leaves and comes back, 3 leaves and ends elsewhere, 4 stays.
    site.add([1, 2, 3].map(elsewhere));
    site.add([address(&text(2), 2, 1), released(&text(3))]);
    let mut stream = site.stream(&by_relay_id(1).since(NOW_2000 + 10));
    assert_eq!(
        stream.hear(),
        [
            "data 1: 2001:db8:1::1 over",
            "data 3: 2001:db8:1::3 over",
            "data 2: 2001:db8:1::2 3490",
            "data caught up"
        ]
    );
}

#[test]
fn changes_during_catch_up_are_told_as_well() {
    let site = Site::active();
    site.add((1..=100).map(|n| address(&text(n), n, 1)));
    let mut stream = site.stream(&Request::all_updates().since(NOW_2000));
    let mut heard = stream.replies_of_one_turn();
    site.change([released(&text(50)), address(&text(200), 200, 1)]);
    heard.extend(stream.replies());
    let of = |client: u8| -> Vec<String> {
        let is_of = |reply: &&Reply| {
            let client_of = |told: &Told| told.duid.last() == Some(&client);
            reply.client.as_ref().is_some_and(client_of)
        };
        heard.iter().filter(is_of).map(Reply::line).collect()
    };
    assert_eq!(of(1).len(), 1);
    assert_eq!(of(50), ["data 50: 2001:db8:1::32 over"]);
    assert_eq!(of(200), ["data 200: 2001:db8:1::c8 3500"]);
    let caught_up = heard.iter().filter(|reply| reply.status == Some(13));
    assert_eq!(caught_up.count(), 1);
}

/// Fills segments of the log, so that what lies before can be compacted.
fn fill(site: &Site) {
    let now = site.store.reader().now().seconds();
    for round in 0..8 {
        site.add((0..100).map(|n| Event6 {
            valid_lifetime: Some(u32::MAX),
            cltt: Some(now - round),
            ..address(&format!("2001:db8:4::{n:x}"), 10_000 + n, 4)
        }));
    }
}

/// Lets an end at the beginning be dropped from the log; gives its second.
fn drop_an_end(site: &Site) -> u32 {
    site.add([address(&text(9), 9, 1)]);
    site.add([released(&text(9))]);
    forget(site);
    let dropped = site.store.reader().dropped_until().seconds();
    assert!(dropped >= NOW);
    dropped - NOW + NOW_2000
}

fn forget(site: &Site) {
    fill(site);
    site.clock.advance(7_200_000);
    fill(site);
    site.store.compact_now().unwrap();
}

#[test]
fn a_start_time_that_the_history_does_not_reach_is_told_in_the_reply() {
    let site = Site::forgetful();
    let dropped = drop_an_end(&site);
    for (since, xid) in [1, NOW_2000 - 1, dropped].into_iter().zip(1..) {
        let mut pair = site.connect();
        pair.send(&Request::all_updates().since(since).xid(xid));
        let begun = pair.replies();
        assert_eq!(begun.len(), 1, "and nothing else");
        assert_eq!(begun[0].line(), "reply data missing");
        assert_eq!(
            begun[0].base_time,
            Some(NOW_2000 + 7_200),
            "the current time"
        );
        assert_eq!(begun[0].client_id.as_deref(), Some(REQUESTOR));
        let n = 100 + xid;
        let now = site.store.reader().now().seconds();
        site.change([Event6 {
            cltt: Some(now),
            ..address(&text(n), n, 1)
        }]);
        let line = format!("data {n}: {} 3600", ip(&text(n)));
        assert_eq!(pair.hear(), [line], "it goes on live");
    }
    assert_eq!(site.counters.v6.data_missing.get(), 3);
    assert_eq!(site.counters.v6.caught_up.get(), 0);
    let mut covered = site.stream(&Request::all_updates().since(dropped + 1));
    assert_eq!(
        covered.hear().last().map(String::as_str),
        Some("data caught up")
    );
}

#[test]
fn whoever_asks_from_the_beginning_of_time_is_told_everything_that_lives() {
    let site = Site::forgetful();
    drop_an_end(&site);
    let now = site.store.reader().now().seconds();
    site.change([Event6 {
        cltt: Some(now),
        ..address(&text(100), 100, 1)
    }]);
    let mut stream = site.stream(&Request::all_updates().since(0));
    let told = stream.hear();
    let lease = format!("data 100: {} 3600", ip(&text(100)));
    assert!(told.contains(&lease), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("data caught up"));
}

#[test]
fn history_that_goes_while_a_stream_catches_up_ends_the_catch_up() {
    let site = Site::forgetful();
    site.add((1..=100).map(|n| address(&text(n), n, 1)));
    site.add((1..=50).map(|n| released(&text(n))));
    let mut stream = site.stream(&Request::all_updates().since(NOW_2000));
    assert_eq!(
        stream.replies_of_one_turn().len(),
        1,
        "it takes the first one only"
    );
    forget(&site);
    let told = stream.replies();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].line(), "data data missing");
    assert_eq!(told[0].base_time, Some(NOW_2000 + 7_200));
    let now = site.store.reader().now().seconds();
    site.change([Event6 {
        cltt: Some(now),
        ..address(&text(1), 1, 1)
    }]);
    assert_eq!(stream.hear(), ["data 1: 2001:db8:1::1 3600"]);
}

#[test]
fn a_stream_taken_up_at_the_last_base_time_misses_nothing() {
    let site = Site::active();
    let mut held = std::collections::BTreeMap::new();
    let mut since = NOW_2000;
    for round in 0..20 {
        let query = Request::all_updates().asking(&[100]).since(since);
        let mut stream = site.stream(&query);
        for part in 0..3 {
            let n = (round * 7 + part * 3) % 12 + 1;
            site.change([match (round + part) % 3 {
                0 => released(&text(n)),
                _ => Event6 {
                    cltt: Some(NOW + round),
                    ..address(&text(n), n % 4 + 1, (n % 2 + 1) as u8)
                },
            }]);
            site.clock.advance(400);
            // Every other stream is lost before it has heard the last change.
            if part == 2 && round % 2 == 0 {
                break;
            }
            for reply in stream.replies() {
                since = since.max(reply.base_time.unwrap());
                let Some(client) = reply.client else { continue };
                for (lease, (_, valid)) in client.leases {
                    match valid {
                        0 if held.get(&lease) == Some(&client.duid) => drop(held.remove(&lease)),
                        0 => {}
                        _ => drop(held.insert(lease, client.duid.clone())),
                    }
                }
            }
        }
    }
    let view = site.store.reader().view();
    for n in 1..=12 {
        let lease = view.lease6(&leaseq_store::Vpn::GLOBAL, ip(&text(n)));
        let active = lease.filter(|lease| lease.state() == State::Active);
        // The last round's last change was heard: that round is odd.
        assert_eq!(
            held.get(&(ip(&text(n)), 128)).map(Vec::as_slice),
            active.map(|lease| lease.duid()),
            "lease {n}"
        );
    }
}
