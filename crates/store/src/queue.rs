//! The bounded queue of commands to the thread that writes.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{CommitError, SubmitError};
use crate::event::{Event, EventError};
use crate::stats::VerifyReport;
use crate::store::{Committed, TopologyChange, TopologyChangeError};
use crate::topology::Topology;

/// Events that may wait; one submission may exceed it if nothing else waits.
const MOST_EVENTS: usize = 65_536;

/// How a submission is answered.
pub(crate) type Answer = Box<dyn FnOnce(Result<Committed, CommitError>) + Send>;

/// How a command without a result of its own is answered.
pub(crate) type Done = Box<dyn FnOnce(Result<(), CommitError>) + Send>;

/// How a change of the configuration is answered.
pub(crate) type TopologyDone = Box<dyn FnOnce(Result<TopologyChange, TopologyChangeError>) + Send>;

/// What the thread that writes is asked to do.
pub(crate) enum Command {
    /// Store events.
    Submit(Vec<Event>, Answer),
    /// Give the feed of this name a number.
    Feed(String, Box<dyn FnOnce(Result<u16, FeedError>) + Send>),
    /// Look at the clock.
    Tick(Done),
    /// Compact everything that can be.
    Compact(Done),
    /// Give bindings their places by another configuration.
    Topology(Box<Topology>, TopologyDone),
    /// Keep ends for so many seconds, and hold leases for so many after their end.
    Times {
        history: u32,
        grace: u32,
        done: Done,
    },
    /// Check the indexes while nothing changes.
    Verify(Box<dyn FnOnce(VerifyReport) + Send>),
    /// A compaction has run.
    Compacted,
    /// Stop; with a checkpoint or without.
    Stop(bool),
}

/// Why a feed got no number.
#[derive(Debug)]
pub(crate) enum FeedError {
    Event(EventError),
    Commit(CommitError),
}

#[derive(Default)]
struct State {
    commands: VecDeque<Command>,
    events: usize,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a command in; waits for room for its events, if asked to.
    pub(crate) fn put(&self, command: Command, wait: bool) -> Result<(), SubmitError> {
        let events = match &command {
            Command::Submit(events, _) => events.len(),
            _ => 0,
        };
        let mut state = self.lock();
        while !state.closed && events > 0 && state.events > 0 && state.events + events > MOST_EVENTS
        {
            if !wait {
                return Err(SubmitError::Full);
            }
            state = self
                .emptied
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(SubmitError::Stopped);
        }
        state.events += events;
        state.commands.push_back(command);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes all commands that wait; if there are none, waits for the first until `deadline`.
    pub(crate) fn take(&self, deadline: Instant, into: &mut VecDeque<Command>) {
        let mut state = self.lock();
        while state.commands.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .filled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.events = 0;
        into.append(&mut state.commands);
        self.emptied.notify_all();
    }

    /// Takes no more commands; gives those that wait.
    pub(crate) fn close(&self) -> VecDeque<Command> {
        let mut state = self.lock();
        state.closed = true;
        state.events = 0;
        self.emptied.notify_all();
        std::mem::take(&mut state.commands)
    }
}
