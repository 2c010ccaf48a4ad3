//! All leases of Kea through its control channel, while it pushes and while it breaks.

use std::sync::{Arc, Mutex};

use leaseq_feed::run::Phase;
use leaseq_store::State;

use crate::fixture::{Control, Fixture, Kea, NOW, fixture, paged4, pushed4};

/// More than two pages.
fn many() -> impl Iterator<Item = serde_json::Value> {
    (0..2_500).map(|number| paged4(number, NOW - 100))
}

fn active(feed: &Fixture) -> usize {
    let view = feed.store.reader().view();
    view.scan(leaseq_store::ScanFrom::Start)
        .filter(|scanned| {
            scanned.newest
                && matches!(&scanned.record, leaseq_store::Record::Bind4(bind) if bind.state() == State::Active)
        })
        .count()
}

#[test]
fn all_leases_are_read_at_the_start_and_again_after_kea_was_started_anew() {
    let control = Control::start(many());
    let feed = fixture(Some(control.path()), None);
    control.wait_for_pull();
    feed.wait_until(|feed| feed.told().phase == Phase::Following);
    assert_eq!(active(&feed), 2_500);
    let lease = feed.lease4("198.51.100.7").unwrap();
    assert_eq!(lease.relay_agent_info, Some(vec![2, 2, 1, 2]));
    assert_eq!(feed.told().remark, None);
    feed.wait_until(|feed| feed.state().position == b"4");
    assert_eq!(feed.state().read_up_to.millis(), NOW * 1_000);
    // What Kea lost while it was down is gone, what it got is there.
    control.remove("198.51.100.7");
    control.put(paged4(3_000, NOW));
    control.set_pid(2);
    control.wait_for_pull();
    feed.wait_until(|feed| {
        feed.lease4("198.51.100.7").unwrap().state == State::Released
            && feed.lease4("198.51.111.184").is_some()
    });
    assert_eq!(active(&feed), 2_500);
    // While Kea answers and says nothing, all is known.
    feed.clock.advance(60_000);
    feed.wait_until(|feed| feed.state().read_up_to.millis() == (NOW + 60) * 1_000);
}

#[test]
fn a_push_wins_over_a_page_that_was_made_before() {
    let control = Control::start(many());
    let address: Arc<Mutex<Option<std::net::SocketAddr>>> = Arc::default();
    let told = Arc::clone(&address);
    // The first page is made; before it is answered, leases on it change, one ends, and one is given that is on no page.
    control.after_page(move |from| {
        if from == "start" {
            let address = loop {
                if let Some(address) = *told.lock().unwrap() {
                    break address;
                }
                std::thread::yield_now();
            };
            let mut kea = Kea::connect(address);
            let mut renewed = pushed4(10, NOW);
            renewed["client-id"] = "01:ee".into();
            kea.command("lease4-update", renewed);
            kea.command("lease4-del", pushed4(11, NOW - 100));
            let mut new = pushed4(12, NOW);
            new["ip-address"] = "203.0.113.1".into();
            kea.command("lease4-update", new);
            // This one was overtaken: the page knows it better.
            kea.command("lease4-update", pushed4(13, NOW - 110));
        }
    });
    let feed = fixture(Some(control.path()), None);
    *address.lock().unwrap() = Some(feed.address());
    control.wait_for_pull();
    feed.wait_until(|feed| feed.told().phase == Phase::Following);
    let lease = feed.lease4("198.51.100.10").unwrap();
    assert_eq!(
        (lease.cltt, lease.client_id),
        (Some(NOW as u32), Some(vec![1, 0xee]))
    );
    assert_eq!(feed.lease4("198.51.100.11").unwrap().state, State::Released);
    assert_eq!(feed.lease4("203.0.113.1").unwrap().state, State::Active);
    assert_eq!(
        feed.lease4("198.51.100.13").unwrap().cltt,
        Some(NOW as u32 - 100)
    );
    assert_eq!(active(&feed), 2_500);
}

