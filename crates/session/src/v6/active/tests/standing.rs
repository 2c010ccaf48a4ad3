//! What a record means: to a stream of everything, to one by each selector, and to a requestor that may see a part.

use super::*;

const A: &str = "2001:db8:1::a";
const B: &str = "2001:db8:1::b";

#[test]
fn a_new_lease_is_told_with_all_the_clients_live_leases_on_the_link() {
    let site = Site::new();
    site.add([lease(A, 1, 1), prefix("3fff:100:7::", 56, 1, 1)]);
    let from = site.later([lease(B, 1, 1)]);
    let mut teller = site.teller(&Asked::all());
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:1::a 3499, 2001:db8:1::b 3499, 3fff:100:7::/56 3499"]
    );
}

#[test]
fn a_client_on_two_links_is_told_link_by_link() {
    let site = Site::new();
    site.add([lease(A, 1, 1)]);
    let from = site.later([lease("2001:db8:2::a", 1, 1)]);
    let mut teller = site.teller(&Asked::all());
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:2::a 3499"]
    );
}

#[test]
fn a_lease_that_ends_is_told_at_zero_beside_the_live_ones() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 1)]);
    let from = site.later([end(A)]);
    let mut teller = site.teller(&Asked::all());
    let told = site.told(&mut *teller, from);
    assert_eq!(texts(&told), ["1: 2001:db8:1::a over, 2001:db8:1::b 3499"]);
    assert_eq!(told[0].leases[0], (format!("{A}/128"), 0, 0));
}

#[test]
fn every_state_but_active_is_an_end() {
    use State::{Abandoned, Available, Expired, Released, Remote, Reset, Transitioning};
    for state in [
        Available,
        Expired,
        Released,
        Abandoned,
        Reset,
        Remote,
        Transitioning,
    ] {
        let site = Site::new();
        site.add([lease(A, 1, 1)]);
        let from = site.later([Event6::new(ip(A), state)]);
        let mut teller = site.teller(&Asked::all());
        assert_eq!(
            texts(&site.told(&mut *teller, from)),
            ["1: 2001:db8:1::a over"],
            "{state:?}"
        );
    }
}

#[test]
fn the_last_lease_that_ends_is_told_alone_with_what_its_record_knows() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 1)]);
    site.later([end(B)]);
    let from = site.later([end(A)]);
    let mut teller = site.teller(&Asked::by_relay(1).oro(&[47, 100]));
    let told = site.told(&mut *teller, from);
    assert_eq!(texts(&told), ["1: 2001:db8:1::a over"]);
    assert_eq!((told[0].clt_time, told[0].relay_data), (Some(102), true));
    assert_eq!(told[0].base_time, Some(NOW_2000 + 2));
}

#[test]
fn a_lease_that_another_client_gets_is_told_as_over_to_the_first() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 1)]);
    let from = site.later([lease(A, 2, 1)]);
    let mut teller = site.teller(&Asked::all());
    let told = site.told(&mut *teller, from);
    assert_eq!(
        texts(&told),
        [
            "1: 2001:db8:1::a over, 2001:db8:1::b 3499",
            "2: 2001:db8:1::a 3499"
        ]
    );
}

#[test]
fn a_departed_client_without_a_lease_is_told_by_its_duid_alone() {
    let site = Site::new();
    site.add([lease(A, 1, 1)]);
    let from = site.later([lease(A, 2, 1)]);
    let mut teller = site.teller(&Asked::by_client(1).oro(&[47]));
    let told = site.told(&mut *teller, from);
    assert_eq!(texts(&told), ["1: 2001:db8:1::a over"]);
    assert_eq!((told[0].clt_time, told[0].relay_data), (None, false));
}

