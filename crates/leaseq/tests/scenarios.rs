//! Scenarios from beginning to end: the generator's coordinator, its relays, and the real leaseq.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::live::View;
use leaseq_loadgen::measure::Count;
use leaseq_loadgen::result::{Point, RunResult, State};
use leaseq_loadgen::run::{Interrupt, run};
use leaseq_loadgen::scenario::read::{Named, Override, parse, read};
use leaseq_loadgen::scenario::{FamilyNumber, Scenario};
use leaseq_loadgen::server::Own;

/// Values for a run of a second or two.
const SMALL: &[&str] = &[
    "data.relays=12",
    "data.bindings-per-relay=20",
    "duration=1s",
    "interval=200ms",
    "patience=30s",
    "processes=1",
];

fn overrides(set: &[&str]) -> Vec<Override> {
    let mut overrides: Vec<_> = set
        .iter()
        .map(|text| Override::read(text).expect("a key and a value"))
        .collect();
    overrides.push(Override::of_option(
        "--binary",
        "server.binary",
        env!("CARGO_BIN_EXE_leaseq"),
    ));
    overrides
}

fn built_in(name: &str, set: &[&str]) -> Named {
    read(name, &overrides(set)).expect("a good scenario")
}

fn small(name: &str, more: &[&str]) -> Named {
    built_in(name, &[SMALL, more].concat())
}

fn written(text: &str) -> Named {
    Named {
        name: "written".to_owned(),
        scenario: parse(
            Path::new("written.toml"),
            text,
            &overrides(&["processes=1"]),
        )
        .expect("a good scenario"),
    }
}

fn result(named: &Named) -> RunResult {
    run(named, &mut View::nowhere(), &Interrupt::default()).expect("a run")
}

fn only_point(named: &Named) -> Point {
    let mut result = result(named);
    assert_eq!(result.points.len(), 1);
    result.points.remove(0)
}

fn assert_valid(point: &Point) {
    assert!(
        point.is_valid(),
        "{:#?}\n{:#?}",
        point.findings,
        point.first_faults
    );
}

fn counted(point: &Point, group: &str, count: Count) -> u64 {
    let group = point.groups.iter().find(|known| known.name == group);
    group.expect("a group").measures.counted(count)
}

#[test]
fn a_storm_of_each_family_is_recovered_and_validated() {
    for (family, tls) in [("4", "false"), ("6", "false"), ("4", "true")] {
        let family = format!("group.recovering.family={family}");
        let tls = format!("group.recovering.tls={tls}");
        let point = only_point(&small("storm", &[&family, &tls]));
        assert_valid(&point);
        assert_eq!(counted(&point, "recovering", Count::Recoveries), 12);
        assert_eq!(counted(&point, "recovering", Count::Bindings), 240);
        assert_eq!((point.relays, point.bindings), (12, 240));
        assert!(point.server.is_some() && point.server_start.is_some());
    }
}

#[test]
fn followers_hear_of_every_change_while_others_ask() {
    let point = only_point(&small(
        "steady",
        &[
            "require.propagation-p99=30s",
            "group.asking4.rate=100",
            "group.asking6.rate=100",
        ],
    ));
    assert_valid(&point);
    let changes = point.changes.as_ref().expect("changes");
    assert!(changes.submitted > 0 && changes.submitted == changes.acknowledged);
    let told: u64 = ["following4", "following6"]
        .iter()
        .map(|group| counted(&point, group, Count::StreamMessages))
        .sum();
    assert!(told > 0);
    for group in ["asking4", "asking6"] {
        assert!(counted(&point, group, Count::UdpAnswers) > 0);
        assert_eq!(counted(&point, group, Count::UdpLost), 0);
    }
}

#[test]
fn streams_go_on_while_relays_recover_beside_them() {
    let point = only_point(&small(
        "following",
        &[
            "require.propagation-p99=30s",
            "group.following4.window=0s",
            "group.following6.window=0s",
        ],
    ));
    assert_valid(&point);
    for group in ["following4", "following6"] {
        assert!(counted(&point, group, Count::StreamMessages) > 0, "{group}");
    }
    for group in ["recovering4", "recovering6"] {
        assert!(counted(&point, group, Count::Recoveries) > 0, "{group}");
    }
}

