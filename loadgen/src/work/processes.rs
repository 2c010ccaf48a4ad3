//! The workers of a run: relays in a thread of this process, or spread over several processes.
//!
//! Another process is this same program in its role of a [worker](work): it is told its plan on standard input and tells what
//! becomes of it on standard output, a line of JSON each time. It lives no longer than its standard input.

mod merging;
mod worker;

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::{Outcome, Plan, Progress};
use super::threads::{Inventories, Prepared, WorkError};
use crate::environment;
use crate::program::{END_PATIENCE, Program};
use crate::scenario::Scenario;
use merging::Merging;
pub use worker::work;

/// What a program has to be called with to be a worker.
pub const ROLE: &str = "worker";
/// Sockets of a process, if the system allows as many.
const SOCKETS: u64 = 15_000;
/// Open files of a process beside the sockets of its relays.
const OTHER_FILES: u64 = 1_000;
/// Messages of workers that wait to be looked at; then the workers wait.
const WAITING: usize = 1_024;
/// How long workers may take to end, when everything was told to.
const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// Why relays are not at work.
#[derive(Debug, Error)]
pub enum WorkersError {
    /// In this process.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// A process or thread cannot be started, or talked to.
    #[error("a worker cannot be started: {0}")]
    Start(io::Error),
    /// A process ended without telling what came of its relays.
    #[error("worker process {process} ended with {status}: {words}")]
    Ended {
        /// Its number.
        process: u32,
        /// How it ended.
        status: String,
        /// The last lines of its standard error.
        words: String,
    },
    /// A process told something else than it should.
    #[error("worker process {process} told what is no message of a worker: {problem}")]
    Message {
        /// Its number.
        process: u32,
        /// What is wrong.
        problem: String,
    },
    /// Our thread.
    #[error("the thread of the relays panicked")]
    Panicked,
    /// They do not end.
    #[error("workers did not end within {0:?}")]
    Stuck(Duration),
    /// A worker's standard input holds no plan.
    #[error(
        "expected a plan on standard input, which the program gives to workers that it starts itself: {0}"
    )]
    Plan(String),
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Told {
    /// Everything is loaded: its relays wait for their begin.
    Ready,
    /// Once an interval.
    Progress(Box<Progress>),
    /// Its relays have ended.
    Outcome(Box<Outcome>),
}

/// What comes from a worker.
type Message = Result<Told, Failure>;

#[derive(Debug)]
enum Failure {
    /// It has ended, or closed its output.
    Gone,
    /// Of our own thread.
    Work(WorkError),
    /// Something else came.
    Message(String),
}

/// How many processes a scenario is run by: as many as it says, or as its sockets ask for.
#[must_use]
pub fn how_many(scenario: &Scenario) -> u32 {
    if let Some(processes) = scenario.processes {
        return processes.max(1);
    }
    let room = environment::raise_open_files().saturating_sub(OTHER_FILES);
    let groups = scenario.group.iter();
    let sockets: u64 = groups
        .map(|group| group.at_once.of(group.relays.of(scenario.data.relays)))
        .map(u64::from)
        .sum();
    let processes = sockets.div_ceil(room.clamp(1, SOCKETS)).max(1);
    u32::try_from(processes).unwrap_or(u32::MAX)
}

/// Relays at work. Dropped, other processes are ended.
#[derive(Debug)]
pub struct Workers {
    processes: Vec<Process>,
    thread: Option<JoinHandle<()>>,
    messages: Receiver<(usize, Message)>,
    merging: Merging,
}

#[derive(Debug)]
struct Process {
    /// Held open: the process ends with it.
    _input: Option<ChildStdin>,
    program: Program,
}

impl Workers {
    /// Starts them: one is a thread of this process, several are processes. What is `loaded` already need not be loaded again
    /// by a thread.
    ///
    /// # Errors
    /// If they cannot be started. That they cannot work is told by [`ready`](Self::ready).
    pub fn start(plan: &Plan, processes: u32, loaded: Inventories) -> Result<Self, WorkersError> {
        if processes <= 1 {
            return Self::start_thread(plan, loaded);
        }
        // As it was when we started, whatever has become of its file meanwhile.
        let own = PathBuf::from("/proc/self/exe");
        Self::start_processes(plan, processes, &own)
    }

    fn start_thread(plan: &Plan, loaded: Inventories) -> Result<Self, WorkersError> {
        let (messages, inbox) = sync_channel(WAITING);
        let plan = Plan {
            process: 0,
            processes: 1,
            ..plan.clone()
        };
        let thread = thread::Builder::new().name("relays".into());
        let thread = thread
            .spawn(move || {
                // Whoever listened may be gone; then there is nobody to work for.
                let _ = run_here(&plan, &loaded, &messages);
            })
            .map_err(WorkersError::Start)?;
        Ok(Self {
            processes: Vec::new(),
            thread: Some(thread),
            messages: inbox,
            merging: Merging::new(1),
        })
    }

