//! The relays of one process: a thread a core, each with a runtime of its own.

mod ticker;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use leaseq_requestor::Family;
use leaseq_requestor::tls::{TlsClient, TlsConfigError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use crate::changes::schedule::Schedule;
use crate::data::{DataError, Inventory, Source};
use crate::measure::Measures;
use crate::measure::clock::instant;
use crate::net::source::SourceNetwork;
use crate::scenario::{FamilyNumber, Scenario};
use crate::work::board::{Board, Phase};
use crate::work::plan::{Outcome, Plan, Progress};

/// How often a process looks whether its relays are to begin.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Why relays cannot be run.
#[derive(Debug, Error)]
pub enum WorkError {
    /// The board of the run.
    #[error("cannot open the run's board {path}")]
    Board {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What the server holds.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A group's family has no server.
    #[error("group {group}: there is no server for DHCP{family}")]
    NoServer {
        /// Name of the group.
        group: String,
        /// `v4` or `v6`.
        family: &'static str,
    },
    /// A group uses TLS and there is nothing to show.
    #[error("group {0}: TLS needs an authority, a certificate and a key")]
    NoTls(String),
    /// A group's source network.
    #[error("group {group}: source: {problem}")]
    Source {
        /// Name of the group.
        group: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of TLS.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    /// A thread or its ring.
    #[error("cannot {what}")]
    System {
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A relay's task panicked.
    #[error("a thread of relays failed: {0}")]
    Failed(String),
}

/// What relays of a family ask about and are told.
#[derive(Clone)]
pub(crate) struct Side {
    pub(crate) inventory: Arc<Inventory>,
    /// The server holds this.
    pub(crate) is_known: bool,
    pub(crate) schedule: Option<Arc<Schedule>>,
}

/// Inventories that are loaded already, by family.
pub type Inventories = BTreeMap<FamilyNumber, Arc<Inventory>>;

/// A process' relays, ready to begin.
pub struct Prepared {
    shared: Arc<Shared>,
    threads: u32,
}

/// What all threads of a process use.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) board: Arc<Board>,
    pub(crate) sides: BTreeMap<FamilyNumber, Side>,
    pub(crate) tls: Option<TlsClient>,
    pub(crate) groups: Vec<GroupPlan>,
}

/// A group as all threads of all processes agree on it.
pub(crate) struct GroupPlan {
    pub(crate) server: SocketAddr,
    pub(crate) source: Option<SourceNetwork>,
    pub(crate) relays: u32,
    pub(crate) at_once: u32,
    /// Places of the groups before.
    pub(crate) before: u32,
}

/// What a thread tells.
pub(crate) enum Message {
    /// Once an interval.
    Interval {
        thread: usize,
        progress: Box<Progress>,
    },
    /// Its relays have ended.
    Ended(Box<Outcome>),
}

/// Runs a plan's relays: loads what the server holds, waits until the board says that they begin, and returns when all have
/// ended. `on_progress` is called once an interval, and at the end.
///
/// # Errors
/// If they cannot be run at all. What is wrong with the server is in the outcome.
pub fn run(plan: &Plan, on_progress: &mut dyn FnMut(Progress)) -> Result<Outcome, WorkError> {
    Prepared::new(plan, &Inventories::new())?.run(on_progress)
}

/// Which bindings of a family change, if any do. Everybody in a run comes to the same ones.
#[must_use]
pub fn schedule(scenario: &Scenario, inventory: &Inventory) -> Option<Schedule> {
    let changes = scenario.changes.as_ref()?;
    let total = inventory.len();
    let rows = changes.bindings.map_or(total, |rows| rows.min(total));
    Some(Schedule::new(
        rows,
        total,
        changes.release_percent,
        scenario.seed,
    ))
}

impl Prepared {
    /// Loads what a plan needs, but for the inventories that the caller has already.
    ///
    /// # Errors
    /// If something is not there or cannot be used.
    pub fn new(plan: &Plan, loaded: &Inventories) -> Result<Self, WorkError> {
        raise_open_files()?;
        let board = Board::open(&plan.board).map_err(|source| WorkError::Board {
            path: plan.board.clone(),
            source,
        })?;
        let mut sides = BTreeMap::new();
        let mut groups = Vec::new();
        let mut before = 0_u32;
        for group in &plan.scenario.group {
            let side = match sides.get(&group.family) {
                Some(side) => side,
                None => {
                    let side = load(plan, group.family, loaded)?;
                    sides.entry(group.family).or_insert(side)
                }
            };
            let server = match group.family {
                FamilyNumber::V4 => plan.server4,
                FamilyNumber::V6 => plan.server6,
            };
            let source = group.source.as_deref().map(str::parse).transpose();
            let relays = group.relays.of(side.inventory.relays());
            let at_once = group.at_once.of(relays);
            groups.push(GroupPlan {
                server: server.ok_or_else(|| WorkError::NoServer {
                    group: group.name.clone(),
                    family: crate::fault::family_name(group.family.into()),
                })?,
                source: source.map_err(|problem| WorkError::Source {
                    group: group.name.clone(),
                    problem,
                })?,
                relays,
                at_once,
                before,
            });
            before = before.saturating_add(at_once);
        }
        let uses_tls = plan.scenario.group.iter().find(|group| group.tls);
        let tls = match (uses_tls, &plan.tls) {
            (None, _) => None,
            (Some(group), None) => return Err(WorkError::NoTls(group.name.clone())),
            (Some(_), Some(files)) => Some(TlsClient::new(
                &read(&files.ca)?,
                &read(&files.certificate)?,
                &read(&files.key)?,
                &files.server_name,
            )?),
        };
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        Ok(Self {
            shared: Arc::new(Shared {
                plan: plan.clone(),
                board: Arc::new(board),
                sides,
                tls,
                groups,
            }),
            threads: cpus.div_ceil(plan.processes.max(1)),
        })
    }

    /// Waits until the board says that relays begin, runs them, and returns when all have ended; as [`run`].
    ///
    /// # Errors
    /// If threads or rings cannot be made.
    pub fn run(self, on_progress: &mut dyn FnMut(Progress)) -> Result<Outcome, WorkError> {
        let (messages, inbox) = channel();
        let mut threads = Vec::new();
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        for number in 0..self.threads {
            // All threads of all processes in turn, so that neither a CPU nor a process has more to do than others.
            let place = number * self.shared.plan.processes.max(1) + self.shared.plan.process;
            let cpu = cpus.get(place as usize % cpus.len().max(1)).copied();
            threads.push(self.start(number, place, cpu, messages.clone())?);
        }
        drop(messages);
        let board = &self.shared.board;
        while board.phase() < Phase::Running || board.begin_ns() == 0 {
            if board.phase() >= Phase::Settling {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let begin = match board.begin_ns() {
            0 => Instant::now(),
            ns => instant(ns),
        };
        for thread in &threads {
            // One that has failed says so when it is joined.
            let _ = thread.begin.send(begin);
        }
        let interval = self.shared.plan.interval.get();
        let mut outcome = collect(&inbox, begin, interval, threads.len(), on_progress);
        for thread in threads {
            match thread.handle.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(WorkError::Failed("it panicked".into())),
            }
        }
        outcome.seconds = begin.elapsed().as_secs_f64();
        Ok(outcome)
    }

    fn start(
        &self,
        number: u32,
        place: u32,
        cpu: Option<CoreId>,
        messages: Sender<Message>,
    ) -> Result<Thread, WorkError> {
        let (begin, begins) = channel();
        let (shared, of) = (
            self.shared.clone(),
            self.threads * self.shared.plan.processes.max(1),
        );
        let handle = std::thread::Builder::new()
            .name(format!("relays-{number}"))
            .spawn(move || {
                // Where it is not allowed, the thread runs anywhere.
                let _ = cpu.map(core_affinity::set_for_current);
                worker::run(&shared, number as usize, (place, of), &begins, &messages)
            })
            .map_err(|source| WorkError::System {
                what: "start a thread",
                source,
            })?;
        Ok(Thread { begin, handle })
    }
}

struct Thread {
    begin: Sender<Instant>,
    handle: JoinHandle<Result<(), WorkError>>,
}

/// Makes one of what the threads tell, until all have ended.
fn collect(
    inbox: &Receiver<Message>,
    begin: Instant,
    interval: Duration,
    threads: usize,
    on_progress: &mut dyn FnMut(Progress),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut latest = vec![Progress::default(); threads];
    let mut since_last = Measures::default();
    let mut due = begin + interval;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        let message = inbox.recv_timeout(wait);
        let is_finished = matches!(message, Err(RecvTimeoutError::Disconnected));
        match message {
            Ok(Message::Interval { thread, progress }) => {
                since_last.add(&progress.since_last);
                if let Some(latest) = latest.get_mut(thread) {
                    *latest = *progress;
                    latest.since_last = Measures::default();
                }
            }
            Ok(Message::Ended(ended)) => outcome.merge(*ended),
            Err(_) => {}
        }
        if is_finished || due <= Instant::now() {
            let mut progress = Progress {
                at: begin.elapsed().as_secs_f64(),
                since_last: std::mem::take(&mut since_last),
                is_finished,
                ..Progress::default()
            };
            for thread in &latest {
                progress.add_standing(thread);
            }
            on_progress(progress);
            due += interval;
        }
        if is_finished {
            return outcome;
        }
    }
}

fn load(plan: &Plan, family: FamilyNumber, loaded: &Inventories) -> Result<Side, WorkError> {
    let source = plan.sources.get(&family);
    let inventory = match (loaded.get(&family), source) {
        (Some(inventory), _) => inventory.clone(),
        (None, Some(source)) => Arc::new(Inventory::load(family.into(), source)?),
        // Nothing is known of what the server holds: relays still need names to ask by.
        (None, None) => {
            let data = &plan.scenario.data;
            let source = Source::MadeUp {
                relays: data.relays,
                bindings_per_relay: data.bindings_per_relay,
                cltt: 0,
                valid: u32::MAX,
            };
            Arc::new(Inventory::load(Family::from(family), &source)?)
        }
    };
    let schedule = schedule(&plan.scenario, &inventory);
    Ok(Side {
        inventory,
        is_known: source.is_some(),
        schedule: schedule.map(Arc::new),
    })
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, WorkError> {
    std::fs::read(path).map_err(|source| WorkError::File {
        path: path.into(),
        source,
    })
}

/// Raises the soft limit of open files to the hard one: each relay needs a socket.
fn raise_open_files() -> Result<(), WorkError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| WorkError::System {
        what: "raise the limit of open files",
        source: error.into(),
    })
}
