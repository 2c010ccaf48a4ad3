//! TLS as the requestor negotiates it, against rustls on the server's side and without a socket.

#[path = "support/certificates.rs"]
mod certificates;
mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use certificates::Authority;
use leaseq_requestor::follow::{Action, FollowSettings, Follower, Line, Notice};
use leaseq_requestor::tls::{Channel, TlsClient, TlsConfigError, TlsError};
use leaseq_requestor::{Family, ProtocolFault, Query, Query4, Query6, Selector4, Selector6};
use leaseq_wire::v4::{self, StatusCode as Status4};
use leaseq_wire::v6::{self, StatusCode as Status6};
use rustls::{ServerConnection, SupportedProtocolVersion, version};
use support::*;

/// The server's side of a connection on TLS.
struct Server {
    tls: ServerConnection,
}

impl Server {
    fn of(authority: &Authority, version: &'static SupportedProtocolVersion) -> Self {
        Self {
            tls: authority.server(&[version]),
        }
    }

    /// Takes octets of the requestor; the octets for it, and what it said.
    fn take(&mut self, mut octets: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut output, mut said) = (Vec::new(), Vec::new());
        while !octets.is_empty() {
            self.tls.read_tls(&mut octets).unwrap();
            let result = self.tls.process_new_packets();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut output).unwrap();
            }
            if result.is_err() {
                break;
            }
            let _ = self.tls.reader().read_to_end(&mut said);
        }
        (output, said)
    }

    fn say(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        self.tls.writer().write_all(octets).unwrap();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut output).unwrap();
        }
        output
    }
}

/// The answer to a request for TLS that grants it.
fn granted(family: Family, xid: u32) -> Vec<u8> {
    match family {
        Family::V4 => message4(xid, 18, [0; 4], |_| {}),
        Family::V6 => message6(7, xid, |_| {}),
    }
}

fn receive(channel: &mut Channel, octets: &[u8]) -> Result<Vec<u8>, TlsError> {
    let mut said = Vec::new();
    channel.receive(octets, &mut |octets| {
        said.extend_from_slice(octets);
        Ok::<(), TlsError>(())
    })?;
    Ok(said)
}

/// Lets both sides talk until neither has anything more to say.
fn negotiate(channel: &mut Channel, server: &mut Server) -> Result<(), TlsError> {
    while channel.has_output() {
        let (output, _) = server.take(&channel.take_output());
        receive(channel, &output)?;
    }
    Ok(())
}

#[test]
fn both_families_ask_first_and_then_talk_tls_of_both_versions() {
    let authority = Authority::new();
    for family in [Family::V4, Family::V6] {
        for version in [&version::TLS13, &version::TLS12] {
            let mut server = Server::of(&authority, version);
            let mut channel = Channel::secure(&authority.client("dhcp.example.net"), family, 7);
            let request = channel.take_output();
            match family {
                Family::V4 => {
                    let message = v4::Message::parse(&request[2..]).unwrap();
                    assert_eq!((message.message_type(), message.xid()), (Some(18), 7));
                    assert_eq!(message.options().count(), 1, "option 53 alone");
                }
                Family::V6 => assert_eq!(request, [0, 4, 23, 0, 0, 7]),
            }
            // Nothing can be said before the answer.
            channel.send(b"early");
            assert!(!channel.is_open() && !channel.has_output());
            let answer = granted(family, 7);
            receive(&mut channel, &answer[..3]).unwrap();
            receive(&mut channel, &answer[3..]).unwrap();
            negotiate(&mut channel, &mut server).unwrap();
            assert!(channel.is_open());
            assert_eq!(server.tls.protocol_version(), Some(version.version));
            assert!(server.tls.peer_certificates().is_some());

            // Each message is a record of its own.
            channel.send(&[0, 3, 1, 2, 3]);
            channel.send(&[0, 2, 4, 5]);
            let output = channel.take_output();
            let mut rest = output.as_slice();
            let mut records = 0;
            while let [23, _, _, high, low, later @ ..] = rest {
                rest = &later[usize::from(u16::from_be_bytes([*high, *low]))..];
                records += 1;
            }
            assert_eq!((records, rest.len()), (2, 0));
            assert_eq!(server.take(&output).1, [0, 3, 1, 2, 3, 0, 2, 4, 5]);
            // More than a record, in pieces.
            let long: Vec<u8> = (0..40_000_u32).map(|n| n as u8).collect();
            let mut said = Vec::new();
            for piece in server.say(&long).chunks(1000) {
                said.extend(receive(&mut channel, piece).unwrap());
            }
            assert_eq!(said, long);
        }
    }
}

