//! Our decoder reads what ISC Kea 3.3 answered: every message, and in it what its lease files hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_wire::v4::relay_info::RelayInfo;
use leaseq_wire::v4::{self, message_type as type4, option_code as code4, suboption};
use leaseq_wire::v6::{self, Lease, QueryType, message_type as type6, option_code as code6};
use leaseq_wire::{Fault, frame};
use serde_json::Value;

const EXCHANGES: &str = include_str!("vectors/kea-3.3/exchanges.ndjson");
const EXPECTED: &str = include_str!("vectors/kea-3.3/expected.json");
const LEASES4: &str = include_str!("vectors/kea-3.3/kea-leases4.csv");
const LEASES6: &str = include_str!("vectors/kea-3.3/kea-leases6.csv");
/// Requests that are not messages.
const RUBBISH: [&str; 2] = ["zero-length frame", "frame of 300 octets 0xff"];

struct Exchange {
    name: String,
    family: u64,
    udp: bool,
    time: u32,
    requests: Vec<Vec<u8>>,
    replies: Vec<Vec<u8>>,
}

fn exchanges(family: u64) -> Vec<Exchange> {
    let all = EXCHANGES.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        let octets = |key: &str| {
            value[key]
                .as_array()
                .unwrap()
                .iter()
                .map(|text| hex(text.as_str().unwrap()))
                .collect()
        };
        Exchange {
            name: value["name"].as_str().unwrap().into(),
            family: value["family"].as_u64().unwrap(),
            udp: value["transport"] == "udp",
            time: value["time"].as_u64().unwrap() as u32,
            requests: octets("requests"),
            replies: octets("replies"),
        }
    });
    let of_family: Vec<_> = all.filter(|exchange| exchange.family == family).collect();
    assert!(of_family.len() > 15);
    of_family
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Rows of a lease file, the last one of an address only, by column name.
fn rows(file: &'static str) -> BTreeMap<String, BTreeMap<&'static str, &'static str>> {
    let mut lines = file.lines();
    let names: Vec<_> = lines.next().unwrap().split(',').collect();
    let rows = lines.map(|line| {
        names
            .iter()
            .copied()
            .zip(line.split(','))
            .collect::<BTreeMap<_, _>>()
    });
    rows.map(|row| {
        (
            format!(
                "{}/{}",
                row["address"],
                row.get("prefix_len").unwrap_or(&"32")
            ),
            row,
        )
    })
    .collect()
}

fn context(row: &BTreeMap<&str, &str>) -> Value {
    serde_json::from_str(&row["user_context"].replace("&#x2c", ",")).unwrap_or_default()
}

fn number(row: &BTreeMap<&str, &str>, column: &str) -> u32 {
    row[column].parse().unwrap()
}

/// A time counted from now may have been counted a second earlier or later.
fn about(told: u32, expected: u32) {
    assert!(
        told.abs_diff(expected) <= 2,
        "told {told}, expected about {expected}"
    );
}

#[test]
fn v4_requests_and_replies_are_read() {
    for exchange in exchanges(4) {
        for request in &exchange.requests {
            if RUBBISH.contains(&exchange.name.as_str()) {
                assert!(v4::Message::parse(request).is_err());
                continue;
            }
            let message = v4::Message::parse(request).unwrap();
            assert_eq!(message.op(), v4::op::BOOTREQUEST);
            let framed = [&(request.len() as u16).to_be_bytes()[..], request].concat();
            let whole = frame::Split::Frame {
                message: request.as_slice(),
                consumed: request.len() + 2,
            };
            assert_eq!(frame::split(&framed), whole);
        }
        let xids: BTreeSet<u32> = exchange
            .requests
            .iter()
            .filter_map(|octets| Some(v4::Message::parse(octets).ok()?.xid()))
            .collect();
        for reply in &exchange.replies {
            let message = v4::Message::parse(reply).unwrap();
            assert_eq!(message.op(), v4::op::BOOTREPLY);
            assert!(xids.contains(&message.xid()), "{}", exchange.name);
        }
        if !exchange.udp && !exchange.replies.is_empty() {
            let done = exchange.replies.iter().filter(|octets| {
                v4::Message::parse(octets).unwrap().message_type()
                    == Some(type4::DHCPLEASEQUERYDONE)
            });
            assert_eq!(
                done.count(),
                exchange.requests.len(),
                "{}: one end to each query",
                exchange.name
            );
        }
    }
}

