//! Clients that are slow, silent, endless, or not Kea: they hold up neither Kea nor the feed, and get at no memory.

use std::io::Read;
use std::net::TcpStream;

use leaseq_feed::kea_ha::{Credentials, Settings};
use leaseq_store::State;
use serde_json::json;

use crate::fixture::{Control, Kea, NOW, fixture, fixture_of, paged4, pushed4, settings};

/// More than there are places.
const MANY: usize = 200;

fn request(body: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn connections_of_no_use_give_way_to_kea() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    kea.command("lease4-update", pushed4(10, NOW));
    let rude: Vec<Kea> = (0..MANY)
        .map(|number| {
            let mut rude = feed.kea();
            match number % 4 {
                0 => {}
                1 => rude.send(b"POST / HT"),
                2 => rude.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"),
                _ => rude.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            }
            rude
        })
        .collect();
    // Whom it knows is still there, and who comes anew is let in.
    assert_eq!(kea.command("lease4-update", pushed4(11, NOW))["result"], 0);
    let mut new = feed.kea();
    assert_eq!(new.command("lease4-update", pushed4(12, NOW))["result"], 0);
    assert!(feed.lease4("198.51.100.12").is_some());
    let mut first = rude.into_iter().next().unwrap();
    assert_eq!(first.receive(), None, "it gave way");
}

#[test]
fn requests_in_one_go_are_answered_in_their_order() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    let update = |last| {
        let lease = pushed4(last, NOW);
        let body = json!({"command": "lease4-update", "service": ["dhcp4"], "arguments": lease});
        request(&body.to_string())
    };
    let unknown = request("{\"command\":\"lease4-wipe\"}");
    kea.send(format!("{}{unknown}{}", update(10), update(11)).as_bytes());
    for result in [0, 2, 0] {
        let (status, answer) = kea.receive().unwrap();
        assert_eq!((status, &answer[0]["result"]), (200, &json!(result)));
    }
    assert!(feed.lease4("198.51.100.11").is_some());
}

#[test]
fn who_reads_no_answers_is_not_heard_any_further() {
    /// Octets of requests that the system and the feed may hold for a client.
    const MOST: usize = 64 << 20;
    let feed = fixture(None, None);
    let (mut deaf, mut kea) = (feed.kea(), feed.kea());
    let requests = request("{\"command\":\"ha-heartbeat\"}").repeat(100);
    let (mut sent, mut refused) = (0, 0);
    // It is held back for good if nothing was taken while Kea was answered so often.
    while refused < 200 {
        match deaf.send_some(requests.as_bytes()) {
            0 => {
                assert_eq!(kea.command("ha-heartbeat", json!({}))["result"], 0);
                refused += 1;
            }
            octets => (sent, refused) = (sent + octets, 0),
        }
        assert!(sent < MOST, "it takes requests without end");
    }
    assert_eq!(kea.command("lease4-update", pushed4(10, NOW))["result"], 0);
    feed.feed.stop();
}

