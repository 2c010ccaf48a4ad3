//! Results as runs would write them, of a server whose costs are known.

use std::collections::BTreeMap;
use std::time::Duration;

use leaseq_loadgen::fault::{Fault, FaultKind};
use leaseq_loadgen::measure::{Count, Measures, Times};
use leaseq_loadgen::result::{
    Bottleneck, ChangesResult, Environment, FORMAT, Finding, GroupResult, Point, RunResult, Sample,
    State, Usage,
};
use leaseq_loadgen::scenario::Scenario;

/// What the server is like: a factor on all that it costs.
#[derive(Clone, Copy)]
pub struct Server {
    pub name: &'static str,
    pub cost: f64,
}

pub const OLD: Server = Server {
    name: "leaseq 0.1.0",
    cost: 1.0,
};
pub const NEW: Server = Server {
    name: "leaseq 0.2.0",
    cost: 0.7,
};

const MIB: f64 = 1_048_576.0;

/// Seconds of a storm.
pub fn storm_seconds(relays: f64, each: f64) -> f64 {
    0.05 + relays * 0.000_2 + relays * each * 0.000_001_5
}

/// CPU seconds of the server in a storm.
pub fn storm_cpu(relays: f64, each: f64) -> f64 {
    relays * 0.000_15 + relays * each * 0.000_001_1
}

fn result(name: &str, server: Server, scenario: &str, points: Vec<Point>) -> RunResult {
    RunResult {
        format: FORMAT,
        name: name.into(),
        started: "2026-03-01T10:20:30Z".into(),
        seconds: points.iter().map(|point| point.seconds + 4.0).sum(),
        interrupted: false,
        environment: Environment {
            generator: "0.1.0".into(),
            server: Some(server.name.into()),
            kernel: "Linux 6.1.0".into(),
            cpu: "Some CPU at 3 GHz".into(),
            cpus: 8,
            memory: 32 << 30,
            open_files: 20_000,
            same_machine: true,
        },
        scenario: toml::from_str::<Scenario>(scenario).unwrap(),
        points,
    }
}

/// Times that reach from a third of the longest up to it, most of them in the middle.
fn spread(longest: f64, count: u64) -> Times {
    let mut times = Times::default();
    let recorded = count.min(20_000);
    for index in 0..recorded {
        let share = (index as f64 + 1.0) / recorded as f64;
        let time = longest * (0.3 + 0.45 * share + 0.25 * share.powi(12));
        times.record(Duration::from_secs_f64(time.max(0.0)));
    }
    times
}

fn usage(cpu_seconds: f64, seconds: f64, bindings: f64, connections: f64) -> Usage {
    let anonymous = (60.0 + connections * 0.04) * MIB + bindings * 90.0;
    Usage {
        cpu_seconds,
        peak_cpus: (cpu_seconds / seconds).min(8.0),
        resident_begin: (40.0 * MIB) as u64,
        resident_peak: (anonymous + bindings * 330.0) as u64,
        anonymous_peak: anonymous as u64,
        open_files_peak: connections as u64 + 40,
    }
}

fn bottleneck(machine: f64) -> Bottleneck {
    Bottleneck {
        scheduling: spread(0.002, 1_000),
        busiest_thread: machine * 0.8,
        machine,
        reasons: Vec::new(),
    }
}

const STORM: &str = r#"
about = "All relays recover at once."
[[group]]
name = "recovering"
family = 4
behaviour = "recover"
by = "relay-id"
"#;

fn storm_point(server: Server, relays: u32, each: u32) -> Point {
    let (r, b) = (f64::from(relays), f64::from(each));
    let seconds = storm_seconds(r, b) * server.cost;
    let mut measures = Measures {
        recovery: spread(seconds, u64::from(relays)),
        connect: spread(seconds * 0.2, u64::from(relays)),
        first_octet: spread(seconds * 0.3, u64::from(relays)),
        ..Measures::default()
    };
    measures.count(Count::Bindings, u64::from(relays) * u64::from(each));
    measures.count(Count::Recoveries, u64::from(relays));
    measures.count(Count::Connections, u64::from(relays));
    Point {
        relays,
        bindings_per_relay: b,
        bindings: u64::from(relays) * u64::from(each),
        seconds,
        groups: vec![GroupResult {
            name: "recovering".into(),
            relays,
            at_once: relays,
            seconds,
            measures,
        }],
        server: Some(usage(
            (storm_cpu(r, b) + 0.01 * seconds) * server.cost,
            seconds,
            r * b,
            r,
        )),
        server_start: Some(0.4),
        generator: usage(storm_cpu(r, b), seconds, 0.0, r),
        bottleneck: bottleneck(0.9),
        ..Point::default()
    }
}

