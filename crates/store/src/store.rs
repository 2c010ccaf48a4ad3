//! The store: opening, submitting, stopping.

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{CommitError, OpenError, StopError, SubmitError};
use crate::event::{Event, EventError};
use crate::index::RangeError;
use crate::log::{Disk, RealDisk};
use crate::open;
use crate::options::Options;
use crate::queue::{Command, FeedError, Queue};
use crate::stats::{FeedState, VerifyReport};
use crate::topology::{Topology, TopologyError};
use crate::verify;
use crate::view::{Published, Reader};
use crate::writer::{Control, Ended};

/// Events that are durable and visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Sequence of the last record published when the last of the events was.
    pub sequence: u64,
    /// How many of the events changed something, positions of feeds aside.
    pub changed: u32,
    /// Events that were not stored: their index in what was submitted, and why. They do no harm to the others.
    pub rejected: Vec<(usize, EventError)>,
}

/// The promise of an answer to submitted events.
#[derive(Debug)]
pub struct Ticket {
    answer: Receiver<Result<Committed, CommitError>>,
}

impl Ticket {
    /// Waits until the events are durable and visible, or failed.
    pub fn wait(self) -> Result<Committed, CommitError> {
        self.answer.recv().unwrap_or(Err(CommitError::Stopped))
    }
}

/// An open store; owns the thread that writes. One process may have it open. A store that is dropped without
/// [`Store::stop`] stores what was submitted, but writes no checkpoint.
pub struct Store {
    reader: Reader,
    control: Arc<Control>,
    read_only: bool,
    thread: Mutex<Option<JoinHandle<Ended>>>,
}

impl Store {
    /// Opens the store in a directory, which is made if it is missing. Recovers from a loss of power: every acknowledged
    /// event is there, and no torn one.
    pub fn open(dir: &Path, options: Options, topology: Topology) -> Result<Store, OpenError> {
        Store::open_on(Arc::new(RealDisk), dir, options, topology)
    }

