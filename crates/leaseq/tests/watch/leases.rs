//! Leases as a feed tells them, and what was told of them against what the store holds.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The time when the test began. Leases of one client have one time of the last transaction, so that DHCPv6, which tells one
/// for all of them, tells that of each.
fn seconds() -> u64 {
    static BEGIN: LazyLock<u64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    });
    *BEGIN
}

pub fn active4(last: u8, lifetime: u32) -> Value {
    json!({
        "family": 4, "address": format!("198.51.100.{last}"), "state": "active",
        "hwaddr": format!("01:02:00:5e:10:00:{last:02x}"), "client_id": format!("01aa{last:02x}"),
        "cltt": seconds() - 50, "state_since": seconds() - 100, "valid_lifetime": lifetime,
        // remote-id "r", relay-id 9.
        "relay_agent_info": "0201720c0109",
    })
}

pub fn ended4(last: u8, state: &str) -> Value {
    json!({"family": 4, "address": format!("198.51.100.{last}"), "state": state})
}

pub fn active6(last: u8, lifetime: u32) -> Value {
    let options = "0035000109"; // relay-id 9
    json!({
        "family": 6, "address": format!("2001:db8:7::{last:x}"), "duid": format!("000300{last:02x}"), "iaid": 1,
        "link": "2001:db8:7::1", "state": "active", "cltt": seconds() - 50,
        "preferred_lifetime": lifetime / 2, "valid_lifetime": lifetime,
        "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": options}],
    })
}

pub fn prefix6(last: u8, state: &str) -> Value {
    json!({
        "family": 6, "prefix": format!("2001:db8:70{last:02x}::/48"), "duid": format!("000300{last:02x}"), "iaid": 2,
        "link": "2001:db8:7::1", "state": state, "cltt": seconds() - 50,
        "preferred_lifetime": 1800, "valid_lifetime": 3600,
        "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": "0035000109"}],
    })
}

pub fn ended6(last: u8, state: &str) -> Value {
    json!({
        "family": 6, "address": format!("2001:db8:7::{last:x}"), "duid": format!("000300{last:02x}"), "iaid": 1,
        "link": "2001:db8:7::1", "state": state,
    })
}

/// The last thing told of each lease, by address or prefix.
pub fn table(told: &[Value]) -> BTreeMap<String, Map<String, Value>> {
    let mut table = BTreeMap::new();
    for line in told {
        let mut fields = line.as_object().unwrap().clone();
        assert!(fields.remove("base_time").unwrap().is_u64());
        fields.insert("ended".into(), (fields["state"] != "active").into());
        assert_eq!(line["ended"], fields["ended"], "{line}");
        let key = fields.get("address").or(fields.get("prefix")).unwrap();
        table.insert(key.as_str().unwrap().to_owned(), fields);
    }
    table
}

/// What was told at last of each lease is what the store holds, as far as leasequery tells it.
pub fn assert_equal(told: &[Value], exported: &[Value]) {
    let mut told = table(told);
    for lease in exported {
        let key = lease["address"]
            .as_str()
            .or(lease["prefix"].as_str())
            .unwrap();
        let mut fields = told
            .remove(key)
            .unwrap_or_else(|| panic!("{key} was not told"));
        let has_ended = fields.remove("ended").unwrap() == true;
        assert_eq!(has_ended, lease["state"] != "active", "{fields:?} {lease}");
        if has_ended && lease["family"] == 6 {
            // DHCPv6 tells no state but that.
            continue;
        }
        for (name, value) in fields {
            assert_eq!(value, lease[&name], "{key}: {name}");
        }
    }
    assert!(told.is_empty(), "not in the store: {told:?}");
}