#[test]
fn a_refusal_and_anything_but_an_answer_end_it() {
    let authority = Authority::new();
    let client = authority.client("dhcp.example.net");
    let after = |family, answer: &[u8]| {
        let mut channel = Channel::secure(&client, family, 7);
        channel.take_output();
        let error = receive(&mut channel, answer).unwrap_err();
        assert!(!channel.is_open());
        // It stays so.
        assert_eq!(receive(&mut channel, b"more").unwrap(), b"");
        error
    };
    let refused4 = status4(7, 18, Status4::TlsConnectionRefused, None);
    let refused6 = status6(7, 7, Some(Status6::TlsConnectionRefused), None);
    for (family, answer) in [(Family::V4, refused4), (Family::V6, refused6)] {
        let error = after(family, &answer);
        assert!(matches!(&error, TlsError::Refused(_)), "{error}");
        assert_eq!(
            error.to_string(),
            "the server refused TLS: TLSConnectionRefused"
        );
    }
    let fault = |family, answer: &[u8]| match after(family, answer) {
        TlsError::Answer(error) => error.fault,
        other => panic!("{other}"),
    };
    let other_xid = granted(Family::V4, 8);
    assert_eq!(fault(Family::V4, &other_xid), ProtocolFault::UnknownXid(8));
    let binding = binding4(7, 1, 0);
    assert_eq!(
        fault(Family::V4, &binding),
        ProtocolFault::UnexpectedType(Some(13))
    );
    let reply = reply6(7, None, None);
    assert_eq!(
        fault(Family::V6, &reply),
        ProtocolFault::UnexpectedType(Some(15))
    );
    let beyond = [granted(Family::V6, 7), vec![0, 9]].concat();
    let left = ProtocolFault::Closed {
        queries: 0,
        octets: 2,
    };
    assert_eq!(fault(Family::V6, &beyond), left);
}

#[test]
fn the_server_s_certificate_must_be_of_the_authority_and_have_the_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (server, name) in [(&theirs, "dhcp.example.net"), (&ours, "other.example.net")] {
        let mut server = Server::of(server, &version::TLS13);
        let mut channel = Channel::secure(&ours.client(name), Family::V4, 7);
        channel.take_output();
        receive(&mut channel, &granted(Family::V4, 7)).unwrap();
        let error = negotiate(&mut channel, &mut server).unwrap_err();
        assert!(
            matches!(
                error,
                TlsError::Handshake(rustls::Error::InvalidCertificate(_))
            ),
            "{error}"
        );
        assert!(channel.has_output(), "an alert says why");
    }
}

#[test]
fn what_is_not_pem_or_no_name_is_told() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify("relay.example.net");
    let ca = authority.issuer.pem();
    let new = |ca: &str, certificate: &str, key: &str, name: &str| {
        TlsClient::new(ca.as_bytes(), certificate.as_bytes(), key.as_bytes(), name)
            .map(|_| ())
            .unwrap_err()
    };
    let error = new("", &certificate, &key, "a");
    assert_eq!(
        error.to_string(),
        "expected certificates of authorities in PEM: no certificate found"
    );
    assert!(matches!(
        new(&ca, &key, &key, "a"),
        TlsConfigError::Pem { .. }
    ));
    assert!(matches!(
        new(&ca, &certificate, &ca, "a"),
        TlsConfigError::Pem { .. }
    ));
    assert!(matches!(
        new(&ca, &certificate, &key, "no name"),
        TlsConfigError::Name(_)
    ));
    let (_, other_key) = authority.certify("relay.example.net");
    assert!(matches!(
        new(&ca, &certificate, &other_key, "a"),
        TlsConfigError::Identity(_)
    ));
}

/// A follower in secure mode whose server grants TLS, or does not.
struct World {
    follower: Follower,
    now: Instant,
}

impl World {
    fn new(query: Query, client: TlsClient) -> Self {
        let settings = FollowSettings {
            tls: Some(client),
            ..FollowSettings::default()
        };
        let now = Instant::now();
        Self {
            follower: Follower::new(query, None, settings, 3, now).unwrap(),
            now,
        }
    }

