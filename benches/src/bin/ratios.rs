//! Prints the server's figures beside their goals, each the median of several runs. `scripts/bench` runs it.
//!
//! Server and reader are pinned to a CPU each, so that a figure is one core's. Beside each rate stands what the data
//! thread itself needed, which does not depend on how fast the reader was or on what else ran; "encode alone" is counted
//! by CPU time too.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use leaseq_bench::counting::{Counting, allocations};
use leaseq_bench::fixture::{self, Order};
use leaseq_bench::report::{Goal, line, median};
use leaseq_bench::session::Bench;
use leaseq_bench::stream::{self, Transfer};
use leaseq_bench::{datagram, usage};
use leaseq_engine::limit::Limit;
use leaseq_engine::{Engine, EngineConfig, Listeners};
use leaseq_session::Family;
use leaseq_store::{Options, Reader, Store};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// CPU of the data thread.
const SERVER_CPU: usize = 0;
/// CPU of the reader.
const READER_CPU: usize = 1;
/// Requests that a UDP load goes through.
const UDP_REQUESTS: u32 = 10_000;
/// Connections that are opened and left idle: two descriptors each in this process.
const IDLE: usize = 8_000;

struct Scale {
    v4: u32,
    v6: u32,
    runs: usize,
    udp: Duration,
    chunk_octets: usize,
}

fn main() -> Result<()> {
    let scale = arguments()?;
    println!(
        "# {} DHCPv4 bindings, {} DHCPv6 clients, median of {} runs",
        scale.v4, scale.v6, scale.runs
    );
    let dir = tempfile::tempdir()?;
    storage(dir.path(), &scale)?;
    for (order, goal) in [(Order::Log, 0.85), (Order::Random, 0.6)] {
        let dir = tempfile::tempdir()?;
        let store = fixture::store(dir.path(), scale.v4, scale.v6, order)?;
        encoding(&store, &scale, order)?;
        streams(&store.reader(), &scale, order, goal)?;
        if order == Order::Random {
            datagrams(&store.reader(), &scale)?;
            idle(&store.reader(), &scale)?;
        }
        store.stop()?;
    }
    Ok(())
}

fn arguments() -> Result<Scale> {
    let mut scale = Scale {
        v4: 1_000_000,
        v6: 500_000,
        runs: 5,
        udp: Duration::from_secs(2),
        chunk_octets: EngineConfig::default().chunk_octets,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a number"))?;
        match name.as_str() {
            "--v4" => scale.v4 = value.parse()?,
            "--v6" => scale.v6 = value.parse()?,
            "--chunk" => scale.chunk_octets = value.parse()?,
            "--runs" => scale.runs = value.parse()?,
            "--udp-seconds" => scale.udp = Duration::from_secs_f64(value.parse()?),
            _ => bail!(
                "unknown argument {name}: there are --v4, --v6, --chunk, --runs and --udp-seconds"
            ),
        }
    }
    ensure!(
        scale.v4 > 0 && scale.v6 > 0 && scale.runs % 2 == 1,
        "numbers are above zero, and the runs are odd"
    );
    Ok(scale)
}

fn runs<T>(count: usize, mut run: impl FnMut() -> Result<T>) -> Result<Vec<T>> {
    (0..count).map(|_| run()).collect()
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::Log => "log order",
        Order::Random => "random order",
    }
}

/// Ingest, index memory, recovery.
fn storage(dir: &Path, scale: &Scale) -> Result<()> {
    let numbers = fixture::numbers(scale.v4, Order::Random);
    let mut rates = Vec::new();
    for run in 0..scale.runs {
        let path = dir.join(format!("ingest-{run}"));
        let store = Store::open(&path, Options::default(), fixture::topology(scale.v4))?;
        let batches = fixture::batches(&numbers, fixture::event4);
        let begun = Instant::now();
        fixture::submit(&store, batches)?;
        rates.push(f64::from(scale.v4) / begun.elapsed().as_secs_f64());
        store.stop()?;
        std::fs::remove_dir_all(path)?;
    }
    line(
        "ingest, durable",
        median(rates),
        "bindings/s",
        Goal::AtLeast(500_000.0),
    );

    let store = fixture::store(dir, scale.v4, 0, Order::Log)?;
    let stats = store.reader().stats();
    line(
        "index memory, v4",
        stats.index_octets() as f64 / f64::from(scale.v4),
        "octets/binding",
        Goal::AtMost(64.0),
    );
    fixture::ingest(
        &store,
        &fixture::numbers(scale.v6, Order::Log),
        fixture::event6,
    )?;
    let stats = store.reader().stats();
    let both = f64::from(scale.v4) + f64::from(scale.v6);
    line(
        "index memory, v4 and v6",
        stats.index_octets() as f64 / both,
        "octets/binding",
        Goal::AtMost(64.0),
    );
    for (name, octets) in &stats.indexes {
        line(
            &format!("  of it, {name}"),
            *octets as f64 / both,
            "octets/binding",
            Goal::None,
        );
    }
    store.stop()?;

    // The goals are for ten million bindings; a smaller store is held to its share.
    let share = both / 10e6;
    let open = |clean: bool| -> Result<(f64, bool)> {
        if !clean && dir.join("checkpoint").exists() {
            std::fs::remove_file(dir.join("checkpoint"))?;
        }
        let begun = Instant::now();
        let store = Store::open(dir, Options::default(), fixture::topology(scale.v4))?;
        let seconds = begun.elapsed().as_secs_f64();
        let from_checkpoint = store.reader().stats().from_checkpoint;
        store.stop()?;
        Ok((seconds, from_checkpoint))
    };
    for (name, clean, goal) in [("a clean stop", true, 3.0), ("a crash", false, 15.0)] {
        let opened = runs(scale.runs, || open(clean))?;
        let how = if opened[0].1 { "checkpoint" } else { "scan" };
        let seconds = median(opened.iter().map(|(seconds, _)| *seconds).collect());
        line(
            &format!("start after {name} ({how})"),
            seconds,
            "s",
            Goal::AtMost(goal * share),
        );
    }
    Ok(())
}

