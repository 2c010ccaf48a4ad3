//! Clients with more leases than a message can hold: told in several messages, nothing missing, nothing twice.

use std::collections::BTreeSet;

use crate::support::*;
use leaseq_store::{Event6, State};

/// Fills a good part of a message beside the leases.
fn long_options() -> Vec<(u16, Vec<u8>)> {
    vec![(23, vec![7; 16 * 950])]
}

/// One client with so many addresses, and another one after it.
fn site(leases: u32) -> Site {
    let site = Site::new();
    site.add((0..leases).map(|n| address(&format!("2001:db8:1::1:{n:x}"), 1, 1)));
    let mut last = address("2001:db8:1::2:0", 1, 1);
    last.options = Some(long_options());
    last.cltt = Some(NOW - 1);
    site.add([last, address("2001:db8:1::3:0", 2, 1)]);
    site
}

fn leases_of(clients: &[Told], n: u32) -> Vec<String> {
    clients
        .iter()
        .filter(|client| client.duid == duid(n))
        .flat_map(Told::addresses)
        .collect()
}

fn assert_whole(clients: &[Told], leases: usize) {
    let told = leases_of(clients, 1);
    assert_eq!(told.len(), leases, "none twice");
    assert_eq!(
        told.iter().collect::<BTreeSet<_>>().len(),
        leases,
        "none missing"
    );
    assert_eq!(leases_of(clients, 2).len(), 1);
}

#[test]
fn a_client_of_many_leases_is_told_in_several_messages() {
    let site = site(10_000);
    let clients = site.clients(&by_link("2001:db8:1::"));
    assert_whole(&clients, 10_001);
    assert_eq!(clients.len(), 6, "as few messages as can hold them");
    let replies = site.bulk(&by_link("2001:db8:1::"));
    assert!(replies.iter().all(|reply| reply.octets <= 65_535));
    assert!(replies.iter().any(|reply| reply.octets > 65_500));
}

#[test]
fn each_of_its_messages_tells_the_client_in_full() {
    let site = site(5_000);
    let clients = site.clients(&by_client_id(1).oro(&[23, 47]));
    assert_eq!(clients.len(), 3);
    for client in &clients {
        assert_eq!(client.duid, duid(1));
        assert!(client.options == long_options());
        assert_eq!(client.clt_time, Some(1));
        assert!(client.relay_data.is_some());
    }
    assert_eq!(leases_of(&clients, 1).len(), 5_001);
}

#[test]
fn it_is_continued_whatever_the_size_of_the_buffer() {
    let site = site(5_000);
    for buffer in [65_537, 70_000, 131_074, 500_000] {
        for target in [1, 65_537, buffer] {
            let mut pair = site.connect();
            pair.buffer = vec![0; buffer];
            pair.target = target;
            pair.send(&by_link("2001:db8:1::"));
            assert_whole(&told(&pair.replies()), 5_001);
        }
    }
}

#[test]
fn leases_that_end_between_its_messages_are_not_told_and_others_still_are() {
    let site = site(5_000);
    let mut pair = site.connect();
    pair.target = 1;
    pair.send(&by_client_id(1));
    let mut octets = messages(&pair.turn());
    let over = |n: u32| {
        let lease = address(&format!("2001:db8:1::1:{n:x}"), 1, 1);
        ended(lease, State::Released)
    };
    site.add((4_000..5_000).map(over));
    octets.extend(pair.messages());
    let replies: Vec<_> = octets.iter().map(|octets| Reply::read(octets)).collect();
    let told = leases_of(&told(&replies), 1);
    assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), told.len());
    assert_eq!(told.len(), 4_001);
}

#[test]
fn a_client_that_is_gone_between_its_messages_ends_there() {
    let site = site(5_000);
    let mut pair = site.connect();
    pair.target = 1;
    pair.send(&by_link("2001:db8:1::"));
    let mut octets = messages(&pair.turn());
    let gone: Vec<Event6> = (0..5_000)
        .map(|n| address(&format!("2001:db8:1::1:{n:x}"), 1, 1))
        .chain([address("2001:db8:1::2:0", 1, 1)])
        .map(|lease| ended(lease, State::Released))
        .collect();
    site.add(gone);
    octets.extend(pair.messages());
    let replies: Vec<_> = octets.iter().map(|octets| Reply::read(octets)).collect();
    let clients = told(&replies);
    assert!(leases_of(&clients, 1).len() < 5_000);
    assert_eq!(leases_of(&clients, 2).len(), 1);
}
