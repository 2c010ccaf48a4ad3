//! The blocking driver of followers, and the blocking client on TLS, against servers that live in the test.

#[path = "support/certificates.rs"]
mod certificates;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use certificates::Authority;
use leaseq_requestor::client::{Client, ClientError, Heard, Stop, follow};
use leaseq_requestor::follow::{Cause, FollowEvent, FollowSettings, Follower, Line, Notice};
use leaseq_requestor::{ActiveEvent, Event, Query, Query4, Selector4};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, StatusCode, option_code};
use rustls::{StreamOwned, version};
use support::*;

const BASE: u32 = 1_790_000_000;

/// The next message of a connection; `None` at its end.
fn next(stream: &mut impl Read, octets: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Split::Frame { message, consumed } = frame::split(octets) {
            let message = message.to_vec();
            octets.drain(..consumed);
            return Some(message);
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => octets.extend(&buffer[..n]),
        }
    }
}

/// A request's type, transaction id and start time.
fn asked(message: &[u8]) -> (Option<u8>, u32, Option<u32>) {
    let message = v4::Message::parse(message).unwrap();
    let since = message.option(option_code::QUERY_START_TIME);
    let since = since.and_then(|value| value.to_u32());
    (message.message_type(), message.xid(), since)
}

/// Serves its connections one after the other with `serve`, which gets their numbers.
fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            serve(n, stream.unwrap());
        }
    });
    address
}

fn follower(settings: FollowSettings, since: Option<u32>) -> Follower {
    let query = Query::V4(Query4::new(Selector4::All));
    Follower::new(query, since.map(UnixSeconds), settings, 1, Instant::now()).unwrap()
}

fn impatient() -> FollowSettings {
    FollowSettings {
        retry_interval: Duration::from_millis(1),
        max_backoff: Duration::from_millis(1),
        ..FollowSettings::default()
    }
}

