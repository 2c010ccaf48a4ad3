//! Signals that end a run early.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How often the run was asked to end: once, it settles and writes what it has; twice, it ends at once.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    is_asked: Arc<AtomicBool>,
    times: Arc<AtomicU32>,
}

impl Interrupt {
    /// Counts SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn on_signals() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let interrupt = Self::default();
        let asked = interrupt.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || signals.forever().for_each(|_| asked.ask()))?;
        Ok(interrupt)
    }

    /// Asks once more.
    pub fn ask(&self) {
        self.times.fetch_add(1, Ordering::Relaxed);
        self.is_asked.store(true, Ordering::Release);
    }

    /// Asked at least once.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Acquire)
    }

    /// Asked again: nothing is waited for any more.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        self.times.load(Ordering::Relaxed) > 1
    }

    /// For those who only want to know whether to go on.
    #[must_use]
    pub fn flag(&self) -> &AtomicBool {
        &self.is_asked
    }
}