    /// As [`Store::open`], on a disk that may fail.
    #[doc(hidden)]
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        topology: Topology,
    ) -> Result<Store, OpenError> {
        let control = Arc::new(Control {
            queue: Queue::default(),
        });
        let mut writer = open::open(disk, dir, &options, &topology, Arc::clone(&control))?;
        // Before the thread runs, so that who opened the store finds its sizes.
        writer.refresh_counts();
        let reader = Reader {
            shared: Arc::clone(&writer.shared),
        };
        let thread = std::thread::Builder::new()
            .name("leaseq-store".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Store {
            reader,
            control,
            read_only: options.read_only,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Submits events; waits while the queue is full.
    pub fn submit(&self, events: Vec<Event>) -> Result<Ticket, SubmitError> {
        self.submit_or(events, true)
    }

    /// Submits events unless the queue is full.
    pub fn try_submit(&self, events: Vec<Event>) -> Result<Ticket, SubmitError> {
        self.submit_or(events, false)
    }

    fn submit_or(&self, events: Vec<Event>, wait: bool) -> Result<Ticket, SubmitError> {
        let (send, answer) = sync_channel(1);
        let give = Box::new(move |result| {
            let _ = send.send(result);
        });
        self.put(Command::Submit(events, give), wait)?;
        Ok(Ticket { answer })
    }

    /// Submits events; waits while the queue is full. The answer is given to `answer` on the store's thread, which must not
    /// be held up there.
    pub fn submit_with(
        &self,
        events: Vec<Event>,
        answer: impl FnOnce(Result<Committed, CommitError>) + Send + 'static,
    ) -> Result<(), SubmitError> {
        self.put(Command::Submit(events, Box::new(answer)), true)
    }

    fn put(&self, command: Command, wait: bool) -> Result<(), SubmitError> {
        if self.read_only {
            return Err(SubmitError::ReadOnly);
        }
        self.control.queue.put(command, wait)
    }

    /// Number of the feed of this name, which gets one, and a record in the log, if it has none yet.
    pub fn feed_id(&self, name: &str) -> Result<u16, FeedIdError> {
        if let Some(feed) = self.reader.feeds().iter().find(|feed| feed.name == name) {
            return Ok(feed.number);
        }
        let (send, answer) = sync_channel(1);
        let give = Box::new(move |result| {
            let _ = send.send(result);
        });
        self.put(Command::Feed(name.to_owned(), give), true)?;
        let result = answer
            .recv()
            .unwrap_or(Err(FeedError::Commit(CommitError::Stopped)));
        result.map_err(|error| match error {
            FeedError::Event(error) => FeedIdError::Event(error),
            FeedError::Commit(error) => FeedIdError::Commit(error),
        })
    }

    /// The feeds that the store knows, in order of their numbers.
    pub fn feeds(&self) -> Vec<FeedState> {
        self.reader.feeds().to_vec()
    }

    /// Registers what is called after each commit for as long as the store is open, as [`Reader::on_commit`].
    pub fn on_commit(&self, hook: impl Fn(Published) + Send + Sync + 'static) {
        self.reader.shared.hooks.add(Arc::new(hook));
    }

    /// Lets the store's thread look at the clock now, and waits until leases that are due have been expired. The thread does
    /// this by itself about once a second.
    pub fn tick(&self) -> Result<(), CommitError> {
        self.ask(Command::Tick)
    }

    /// Compacts the log now, and waits until that is done.
    pub fn compact_now(&self) -> Result<(), CommitError> {
        self.ask(Command::Compact)
    }

    /// Gives all bindings their places by another configuration of ranges and links, and waits until that is done. Events go on
    /// to be stored meanwhile, and what is read is by the old configuration until all are done. On an error nothing is changed.
    ///
    /// A walk goes on over what was configured when it began. When links have changed, each [`crate::LinkId`] of before is
    /// that of no link any more: queries and streams that hold one are to be ended.
    pub fn change_topology(
        &self,
        topology: Topology,
    ) -> Result<TopologyChange, TopologyChangeError> {
        let (send, answer) = sync_channel(1);
        let done = Box::new(move |result| {
            let _ = send.send(result);
        });
        match self.put(Command::Topology(Box::new(topology), done), true) {
            Ok(()) => answer.recv().unwrap_or(Err(CommitError::Stopped.into())),
            Err(SubmitError::ReadOnly) => Err(opened_for_reading().into()),
            Err(_) => Err(CommitError::Stopped.into()),
        }
    }

    /// Changes for how long ends are kept, and for how long a lease of a live feed is held after its end.
    pub fn change_times(
        &self,
        history: Duration,
        expiry_grace: Duration,
    ) -> Result<(), CommitError> {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self.ask(|done| Command::Times {
            history: seconds(history),
            grace: seconds(expiry_grace),
            done,
        })
    }

    fn ask(&self, command: impl FnOnce(crate::queue::Done) -> Command) -> Result<(), CommitError> {
        let (send, answer) = sync_channel(1);
        let done = Box::new(move |result| {
            let _ = send.send(result);
        });
        match self.put(command(done), true) {
            Ok(()) => answer.recv().unwrap_or(Err(CommitError::Stopped)),
            Err(SubmitError::ReadOnly) => Err(opened_for_reading()),
            Err(_) => Err(CommitError::Stopped),
        }
    }

    /// A reader of this store.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Checks the log and each index against a full scan of it. Changes go on meanwhile; only if something looks wrong, which may
    /// just have changed, they wait for a second look at all of it.
    pub fn verify(&self) -> VerifyReport {
        let report = verify::verify(&self.reader);
        if report.problems.is_empty() {
            return report;
        }
        let (send, answer) = sync_channel(1);
        let done = Box::new(move |report| {
            let _ = send.send(report);
        });
        let asked = self.put(Command::Verify(done), true).ok();
        // A store that was stopped, or opened for reading, does not change any more.
        asked
            .and_then(|()| answer.recv().ok())
            .unwrap_or_else(|| verify::verify(&self.reader))
    }

    /// Stops: takes no more events, stores those that were taken, appends an empty batch and writes the checkpoint. Whoever
    /// waits for anything else is told that the store is stopped. Does nothing the second time.
    pub fn stop(&self) -> Result<(), StopError> {
        self.end(true)
    }

    fn end(&self, checkpoint: bool) -> Result<(), StopError> {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else {
            return Ok(());
        };
        let _ = self
            .control
            .queue
            .put(Command::Stop(checkpoint && !self.read_only), true);
        thread
            .join()
            .unwrap_or_else(|_| Err(StopError::Log("the store's thread panicked".to_owned())))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.end(false);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

fn opened_for_reading() -> CommitError {
    CommitError::ReadOnly {
        reason: "it was opened for reading".to_owned(),
    }
}

/// What a change of the configuration has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyChange {
    /// IPv4 ranges.
    pub ranges: bool,
    /// IPv6 links.
    pub links: bool,
}

/// Why another configuration of ranges and links was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyChangeError {
    /// It cannot be used.
    #[error("the configured addresses cannot be used: {0}")]
    Topology(#[from] TopologyError),
    /// The ranges cannot be used.
    #[error("the configured addresses cannot be used: {0}")]
    Ranges(#[from] RangeError),
    /// There would be more links or clients than can be numbered.
    #[error("the store holds as many bindings or links as it can number")]
    Exhausted,
    /// What waited could not be stored before.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why a feed got no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedIdError {
    /// Its name cannot be stored, or there are too many feeds.
    #[error(transparent)]
    Event(EventError),
    /// Its record could not be stored.
    #[error(transparent)]
    Commit(CommitError),
    /// The store takes nothing.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}