    /// Octets sent and connections begun or closed until the follower waits; why it went down, if it did.
    fn run(&mut self) -> (Vec<u8>, Vec<&'static str>, Option<String>) {
        let (mut sent, mut done, mut down) = (Vec::new(), Vec::new(), None);
        loop {
            match self.follower.step(self.now) {
                Action::Connect(_) => done.push("connect"),
                Action::Close(_) => done.push("close"),
                Action::Notice(Notice::Asked(_)) => done.push("asked"),
                Action::Notice(Notice::Down { cause, .. }) => down = Some(cause.to_string()),
                Action::Send(_, octets) => {
                    sent.extend_from_slice(octets);
                    self.follower.sent(Line::Stream);
                }
                Action::WaitUntil(_) => return (sent, done, down),
            }
        }
    }

    fn receive(&mut self, octets: &[u8]) {
        self.follower
            .received(Line::Stream, octets, self.now, &mut |_| {});
    }

    /// Connected, and the request for TLS is out: its transaction id.
    fn asking(&mut self) -> u32 {
        assert_eq!(self.run().1, ["connect"]);
        self.follower.connected(Line::Stream, self.now);
        let (request, done, _) = self.run();
        assert_eq!(done, [""; 0], "the query waits for TLS");
        match v4::Message::parse(&request[2..]) {
            Ok(message) => message.xid(),
            Err(_) => v6::Message::parse(&request[2..]).unwrap().xid(),
        }
    }
}

#[test]
fn a_follower_asks_its_query_on_tls_only() {
    let authority = Authority::new();
    let queries = [
        (Family::V4, Query::V4(Query4::new(Selector4::All))),
        (Family::V6, Query::V6(Query6::new(Selector6::All, DUID))),
    ];
    for (family, query) in queries {
        let mut server = Server::of(&authority, &version::TLS13);
        let mut world = World::new(query, authority.client("dhcp.example.net"));
        let xid = world.asking();
        world.receive(&granted(family, xid));
        let mut query = Vec::new();
        while query.is_empty() {
            let (sent, _, down) = world.run();
            assert_eq!(down, None);
            let (output, said) = server.take(&sent);
            query = said;
            world.receive(&output);
        }
        match family {
            Family::V4 => {
                let message = v4::Message::parse(&query[2..]).unwrap();
                assert_eq!(message.message_type(), Some(16));
            }
            Family::V6 => assert_eq!(query[2], 22),
        }
    }
}

/// The four possibilities of RFC 7724 §7.2 and RFC 7653 §8.2, of which the fourth is above.
#[test]
fn without_tls_a_follower_closes_the_connection() {
    let authority = Authority::new();
    let world = || {
        let query = Query::V4(Query4::new(Selector4::All));
        World::new(query, authority.client("dhcp.example.net"))
    };
    // No answer.
    let mut silent = world();
    silent.asking();
    silent.now += Duration::from_secs(30);
    let (sent, done, down) = silent.run();
    assert_eq!((sent.len(), done.as_slice()), (0, &["close"][..]));
    assert_eq!(down.unwrap(), "TLS was not negotiated in time");
    // Closed.
    let mut closed = world();
    closed.asking();
    closed.follower.closed(Line::Stream, None, closed.now);
    let (_, done, down) = closed.run();
    assert_eq!(done, [""; 0]);
    assert_eq!(
        down.unwrap(),
        "the server closed the connection before TLS was established"
    );
    // Refused.
    let mut refused = world();
    let xid = refused.asking();
    refused.receive(&status4(xid, 18, Status4::TlsConnectionRefused, None));
    let (sent, done, down) = refused.run();
    assert_eq!((sent.len(), done.as_slice()), (0, &["close"][..]));
    assert_eq!(
        down.unwrap(),
        "the server refused TLS: TLSConnectionRefused"
    );
    // Granted, and then a certificate of somebody else: the alert goes out, the query does not.
    let mut strange = world();
    let xid = strange.asking();
    strange.receive(&granted(Family::V4, xid));
    let mut server = Server::of(&Authority::new(), &version::TLS13);
    let (hello, _, _) = strange.run();
    let (output, _) = server.take(&hello);
    strange.receive(&output);
    let (sent, done, down) = strange.run();
    assert!(!sent.is_empty());
    assert_eq!(done, ["close"]);
    assert!(down.unwrap().starts_with("the TLS handshake failed: "));
}
