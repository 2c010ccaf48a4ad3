//! The relays of one process: a thread a core, each with a runtime of its own.

mod prepare;
mod ticker;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use core_affinity::CoreId;

use crate::measure::Measures;
use crate::measure::clock::instant;
use crate::work::plan::{Outcome, Plan, Progress};
use prepare::Shared;
pub use prepare::{Inventories, WorkError, schedule};

/// A process' relays, ready to begin.
pub struct Prepared {
    shared: Arc<Shared>,
    threads: u32,
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

impl Prepared {
    /// Loads what a plan needs, but for the inventories that the caller has already.
    ///
    /// # Errors
    /// If something is not there or cannot be used.
    pub fn new(plan: &Plan, loaded: &Inventories) -> Result<Self, WorkError> {
        let shared = Shared::new(plan, loaded)?;
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32);
        Ok(Self {
            shared: Arc::new(shared),
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
        let begin = self.shared.board.wait_for_begin();
        let begin = match begin.map_err(|source| WorkError::System {
            what: "wait for the run to begin",
            source,
        })? {
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

/// How much later than its threads the progress of an interval is told: by then all have told theirs.
const GATHERING: Duration = Duration::from_millis(50);

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
    let gathering = GATHERING.min(interval / 4);
    let mut due = begin + interval + gathering;
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
                at: match is_finished {
                    true => begin.elapsed(),
                    false => due - gathering - begin,
                }
                .as_secs_f64(),
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