#[test]
fn a_lease_that_goes_to_another_link_is_over_on_the_first() {
    let site = Site::new();
    let on = |link: &str| Event6 {
        link: Some(leaseq_store::Link6::Address(ip(link))),
        ..lease("2001:db8:f::a", 1, 1)
    };
    site.add([on("2001:db8:1::1")]);
    let from = site.later([on("2001:db8:2::1")]);
    let told = |link| {
        let mut teller = site.teller(&Asked::by_link(link));
        texts(&site.told(&mut *teller, from))
    };
    assert_eq!(told("2001:db8:1::1"), ["1: 2001:db8:f::a over"]);
    assert_eq!(told("2001:db8:2::1"), ["1: 2001:db8:f::a 3499"]);
}

#[test]
fn a_move_between_relay_agents_ends_it_for_one_and_begins_it_for_the_other() {
    let site = Site::new();
    site.add([lease(A, 1, 1)]);
    let from = site.later([lease(A, 1, 2)]);
    let told = |asked: &Asked| {
        let mut teller = site.teller(asked);
        texts(&site.told(&mut *teller, from))
    };
    let (over, live) = (["1: 2001:db8:1::a over"], ["1: 2001:db8:1::a 3499"]);
    assert_eq!(told(&Asked::by_relay(1)), over);
    assert_eq!(told(&Asked::by_relay(2)), live);
    assert_eq!(told(&Asked::by_remote(1)), over);
    assert_eq!(told(&Asked::by_remote(2)), live);
    // The client has not lost the lease.
    assert_eq!(told(&Asked::all()), live);
    assert_eq!(told(&Asked::by_client(1)), live);
    assert_eq!(told(&Asked::by_address(A)), live);
}

#[test]
fn a_move_that_has_been_taken_back_is_not_told_as_an_end() {
    let site = Site::new();
    site.add([lease(A, 1, 1)]);
    let from = site.later([lease(A, 1, 2)]);
    site.later([lease(A, 1, 1)]);
    let mut teller = site.teller(&Asked::by_relay(1));
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:1::a 3498"]
    );
}

#[test]
fn a_client_matches_by_one_of_its_leases_and_is_told_with_all() {
    let site = Site::new();
    site.add([lease(A, 1, 1)]);
    let from = site.later([lease(B, 1, 2)]);
    let mut teller = site.teller(&Asked::by_relay(1));
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:1::a 3499, 2001:db8:1::b 3499"]
    );
    // What ends is told too, whatever it was behind.
    let from = site.later([end(B)]);
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:1::a 3498, 2001:db8:1::b over"]
    );
}

#[test]
fn a_client_whose_last_matching_lease_ends_is_gone_with_all_its_leases() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 2)]);
    let from = site.later([end(A)]);
    let mut teller = site.teller(&Asked::by_relay(1).oro(&[47]));
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        [
            "1: 2001:db8:1::b over",
            "1: 2001:db8:1::a over, 2001:db8:1::b over"
        ]
    );
    // And what follows on the other relay agent is no news.
    let from = site.later([lease("2001:db8:1::c", 1, 2)]);
    assert_eq!(site.told(&mut *teller, from), []);
}

#[test]
fn a_client_whose_last_matching_lease_moves_is_gone_with_all_its_leases() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 2)]);
    let from = site.later([lease(A, 1, 2)]);
    let mut teller = site.teller(&Asked::by_relay(1).oro(&[47, 100]));
    let told = site.told(&mut *teller, from);
    // Both leases depart, each with a record of its own.
    let over = "1: 2001:db8:1::a over, 2001:db8:1::b over";
    assert_eq!(texts(&told), [over, over]);
    assert!(!told[0].relay_data, "it is of another relay agent");
    assert_eq!(told[0].base_time, Some(NOW_2000 + 1));
}

#[test]
fn an_end_that_passed_unnoticed_is_told_when_the_client_matches_again() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 2)]);
    let from = site.later([end(A)]);
    site.later([end(B)]);
    site.later([lease(A, 1, 1)]);
    // All of it is read in the store as it is now: only A tells that the client matches.
    let mut teller = site.teller(&Asked::by_relay(1));
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        [
            "1: 2001:db8:1::a 3498, 2001:db8:1::b over",
            "1: 2001:db8:1::a 3497, 2001:db8:1::b over"
        ]
    );
}

