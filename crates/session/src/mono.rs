//! Monotonic time as the engine gives it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the engine's monotonic clock, in milliseconds from an arbitrary start.
///
/// Timers run on this clock; times in messages come from the store's server time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The moment `ms` milliseconds after the clock's start.
    pub const fn from_millis(ms: u64) -> Mono {
        Mono(ms)
    }

    /// Milliseconds since the clock's start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    /// Saturates: a timer that can never be reached is no error.
    fn add(self, after: Duration) -> Mono {
        Mono(
            self.0
                .saturating_add(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Mono {
    type Output = Duration;

    /// The time between two moments, zero if `earlier` is the later one.
    fn sub(self, earlier: Mono) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let late = Mono::from_millis(u64::MAX - 1);
        assert_eq!(late + Duration::from_secs(300), Mono::from_millis(u64::MAX));
        assert_eq!(Mono::from_millis(5) - late, Duration::ZERO);
        assert_eq!(
            Mono::from_millis(1_500) - Mono::from_millis(500),
            Duration::from_secs(1)
        );
    }
}
