//! Releases that come faster than a client would send them.
//!
//! A client is not answered to a DHCPRELEASE and does not repeat it, and a Kea that cannot keep up drops packets, unheard and
//! uncounted. So not every release that is sent happens: of 10,000 that were sent without a pause, Kea 2.2 counted from 66 to
//! 1,075 as received. But each that Kea has done arrives here, on the stream and in the store, by what it pushes alone: the feed has no
//! control channel that could make good what was lost. No address changes twice here, so that nothing may be left out on the
//! way either: RFC 7724 §6 lets a stream leave out a state that a later one of the same binding has overtaken, and nothing else.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::Clients4;
use crate::common::export;
use crate::kea::{Kea, installed};
use crate::place::Place;
use crate::stream::Stream;
use crate::{assert_equal, clients, lease4};

/// Releases between two questions to Kea, which answers on the thread that takes packets: few against what its queue holds.
const AT_ONCE: u32 = 8;
/// Clients that get a lease after all releases were sent. Kea takes packets in their order, with two threads.
const AFTERWARDS: u32 = 3;

/// How Kea calls the releases that have got to it.
const RECEIVED: &str = "pkt4-release-received";

fn statistic(kea: &Kea, name: &str) -> u64 {
    let answer = kea.ask("statistic-get", json!({"name": name}));
    answer["arguments"][name][0][0]
        .as_u64()
        .unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn each_release_that_kea_has_done_arrives() {
    if !installed() {
        return;
    }
    let place = Place::new();
    place.configure("listen = \"127.0.0.1:0\"");
    let server = place.serve();
    let mut stream = Stream::start(server.ready("dhcp4-tcp"), "v4");
    let kea = Kea::start(
        4,
        place.path(),
        &format!("http://{}/", server.ready("feed")),
    );
    let mut clients4 = Clients4::new(&kea);
    let count = clients();
    let given: Vec<Ipv4Addr> = (0..count).map(|number| clients4.get(number)).collect();
    stream.wait_for_all(given.iter().map(ToString::to_string).collect(), false);

    for (number, address) in (0..count).zip(&given) {
        clients4.release_once(number, *address);
        if number % AT_ONCE == 0 {
            statistic(&kea, RECEIVED);
        }
    }
    let afterwards: Vec<_> = (0..AFTERWARDS)
        .map(|number| clients4.get(count + number).to_string())
        .collect();
    let leases = kea.leases();
    let kept: HashSet<&str> = leases
        .iter()
        .map(|lease| lease["ip-address"].as_str().unwrap())
        .collect();
    let released: HashSet<String> = given
        .iter()
        .map(ToString::to_string)
        .filter(|address| !kept.contains(address.as_str()))
        .collect();
    let received = statistic(&kea, RECEIVED);
    println!(
        "releases: {count} sent, {received} received by Kea, {} done; {} packets in all",
        released.len(),
        statistic(&kea, "pkt4-received"),
    );
    assert!(!released.is_empty());
    // An address that was given to somebody else at once is told as his.
    let ended = released
        .into_iter()
        .filter(|address| !afterwards.contains(address));
    let ended = ended.map(|address| (address, true));
    let given = afterwards.iter().map(|address| (address.clone(), false));
    stream.wait_for_each(ended.chain(given));
    stream.end();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log:?}");
    let is_lost = |line: &String| line.contains("kea-ha-update-lost");
    assert!(!log.iter().any(is_lost), "{log:?}");
    let exported: Vec<Value> = export(&place.file("store"));
    assert_equal(&exported, 4, kea.leases().iter().map(lease4));
}
