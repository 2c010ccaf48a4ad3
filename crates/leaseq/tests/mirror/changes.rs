//! Changes of leases at random, reproducible by their seed: new ones, renewals, releases, other clients, other relay agents,
//! and leases that run out soon.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Server time of a test is that of the machine.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

/// A source of changes.
pub struct Changes {
    state: u64,
}

impl Changes {
    pub fn new(seed: u64) -> Changes {
        Changes { state: seed.max(1) }
    }

    /// A number below `below`.
    pub fn number(&mut self, below: u64) -> u64 {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % below
    }

    pub fn some(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> Value {
        match self.number(2) {
            0 => self.v4(),
            _ => self.v6(),
        }
    }

    fn state(&mut self) -> &'static str {
        match self.number(10) {
            0 => "released",
            1 => "expired",
            2 => "available",
            _ => "active",
        }
    }

    /// Mostly an hour or more, sometimes over at once.
    fn lifetime(&mut self) -> u64 {
        match self.number(8) {
            0 => 1 + self.number(3),
            1 => u64::from(u32::MAX),
            _ => 3_600 + self.number(3_600),
        }
    }

    fn vpn(&mut self) -> &'static str {
        if self.number(8) == 0 { "red" } else { "" }
    }

    fn v4(&mut self) -> Value {
        let address = format!("198.51.100.{}", 1 + self.number(200));
        let (vpn, state) = (self.vpn(), self.state());
        if state != "active" {
            return json!({"family": 4, "address": address, "vpn": vpn, "state": state});
        }
        let client = self.number(150);
        let lifetime = self.lifetime();
        let mut line = json!({
            "family": 4, "address": address, "vpn": vpn, "state": "active",
            "hwaddr": format!("01:02:00:5e:10:00:{client:02x}"), "client_id": format!("01aa{client:02x}"),
            "cltt": now(), "valid_lifetime": lifetime,
            "relay_agent_info": format!("0201720c01{:02x}", self.number(5)),
            "options": {"12": format!("68{client:02x}")},
        });
        if lifetime > 3_600 && self.number(2) == 0 {
            line["t1"] = (lifetime / 2).into();
            line["t2"] = (lifetime / 8 * 7).into();
        }
        if self.number(6) == 0 {
            line.as_object_mut().unwrap().remove("relay_agent_info");
        }
        line
    }

    fn v6(&mut self) -> Value {
        let lease = self.number(100);
        let is_prefix = self.number(3) == 0;
        let (name, place) = match is_prefix {
            true => ("prefix", format!("2001:db8:70{lease:02x}::/48")),
            false => ("address", format!("2001:db8:7::{lease:x}")),
        };
        let (vpn, state) = (self.vpn(), self.state());
        if state != "active" {
            return json!({"family": 6, name: place, "vpn": vpn, "state": state});
        }
        // Two relay agents of the link that is configured, and one of another.
        let link = ["2001:db8:7::1", "2001:db8:7::2", "2001:db8:8::1"][self.number(3) as usize];
        let (client, lifetime) = (self.number(60), self.lifetime());
        let preferred = match lifetime {
            4_294_967_295 => lifetime,
            lifetime => lifetime / 2,
        };
        json!({
            "family": 6, name: place, "vpn": vpn, "duid": format!("000300{client:02x}"), "iaid": self.number(3),
            "state": "active", "cltt": now() - self.number(5),
            "preferred_lifetime": preferred, "valid_lifetime": lifetime + 5 * u64::from(lifetime < 4_000_000),
            "relay": [{"link": link, "peer": "fe80::1", "options": format!("00350001{:02x}", self.number(4))}],
            "options": {"23": format!("{:032x}", self.number(2))},
        })
    }
}

/// Leases of a client of each family that no change is about.
pub fn marker(number: u16) -> Vec<Value> {
    let last = 201 + number;
    vec![
        json!({
            "family": 4, "address": format!("198.51.100.{last}"), "state": "active", "client_id": format!("01ff{number:04x}"),
            "cltt": now(), "valid_lifetime": 36_000,
        }),
        json!({
            "family": 6, "address": format!("2001:db8:7::f:{last:x}"), "duid": format!("0003ff{number:04x}"), "iaid": 1,
            "state": "active", "cltt": now(), "preferred_lifetime": 36_000, "valid_lifetime": 36_000,
            "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": "0035000109"}],
        }),
    ]
}
