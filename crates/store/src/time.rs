//! Server time: stamps, clocks, and how steps of the wall clock are kept away from stamps.
//!
//! Server time is the wall time at start plus what the boot clock has counted since; it never goes back, and it never lies
//! below the last stamp in the log. A step of the wall clock of more than two seconds is told in the log and then slewed.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// A difference of the wall clock from server time up to this is left alone, in milliseconds.
const STEP_MS: i64 = 2_000;
/// Slewing corrects at most one part in this many of the time that passes.
const SLEW_DIVISOR: i64 = 10;

/// Server time in milliseconds of Unix time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The earliest stamp; also "none".
    pub const ZERO: Stamp = Stamp(0);

    /// A stamp from milliseconds of Unix time.
    pub const fn from_millis(ms: u64) -> Self {
        Stamp(ms)
    }

    /// A stamp at the beginning of a second of Unix time.
    pub const fn from_seconds(seconds: u32) -> Self {
        Stamp(seconds as u64 * 1_000)
    }

    /// Milliseconds of Unix time.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds of Unix time, as a base-time carries them (saturating in 2106).
    pub const fn seconds(self) -> u32 {
        let seconds = self.0 / 1_000;
        if seconds > u32::MAX as u64 {
            u32::MAX
        } else {
            seconds as u32
        }
    }

    /// This stamp and so many milliseconds more.
    pub const fn plus_millis(self, ms: u64) -> Self {
        Stamp(self.0.saturating_add(ms))
    }

    /// This stamp less so many milliseconds.
    pub const fn minus_millis(self, ms: u64) -> Self {
        Stamp(self.0.saturating_sub(ms))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// The two clocks that server time is made of.
pub trait Clock: Send + Sync {
    /// Wall clock, milliseconds of Unix time; may be stepped by the operator.
    fn wall_ms(&self) -> u64;
    /// Milliseconds since some fixed moment; counts through a suspend and never goes back.
    fn boot_ms(&self) -> u64;
}

/// The clocks of the operating system: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    fn read(id: rustix::time::ClockId) -> u64 {
        let t = rustix::time::clock_gettime(id);
        let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
        let millis = u64::try_from(t.tv_nsec).unwrap_or(0) / 1_000_000;
        seconds.saturating_mul(1_000).saturating_add(millis)
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        Self::read(rustix::time::ClockId::Realtime)
    }

    fn boot_ms(&self) -> u64 {
        Self::read(rustix::time::ClockId::Boottime)
    }
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock {
    wall: AtomicU64,
    boot: AtomicU64,
}

impl ManualClock {
    /// A clock that stands at this wall time, its boot clock at zero.
    pub fn new(wall_ms: u64) -> Self {
        ManualClock {
            wall: AtomicU64::new(wall_ms),
            boot: AtomicU64::new(0),
        }
    }

    /// Lets time pass: both clocks go forward.
    pub fn advance(&self, ms: u64) {
        self.wall.fetch_add(ms, Ordering::SeqCst);
        self.boot.fetch_add(ms, Ordering::SeqCst);
    }

    /// Steps the wall clock alone, as an operator or NTP would.
    pub fn set_wall(&self, wall_ms: u64) {
        self.wall.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> u64 {
        self.boot.load(Ordering::SeqCst)
    }
}

/// Server time, made of a [`Clock`]; read by any thread, corrected by one.
pub struct ServerClock {
    clock: std::sync::Arc<dyn Clock>,
    /// What is added to the boot clock.
    offset: AtomicI64,
    /// The latest time given out: time never goes back.
    last: AtomicU64,
    corrected_boot: AtomicU64,
    slewing: AtomicBool,
    steps: AtomicU64,
    ahead_ms: AtomicI64,
}

impl ServerClock {
    /// Server time that starts at the wall time, or at `floor` (the last stamp in the log) if that is later.
    pub fn new(clock: std::sync::Arc<dyn Clock>, floor: Stamp) -> Self {
        let boot = clock.boot_ms();
        let start = clock.wall_ms().max(floor.millis());
        let offset = to_signed(start) - to_signed(boot);
        ServerClock {
            clock,
            offset: AtomicI64::new(offset),
            last: AtomicU64::new(start),
            corrected_boot: AtomicU64::new(boot),
            slewing: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            ahead_ms: AtomicI64::new(0),
        }
    }

