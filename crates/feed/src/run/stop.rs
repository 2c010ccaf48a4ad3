//! How a feed is told to end, whatever it waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

/// A signal to end, given once. A feed waits for it by time ([`Stop::wait`]) or together with its descriptors
/// ([`AsFd`]: becomes readable).
#[derive(Clone, Debug)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    given: Mutex<bool>,
    changed: Condvar,
    event: OwnedFd,
}

impl Stop {
    /// A signal that was not given yet.
    ///
    /// # Errors
    /// The process may open no further file.
    pub fn new() -> io::Result<Stop> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Stop(Arc::new(Inner {
            given: Mutex::new(false),
            changed: Condvar::new(),
            event,
        })))
    }

    /// Gives the signal.
    pub fn give(&self) {
        *self.0.given.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
        // Its counter cannot be full: it grows by one.
        let _ = rustix::io::write(&self.0.event, &1u64.to_ne_bytes());
    }

    /// Whether the signal was given.
    pub fn is_given(&self) -> bool {
        *self.0.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the signal, at most this long; whether it was given.
    pub fn wait(&self, at_most: Duration) -> bool {
        let given = self.0.given.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .0
            .changed
            .wait_timeout_while(given, at_most, |given| !*given);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn whoever_waits_is_told() {
        let stop = Stop::new().unwrap();
        assert!(!stop.wait(Duration::ZERO) && !stop.is_given());
        let waiting = stop.clone();
        let waiting = std::thread::spawn(move || waiting.wait(Duration::from_secs(600)));
        stop.give();
        assert!(waiting.join().unwrap() && stop.is_given());
        let mut ready = [PollFd::new(&stop, PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut ready, Some(&at_once)).unwrap(), 1);
    }
}