#[test]
fn streams_without_a_filter_hear_everything() {
    let point = only_point(&small(
        "everything",
        &["require.propagation-p99=30s", "group.following4.window=0s"],
    ));
    assert_valid(&point);
    let changes = point.changes.as_ref().expect("changes").submitted;
    // Each of twelve relays hears of all but those that were made before it had asked.
    let messages = counted(&point, "following4", Count::StreamMessages);
    assert!(messages > changes && messages <= 12 * changes, "{messages}");
}

#[test]
fn polite_relays_do_not_suffer_from_rude_ones() {
    let point = only_point(&small("mixed", &["require.propagation-p99=30s"]));
    assert_valid(&point);
    for group in ["recovering4", "recovering6", "parallel6"] {
        assert!(counted(&point, group, Count::Recoveries) > 0, "{group}");
    }
    for group in ["slow", "deaf", "resetting", "rubbish", "halves", "silent"] {
        assert!(counted(&point, group, Count::Connections) > 0, "{group}");
    }
}

#[test]
fn a_soak_compares_its_end_with_its_beginning() {
    let set = [
        "duration=3s",
        "interval=100ms",
        "require.memory-growth-percent=1000",
        "require.latency-growth-percent=100000",
    ];
    let point = only_point(&small("soak", &set));
    assert_valid(&point);
    let memory = point
        .findings
        .iter()
        .find(|finding| finding.what.contains("memory"));
    assert!(!memory.expect("a finding").found.starts_with("not tested"));
}

#[test]
fn a_sweep_runs_every_combination() {
    let set = [
        "sweep.relays=[4, 8]",
        "sweep.bindings-per-relay=[10]",
        "sweep.changes-per-second=[100, 200]",
        "sweep.udp-rate=[50]",
    ];
    let result = result(&small("sweep", &set));
    let values: Vec<_> = result
        .points
        .iter()
        .map(|point| (point.relays, point.changes_per_second, point.udp_per_second))
        .collect();
    assert_eq!(
        values,
        [
            (4, 100.0, 50.0),
            (4, 200.0, 50.0),
            (8, 100.0, 50.0),
            (8, 200.0, 50.0)
        ]
    );
    result.points.iter().for_each(assert_valid);
    let text = serde_json::to_string(&result).expect("JSON");
    let read: RunResult = serde_json::from_str(&text).expect("a result");
    assert_eq!(read.scenario, result.scenario);
}

#[test]
fn limits_are_found_and_a_wrong_one_is_told() {
    let expected = [
        "limits.max-connections=6",
        "limits.max-queries-per-connection=0",
        "limits.max-connections-per-requestor=0",
    ];
    let server = |limit: &'static str| {
        [
            limit,
            "server.config.limits.max-connections-per-requestor=0",
        ]
    };
    let right = built_in(
        "limits",
        &[
            &expected[..],
            &server("server.config.limits.max-connections=6"),
        ]
        .concat(),
    );
    assert_valid(&only_point(&right));
    for wrong in [
        "server.config.limits.max-connections=5",
        "server.config.limits.max-connections=7",
    ] {
        let point = only_point(&built_in(
            "limits",
            &[&expected[..], &server(wrong)].concat(),
        ));
        assert!(
            point.faults.contains_key(&FaultKind::Limit),
            "{wrong}: {:?}",
            point.findings
        );
        assert!(!point.is_valid());
    }
}

#[test]
fn timeouts_are_measured_and_a_wrong_one_is_told() {
    let scenario = |configured: &str| {
        written(&format!(
            "kind = \"timeouts\"\npatience = \"20s\"\n[data]\nrelays = 4\nbindings-per-relay = 50\n\
             [server.config.limits]\ndata-timeout = \"{configured}\"\n\
             [timeouts]\nbulk-idle = \"1s\"\ntolerance = \"1s\"\ninnocent = 2\ninnocent-factor = 1000\n"
        ))
    };
    assert_valid(&only_point(&scenario("1s")));
    let point = only_point(&scenario("4s"));
    assert!(
        point.faults.contains_key(&FaultKind::Limit),
        "{:?}",
        point.findings
    );
}

