//! The store: opening, submitting, stopping.

use std::path::Path;

use crate::error::{CommitError, OpenError, StopError, SubmitError};
use crate::event::{Event, EventError};
use crate::options::Options;
use crate::stats::{FeedState, VerifyReport};
use crate::topology::Topology;
use crate::view::Reader;

/// Events that are durable and visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Sequence of the last record published when the last of the events was.
    pub sequence: u64,
    /// How many of the events changed something.
    pub changed: u32,
    /// Events that were not stored: their index in what was submitted, and why. They do no harm to the others.
    pub rejected: Vec<(usize, EventError)>,
}

/// The promise of an answer to submitted events.
#[derive(Debug)]
pub struct Ticket {
    answer: std::sync::mpsc::Receiver<Result<Committed, CommitError>>,
}

impl Ticket {
    /// Waits until the events are durable and visible, or failed.
    pub fn wait(self) -> Result<Committed, CommitError> {
        self.answer.recv().unwrap_or(Err(CommitError::Stopped))
    }
}

/// An open store; owns the thread that writes. One process may have it open.
#[derive(Debug)]
pub struct Store {
    reader: Reader,
}

impl Store {
    /// Opens the store in a directory, which is made if it is missing. Recovers from a loss of power: every acknowledged
    /// event is there, and no torn one.
    pub fn open(_dir: &Path, options: Options, topology: Topology) -> Result<Store, OpenError> {
        topology.check()?;
        Ok(Store {
            reader: Reader::new(&options),
        })
    }

    /// Submits events; waits while the queue is full.
    pub fn submit(&self, events: Vec<Event>) -> Result<Ticket, SubmitError> {
        let (send, answer) = std::sync::mpsc::sync_channel(1);
        self.submit_with(events, move |result| {
            let _ = send.send(result);
        })?;
        Ok(Ticket { answer })
    }

    /// Submits events unless the queue is full.
    pub fn try_submit(&self, events: Vec<Event>) -> Result<Ticket, SubmitError> {
        self.submit(events)
    }

    /// Submits events; waits while the queue is full. The answer is given to `answer` on the store's thread, which must not
    /// be held up there.
    pub fn submit_with(
        &self,
        _events: Vec<Event>,
        _answer: impl FnOnce(Result<Committed, CommitError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        Err(SubmitError::Stopped)
    }

    /// Number of the feed of this name, which gets one if it has none yet.
    pub fn feed_id(&self, _name: &str) -> Result<u16, CommitError> {
        Err(CommitError::Stopped)
    }

    /// The feeds that the store knows, in order of their numbers.
    pub fn feeds(&self) -> Vec<FeedState> {
        Vec::new()
    }

    /// Registers what is called after each commit, on the store's thread, with what is published now. It must be quick.
    pub fn on_commit(&self, _hook: impl Fn(crate::view::Published) + Send + Sync + 'static) {}

    /// Lets the store's thread look at the clock now, and waits until leases that are due have been expired. The thread does
    /// this by itself about once a second.
    pub fn tick(&self) -> Result<(), CommitError> {
        Ok(())
    }

    /// Compacts the log now, and waits until that is done.
    pub fn compact_now(&self) -> Result<(), CommitError> {
        Ok(())
    }

    /// A reader of this store.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Checks the log and each index against a full scan of it.
    pub fn verify(&self) -> VerifyReport {
        VerifyReport::default()
    }

    /// Stops: takes no more events, stores those that were taken, appends an empty batch and writes the checkpoint.
    pub fn stop(self) -> Result<(), StopError> {
        Ok(())
    }
}
