//! What is measured: times in histograms, counts, the use of CPU and memory.

pub mod clock;
pub mod usage;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest time that is told apart from longer ones: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;

/// Times in microseconds, with three significant digits, from 1 us to an hour.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // It starts small and grows with what is recorded: there are many, and most stay empty.
        Self(Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("three digits are allowed")))
    }
}

impl Times {
    /// Records a time.
    pub fn record(&mut self, time: Duration) {
        self.record_us(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
    }

    /// Records a time in nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        self.record_us(ns / 1_000);
    }

    fn record_us(&mut self, us: u64) {
        self.0 += us.clamp(1, LONGEST);
    }

    /// Times recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time in seconds that this share of all (0 to 1) does not exceed; 0 without any.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e6
    }

    /// The longest, in seconds.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0.max() as f64 / 1e6
    }

    /// The mean, in seconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.0.mean() / 1e6
    }

    /// Adds the times of another.
    pub fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// The histogram itself; its unit is the microsecond.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// In results: figures for people, in seconds, and the histogram in HdrHistogram's V2 form, in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    count: u64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    hdr_us: String,
}

impl Serialize for Times {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut octets = Vec::new();
        V2Serializer::new()
            .serialize(&self.0, &mut octets)
            .map_err(|error| serde::ser::Error::custom(format!("{error:?}")))?;
        Written {
            count: self.count(),
            mean: self.mean(),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.max(),
            hdr_us: STANDARD.encode(octets),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let wrong = |what: &str| serde::de::Error::custom(format!("hdr-us: {what}"));
        let octets = STANDARD
            .decode(&written.hdr_us)
            .map_err(|_| wrong("expected base64"))?;
        Deserializer::new()
            .deserialize(&mut octets.as_slice())
            .map(|mut histogram| {
                // It has the range that it was written with; longer times may be added.
                histogram.auto(true);
                Self(histogram)
            })
            .map_err(|_| wrong("expected a histogram in HdrHistogram's V2 form"))
    }
}

/// What the relays of one group measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Measures {
    /// From the wish for a connection to having it (and TLS on it).
    pub connect: Times,
    /// From a request's sending to the first octet of its answer.
    pub first_octet: Times,
    /// From the moment at which a relay was to begin to the end of its last bulk answer: connection, request, answer.
    pub recovery: Times,
    /// From the sending of an active query with a start time to CatchUpComplete.
    pub catch_up: Times,
    /// From the feed's acknowledgement of a change to its message at a relay; 0 where the relay was told first.
    pub propagation: Times,
    /// From the submission of a change to its message at a relay.
    pub submitted_to_relay: Times,
    /// UDP: from the moment at which a query was due to its answer, retransmissions included. At a fixed rate a query is
    /// due whether or not the one before it was answered: coordinated omission is in it.
    pub udp: Times,
    /// UDP: from the sending of the datagram that was answered to its answer.
    pub udp_round_trip: Times,
    /// UDP at a fixed rate: from the moment at which a query was due to its sending, which is the generator's own doing.
    pub udp_lateness: Times,
    /// Counts by [`Count`].
    pub counts: BTreeMap<Count, u64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// Connections made.
    Connections,
    /// Connections that the server refused: not accepted, or closed before a first octet.
    Refused,
    /// Connections that ended before their work did.
    LostConnections,
    /// Connections of rude relays that the server has ended.
    EndedByServer,
    /// Bulk queries answered to their end.
    Recoveries,
    /// Bindings (DHCPv4) and leases (DHCPv6) told by bulk answers.
    Bindings,
    /// Messages of active streams that tell a binding.
    StreamMessages,
    /// Status messages of active streams, keepalives included.
    StreamStatuses,
    /// Octets received.
    Octets,
    /// UDP queries that were asked.
    UdpQueries,
    /// UDP queries answered.
    UdpAnswers,
    /// UDP datagrams sent again.
    Retransmissions,
    /// UDP queries given up.
    UdpLost,
    /// UDP queries of a fixed rate that were due and not asked, as too many waited for their answers.
    UdpNotSent,
    /// Gaps (DataMissing) that a follower filled.
    Gaps,
}

impl Measures {
    /// Counts.
    pub fn count(&mut self, what: Count, more: u64) {
        *self.counts.entry(what).or_default() += more;
    }

    /// What was counted.
    #[must_use]
    pub fn counted(&self, what: Count) -> u64 {
        self.counts.get(&what).copied().unwrap_or_default()
    }

    /// Adds what others of the group measured.
    pub fn add(&mut self, other: &Self) {
        self.connect.add(&other.connect);
        self.first_octet.add(&other.first_octet);
        self.recovery.add(&other.recovery);
        self.catch_up.add(&other.catch_up);
        self.propagation.add(&other.propagation);
        self.submitted_to_relay.add(&other.submitted_to_relay);
        self.udp.add(&other.udp);
        self.udp_round_trip.add(&other.udp_round_trip);
        self.udp_lateness.add(&other.udp_lateness);
        for (what, more) in &other.counts {
            self.count(*what, *more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_travel_whole() {
        let mut times = Times::default();
        for ms in 1..=1_000 {
            times.record(Duration::from_millis(ms));
        }
        let text = serde_json::to_string(&times).unwrap();
        let read: Times = serde_json::from_str(&text).unwrap();
        assert_eq!(read.histogram(), times.histogram());
        assert!((read.quantile(0.5) - 0.5).abs() < 0.001);
        assert!(
            serde_json::from_str::<Times>(&text.replace("hdr-us\":\"", "hdr-us\":\"AA")).is_err()
        );
    }

    #[test]
    fn longer_times_are_added_to_those_that_have_travelled() {
        let mut short = Times::default();
        short.record(Duration::from_millis(1));
        let text = serde_json::to_string(&short).unwrap();
        let mut times: Times = serde_json::from_str(&text).unwrap();
        let mut long = Times::default();
        long.record(Duration::from_secs(1_000));
        times.add(&long);
        assert_eq!(times.count(), 2);
        assert!(times.max() > 999.0);
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        let mut times = Times::default();
        times.record_ns(0);
        times.record(Duration::from_secs(1 << 40));
        assert_eq!(times.count(), 2);
        assert!(times.max() < 3_610.0);
    }
}
