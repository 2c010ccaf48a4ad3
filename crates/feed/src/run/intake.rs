//! The way of a feed's events into the store, with the position that they bring the feed to.
//!
//! Events and the position behind them are one submission, and the store writes them in that order: after a loss of power
//! the position never is ahead of the events. Events that are read a second time change nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use leaseq_store::{
    CommitError, Event, FeedEvent, FeedIdError, FeedState, Stamp, Store, SubmitError, Ticket,
};

use super::status::Status;

/// Submissions that may wait for their commit.
const MAX_IN_FLIGHT: usize = 4;
/// A position is written again only this long after the last time if nothing but the time has changed.
pub const CONFIRM_EVERY: Duration = Duration::from_secs(5);

/// Why the store took no events.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The store takes nothing.
    #[error("cannot store leases: {0}")]
    Submit(#[from] SubmitError),
    /// The store could not make them durable.
    #[error("cannot store leases: {0}")]
    Commit(#[from] CommitError),
    /// The feed's name got no number.
    #[error("cannot store the feed's name: {0}")]
    Feed(#[from] FeedIdError),
}

/// How far a feed has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where to go on reading, in the feed's own format; at most 4,096 octets.
    pub position: Vec<u8>,
    /// Nothing that the source did before this is unknown. Take it from [`Intake::now`] before the read that found the end.
    pub read_up_to: Stamp,
}

/// A feed's way into the store.
#[derive(Debug)]
pub struct Intake {
    store: Arc<Store>,
    status: Arc<Status>,
    number: u16,
    progress: Progress,
    in_flight: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    events: u64,
    read_up_to: Stamp,
}

impl Intake {
    /// The way for the feed that `status` is of; the store gives it a number by its name if it has none.
    pub fn open(store: Arc<Store>, status: Arc<Status>) -> Result<Intake, IntakeError> {
        let number = store.feed_id(status.name())?;
        let known = store.feeds().into_iter().find(|feed| feed.number == number);
        let progress = known.map_or(
            Progress {
                position: Vec::new(),
                read_up_to: Stamp::ZERO,
            },
            |feed| Progress {
                position: feed.position,
                read_up_to: feed.read_up_to,
            },
        );
        status.set_read_up_to(progress.read_up_to);
        Ok(Intake {
            store,
            status,
            number,
            progress,
            in_flight: VecDeque::new(),
        })
    }

    /// The number to put into each event.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The status to be written to.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Server time.
    pub fn now(&self) -> Stamp {
        self.store.reader().now()
    }

    /// How far the feed has come, by what was submitted last or what the store kept; its position is empty at first.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Hands over events, and how far they bring the feed. Waits while four submissions are under way.
    ///
    /// # Errors
    /// The error may be one of an earlier submission. Nothing after the last durable position counts as read then: open a new
    /// `Intake` and go on from its [`Intake::progress`].
    pub fn submit(
        &mut self,
        mut events: Vec<Event>,
        progress: Option<Progress>,
    ) -> Result<(), IntakeError> {
        let count = events.len() as u64;
        if let Some(progress) = progress {
            events.push(Event::Feed(FeedEvent {
                name: self.status.name().to_owned(),
                position: progress.position.clone(),
                read_up_to: progress.read_up_to,
                live: true,
            }));
            self.progress = progress;
        }
        if events.is_empty() {
            return Ok(());
        }
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.settle_one()?;
        }
        let ticket = self.store.submit(events)?;
        self.in_flight.push_back(Sent {
            ticket,
            events: count,
            read_up_to: self.progress.read_up_to,
        });
        Ok(())
    }

    /// Says that the source was found read to its end, with nothing new, at `read_up_to`; written every [`CONFIRM_EVERY`].
    pub fn confirm(&mut self, read_up_to: Stamp) -> Result<(), IntakeError> {
        let since = read_up_to
            .millis()
            .saturating_sub(self.progress.read_up_to.millis());
        if u128::from(since) < CONFIRM_EVERY.as_millis() {
            return self.settle();
        }
        let position = self.progress.position.clone();
        self.submit(
            Vec::new(),
            Some(Progress {
                position,
                read_up_to,
            }),
        )?;
        self.settle()
    }

    /// Waits until everything handed over is durable.
    pub fn settle(&mut self) -> Result<(), IntakeError> {
        while !self.in_flight.is_empty() {
            self.settle_one()?;
        }
        Ok(())
    }

    fn settle_one(&mut self) -> Result<(), IntakeError> {
        let Some(sent) = self.in_flight.pop_front() else {
            return Ok(());
        };
        let committed = sent.ticket.wait()?;
        for (_, reason) in &committed.rejected {
            self.status.reject(reason);
        }
        let rejected = committed.rejected.len() as u64;
        self.status.count(
            sent.events.saturating_sub(rejected),
            committed.changed.into(),
        );
        self.status.set_read_up_to(sent.read_up_to);
        Ok(())
    }
}

/// Marks feeds that the store holds as followed and that are not in `names` as no longer followed, so that their leases end by
/// the clock. Returns the names of those that were.
pub fn retire_others(store: &Store, names: &[&str]) -> Result<Vec<String>, IntakeError> {
    let gone: Vec<FeedState> = store
        .feeds()
        .into_iter()
        .filter(|feed| feed.live && !names.contains(&feed.name.as_str()))
        .collect();
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    let retired = gone.iter().map(|feed| feed.name.clone()).collect();
    let events = gone.into_iter().map(|feed| {
        Event::Feed(FeedEvent {
            name: feed.name,
            position: feed.position,
            read_up_to: feed.read_up_to,
            live: false,
        })
    });
    store.submit(events.collect())?.wait()?;
    Ok(retired)
}
