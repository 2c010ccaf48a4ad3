//! How a server is followed, and when one that failed is tried again.

use std::time::{Duration, Instant};

use leaseq_wire::parameters::{
    ACTIVE_LQ_IDLE_TIMEOUT, ACTIVE_LQ_RCV_TIMEOUT, BULK_LQ_CONN_TIMEOUT, BULK_LQ_DATA_TIMEOUT,
    BULK_LQ_MAX_RETRY,
};

use crate::Query;
use crate::random::Random;
use crate::tls::TlsClient;

/// The pause after a first failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How a server is followed. The RFCs ask for no smaller times than the default ones (RFC 7724 §5.3).
#[derive(Clone, Debug)]
pub struct FollowSettings {
    /// How long to try to connect, and then to negotiate TLS.
    pub connect_timeout: Duration,
    /// A stream that is silent for this long is given up (ACTIVE_LQ_RCV_TIMEOUT).
    pub receive_timeout: Duration,
    /// A query that cannot be sent for this long is given up, and so is a bulk answer that stops (BULK_LQ_DATA_TIMEOUT).
    pub data_timeout: Duration,
    /// As `data_timeout`, for octets that are to be sent.
    pub send_timeout: Duration,
    /// The least time from one attempt to the next (ACTIVE_LQ_IDLE_TIMEOUT).
    pub retry_interval: Duration,
    /// The longest pause after repeated failures, if that is longer than the interval.
    pub max_backoff: Duration,
    /// Secure mode.
    pub tls: Option<TlsClient>,
    /// Bulk queries that tell together all that an unfiltered DHCPv6 stream is about, to fill its gaps; see
    /// [`Filling::Impossible`](super::Filling::Impossible).
    pub fill_queries: Vec<Query>,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self {
            connect_timeout: BULK_LQ_CONN_TIMEOUT,
            receive_timeout: ACTIVE_LQ_RCV_TIMEOUT,
            data_timeout: BULK_LQ_DATA_TIMEOUT,
            send_timeout: BULK_LQ_DATA_TIMEOUT,
            retry_interval: ACTIVE_LQ_IDLE_TIMEOUT,
            max_backoff: BULK_LQ_MAX_RETRY,
            tls: None,
            fill_queries: Vec::new(),
        }
    }
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    pub(super) at: Instant,
    pub(super) failures: u32,
}

impl Retry {
    pub(super) fn now(now: Instant) -> Self {
        Self {
            at: now,
            failures: 0,
        }
    }

    /// An attempt, the last of which began at `self.at`, has failed: never again before the interval is over, and later the
    /// more often it has failed; with a jitter, so that requestors that lost a server together come back one by one.
    pub(super) fn failed(&mut self, now: Instant, settings: &FollowSettings, random: &mut Random) {
        let doubled = FIRST_BACKOFF.saturating_mul(1 << self.failures.min(16));
        let backoff = doubled.min(settings.max_backoff);
        self.failures += 1;
        let jittered = backoff / 2 + random.up_to(backoff / 2);
        self.at = (self.at + settings.retry_interval).max(now) + jittered;
    }
}