#[test]
fn headers_and_bulks_without_end_are_refused() {
    let feed = fixture(None, None);
    let mut kea = feed.kea();
    for header in [
        format!("POST /{} HTTP/1.1\r\n", "x".repeat(1 << 20)),
        format!("POST / HTTP/1.1\r\nX: {}\r\n", "x".repeat(1 << 20)),
        format!("POST / HTTP/1.1\r\n{}", "x: y\r\n".repeat(10_000)),
    ] {
        let mut rude = TcpStream::connect(feed.address()).unwrap();
        // It is closed before all was sent.
        let _ = std::io::Write::write_all(&mut rude, header.as_bytes());
        let mut answer = Vec::new();
        let _ = rude.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    let bulk = json!({"leases": vec![0; 100_000]});
    let answer = kea.command("lease6-bulk-apply", bulk);
    assert_eq!(
        answer["text"],
        "leases: expected at most 4096 leases, found 100000"
    );
    let address = "x".repeat(1 << 20);
    let answer = kea.command(
        "lease4-update",
        json!({"ip-address": address, "valid-lft": 600}),
    );
    assert!(answer.to_string().len() < 1_000, "{answer}");
    let bulk = json!({"leases": [{"ip-address": address, "type": address}]});
    let answer = kea.command("lease6-bulk-apply", bulk);
    assert!(answer.to_string().len() < 1_000, "{answer}");
    let answer = kea.command(&address, json!({}));
    assert!(answer.to_string().len() < 1_000, "{answer}");
    assert!(feed.told().trouble.unwrap().text.len() < 1_000);
    assert_eq!(kea.command("lease4-update", pushed4(10, NOW))["result"], 0);
}

#[test]
fn large_requests_wait_for_each_other_and_for_nobody_else() {
    let feed = fixture(None, None);
    let large = |number: usize| {
        let filler = " ".repeat((1 << 20) + number);
        request(&format!("{filler}{{\"command\":\"ha-heartbeat\"}}"))
    };
    let half = 1 << 19;
    let mut waiting: Vec<(Kea, String)> = (0..8)
        .map(|number| {
            let (mut kea, large) = (feed.kea(), large(number));
            kea.send(&large.as_bytes()[..half]);
            (kea, large)
        })
        .collect();
    let mut kea = feed.kea();
    assert_eq!(kea.command("lease4-update", pushed4(10, NOW))["result"], 0);
    for (kea, large) in &mut waiting {
        kea.send(&large.as_bytes()[half..]);
    }
    for (kea, _) in &mut waiting {
        assert_eq!(kea.receive().unwrap().0, 200);
    }
}

fn with_password(settings: Settings) -> Settings {
    let credentials = Credentials::new("kea", b"secret\n").unwrap();
    Settings {
        credentials: Some(credentials),
        ..settings
    }
}

#[test]
fn who_does_not_tell_the_password_changes_nothing() {
    let feed = fixture_of(with_password(settings(None, None)));
    let lease = pushed4(10, NOW);
    let body = json!({"command": "lease4-update", "arguments": lease}).to_string();
    let post = |header: &str| {
        let mut client = TcpStream::connect(feed.address()).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut client, request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    // "kea:wrong", and another scheme.
    for (tries, header) in [
        "",
        "Authorization: Basic a2VhOndyb25n\r\n",
        "Authorization: Digest username=\"kea\"\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let answer = post(header);
        assert!(
            answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"),
            "{answer}"
        );
        assert!(
            answer.contains("\r\nwww-authenticate: Basic realm=\"leaseq\"\r\n"),
            "{answer}"
        );
        assert_eq!(feed.told().troubles, 1 + tries as u64);
        assert!(feed.lease4("198.51.100.10").is_none());
    }
    let told = feed.told().trouble.unwrap().text;
    assert!(told.contains("found others"), "{told}");
    // "kea:secret"
    let answer = post("Authorization: Basic a2VhOnNlY3JldA==\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(feed.lease4("198.51.100.10").is_some());
    assert_eq!(feed.told().troubles, 3);
}

#[test]
fn what_was_refused_is_found_in_the_next_pull() {
    let control = Control::start([paged4(10, NOW - 100), paged4(11, NOW - 100)]);
    let feed = fixture_of(with_password(settings(Some(control.path()), None)));
    control.wait_for_pull();
    // Kea has another password: neither the renewal nor the end is heard.
    control.put(paged4(10, NOW));
    control.remove("198.51.100.11");
    let mut kea = feed.kea();
    let body = json!({"command": "lease4-update", "arguments": pushed4(10, NOW)}).to_string();
    assert_eq!(kea.post(&body).0, 401);
    control.wait_for_pull();
    let lease = feed.lease4("198.51.100.10").unwrap();
    assert_eq!(lease.cltt, Some(NOW as u32));
    assert_eq!(feed.lease4("198.51.100.11").unwrap().state, State::Released);
}
