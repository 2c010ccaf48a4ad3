//! Made-up rows against leaseq's own reader of NDJSON.

use super::super::{Inventory, Source};
use super::*;
use leaseq_feed::ndjson;
use leaseq_requestor::{Query, Selector4, Selector6};
use leaseq_store::{Event, LeaseKind, State};

use crate::changes::{Change, Mark};

const CLTT: u32 = 1_790_000_000;

fn inventory(family: Family, relays: u32, bindings_per_relay: u32) -> Inventory {
    let source = Source::MadeUp {
        relays,
        bindings_per_relay,
        cltt: CLTT,
        valid: 86_400,
    };
    Inventory::load(family, &source).unwrap()
}

fn event(inventory: &Inventory, row: u32, change: Option<Change>) -> Event {
    let mut line = String::new();
    inventory.line(row, change, &mut line);
    assert!(line.ends_with("}\n"), "{line}");
    let event = ndjson::parse(line.trim_ascii_end().as_bytes()).unwrap();
    event.check().unwrap();
    event
}

#[test]
fn dhcpv4_rows_are_lines_that_leaseq_reads() {
    let inventory = inventory(Family::V4, 3, 100);
    assert_eq!((inventory.len(), inventory.relays()), (300, 3));
    for row in [0, 99, 100, 299] {
        let Event::V4(event) = event(&inventory, row, None) else {
            panic!("a DHCPv4 event");
        };
        assert_eq!(u32::from(event.address), (10 << 24) + row);
        assert_eq!(inventory.find(LeaseKey::V4(event.address)), Some(row));
        assert_eq!((event.state, event.cltt), (State::Active, Some(CLTT)));
        assert_eq!(event.lease_time, Some(86_400));
        assert_eq!(event.hwaddr.unwrap().octets.as_slice(), mac(row));
        assert_eq!(event.client_id.unwrap(), client_id(row));
        let info = event.relay_agent_info.unwrap();
        let info = leaseq_wire::v4::relay_info::RelayInfo::parse(&info).unwrap();
        let relay = row / 100;
        assert_eq!(info.find(suboption::RELAY_ID), Some(&relay_id(relay)[..]));
        assert_eq!(info.find(suboption::REMOTE_ID), Some(&remote_id(relay)[..]));
        assert!(event.options.is_none());
        assert_eq!(
            inventory.rows(By::RelayId, relay).place(row),
            Some((row % 100) as usize)
        );
        assert_eq!(
            inventory.rows(By::RemoteId, relay + 3).get(5),
            Some(relay * 100 + 5)
        );
        assert_eq!(inventory.rows(By::RelayId, relay + 1).place(row), None);
    }
    assert_eq!(inventory.find(LeaseKey::V4([10, 0, 1, 44].into())), None);
    assert_eq!(
        inventory.find(LeaseKey::V4([9, 255, 255, 255].into())),
        None
    );
    assert_eq!(inventory.rows(By::All, 17).len(), 300);
    assert_eq!(inventory.targets(By::Link), 0);
    assert!(inventory.query(By::Link, 0, b"").is_none());
    let mut line = String::new();
    inventory.line(300, None, &mut line);
    assert_eq!(line, "");
}

#[test]
fn dhcpv6_rows_are_clients_of_which_every_fourth_has_a_prefix() {
    // Seven: the pattern of five is cut off.
    let inventory = inventory(Family::V6, 3, 7);
    let mut prefixes = Vec::new();
    for row in 0..21 {
        let Event::V6(event) = event(&inventory, row, None) else {
            panic!("a DHCPv6 event");
        };
        let is_prefix = event.kind == LeaseKind::Pd;
        if is_prefix {
            prefixes.push(row);
        }
        let key = LeaseKey::V6 {
            address: event.address,
            prefix_len: is_prefix.then_some(event.prefix_len),
            vpn: &[],
        };
        assert_eq!(inventory.find(key), Some(row));
        let LeaseKey::V6 { address, .. } = key else {
            unreachable!()
        };
        let other = LeaseKey::V6 {
            address,
            prefix_len: Some(57),
            vpn: &[],
        };
        assert_eq!(inventory.find(other), None);
        let relay = row / 7;
        let hops = event.relay.unwrap();
        assert_eq!(hops.len(), 1);
        assert_eq!(hops[0].link, link(relay));
        assert_eq!(
            hops[0].link.to_string(),
            format!("2001:db8:0:{relay:x}::1").replace(":0:0::", "::")
        );
        let options = leaseq_wire::v6::Options::parse(&hops[0].options).unwrap();
        assert_eq!(options.find(code6::RELAY_ID), Some(&relay_id(relay)[..]));
        assert_eq!(options.find(code6::REMOTE_ID), Some(&remote_id6(relay)[..]));
        assert_eq!(options.find(code6::INTERFACE_ID).map(<[u8]>::len), Some(8));
        let client = if is_prefix { row - 1 } else { row };
        assert_eq!(event.duid.unwrap(), duid(client));
        let rows: Vec<u32> = inventory.client(row).iter().collect();
        let expected = if matches!(row % 7, 3 | 4) {
            vec![client, client + 1]
        } else {
            vec![row]
        };
        assert_eq!(rows, expected, "row {row}");
        assert_eq!(event.preferred_lifetime, event.valid_lifetime);
    }
    assert_eq!(prefixes, [4, 11, 18]);
    for row in [0, 4] {
        assert!(inventory.udp_query(By::Address, row, b"me").is_some());
    }
}

