//! Whole connections: what a requestor may send, in pieces and with pauses of any length, to a server with active
//! leasequery; and what a server may send to our requestor.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leaseq_feed::ndjson;
use leaseq_requestor::{Active, Bulk, Query, Query4, Query6, Selector4, Selector6};
use leaseq_session::{
    Admission, Connection, Counters, Family, Fate, Hub, Mono, RequestorRule, Responder, Settings,
    Turn,
};
use leaseq_store::{Event, Options, Reader, Store, SyncMode, Topology};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::{v4, v6};

/// Bindings that queries find: two families, two relays, active and ended.
const LEASES: &str = include_str!("leases.ndjson");
/// Octets that a connection is given to write into.
const BUFFER: usize = 70_000;
/// Steps of a run; so many that no input of the fuzzer's length has more.
const MOST_STEPS: usize = 20_000;

struct Site {
    _store: Store,
    reader: Reader,
    settings: Arc<Settings>,
    admission: Arc<Admission>,
    counters: Arc<Counters>,
}

thread_local! {
    static SITE: Site = Site::new();
}

impl Site {
    fn new() -> Site {
        let dir = std::env::temp_dir().join(format!(
            "leaseq-fuzz-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            ..Options::default()
        };
        let store = Store::open(&dir, options, Topology::default()).expect("a store");
        let events: Vec<Event> = LEASES
            .lines()
            .map(|line| ndjson::parse(line.as_bytes()).expect("a lease"))
            .collect();
        let committed = store.submit(events).expect("room").wait().expect("stored");
        assert_eq!(committed.rejected, []);
        // Its files stay mapped; the name is not needed any more.
        let _ = std::fs::remove_dir_all(&dir);
        let mut settings = Settings::default();
        settings.active.enabled = true;
        settings.active.insecure = true;
        settings.active.relay_scope = true;
        settings.limits.max_connections = u32::MAX;
        let everybody = "0.0.0.0/0".parse().expect("a network");
        settings.requestors = vec![Arc::new(RequestorRule::all(everybody))];
        let settings = Arc::new(settings);
        Site {
            reader: store.reader(),
            _store: store,
            admission: Admission::new(Arc::clone(&settings)),
            settings,
            counters: Arc::default(),
        }
    }

    fn turn<T>(&self, now: Mono, call: impl FnOnce(&Turn<'_>) -> T) -> T {
        let server_time = self.reader.settled();
        let view = self.reader.view();
        call(&Turn {
            view: &view,
            now,
            server_time,
        })
    }
}

/// A connection of the family that the first octet says, run by the script in the others: only whole frames that our
/// decoder reads are sent, and a requestor that is waited for has a deadline.
pub fn sessions(input: &[u8]) {
    if let Some((family, script)) = family(input) {
        SITE.with(|site| connection(site, family, script));
    }
}

/// A datagram of the family that the first octet says: what is answered is a message.
pub fn datagrams(input: &[u8]) {
    if let Some((family, request)) = family(input) {
        SITE.with(|site| datagram(site, family, request));
    }
}

fn family(input: &[u8]) -> Option<(Family, &[u8])> {
    let (first, rest) = input.split_first()?;
    let family = if first & 1 == 0 {
        Family::V4
    } else {
        Family::V6
    };
    Some((family, rest))
}

/// Runs a connection by a script: an octet says what happens, those behind it with what. Whatever happens, only whole
/// frames that our decoder reads are sent, an ended connection says nothing, and a requestor that is waited for has a
/// deadline.
fn connection(site: &Site, family: Family, mut script: &[u8]) {
    let peer = SocketAddr::from(([192, 0, 2, 1], 50_000));
    let Ok(admitted) = site.admission.admit(family, peer.ip()) else {
        return;
    };
    let mut now = Mono::from_millis(1_000_000);
    let hub = Hub::new();
    let mut connection = Connection::new(
        Arc::clone(&site.settings),
        Arc::clone(&site.counters),
        Rc::clone(&hub),
        1,
        family,
        admitted,
        peer,
        now,
    );
    let mut waiting: Vec<u8> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    let mut sent = Vec::new();
    for _ in 0..MOST_STEPS {
        let Some((&action, rest)) = script.split_first() else {
            break;
        };
        script = rest;
        let argument = usize::from(action >> 3);
        match action & 7 {
            // Octets arrive.
            0..=2 => {
                let (octets, rest) = script.split_at(script.len().min((argument + 1) * 16));
                script = rest;
                waiting.extend_from_slice(octets);
            }
            3 => {
                now = now + Duration::from_secs(argument as u64 * 20);
                if connection.deadline().is_some_and(|at| at <= now) {
                    connection.tick(now, argument);
                }
            }
            4 => while site.turn(now, |turn| hub.committed(turn, &mut |_| {})) {},
            5 if argument == 31 => connection.peer_closed(now),
            5 if argument == 30 => connection.terminate(),
            _ => {
                let target = 1 << (argument & 15);
                let octets = site.turn(now, |turn| connection.transmit(turn, &mut buffer, target));
                sent.extend_from_slice(&buffer[..octets]);
                connection.written(octets, now);
            }
        }
        if connection.wants_input() && !waiting.is_empty() {
            let taken = site.turn(now, |turn| connection.receive(&waiting, turn));
            waiting.drain(..taken);
        }
        match connection.fate() {
            Fate::Open => assert!(
                connection.deadline().is_some() || connection.has_output(),
                "an open connection is waited for, or has something to say"
            ),
            Fate::CloseWhenWritten(_) | Fate::Abort(_) => {
                assert!(!connection.has_output(), "it has said everything");
                break;
            }
        }
    }
    let mut octets = &sent[..];
    while let Split::Frame { message, consumed } = frame::split(octets) {
        octets = &octets[consumed..];
        match family {
            Family::V4 => drop(v4::Message::parse(message).expect("our own message")),
            Family::V6 => drop(v6::Message::parse(message).expect("our own message")),
        }
    }
    assert!(octets.is_empty(), "only whole frames are sent");
}

fn datagram(site: &Site, family: Family, request: &[u8]) {
    let mut responder = Responder::new(
        Arc::clone(&site.settings),
        Arc::clone(&site.counters),
        Arc::clone(&site.admission),
    );
    let from = SocketAddr::from((IpAddr::from([192, 0, 2, 1]), 67));
    let mut out = vec![0; 65_536];
    let reply = site.turn(Mono::default(), |turn| {
        responder.answer(turn, family, from, request, &mut out)
    });
    let Some(reply) = reply else { return };
    let answer = &out[..reply.octets];
    match family {
        Family::V4 => drop(v4::Message::parse(answer).expect("our own message")),
        Family::V6 => assert!(
            v6::Message::parse(answer).is_ok() || v6::RelayMessage::parse(answer).is_ok(),
            "our own message"
        ),
    }
}

/// What a server sends to our requestor, bulk and active, both families: told the same in one piece and octet by octet.
pub fn answers(input: &[u8]) {
    let Some((&kind, octets)) = input.split_first() else {
        return;
    };
    let query = match kind & 1 {
        0 => Query::V4(Query4::new(Selector4::All)),
        _ => Query::V6(Query6::new(Selector6::All, &[0, 3, 0, 1, 2])),
    };
    let run = |pieces: usize| {
        let mut told = 0;
        let mut failed = false;
        if kind & 2 == 0 {
            let mut bulk = Bulk::like(&query);
            bulk.add(7);
            for piece in octets.chunks(pieces) {
                failed = failed || bulk.push(piece, &mut |_| told += 1).is_err();
            }
        } else {
            let mut active = Active::new(&query, 7, kind & 4 != 0);
            for piece in octets.chunks(pieces) {
                failed = failed || active.push(piece, &mut |_| told += 1).is_err();
            }
        }
        (told, failed)
    };
    assert_eq!(run(octets.len().max(1)), run(1));
}
