//! The same requests on the same leases as a real server was asked: our answers say the same, but for what the RFCs ask
//! otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use leaseq_feed::kea;
use leaseq_session::Fate;
use leaseq_store::Event;
use leaseq_wire::v4::Message;
use serde_json::Value;

use crate::fixture::{START, Server, range};
use crate::message::{Message4, framed};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../wire/tests/vectors/kea-3.3");

struct Exchange {
    name: String,
    udp: bool,
    framed: bool,
    time: u32,
    closed: bool,
    requests: Vec<Vec<u8>>,
    replies: Vec<Told>,
}

/// What a message says, without what differs between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    message_type: u8,
    xid: u32,
    htype: u8,
    chaddr: Vec<u8>,
    ciaddr: [u8; 4],
    giaddr: [u8; 4],
    options: BTreeMap<u8, Vec<u8>>,
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |octet: u8| (octet as char).to_digit(16).expect("a digit") as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn exchanges() -> Vec<Exchange> {
    let text = std::fs::read_to_string(Path::new(VECTORS).join("exchanges.ndjson"))
        .expect("the exchanges");
    let values = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let octets = |value: &Value, key: &str| -> Vec<Vec<u8>> {
        value[key]
            .as_array()
            .expect("a list")
            .iter()
            .map(|text| hex(text.as_str().expect("text")))
            .collect()
    };
    values
        .filter(|value| value["family"] == 4)
        .map(|value| Exchange {
            name: value["name"].as_str().expect("a name").to_owned(),
            udp: value["transport"] == "udp",
            framed: value["framed"] == true,
            time: value["time"].as_u64().expect("a time") as u32,
            closed: value["closed"] == true,
            requests: octets(&value, "requests"),
            replies: octets(&value, "replies")
                .iter()
                .map(|octets| theirs(octets))
                .collect(),
        })
        .collect()
}

fn theirs(octets: &[u8]) -> Told {
    let message = Message::parse(octets).expect("their message is read");
    let options = message
        .options()
        .map(|(code, value)| (code, value.bytes().collect()))
        .collect();
    Told {
        message_type: message.message_type().expect("a message type"),
        xid: message.xid(),
        htype: message.htype(),
        chaddr: message.chaddr().to_vec(),
        ciaddr: message.ciaddr().octets(),
        giaddr: message.giaddr().octets(),
        options,
    }
    .comparable()
}

fn ours(message: &Message4) -> Told {
    Told {
        message_type: message.message_type,
        xid: message.xid,
        htype: message.htype,
        chaddr: message.chaddr.clone(),
        ciaddr: message.ciaddr.octets(),
        giaddr: message.giaddr.octets(),
        options: message.options.clone(),
    }
    .comparable()
}

impl Told {
    /// Without the servers' own identities, the words of a status, base-time in a DONE (theirs has none), and the options
    /// that they do not know (153, 156, 157) or do not return (12).
    fn comparable(mut self) -> Told {
        self.options.remove(&53);
        self.options.entry(54).and_modify(Vec::clear);
        self.options
            .entry(151)
            .and_modify(|status| status.truncate(1));
        for code in [12, 153, 156, 157] {
            self.options.remove(&code);
        }
        if self.message_type == 15 {
            self.options.remove(&152);
        }
        self
    }

    /// Times within a second of one another count as the same.
    fn is_like(&self, other: &Told) -> bool {
        let times = [51, 58, 59, 91, 152];
        let close = |code: &u8| match (self.options.get(code), other.options.get(code)) {
            (Some(one), Some(two)) => number(one).abs_diff(number(two)) <= 1,
            (one, two) => one.is_none() && two.is_none(),
        };
        let rest = |told: &Told| {
            let mut rest = told.clone();
            rest.options.retain(|code, _| !times.contains(code));
            rest
        };
        times.iter().all(close) && rest(self) == rest(other)
    }
}

fn number(octets: &[u8]) -> u32 {
    u32::from_be_bytes(octets.try_into().expect("4 octets"))
}

