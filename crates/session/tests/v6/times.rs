//! DHCPv6 bulk leasequery: base-time and windows (RFC 7653 §5, §6.3), VPNs (RFC 6607), leases that a silent feed holds.

use crate::support::*;
use leaseq_store::{Event, FeedEvent, Stamp, State, Vpn};

fn addresses(clients: &[Told]) -> Vec<String> {
    let mut addresses: Vec<_> = clients.iter().flat_map(Told::addresses).collect();
    addresses.sort();
    addresses
}

/// A client on link 1 whose last transaction was so many seconds ago, with all else long past.
fn old(n: u32, seconds_ago: u32) -> leaseq_store::Event6 {
    let mut lease = address(&format!("2001:db8:1::{n:x}"), n, 1);
    lease.cltt = Some(NOW - seconds_ago);
    lease.state_since = Some(NOW - 90_000);
    lease.valid_lifetime = Some(100_000);
    lease
}

/// Three clients, stored in this second; then the clock goes on by 1,000 seconds.
fn site() -> Site {
    let site = Site::holding([old(1, 3_000), old(2, 2_000), old(3, 1_000)]);
    site.clock.advance(1_000_000);
    site
}

#[test]
fn base_time_is_in_each_message_if_either_oro_names_it() {
    let site = site();
    let in_query = by_relay_id(1).oro(&[100]);
    let mut in_message = by_relay_id(1);
    in_message.message_oro = vec![100];
    for request in [in_query, in_message] {
        let replies = site.bulk(&request);
        let types: Vec<u8> = replies.iter().map(|reply| reply.message_type).collect();
        assert_eq!(types, [15, 17, 17, 16]);
        for reply in replies {
            assert_eq!(reply.base_time, Some(NOW_2000 + 1_000));
        }
    }
}

#[test]
fn base_time_is_in_a_reply_without_data() {
    let replies = site().bulk(&by_relay_id(9).oro(&[100]));
    assert_eq!(replies[0].base_time, Some(NOW_2000 + 1_000));
}

#[test]
fn base_time_is_in_a_refusal() {
    let site = site();
    let active = Request {
        message_type: 22,
        ..by_relay_id(1)
    };
    for request in [
        by_relay_id(1).on_link("2001:db8:99::"),
        Request::new(9, Vec::new()),
        Request::new(3, Vec::new()),
        active,
    ] {
        let replies = site.bulk(&request.clone().oro(&[100]));
        assert_eq!(replies.len(), 1);
        assert!(replies[0].status.is_some());
        assert_eq!(replies[0].base_time, Some(NOW_2000 + 1_000));
        assert_eq!(site.bulk(&request)[0].base_time, None);
    }
    let reply = site.udp(&by_relay_id(1).oro(&[100])).expect("a reply");
    assert_eq!(
        (reply.status, reply.base_time),
        (Some(10), Some(NOW_2000 + 1_000))
    );
}

#[test]
fn base_time_is_not_told_unasked() {
    let replies = site().bulk(&by_relay_id(1));
    assert!(replies.iter().all(|reply| reply.base_time.is_none()));
}

#[test]
fn clt_time_is_relative_to_base_time() {
    let replies = site().bulk(&by_client_id(2).oro(&[100]));
    let clt_time = replies[0].client.as_ref().unwrap().clt_time.unwrap();
    assert_eq!(replies[0].base_time.unwrap() - clt_time, NOW_2000 - 2_000);
}

#[test]
fn a_window_selects_by_last_transaction_both_ends_inclusive() {
    let site = site();
    let window = |start: u32, end: u32| {
        addresses(&site.clients(&by_relay_id(1).since(NOW_2000 - start).until(NOW_2000 - end)))
    };
    assert_eq!(window(2_000, 2_000), ["2001:db8:1::2/128"]);
    assert_eq!(window(3_000, 1_000).len(), 3);
    assert_eq!(window(2_999, 1_001), ["2001:db8:1::2/128"]);
    assert_eq!(window(1_999, 1_001), Vec::<String>::new());
}

#[test]
fn a_window_selects_by_commit_and_by_start_of_state() {
    let site = site();
    assert_eq!(site.clients(&by_relay_id(1).since(NOW_2000)).len(), 3);
    assert_eq!(site.clients(&by_relay_id(1).since(NOW_2000 + 1)).len(), 0);
    let beginning = by_relay_id(1).until(NOW_2000 - 90_000);
    assert_eq!(site.clients(&beginning).len(), 3);
    assert_eq!(
        site.clients(&by_relay_id(1).until(NOW_2000 - 90_001)).len(),
        0
    );
}

#[test]
fn a_window_that_ends_before_it_starts_is_empty_and_no_error() {
    let site = site();
    let request = by_relay_id(1).since(NOW_2000).until(NOW_2000 - 1);
    assert_eq!(site.clients(&request), []);
    assert_eq!(site.clients(&by_relay_id(1).since(u32::MAX)), []);
}