#[test]
fn a_server_that_runs_already_is_compared_with_its_export() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = dir.path().join("store");
    let mut own: Scenario = toml::from_str(
        "[data]\nrelays = 12\nbindings-per-relay = 20\n\
         [[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'follow'\n",
    )
    .expect("a scenario");
    own.server.binary = Some(env!("CARGO_BIN_EXE_leaseq").into());
    own.server.data_dir = Some(store.clone());
    let families = [FamilyNumber::V4, FamilyNumber::V6];
    let start =
        |own: &Scenario| Own::start(own, &families, dir.path(), &mut |_| true).expect("a server");
    start(&own).stop().expect("a clean end");
    let export = Command::new(env!("CARGO_BIN_EXE_leaseq"))
        .args(["store", "export", "--data-dir"])
        .arg(&store)
        .output()
        .expect("the binary");
    assert!(export.status.success());
    assert_eq!(
        export
            .stdout
            .iter()
            .filter(|octet| **octet == b'\n')
            .count(),
        480
    );
    let expect = dir.path().join("export.ndjson");
    std::fs::write(&expect, &export.stdout).expect("written");
    // Changes make a store unfit for the next run, not for this one.
    own.changes = Some(toml::from_str("per-second = 1.0").expect("changes"));
    let server = start(&own);
    assert!(server.fill_time().is_none(), "the store was used as it is");
    let target = [
        format!("target.server4={}", server.server4().expect("DHCPv4")),
        format!("target.server6={}", server.server6().expect("DHCPv6")),
        format!("target.feed={}", server.feed().expect("a feed").display()),
        format!("target.expect={}", expect.display()),
        format!("target.pid={}", server.pid()),
        "duration=2s".to_owned(),
        "patience=30s".to_owned(),
        "processes=1".to_owned(),
        "changes.per-second=100".to_owned(),
        "group.asking4.rate=100".to_owned(),
        "group.asking6.rate=100".to_owned(),
        "require.propagation-p99=30s".to_owned(),
        "require.udp-lost-percent=100".to_owned(),
    ];
    let target = target.map(|text| Override::read(&text).expect("a key and a value"));
    let point = only_point(&read("steady", &target).expect("a good scenario"));
    assert_valid(&point);
    let changes = point.changes.as_ref().expect("changes");
    assert!(changes.acknowledged > 100 && changes.refused == 0);
    for group in ["following4", "following6"] {
        assert!(counted(&point, group, Count::StreamMessages) > 0, "{group}");
    }
    assert!(counted(&point, "asking6", Count::UdpAnswers) > 50);
    assert!(point.server.is_some(), "its CPU was measured");
    server.stop().expect("a clean end");
}

#[test]
fn an_interrupted_run_has_a_result() {
    let named = small("steady", &["duration=60s", "require.propagation-p99=30s"]);
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let mut view = View::calling(move |sample| {
        let following = sample.states.get(&State::Following).copied();
        // By then each of them has heard of something. Asked twice, the run would end at once.
        if sample.at > 3.0 && following.unwrap_or_default() == 24 && !asked.is_asked() {
            asked.ask();
        }
    });
    let result = run(&named, &mut view, &interrupt).expect("a run");
    assert!(result.interrupted);
    let point = &result.points[0];
    assert_valid(point);
    assert!(point.seconds < Duration::from_secs(60).as_secs_f64());
    assert!(!point.samples.is_empty() && point.changes.is_some());
}

#[test]
fn an_urgent_interrupt_ends_a_run_at_once() {
    let named = small("steady", &["duration=60s"]);
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let mut view = View::calling(move |_| asked.ask());
    let result = run(&named, &mut view, &interrupt).expect("a run");
    assert!(result.interrupted && interrupt.is_urgent());
}

#[test]
fn what_is_required_and_does_not_hold_is_told() {
    let point = only_point(&small("storm", &["require.at-least.recoveries=13"]));
    assert!(point.faults.is_empty() && !point.is_valid());
    let finding = point.findings.last().expect("a finding");
    assert_eq!(
        (finding.what.as_str(), finding.found.as_str()),
        ("recoveries", "12")
    );
}