    /// The server time. Two calls in any threads, one after the other, never give a lower one second.
    pub fn now(&self) -> Stamp {
        let at = to_signed(self.clock.boot_ms()) + self.offset.load(Ordering::SeqCst);
        let at = u64::try_from(at).unwrap_or(0);
        Stamp(self.last.fetch_max(at, Ordering::SeqCst).max(at))
    }

    /// Times that the wall clock was found stepped.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Milliseconds that server time was ahead of the wall clock when they were last compared; negative: behind.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Ordering::Relaxed)
    }

    /// Compares server time with the wall clock and slews it if they are more than two seconds apart. Called about once a
    /// second by the thread that writes.
    pub fn correct(&self) {
        let boot = self.clock.boot_ms();
        let before = self.corrected_boot.swap(boot, Ordering::SeqCst);
        let passed = to_signed(boot.saturating_sub(before));
        let offset = self.offset.load(Ordering::SeqCst);
        let ahead = to_signed(boot) + offset - to_signed(self.clock.wall_ms());
        self.ahead_ms.store(ahead, Ordering::Relaxed);
        if ahead.abs() <= STEP_MS {
            if self.slewing.swap(false, Ordering::SeqCst) {
                tracing::info!(
                    id = "clock-slewed",
                    "server time agrees with the wall clock again"
                );
            }
            return;
        }
        if !self.slewing.swap(true, Ordering::SeqCst) {
            self.steps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                id = "clock-step",
                ahead_ms = ahead,
                "the wall clock was stepped; server time follows it slowly"
            );
        }
        let most = passed / SLEW_DIVISOR;
        self.offset
            .store(offset - ahead.clamp(-most, most), Ordering::SeqCst);
    }
}

fn to_signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn starts_at_the_floor_if_the_wall_clock_lies_before_it() {
        let clock = Arc::new(ManualClock::new(5_000));
        let server = ServerClock::new(clock.clone(), Stamp::from_millis(9_000));
        assert_eq!(server.now(), Stamp::from_millis(9_000));
        clock.advance(10);
        assert_eq!(server.now(), Stamp::from_millis(9_010));
    }

    #[test]
    fn a_step_back_is_slewed_and_time_never_goes_back() {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let server = ServerClock::new(clock.clone(), Stamp::ZERO);
        clock.set_wall(990_000);
        let mut last = server.now();
        let mut ticks = 0;
        while server.now().millis() > clock.wall_ms() + 2_000 {
            clock.advance(1_000);
            server.correct();
            let now = server.now();
            assert!(now >= last);
            assert!(now.millis() - last.millis() <= 1_000);
            last = now;
            ticks += 1;
            assert!(ticks < 200, "never agreed");
        }
        assert!(ticks >= 80, "a step of 10 s is not jumped over: {ticks}");
        assert_eq!(server.steps(), 1);
        assert!(server.ahead_ms() > 2_000);
    }

    #[test]
    fn a_small_difference_is_left_alone() {
        let clock = Arc::new(ManualClock::new(1_000_000));
        let server = ServerClock::new(clock.clone(), Stamp::ZERO);
        clock.set_wall(1_001_900);
        clock.advance(1_000);
        server.correct();
        assert_eq!(server.now(), Stamp::from_millis(1_001_000));
    }

    #[test]
    fn seconds_round_down() {
        assert_eq!(Stamp::from_millis(1_999).seconds(), 1);
        assert_eq!(Stamp::from_seconds(7).millis(), 7_000);
        assert_eq!(Stamp::from_millis(u64::MAX).seconds(), u32::MAX);
    }
}
