//! When something is to happen, and whether it did.

use std::time::Duration;

use crate::result::Finding;

/// How much too early is still right, at least: clocks are read on both sides.
const EARLY: Duration = Duration::from_millis(100);
/// The same as a share of the timeout.
const EARLY_SHARE: u32 = 100;
/// Times in the timeout at which a server looks, at least, whether a requestor has acknowledged anything: nothing tells it
/// the moment at which that stops, so it ends such a connection up to one of these later.
const LOOKS: u32 = 4;
/// Times that are told to the microsecond.
const SHORT: Duration = Duration::from_millis(10);
/// How long something that comes too late is waited for beyond the timeout, to say how late it is.
const BEYOND: Duration = Duration::from_secs(1);

/// When something is to happen, counted from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    timeout: Duration,
    earliest: Duration,
    /// The latest time that is right.
    pub latest: Duration,
    /// When to wait no longer.
    pub give_up: Duration,
}

impl Window {
    /// After a timeout, at most `tolerance` later.
    pub fn new(timeout: Duration, tolerance: Duration) -> Self {
        let latest = timeout + tolerance;
        Self {
            timeout,
            earliest: timeout.saturating_sub(EARLY.max(timeout / EARLY_SHARE)),
            latest,
            give_up: latest + timeout + BEYOND,
        }
    }

    /// After a timeout that the server can find out by looking only.
    pub fn looked_for(timeout: Duration, tolerance: Duration) -> Self {
        Self::new(timeout, tolerance + timeout / LOOKS)
    }

    /// What is expected: `closed` is what is to happen.
    pub fn expected(&self, closed: &str) -> String {
        let Self {
            timeout,
            earliest,
            latest,
            ..
        } = self;
        format!(
            "{closed} after {} ({} to {})",
            seconds(*timeout),
            seconds(*earliest),
            seconds(*latest)
        )
    }

    /// It is right that it happened then.
    pub fn holds(&self, after: Duration) -> bool {
        (self.earliest..=self.latest).contains(&after)
    }

    /// It happened after this time; `None`: not until now, when nobody waits any longer.
    pub fn judge(&self, what: String, closed: &str, after: Option<(&str, Duration)>) -> Finding {
        let expected = self.expected(closed);
        match after {
            Some((how, after)) => Finding {
                what,
                expected,
                found: format!("{how} after {}", seconds(after)),
                holds: self.holds(after),
            },
            None => Finding {
                what,
                expected,
                found: format!("not {closed} within {}", seconds(self.give_up)),
                holds: false,
            },
        }
    }
}

/// A time for people, in seconds; of short ones also the microseconds.
pub(super) fn seconds(time: Duration) -> String {
    let text = match time < SHORT {
        true => format!("{:.6}", time.as_secs_f64()),
        false => format!("{:.3}", time.as_secs_f64()),
    };
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn neither_too_early_nor_too_late_is_right() {
        let window = Window::new(2 * SECOND, SECOND / 2);
        let expected = "closed after 2s (1.9s to 2.5s)";
        assert_eq!(window.expected("closed"), expected);
        let judge = |ms| {
            let after = Duration::from_millis(ms);
            let finding = window.judge("idle".into(), "closed", Some(("reset", after)));
            (finding.found, finding.holds)
        };
        assert_eq!(judge(1_899), ("reset after 1.899s".into(), false));
        assert_eq!(judge(1_900), ("reset after 1.9s".into(), true));
        assert_eq!(judge(2_500), ("reset after 2.5s".into(), true));
        assert_eq!(judge(2_501), ("reset after 2.501s".into(), false));
        let never = window.judge("idle".into(), "closed", None);
        assert_eq!(
            (never.found.as_str(), never.holds),
            ("not closed within 5.5s", false)
        );
    }

    #[test]
    fn times_are_told_as_exactly_as_they_matter() {
        let told = |us| seconds(Duration::from_micros(us));
        assert_eq!(
            [told(0), told(312), told(9_500)],
            ["0s", "0.000312s", "0.0095s"]
        );
        assert_eq!([told(10_312), told(90_000_000)], ["0.01s", "90s"]);
    }

    #[test]
    fn what_a_server_must_look_for_may_take_a_quarter_longer() {
        let window = Window::looked_for(120 * SECOND, SECOND);
        assert_eq!(
            window.expected("ended"),
            "ended after 120s (118.8s to 151s)"
        );
    }
}
