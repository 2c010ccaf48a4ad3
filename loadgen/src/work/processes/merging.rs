//! Makes one of what several workers tell.

use std::collections::VecDeque;

use super::Told;
use crate::measure::Measures;
use crate::work::plan::{Outcome, Progress};

/// Intervals that a worker may be behind the others before they are told without it.
const MOST_BEHIND: usize = 8;

/// What the workers have told so far.
#[derive(Debug)]
pub(super) struct Merging {
    workers: Vec<Worker>,
    outcome: Outcome,
    /// The end was told.
    is_finished: bool,
}

#[derive(Debug, Default)]
struct Worker {
    is_ready: bool,
    /// Intervals that were not told on yet.
    waiting: VecDeque<Progress>,
    /// How it stood at the last one that was.
    standing: Progress,
    has_ended: bool,
}

impl Merging {
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Worker::default()).collect(),
            outcome: Outcome::default(),
            is_finished: false,
        }
    }

    pub fn take(&mut self, worker: usize, told: Told) {
        let Some(worker) = self.workers.get_mut(worker) else {
            return;
        };
        match told {
            Told::Ready => worker.is_ready = true,
            Told::Progress(progress) => worker.waiting.push_back(*progress),
            Told::Outcome(outcome) => {
                worker.has_ended = true;
                self.outcome.merge(*outcome);
            }
        }
    }

    /// All wait for their begin, or have begun.
    pub fn is_ready(&self) -> bool {
        self.workers.iter().all(|worker| worker.is_ready)
    }

    /// The worker has told what came of its relays.
    pub fn has_ended(&self, worker: usize) -> bool {
        self.workers
            .get(worker)
            .is_some_and(|worker| worker.has_ended)
    }

    /// All have.
    pub fn is_over(&self) -> bool {
        self.workers.iter().all(|worker| worker.has_ended)
    }

    /// What came of all relays, once, when all have ended.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.is_over().then(|| std::mem::take(&mut self.outcome))
    }

    /// The intervals that all workers have told, or that some are too far behind with.
    pub fn progress(&mut self) -> Vec<Progress> {
        let mut told = Vec::new();
        while self.is_interval_over() {
            let mut merged = Progress {
                is_finished: true,
                ..Progress::default()
            };
            for worker in &mut self.workers {
                if let Some(next) = worker.waiting.pop_front() {
                    merged.at = merged.at.max(next.at);
                    merged.since_last.add(&next.since_last);
                    worker.standing = Progress {
                        since_last: Measures::default(),
                        ..next
                    };
                }
                merged.add_standing(&worker.standing);
                merged.is_finished &= worker.standing.is_finished && worker.waiting.is_empty();
            }
            self.is_finished = merged.is_finished;
            told.push(merged);
        }
        told
    }

    fn is_interval_over(&self) -> bool {
        if self.is_finished {
            return false;
        }
        let workers = || self.workers.iter();
        let has_told = |worker: &Worker| {
            // Who has finished tells nothing more.
            !worker.waiting.is_empty() || worker.standing.is_finished
        };
        let is_ahead = |worker: &Worker| worker.waiting.len() > MOST_BEHIND;
        workers().any(|worker| !worker.waiting.is_empty())
            && (workers().all(has_told) || workers().any(is_ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Count;
    use crate::result::State;
    use std::collections::BTreeMap;

    fn told(at: f64, recovering: u32, bindings: u64, is_finished: bool) -> Told {
        let mut progress = Progress {
            at,
            states: BTreeMap::from([(State::Recovering, recovering)]),
            is_finished,
            ..Progress::default()
        };
        progress.since_last.count(Count::Bindings, bindings);
        Told::Progress(Box::new(progress))
    }

    fn figures(merging: &mut Merging) -> Vec<(f64, u32, u64, bool)> {
        let told = merging.progress().into_iter();
        told.map(|progress| {
            let states = progress.states[&State::Recovering];
            let bindings = progress.since_last.counted(Count::Bindings);
            (progress.at, states, bindings, progress.is_finished)
        })
        .collect()
    }

    #[test]
    fn an_interval_is_told_when_all_have_told_it() {
        let mut merging = Merging::new(2);
        merging.take(0, Told::Ready);
        assert!(!merging.is_ready());
        merging.take(1, Told::Ready);
        assert!(merging.is_ready());
        merging.take(0, told(1.0, 5, 100, false));
        assert_eq!(figures(&mut merging), []);
        merging.take(1, told(1.1, 4, 10, false));
        assert_eq!(figures(&mut merging), [(1.1, 9, 110, false)]);
        // One is done early: it stays as it was, and is not waited for.
        merging.take(1, told(1.5, 0, 1, true));
        merging.take(0, told(2.0, 3, 20, false));
        merging.take(0, told(3.0, 2, 30, false));
        assert_eq!(
            figures(&mut merging),
            [(2.0, 3, 21, false), (3.0, 2, 30, false)]
        );
        merging.take(0, told(3.5, 0, 7, true));
        assert_eq!(figures(&mut merging), [(3.5, 0, 7, true)]);
        assert_eq!(figures(&mut merging), []);
        assert!(merging.take_outcome().is_none());
        for worker in 0..2 {
            merging.take(worker, Told::Outcome(Box::default()));
        }
        assert!(merging.take_outcome().is_some());
    }

    #[test]
    fn one_that_says_nothing_does_not_silence_the_others_for_ever() {
        let mut merging = Merging::new(2);
        merging.take(1, told(1.0, 4, 0, false));
        for interval in 1..=10 {
            merging.take(0, told(f64::from(interval), 5, 1, false));
        }
        let figures = figures(&mut merging);
        assert_eq!(figures.len(), 2);
        assert_eq!(figures[1], (2.0, 9, 1, false));
    }
}
