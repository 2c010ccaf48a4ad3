//! A lease as Kea's API writes it in JSON, in the commands of the HA hook and in the pages of `lease4-get-page`, as an event.
//!
//! The HA hook tells `expire` where the lease commands tell `cltt`. A text holds a character for each octet (`\u00e9` is the
//! octet e9).

use leaseq_store::{Event, Event4, Event6, HwAddr, LeaseKind, State, Vpn};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::hex;
use crate::kea::meaning::{self, HTYPE_ETHERNET, Held, OPTION_HOST_NAME};
use crate::kea::{Family, context};

/// Characters of a value that are told in an error.
const TOLD: usize = 80;

/// Client's last transaction, Unix seconds, as the event tells it.
pub(super) fn cltt(event: &Event) -> Option<u32> {
    match event {
        Event::V4(event) => event.cltt,
        Event::V6(event) => event.cltt,
        Event::Feed(_) => None,
    }
}

/// Whether the event tells a relay agent.
pub(super) fn has_relay_data(event: &Event) -> bool {
    match event {
        Event::V4(event) => event.relay_agent_info.is_some(),
        Event::V6(event) => event.relay.is_some(),
        Event::Feed(_) => false,
    }
}

/// What a lease says: its binding has this state.
pub(super) fn event(family: Family, lease: &Value, feed: u16) -> Result<Event, String> {
    let fields = Fields::of(lease)?;
    let times = fields.times()?;
    let event = match family {
        Family::V4 => fields.event4(times, feed).map(Event::V4),
        Family::V6 => fields.event6(times, feed).map(Event::V6),
    }?;
    checked(event)
}

/// What the deletion of a lease says: the client gave it back, at `now` (Unix seconds). All but the address may be absent.
pub(super) fn deletion(
    family: Family,
    lease: &Value,
    feed: u16,
    now: u32,
) -> Result<Event, String> {
    let fields = Fields::of(lease)?;
    let times = Times {
        cltt: fields.cltt()?,
        valid_lifetime: fields.number32("valid-lft")?,
        held: Held {
            state: State::Released,
            state_since: Some(now),
        },
    };
    let event = match family {
        Family::V4 => fields.event4(times, feed).map(Event::V4),
        Family::V6 => fields.event6(times, feed).map(Event::V6),
    }?;
    checked(event)
}

/// The address that a lease is of, as Kea wrote it, for errors and for the next page.
pub(super) fn address(lease: &Value) -> Option<&str> {
    lease.get("ip-address").and_then(Value::as_str)
}

fn checked(event: Event) -> Result<Event, String> {
    match &event {
        Event::V4(event) => event.check(),
        Event::V6(event) => event.check(),
        Event::Feed(_) => Ok(()),
    }
    .map_err(|error| error.to_string())?;
    Ok(event)
}

/// When a lease was last touched, for how long it holds, and what has become of it.
struct Times {
    cltt: Option<u32>,
    valid_lifetime: Option<u32>,
    held: Held,
}

