//! Thousands of narrowed active streams that ask for everything at once: CPU time for each binding told, without sockets.
//!
//! `catchup [--streams N]... [--runs N]`. Each stream follows one relay of a thousand bindings, and the log holds nothing else. What
//! it costs may depend neither on the length of the log nor on how its records lie, nor on those that take little.

use anyhow::{Context, Result, bail, ensure};
use leaseq_bench::catch_up::{self, Taking};
use leaseq_bench::fixture::{self, Order, PER_RELAY};
use leaseq_bench::report::{Goal, line, median};

fn main() -> Result<()> {
    let (mut streams, mut runs) = (Vec::new(), 3);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--streams" => streams.push(value.parse()?),
            "--runs" => runs = value.parse()?,
            _ => bail!("unknown argument {argument}: there are --streams and --runs"),
        }
    }
    ensure!(runs > 0, "--runs must not be 0");
    if streams.is_empty() {
        streams = vec![200, 2_000];
    }
    for streams in streams {
        for order in [Order::Log, Order::Random] {
            measure(streams, order, runs)?;
        }
    }
    Ok(())
}

fn measure(streams: u32, order: Order, runs: usize) -> Result<()> {
    let records = streams
        .checked_mul(PER_RELAY)
        .context("--streams is too many")?;
    let dir = tempfile::tempdir()?;
    let store = fixture::store(dir.path(), records, 0, order)?;
    let lie = match order {
        Order::Log => "relay by relay",
        Order::Random => "mixed",
    };
    println!("{streams} streams, {records} records, {lie}");
    for (taking, name) in [
        (Taking::Quickly, "all take quickly"),
        (Taking::WithTheDeaf, "a tenth takes nothing"),
        (Taking::Slowly, "all take slowly"),
    ] {
        let results = (0..runs)
            .map(|_| catch_up::run(&store.reader(), streams, taking))
            .collect::<Result<Vec<_>>>()?;
        let figure = |of: fn(&catch_up::CaughtUp) -> f64| median(results.iter().map(of).collect());
        line(
            &format!("  {name}, CPU a binding"),
            figure(|run| run.seconds * 1e9 / run.bindings as f64),
            "ns",
            Goal::None,
        );
        line(
            &format!("  {name}, bindings a write"),
            figure(|run| run.bindings as f64 / run.writes as f64),
            "",
            Goal::None,
        );
    }
    store.stop()?;
    Ok(())
}
