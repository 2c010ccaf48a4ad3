//! Requestors that take nothing while 100,000 changes happen: no memory grows, and then each is told the newest state.

#![allow(unsafe_code)]

#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "v4/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "made for another suite; only a part is used here")]
#[path = "v4/message.rs"]
mod message;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use fixture::{Requestor, START, Server, active_settings, lease, relay_id, relay_info};
use leaseq_store::Event4;
use message::Query4;

/// Counts the octets that each thread has taken and not given back.
struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
}

fn hold(octets: i64) {
    HELD.with(|held| held.set(held.get() + octets));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size() as i64);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, octets: *mut u8, layout: Layout) {
        hold(-(layout.size() as i64));
        // SAFETY: `octets` came from the system's allocator with this layout.
        unsafe { System.dealloc(octets, layout) }
    }

    unsafe fn realloc(&self, octets: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        hold(size as i64 - layout.size() as i64);
        // SAFETY: `octets` came from the system's allocator with this layout.
        unsafe { System.realloc(octets, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const ADDRESSES: u32 = 500;
/// Changes in one commit.
const COMMIT: u32 = 100;

/// The `n`th change: a renewal, behind relay agent 0.
fn change(n: u32) -> Event4 {
    let number = n % ADDRESSES;
    let mut event = lease((0x6440_0000 + number).to_be_bytes(), number);
    event.relay_agent_info = Some(relay_info(0, number));
    event.cltt = Some(START + n / ADDRESSES);
    event.lease_time = Some(u32::MAX);
    event
}

/// Commits changes and has the hub look at them. Gives how much more memory the hub holds.
fn change_all(server: &mut Server, changes: Range<u32>) -> i64 {
    let mut grown = 0;
    for first in changes.step_by(COMMIT as usize) {
        server.pass(Duration::from_secs(1) * COMMIT / ADDRESSES);
        server.store((first..first + COMMIT).map(change));
        let before = HELD.get();
        drop(server.committed());
        grown += HELD.get() - before;
    }
    grown
}

#[test]
fn streams_that_take_nothing_hold_nothing_and_are_told_the_newest_state() {
    let mut settings = active_settings();
    settings.active.relay_scope = true;
    let mut server = Server::with(settings, vec![]);
    server.store((0..ADDRESSES).map(change));

    // At the tail, of one form; at the tail, narrowed; and in the midst of catching up.
    let queries = [
        Query4::active(1),
        Query4::active(2).relay_id(&relay_id(0)),
        Query4::active(3).since(START),
    ];
    let mut streams: Vec<Requestor> = queries
        .iter()
        .flat_map(|query| std::iter::repeat_n(query, 10))
        .map(|query| {
            let mut requestor = server.connect();
            requestor.ask(query);
            requestor.deliver(&server);
            if query.xid == 3 {
                requestor.transmit(&server, 1);
                assert_eq!(requestor.messages().len(), 1, "it is in the midst of it");
            } else {
                requestor.run(&server);
            }
            requestor
        })
        .collect();
    server.pass(Duration::from_secs(1));
    server.change([change(ADDRESSES)]);
    for requestor in &mut streams[..20] {
        assert_eq!(requestor.hear(&server).len(), 1);
    }

    let grown = change_all(&mut server, ADDRESSES + 1..20_001);
    assert!(
        grown < 4 << 20,
        "{grown} octets for 20,000 changes of more than 250 octets"
    );
    let grown = change_all(&mut server, 20_001..100_001);
    assert!(
        grown <= 64 << 10,
        "{grown} octets for 80,000 further changes"
    );

    for requestor in &mut streams {
        let mut told: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for message in requestor.hear(&server) {
            if message.status().is_none() {
                let base = message.number(152).expect("base-time");
                let cltt = base - message.number(91).expect("a transaction");
                told.entry(message.ciaddr).or_default().push(cltt);
            }
        }
        assert_eq!(told.len(), ADDRESSES as usize);
        let newest = START + 100_000 / ADDRESSES - 1;
        for (address, told) in told {
            assert_eq!(told.len(), 1, "{address} changed 199 times");
            assert!(
                told[0] >= newest,
                "{address}: its transaction of {}",
                told[0]
            );
        }
    }
}
