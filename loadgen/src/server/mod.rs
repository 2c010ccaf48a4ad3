//! A leaseq of our own: found, configured for the scenario, filled, started, watched, and ended with us.
//!
//! It listens on loopback only, on ports of its own choice, and lives in a directory that goes when it goes; only a store that
//! the scenario names stays.

mod binary;
mod certificates;
mod configuration;
mod data_dir;
mod fill;
mod ports;
mod progress;
mod ready;
mod start;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;
use thiserror::Error;

use crate::data::{DataError, Source};
use crate::program::{END_PATIENCE, Program};
use crate::scenario::{FamilyNumber, Scenario, TlsFiles};
pub use binary::VARIABLE;
pub use certificates::CertificateError;
pub use data_dir::DataDirError;
use data_dir::{DataDir, Holds};
pub use progress::on_terminal;
use ready::Ready;
use start::Start;

/// Valid lifetime of made-up leases beside the scenario's duration: nothing runs out during a run.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// A store that is used again must not run out until so long after the scenario's duration.
const SPARE_LIFETIME: Duration = Duration::from_secs(3_600);

/// Why there is no server of our own.
#[derive(Debug, Error)]
pub enum OwnError {
    /// No program.
    #[error("expected the program {0}, found none")]
    NoBinary(String),
    /// Another program.
    #[error("expected {0} to be leaseq, but it does not say so with --version")]
    NotLeaseq(PathBuf),
    /// A program does not start.
    #[error("{0} cannot be started: {1}")]
    Start(PathBuf, io::Error),
    /// The system does not tell how a program goes.
    #[error("a program that was started cannot be watched: {0}")]
    Watch(io::Error),
    /// The directory of the run.
    #[error("{0}: {1}")]
    Directory(PathBuf, io::Error),
    /// The directory of the store.
    #[error("server.data-dir: {0}")]
    DataDir(#[from] DataDirError),
    /// Bindings cannot be made up.
    #[error("data: {0}")]
    Data(#[from] DataError),
    /// The scenario names the store twice.
    #[error("server.config.store.dir: the store is named by server.data-dir")]
    StoreDir,
    /// Relays without TLS that follow, and relays with TLS.
    #[error(
        "leaseq serves active leasequery with TLS or without it, and without it no TLS at all: give tls = true to all groups \
         that follow, or to no group"
    )]
    ActiveBothWays,
    /// Certificates cannot be made.
    #[error("certificates cannot be made: {0}")]
    Certificates(#[from] CertificateError),
    /// No ports.
    #[error("no ports for the server: {0}")]
    Ports(io::Error),
    /// `leaseq import` failed.
    #[error("the store cannot be filled, leaseq import ended with {status}: {words}")]
    Fill {
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        words: String,
    },
    /// `leaseq serve` ended before it was ready, or by itself.
    #[error("leaseq serve ended with {status}: {words}")]
    Ended {
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        words: String,
    },
    /// It is not ready in time.
    #[error("leaseq serve was not ready after {0:?}")]
    NotReady(Duration),
    /// It is ready, but not what was asked for.
    #[error("leaseq serve: expected {expected}, found {found}")]
    Unfit {
        /// What should be.
        expected: String,
        /// What is.
        found: String,
    },
    /// The caller gave it up.
    #[error("the start of the server was given up")]
    GivenUp,
    /// It had to be killed.
    #[error("leaseq serve did not end within {END_PATIENCE:?} after SIGTERM, and was killed")]
    Killed,
}

/// How far a start is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bindings were handed to the store.
    Filling {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// The server starts with its store.
    Starting,
    /// It serves.
    Ready,
}

/// A running leaseq. Dropped, it is ended, and its directory removed.
#[derive(Debug)]
pub struct Own {
    // Ended before its directory is removed.
    program: Program,
    ready: Ready,
    version: String,
    fill_time: Option<Duration>,
    start_time: Duration,
    sources: BTreeMap<FamilyNumber, Source>,
    tls: Option<TlsFiles>,
    _dir: TempDir,
}

impl Own {
    /// Fills a store with the scenario's bindings of these families, unless `server.data-dir` holds them already, and starts a
    /// server with it. Everything else it needs is made in a new directory within `dir`. `watch` is told each step, at least
    /// ten times a second; false gives the start up.
    ///
    /// # Errors
    /// If a program cannot be found or fails, if the store's directory is not ours to use, or if the start is given up. Nothing is
    /// left behind then.
    pub fn start(
        scenario: &Scenario,
        families: &[FamilyNumber],
        dir: &Path,
        watch: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Self, OwnError> {
        let binary = binary::find(scenario.server.binary.as_deref())?;
        let version = binary::version(&binary)?;
        let directory = |error| OwnError::Directory(dir.to_owned(), error);
        let own_dir = tempfile::Builder::new()
            .prefix("leaseq-")
            .tempdir_in(dir)
            .map_err(directory)?;
        let data_dir = match &scenario.server.data_dir {
            Some(path) => DataDir::kept(path.clone()),
            None => DataDir::temporary(own_dir.path().join("store")),
        };
        let started = Instant::now();
        let (sources, is_filled) = fill(&binary, &data_dir, scenario, families, watch)?;
        let fill_time = is_filled.then(|| started.elapsed());
        if scenario.changes.is_some() {
            data_dir.will_change()?;
        }
        let tls = match configuration::uses_tls(scenario) {
            true => Some(certificates::make(own_dir.path())?),
            false => None,
        };
        let start = Start {
            binary: &binary,
            dir: own_dir.path(),
            store: data_dir.path(),
            scenario,
            families,
            sources: &sources,
        };
        let (program, ready, start_time) = start.serve(watch)?;
        watch(Step::Ready);
        Ok(Self {
            program,
            ready,
            version,
            fill_time,
            start_time,
            sources,
            tls,
            _dir: own_dir,
        })
    }

    /// Its address for DHCPv4, TCP and UDP, if it serves it.
    #[must_use]
    pub fn server4(&self) -> Option<SocketAddr> {
        self.ready.tcp4.or(self.ready.udp4)
    }

    /// Its address for DHCPv6, TCP and UDP, if it serves it.
    #[must_use]
    pub fn server6(&self) -> Option<SocketAddr> {
        self.ready.tcp6.or(self.ready.udp6)
    }

    /// Its feed's socket.
    #[must_use]
    pub fn feed(&self) -> Option<&Path> {
        self.ready.feed.as_deref()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// What it says of itself: `leaseq 0.1.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// How long it took to fill the store; `None`: it was filled already.
    #[must_use]
    pub fn fill_time(&self) -> Option<Duration> {
        self.fill_time
    }

    /// How long the server took, from its start with a filled store until it was ready.
    #[must_use]
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// What it holds.
    #[must_use]
    pub fn sources(&self) -> &BTreeMap<FamilyNumber, Source> {
        &self.sources
    }

    /// What relays need for TLS, if a group uses it.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// If it has ended, with its last words.
    pub fn look(&mut self) -> Result<(), OwnError> {
        match self.program.wait(Duration::ZERO) {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(OwnError::Ended {
                status: status.to_string(),
                words: self.program.last_words(),
            }),
            Err(error) => Err(OwnError::Watch(error)),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it has ended before, fails to end cleanly, or has to be killed.
    pub fn stop(mut self) -> Result<(), OwnError> {
        self.look()?;
        match self.program.end(END_PATIENCE) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(OwnError::Ended {
                status: status.to_string(),
                words: self.program.last_words(),
            }),
            Ok(None) => Err(OwnError::Killed),
            Err(error) => Err(OwnError::Watch(error)),
        }
    }
}

/// Sees to it that the store holds the scenario's bindings. What it holds, and whether it had to be filled.
fn fill(
    binary: &Path,
    data_dir: &DataDir,
    scenario: &Scenario,
    families: &[FamilyNumber],
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<(BTreeMap<FamilyNumber, Source>, bool), OwnError> {
    let duration = scenario.duration.get();
    let wanted = made_up(scenario, families, unix_seconds(), duration + LIFETIME);
    let until = seconds(duration + SPARE_LIFETIME).saturating_add(unix_seconds());
    let is_fit = |found: &BTreeMap<FamilyNumber, Source>| {
        found.len() == wanted.len()
            && found
                .iter()
                .zip(&wanted)
                .all(|(found, wanted)| found.0 == wanted.0 && is_as(found.1, wanted.1, until))
    };
    if let Holds::Bindings(sources) = data_dir.look(is_fit)? {
        return Ok((sources, false));
    }
    let filled = fill::fill(binary, data_dir.path(), &wanted, watch)
        .and_then(|()| Ok(data_dir.filled(&wanted)?));
    if let Err(error) = filled {
        // It was empty before, so what is there now is ours. Why the filling failed is what counts.
        let _ = data_dir.clear();
        return Err(error);
    }
    Ok((wanted, true))
}

fn made_up(
    scenario: &Scenario,
    families: &[FamilyNumber],
    cltt: u32,
    lifetime: Duration,
) -> BTreeMap<FamilyNumber, Source> {
    let source = Source::MadeUp {
        relays: scenario.data.relays,
        bindings_per_relay: scenario.data.bindings_per_relay,
        cltt,
        valid: seconds(lifetime),
    };
    let families = families.iter();
    families.map(|family| (*family, source.clone())).collect()
}

/// A store holds what is wanted, and its leases do not run out before `until`.
fn is_as(found: &Source, wanted: &Source, until: u32) -> bool {
    match (found, wanted) {
        (
            Source::MadeUp {
                relays,
                bindings_per_relay,
                cltt,
                valid,
            },
            Source::MadeUp {
                relays: wanted_relays,
                bindings_per_relay: wanted_bindings,
                ..
            },
        ) => {
            (relays, bindings_per_relay) == (wanted_relays, wanted_bindings)
                && cltt.saturating_add(*valid) >= until
        }
        _ => false,
    }
}

fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, seconds)
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
