//! The load generator's part of the figures: a reboot storm, and as many connections as a machine has. `scripts/bench` runs
//! it.
//!
//! `storm [--relays N] [--bindings-per-relay N] [--connections N]`. The generator and the server are the programs built
//! beside this one; both share the machine's CPUs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use leaseq_bench::report::{Goal, line};
use leaseq_loadgen::measure::Count;
use leaseq_loadgen::result::{Point, RunResult};

struct Scale {
    relays: u32,
    bindings_per_relay: u32,
    connections: u32,
}

fn main() -> Result<()> {
    let scale = scale()?;
    let dir = tempfile::tempdir()?;
    storm(dir.path(), &scale)?;
    connections(dir.path(), &scale)
}

fn scale() -> Result<Scale> {
    let mut scale = Scale {
        relays: 5_000,
        bindings_per_relay: 200,
        connections: 15_000,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a number"))?
            .parse()?;
        match name.as_str() {
            "--relays" => scale.relays = value,
            "--bindings-per-relay" => scale.bindings_per_relay = value,
            "--connections" => scale.connections = value,
            _ => bail!(
                "unknown argument {name}: there are --relays, --bindings-per-relay and --connections"
            ),
        }
    }
    Ok(scale)
}

/// All relays reconnect at once.
fn storm(dir: &Path, scale: &Scale) -> Result<()> {
    let relays = scale.relays.to_string();
    let bindings = scale.bindings_per_relay.to_string();
    let point = run(
        dir,
        "storm",
        &[
            "--relays",
            &relays,
            "--bindings-per-relay",
            &bindings,
            // The ratio is printed beside its goal, whatever it is; the scenario would end without a figure.
            "--set",
            "require.slowest-to-median=1000000",
        ],
    )?;
    let total = point.total();
    println!(
        "# {relays} relays with {bindings} bindings each reconnect at once, {} cores",
        std::thread::available_parallelism()?
    );
    line(
        "reboot storm, relays that recovered, validated",
        total.counted(Count::Recoveries) as f64,
        "",
        Goal::AtLeast(f64::from(scale.relays)),
    );
    line(
        "  slowest to median",
        total.recovery.max() / total.recovery.quantile(0.5),
        "",
        Goal::AtMost(3.0),
    );
    line(
        "  the last one after",
        total.recovery.max(),
        "s",
        Goal::None,
    );
    if let Some(server) = &point.server {
        let millions = total.counted(Count::Bindings) as f64 / 1e6;
        line(
            "  server's CPU for a million bindings",
            server.cpu_seconds / millions,
            "s",
            Goal::None,
        );
    }
    line(
        "  generator's busiest thread, share of its CPU",
        point.bottleneck.busiest_thread,
        "",
        Goal::None,
    );
    Ok(())
}

/// As many streams as said are open and hear changes.
fn connections(dir: &Path, scale: &Scale) -> Result<()> {
    let file = dir.join("connections.toml");
    std::fs::write(
        &file,
        format!(
            r#"about = "Many streams at once"
duration = "10s"
[data]
relays = {}
bindings-per-relay = 1
[changes]
per-second = 500
[[group]]
name = "following"
family = 4
behaviour = "follow"
by = "relay-id"
"#,
            scale.connections
        ),
    )?;
    let point = run(dir, &file.display().to_string(), &[])?;
    line(
        "concurrent connections, all of them streams, validated",
        point.total().counted(Count::Connections) as f64,
        "",
        Goal::AtLeast(f64::from(scale.connections)),
    );
    Ok(())
}

/// Runs a scenario; its one point, which must be right.
fn run(dir: &Path, scenario: &str, arguments: &[&str]) -> Result<Point> {
    let result = dir.join("result.json");
    let own = std::env::current_exe()?;
    let generator = own.with_file_name("leaseq-loadgen");
    let status = Command::new(&generator)
        .args(["run", scenario])
        .args(arguments)
        .arg("--json")
        .arg(&result)
        .stdout(std::process::Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", generator.display()))?;
    ensure!(status.success(), "{scenario} ended with {status}");
    let result: RunResult = serde_json::from_slice(&std::fs::read(&result)?)?;
    let [point] = <[Point; 1]>::try_from(result.points)
        .map_err(|points| anyhow::anyhow!("{} points of {scenario}", points.len()))?;
    Ok(point)
}
