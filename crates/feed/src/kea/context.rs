//! Relay data in Kea's `user_context` column, in the spellings of its versions.
//!
//! v4: `{"ISC":{"relay-agent-info":{"sub-options":"0x..","remote-id":"..","relay-id":".."}}}`; before Kea 2.3
//! `"relay-agent-info":"0x.."`. v6: `{"ISC":{"relay-info":[{"hop":0,"link":"..","peer":"..","options":"0x.."}]}}`
//! with the relay nearest to the server first; before Kea 2.3 the key was `relays`. Other keys are not ours and
//! are passed over. Strings are borrowed from the row, so that reading one allocates nothing but the result. The commands
//! of Kea's API carry the same as JSON within JSON (`user-context`).

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use leaseq_store::Relay6;
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::hex;
use crate::rejection::json_reason;

/// Most relays between a client and the server (RFC 8415 §7.6, HOP_COUNT_LIMIT).
const HOP_COUNT_LIMIT: usize = 32;

#[derive(Deserialize)]
struct Context<T> {
    #[serde(rename = "ISC")]
    isc: Option<T>,
}

#[derive(Deserialize)]
struct Isc4<'a> {
    #[serde(rename = "relay-agent-info", borrow)]
    relay_agent_info: Option<RelayAgentInfo<'a>>,
}

/// Either spelling of the relay agent information.
#[derive(Default)]
struct RelayAgentInfo<'a> {
    sub_options: Option<Cow<'a, str>>,
    remote_id: Option<Cow<'a, str>>,
    relay_id: Option<Cow<'a, str>>,
}