#[test]
fn a_window_qualifies_each_kind_of_query() {
    let site = site();
    for request in [
        by_address("2001:db8:1::2"),
        by_client_id(2),
        by_relay_id(1),
        by_link("2001:db8:1::"),
        by_remote_id(2),
    ] {
        let at = NOW_2000 - 2_000;
        let clients = site.clients(&request.clone().since(at).until(at));
        assert_eq!(addresses(&clients), ["2001:db8:1::2/128"]);
        assert_eq!(site.clients(&request.since(at + 1).until(at + 1)), []);
    }
}

#[test]
fn a_client_whose_lease_ended_in_the_window_is_told_with_what_is_left() {
    let site = site();
    let mut prefix = delegation("3fff:101::", 48, 2, 1);
    prefix.cltt = Some(NOW - 2_000);
    site.add([prefix.clone()]);
    site.clock.advance(1_000_000);
    let since = by_relay_id(1).since(NOW_2000 + 2_000);
    assert_eq!(site.clients(&since), []);
    prefix.state = State::Released;
    prefix.state_since = None;
    site.add([prefix]);
    assert_eq!(addresses(&site.clients(&since)), ["2001:db8:1::2/128"]);
}

/// The same address in the global VPN and in two others.
fn vpn_site() -> Site {
    let lease = |client, vpn| leaseq_store::Event6 {
        vpn,
        ..address("2001:db8:1::1", client, 1)
    };
    let numbered = Vpn::from_vss(&[1, 0, 0, 0x5e, 0, 0, 0, 9]);
    Site::holding([
        lease(1, Vpn::GLOBAL),
        lease(2, Vpn::named("red")),
        lease(3, numbered),
    ])
}

#[test]
fn without_vss_a_query_is_about_the_global_vpn() {
    let site = vpn_site();
    for request in [
        by_address("2001:db8:1::1"),
        by_relay_id(1),
        by_link("2001:db8:1::"),
    ] {
        for request in [request.clone(), request.with(68, &[255])] {
            let clients = site.clients(&request);
            assert_eq!(clients.len(), 1);
            assert_eq!(clients[0].duid, duid(1));
        }
    }
    assert!(
        site.bulk(&by_relay_id(1))
            .iter()
            .all(|reply| reply.vss.is_none())
    );
}

#[test]
fn a_named_vpn_is_searched_and_its_option_repeated() {
    let site = vpn_site();
    for (vss, client) in [(&b"\0red"[..], 2), (&[1, 0, 0, 0x5e, 0, 0, 0, 9], 3)] {
        for request in [
            by_address("2001:db8:1::1"),
            by_relay_id(1),
            by_client_id(client),
        ] {
            let replies = site.bulk(&request.with(68, vss));
            assert_eq!(told(&replies)[0].duid, duid(client));
            assert_eq!(replies.len(), 2);
            assert_eq!(replies[0].vss.as_deref(), Some(vss));
        }
    }
    assert_eq!(site.clients(&by_relay_id(1).with(68, b"\0blue")), []);
}

#[test]
fn all_vpns_are_searched_and_each_client_tells_its_own() {
    let site = vpn_site();
    for request in [
        by_address("2001:db8:1::1"),
        by_relay_id(1),
        by_link("2001:db8:1::"),
    ] {
        let replies = site.bulk(&request.with(68, &[254]));
        assert_eq!(told(&replies).len(), 3);
        for reply in &replies[..3] {
            let expected = match &reply.client {
                Some(client) if client.duid == duid(1) => None,
                Some(client) if client.duid == duid(2) => Some(&b"\0red"[..]),
                _ => Some(&[1, 0, 0, 0x5e, 0, 0, 0, 9][..]),
            };
            assert_eq!(reply.vss.as_deref(), expected);
        }
    }
}

#[test]
fn a_requestor_limited_to_vpns_is_refused_others_and_sees_its_own_among_all() {
    let mut site = vpn_site();
    site.restrict(|rule| rule.vpns = vec![b"\0red".to_vec()]);
    for request in [
        by_relay_id(1),
        by_relay_id(1).with(68, &[255]),
        by_relay_id(1).with(68, b"\0blue"),
    ] {
        assert_eq!(site.bulk(&request)[0].status, Some(10));
    }
    for vss in [&b"\0red"[..], &[254]] {
        let clients = site.clients(&by_relay_id(1).with(68, vss));
        assert_eq!(clients.len(), 1);
        assert_eq!(clients[0].duid, duid(2));
    }
}

#[test]
fn a_lease_that_ran_out_while_its_feed_is_silent_carries_the_grace() {
    let site = Site::new();
    let feed = site.store.feed_id("kea").unwrap();
    let told = |at: u32| {
        Event::Feed(FeedEvent {
            name: "kea".to_owned(),
            position: Vec::new(),
            read_up_to: Stamp::from_seconds(at),
            live: true,
        })
    };
    site.store.submit(vec![told(NOW)]).unwrap().wait().unwrap();
    let mut lease = address("2001:db8:1::1", 1, 1);
    lease.feed = feed;
    site.add([lease]);
    site.clock.advance(4_000_000);
    let clients = site.clients(&by_client_id(1));
    let (preferred, valid) = clients[0].leases[&(ip("2001:db8:1::1"), 128)];
    assert_eq!(preferred, 0);
    assert!((1..=30).contains(&valid), "grace of {valid} s");
}
