//! The connections that are open: how many there may be, how long each may be silent, and which gives way to a new one.
//!
//! Kea opens a few connections and keeps them. Whoever else reaches the port must not keep Kea out: a connection on which no
//! command was answered yet gives way when all places are taken, the oldest first; one that was of use never does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How many connections, and how long each may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// At a time.
    pub(super) connections: usize,
    /// From accepting a connection to the end of its first request's header, a TLS handshake between them included.
    pub(super) first_request: Duration,
    /// From one request to the next, whether the client sends nothing, a header piece by piece, or reads no answers.
    pub(super) idle: Duration,
    /// For a body.
    pub(super) body: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 64,
            first_request: Duration::from_secs(20),
            // Kea keeps its connections open.
            idle: Duration::from_secs(600),
            body: Duration::from_secs(20),
        }
    }
}

/// All connections.
pub(super) struct Places {
    limits: Limits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    /// In the order in which they were accepted.
    places: BTreeMap<u64, Arc<Place>>,
}

struct Place {
    use_: Mutex<Use>,
    gives_way: Notify,
}

#[derive(Clone, Copy)]
struct Use {
    /// When it has to have sent the next request.
    until: Instant,
    /// A command was answered on it.
    was_of_use: bool,
}

/// The place of one connection, free again when this is dropped.
pub(super) struct Taken {
    all: Arc<Places>,
    number: u64,
    place: Arc<Place>,
}

/// Why a connection must end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was silent.
    Silent,
    /// Another one has its place.
    GaveWay,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Arc<Places> {
        Arc::new(Places {
            limits,
            open: Mutex::default(),
        })
    }

    /// A place for a new connection; `None` if each of the others was of use.
    pub(super) fn take(self: &Arc<Places>) -> Option<Taken> {
        let mut open = lock(&self.open);
        if open.places.len() >= self.limits.connections {
            let (number, _) = open
                .places
                .iter()
                .find(|(_, place)| !lock(&place.use_).was_of_use)?;
            let number = *number;
            open.places.remove(&number)?.gives_way.notify_one();
        }
        let place = Arc::new(Place {
            use_: Mutex::new(Use {
                until: Instant::now() + self.limits.first_request,
                was_of_use: false,
            }),
            gives_way: Notify::new(),
        });
        let number = open.next;
        open.next += 1;
        open.places.insert(number, Arc::clone(&place));
        Some(Taken {
            all: Arc::clone(self),
            number,
            place,
        })
    }
}

impl Taken {
    /// A request has begun.
    pub(super) fn begin(&self) {
        lock(&self.place.use_).until = Instant::now() + self.all.limits.idle;
    }

    /// A command was answered.
    pub(super) fn was_of_use(&self) {
        lock(&self.place.use_).was_of_use = true;
    }

    /// Waits until the connection must end.
    pub(super) async fn must_end(&self) -> Ending {
        loop {
            let until = lock(&self.place.use_).until;
            tokio::select! {
                () = self.place.gives_way.notified() => return Ending::GaveWay,
                () = sleep_until(until) => {}
            }
            if lock(&self.place.use_).until <= Instant::now() {
                return Ending::Silent;
            }
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // It may have given way, and another has another number.
        lock(&self.all.open).places.remove(&self.number);
    }
}

fn lock<T>(locked: &Mutex<T>) -> MutexGuard<'_, T> {
    locked.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize) -> Arc<Places> {
        Places::new(Limits {
            connections,
            ..Limits::default()
        })
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn the_oldest_that_was_of_no_use_gives_way() {
        let places = places(3);
        let taken: Vec<Taken> = (0..3).map(|_| places.take().unwrap()).collect();
        taken[0].was_of_use();
        let fourth = places.take().unwrap();
        assert_eq!(block_on(taken[1].must_end()), Ending::GaveWay);
        fourth.was_of_use();
        taken[2].was_of_use();
        assert!(places.take().is_none(), "all are of use");
        drop(taken);
        assert_eq!(lock(&places.open).places.len(), 1);
        assert!(places.take().is_some());
    }

    #[test]
    fn one_that_is_silent_must_end() {
        let limits = Limits {
            first_request: Duration::ZERO,
            ..Limits::default()
        };
        let taken = Places::new(limits).take().unwrap();
        assert_eq!(block_on(taken.must_end()), Ending::Silent);
        let limits = Limits {
            idle: Duration::ZERO,
            ..Limits::default()
        };
        let taken = Places::new(limits).take().unwrap();
        taken.begin();
        assert_eq!(block_on(taken.must_end()), Ending::Silent);
    }
}
