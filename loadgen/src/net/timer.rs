//! A timer that is finer than the runtime's millisecond.
//!
//! `unsafe` is here because the runtime wants to be promised that the timer's descriptor stays open.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A timer of the kernel's with its precision.
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
}

impl Timer {
    /// One that is not set.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            // SAFETY: it owns the descriptor, which stays open until it is dropped.
            fd: unsafe { AsyncFd::register(fd)? },
        })
    }

    /// Sets it to a time of the run's clock.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set(&self, ns: u64) -> io::Result<()> {
        // Zero would not set it.
        let ns = ns.max(1);
        let time = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: (ns / 1_000_000_000) as i64,
                tv_nsec: (ns % 1_000_000_000) as _,
            },
        };
        timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &time)?;
        Ok(())
    }

    /// Waits for its time.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Poll::Ready(Ok(mut guard)) = self.fd.poll_read_ready(context) else {
                return Poll::Pending;
            };
            match rustix::io::read(self.fd.get_ref(), &mut [0_u8; 8]) {
                Ok(_) => return Poll::Ready(()),
                Err(_) => guard.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::clock::now_ns;
    use std::future::poll_fn;

    #[test]
    fn a_timer_comes_when_it_is_set_and_again() {
        tokio_uring::start(async {
            let timer = Timer::new().unwrap();
            for ahead in [0, 200_000] {
                let at = now_ns() + ahead;
                timer.set(at).unwrap();
                poll_fn(|context| timer.poll(context)).await;
                assert!(now_ns() >= at);
            }
            let waits = poll_fn(|context| Poll::Ready(timer.poll(context).is_pending())).await;
            assert!(waits);
        });
    }
}
