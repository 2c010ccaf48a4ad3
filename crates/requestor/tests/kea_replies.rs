//! The cores on what ISC Kea 3.3 answered: each exchange over TCP ends as it should, and its leases are told.

use std::collections::BTreeSet;

use leaseq_requestor::{
    Answer, Bulk, Client6Leases, Event, Lease4, Query, Query4, Query6, Selector4, Selector6,
    UdpExchange, render,
};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::{v4, v6};
use serde_json::Value;

const EXCHANGES: &str = include_str!("../../wire/tests/vectors/kea-3.3/exchanges.ndjson");
const LEASES4: &str = include_str!("../../wire/tests/vectors/kea-3.3/kea-leases4.csv");
const LEASES6: &str = include_str!("../../wire/tests/vectors/kea-3.3/kea-leases6.csv");
const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

struct Exchange {
    name: String,
    family: u64,
    time: UnixSeconds,
    requests: Vec<Vec<u8>>,
    replies: Vec<Vec<u8>>,
}

fn exchanges(transport: &str) -> Vec<Exchange> {
    let lines = EXCHANGES
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_transport = lines.filter(|value| value["transport"] == transport);
    let read = of_transport.map(|value| {
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
            time: UnixSeconds(value["time"].as_u64().unwrap() as u32),
            requests: octets("requests"),
            replies: octets("replies"),
        }
    });
    read.filter(|exchange| !exchange.replies.is_empty())
        .collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn any_query(family: u64) -> Query {
    match family {
        4 => Query::V4(Query4::new(Selector4::All)),
        _ => Query::V6(Query6::new(Selector6::Link, DUID)),
    }
}

fn xid(family: u64, request: &[u8]) -> u32 {
    match family {
        4 => v4::Message::parse(request).unwrap().xid(),
        _ => v6::Message::parse(request).unwrap().xid(),
    }
}

