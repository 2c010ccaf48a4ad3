//! Relays that recover from a real server.

mod common;

use common::Setup;
use leaseq_loadgen::data::Source;
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::measure::Count;
use leaseq_loadgen::result::State;

const RELAYS: u32 = 200;
const BINDINGS: u32 = 50;

#[test]
fn two_hundred_relays_recover_in_both_families_plain_and_on_tls() {
    let server = Setup {
        relays: RELAYS,
        bindings_per_relay: BINDINGS,
        is_secure: true,
        ..Setup::default()
    }
    .start();
    let run = server.run(
        r#"
        [[group]]
        name = "plain4"
        family = 4
        behaviour = "recover"
        by = "relay-id"
        window = "200ms"

        [[group]]
        name = "tls4"
        family = 4
        behaviour = "recover"
        by = "remote-id"
        at-once = 20
        tls = true

        [[group]]
        name = "plain6"
        family = 6
        behaviour = "recover"
        by = "relay-id"
        at-once = "10%"

        [[group]]
        name = "tls6"
        family = 6
        behaviour = "recover"
        by = "remote-id"
        relays = 50
        rounds = 2
        at-once = 10
        tls = true
        "#,
    );
    let mut last = None;
    let outcome = run.finish(&mut |progress| last = Some(progress.clone()));
    assert_eq!(outcome.first_faults, []);
    let counts: Vec<(&str, u64, u64)> = outcome
        .groups
        .iter()
        .map(|group| {
            let counted = |what| group.measures.counted(what);
            (
                group.name.as_str(),
                counted(Count::Recoveries),
                counted(Count::Connections),
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            ("plain4", 200, 200),
            ("tls4", 200, 200),
            ("plain6", 200, 200),
            ("tls6", 100, 100)
        ]
    );
    for group in &outcome.groups {
        let recoveries = group.measures.counted(Count::Recoveries);
        let bindings = group.measures.counted(Count::Bindings);
        // Of DHCPv6 clients, some of which have two leases.
        assert!(
            bindings <= recoveries * u64::from(BINDINGS),
            "{}",
            group.name
        );
        assert_eq!(group.measures.recovery.count(), recoveries);
        assert_eq!(group.measures.first_octet.count(), recoveries);
        assert_eq!(group.measures.connect.count(), recoveries);
    }
    // Those that came last of a window of 200 ms count from when they were to begin.
    let last = last.expect("there is a last progress");
    assert!(last.is_finished);
    assert_eq!(last.states[&State::Done], 200 + 20 + 20 + 10);
    assert!(outcome.scheduling.count() > 0 && outcome.thread_cpu.iter().all(|cpu| *cpu > 0.0));
}

#[test]
fn what_the_store_does_not_hold_is_missing() {
    let server = Setup::default().start();
    let mut run = server.run(
        r#"
        [[group]]
        name = "relays"
        family = 6
        behaviour = "recover"
        by = "remote-id"
        "#,
    );
    // One relay more than the store has.
    for source in run.plan.sources.values_mut() {
        if let Source::MadeUp { relays, .. } = source {
            *relays += 1;
        }
    }
    let outcome = run.finish(&mut |_| {});
    let kinds: Vec<_> = outcome.faults.keys().collect();
    assert_eq!(kinds, [&FaultKind::Missing], "{:?}", outcome.first_faults);
    let relays: Vec<u32> = outcome
        .first_faults
        .iter()
        .map(|fault| fault.relay)
        .collect();
    assert!(relays.iter().all(|relay| *relay == 10), "{relays:?}");
    assert_eq!(outcome.groups[0].measures.counted(Count::Bindings), 200);
}
