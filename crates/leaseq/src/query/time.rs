//! Points in time as people write them.

use std::str::FromStr;

use jiff::Timestamp;
use leaseq_wire::time::UnixSeconds;

/// A point in time: absolute, or some time ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Unix time.
    At(UnixSeconds),
    /// Seconds before now.
    Ago(u32),
}

impl Time {
    /// The time that it is, if it is `now`.
    pub fn at(self, now: UnixSeconds) -> UnixSeconds {
        match self {
            Self::At(time) => time,
            Self::Ago(seconds) => UnixSeconds(now.0.saturating_sub(seconds)),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || "expected RFC 3339, seconds of Unix time, or a time ago such as -15m".to_owned();
        if let Some(ago) = text.strip_prefix('-') {
            let ago = humantime::parse_duration(ago).map_err(|_| expected())?;
            return u32::try_from(ago.as_secs())
                .map(Self::Ago)
                .map_err(|_| expected());
        }
        if text.bytes().all(|digit| digit.is_ascii_digit()) {
            return text
                .parse()
                .map(|seconds| Self::At(UnixSeconds(seconds)))
                .map_err(|_| expected());
        }
        let timestamp: Timestamp = text.parse().map_err(|_| expected())?;
        u32::try_from(timestamp.as_second())
            .map(|seconds| Self::At(UnixSeconds(seconds)))
            .map_err(|_| expected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_is_read() {
        let now = UnixSeconds(1_790_000_000);
        let at = |text: &str| text.parse::<Time>().map(|time| time.at(now).0);
        assert_eq!(at("1789999999"), Ok(1_789_999_999));
        assert_eq!(at("-15m"), Ok(now.0 - 900));
        assert_eq!(at("-1h 30m"), Ok(now.0 - 5_400));
        assert_eq!(at("2026-09-21T14:13:20Z"), Ok(1_790_000_000));
        assert_eq!(at("2026-09-21T16:13:20+02:00"), Ok(1_790_000_000));
        for text in [
            "",
            "-",
            "15m",
            "-15",
            "yesterday",
            "99999999999",
            "1969-01-01T00:00:00Z",
            "2026-09-21",
        ] {
            assert!(at(text).is_err(), "{text}: {:?}", at(text));
        }
    }
}