#[test]
fn v4_bindings_are_those_of_the_lease_file() {
    let rows = rows(LEASES4);
    let mut bindings = 0;
    for exchange in exchanges(4) {
        for reply in &exchange.replies {
            let message = v4::Message::parse(reply).unwrap();
            if message.message_type() != Some(type4::DHCPLEASEACTIVE) {
                continue;
            }
            bindings += 1;
            let row = &rows[&format!("{}/32", message.ciaddr())];
            assert_eq!(message.chaddr(), hex(row["hwaddr"]));
            let client = message.option(code4::CLIENT_IDENTIFIER);
            assert_eq!(
                client.map_or(Vec::new(), |value| value.bytes().collect()),
                hex(row["client_id"])
            );
            let [lease_time, since] = [
                code4::IP_ADDRESS_LEASE_TIME,
                code4::CLIENT_LAST_TRANSACTION_TIME,
            ]
            .map(|code| message.option(code).unwrap().to_u32().unwrap());
            about(lease_time, number(row, "expire") - exchange.time);
            about(
                since,
                exchange.time + number(row, "valid_lifetime") - number(row, "expire"),
            );
            if !exchange.udp {
                let base_time = message.option(code4::BASE_TIME).unwrap();
                about(base_time.to_u32().unwrap(), exchange.time);
            }
            let relay = message
                .option(code4::RELAY_AGENT_INFORMATION)
                .map(|value| value.as_slice().unwrap());
            let stored = &context(row)["ISC"]["relay-agent-info"];
            assert_eq!(relay.is_some(), stored.is_object());
            if let Some(octets) = relay {
                assert_eq!(
                    format!("0x{}", to_hex(octets)),
                    stored["sub-options"].as_str().unwrap().to_lowercase()
                );
                let info = RelayInfo::parse(octets).unwrap();
                for (code, name) in [
                    (suboption::RELAY_ID, "relay-id"),
                    (suboption::REMOTE_ID, "remote-id"),
                ] {
                    let stored = stored[name].as_str().map(str::to_lowercase);
                    assert_eq!(info.find(code).map(to_hex), stored, "{name}");
                }
            }
        }
    }
    assert!(bindings > 50, "only {bindings} bindings were compared");
}

#[test]
fn v4_answers_by_relay_id_and_remote_id_are_complete() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let mut compared = 0;
    for exchange in exchanges(4)
        .iter()
        .filter(|exchange| !exchange.udp && exchange.requests.len() == 1)
    {
        let Ok(request) = v4::Message::parse(&exchange.requests[0]) else {
            continue;
        };
        let window = [code4::QUERY_START_TIME, code4::QUERY_END_TIME, code4::VSS];
        if window.iter().any(|code| request.option(*code).is_some()) || request.hlen() > 0 {
            continue;
        }
        let Some(info) = request.option(code4::RELAY_AGENT_INFORMATION) else {
            continue;
        };
        let info = RelayInfo::parse(info.as_slice().unwrap()).unwrap();
        let count = match (
            info.find(suboption::RELAY_ID),
            info.find(suboption::REMOTE_ID),
        ) {
            (Some(relay), None) => &expected["v4"]["by_relay_id"][to_hex(relay)],
            (None, Some(remote)) => &expected["v4"]["by_remote_id"][to_hex(remote)],
            _ => continue,
        };
        assert_eq!(
            exchange.replies.len() as u64 - 1,
            count.as_u64().unwrap_or(0),
            "{}",
            exchange.name
        );
        compared += 1;
    }
    assert!(compared >= 4, "only {compared} answers were compared");
}

