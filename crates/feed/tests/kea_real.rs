//! The feed `kea-memfile` beside a real Kea: leases come, change and go while Kea cleans up its files every second and starts
//! again, and the feed stops and starts. At the end both have the same leases.

#[path = "support/kea.rs"]
mod kea;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use leaseq_feed::kea::{Family, Settings, start};
use leaseq_feed::run::Feed;
use leaseq_store::{Options, Record, ScanFrom, State, Store, SyncMode, Topology};
use serde_json::json;

use kea::{Kea, address, lease, renewed};

/// Leases of each protocol.
const LEASES: u32 = 200;
/// How often the store is looked at until it has what Kea has, and how long each time at most.
const LOOKS: usize = 600;
const LOOK: Duration = Duration::from_millis(100);

/// Addresses in use, with the client's last transaction; those of the store only if they have relay data.
type Table = BTreeMap<IpAddr, u64>;

fn table_of_kea(kea: &Kea) -> Table {
    let leases = kea.all();
    let leased = leases.iter().filter(|lease| lease["state"] == 0);
    leased
        .map(|lease| {
            let address = lease["ip-address"].as_str().expect("an address");
            let cltt = lease["cltt"].as_u64().expect("a time");
            (address.parse().expect("an address"), cltt)
        })
        .collect()
}

fn table_of(store: &Store) -> Table {
    let view = store.reader().view();
    let newest = view.scan(ScanFrom::Start).filter(|scanned| scanned.newest);
    let leases = newest.filter_map(|scanned| match scanned.record {
        Record::Bind4(lease) if lease.state() == State::Active && lease.remote_id().is_some() => {
            Some((lease.address().into(), u64::from(lease.cltt()?)))
        }
        Record::Bind6(lease) if lease.state() == State::Active && lease.hops().count() == 1 => {
            Some((lease.address().into(), u64::from(lease.cltt()?)))
        }
        _ => None,
    });
    leases.collect()
}

fn leases_of_kea_and_of_the_store_are_the_same(family: u8) {
    if !kea::installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut kea = Kea::start(dir.path(), family);
    let options = Options {
        sync: SyncMode::Never,
        segment_size: 1 << 20,
        ..Options::default()
    };
    let store = Store::open(&dir.path().join("store"), options, Topology::default()).unwrap();
    let store = Arc::new(store);
    let settings = Settings {
        name: "kea".into(),
        family: if family == 4 { Family::V4 } else { Family::V6 },
        path: kea.leases(),
    };
    let follow = || start(&settings, Arc::clone(&store)).expect("a feed");
    let mut feed: Option<Feed> = Some(follow());
    for number in 1..=LEASES {
        kea.command("add", lease(family, number));
        if number % 3 == 0 {
            kea.command("update", renewed(family, number / 2));
        }
        if number % 7 == 0 {
            let removed = address(family, number / 7 * 2);
            kea.command("del", json!({"ip-address": removed, "subnet-id": 1}));
        }
        let part = |of: u32| number == LEASES * of / 8;
        if part(1) || part(4) {
            feed.take().expect("a feed").stop();
        } else if part(2) || part(5) {
            // It was down for a whole clean-up at least.
            kea.wait_for_next("LFC_EXECUTE");
            kea.wait_for_next("LFC_EXECUTE");
            feed = Some(follow());
        } else if part(3) || part(7) {
            kea.wait_for_next("LFC_EXECUTE");
        } else if part(6) {
            kea = kea.restart();
        }
    }
    let expected = table_of_kea(&kea);
    let stop = leaseq_feed::run::Stop::new().unwrap();
    let equal = (0..LOOKS).any(|_| table_of(&store) == expected || stop.wait(LOOK));
    let told = feed.as_ref().expect("a feed").status().snapshot();
    assert!(
        equal,
        "Kea has {expected:?}; the store has {:?}; {told:?}",
        table_of(&store)
    );
    assert_eq!((told.rejected, told.remark), (0, None));
    feed.take().expect("a feed").stop();
    assert_eq!(table_of(&store), expected);
}

#[test]
fn leases_of_kea_4_and_of_the_store_are_the_same() {
    leases_of_kea_and_of_the_store_are_the_same(4);
}

#[test]
fn leases_of_kea_6_and_of_the_store_are_the_same() {
    leases_of_kea_and_of_the_store_are_the_same(6);
}