/// Encoding alone, and allocations.
fn encoding(store: &Store, scale: &Scale, order: Order) -> Result<()> {
    stream::pin(SERVER_CPU);
    let goal = match order {
        Order::Log => 25e6,
        Order::Random => 8e6,
    };
    let queries = [
        ("v4", Family::V4, fixture::all4(), scale.v4),
        (
            "v6 with relay data",
            Family::V6,
            fixture::by_relay6(fixture::AGGREGATE, true),
            scale.v6,
        ),
        (
            "v6 bare",
            Family::V6,
            fixture::by_relay6(fixture::AGGREGATE, false),
            scale.v6,
        ),
    ];
    for (name, family, request, bindings) in queries {
        let mut bench = Bench::new(store.reader(), family)?;
        let mut total = 0;
        let encoded = runs(scale.runs, || {
            let (allocated, encoded) = allocations(|| bench.encode(&request));
            total += allocated;
            let encoded = encoded?;
            ensure!(
                encoded.bindings == u64::from(bindings),
                "{} of {bindings} bindings were sent",
                encoded.bindings
            );
            Ok(encoded)
        })?;
        let rate = median(
            encoded
                .iter()
                .map(|run| run.bindings as f64 / run.seconds)
                .collect(),
        );
        line(
            &format!("encode alone, {name}, {}", order_name(order)),
            rate,
            "bindings/s",
            Goal::AtLeast(goal),
        );
        line(
            &format!("  octets a binding, {name}"),
            encoded[0].octets as f64 / f64::from(bindings),
            "",
            Goal::None,
        );
        let each = total as f64 / (encoded.len() as f64 * f64::from(bindings));
        // The query itself may allocate: a few times, however many bindings it finds.
        line(
            &format!("  allocations a binding, {name}"),
            (each * 1e3).floor() / 1e3,
            "",
            Goal::AtMost(0.0),
        );
    }
    Ok(())
}

fn config(scale: &Scale) -> EngineConfig {
    EngineConfig {
        cores: Some(vec![SERVER_CPU]),
        chunk_octets: scale.chunk_octets,
        ..EngineConfig::default()
    }
}

fn engine(reader: &Reader, scale: &Scale) -> Result<Engine> {
    let v4: SocketAddr = "127.0.0.1:0".parse()?;
    let v6: SocketAddr = "[::1]:0".parse()?;
    let listeners = Listeners {
        dhcp4_tcp: vec![v4],
        dhcp4_udp: vec![v4],
        dhcp6_tcp: vec![v6],
        dhcp6_udp: vec![v6],
    };
    Ok(Engine::start(
        config(scale),
        listeners,
        fixture::settings(),
        reader.clone(),
    )?)
}