/// One storm.
pub fn storm(server: Server) -> RunResult {
    result(
        "storm",
        server,
        STORM,
        vec![storm_point(server, 5_000, 1_000)],
    )
}

/// Storms of several sizes.
pub fn sweep(server: Server) -> RunResult {
    let sizes = [200, 1_000, 5_000]
        .into_iter()
        .flat_map(|relays| [100, 1_000].map(|each| (relays, each)));
    let more = [(500, 1_000), (2_000, 1_000)];
    result(
        "sweep",
        server,
        STORM,
        sizes
            .chain(more)
            .map(|(relays, each)| storm_point(server, relays, each))
            .collect(),
    )
}

const MIXED: &str = r#"
about = "Followers, changes and UDP together."
[changes]
per-second = 1000
[[group]]
name = "following"
family = 6
behaviour = "follow"
by = "relay-id"
[[group]]
name = "asking"
family = 4
behaviour = "udp"
by = "address"
rate = 1000
"#;

fn mixed_point(
    server: Server,
    relays: u32,
    changes: f64,
    per_change: f64,
    udp: f64,
    seconds: f64,
) -> Point {
    let messages = changes * per_change;
    let cpus = (0.01 + changes * 0.000_03 + messages * 0.000_008) * server.cost;
    let asked = udp * UDP_CPU * server.cost;
    let mut following = Measures {
        propagation: spread(0.004 + changes * 0.000_002, (messages * seconds) as u64),
        submitted_to_relay: spread(0.009, (messages * seconds) as u64),
        ..Measures::default()
    };
    following.count(Count::StreamMessages, (messages * seconds) as u64);
    let mut groups = vec![GroupResult {
        name: "following".into(),
        relays,
        at_once: relays,
        seconds,
        measures: following,
    }];
    if udp > 0.0 {
        let mut asking = Measures {
            udp: spread(0.000_4 * server.cost + udp * 1e-8, (udp * seconds) as u64),
            udp_round_trip: spread(0.000_3, (udp * seconds) as u64),
            ..Measures::default()
        };
        asking.count(Count::UdpQueries, (udp * seconds) as u64);
        asking.count(Count::UdpAnswers, (udp * seconds) as u64);
        groups.push(GroupResult {
            name: "asking".into(),
            relays: 10,
            at_once: 10,
            seconds,
            measures: asking,
        });
    }
    let samples = (1..=(seconds as u32).min(1_000))
        .map(|index| {
            let at = f64::from(index) * seconds / seconds.min(1_000.0);
            let wave = 1.0 + 0.1 * (at / 40.0).sin();
            Sample {
                at,
                states: BTreeMap::from([(State::Following, relays)]),
                messages_per_second: messages * wave,
                udp_per_second: udp,
                octets_per_second: messages * 200.0,
                propagation: Some([0.002 * wave, 0.004 * wave]),
                udp: (udp > 0.0).then_some([0.000_3 * wave, 0.000_4 * wave]),
                server_cpus: Some(cpus * wave),
                server_resident: Some((300.0 * MIB + at * 900.0) as u64),
                server_anonymous: Some((90.0 * MIB + at * 300.0) as u64),
                generator_cpus: 0.3 * wave,
                ..Sample::default()
            }
        })
        .collect();
    Point {
        relays,
        bindings_per_relay: 100.0,
        bindings: u64::from(relays) * 100,
        changes_per_second: changes,
        udp_per_second: udp,
        seconds,
        groups,
        changes: Some(ChangesResult {
            submitted: (changes * seconds) as u64,
            acknowledged: (changes * seconds) as u64,
            acknowledgement: spread(0.006, 1_000),
            ..ChangesResult::default()
        }),
        server: Some(usage(
            (cpus + asked) * seconds,
            seconds,
            f64::from(relays) * 100.0,
            f64::from(relays),
        )),
        generator: usage(0.3 * seconds, seconds, 0.0, f64::from(relays)),
        bottleneck: bottleneck(0.3),
        samples,
        ..Point::default()
    }
}