#[test]
fn v4_refusals_tell_their_status() {
    let refused = [
        "all configured addresses",
        "ciaddr set",
        "two primary queries",
        "VPN-ID",
    ];
    for exchange in exchanges(4)
        .iter()
        .filter(|exchange| refused.contains(&exchange.name.as_str()))
    {
        let message = v4::Message::parse(&exchange.replies[0]).unwrap();
        let value = message.option(code4::STATUS_CODE).unwrap();
        let status = v4::Status::read(&value).unwrap();
        let known = status.known().unwrap();
        assert!(
            matches!(
                known,
                v4::StatusCode::MalformedQuery | v4::StatusCode::NotAllowed
            ),
            "{}",
            exchange.name
        );
        assert!(String::from_utf8(status.text().collect()).unwrap().len() > 5);
    }
}

#[test]
fn rubbish_is_told_from_short_messages() {
    let xs = exchanges(4);
    let of = |name: &str| xs.iter().find(|exchange| exchange.name == name).unwrap();
    let request = &of("zero-length frame").requests[0];
    assert_eq!(frame::split(request), frame::Split::ZeroLength);
    let request = &of("frame of 300 octets 0xff").requests[0];
    let frame::Split::Frame { message, .. } = frame::split(request) else {
        panic!("not a frame")
    };
    let error = v4::Message::parse(message).unwrap_err();
    assert_eq!(
        (error.fault, error.xid),
        (Fault::Cookie(u32::MAX), Some(u32::MAX))
    );
}

#[test]
fn v6_requests_and_replies_are_read() {
    for exchange in exchanges(6) {
        let requests: Vec<_> = exchange
            .requests
            .iter()
            .map(|octets| v6::Message::parse(octets).unwrap())
            .collect();
        for (request, octets) in requests.iter().zip(&exchange.requests) {
            assert!(matches!(
                request.msg_type(),
                type6::LEASEQUERY | type6::ACTIVELEASEQUERY
            ));
            assert_eq!(request.octets(), octets);
            if let Some(query) = request.option(code6::LQ_QUERY) {
                let query = v6::LqQuery::parse(query).unwrap();
                assert_eq!(
                    query.known().is_none(),
                    exchange.name == "unknown query type"
                );
            }
        }
        for reply in &exchange.replies {
            let message = v6::Message::parse(reply).unwrap();
            assert!(
                requests
                    .iter()
                    .any(|request| request.xid() == message.xid())
            );
            if message.msg_type() == type6::LEASEQUERY_REPLY {
                let status =
                    v6::Status::parse(message.option(code6::STATUS_CODE).unwrap()).unwrap();
                assert!(status.known().is_some());
                assert!(message.option(code6::SERVERID).is_some());
            }
        }
    }
}

#[test]
fn v6_clients_are_those_of_the_lease_file() {
    let rows = rows(LEASES6);
    let mut leases = 0;
    for exchange in exchanges(6) {
        for reply in &exchange.replies {
            let Some(client) = v6::Message::parse(reply)
                .unwrap()
                .option(code6::CLIENT_DATA)
            else {
                continue;
            };
            let client = v6::ClientData::parse(client).unwrap();
            for lease in client.leases().map(Result::unwrap) {
                leases += 1;
                let (address, len) = lease.prefix();
                let row = &rows[&format!("{address}/{len}")];
                assert_eq!(client.client_id().unwrap(), hex(row["duid"]));
                assert_eq!(matches!(lease, Lease::Prefix(_)), row["lease_type"] == "2");
                let since = exchange.time + number(row, "valid_lifetime") - number(row, "expire");
                about(client.clt_time().unwrap(), since);
                about(
                    lease.valid(),
                    number(row, "expire").saturating_sub(exchange.time),
                );
                // A preferred lifetime that is over is told undiminished, longer than the valid one: Kea's fault, not ours.
                let preferred = number(row, "pref_lifetime");
                let left = if preferred > since {
                    preferred - since
                } else {
                    preferred
                };
                about(lease.preferred(), left);
                if let Some(relay) = client.relay_data() {
                    compare_relays(&relay.unwrap(), &context(row)["ISC"]["relay-info"]);
                }
            }
        }
    }
    assert!(leases > 50, "only {leases} leases were compared");
}