    /// Starts processes of a program that takes [`ROLE`] as its first argument.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_processes(
        plan: &Plan,
        processes: u32,
        program: &Path,
    ) -> Result<Self, WorkersError> {
        let (messages, inbox) = sync_channel(WAITING);
        let mut workers = Self {
            processes: Vec::with_capacity(processes as usize),
            thread: None,
            messages: inbox,
            merging: Merging::new(processes as usize),
        };
        for process in 0..processes {
            let plan = Plan {
                process,
                processes,
                ..plan.clone()
            };
            let started = Process::start(program, &plan, messages.clone());
            workers
                .processes
                .push(started.map_err(WorkersError::Start)?);
        }
        Ok(workers)
    }

    /// Whether all of them have loaded what they need, and wait for their begin. Does not wait.
    ///
    /// # Errors
    /// If one of them has failed.
    pub fn ready(&mut self) -> Result<bool, WorkersError> {
        self.take_waiting()?;
        Ok(self.merging.is_ready())
    }

    /// What they have told since the last time, of all of them together: one for each interval. Does not wait.
    ///
    /// # Errors
    /// If one of them has failed.
    pub fn poll(&mut self) -> Result<Vec<Progress>, WorkersError> {
        self.take_waiting()?;
        Ok(self.merging.progress())
    }

    /// The numbers of the processes beside our own.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let processes = self.processes.iter();
        processes.map(|process| process.program.pid()).collect()
    }

    /// Waits until they have ended; what came of all relays together.
    ///
    /// # Errors
    /// If one of them has failed, or does not end.
    pub fn join(mut self) -> Result<Outcome, WorkersError> {
        let until = Instant::now() + JOIN_PATIENCE;
        loop {
            if let Some(outcome) = self.merging.take_outcome() {
                if let Some(thread) = self.thread.take() {
                    thread.join().map_err(|_| WorkersError::Panicked)?;
                }
                return Ok(outcome);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok((process, message)) => self.take(process, message)?,
                Err(RecvTimeoutError::Timeout) => return Err(WorkersError::Stuck(JOIN_PATIENCE)),
                Err(RecvTimeoutError::Disconnected) => return Err(WorkersError::Panicked),
            }
        }
    }

    fn take_waiting(&mut self) -> Result<(), WorkersError> {
        loop {
            match self.messages.try_recv() {
                Ok((process, message)) => self.take(process, message)?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) if self.merging.is_over() => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(WorkersError::Panicked),
            }
        }
    }

    fn take(&mut self, process: usize, message: Message) -> Result<(), WorkersError> {
        let number = u32::try_from(process).unwrap_or(u32::MAX);
        match message {
            Ok(told) => self.merging.take(process, told),
            // It has told everything.
            Err(Failure::Gone) if self.merging.has_ended(process) => {}
            Err(Failure::Gone) => {
                let Some(process) = self.processes.get_mut(process) else {
                    return Err(WorkersError::Panicked);
                };
                let status = process
                    .program
                    .end(END_PATIENCE)
                    .map_err(WorkersError::Start)?;
                return Err(WorkersError::Ended {
                    process: number,
                    status: status
                        .map_or_else(|| "SIGKILL".to_owned(), |status| status.to_string()),
                    words: process.program.last_words(),
                });
            }
            Err(Failure::Work(error)) => return Err(error.into()),
            Err(Failure::Message(problem)) => {
                return Err(WorkersError::Message {
                    process: number,
                    problem,
                });
            }
        }
        Ok(())
    }
}

impl Process {
    fn start(
        program: &Path,
        plan: &Plan,
        messages: SyncSender<(usize, Message)>,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(ROLE);
        let mut program = Program::start(&mut command)?;
        let number = plan.process as usize;
        if let Some(output) = program.take_output() {
            let listening = thread::Builder::new().name(format!("worker-{number}"));
            listening.spawn(move || {
                // Whoever listened may be gone.
                let _ = listen(number, output, &messages);
            })?;
        }
        let mut input = program.take_input();
        if let Some(input) = &mut input {
            let mut line = serde_json::to_vec(plan)?;
            line.push(b'\n');
            match input.write_all(&line) {
                // It has ended already: its output tells so, and its last words why.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                written => written?,
            }
        }
        Ok(Self {
            _input: input,
            program,
        })
    }
}

type Unheard = std::sync::mpsc::SendError<(usize, Message)>;

/// Hands on what a process tells, until it ends.
fn listen(
    number: usize,
    output: ChildStdout,
    messages: &SyncSender<(usize, Message)>,
) -> Result<(), Unheard> {
    for line in BufReader::new(output).lines() {
        let message = match line {
            Ok(line) => serde_json::from_str(&line).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let is_wrong = message.is_err();
        messages.send((number, message.map_err(Failure::Message)))?;
        if is_wrong {
            return Ok(());
        }
    }
    messages.send((number, Err(Failure::Gone)))
}

fn run_here(
    plan: &Plan,
    loaded: &Inventories,
    messages: &SyncSender<(usize, Message)>,
) -> Result<(), Unheard> {
    let prepared = match Prepared::new(plan, loaded) {
        Ok(prepared) => prepared,
        Err(error) => return messages.send((0, Err(Failure::Work(error)))),
    };
    messages.send((0, Ok(Told::Ready)))?;
    let ran = prepared.run(&mut |progress| {
        // Whoever listened may be gone; the relays end when the board says so.
        let _ = messages.send((0, Ok(Told::Progress(Box::new(progress)))));
    });
    messages.send((
        0,
        match ran {
            Ok(outcome) => Ok(Told::Outcome(Box::new(outcome))),
            Err(error) => Err(Failure::Work(error)),
        },
    ))
}