#[test]
fn leases_that_are_committed_together_are_told_once() {
    let site = Site::new();
    let from = site.later([lease(A, 1, 1), lease(B, 1, 1), lease("2001:db8:1::c", 2, 1)]);
    let mut teller = site.teller(&Asked::all());
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        [
            "1: 2001:db8:1::a 3499, 2001:db8:1::b 3499",
            "2: 2001:db8:1::c 3499"
        ]
    );
    // An end of the same commit is its own message.
    let from = site.later([end(A), lease("2001:db8:1::d", 1, 1)]);
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        [
            "1: 2001:db8:1::a over, 2001:db8:1::b 3498, 2001:db8:1::d 3498",
            "1: 2001:db8:1::b 3498, 2001:db8:1::d 3498"
        ]
    );
}

#[test]
fn by_address_tells_the_client_that_has_it_or_a_prefix_around_it() {
    let site = Site::new();
    let from = site.later([
        lease(A, 1, 1),
        prefix("3fff:100:7::", 56, 2, 1),
        lease(B, 3, 1),
    ]);
    let told = |address| {
        let mut teller = site.teller(&Asked::by_address(address));
        texts(&site.told(&mut *teller, from))
    };
    assert_eq!(told(A), ["1: 2001:db8:1::a 3499"]);
    assert_eq!(told("3fff:100:7:ff::9"), ["2: 3fff:100:7::/56 3499"]);
    assert_eq!(told("3fff:100:7:100::9"), Vec::<String>::new());
}

#[test]
fn a_link_address_narrows_each_filter() {
    let site = Site::new();
    let from = site.later([lease(A, 1, 1), lease("2001:db8:2::a", 1, 1)]);
    let on_2 = |query_type, options| {
        let asked = Asked::by(query_type, "2001:db8:2::1", options);
        let mut teller = site.teller(&asked);
        texts(&site.told(&mut *teller, from))
    };
    let there = ["1: 2001:db8:2::a 3499"];
    assert_eq!(on_2(2, option(code::CLIENTID, &duid(1))), there);
    assert_eq!(on_2(3, option(code::RELAY_ID, &relay_id(1))), there);
    assert_eq!(on_2(4, Vec::new()), there);
    assert_eq!(on_2(5, option(code::REMOTE_ID, &remote_id(1))), there);
    let address = [&ip(A).octets()[..], &[0; 8]].concat();
    assert_eq!(
        on_2(1, option(code::IAADDR, &address)),
        Vec::<String>::new()
    );
}

#[test]
fn vpns_are_told_apart() {
    let site = Site::new();
    let vpn = leaseq_store::Vpn::named("blue");
    let from = site.later([
        lease(A, 1, 1),
        Event6 {
            vpn: vpn.clone(),
            ..lease(A, 2, 1)
        },
    ]);
    let told = |asked: &Asked| {
        let mut teller = site.teller(asked);
        let told = site.told(&mut *teller, from);
        let vpns: Vec<_> = told.iter().map(|line| line.vss.clone()).collect();
        (texts(&told), vpns)
    };
    let (one, two) = ("1: 2001:db8:1::a 3499", "2: 2001:db8:1::a 3499");
    let blue = Some(vpn.vss().to_vec());
    // All of them, unless the query names one; the global one if there is a filter.
    let both = (
        vec![one.to_owned(), two.to_owned()],
        vec![None, blue.clone()],
    );
    assert_eq!(told(&Asked::all()), both);
    let second = (vec![two.to_owned()], vec![blue.clone()]);
    assert_eq!(told(&Asked::all().with(code::VSS, vpn.vss())), second);
    let first = (vec![one.to_owned()], vec![None]);
    assert_eq!(told(&Asked::by_relay(1)), first);
    assert_eq!(told(&Asked::by_relay(1).with(code::VSS, vpn.vss())), second);
    assert_eq!(told(&Asked::by_relay(1).with(code::VSS, &[254])), both);
}

