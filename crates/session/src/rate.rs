//! Queries a second for each requestor, exact for all cores together, in memory taken once.
//!
//! A bucket is a single moment: when the requestor's next query would be due if it kept exactly to its rate. A query
//! may run ahead of that by up to a second, so that a requestor may send one second's worth at once. Buckets live in
//! small sets found by the requestor's address; a full set gives up the bucket that is closest to full, which makes
//! no difference to its owner unless that one is over its rate as well.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::Mono;

const SETS: usize = 1_024;
const WAYS: usize = 8;
/// How far ahead of its rate a requestor may be.
const BURST_MICROS: u64 = 1_000_000;

/// Buckets for requestors' addresses.
pub(crate) struct Rates {
    sets: OnceLock<Box<[Mutex<[Bucket; WAYS]>]>>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Bucket {
    requestor: Option<IpAddr>,
    /// When the next query would be due at the exact rate, in microseconds of monotonic time.
    due_micros: u64,
}

impl Rates {
    /// Without buckets yet: they are made when a limit is first asked about.
    pub(crate) fn new() -> Rates {
        Rates {
            sets: OnceLock::new(),
            hasher: RandomState::new(),
        }
    }

    /// Takes one query out of a requestor's bucket.
    ///
    /// # Errors
    /// The bucket is empty; the moment when it will hold a query again.
    pub(crate) fn take(&self, requestor: IpAddr, per_second: u32, now: Mono) -> Result<(), Mono> {
        if per_second == 0 {
            return Ok(());
        }
        let empty = Bucket {
            requestor: None,
            due_micros: 0,
        };
        let sets = self
            .sets
            .get_or_init(|| (0..SETS).map(|_| Mutex::new([empty; WAYS])).collect());
        let at = self.hasher.hash_one(requestor) as usize % SETS;
        let mut set = sets[at].lock().unwrap_or_else(PoisonError::into_inner);
        let way = set
            .iter()
            .position(|bucket| bucket.requestor == Some(requestor))
            .unwrap_or_else(|| {
                let fullest = (0..WAYS)
                    .min_by_key(|way| set[*way].due_micros)
                    .unwrap_or(0);
                set[fullest] = Bucket {
                    requestor: Some(requestor),
                    due_micros: 0,
                };
                fullest
            });
        let now_micros = now.as_millis().saturating_mul(1_000);
        let due = set[way]
            .due_micros
            .max(now_micros)
            .saturating_add(1_000_000 / u64::from(per_second));
        if due - now_micros > BURST_MICROS {
            let ready_micros = due - BURST_MICROS;
            return Err(Mono::from_millis(ready_micros.div_ceil(1_000)));
        }
        set[way].due_micros = due;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requestor(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_second_s_worth_at_once_then_the_rate() {
        let rates = Rates::new();
        let start = Mono::from_millis(10_000);
        for query in 0..5 {
            assert_eq!(rates.take(requestor(1), 5, start), Ok(()), "query {query}");
        }
        let ready = rates.take(requestor(1), 5, start).unwrap_err();
        assert_eq!(ready, Mono::from_millis(10_200));
        assert_eq!(
            rates.take(requestor(2), 5, start),
            Ok(()),
            "another requestor has its own bucket"
        );
        assert_eq!(rates.take(requestor(1), 5, ready), Ok(()));
        assert!(rates.take(requestor(1), 5, ready).is_err());
    }

    #[test]
    fn no_limit_takes_no_memory() {
        let rates = Rates::new();
        assert!((0..1_000).all(|_| rates.take(requestor(1), 0, Mono::default()).is_ok()));
        assert!(rates.sets.get().is_none());
    }

    #[test]
    fn more_requestors_than_buckets_never_stop_a_new_one() {
        let rates = Rates::new();
        for number in 0..100_000_u32 {
            assert_eq!(
                rates.take(IpAddr::from(number.to_be_bytes()), 1, Mono::default()),
                Ok(())
            );
        }
    }
}
