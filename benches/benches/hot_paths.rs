//! Criterion benches of the hot paths: lookups, walks, encoding, decoding, UDP answers, ingest, opening a store, cursors.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use leaseq_bench::fixture::{self, Order};
use leaseq_bench::session::Bench;
use leaseq_requestor::{Bulk4, Bulk6, Event};
use leaseq_session::Family;
use leaseq_store::{
    Batch4, LogCursor, Options, Progress, ScanFrom, Selector4, Store, Vpn, VpnSelect,
};

/// Bindings of each family: enough that indexes and log do not fit in a cache.
const BINDINGS: u32 = 300_000;
/// Octets of an answer that a requestor reads at a time.
const READ: usize = 256 << 10;

fn lookups(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = fixture::store(dir.path(), BINDINGS, BINDINGS, Order::Random).expect("a store");
    let reader = store.reader();
    let numbers = fixture::numbers(BINDINGS, Order::Random);
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(1));
    let mut next = numbers.iter().cycle();
    group.bench_function("binding4 by address", |b| {
        let view = reader.view();
        b.iter(|| {
            let address = fixture::address4(*next.next().expect("numbers"));
            black_box(
                view.binding4(&Vpn::GLOBAL, address)
                    .map(|found| found.sequence()),
            )
        });
    });
    group.bench_function("lease6 by address", |b| {
        let view = reader.view();
        b.iter(|| {
            let address = fixture::address6(*next.next().expect("numbers"));
            black_box(
                view.lease6(&Vpn::GLOBAL, address)
                    .map(|found| found.sequence()),
            )
        });
    });
    group.throughput(Throughput::Elements(u64::from(fixture::PER_RELAY)));
    group.bench_function("postings of a relay-id", |b| {
        let view = reader.view();
        b.iter(|| {
            let relay = *next.next().expect("numbers") / fixture::PER_RELAY;
            let id = fixture::relay_id(relay);
            let mut walk = view.walk4(&Selector4::RelayId(&id), &VpnSelect::One(Vpn::GLOBAL));
            let mut batch = Batch4::default();
            let mut found = 0;
            loop {
                let progress = view.fill4(&mut walk, &mut batch);
                found += batch.items.len();
                if progress == Progress::Done {
                    break found;
                }
            }
        });
    });
    group.finish();
    store.stop().expect("a clean stop");
}

fn encode(c: &mut Criterion) {
    for (order, name) in [(Order::Log, "log order"), (Order::Random, "random order")] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = fixture::store(dir.path(), BINDINGS, BINDINGS, order).expect("a store");
        let mut group = c.benchmark_group(format!("encode, {name}"));
        group
            .throughput(Throughput::Elements(u64::from(BINDINGS)))
            .sample_size(20);
        let queries = [
            ("v4 all addresses", Family::V4, fixture::all4()),
            (
                "v6 by relay-id",
                Family::V6,
                fixture::by_relay6(fixture::AGGREGATE, true),
            ),
        ];
        for (query, family, request) in queries {
            let mut bench = Bench::new(store.reader(), family).expect("a session");
            group.bench_function(query, |b| {
                b.iter(|| bench.encode(&request).expect("replies"))
            });
        }
        group.finish();
        store.stop().expect("a clean stop");
    }
}

fn decode(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = fixture::store(dir.path(), BINDINGS, BINDINGS, Order::Log).expect("a store");
    let replies = |family, request: &[u8]| {
        let mut bench = Bench::new(store.reader(), family).expect("a session");
        bench.replies(request).expect("replies")
    };
    let v4 = replies(Family::V4, &fixture::all4());
    let v6 = replies(Family::V6, &fixture::by_relay6(fixture::AGGREGATE, true));
    store.stop().expect("a clean stop");
    let mut group = c.benchmark_group("decode a bulk answer");
    group
        .throughput(Throughput::Elements(u64::from(BINDINGS)))
        .sample_size(20);
    let count = |told: &mut u32, event: &Event<'_>| {
        *told += u32::from(!matches!(event, Event::Done(_)));
    };
    group.bench_function("v4 all addresses", |b| {
        b.iter(|| {
            let (mut bulk, mut told) = (Bulk4::new(), 0);
            bulk.add(fixture::XID);
            for octets in v4.chunks(READ) {
                bulk.push(octets, &mut |event| count(&mut told, &event))
                    .expect("a right answer");
            }
            assert_eq!((told, bulk.running()), (BINDINGS, 0));
        });
    });
    group.bench_function("v6 by relay-id", |b| {
        b.iter(|| {
            let (mut bulk, mut told) = (Bulk6::new(&fixture::REQUESTOR), 0);
            bulk.add(fixture::XID);
            for octets in v6.chunks(READ) {
                bulk.push(octets, &mut |event| count(&mut told, &event))
                    .expect("a right answer");
            }
            assert_eq!((told, bulk.running()), (BINDINGS, 0));
        });
    });
    group.finish();
}

