//! What happens when no descriptor is left: alone in its process, because it takes all of them.

#[allow(
    dead_code,
    unused_imports,
    reason = "one test needs less of it than the others do"
)]
#[path = "server/support/mod.rs"]
mod support;

use std::fs::File;

use rustix::process::{Resource, Rlimit, setrlimit};
use support::{Setup, by_relay4, expected4};

#[test]
fn without_a_descriptor_left_connections_are_closed_and_later_ones_served() {
    // The engine raises the soft limit to the hard one, so both are lowered.
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(256),
            maximum: Some(256),
        },
    )
    .unwrap();
    let server = Setup::default().start();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.pop();
    // The last descriptor is this requestor's own: the server has none but the one it keeps for this.
    assert!(server.connect4().is_closed());
    assert!(server.engine.stats().no_descriptor() >= 1);
    taken.clear();
    let mut requestor = server.connect4();
    requestor.send(&by_relay4(1, 1));
    assert_eq!(requestor.recover4(), expected4(1, 20));
}