/// The columns of the last row of an address.
fn row(file: &'static str, address: &str) -> Vec<&'static str> {
    let mut rows = file
        .lines()
        .filter(|line| line.split(',').next() == Some(address));
    rows.next_back()
        .expect("the lease file has the address")
        .split(',')
        .collect()
}

#[test]
fn bulk_answers_end_once_and_tell_what_the_lease_files_hold() {
    let mut lines = 0;
    for exchange in exchanges("tcp") {
        let stream: Vec<u8> = exchange
            .replies
            .iter()
            .flat_map(|reply| [&(reply.len() as u16).to_be_bytes()[..], reply].concat())
            .collect();
        let mut core = Bulk::like(&any_query(exchange.family));
        exchange
            .requests
            .iter()
            .for_each(|request| core.add(xid(exchange.family, request)));
        let (mut told, mut ended, mut failed) = (Vec::new(), 0, 0);
        for piece in stream.chunks(100) {
            let pushed = core.push(piece, &mut |event| match event {
                Event::Binding4(binding) => {
                    let lease = Lease4::read(&binding.message, exchange.time).unwrap();
                    assert_eq!(render::table_row(&lease).len(), 1);
                    told.push(render::ndjson(&lease));
                }
                Event::Client6(client) => {
                    let leases =
                        Client6Leases::read(&client.message, &client.client, exchange.time)
                            .unwrap();
                    assert_eq!(render::table_row(&leases).len(), leases.leases.len());
                    told.push(render::ndjson(&leases));
                }
                Event::Done(done) => {
                    ended += 1;
                    failed += usize::from(done.failure().is_some());
                }
            });
            assert_eq!(pushed, Ok(()), "{}", exchange.name);
        }
        assert_eq!(
            (ended, core.running()),
            (exchange.requests.len(), 0),
            "{}",
            exchange.name
        );
        assert_eq!(core.closed(), Ok(()));
        let refused = [
            "all configured addresses",
            "ciaddr set",
            "two primary queries",
            "VPN-ID",
            "unknown query type",
            "by relay-id, unknown link",
            "relay-id missing",
        ];
        assert_eq!(
            failed > 0,
            refused.contains(&exchange.name.as_str()),
            "{}",
            exchange.name
        );
        let distinct: BTreeSet<&String> = told.iter().collect();
        assert_eq!(
            distinct.len(),
            told.len(),
            "{}: nothing is told twice",
            exchange.name
        );
        for line in told.iter().flat_map(|lines| lines.lines()) {
            lines += 1;
            compare(&serde_json::from_str(line).unwrap());
        }
    }
    assert!(lines > 80, "only {lines} leases were compared");
}

/// A line against the lease file's row of its address: what does not depend on the second it was asked in.
fn compare(line: &Value) {
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| line[key].as_u64().unwrap();
    assert_eq!(text("state"), "active");
    if line["family"] == 4 {
        let row = row(LEASES4, &text("address"));
        assert_eq!(text("hwaddr"), format!("01:{}", row[1]));
        assert_eq!(text("client_id"), row[2].replace(':', ""));
        assert_eq!(number("valid_lifetime").to_string(), row[3]);
        assert_eq!(
            (number("cltt") + number("valid_lifetime")).to_string(),
            row[4]
        );
        let info = text("relay_agent_info");
        assert!(info.is_empty() || row[10].to_lowercase().contains(&format!("0x{info}")));
    } else {
        let (address, len) = match line["prefix"].as_str() {
            Some(prefix) => prefix
                .split_once('/')
                .map(|(a, l)| (a.to_owned(), l.to_owned()))
                .unwrap(),
            None => (text("address"), "128".to_owned()),
        };
        let row = row(LEASES6, &address);
        assert_eq!(
            (text("duid"), len),
            (row[1].replace(':', ""), row[8].to_owned())
        );
        let ends = number("cltt") + number("valid_lifetime");
        assert_eq!(
            (number("valid_lifetime").to_string(), ends.to_string()),
            (row[2].to_owned(), row[3].to_owned())
        );
        for hop in line["relay"].as_array().into_iter().flatten() {
            let options = hop["options"].as_str().unwrap();
            assert!(options.is_empty() || row[14].to_lowercase().contains(options));
            assert!(row[14].contains(hop["link"].as_str().unwrap()));
        }
    }
}

#[test]
fn udp_answers_mean_what_their_names_say() {
    let answers: Vec<(String, Answer)> = exchanges("udp")
        .into_iter()
        .map(|exchange| {
            let xid = xid(exchange.family, &exchange.requests[0]);
            let query = match exchange.family {
                4 => Query::V4(Query4 {
                    giaddr: "192.0.2.1".parse().unwrap(),
                    ..Query4::new(Selector4::Ip("100.64.0.1".parse().unwrap()))
                }),
                _ => Query::V6(Query6::new(Selector6::Duid(vec![1]), DUID)),
            };
            let udp = UdpExchange::new(&query, xid, 1).unwrap();
            let answer = udp
                .receive(&exchange.replies[0], exchange.time)
                .unwrap()
                .expect("it is an answer");
            (format!("v{} {}", exchange.family, exchange.name), answer)
        })
        .collect();
    let of = |name: &str| {
        &answers
            .iter()
            .find(|(found, _)| found == name)
            .expect("the exchange is there")
            .1
    };
    let state = |name: &str| match of(name) {
        Answer::Lease4(lease) => lease.state.name(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(state("v4 by IP, leased"), "active");
    assert_eq!(state("v4 by IP, not leased"), "available");
    assert_eq!(*of("v4 by IP, not managed"), Answer::Unknown);
    assert!(
        matches!(of("v6 by address"), Answer::Clients6(clients) if clients[0].leases.len() == 1)
    );
    // Kea does not look for a delegated prefix that contains the address, as RFC 5007 §3.3 would have it.
    let inside = of("v6 by address inside a delegated prefix");
    assert!(matches!(inside, Answer::Failed(status) if status.name == Some("NotConfigured")));
    assert!(matches!(of("v6 by relay-id over UDP"), Answer::Failed(_)));
}
