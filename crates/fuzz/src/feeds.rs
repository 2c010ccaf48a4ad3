//! Lines and files of the sources of bindings.

use std::path::PathBuf;

use leaseq_feed::kea::LeaseFile;
use leaseq_feed::{dnsmasq, isc, ndjson};
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

/// A lease file of ISC dhcpd: reading ends, every event can be stored, and rejections are of lines that are there.
pub fn isc(file: &[u8]) {
    let lines = file.split(|octet| *octet == b'\n').count() as u64;
    let mut leases = isc::Leases::read(PathBuf::from("dhcpd.leases"), file, 0);
    // A declaration has at least a brace or a semicolon, a lease within one an address.
    let most = file.len() + 1;
    for (told, item) in leases.by_ref().enumerate() {
        assert!(told < most, "more events than octets");
        match item {
            Ok(event) => assert_eq!(event.check(), Ok(())),
            Err(leaseq_feed::ReadError::Rejected(told)) => {
                assert!((1..=lines).contains(&told.line), "{told} of {lines} lines");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(leases.octets_done(), file.len() as u64);
}

/// A lease file of dnsmasq, at a time told by its first octets: each line is a lease or a rejection at most, and every event can be stored.
pub fn dnsmasq(input: &[u8]) {
    let Some((now, file)) = input.split_first_chunk::<4>() else {
        return;
    };
    let now = u32::from_le_bytes(*now);
    let (leases, rejected) = dnsmasq::parse(file, 0);
    let lines = file.split(|octet| *octet == b'\n').count();
    assert!(leases.len() + rejected.len() <= lines);
    for lease in leases {
        assert_eq!(lease.seen_at(now).check(), Ok(()));
    }
}
