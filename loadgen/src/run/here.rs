//! Relays at work in a thread of this process.

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use crate::work::plan::{Outcome, Plan, Progress};
use crate::work::threads::{Inventories, Prepared, WorkError};

/// The relays of a plan.
pub(super) struct Workers {
    ready: Receiver<()>,
    told: Receiver<Progress>,
    thread: JoinHandle<Result<Outcome, WorkError>>,
}

impl Workers {
    /// Prepares them; they begin when the board says so.
    pub fn start(plan: &Plan, inventories: Inventories) -> Self {
        let ((tell_ready, ready), (tell, told)) = (channel(), channel());
        let plan = plan.clone();
        let thread = thread::spawn(move || {
            let prepared = Prepared::new(&plan, &inventories)?;
            // Whoever has gone wants to know nothing any more.
            let _ = tell_ready.send(());
            prepared.run(&mut |progress| {
                let _ = tell.send(progress);
            })
        });
        Self {
            ready,
            told,
            thread,
        }
    }

    /// They can begin, or have failed, which [`Workers::join`] tells.
    pub fn is_ready(&self) -> bool {
        self.ready.try_recv() != Err(TryRecvError::Empty)
    }

    /// What they have told since the last time; `None`: they have ended.
    pub fn poll(&self) -> Option<Vec<Progress>> {
        let progress: Vec<_> = self.told.try_iter().collect();
        (!progress.is_empty() || !self.thread.is_finished()).then_some(progress)
    }

    /// What came of them; waits for it.
    ///
    /// # Errors
    /// If they could not be at work.
    pub fn join(self) -> Result<Outcome, WorkError> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(WorkError::Failed("it panicked".to_owned())))
    }
}
