//! A mirror of many bindings, cut off ten times while they change; larger ones by hand:
//! `LEASEQ_MIRROR_BINDINGS=1000000 cargo test --release -p leaseq --test mirror million -- --nocapture`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::changes::{Changes, marker, now};
use crate::node::{Node, assert_equal, feed};
use crate::proxy::Proxy;

const STORE: &str = "segment-size = \"64MiB\"";
const CUTS: u16 = 10;
/// Changes at a time, and how often: 100 a second.
const CHANGES: usize = 10;
const EVERY: Duration = Duration::from_millis(100);

fn bindings() -> u64 {
    std::env::var("LEASEQ_MIRROR_BINDINGS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4_000)
}

/// A lease of each family by turns, behind one of 100 relay agents.
fn lease(number: u64) -> Value {
    let (client, relay) = (number / 2, number / 2 % 100);
    let [_, a, b, c] = u32::try_from(client).unwrap().to_be_bytes();
    match number % 2 {
        0 => json!({
            "family": 4, "address": format!("10.{a}.{b}.{c}"), "state": "active",
            "hwaddr": format!("01:02:00:5e:{a:02x}:{b:02x}:{c:02x}"), "client_id": format!("01{client:012x}"),
            "cltt": now(), "valid_lifetime": 86_400, "relay_agent_info": format!("0206{client:012x}0c02{relay:04x}"),
        }),
        _ => json!({
            "family": 6, "address": format!("2001:db8:7:{a:x}::{b:x}:{c:x}"), "duid": format!("00030001{client:012x}"),
            "iaid": 1, "state": "active", "cltt": now(), "preferred_lifetime": 43_200, "valid_lifetime": 86_400,
            "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": format!("00350002{relay:04x}")}],
        }),
    }
}

fn change(changes: &mut Changes, count: u64) -> Value {
    let number = changes.number(count);
    let mut line = lease(number);
    match changes.number(6) {
        0 => {
            let place = line["address"].clone();
            line = json!({"family": line["family"], "address": place, "state": "released"});
        }
        1 if line["family"] == 4 => line["client_id"] = format!("01aa{number:08x}").into(),
        1 => line["duid"] = format!("00030001aa{number:08x}").into(),
        _ => line["valid_lifetime"] = (80_000 + changes.number(5_000)).into(),
    }
    line
}

#[test]
fn a_million_bindings_are_mirrored_across_ten_cuts() {
    let count = bindings();
    let origin = Node::origin(STORE);
    let began = Instant::now();
    for from in (0..count).step_by(20_000) {
        let lines: Vec<Value> = (from..count.min(from + 20_000)).map(lease).collect();
        origin.feed(&lines);
    }
    println!("origin: {count} bindings fed in {:?}", began.elapsed());
    let (v4, v6) = (Proxy::to(origin.v4), Proxy::to(origin.v6));
    let began = Instant::now();
    let mirror = Node::mirror(STORE, v4.address, v6.address);
    let (done, socket) = (AtomicBool::new(false), origin.socket());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut changes = Changes::new(3);
            let mut next = Instant::now();
            while !done.load(Ordering::SeqCst) {
                let lines: Vec<Value> = (0..CHANGES).map(|_| change(&mut changes, count)).collect();
                feed(&socket, &lines);
                next += EVERY;
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        });
        for cut in 0..CUTS {
            origin.feed(&marker(cut));
            mirror.wait_for_client(cut);
            if cut == 0 {
                println!("mirror: has the first marker after {:?}", began.elapsed());
            }
            v4.cut();
            v6.cut();
        }
        println!("cut {CUTS} times by {:?}", began.elapsed());
        done.store(true, Ordering::SeqCst);
    });
    let (mut origin, mut mirror) = (origin, mirror);
    for number in 20..23 {
        origin.feed(&marker(number));
        mirror.wait_for_client(number);
    }
    println!("equal in time after {:?}", began.elapsed());
    mirror.stop();
    origin.stop();
    assert_equal(&origin, &mirror, now());
    println!("compared: {} lines", origin.told(now()).len());
}