#[test]
fn a_requestor_limited_to_relay_agents_hears_of_their_clients_alone() {
    let mut site = Site::new();
    site.rule.relay_ids = vec![relay_id(1)];
    site.add([lease(A, 1, 1), lease(B, 2, 2)]);
    let from = site.later([
        Event6 {
            cltt: Some(NOW),
            ..lease(A, 1, 1)
        },
        Event6 {
            cltt: Some(NOW),
            ..lease(B, 2, 2)
        },
    ]);
    let mut teller = site.teller(&Asked::all());
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:1::a 3599"]
    );
    // A client that goes elsewhere is gone; one that comes is there.
    let from = site.later([lease(A, 1, 2)]);
    let gone = site.told(&mut *teller, from);
    assert_eq!(texts(&gone), ["1: 2001:db8:1::a over"]);
    let from = site.later([lease(B, 2, 1)]);
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["2: 2001:db8:1::b 3497"]
    );
    let from = site.later([end(B)]);
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["2: 2001:db8:1::b over"]
    );
}

#[test]
fn a_requestor_limited_to_links_or_vpns_hears_of_those_alone() {
    let mut site = Site::new();
    let blue = leaseq_store::Vpn::named("blue");
    site.rule.links = vec![LinkRule {
        name: "pop-2".to_owned(),
        prefixes: vec!["2001:db8:2::/48".parse().unwrap()],
    }];
    site.rule.vpns = vec![blue.vss().to_vec()];
    let in_blue = |event| Event6 {
        vpn: blue.clone(),
        ..event
    };
    let there = "2001:db8:2::a";
    let from = site.later([
        lease(there, 1, 1),
        in_blue(lease(A, 2, 1)),
        in_blue(lease(there, 3, 1)),
    ]);
    let mut teller = site.teller(&Asked::all());
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["3: 2001:db8:2::a 3499"]
    );
}

#[test]
fn a_lease_without_a_client_is_nobodys_news() {
    let site = Site::new();
    let from = site.later([end(A)]);
    let mut teller = site.teller(&Asked::all());
    assert_eq!(site.told(&mut *teller, from), []);
    // Nor has it a client to depart from when one comes.
    let from = site.later([lease(A, 1, 1)]);
    assert_eq!(
        texts(&site.told(&mut *teller, from)),
        ["1: 2001:db8:1::a 3498"]
    );
}

#[test]
fn records_are_found_under_all_that_a_stream_may_be_narrowed_to() {
    let site = Site::new();
    site.add([lease(A, 1, 1), lease(B, 1, 2)]);
    let from = site.later([lease(A, 2, 3)]);
    let view = site.reader.view();
    let mut cursor = LogCursor::new(ScanFrom::Sequence(from));
    let mut found = || {
        let record = view.next_record(&mut cursor).unwrap();
        let mut found = Vec::new();
        scopes(&view, &record, &mut |scope| {
            let text = match scope {
                Scope::Duid(duid) => format!("duid {}", duid[duid.len() - 1]),
                Scope::RelayId6(id) => format!("relay {}", id[id.len() - 1]),
                Scope::RemoteId6(id) => format!("remote {}", id[id.len() - 1]),
                Scope::Link(link) => format!("link {}", Some(link) == view.link_of(ip(A))),
                other => panic!("{other:?}"),
            };
            found.push(text);
        });
        found.sort();
        found.dedup();
        found
    };
    let departed = [
        "duid 1",
        "link true",
        "relay 1",
        "relay 2",
        "remote 1",
        "remote 2",
    ];
    assert_eq!(found(), departed);
    assert_eq!(found(), departed, "B has lost what A was behind");
    assert_eq!(found(), ["duid 2", "link true", "relay 3", "remote 3"]);
}