/// A string that is borrowed from the input unless an escape in it forbids that.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for RelayAgentInfo<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RelayAgentInfo<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("relay-agent-info as hex or as an object")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(RelayAgentInfo {
                    sub_options: Some(Cow::Borrowed(text)),
                    ..Default::default()
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(RelayAgentInfo {
                    sub_options: Some(Cow::Owned(text.into())),
                    ..Default::default()
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut found = RelayAgentInfo::default();
                while let Some(Text(key)) = map.next_key()? {
                    let place = match key.as_ref() {
                        "sub-options" => &mut found.sub_options,
                        "remote-id" => &mut found.remote_id,
                        "relay-id" => &mut found.relay_id,
                        _ => {
                            map.next_value::<de::IgnoredAny>()?;
                            continue;
                        }
                    };
                    *place = Some(map.next_value::<Text<'de>>()?.0);
                }
                Ok(found)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[derive(Deserialize)]
struct Isc6<'a> {
    #[serde(rename = "relay-info", alias = "relays", borrow)]
    relay_info: Option<Vec<Hop<'a>>>,
}

#[derive(Deserialize)]
struct Hop<'a> {
    link: Option<Ipv6Addr>,
    peer: Option<Ipv6Addr>,
    #[serde(borrow)]
    options: Option<Cow<'a, str>>,
    #[serde(rename = "remote-id", borrow)]
    remote_id: Option<Cow<'a, str>>,
    #[serde(rename = "relay-id", borrow)]
    relay_id: Option<Cow<'a, str>>,
}

/// The payload of option 82 that a v4 row was last received with, if the row tells it.
pub fn relay_agent_info(json: &[u8]) -> Result<Option<Vec<u8>>, String> {
    payload(parse(json)?)
}

/// The same of a context that was read already.
pub(crate) fn relay_agent_info_of(context: &Value) -> Result<Option<Vec<u8>>, String> {
    payload(Context::deserialize(context).map_err(unlike_kea)?)
}

fn payload(context: Context<Isc4<'_>>) -> Result<Option<Vec<u8>>, String> {
    let Some(found) = context.isc.and_then(|isc| isc.relay_agent_info) else {
        return Ok(None);
    };
    let mut payload = Vec::new();
    if let Some(text) = found.sub_options {
        decode(&text, "relay-agent-info", &mut payload)?;
    } else {
        for (code, key, text) in [
            (2, "remote-id", found.remote_id),
            (12, "relay-id", found.relay_id),
        ] {
            let Some(text) = text else { continue };
            let mut value = Vec::new();
            decode(&text, key, &mut value)?;
            let length = u8::try_from(value.len()).map_err(|_| too_long(key, value.len(), 255))?;
            payload.extend_from_slice(&[code, length]);
            payload.extend_from_slice(&value);
        }
    }
    Ok((!payload.is_empty()).then_some(payload))
}

/// The relays of a v6 row, the one nearest to the server first, if the row tells them.
pub fn relay_chain(json: &[u8]) -> Result<Option<Vec<Relay6>>, String> {
    chain(parse(json)?)
}

/// The same of a context that was read already.
pub(crate) fn relay_chain_of(context: &Value) -> Result<Option<Vec<Relay6>>, String> {
    chain(Context::deserialize(context).map_err(unlike_kea)?)
}

fn chain(context: Context<Isc6<'_>>) -> Result<Option<Vec<Relay6>>, String> {
    let Some(hops) = context.isc.and_then(|isc| isc.relay_info) else {
        return Ok(None);
    };
    if hops.len() > HOP_COUNT_LIMIT {
        return Err(format!(
            "expected at most {HOP_COUNT_LIMIT} relays in user_context, found {}",
            hops.len()
        ));
    }
    let mut chain = Vec::with_capacity(hops.len());
    for hop in hops {
        let mut options = Vec::new();
        if let Some(text) = hop.options {
            decode(&text, "options", &mut options)?;
        } else {
            for (code, key, text) in [
                (37u16, "remote-id", hop.remote_id),
                (53, "relay-id", hop.relay_id),
            ] {
                let Some(text) = text else { continue };
                let mut value = Vec::new();
                decode(&text, key, &mut value)?;
                let length =
                    u16::try_from(value.len()).map_err(|_| too_long(key, value.len(), 65_535))?;
                options.extend_from_slice(&code.to_be_bytes());
                options.extend_from_slice(&length.to_be_bytes());
                options.extend_from_slice(&value);
            }
        }
        chain.push(Relay6 {
            link: hop.link.unwrap_or(Ipv6Addr::UNSPECIFIED),
            peer: hop.peer.unwrap_or(Ipv6Addr::UNSPECIFIED),
            options,
        });
    }
    Ok((!chain.is_empty()).then_some(chain))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(unlike_kea)
}

fn unlike_kea(error: serde_json::Error) -> String {
    format!(
        "user_context is not as Kea writes it: {}",
        json_reason(&error)
    )
}

fn decode(text: &str, key: &str, out: &mut Vec<u8>) -> Result<(), String> {
    hex::decode_into(text.as_bytes(), out)
        .map_err(|error| format!("{key} in user_context: {error}"))
}

fn too_long(key: &str, octets: usize, most: usize) -> String {
    format!("{key} in user_context: expected at most {most} octets, found {octets}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v4_relay_data_is_found_in_either_spelling() {
        let new = br#"{"ISC":{"relay-agent-info":{"relay-id":"AABB","remote-id":"0102","sub-options":"0x02020102"}}}"#;
        assert_eq!(relay_agent_info(new), Ok(Some(vec![2, 2, 1, 2])));
        let old = br#"{ "ISC": { "relay-agent-info": "0x0C02AABB" } }"#;
        assert_eq!(relay_agent_info(old), Ok(Some(vec![12, 2, 0xaa, 0xbb])));
        let ids = br#"{"ISC":{"relay-agent-info":{"relay-id":"AABB","remote-id":"0102"}}}"#;
        assert_eq!(
            relay_agent_info(ids),
            Ok(Some(vec![2, 2, 1, 2, 12, 2, 0xaa, 0xbb]))
        );
    }

    #[test]
    fn contexts_of_others_hold_no_relay_data() {
        for json in [
            &b"{}"[..],
            br#"{"ISC":{}}"#,
            br#"{"ISC":{"client-classes":["a"]},"comment":"x"}"#,
            br#"{"ISC":null}"#,
        ] {
            assert_eq!(relay_agent_info(json), Ok(None));
            assert_eq!(relay_chain(json), Ok(None));
        }
    }

    #[test]
    fn v6_relays_are_found_in_either_spelling_and_order_is_kept() {
        for key in ["relay-info", "relays"] {
            let json = format!(
                r#"{{"ISC":{{"{key}":[{{"hop":1,"link":"2001:db8:ffff::1","peer":"2001:db8:7::1"}},
                {{"hop":0,"link":"2001:db8:7::1","peer":"fe80::1","options":"0x003500021234"}}]}}}}"#
            );
            let chain = relay_chain(json.as_bytes()).unwrap().unwrap();
            assert_eq!(chain.len(), 2);
            assert_eq!(
                chain[0].link,
                "2001:db8:ffff::1".parse::<Ipv6Addr>().unwrap()
            );
            assert_eq!(chain[0].options, Vec::<u8>::new());
            assert_eq!(chain[1].peer, "fe80::1".parse::<Ipv6Addr>().unwrap());
            assert_eq!(chain[1].options, [0, 53, 0, 2, 0x12, 0x34]);
        }
        let ids = br#"{"ISC":{"relay-info":[{"link":"::","peer":"fe80::1","remote-id":"0102","relay-id":"03"}]}}"#;
        assert_eq!(
            relay_chain(ids).unwrap().unwrap()[0].options,
            [0, 37, 0, 2, 1, 2, 0, 53, 0, 1, 3]
        );
    }

    #[test]
    fn what_is_broken_is_told() {
        let told = |json: &[u8]| relay_agent_info(json).unwrap_err();
        assert!(told(b"{").starts_with("user_context is not as Kea writes it: EOF"));
        assert_eq!(
            told(br#"{"ISC":{"relay-agent-info":"0x0C0"}}"#),
            "relay-agent-info in user_context: expected two hex digits an octet, found an odd number of digits"
        );
        let hops = vec![r#"{"hop":0}"#; 33].join(",");
        let told =
            relay_chain(format!(r#"{{"ISC":{{"relay-info":[{hops}]}}}}"#).as_bytes()).unwrap_err();
        assert_eq!(told, "expected at most 32 relays in user_context, found 33");
    }
}
