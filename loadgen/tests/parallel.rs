//! Several queries at a time on one connection to a real server.

mod common;

use common::Setup;
use leaseq_loadgen::measure::Count;

const BINDINGS: u32 = 30;

#[test]
fn queries_on_one_connection_are_all_answered() {
    let server = Setup {
        relays: 40,
        bindings_per_relay: BINDINGS,
        is_secure: true,
        ..Setup::default()
    }
    .start();
    let run = server.run(
        r#"
        [[group]]
        name = "four4"
        family = 4
        behaviour = "parallel"
        by = "relay-id"
        queries = 4

        [[group]]
        name = "eight6"
        family = 6
        behaviour = "parallel"
        by = "remote-id"
        queries = 8
        at-once = 10
        tls = true
        "#,
    );
    let outcome = run.finish(&mut |_| {});
    assert_eq!(outcome.first_faults, []);
    for (group, queries) in outcome.groups.iter().zip([8, 16]) {
        let counted = |what| group.measures.counted(what);
        assert_eq!(counted(Count::Connections), 40, "{}", group.name);
        assert_eq!(counted(Count::Recoveries), 40 * queries, "{}", group.name);
        // One of each relay: from its begin to the end of its last query.
        assert_eq!(group.measures.recovery.count(), 40, "{}", group.name);
        let bindings = 40 * queries * u64::from(BINDINGS);
        assert_eq!(counted(Count::Bindings), bindings, "{}", group.name);
    }
}
