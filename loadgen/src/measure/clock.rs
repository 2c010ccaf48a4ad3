//! The clock that every process of a run shares.

use std::time::{Duration, Instant};

/// Nanoseconds of CLOCK_MONOTONIC, the clock behind [`Instant`].
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The instant at which [`now_ns`] is or was `ns`.
#[must_use]
pub fn instant(ns: u64) -> Instant {
    let (now, now_ns) = (Instant::now(), now_ns());
    match ns.checked_sub(now_ns) {
        Some(ahead) => now + Duration::from_nanos(ahead),
        None => now
            .checked_sub(Duration::from_nanos(now_ns - ns))
            .unwrap_or(now),
    }
}
