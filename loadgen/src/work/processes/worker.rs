//! The role of a worker.

use std::io::{self, BufRead, Read, Write};
use std::process;
use std::thread;
use std::time::Duration;

use super::{Told, WorkersError};
use crate::work::board::{Board, Phase};
use crate::work::plan::Plan;
use crate::work::threads::{Inventories, Prepared};

/// How long relays may take to end when our standard input has ended.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(5);
/// How a worker ends that nobody listens to any more.
const ORPHANED: i32 = 1;

/// What a worker process does: reads a plan from standard input, a line of JSON, and runs its relays; tells on standard output,
/// a line of JSON each time, that it is ready, how it goes, and what came of it. Its relays end when standard input does.
///
/// # Errors
/// If there is no plan, or it cannot be worked at.
pub fn work() -> Result<(), WorkersError> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| WorkersError::Plan(error.to_string()))?;
    let plan: Plan =
        serde_json::from_str(&line).map_err(|error| WorkersError::Plan(error.to_string()))?;
    let prepared = Prepared::new(&plan, &Inventories::new())?;
    end_with_input(&plan)?;
    tell(&Told::Ready);
    let outcome = prepared.run(&mut |progress| tell(&Told::Progress(Box::new(progress))))?;
    tell(&Told::Outcome(Box::new(outcome)));
    Ok(())
}

/// Whoever started us holds our input open as long as it lives.
fn end_with_input(plan: &Plan) -> Result<(), WorkersError> {
    let board = Board::open(&plan.board).map_err(WorkersError::Start)?;
    let listening = thread::Builder::new().name("input".into());
    let started = listening.spawn(move || {
        let mut rest = io::stdin().lock();
        let _ = io::copy(&mut rest.by_ref(), &mut io::sink());
        // Of a run that is over this is no news; one whose coordinator is gone is over.
        board.set_phase(Phase::Stopping);
        thread::sleep(ORPHAN_PATIENCE);
        process::exit(ORPHANED);
    });
    started.map(drop).map_err(WorkersError::Start)
}

/// If nobody listens, the end of standard input is about to end us.
fn tell(told: &Told) {
    let mut out = io::stdout().lock();
    let _ = serde_json::to_writer(&mut out, told)
        .map_err(io::Error::from)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}
