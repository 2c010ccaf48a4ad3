//! Sending a binding, stepping a query, framing a message and answering a datagram allocate nothing.

#![allow(unsafe_code)]

#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "v4/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "v4/message.rs"]
mod message;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use fixture::{MAX_FRAME, Server, lease, range, relay_id, remote_id};
use leaseq_session::{Connection, Family, Hub, RequestorRule, Responder, Settings, Turn};
use leaseq_store::{Event, Event6, Relay6, State};
use message::Query4;

/// Counts the allocations of each thread for itself.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, octets: *mut u8, layout: Layout) {
        // SAFETY: `octets` came from the system's allocator with this layout.
        unsafe { System.dealloc(octets, layout) }
    }

    unsafe fn realloc(&self, octets: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: `octets` came from the system's allocator with this layout.
        unsafe { System.realloc(octets, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(call: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    call();
    ALLOCATIONS.get() - before
}

const BINDINGS: u32 = 3_000;

fn server() -> Server {
    let mut settings = fixture::active_settings();
    settings.active.relay_scope = true;
    settings.requestors.push(Arc::new(RequestorRule::all(
        "::/0".parse().expect("a network"),
    )));
    let server = Server::with(
        settings,
        vec![range([100, 64, 0, 0], [100, 64, 31, 255], "")],
    );
    server.store((0..BINDINGS).map(|n| {
        let mut event = lease((0x6440_0000 + n).to_be_bytes(), n);
        event.relay_agent_info = Some(fixture::relay_info(0, n));
        (event.t1, event.t2) = (Some(1_800), Some(3_000));
        event.options = Some(vec![(12, b"host".to_vec()), (60, b"docsis".to_vec())]);
        event
    }));
    server.store_all((0..BINDINGS).map(|n| Event::V6(lease6(n))).collect());
    server
}

fn lease6(n: u32) -> Event6 {
    let address = Ipv6Addr::from_bits((0x2001_0db8_0007 << 80) + u128::from(n));
    let mut event = Event6::new(address, State::Active);
    event.duid = Some(duid(n / 2));
    event.iaid = Some(n);
    event.cltt = Some(fixture::START);
    event.preferred_lifetime = Some(1_800);
    event.valid_lifetime = Some(3_600);
    let options = [
        &[0, 53, 0, 8][..],
        &relay_id(0),
        &[0, 37, 0, 12, 0, 0, 0, 9],
        &remote_id(n / 2),
    ]
    .concat();
    event.relay = Some(vec![Relay6 {
        link: link(),
        peer: Ipv6Addr::LOCALHOST,
        options,
    }]);
    event
}

fn duid(client: u32) -> Vec<u8> {
    [&[0, 3, 0, 1, 2, 0][..], &client.to_be_bytes()].concat()
}

fn link() -> Ipv6Addr {
    "2001:db8:7::1".parse().expect("an address")
}

/// A DHCPv6 LEASEQUERY as RFC 5007 §4.1.1 and RFC 5460 §5.2.1 say.
fn query6(query_type: u8, link: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    let query = [&[query_type][..], &link.octets(), options].concat();
    let length = (query.len() as u16).to_be_bytes();
    [
        &[14, 0, 0, 1, 0, 1, 0, 4, 0, 2, 0, 9][..],
        &[0, 44],
        &length,
        &query,
    ]
    .concat()
}

fn option6(code: u16, value: &[u8]) -> Vec<u8> {
    [
        &code.to_be_bytes()[..],
        &(value.len() as u16).to_be_bytes(),
        value,
    ]
    .concat()
}

/// Octets and allocations of a bulk query's answer, from the second turn on.
fn stream(server: &Server, family: Family, frame: &[u8]) -> (usize, u64) {
    let peer = SocketAddr::from(([10, 0, 0, 1], 40_000));
    let admitted = server.admission.admit(family, peer.ip()).expect("admitted");
    let (settings, counters) = (Arc::clone(&server.settings), Arc::clone(&server.counters));
    let hub = Hub::new();
    let mut connection = Connection::new(
        settings,
        counters,
        hub.clone(),
        0,
        family,
        admitted,
        peer,
        server.now,
    );
    let mut out = vec![0; 4 * MAX_FRAME];
    server.turn(|turn| {
        assert_eq!(connection.receive(frame, turn), frame.len());
        connection.transmit(turn, &mut out, 4_096);
    });
    let mut octets = 0;
    let allocations = allocations(|| {
        // All but the end of the query, which frees what it took.
        while connection.has_output() || hub.is_behind() {
            let view = server.reader.view();
            let turn = Turn {
                view: &view,
                now: server.now,
                server_time: server.reader.now(),
            };
            // One that has far to go is found its records by the hub.
            if hub.is_behind() {
                hub.committed(&turn, &mut |_| {});
            }
            let written = connection.transmit(&turn, &mut out, 16_384);
            connection.written(written, server.now);
            octets += written;
        }
    });
    (octets, allocations)
}

fn bulk_allocates_nothing(
    server: &Server,
    family: Family,
    name: &str,
    frame: &[u8],
    at_least: usize,
) {
    let (octets, allocations) = stream(server, family, frame);
    assert!(octets > at_least, "{name}: {octets} octets");
    assert_eq!(allocations, 0, "{name}: {octets} octets");
}

#[test]
fn v4_bulk_allocates_nothing_for_a_binding() {
    let server = server();
    let relay = Query4::bulk(1).relay_id(&relay_id(0));
    let queries = [
        ("by relay-id", relay.clone()),
        (
            "with rare options",
            relay
                .clone()
                .want(&[12, 51, 58, 59, 60, 61, 82, 91, 152, 153, 156, 157]),
        ),
        ("in a window", relay.since(fixture::START)),
        ("all", Query4::bulk(1)),
        (
            "all, every VPN",
            Query4::bulk(1).vpn(&[254]).want(&[51, 82, 152, 156]),
        ),
    ];
    for (name, query) in queries {
        bulk_allocates_nothing(&server, Family::V4, name, &query.frame(), 700_000);
    }
}

#[test]
fn v6_bulk_allocates_nothing_for_a_client() {
    let server = server();
    let any = Ipv6Addr::UNSPECIFIED;
    let everything = option6(6, &[0, 47, 0, 100]);
    let queries = [
        ("by relay-id", query6(3, any, &option6(53, &relay_id(0)))),
        ("by link-address", query6(4, link(), &[])),
        (
            "with relay data",
            query6(3, any, &[option6(53, &relay_id(0)), everything].concat()),
        ),
    ];
    for (name, query) in queries {
        bulk_allocates_nothing(&server, Family::V6, name, &message::framed(&query), 100_000);
    }
}

#[test]
fn v4_catch_up_allocates_nothing_for_a_binding() {
    let server = server();
    for (name, query) in [
        ("everything", Query4::active(1)),
        ("a relay agent", Query4::active(1).relay_id(&relay_id(0))),
        (
            "with rare options",
            Query4::active(1).want(&[12, 51, 58, 59, 60, 61, 82, 91, 152, 153, 156, 157]),
        ),
    ] {
        let frame = query.since(fixture::START).frame();
        let (octets, allocations) = stream(&server, Family::V4, &frame);
        assert!(octets > 700_000, "{name}: {octets} octets");
        // A stream takes its place at the tail once, when it has caught up.
        assert!(allocations <= 8, "{name}: {allocations} for 3,000 bindings");
    }
}

#[test]
fn v4_changes_are_told_to_streams_at_the_tail_without_an_allocation() {
    let server = server();
    // Two that share, and one that is found by its relay agent.
    let queries = [
        Query4::active(1),
        Query4::active(2),
        Query4::active(3).relay_id(&relay_id(0)),
    ];
    let mut streams = queries.map(|query| {
        let mut stream = server.connect();
        stream.ask(&query);
        stream.run(&server);
        stream
    });
    let mut renewed = 0;
    let mut renew = |count: u32| {
        renewed += 1;
        server.store((0..count).map(|n| {
            let mut event = lease((0x6440_0000 + n).to_be_bytes(), n);
            event.relay_agent_info = Some(fixture::relay_info(0, n));
            event.cltt = Some(fixture::START + renewed);
            event
        }));
    };
    let mut out = vec![0; 4 * MAX_FRAME];
    let mut told = |server: &Server| {
        let mut woken = [0; 8];
        let mut count = 0;
        let mut octets = [0; 3];
        server.turn(|turn| {
            server.hub.committed(turn, &mut |key| {
                woken[count] = key;
                count += 1;
            })
        });
        for (stream, octets) in streams.iter_mut().zip(&mut octets) {
            assert!(woken[..count].contains(&stream.key));
            *octets = server.turn(|turn| stream.connection.transmit(turn, &mut out, 65_536));
            stream.connection.written(*octets, server.now);
        }
        octets
    };
    // What is taken once: the first messages, the scratch buffer, and a ring of up to twice what it keeps.
    for _ in 0..200 {
        renew(20);
        told(&server);
    }
    for _ in 0..50 {
        renew(20);
        let mut octets = [0; 3];
        let allocations = allocations(|| octets = told(&server));
        assert!(octets.iter().all(|octets| *octets > 20 * 250), "{octets:?}");
        // The list of what waits for the one that does not share grows a few times.
        assert!(allocations <= 8, "{allocations} for 60 messages");
    }
}

/// Allocations of a datagram's answer, once the responder has answered one.
fn datagram_allocates_nothing(server: &Server, family: Family, name: &str, request: &[u8]) {
    let (settings, counters) = (Arc::clone(&server.settings), Arc::clone(&server.counters));
    let mut responder = Responder::new(settings, counters, Arc::clone(&server.admission));
    let mut out = [0; 4_096];
    let from = SocketAddr::from(([10, 0, 0, 1], 6_767));
    let mut answer = || {
        let view = server.reader.view();
        let turn = Turn {
            view: &view,
            now: server.now,
            server_time: server.reader.now(),
        };
        assert!(
            responder
                .answer(&turn, family, from, request, &mut out)
                .is_some(),
            "{name}"
        );
    };
    answer();
    assert_eq!(allocations(answer), 0, "{name}");
}

#[test]
fn v4_udp_allocates_nothing() {
    let server = server();
    let mac = [2, 0x5e, 0x10, 0, 0, 7];
    let queries = [
        ("leased", Query4::udp(1).address([100, 64, 0, 1])),
        ("free", Query4::udp(1).address([100, 64, 31, 1])),
        ("unknown", Query4::udp(1).address([192, 0, 2, 1])),
        (
            "by MAC",
            Query4::udp(1).hwaddr(1, &mac).want(&[51, 12, 82, 92]),
        ),
        (
            "by client-id",
            Query4::udp(1).client_id(&[&[1], &mac[..]].concat()),
        ),
        ("by remote-id", Query4::udp(1).remote_id(&remote_id(7))),
        ("by remote-id, unknown", Query4::udp(1).remote_id(b"nobody")),
    ];
    for (name, query) in queries {
        datagram_allocates_nothing(&server, Family::V4, name, &query.message());
    }
}

#[test]
fn udp_rates_allocate_once() {
    let mut server = server();
    let mut settings = Settings::clone(&server.settings);
    settings.limits.udp_queries_per_second = 1_000;
    server.set(settings);
    datagram_allocates_nothing(
        &server,
        Family::V4,
        "with a rate",
        &Query4::udp(1).address([100, 64, 0, 1]).message(),
    );
}

#[test]
fn v6_udp_allocates_nothing() {
    let server = server();
    let any = Ipv6Addr::UNSPECIFIED;
    let leased = Ipv6Addr::from_bits((0x2001_0db8_0007 << 80) + 5);
    let address = |address: Ipv6Addr| option6(5, &[&address.octets()[..], &[0; 8]].concat());
    let queries = [
        ("leased", query6(1, any, &address(leased))),
        ("unknown", query6(1, any, &address(Ipv6Addr::LOCALHOST))),
        ("by DUID", query6(2, any, &option6(1, &duid(7)))),
    ];
    for (name, query) in queries {
        datagram_allocates_nothing(&server, Family::V6, name, &query);
    }
}