/// The leases of the other server, at the time of the exchange. When they were stored here counts as a change as well,
/// which the other server does not have: so it lies outside of the exchange's window.
fn server_for(exchange: &Exchange) -> Server {
    let mut server = Server::new(vec![range([100, 64, 0, 1], [100, 64, 0, 254], "")]);
    let leases =
        kea::read4(&Path::new(VECTORS).join("kea-leases4.csv"), 0).expect("the lease file opens");
    let events: Vec<Event> = leases.map(|event| event.expect("a lease")).collect();
    assert!(events.len() > 40);
    let passed = Duration::from_secs(u64::from(exchange.time - START));
    if exchange.name.starts_with("end time") {
        server.advance(passed);
        server.store_all(events);
    } else {
        server.store_all(events);
        server.advance(passed);
    }
    server
}

fn answer(exchange: &Exchange) -> (Vec<Message4>, bool) {
    let server = server_for(exchange);
    if exchange.udp {
        let answers = exchange
            .requests
            .iter()
            .filter_map(|request| server.udp_to(request));
        return (answers.map(|(message, _)| message).collect(), false);
    }
    let mut requestor = server.connect();
    for request in &exchange.requests {
        requestor.to_server.extend(if exchange.framed {
            framed(request)
        } else {
            request.clone()
        });
    }
    requestor.run(&server);
    (
        requestor.messages(),
        requestor.connection.fate() != Fate::Open,
    )
}

#[test]
fn our_answers_say_what_kea_said_unless_the_rfcs_ask_otherwise() {
    // Kea refuses what RFC 6926 demands, has another status where it names one, and does not know RFC 6148.
    let differing = BTreeSet::from([
        "all configured addresses",
        "VPN-ID",
        "two primary queries",
        "by remote-id",
    ]);
    let mut compared = 0;
    for exchange in exchanges() {
        if differing.contains(exchange.name.as_str())
            && (exchange.udp || exchange.name != "by remote-id")
        {
            continue;
        }
        let (messages, closed) = answer(&exchange);
        assert_eq!(closed, exchange.closed, "{}: closed", exchange.name);
        let mut ours: Vec<Told> = messages.iter().map(ours).collect();
        let mut theirs = exchange.replies.clone();
        // Over UDP they send no base-time, and do not list a single address, even if asked for it.
        for told in ours.iter_mut().filter(|_| exchange.udp) {
            told.options.remove(&152);
            told.options
                .retain(|code, value| *code != 92 || value.len() > 4);
        }
        // The server's identity is in whatever binding is told first, and their order is their own.
        for told in ours
            .iter_mut()
            .chain(&mut theirs)
            .filter(|told| !exchange.udp && told.message_type == 13)
        {
            told.options.remove(&54);
        }
        ours.sort_by_key(|told| (told.xid, told.message_type == 15, told.ciaddr));
        theirs.sort_by_key(|told| (told.xid, told.message_type == 15, told.ciaddr));
        assert_eq!(ours.len(), theirs.len(), "{}: messages", exchange.name);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert!(
                ours.is_like(theirs),
                "{}:\nours   {ours:?}\ntheirs {theirs:?}",
                exchange.name
            );
        }
        compared += ours.len();
    }
    assert!(compared >= 65, "{compared} messages compared");
}

#[test]
fn where_we_differ_from_kea_we_do_what_the_rfcs_say() {
    let exchanges = exchanges();
    let named = |name: &str, udp: bool| {
        let exchange = exchanges
            .iter()
            .find(|exchange| exchange.name == name && exchange.udp == udp)
            .expect("the exchange");
        answer(exchange).0
    };
    let all = named("all configured addresses", false);
    assert_eq!(
        all.iter()
            .filter(|message| message.message_type == 13)
            .count(),
        37,
        "every lease"
    );
    assert_eq!(all.len(), 254 + 1, "every address of the pool, and a DONE");
    let blue = named("VPN-ID", false);
    assert_eq!(
        (blue.len(), blue[0].message_type, blue[0].status()),
        (1, 15, None),
        "no binding in that VPN"
    );
    let two = named("two primary queries", false);
    assert_eq!((two.len(), two[0].status()), (1, Some(4)));
    let by_remote_id = named("by remote-id", true);
    assert_eq!((by_remote_id.len(), by_remote_id[0].message_type), (1, 13));
}