#[test]
fn a_pull_that_breaks_ends_nothing_and_is_tried_again() {
    let control = Control::start(many());
    let feed = fixture(Some(control.path()), None);
    control.wait_for_pull();
    feed.wait_until(|feed| feed.told().phase == Phase::Following);
    control.remove("198.51.100.7");
    control.break_after(Some(1));
    let feed = feed.restart_feed(Some(control.path()));
    feed.wait_until(|feed| feed.told().phase == Phase::Waiting);
    let told = feed.told();
    assert!(told.troubles > 0);
    let text = told.trouble.unwrap().text;
    assert!(text.contains("expected an answer of Kea: EOF"), "{text}");
    assert_eq!(feed.lease4("198.51.100.7").unwrap().state, State::Active);
    // Pushes are taken meanwhile, but they do not make good what is unknown.
    feed.clock.advance(60_000);
    let read = feed.state().read_up_to;
    control.put(paged4(10, NOW + 50));
    let answer = feed.kea().command("lease4-update", pushed4(10, NOW + 50));
    assert_eq!(answer["result"], 0);
    assert_eq!(feed.state().read_up_to, read);
    control.break_after(None);
    feed.wait_until(|feed| feed.told().phase == Phase::Following);
    assert_eq!(feed.lease4("198.51.100.7").unwrap().state, State::Released);
    assert_eq!(
        feed.lease4("198.51.100.10").unwrap().cltt,
        Some(NOW as u32 + 50)
    );
}

#[test]
fn a_lost_update_is_made_good_by_a_pull() {
    let control = Control::start(many());
    let feed = fixture(Some(control.path()), None);
    control.wait_for_pull();
    feed.wait_until(|feed| feed.told().phase == Phase::Following);
    // Renewed, but the push did not arrive.
    control.put(paged4(10, NOW));
    let mut cut = feed.kea();
    cut.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    drop(cut);
    feed.wait_until(|feed| feed.lease4("198.51.100.10").unwrap().cltt == Some(NOW as u32));
    feed.clock.advance(60_000);
    feed.wait_until(|feed| feed.state().read_up_to.millis() == (NOW + 60) * 1_000);
}

#[test]
fn pages_that_lead_nowhere_or_hold_rubbish_do_no_harm() {
    let mut wrong = paged4(7, NOW);
    wrong["hw-address"] = "rubbish".into();
    let control = Control::start(many());
    let feed = fixture(Some(control.path()), None);
    control.wait_for_pull();
    feed.wait_until(|feed| feed.told().phase == Phase::Following);
    // A lease that can no longer be read is not one that is gone.
    control.put(wrong);
    control.set_pid(2);
    control.wait_for_pull();
    feed.wait_until(|feed| feed.told().rejected == 1);
    let told = feed.told().trouble.unwrap().text;
    assert!(
        told.contains("198.51.100.7: hw-address: expected"),
        "{told}"
    );
    assert_eq!(active(&feed), 2_500);
    let sock = control.path().to_owned();
    drop(control);
    let feed = feed.restart_feed(Some(&sock));
    feed.wait_until(|feed| feed.told().phase == Phase::Waiting);
    assert_eq!(active(&feed), 2_500);
}

#[test]
fn a_feed_ends_while_kea_does_not_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("silent.sock");
    let silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let feed = fixture(Some(&path), None);
    let (_asked, _) = silent.accept().unwrap();
    feed.feed.stop();
}

#[test]
fn a_server_whose_leases_are_not_those_of_the_one_that_is_asked_is_remarked() {
    let control = Control::start([paged4(10, NOW)]);
    let feed = fixture(Some(control.path()), None);
    control.wait_for_pull();
    let mut kea = feed.kea();
    for last in 100..120 {
        kea.command("lease4-update", pushed4(last, NOW));
    }
    let remarked = |feed: &Fixture| {
        let remark = feed.told().remark.unwrap_or_default();
        remark.contains("control4: 20 of 20 leases that 127.0.0.1 had sent were not among those")
    };
    assert!(!remarked(&feed));
    control.set_pid(2);
    control.wait_for_pull();
    feed.wait_until(remarked);
    assert_eq!(
        feed.lease4("198.51.100.100").unwrap().state,
        State::Released
    );
    // It shares its leases from now on.
    for last in 100..120 {
        control.put(paged4(last, NOW + 1));
        kea.command("lease4-update", pushed4(last as u8, NOW + 1));
    }
    control.set_pid(3);
    control.wait_for_pull();
    feed.wait_until(|feed| !remarked(feed));
    assert_eq!(active(&feed), 21);
}
