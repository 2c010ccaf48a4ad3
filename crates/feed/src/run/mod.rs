//! What all feeds have in common while they run: a status, a way into the store, a signal to end, and trying again.
//!
//! A feed is started by the `start` of its module, from its settings and the store, and is a [`Feed`] from then on.

mod intake;
mod status;
mod stop;

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use leaseq_store::Store;

pub use intake::{CONFIRM_EVERY, Intake, IntakeError, Progress, retire_others};
pub use status::{Phase, Snapshot, Status, Trouble};
pub use stop::Stop;

use crate::socket;

/// The first pause after a fault, doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What runs behind a [`Feed`] and can be ended.
pub trait Running: Send {
    /// Ends it, and waits until it has ended: what was read is durable or will be read again.
    fn stop(self: Box<Self>);
}

/// A feed that runs. Dropped without [`Feed::stop`] it ends too, but nobody waits for it.
pub struct Feed {
    status: Arc<Status>,
    listens: Option<socket::Address>,
    running: Box<dyn Running>,
}

impl Feed {
    /// A feed that was started; `listens` is where, if it listens.
    pub fn new(
        status: Arc<Status>,
        listens: Option<socket::Address>,
        running: Box<dyn Running>,
    ) -> Feed {
        Feed {
            status,
            listens,
            running,
        }
    }

    /// What it tells about itself.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Where it listens, if it does; port 0 is replaced by the port that was bound.
    pub fn listens(&self) -> Option<&socket::Address> {
        self.listens.as_ref()
    }

    /// Ends it, and waits until it has ended.
    pub fn stop(self) {
        self.running.stop();
        self.status.enter(Phase::Stopped);
    }
}

/// A thread that follows a source until it is told to end, and begins anew after a fault.
#[derive(Debug)]
pub struct Follower {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts it. `follow` reads the source until it is told to end (`Ok`) or fails; after a fault, which is logged as
    /// `feed-failed`, it is called again after a pause, with a new [`Intake`] that is where the store is.
    ///
    /// # Errors
    /// There is no thread or no open file to be had.
    pub fn start<E: Display>(
        store: Arc<Store>,
        status: Arc<Status>,
        mut follow: impl FnMut(&mut Intake, &Stop) -> Result<(), E> + Send + 'static,
    ) -> io::Result<Follower> {
        let stop = Stop::new()?;
        let told = stop.clone();
        let thread = thread::Builder::new().name("feed".into()).spawn(move || {
            let mut pause = FIRST_PAUSE;
            while !told.is_given() {
                let began = Instant::now();
                let ended = match Intake::open(Arc::clone(&store), Arc::clone(&status)) {
                    Ok(mut intake) => follow(&mut intake, &told).map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                let Err(fault) = ended else { return };
                status.enter(Phase::Waiting);
                status.trouble("feed-failed", fault);
                if began.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                told.wait(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        })?;
        let thread = Some(thread);
        Ok(Follower { stop, thread })
    }
}

impl Running for Follower {
    fn stop(mut self: Box<Self>) {
        self.stop.give();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.give();
    }
}