fn cursors(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = fixture::store(dir.path(), BINDINGS, 0, Order::Random).expect("a store");
    let reader = store.reader();
    let view = reader.view();
    let mut group = c.benchmark_group("cursor");
    group
        .throughput(Throughput::Elements(u64::from(BINDINGS)))
        .sample_size(20);
    for (name, newest_only) in [("all records", false), ("those that are the newest", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut cursor = LogCursor::new(ScanFrom::Start);
                let mut found = 0;
                while let Some(record) = view.next_record(&mut cursor) {
                    found += u32::from(!newest_only || view.is_newest(&record));
                }
                assert_eq!(found, BINDINGS);
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    let last = {
        let mut cursor = LogCursor::new(ScanFrom::Start);
        while view.next_record(&mut cursor).is_some() {}
        cursor.next_sequence() - 1
    };
    group.bench_function("a place near the end, and its record", |b| {
        b.iter(|| {
            let mut cursor = LogCursor::new(ScanFrom::Sequence(last));
            view.next_record(&mut cursor)
                .map(|record| record.sequence())
        });
    });
    group.finish();
    drop(view);
    store.stop().expect("a clean stop");
}

fn datagrams(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = fixture::store(dir.path(), BINDINGS, BINDINGS, Order::Random).expect("a store");
    let numbers = fixture::numbers(BINDINGS, Order::Random);
    let mut group = c.benchmark_group("UDP answer");
    group.throughput(Throughput::Elements(1_000));
    let v4: Vec<Vec<u8>> = numbers[..1_000]
        .iter()
        .map(|&n| fixture::udp4(fixture::address4(n)))
        .collect();
    let v6: Vec<Vec<u8>> = numbers[..1_000]
        .iter()
        .map(|&n| fixture::udp6(fixture::address6(n)))
        .collect();
    for (name, family, requests) in [
        ("v4 by address", Family::V4, v4),
        ("v6 by address", Family::V6, v6),
    ] {
        let mut bench = Bench::new(store.reader(), family).expect("a session");
        group.bench_function(name, |b| b.iter(|| bench.answer(&requests)));
    }
    group.finish();
    store.stop().expect("a clean stop");
}

fn storage(c: &mut Criterion) {
    const EVENTS: u32 = 100_000;
    let mut group = c.benchmark_group("store");
    group
        .throughput(Throughput::Elements(u64::from(EVENTS)))
        .sample_size(10);
    let numbers = fixture::numbers(EVENTS, Order::Random);
    group.bench_function("ingest, durable", |b| {
        b.iter_batched(
            || {
                let dir = tempfile::tempdir().expect("a directory");
                let store = Store::open(dir.path(), Options::default(), fixture::topology(EVENTS))
                    .expect("a store");
                (dir, store, fixture::batches(&numbers, fixture::event4))
            },
            |(dir, store, batches)| {
                fixture::submit(&store, batches).expect("stored");
                (dir, store)
            },
            BatchSize::PerIteration,
        );
    });
    for (name, clean) in [
        ("open after a clean stop", true),
        ("open after a crash", false),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        fixture::store(dir.path(), EVENTS, 0, Order::Log)
            .expect("a store")
            .stop()
            .expect("a clean stop");
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    if !clean {
                        std::fs::remove_file(dir.path().join("checkpoint")).expect("a checkpoint");
                    }
                },
                |()| {
                    let store =
                        Store::open(dir.path(), Options::default(), fixture::topology(EVENTS))
                            .expect("a store");
                    store.stop().expect("a clean stop");
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(
    hot_paths, lookups, encode, decode, datagrams, storage, cursors
);
criterion_main!(hot_paths);