/// The same rates of changes for streams of everything: every change goes to every relay.
pub fn unscoped(server: Server) -> RunResult {
    let points = [100.0, 1_000.0].map(|changes| mixed_point(server, 50, changes, 50.0, 0.0, 30.0));
    let scenario = MIXED.replacen("by = \"relay-id\"", "by = \"all\"", 1);
    result("unscoped", server, &scenario, points.to_vec())
}

/// Followers at several rates of changes, told to one relay each or to all.
pub fn rates(server: Server) -> RunResult {
    let points = [
        (100.0, 1.0),
        (1_000.0, 1.0),
        (5_000.0, 1.0),
        (100.0, 50.0),
        (1_000.0, 20.0),
    ];
    let point = |(changes, per_change)| mixed_point(server, 1_000, changes, per_change, 0.0, 30.0);
    result("changes", server, MIXED, points.map(point).to_vec())
}

const TOGETHER: &str = r#"
about = "Storms, followers, changes and UDP, all in one run."
[changes]
per-second = 50
[[group]]
name = "recovering"
family = 4
behaviour = "recover"
by = "relay-id"
[[group]]
name = "following"
family = 4
behaviour = "follow"
by = "relay-id"
[[group]]
name = "asking"
family = 4
behaviour = "udp"
by = "address"
rate = 200
"#;

/// Every combination, with everything in each run, as the built-in sweep does it.
pub fn together(server: Server) -> RunResult {
    let mut points = Vec::new();
    for relays in [50, 150, 400] {
        for each in [100, 1_000] {
            for changes in [50.0, 400.0] {
                for udp in [200.0, 2_000.0] {
                    let storm = storm_point(server, relays, each);
                    let mut point = mixed_point(server, relays, changes, 1.0, udp, 4.0);
                    point.bindings = storm.bindings;
                    point.bindings_per_relay = storm.bindings_per_relay;
                    point.groups.extend(storm.groups);
                    if let (Some(usage), Some(storm)) = (&mut point.server, storm.server) {
                        usage.cpu_seconds +=
                            storm_cpu(f64::from(relays), f64::from(each)) * server.cost;
                        usage.resident_peak = storm.resident_peak;
                        usage.anonymous_peak = storm.anonymous_peak;
                    }
                    points.push(point);
                }
            }
        }
    }
    result("sweep", server, TOGETHER, points)
}

/// CPU seconds of a UDP query.
const UDP_CPU: f64 = 0.000_02;

/// UDP queries at several rates.
pub fn udp(server: Server) -> RunResult {
    let point = |rate| mixed_point(server, 1_000, 200.0, 1.0, rate, 30.0);
    result(
        "udp",
        server,
        MIXED,
        [500.0, 5_000.0, 50_000.0].map(point).to_vec(),
    )
}

/// Two hours.
pub fn soak(server: Server) -> RunResult {
    result(
        "soak",
        server,
        MIXED,
        vec![mixed_point(server, 2_000, 500.0, 1.0, 300.0, 7_200.0)],
    )
}

/// Limits, one of which is not right, and faults whose texts are hostile.
pub fn limits(server: Server, text: &str) -> RunResult {
    let finding = |holds| Finding {
        what: format!("max-connections {text}"),
        expected: "100 accepted".into(),
        found: if holds {
            "100 accepted"
        } else {
            "101 accepted"
        }
        .into(),
        holds,
    };
    let fault = Fault {
        kind: FaultKind::Limit,
        group: text.into(),
        relay: 17,
        query: format!("bulk v4 by {text}"),
        text: text.into(),
        octets: "00ff".repeat(200),
    };
    let point = Point {
        findings: vec![finding(true), finding(false)],
        faults: BTreeMap::from([(FaultKind::Limit, 3)]),
        first_faults: vec![fault],
        ..Point::default()
    };
    result("limits", server, "kind = \"limits\"", vec![point])
}

/// Nothing but what must be there.
pub fn empty(server: Server) -> RunResult {
    result("empty", server, "", vec![Point::default()])
}