/// One stream against the same octets, prepared.
fn streams(reader: &Reader, scale: &Scale, order: Order, goal: f64) -> Result<()> {
    let engine = engine(reader, scale)?;
    let addresses = engine.addresses();
    let queries = [
        (
            "v4",
            addresses.dhcp4_tcp[0],
            fixture::all4(),
            fixture::is_last4 as fn(&[u8]) -> bool,
        ),
        (
            "v6 with relay data",
            addresses.dhcp6_tcp[0],
            fixture::by_relay6(fixture::AGGREGATE, true),
            fixture::is_last6,
        ),
        (
            "v6 bare",
            addresses.dhcp6_tcp[0],
            fixture::by_relay6(fixture::AGGREGATE, false),
            fixture::is_last6,
        ),
    ];
    for (name, address, request, is_last) in queries {
        let octets: &'static [u8] = stream::collect(address, &request, is_last)?.leak();
        // The two take turns, so that whatever disturbs the machine disturbs both.
        let pairs: Vec<(Transfer, Transfer)> = runs(scale.runs, || {
            let server = stream::ask_engine(address, &request, octets.len() as u64, READER_CPU)?;
            Ok((
                server,
                stream::prepared(octets, config(scale).chunk_octets, SERVER_CPU, READER_CPU)?,
            ))
        })?;
        let of =
            |ratio: fn(&(Transfer, Transfer)) -> f64| median(pairs.iter().map(ratio).collect());
        let title = format!("bulk {name}, one stream, {}", order_name(order));
        line(
            &title,
            of(|(server, limit)| server.rate() / limit.rate()),
            "of the limit",
            Goal::AtLeast(goal),
        );
        line(
            "  by CPU time of the data thread",
            of(|(server, limit)| server.cpu_rate() / limit.cpu_rate()),
            "",
            Goal::None,
        );
        line(
            "  server",
            of(|(server, _)| server.rate()),
            "GB/s",
            Goal::None,
        );
        line(
            "  the same octets, prepared",
            of(|(_, limit)| limit.rate()),
            "GB/s",
            Goal::None,
        );
    }
    engine.shutdown();
    Ok(())
}

/// UDP against an echo.
fn datagrams(reader: &Reader, scale: &Scale) -> Result<()> {
    let engine = engine(reader, scale)?;
    let echo = Limit::start(
        &config(scale),
        &Listeners {
            dhcp4_udp: vec!["127.0.0.1:0".parse()?],
            ..Listeners::default()
        },
        &[0],
    )?;
    let step = |count: u32| {
        (0..UDP_REQUESTS.min(count)).map(move |n| u64::from(n) * 7_919 % u64::from(count))
    };
    let v4: Vec<Vec<u8>> = step(scale.v4)
        .map(|n| fixture::udp4(fixture::address4(n as u32)))
        .collect();
    let v6: Vec<Vec<u8>> = step(scale.v6)
        .map(|n| fixture::udp6(fixture::address6(n as u32)))
        .collect();
    let addresses = engine.addresses();
    let loads = [
        ("v4", Family::V4, addresses.dhcp4_udp[0], &v4),
        ("v6", Family::V6, addresses.dhcp6_udp[0], &v6),
    ];
    for (name, family, address, requests) in loads {
        let measured = |server| -> Result<(f64, f64, u64)> {
            let before = usage::data_threads_ns()?;
            let answers = datagram::load(server, requests, scale.udp, READER_CPU)?;
            let spent = usage::data_threads_ns()? - before;
            Ok((
                answers.rate(),
                answers.answered as f64 / spent as f64 * 1e9,
                answers.lost,
            ))
        };
        let pairs = runs(scale.runs, || {
            Ok((measured(address)?, measured(echo.addresses().dhcp4_udp[0])?))
        })?;
        let title = format!("UDP {name}");
        line(
            &title,
            median(
                pairs
                    .iter()
                    .map(|(server, echo)| server.0 / echo.0)
                    .collect(),
            ),
            "of the echo",
            Goal::AtLeast(0.8),
        );
        line(
            "  by CPU time of the data thread",
            median(
                pairs
                    .iter()
                    .map(|(server, echo)| server.1 / echo.1)
                    .collect(),
            ),
            "",
            Goal::None,
        );
        line(
            "  answers",
            median(pairs.iter().map(|(server, _)| server.0).collect()),
            "1/s",
            Goal::None,
        );
        line(
            "  queries without an answer",
            pairs.iter().map(|(server, _)| server.2 as f64).sum(),
            "",
            Goal::None,
        );
        line(
            "  echoes",
            median(pairs.iter().map(|(_, echo)| echo.0).collect()),
            "1/s",
            Goal::None,
        );
        let mut bench = Bench::new(reader.clone(), family)?;
        let (allocated, answered) = allocations(|| bench.answer(requests));
        ensure!(
            answered == requests.len(),
            "{answered} of {} queries were answered",
            requests.len()
        );
        line(
            "  allocations an answer",
            allocated as f64 / answered as f64,
            "",
            Goal::AtMost(0.0),
        );
    }
    Ok(())
}

/// Memory of idle connections.
fn idle(reader: &Reader, scale: &Scale) -> Result<()> {
    let engine = engine(reader, scale)?;
    let address = engine.addresses().dhcp4_tcp[0];
    let request = fixture::by_relay4(0);
    // One of them first, so that what the first one needs is not counted for all.
    let mut held = vec![stream::recovered(address, &request, fixture::is_last4)?];
    let before = usage::resident_octets()?;
    for _ in 0..IDLE {
        held.push(stream::recovered(address, &request, fixture::is_last4)?);
    }
    let each = (usage::resident_octets()? - before) as f64 / IDLE as f64;
    line(
        &format!("memory of an idle connection, {IDLE} of them"),
        each,
        "octets",
        Goal::AtMost(8_192.0),
    );
    drop(held);
    engine.shutdown();
    Ok(())
}