/// The members of a lease.
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn of(lease: &'a Value) -> Result<Fields<'a>, String> {
        let object = lease.as_object();
        object
            .map(Fields)
            .ok_or_else(|| format!("expected a lease as an object, found {}", found(lease)))
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{key}: expected a text, found {}", found(other))),
        }
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| format!("{key}: expected a number from 0, found {}", found(value))),
        }
    }

    fn number32(&self, key: &str) -> Result<Option<u32>, String> {
        let Some(number) = self.number(key)? else {
            return Ok(None);
        };
        let told = |_| {
            format!(
                "{key}: expected a number up to {}, found {number}",
                u32::MAX
            )
        };
        u32::try_from(number).map(Some).map_err(told)
    }

    fn octets(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let mut octets = Vec::with_capacity(text.len().div_ceil(3));
        hex::decode_colons(text.as_bytes(), |octet| octets.push(octet))
            .map_err(|error| format!("{key}: {error}"))?;
        Ok((!octets.is_empty()).then_some(octets))
    }

    fn address<T: std::str::FromStr>(&self, expected: &str) -> Result<T, String> {
        let text = self.text("ip-address")?;
        let text = text.ok_or_else(|| format!("ip-address: expected {expected}, found nothing"))?;
        let told = |_| {
            format!(
                "ip-address: expected {expected}, found {}",
                found(&Value::from(text))
            )
        };
        text.parse().map_err(told)
    }

    /// Client's last transaction: `cltt`, or what is left of `expire` without the lifetime.
    fn cltt(&self) -> Result<Option<u32>, String> {
        let valid = self.number("valid-lft")?.unwrap_or(0);
        let cltt = match (self.number("cltt")?, self.number("expire")?) {
            (Some(cltt), _) => cltt,
            (None, Some(expire)) => expire.checked_sub(valid).ok_or_else(|| {
                format!("expire: expected a time after valid-lft {valid}, found {expire}")
            })?,
            (None, None) => return Ok(None),
        };
        let told = |_| format!("expected a last transaction before 2106, found it at {cltt}");
        u32::try_from(cltt).map(Some).map_err(told)
    }

    fn times(&self) -> Result<Times, String> {
        let valid = self.number32("valid-lft")?;
        let valid = valid.ok_or("valid-lft: expected seconds, found nothing")?;
        let cltt = self.cltt()?;
        if valid == 0 {
            // What is left of a lease that the client gave back, in versions of Kea that keep it for the client.
            let held = Held {
                state: State::Released,
                state_since: None,
            };
            return Ok(Times {
                cltt,
                valid_lifetime: None,
                held,
            });
        }
        let expire = u64::from(cltt.unwrap_or(0)) + u64::from(valid);
        let mut held = meaning::state(self.number("state")?.unwrap_or(0), expire)
            .map_err(|error| format!("state: {error}"))?;
        if cltt.is_none() {
            held.state_since = None;
        }
        Ok(Times {
            cltt,
            valid_lifetime: Some(valid),
            held,
        })
    }

    fn event4(&self, times: Times, feed: u16) -> Result<Event4, String> {
        let hwaddr = self.octets("hw-address")?.map(|octets| HwAddr {
            htype: HTYPE_ETHERNET,
            octets: SmallVec::from_vec(octets),
        });
        let host_name = self.text("hostname")?.filter(|name| !name.is_empty());
        let relay_agent_info = match self.0.get("user-context") {
            None | Some(Value::Null) => None,
            Some(context) => context::relay_agent_info_of(context)?,
        };
        Ok(Event4 {
            vpn: Vpn::GLOBAL,
            address: self.address("an IPv4 address")?,
            state: times.held.state,
            hwaddr,
            client_id: self.octets("client-id")?,
            cltt: times.cltt,
            state_since: times.held.state_since,
            lease_time: times.valid_lifetime,
            t1: None,
            t2: None,
            relay_agent_info,
            options: host_name.map(|name| vec![(OPTION_HOST_NAME, text_octets(name))]),
            remote: false,
            feed,
        })
    }

    fn event6(&self, times: Times, feed: u16) -> Result<Event6, String> {
        let kind = match self.text("type")? {
            None | Some("IA_NA") => LeaseKind::Na,
            Some("IA_TA") => LeaseKind::Ta,
            Some("IA_PD") => LeaseKind::Pd,
            Some(other) => {
                let other = found(&Value::from(other));
                return Err(format!(
                    "type: expected \"IA_NA\", \"IA_TA\" or \"IA_PD\", found {other}"
                ));
            }
        };
        let prefix_len = match kind {
            LeaseKind::Na | LeaseKind::Ta => 128,
            LeaseKind::Pd => {
                let length = self.number("prefix-len")?;
                length
                    .and_then(|length| u8::try_from(length).ok())
                    .ok_or("prefix-len: expected a prefix length from 1 to 128")?
            }
        };
        let relay = match self.0.get("user-context") {
            None | Some(Value::Null) => None,
            Some(context) => context::relay_chain_of(context)?,
        };
        let duid = self.octets("duid")?.and_then(meaning::client);
        let subnet_id = self.number32("subnet-id")?;
        Ok(Event6 {
            vpn: Vpn::GLOBAL,
            address: self.address("an IPv6 address")?,
            prefix_len,
            kind,
            link: meaning::link(
                relay.as_deref(),
                duid.is_some() && subnet_id.is_some(),
                subnet_id.unwrap_or(0),
            ),
            duid,
            iaid: self.number32("iaid")?,
            state: times.held.state,
            cltt: times.cltt,
            state_since: times.held.state_since,
            preferred_lifetime: self.number32("preferred-lft")?,
            valid_lifetime: times.valid_lifetime,
            relay,
            options: None,
            remote: false,
            feed,
        })
    }
}

/// The octets of a text: a character each; a text with others than those of an octet is taken as UTF-8.
fn text_octets(text: &str) -> Vec<u8> {
    let octets: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    octets.unwrap_or_else(|_| text.as_bytes().to_vec())
}