fn compare_relays(relay: &v6::LqRelayData<'_>, stored: &Value) {
    let hops: Vec<_> = relay.relays().collect::<Result<_, _>>().unwrap();
    let stored = stored.as_array().unwrap();
    assert_eq!(hops.len(), stored.len());
    for (hop, stored) in hops.iter().zip(stored) {
        let address = |key: &str| stored[key].as_str().unwrap().parse::<Ipv6Addr>().unwrap();
        assert_eq!(
            (hop.link_address, hop.peer_address),
            (address("link"), address("peer"))
        );
        let id = |key: &str| stored[key].as_str().map(str::to_lowercase);
        assert_eq!(
            hop.options.find(code6::RELAY_ID).map(to_hex),
            id("relay-id")
        );
        assert_eq!(
            hop.options.find(code6::REMOTE_ID).map(to_hex),
            id("remote-id")
        );
    }
}

#[test]
fn v6_answers_by_relay_id_and_remote_id_are_complete() {
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let mut compared = 0;
    for exchange in exchanges(6).iter().filter(|exchange| !exchange.udp) {
        let request = v6::Message::parse(&exchange.requests[0]).unwrap();
        if request.option(code6::CLIENTID).is_none() {
            assert!(exchange.replies.is_empty());
            continue;
        }
        let Some(query) = request
            .option(code6::LQ_QUERY)
            .map(|value| v6::LqQuery::parse(value).unwrap())
        else {
            continue;
        };
        if !query.link_address.is_unspecified() {
            continue;
        }
        let (id, column) = match query.known() {
            Some(QueryType::ByRelayId) => (query.options.find(code6::RELAY_ID), "by_relay_id"),
            Some(QueryType::ByRemoteId) => (query.options.find(code6::REMOTE_ID), "by_remote_id"),
            _ => continue,
        };
        let Some(id) = id else { continue };
        let bindings = exchange.replies.iter().filter(|octets| {
            v6::Message::parse(octets)
                .unwrap()
                .option(code6::CLIENT_DATA)
                .is_some()
        });
        let count = expected["v6"][column][to_hex(id)].as_u64().unwrap_or(0);
        assert_eq!(bindings.count() as u64, count, "{}", exchange.name);
        compared += 1;
    }
    assert!(compared >= 4, "only {compared} answers were compared");
}

#[test]
fn v4_udp_answers_have_the_type_of_what_was_asked() {
    let xs = exchanges(4);
    let kinds: BTreeMap<&str, Option<u8>> = xs
        .iter()
        .filter(|exchange| exchange.udp && !exchange.replies.is_empty())
        .map(|exchange| {
            (
                exchange.name.as_str(),
                v4::Message::parse(&exchange.replies[0])
                    .unwrap()
                    .message_type(),
            )
        })
        .collect();
    assert_eq!(kinds["by IP, leased"], Some(type4::DHCPLEASEACTIVE));
    assert_eq!(kinds["by IP, not leased"], Some(type4::DHCPLEASEUNASSIGNED));
    assert_eq!(kinds["by IP, not managed"], Some(type4::DHCPLEASEUNKNOWN));
    let by_mac = xs
        .iter()
        .find(|exchange| exchange.udp && exchange.name == "by MAC")
        .unwrap();
    let message = v4::Message::parse(&by_mac.replies[0]).unwrap();
    if let Some(addresses) = message.option(code4::ASSOCIATED_IP) {
        let addresses: Vec<u8> = addresses.bytes().collect();
        assert!(
            addresses
                .chunks(4)
                .any(|octets| octets == message.ciaddr().octets())
        );
    }
    assert_ne!(message.ciaddr(), Ipv4Addr::UNSPECIFIED);
}
