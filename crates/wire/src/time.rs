//! The two epochs of absolute times, as types that cannot be taken for one another.
//!
//! DHCPv4 counts base-time from 1970 (RFC 6926 §6.2.3), DHCPv6 from 2000 (RFC 7653 §6.3.1). Both are 32 bits of seconds.

/// Seconds from the Unix epoch to 2000-01-01 00:00:00 UTC.
pub const SECONDS_1970_TO_2000: u32 = 946_684_800;

/// An absolute time of DHCPv4 (options 152, 154, 155): seconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u32);

/// An absolute time of DHCPv6 (options 100, 101, 102): seconds since 2000-01-01 00:00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds2000(pub u32);

impl UnixSeconds {
    /// The second in which a time in milliseconds of Unix time lies; past 2106 the last second there is.
    #[must_use]
    pub fn from_unix_millis(millis: u64) -> Self {
        Self(u32::try_from(millis / 1000).unwrap_or(u32::MAX))
    }
}

impl Seconds2000 {
    /// The second in which a time in milliseconds of Unix time lies; before 2000 the first, past 2136 the last one there is.
    #[must_use]
    pub fn from_unix_millis(millis: u64) -> Self {
        let seconds = (millis / 1000).saturating_sub(u64::from(SECONDS_1970_TO_2000));
        Self(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl From<UnixSeconds> for Seconds2000 {
    /// Times before 2000 become the first second of 2000.
    fn from(time: UnixSeconds) -> Self {
        Self(time.0.saturating_sub(SECONDS_1970_TO_2000))
    }
}

impl From<Seconds2000> for UnixSeconds {
    /// Times past 2106 become the last second that 32 bits of Unix time can tell.
    fn from(time: Seconds2000) -> Self {
        Self(time.0.saturating_add(SECONDS_1970_TO_2000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_convert_and_saturate() {
        assert_eq!(
            Seconds2000::from(UnixSeconds(SECONDS_1970_TO_2000 + 5)),
            Seconds2000(5)
        );
        assert_eq!(
            UnixSeconds::from(Seconds2000(5)),
            UnixSeconds(SECONDS_1970_TO_2000 + 5)
        );
        assert_eq!(Seconds2000::from(UnixSeconds(1)), Seconds2000(0));
        assert_eq!(
            UnixSeconds::from(Seconds2000(u32::MAX)),
            UnixSeconds(u32::MAX)
        );
        assert_eq!(
            UnixSeconds::from_unix_millis(1_790_000_000_999),
            UnixSeconds(1_790_000_000)
        );
        assert_eq!(
            Seconds2000::from_unix_millis(946_684_801_000),
            Seconds2000(1)
        );
        assert_eq!(Seconds2000::from_unix_millis(0), Seconds2000(0));
        assert_eq!(
            UnixSeconds::from_unix_millis(u64::MAX),
            UnixSeconds(u32::MAX)
        );
    }
}
