//! Replays the committed corpora.

use std::fs;
use std::path::Path;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpora")
        .join(name);
    let mut inputs = 0;
    for entry in fs::read_dir(&folder).expect("each target has a corpus") {
        target(&fs::read(entry.expect("a readable folder").path()).expect("a readable file"));
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

#[test]
fn frames() {
    replay("frames", crate::wire::frames);
}

#[test]
fn dhcp4() {
    replay("dhcp4", crate::wire::dhcp4);
}

#[test]
fn dhcp6() {
    replay("dhcp6", crate::wire::dhcp6);
}

#[test]
fn ndjson() {
    replay("ndjson", crate::feeds::ndjson);
}

#[test]
fn kea() {
    replay("kea", crate::feeds::kea);
}

#[test]
fn isc() {
    replay("isc", crate::feeds::isc);
}

#[test]
fn dnsmasq() {
    replay("dnsmasq", crate::feeds::dnsmasq);
}

#[test]
fn sessions() {
    replay("sessions", crate::sessions::sessions);
}

#[test]
fn datagrams() {
    replay("datagrams", crate::sessions::datagrams);
}

#[test]
fn answers() {
    replay("answers", crate::sessions::answers);
}
