//! A mirror of many bindings that change all the time, cut off in every phase; larger ones by hand:
//! `LEASEQ_MIRROR_BINDINGS=1000000 cargo test --release -p leaseq --test mirror million -- --nocapture`.

use std::fs;
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::changes::{Changes, marker, now};
use crate::node::{Node, assert_equal, try_feed};
use crate::proxy::{Cut, How, Phase, Proxy};

const STORE: &str = "segment-size = \"64MiB\"";
/// Changes at a time, and how often: 100 a second.
const CHANGES: usize = 10;
const EVERY: Duration = Duration::from_millis(100);
/// From so many bindings on there is time to wait until a requestor gives up a server that says nothing any more.
const MANY: u64 = 100_000;

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

/// Changes a server's leases all the time, and goes on when it comes back after it was killed.
struct Feeder {
    /// Changes that are durable; none are made any more.
    made: Mutex<(u64, bool)>,
    more: Condvar,
}

impl Feeder {
    fn start<'s>(
        &'s self,
        scope: &'s thread::Scope<'s, '_>,
        socket: &'s Path,
        count: u64,
    ) -> ScopedJoinHandle<'s, ()> {
        scope.spawn(move || {
            let mut changes = Changes::new(3);
            let mut next = Instant::now();
            loop {
                let lines: Vec<Value> = (0..CHANGES).map(|_| change(&mut changes, count)).collect();
                while try_feed(socket, &lines).is_err() {
                    if self.made.lock().unwrap().1 {
                        return;
                    }
                    thread::park_timeout(EVERY);
                }
                let mut made = self.made.lock().unwrap();
                made.0 += CHANGES as u64;
                self.more.notify_all();
                if made.1 {
                    return;
                }
                drop(made);
                next += EVERY;
                thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        })
    }

    /// Waits until so many more changes were made.
    fn wait_for(&self, more: u64) {
        let made = self.made.lock().unwrap();
        let enough = made.0 + more;
        drop(self.more.wait_while(made, |made| made.0 < enough).unwrap());
    }

    fn made(&self) -> u64 {
        self.made.lock().unwrap().0
    }

    fn stop(&self) {
        self.made.lock().unwrap().1 = true;
    }
}

/// The ways of both families to the server.
struct Link {
    v4: Proxy,
    v6: Proxy,
}

impl Link {
    fn each(&self, act: impl Fn(&Proxy)) {
        act(&self.v4);
        act(&self.v6);
    }

    /// Has both cut here, one place after the other.
    fn cut_at(&self, cuts: &[(Phase, u64, How)]) {
        let cuts: Vec<Cut> = cuts
            .iter()
            .map(|&(phase, bindings, how)| Cut {
                phase,
                bindings,
                how,
            })
            .collect();
        self.each(|proxy| proxy.cut_at(&cuts));
    }

    fn wait_for_cuts(&self) {
        self.each(Proxy::wait_for_cuts);
    }
}

/// The most memory that a server has had, in KiB.
fn peak(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.server().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

#[test]
fn a_mirror_ends_equal_whatever_is_cut_while_leases_change() {
    use How::{End, Reset, Silence};
    use Phase::{Bulk, CatchUp, Live};
    let count = bindings();
    let few = if count < MANY { 10 } else { 200 };
    let mut origin = Node::origin(STORE);
    let began = Instant::now();
    for from in (0..count).step_by(20_000) {
        let lines: Vec<Value> = (from..count.min(from + 20_000)).map(lease).collect();
        origin.feed(&lines);
    }
    println!("origin: {count} bindings fed in {:?}", began.elapsed());
    let link = Link {
        v4: Proxy::to(origin.v4),
        v6: Proxy::to(origin.v6),
    };
    let socket = origin.socket();
    let feeder = Feeder {
        made: Mutex::default(),
        more: Condvar::new(),
    };
    let began = Instant::now();
    let (mut mirror, most) = thread::scope(|scope| {
        let tell = |what: &str| {
            println!(
                "{:8.1?} {:6} changes: {what}",
                began.elapsed(),
                feeder.made()
            );
        };
        let feeding = feeder.start(scope, &socket, count);
        feeder.wait_for(1);
        // DHCPv4 is read in bulk first; DHCPv6 from the beginning of time.
        for (proxy, phase) in [(&link.v4, Bulk), (&link.v6, CatchUp)] {
            proxy.cut_at(&[
                Cut {
                    phase,
                    bindings: count / 8,
                    how: End,
                },
                Cut {
                    phase,
                    bindings: count / 4,
                    how: Reset,
                },
            ]);
        }
        link.cut_at(&[(Live, few, End)]);
        let mut mirror = Node::mirror(STORE, link.v4.address, link.v6.address);
        link.wait_for_cuts();
        tell("cut twice while everything was read, and once live");

        link.each(Proxy::hold);
        link.each(Proxy::cut);
        feeder.wait_for(20 * few);
        link.cut_at(&[
            (CatchUp, few, Reset),
            (CatchUp, 2 * few, End),
            (Live, few, Reset),
        ]);
        link.each(Proxy::release);
        link.wait_for_cuts();
        tell("cut while it caught up, twice in a row, and once live");

        let mut most = peak(&mirror);
        mirror.stop();
        feeder.wait_for(20 * few);
        link.cut_at(&[(CatchUp, few, End)]);
        mirror.start_again();
        link.wait_for_cuts();
        tell("cut while it caught up after a restart");

        link.each(Proxy::hold);
        origin.kill();
        origin.start_again();
        link.cut_at(&[(Live, few, Reset)]);
        link.each(Proxy::release);
        link.wait_for_cuts();
        tell("cut live after the server was killed");

        most = most.max(peak(&mirror));
        mirror.kill();
        feeder.wait_for(20 * few);
        link.cut_at(&[(CatchUp, few, Reset), (Live, few, End)]);
        mirror.start_again();
        link.wait_for_cuts();
        tell("cut while it caught up after it was killed, and once live");

        if count >= MANY {
            link.cut_at(&[(Live, few, Silence), (Live, few, End)]);
            link.wait_for_cuts();
            tell("cut without a word, and live after that was noticed");
        }
        most = most.max(peak(&mirror));
        feeder.stop();
        feeding.join().unwrap();
        (mirror, most)
    });
    for number in 20..23 {
        origin.feed(&marker(number));
        mirror.wait_for_client(number);
    }
    println!(
        "equal in time after {:?}, {} changes",
        began.elapsed(),
        feeder.made()
    );
    println!(
        "the mirror had {} KiB at most, the server {} KiB",
        most.max(peak(&mirror)),
        peak(&origin)
    );
    mirror.stop();
    origin.stop();
    assert_equal(&origin, &mirror, now());
    println!("compared: {} lines", origin.told(now()).len());
    let (v4, v6) = (link.v4.seen(), link.v6.seen());
    println!("DHCPv4: {v4:?}\nDHCPv6: {v6:?}");
    // Everything was read once, and what was cut then asked for again; all else was caught up with.
    assert_eq!((v4.bulks, v4.bulks_done, v4.missing), (3, 1, 0));
    assert_eq!((v6.bulks, v6.from_beginning, v6.missing), (0, 3, 0));
}