fn found(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use leaseq_store::Link6;
    use proptest::prelude::*;
    use serde_json::json;

    use std::net::Ipv4Addr;

    use super::*;
    use crate::kea_ha::command;

    fn lease4() -> Value {
        json!({
            "client-id": "00:01:02:01", "expire": 1_795_344_040u64, "force-create": true, "fqdn-fwd": false,
            "fqdn-rev": false, "hostname": "h\u{e9}", "hw-address": "02:00:00:00:00:01", "ip-address": "198.51.100.10",
            "state": 0, "subnet-id": 7, "valid-lft": 600,
            "user-context": {"ISC": {"relay-agent-info": "0x0102410102025201"}},
        })
    }

    fn lease6() -> Value {
        json!({
            "duid": "00:03:00:01:02:00:00:00:01:02", "cltt": 1_795_343_524u64, "hostname": "", "iaid": 12,
            "ip-address": "2001:db8:7000:100::", "preferred-lft": 400, "prefix-len": 56, "state": 0, "subnet-id": 9,
            "type": "IA_PD", "valid-lft": 600, "user-context": {"ISC": {"relays": [
                {"hop": 0, "link": "2001:db8:7::1", "options": "0x003500021234", "peer": "fe80::2"}]}},
        })
    }

    fn with(mut lease: Value, key: &str, value: Value) -> Value {
        lease[key] = value;
        lease
    }

    fn v4(lease: &Value) -> Event4 {
        match event(Family::V4, lease, 3) {
            Ok(Event::V4(event)) => event,
            other => panic!("expected an IPv4 event, found {other:?}"),
        }
    }

    fn v6(lease: &Value) -> Event6 {
        match event(Family::V6, lease, 3) {
            Ok(Event::V6(event)) => event,
            other => panic!("expected an IPv6 event, found {other:?}"),
        }
    }

    #[test]
    fn a_v4_lease_of_the_ha_hook_tells_every_field() {
        let told = v4(&lease4());
        assert_eq!(told.address, Ipv4Addr::new(198, 51, 100, 10));
        assert_eq!((told.state, told.feed), (State::Active, 3));
        assert_eq!(told.cltt, Some(1_795_343_440));
        assert_eq!(told.lease_time, Some(600));
        assert_eq!(told.client_id, Some(vec![0, 1, 2, 1]));
        assert_eq!(told.hwaddr.unwrap().octets.as_slice(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(told.options, Some(vec![(12, vec![b'h', 0xe9])]));
        assert_eq!(
            told.relay_agent_info,
            Some(vec![1, 2, 0x41, 1, 2, 2, 0x52, 1])
        );
    }

    #[test]
    fn a_v6_lease_of_a_page_tells_every_field() {
        let told = v6(&lease6());
        assert_eq!((told.kind, told.prefix_len), (LeaseKind::Pd, 56));
        assert_eq!((told.cltt, told.iaid), (Some(1_795_343_524), Some(12)));
        assert_eq!(
            (told.preferred_lifetime, told.valid_lifetime),
            (Some(400), Some(600))
        );
        let link = "2001:db8:7::1".parse().unwrap();
        assert_eq!(told.link, Some(Link6::Address(link)));
        assert_eq!(told.relay.unwrap()[0].options, [0, 53, 0, 2, 0x12, 0x34]);
        let bare = with(lease6(), "user-context", Value::Null);
        assert_eq!(v6(&bare).link, Some(Link6::Subnet(9)));
    }

    #[test]
    fn states_are_told_as_in_lease_files() {
        let state = |number: u64| {
            let told = v4(&with(lease4(), "state", number.into()));
            (told.state, told.state_since)
        };
        assert_eq!(state(0), (State::Active, None));
        assert_eq!(state(1), (State::Abandoned, None));
        assert_eq!(state(2), (State::Expired, Some(1_795_344_040)));
        assert_eq!(state(3), (State::Released, None));
        let told = v4(&with(lease4(), "valid-lft", 0.into()));
        assert_eq!((told.state, told.lease_time), (State::Released, None));
        let declined = with(with(lease6(), "state", 1.into()), "duid", "00".into());
        assert_eq!(v6(&declined).duid, None);
    }

    #[test]
    fn an_infinite_lease_never_ends() {
        let endless = with(lease4(), "valid-lft", u32::MAX.into());
        let endless = with(
            endless,
            "expire",
            (1_795_343_440 + u64::from(u32::MAX)).into(),
        );
        let told = v4(&endless);
        assert_eq!(
            (told.cltt, told.lease_time),
            (Some(1_795_343_440), Some(u32::MAX))
        );
    }

    #[test]
    fn a_deletion_needs_no_more_than_the_address() {
        let bare = json!({"ip-address": "198.51.100.10"});
        let Ok(Event::V4(told)) = deletion(Family::V4, &bare, 3, 1_795_343_500) else {
            panic!("expected an IPv4 event");
        };
        assert_eq!(told.state, State::Released);
        assert_eq!((told.cltt, told.state_since), (None, Some(1_795_343_500)));
        let Ok(Event::V6(told)) = deletion(Family::V6, &lease6(), 3, 1_795_343_600) else {
            panic!("expected an IPv6 event");
        };
        assert_eq!(
            (told.cltt, told.state_since),
            (Some(1_795_343_524), Some(1_795_343_600))
        );
    }

    #[test]
    fn refusals_name_the_member_and_what_was_expected() {
        let told = |lease: Value| event(Family::V4, &lease, 0).unwrap_err();
        assert_eq!(told(json!(5)), "expected a lease as an object, found 5");
        assert_eq!(
            told(with(lease4(), "ip-address", "2001:db8::1".into())),
            "ip-address: expected an IPv4 address, found \"2001:db8::1\""
        );
        assert_eq!(
            told(with(lease4(), "ip-address", Value::Null)),
            "ip-address: expected an IPv4 address, found nothing"
        );
        assert_eq!(
            told(with(lease4(), "state", 9.into())),
            "state: expected a state from 0 to 4, found 9"
        );
        assert_eq!(
            told(with(lease4(), "valid-lft", (-1).into())),
            "valid-lft: expected a number from 0, found -1"
        );
        assert_eq!(
            told(with(lease4(), "expire", 1.into())),
            "expire: expected a time after valid-lft 600, found 1"
        );
        assert!(told(with(lease4(), "hw-address", "x".into())).starts_with("hw-address: expected"));
        assert!(
            told(with(lease4(), "user-context", json!({"ISC": 5})))
                .starts_with("user_context is not as Kea writes it")
        );
        let told = |lease: Value| event(Family::V6, &lease, 0).unwrap_err();
        assert_eq!(
            told(with(lease6(), "type", "PD".into())),
            "type: expected \"IA_NA\", \"IA_TA\" or \"IA_PD\", found \"PD\""
        );
        assert!(told(with(lease6(), "prefix-len", 300.into())).starts_with("prefix-len"));
    }
    /// JSON of which many members are those of leases and commands.
    fn likely_json() -> impl Strategy<Value = Value> {
        let key = prop::sample::select(vec![
            "command",
            "arguments",
            "leases",
            "deleted-leases",
            "service",
            "ip-address",
            "hw-address",
            "client-id",
            "duid",
            "cltt",
            "expire",
            "valid-lft",
            "preferred-lft",
            "state",
            "type",
            "prefix-len",
            "iaid",
            "subnet-id",
            "hostname",
            "user-context",
            "ISC",
            "relay-agent-info",
            "relays",
            "relay-info",
            "options",
            "link",
            "sub-options",
            "other",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0u64..130).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[0-9a-f:]{0,40}".prop_map(Value::from),
            prop::sample::select(vec![
                "lease4-update",
                "lease6-bulk-apply",
                "lease6-del",
                "198.51.100.10",
                "2001:db8::",
                "IA_PD",
                "0x0102",
                "dhcp4",
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 12, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..12).prop_map(|members| {
                    members
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_panics(json in likely_json(), octets in any::<Vec<u8>>()) {
            for family in [Family::V4, Family::V6] {
                let _ = event(family, &json, 1);
                let _ = deletion(family, &json, 1, 1_795_343_600);
            }
            let _ = command::parse(json.to_string().as_bytes());
            let _ = command::parse(&octets);
        }

        #[test]
        fn no_likely_lease_panics(change in likely_json(), at in 0usize..13) {
            for (family, mut lease) in [(Family::V4, lease4()), (Family::V6, lease6())] {
                let members = lease.as_object_mut().unwrap();
                if let Some((_, value)) = members.iter_mut().nth(at) {
                    *value = change.clone();
                }
                if let Ok(event) = event(family, &lease, 1) {
                    prop_assert!(crate::held::Key::of(&event).is_some());
                }
            }
        }
    }
}
