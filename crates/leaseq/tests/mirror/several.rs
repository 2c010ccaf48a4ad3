//! Several sources of one binding: what is told is the better record (RFC 6926 §7.6), and whether it is first-hand.

use std::ops::ControlFlow;
use std::time::Duration;

use leaseq_requestor::client::bulk;
use leaseq_requestor::{Event, Query, Query4, Selector4};
use leaseq_wire::v4::option_code::DATA_SOURCE;
use serde_json::{Value, json};

use crate::changes::{marker, now};
use crate::common::export;
use crate::node::{Node, leases_come_over_a_socket, mirrors};

const STORE: &str = "sync = \"never\"\nsegment-size = \"1MiB\"";
/// Looks at what a test waits for, and the time between them.
const TRIES: u32 = 6_000;
const PAUSE: Duration = Duration::from_millis(10);

/// The same address of each family, leased to a client that was heard of at this time.
fn lease(client: &str, cltt: u64) -> Vec<Value> {
    vec![
        json!({
            "family": 4, "address": "198.51.100.1", "state": "active", "client_id": client, "cltt": cltt, "valid_lifetime": 3_600,
        }),
        json!({
            "family": 6, "address": "2001:db8:7::1", "duid": format!("0003{client}"), "iaid": 1, "state": "active", "cltt": cltt,
            "preferred_lifetime": 1_800, "valid_lifetime": 3_600,
            "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": "0035000109"}],
        }),
    ]
}

/// Who has the address of each family, and whether that is known from another server.
fn holders(node: &Node) -> Vec<(String, bool)> {
    let mut lines = export(&node.store());
    lines.retain(|line| line["address"] == "198.51.100.1" || line["address"] == "2001:db8:7::1");
    lines.sort_by_key(|line| line["family"].as_u64());
    let holder = |line: &Value| {
        let client = line["client_id"].as_str().or(line["duid"].as_str());
        let client = client.unwrap().trim_start_matches("0003").to_owned();
        (client, line["source"] == "remote")
    };
    lines.iter().map(holder).collect()
}

fn both(client: &str, is_remote: bool) -> Vec<(String, bool)> {
    vec![(client.to_owned(), is_remote); 2]
}

fn wait_for_holder(node: &Node, client: &str, is_remote: bool) {
    for _ in 0..TRIES {
        if holders(node) == both(client, is_remote) {
            return;
        }
        std::thread::park_timeout(PAUSE);
    }
    panic!("never came: {client}; {:?}", holders(node));
}

/// Whether the server tells that it has the lease of this client from another one.
fn is_told_as_remote(node: &Node, client: &[u8]) -> bool {
    let query = Query::V4(Query4::new(Selector4::ClientId(client.to_vec())));
    let mut told = None;
    bulk(node.v4, &query, &mut |event| {
        if let Event::Binding4(binding) = event {
            let source = binding.message.option(DATA_SOURCE);
            told = Some(source.and_then(|source| source.to_u8()).unwrap_or(0) & 1 == 1);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    told.expect("the lease")
}

#[test]
fn of_two_partners_the_one_that_heard_of_the_client_last_counts() {
    let (one, other) = (Node::origin(STORE), Node::origin(STORE));
    let time = now();
    one.feed(&lease("01aa", time - 100));
    one.feed(&marker(0));
    other.feed(&lease("01bb", time - 50));
    other.feed(&marker(1));
    let mut mirror = Node::start(STORE, None, |_| {
        let of = |node: &Node| mirrors(4, node.v4) + &mirrors(6, node.v6);
        of(&one) + &of(&other)
    });
    (0..2).for_each(|number| mirror.wait_for_client(number));
    assert_eq!(holders(&mirror), both("01bb", true));
    // A renewal at the one; what the other says later of an older one does not count.
    one.feed(&lease("01aa", time - 10));
    wait_for_holder(&mirror, "01aa", true);
    other.feed(&lease("01bb", time - 40));
    other.feed(&marker(2));
    mirror.wait_for_client(2);
    assert_eq!(holders(&mirror), both("01aa", true));
    // Nor does it after a restart, when both are asked what has happened.
    mirror.stop();
    other.feed(&marker(3));
    mirror.start_again();
    mirror.wait_for_client(3);
    assert_eq!(holders(&mirror), both("01aa", true));
    assert!(is_told_as_remote(&mirror, &[1, 0xaa]));
}

#[test]
fn a_mirror_beside_a_local_feed_overrides_it_only_with_what_is_newer() {
    let origin = Node::origin(STORE);
    let time = now();
    origin.feed(&lease("01bb", time - 60));
    origin.feed(&marker(0));
    let node = Node::start(STORE, None, |dir| {
        leases_come_over_a_socket(dir) + &mirrors(4, origin.v4) + &mirrors(6, origin.v6)
    });
    node.feed(&lease("01aa", time - 50));
    node.wait_for_client(0);
    assert_eq!(holders(&node), both("01aa", false));
    assert!(!is_told_as_remote(&node, &[1, 0xaa]));
    origin.feed(&lease("01bb", time - 20));
    wait_for_holder(&node, "01bb", true);
    assert!(is_told_as_remote(&node, &[1, 0xbb]));
    node.feed(&lease("01aa", time - 10));
    assert_eq!(holders(&node), both("01aa", false));
    origin.feed(&lease("01bb", time - 15));
    origin.feed(&marker(2));
    node.wait_for_client(2);
    assert_eq!(holders(&node), both("01aa", false));
}