#[test]
fn a_change_is_a_line_with_its_mark_and_time() {
    let release = Change {
        number: 77,
        is_release: true,
        at: CLTT + 9,
    };
    let renewal = Change {
        number: 78,
        is_release: false,
        at: CLTT + 10,
    };
    let v4 = inventory(Family::V4, 2, 10);
    let Event::V4(event4) = event(&v4, 5, Some(release)) else {
        panic!()
    };
    assert_eq!(
        (event4.state, event4.cltt),
        (State::Released, Some(CLTT + 9))
    );
    let options = event4.options.unwrap();
    assert_eq!(options[0].0, 12);
    let mark = Mark {
        number: 77,
        at: CLTT + 9,
    };
    assert_eq!(Mark::of_host_name(&options[0].1), Some(mark));
    let v6 = inventory(Family::V6, 2, 10);
    let Event::V6(event6) = event(&v6, 4, Some(renewal)) else {
        panic!()
    };
    assert_eq!(
        (event6.state, event6.cltt),
        (State::Active, Some(CLTT + 10))
    );
    assert_eq!(event6.valid_lifetime, Some(86_400));
    assert_eq!(event6.preferred_lifetime, Some(86_400 - 79));
    let options = event6.options.unwrap();
    let mark = Mark {
        number: 78,
        at: CLTT + 10,
    };
    assert_eq!(
        (options[0].0, Mark::of_fqdn(&options[0].1)),
        (39, Some(mark))
    );
}

#[test]
fn queries_ask_about_the_relay() {
    let v4 = inventory(Family::V4, 3, 10);
    let Some(Query::V4(query)) = v4.query(By::RelayId, 4, b"") else {
        panic!()
    };
    assert_eq!(query.selector, Selector4::RelayId(relay_id(1).to_vec()));
    assert!(query.bulk_request(1).is_ok());
    let Some(Query::V4(query)) = v4.udp_query(By::RemoteId, 29, b"") else {
        panic!()
    };
    assert_eq!(query.selector, Selector4::RemoteId(remote_id(2).to_vec()));
    assert!(query.udp_request(1).is_ok());
    for by in [By::Address, By::Hwaddr, By::ClientId] {
        assert!(v4.udp_query(by, 3, b"").unwrap().udp_request(1).is_ok());
    }
    let v6 = inventory(Family::V6, 3, 10);
    let Some(Query::V6(query)) = v6.query(By::Link, 2, b"me") else {
        panic!()
    };
    assert_eq!((query.selector, query.link), (Selector6::Link, link(2)));
    let Some(Query::V6(query)) = v6.query(By::All, 2, b"me") else {
        panic!()
    };
    assert!(query.active_request(1, None).is_ok());
}

#[test]
fn the_largest_are_numbered_and_more_are_refused() {
    let load = |family, relays, bindings_per_relay| {
        let source = Source::MadeUp {
            relays,
            bindings_per_relay,
            cltt: 1,
            valid: 1,
        };
        Inventory::load(family, &source)
    };
    let inventory = load(Family::V4, 1 << 14, 1 << 10).unwrap();
    assert_eq!(
        inventory.find(LeaseKey::V4([10, 255, 255, 255].into())),
        Some((1 << 24) - 1)
    );
    assert!(matches!(
        load(Family::V4, 1 << 14, 1_025),
        Err(DataError::TooMany { .. })
    ));
    let inventory = load(Family::V6, 1_000_000, 1_000).unwrap();
    let row = 999_999_999;
    let Event::V6(event) = event(&inventory, row, None) else {
        panic!()
    };
    assert_eq!(event.address.to_string(), "3fff:3b:9ac9:ff00::");
    assert_eq!(
        load(Family::V6, u32::MAX, 2).unwrap_err().to_string(),
        "4294967295 relays with 2 DHCPv6 bindings each are more than the 2147483648 that are possible"
    );
    assert!(matches!(load(Family::V6, 5, 0), Err(DataError::Empty)));
}
