//! Runs a scenario from beginning to end: its server, its data, its relays, its changes; once, or once for each combination of
//! a sweep.
//!
//! The coordinator is an ordinary thread. Relays are at work in threads or processes of their own ([`crate::work`]) and hear
//! from it over the [board](crate::work::board) only.

mod bottleneck;
mod interrupt;
mod load;
mod probing;
mod require;
mod samples;
mod site;

use std::io;
use std::time::Instant;

use jiff::Timestamp;

use crate::data::DataError;
use crate::environment;
use crate::live::View;
use crate::result::{Environment, FORMAT, Point, RunResult};
use crate::scenario::read::Named;
use crate::scenario::{Kind, Scenario};
use crate::server::OwnError;
use crate::work::processes::WorkersError;

pub use interrupt::Interrupt;
use site::Site;

/// Why a run could not be made. What is wrong with the server is no error, but in the result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no server of our own.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// What the server holds cannot be known.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Relays cannot be at work.
    #[error(transparent)]
    Workers(#[from] WorkersError),
    /// TLS of the probes.
    #[error("tls: {0}")]
    Tls(String),
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Relays were told to end and did not.
    #[error("relays did not end within {0:?} after they were told to")]
    Endless(std::time::Duration),
}

/// Runs a scenario. An interrupted run has a result too: of what was measured until then.
///
/// # Errors
/// If there is nothing to run it with: no server of our own, no data, no threads.
pub fn run(named: &Named, view: &mut View, interrupt: &Interrupt) -> Result<RunResult, RunError> {
    // What it comes to is looked at by those who need many.
    let _ = environment::raise_open_files();
    let scenario = &named.scenario;
    let started = Instant::now();
    let mut result = RunResult {
        format: FORMAT,
        name: named.name.clone(),
        started: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        seconds: 0.0,
        interrupted: false,
        environment: Environment {
            same_machine: !scenario.target.is_given() || is_here(scenario),
            ..environment::here()
        },
        scenario: scenario.clone(),
        points: Vec::new(),
    };
    let dir = tempfile::Builder::new()
        .prefix("leaseq-loadgen-")
        .tempdir()
        .map_err(|source| RunError::System {
            what: "a directory for the run",
            source,
        })?;
    let points = scenario.points();
    let mut site: Option<Site> = None;
    for (number, point) in points.iter().enumerate() {
        if interrupt.is_asked() {
            break;
        }
        if points.len() > 1 {
            view.point(number, points.len(), point);
        }
        let reused = site.take().filter(|site| site.suits(point));
        let ran = match reused.map_or_else(|| open(point, dir.path(), view, interrupt), Ok) {
            Ok(mut opened) => {
                if let Some(own) = &opened.own {
                    result.environment.server = Some(own.version().to_owned());
                }
                let ran = one(point, &mut opened, dir.path(), number, view, interrupt);
                site = Some(opened);
                ran
            }
            Err(RunError::Own(OwnError::GivenUp)) => break,
            Err(error) => Err(error),
        };
        match ran {
            Ok(point) => result.points.push(point),
            // What was measured before is not lost.
            Err(error) if !result.points.is_empty() => {
                view.note(&format!("run {} of {}: {error}", number + 1, points.len()));
                result.interrupted = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(own) = site.and_then(|site| site.own)
        && let Err(error) = own.stop()
        && let Some(point) = result.points.last_mut()
    {
        point.findings.push(load::ended_cleanly(&error));
    }
    result.interrupted |= interrupt.is_asked();
    result.seconds = started.elapsed().as_secs_f64();
    Ok(result)
}

/// The server that is given is on this machine, as far as its address or process tells.
fn is_here(scenario: &Scenario) -> bool {
    let target = &scenario.target;
    let addresses = [target.server4, target.server6];
    let mut addresses = addresses.iter().flatten();
    target.pid.is_some() || addresses.all(|address| address.ip().is_loopback())
}

fn open(
    scenario: &Scenario,
    dir: &std::path::Path,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<Site, RunError> {
    view.opening(scenario);
    let mut watch = crate::server::on_terminal(interrupt.flag());
    Site::open(scenario, dir, &mut watch)
}

fn one(
    scenario: &Scenario,
    site: &mut Site,
    dir: &std::path::Path,
    number: usize,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<Point, RunError> {
    let mut point = match scenario.kind {
        Kind::Load => load::run(scenario, site, dir, number, view, interrupt)?,
        Kind::Limits | Kind::Timeouts => probing::run(scenario, site, view, interrupt)?,
    };
    point.server_start = site.own.as_ref().map(|own| own.start_time().as_secs_f64());
    if site.sources.is_empty() && scenario.kind == Kind::Load {
        point.findings.push(load::only_form());
    }
    Ok(point)
}
