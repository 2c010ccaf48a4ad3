//! What a stream on TLS holds while it is idle: measured, and kept small.

#![allow(unsafe_code)]

#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "tls/certificates.rs"]
mod certificates;
#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "tls/site.rs"]
mod site;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use leaseq_session::Family;
use site::{Site, VERSIONS, active, bulk, message4, settings};

/// Counts the octets that each thread holds, as far as they were taken and given back by itself.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(octets: isize) {
    HELD.with(|held| held.set(held.get() + octets));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, octets: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `octets` came from the system's allocator with this layout.
        unsafe { System.dealloc(octets, layout) }
    }

    unsafe fn realloc(&self, octets: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: `octets` came from the system's allocator with this layout.
        unsafe { System.realloc(octets, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Octets that dropping a value gives back.
fn held_by<T>(value: T) -> usize {
    let before = HELD.get();
    drop(value);
    usize::try_from(before - HELD.get()).expect("nothing is taken by a drop")
}

/// What an idle stream on TLS may hold beside the [`leaseq_session::Connection`] itself.
const MOST: usize = 6 << 10;

#[test]
fn an_idle_stream_on_tls_holds_little() {
    for version in VERSIONS {
        let mut site = Site::new(settings(), 2_000);
        // The first one takes what is shared.
        let mut first = site.connect_tls(Family::V4, version);
        first.send(&active(Family::V4, 5));
        first.run(&site);
        let mut peer = site.connect_tls(Family::V4, version);
        // A long catch-up before, so that buffers have been in use.
        peer.send(&message4(16, 5, &[(154, &[0, 0, 0, 1])]));
        peer.run(&site);
        assert!(peer.connection.is_stream());
        assert!(peer.messages().len() > 2_000);
        let held = held_by(peer.connection);
        assert!(held <= MOST, "{:?}: {held}", version.version);
    }
}

#[test]
fn a_connection_that_has_answered_holds_little() {
    for family in site::FAMILIES {
        let mut site = Site::new(settings(), 2_000);
        let mut peer = site.connect_tls(family, &rustls::version::TLS13);
        peer.send(&bulk(family, 5));
        peer.run(&site);
        let held = held_by(peer.connection);
        assert!(held <= MOST, "{family:?}: {held}");
    }
}