#[test]
fn a_server_that_comes_back_is_asked_for_what_was_missed() {
    let (requests, asked_for) = channel();
    let address = server(move |n, mut stream| {
        let mut octets = Vec::new();
        let request = next(&mut stream, &mut octets).unwrap();
        let (kind, xid, since) = asked(&request);
        requests.send((kind, since)).unwrap();
        let at = BASE + 10 * n as u32;
        let mut answer = binding4(xid, n as u8, at);
        if n > 0 {
            answer.extend(status4(xid, 17, StatusCode::CatchUpComplete, Some(at + 1)));
        }
        if n == 1 {
            // The second connection is cut amid a frame, the first ends as it should.
            answer.extend([1, 0, 0]);
        } else {
            answer.extend(status4(xid, 17, StatusCode::QueryTerminated, Some(at + 2)));
        }
        stream.write_all(&answer).unwrap();
    });
    let mut follower = follower(impatient(), None);
    let (mut told, mut downs) = (Vec::new(), Vec::new());
    follow(address, &mut follower, &Stop::new(), &mut |heard| {
        match heard {
            Heard::Event(FollowEvent::Stream(ActiveEvent::Binding4(binding))) => {
                told.push(binding.address().octets()[3]);
            }
            Heard::Notice(Notice::Down { cause, .. }) => downs.push(cause.to_string()),
            _ => {}
        }
        match downs.len() {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    assert_eq!(told, [0, 1, 2]);
    let ended = "the server ended the query: QueryTerminated";
    assert_eq!(downs, [ended, "the connection was lost", ended]);
    let expected = [None, Some(BASE + 2), Some(BASE + 11)];
    let found: Vec<_> = asked_for.iter().take(3).collect();
    assert_eq!(found, expected.map(|since| (Some(16), since)));
    assert_eq!(follower.base_time(), Some(UnixSeconds(BASE + 22)));
}

#[test]
fn a_gap_is_filled_on_a_second_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (_, xid, since) = asked(&next(&mut stream, &mut Vec::new()).unwrap());
        assert_eq!(since, Some(BASE));
        let missing = status4(xid, 17, StatusCode::DataMissing, Some(BASE + 50));
        stream.write_all(&missing).unwrap();
        let (mut fill, _) = listener.accept().unwrap();
        let mut octets = Vec::new();
        let (kind, bulk_xid, since) = asked(&next(&mut fill, &mut octets).unwrap());
        assert_eq!((kind, since), (Some(14), Some(BASE)));
        stream.write_all(&binding4(xid, 1, BASE + 60)).unwrap();
        let answer = [binding4(bulk_xid, 2, BASE + 50), done4(bulk_xid)];
        fill.write_all(&answer.concat()).unwrap();
        // The requestor closes it, and goes on with the stream.
        assert_eq!(next(&mut fill, &mut octets), None);
        stream.write_all(&binding4(xid, 3, BASE + 70)).unwrap();
        next(&mut stream, &mut Vec::new())
    });
    let mut follower = follower(impatient(), Some(BASE));
    let mut told = Vec::new();
    follow(address, &mut follower, &Stop::new(), &mut |heard| {
        match heard {
            Heard::Event(FollowEvent::Stream(ActiveEvent::Binding4(binding))) => {
                told.push(("stream", binding.address().octets()[3]));
            }
            Heard::Event(FollowEvent::Fill(Event::Binding4(binding))) => {
                told.push(("fill", binding.address().octets()[3]));
            }
            Heard::Event(FollowEvent::Filled(_)) => told.push(("filled", 0)),
            Heard::Notice(Notice::Down { line, cause, .. }) => panic!("{line:?}: {cause}"),
            _ => {}
        }
        match told.last() {
            Some(("stream", 3)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    // Which of the two connections is read first is open.
    told[..2].sort_unstable();
    let expected = [("fill", 2), ("stream", 1), ("filled", 0), ("stream", 3)];
    assert!(expected.iter().all(|one| told.contains(one)), "{told:?}");
    assert_eq!(told.len(), 4);
    assert_eq!(follower.base_time(), Some(UnixSeconds(BASE + 70)));
    assert_eq!(server.join().unwrap(), None);
}

#[test]
fn stop_ends_a_follower_that_waits() {
    // Of connections that are accepted by the kernel and never answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Stop::new();
    let stopper = stop.clone();
    let (idle, is_idle) = channel();
    let other = thread::spawn(move || {
        is_idle.recv().unwrap();
        stopper.stop();
    });
    let mut asked = false;
    let mut follower = follower(FollowSettings::default(), None);
    follow(address, &mut follower, &stop, &mut |heard| {
        asked |= matches!(heard, Heard::Notice(Notice::Asked(None)));
        if asked && matches!(heard, Heard::Idle { base_time: None }) {
            let _ = idle.send(());
        }
        ControlFlow::Continue(())
    });
    assert!(asked);
    other.join().unwrap();
    // Stopped before it begins, it does nothing.
    follow(address, &mut follower, &stop, &mut |heard| {
        panic!("{heard:?}")
    });
}

#[test]
fn nobody_there_is_told_with_the_reason() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut follower = follower(FollowSettings::default(), None);
    let mut why = None;
    follow(
        free,
        &mut follower,
        &Stop::new(),
        &mut |heard| match heard {
            Heard::Notice(Notice::Down {
                line: Line::Stream,
                cause,
                ..
            }) => {
                why = Some(cause);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        },
    );
    let why = why.unwrap();
    assert!(matches!(why, Cause::NotConnected(Some(_))), "{why}");
    assert!(
        why.to_string()
            .starts_with("cannot connect: Connection refused"),
        "{why}"
    );
}

/// Grants TLS on each connection, takes a request on it and answers with a binding and a DHCPLEASEQUERYDONE.
fn tls_server(authority: Authority, kinds: Sender<Option<u8>>) -> SocketAddr {
    server(move |_, mut stream| {
        let request = next(&mut stream, &mut Vec::new()).unwrap();
        let (kind, xid, _) = asked(&request);
        kinds.send(kind).unwrap();
        stream
            .write_all(&message4(xid, 18, [0; 4], |_| {}))
            .unwrap();
        let mut tls = StreamOwned::new(authority.server(&[&version::TLS13]), stream);
        let mut octets = Vec::new();
        let Some(request) = next(&mut tls, &mut octets) else {
            return;
        };
        let (kind, xid, _) = asked(&request);
        kinds.send(kind).unwrap();
        let done = status4(xid, 15, StatusCode::Success, None);
        let _ = tls.write_all(&[binding4(xid, 7, BASE), done].concat());
        next(&mut tls, &mut octets);
    })
}

#[test]
fn bulk_and_active_queries_run_on_tls() {
    let authority = Authority::new();
    let tls = authority.client("dhcp.example.net");
    let (kinds, found) = channel();
    let address = tls_server(authority, kinds);
    let client = Client {
        tls: Some(tls.clone()),
        ..Client::default()
    };
    let query = Query::V4(Query4::new(Selector4::All));
    let mut bindings = 0;
    let asked = client.bulk(address, &[query], &mut |_, event| {
        bindings += u32::from(matches!(event, Event::Binding4(_)));
        ControlFlow::Continue(())
    });
    asked.unwrap();
    assert_eq!(bindings, 1);
    let settings = FollowSettings {
        tls: Some(tls),
        ..FollowSettings::default()
    };
    let mut follower = follower(settings, None);
    follow(
        address,
        &mut follower,
        &Stop::new(),
        &mut |heard| match heard {
            Heard::Event(FollowEvent::Stream(ActiveEvent::Binding4(_))) => ControlFlow::Break(()),
            Heard::Notice(Notice::Down { cause, .. }) => panic!("{cause}"),
            _ => ControlFlow::Continue(()),
        },
    );
    let kinds: Vec<_> = found.iter().take(4).flatten().collect();
    assert_eq!(kinds, [18, 14, 18, 16]);
}

#[test]
fn without_tls_a_bulk_query_is_not_asked() {
    let (theirs, ours) = (Authority::new(), Authority::new());
    let (kinds, found) = channel();
    let address = tls_server(theirs, kinds);
    let client = Client {
        tls: Some(ours.client("dhcp.example.net")),
        ..Client::default()
    };
    let query = [Query::V4(Query4::new(Selector4::All))];
    let error = client
        .bulk(address, &query, &mut |_, event| panic!("{event:?}"))
        .unwrap_err();
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
    let closing = server(|_, mut stream| {
        next(&mut stream, &mut Vec::new()).unwrap();
    });
    let error = client
        .bulk(closing, &query, &mut |_, event| panic!("{event:?}"))
        .unwrap_err();
    assert!(matches!(error, ClientError::ClosedBeforeTls(_)), "{error}");
    assert_eq!(found.iter().next(), Some(Some(18)));
    assert!(found.try_recv().is_err(), "no query");
}
