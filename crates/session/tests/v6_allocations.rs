//! Encoding DHCPv6 clients and answering datagrams allocate nothing, whatever is asked for beside the plain answer.

#![allow(unsafe_code)]

#[allow(
    dead_code,
    unused_imports,
    reason = "made for another suite; a part is used here"
)]
#[path = "v6/support/mod.rs"]
mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use leaseq_session::{Admission, Family, Mono, Responder, Turn};
use support::*;

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

fn allocations<T>(call: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = call();
    (ALLOCATIONS.get() - before, result)
}

/// 2,000 clients with an address and a prefix each, options and relay data.
fn site() -> Site {
    let site = Site::new();
    site.add((0..2_000).flat_map(|n| {
        let mut lease = address(&format!("2001:db8:1::{n:x}"), n, 1);
        lease.options = Some(vec![(23, vec![1; 16]), (39, vec![0, 1])]);
        let prefix = delegation(&format!("3fff:1{:02x}:{:x}::", n >> 8, n & 0xff), 48, n, 1);
        [lease, prefix]
    }));
    site
}

#[test]
fn no_client_of_a_bulk_answer_costs_an_allocation() {
    let mut site = site();
    for restricted in [false, true] {
        if restricted {
            site.restrict_to_link(1);
            site.restrict(|rule| {
                rule.relay_ids = vec![relay_id(1)];
                rule.vpns = vec![Vec::new()];
            });
        }
        for request in [
            by_relay_id(1),
            by_link("2001:db8:1::"),
            by_relay_id(1).oro(&[23, 39, 47, 100]),
            by_link("2001:db8:1::").since(1).oro(&[100]),
            by_relay_id(1).with(68, &[254]),
        ] {
            let mut pair = site.connect();
            pair.target = 8_192;
            pair.send(&request);
            let mut octets = pair.turn().len();
            // A turn of the engine, without the copy that `turn` makes for the test.
            while pair.connection.running_queries() > 0 {
                let reader = site.store.reader();
                let view = reader.view();
                let turn = Turn {
                    view: &view,
                    now: pair.now,
                    server_time: reader.now(),
                };
                let (connection, buffer) = (&mut pair.connection, &mut pair.buffer);
                let (count, written) = allocations(|| connection.transmit(&turn, buffer, 8_192));
                octets += written;
                assert_eq!(count, 0, "{request:?} after {octets} octets");
                pair.connection.written(written, pair.now);
            }
            assert!(octets > 2_000 * 80);
        }
    }
}

#[test]
fn no_client_of_a_stream_that_catches_up_costs_an_allocation() {
    let mut site = site();
    site.settings.active.enabled = true;
    site.settings.active.insecure = true;
    // Half of the clients lose a lease, and another half gets another client.
    site.add((0..1_000).map(|n| {
        let text = format!("2001:db8:1::{n:x}");
        leaseq_store::Event6::new(ip(&text), leaseq_store::State::Released)
    }));
    site.add((500..1_500).map(|n| address(&format!("2001:db8:1::{n:x}"), 5_000 + n, 1)));
    for restricted in [false, true] {
        if restricted {
            site.restrict_to_link(1);
            site.restrict(|rule| rule.relay_ids = vec![relay_id(1)]);
        }
        for request in [
            Request::all_updates().asking(&[23, 47, 100]),
            by_relay_id(1).oro(&[23, 39, 47, 100]),
            by_link("2001:db8:1::"),
        ] {
            let mut stream = site.stream(&request.clone().since(NOW_2000));
            let (mut octets, mut count) = (0, 0);
            while stream.connection.has_output() || site.hub.is_behind() {
                let reader = site.store.reader();
                let view = reader.view();
                let turn = Turn {
                    view: &view,
                    now: stream.now,
                    server_time: reader.now(),
                };
                let (connection, buffer) = (&mut stream.connection, &mut stream.buffer);
                let (more, written) = allocations(|| {
                    // One that has far to go is found its records by the hub.
                    if site.hub.is_behind() {
                        site.hub.committed(&turn, &mut |_| {});
                    }
                    connection.transmit(&turn, buffer, 8_192)
                });
                octets += written;
                count += more;
                stream.connection.written(written, stream.now);
            }
            assert!(octets > 3_000 * 80, "{octets} octets");
            // A stream takes its place at the tail once, when it has caught up.
            assert!(count <= 8, "{request:?}: {count} allocations");
        }
    }
}

#[test]
fn no_datagram_costs_an_allocation() {
    let site = site();
    site.add([address("2001:db8:2::7", 7, 2)]);
    let settings = Arc::new(site.settings.clone());
    let admission = Admission::new(settings.clone());
    let mut responder = Responder::new(settings, site.counters.clone(), admission);
    let reader = site.store.reader();
    let mut out = vec![0; 65_536];
    let relayed = [
        &[12, 0][..],
        &[0; 32],
        &option(9, &by_client_id(5).octets()),
    ]
    .concat();
    for request in [
        by_address("2001:db8:1::5").octets(),
        by_address("3fff:100:5:8::1").octets(),
        by_client_id(5).octets(),
        by_client_id(7).octets(),
        by_client_id(99_999).octets(),
        by_client_id(5).oro(&[23, 39, 47, 100]).octets(),
        by_client_id(5).with(68, &[254]).octets(),
        by_relay_id(1).octets(),
        Request::new(1, Vec::new()).octets(),
        relayed,
    ] {
        let view = reader.view();
        let turn = Turn {
            view: &view,
            now: Mono::from_millis(1),
            server_time: reader.now(),
        };
        let (count, reply) =
            allocations(|| responder.answer(&turn, Family::V6, requestor(), &request, &mut out));
        assert!(reply.is_some());
        assert_eq!(count, 0, "{request:x?}");
    }
}
