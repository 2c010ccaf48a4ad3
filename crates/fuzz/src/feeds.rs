//! Lines and files of the sources of bindings.

use std::path::PathBuf;

use leaseq_feed::kea::LeaseFile;
use leaseq_feed::ndjson;
use leaseq_store::Event;

/// One NDJSON line: what is accepted can be written, and read back as the same event.
pub fn ndjson(line: &[u8]) {
    let Ok(event) = ndjson::parse(line) else {
        return;
    };
    if event.check().is_err() {
        return;
    }
    let mut written = String::new();
    match &event {
        Event::V4(event) => ndjson::write4(event, &mut written),
        Event::V6(event) => ndjson::write6(event, &mut written),
        Event::Feed(_) => unreachable!("no line is a feed's position"),
    }
    let again = ndjson::parse(written.trim_end().as_bytes());
    assert_eq!(again.as_ref(), Ok(&event), "{written}");
}

/// A Kea lease file of either family: every row is an event or a rejection, and reading ends.
pub fn kea(file: &[u8]) {
    let Ok(Some(rows)) = LeaseFile::read(PathBuf::from("leases.csv"), file, 0) else {
        return;
    };
    let lines = file.split(|octet| *octet == b'\n').count();
    let mut told = 0;
    for row in rows {
        told += 1;
        if let Ok(event) = row {
            let _ = event.check();
        }
    }
    assert!(
        told <= lines,
        "{told} events and rejections from {lines} lines"
    );
}
