//! The way of a feed's events into the store, with the position that they bring the feed to.
//!
//! The position never is ahead of the events, whatever fails. If nothing else is under way, events and the position behind them
//! are one submission, which the store writes in that order. But a submission may fail, for want of room on the disk, and a
//! smaller one after it be stored; so while others are under way a submission carries only a position of which is known that
//! everything before it is durable. Events that are read a second time change nothing.

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
    /// Everything before this is durable, and the store does not have it yet.
    behind: Option<Progress>,
    in_flight: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    ticket: Ticket,
    events: u64,
    read_up_to: Stamp,
    /// How far it brings the feed, if it does not carry that itself.
    progress: Option<Progress>,
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
            behind: None,
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
        if let Some(progress) = &progress {
            self.progress = progress.clone();
        }
        while self.in_flight.len() >= MAX_IN_FLIGHT {
            self.settle_one()?;
        }
        let (carried, later) = match self.in_flight.is_empty() {
            true => (progress.or(self.behind.take()), None),
            false => (self.behind.take(), progress),
        };
        self.behind = None;
        events.extend(carried.map(|progress| self.event(progress)));
        if events.is_empty() && later.is_none() {
            return Ok(());
        }
        let ticket = self.store.submit(events)?;
        self.in_flight.push_back(Sent {
            ticket,
            events: count,
            read_up_to: self.progress.read_up_to,
            progress: later,
        });
        Ok(())
    }

    /// The feed's position as an event.
    fn event(&self, progress: Progress) -> Event {
        Event::Feed(FeedEvent {
            name: self.status.name().to_owned(),
            position: progress.position,
            read_up_to: progress.read_up_to,
            live: true,
        })
    }

    /// Says that the feed is followed from where it is, before it has read anything: from now on its leases wait for it, and it
    /// takes over those of feeds that are followed no more.
    ///
    /// # Errors
    /// As [`Intake::settle`].
    pub fn announce(&mut self) -> Result<(), IntakeError> {
        self.submit(Vec::new(), Some(self.progress.clone()))?;
        self.settle()
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

    /// Waits until everything handed over is durable, the last position too.
    ///
    /// # Errors
    /// As [`Intake::submit`].
    pub fn settle(&mut self) -> Result<(), IntakeError> {
        while !self.in_flight.is_empty() || self.behind.is_some() {
            if self.in_flight.is_empty() {
                self.submit(Vec::new(), None)?;
            }
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
        if sent.progress.is_some() {
            self.behind = sent.progress;
        }
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

#[cfg(test)]
mod tests {
    use leaseq_store::log::testing::FaultDisk;
    use leaseq_store::{Event4, Options, State, Topology};

    use super::*;

    /// Leases of this many addresses, each with an octet-rich client identifier.
    fn leases(feed: u16, count: u32, octets: usize) -> Vec<Event> {
        let lease = |number: u32| {
            Event::V4(Event4 {
                client_id: Some(vec![1; octets]),
                cltt: Some(1_700_000_000),
                feed,
                ..Event4::new((0x0a00_0000 + number).into(), State::Active)
            })
        };
        (0..count).map(lease).collect()
    }

    fn progress(position: u8) -> Option<Progress> {
        Some(Progress {
            position: vec![position],
            read_up_to: Stamp::from_millis(u64::from(position)),
        })
    }

    fn position(store: &Store) -> Vec<u8> {
        store.feeds()[0].position.clone()
    }

    fn intake(store: &Arc<Store>) -> Intake {
        let status = Arc::new(Status::new("leases", "test", None, "nowhere"));
        Intake::open(Arc::clone(store), status).unwrap()
    }

    #[test]
    fn no_position_is_kept_behind_leases_for_which_there_was_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultDisk::new(dir.path()).unwrap();
        let options = Options {
            segment_size: 64 << 10,
            ..Options::default()
        };
        let store = Store::open_on(
            Arc::new(disk.clone()),
            dir.path(),
            options,
            Topology::default(),
        );
        let store = Arc::new(store.unwrap());
        let mut feed = intake(&store);
        feed.submit(leases(1, 10, 6), progress(1)).unwrap();
        feed.settle().unwrap();
        assert_eq!(position(&store), [1]);
        disk.set_room(Some(0));
        // Segments that were made ahead are filled first; what is small still has room then.
        let (mut round, mut kept) = (1, vec![1]);
        let failed = loop {
            round += 1;
            let octets = 200 + usize::from(round);
            feed.submit(leases(1, 150, octets), progress(round))
                .unwrap();
            // Behind this it has been stored or has failed, and nobody has asked yet.
            let _ = store.submit(Vec::new()).unwrap().wait();
            feed.submit(leases(1, 1, 6), progress(100 + round)).unwrap();
            match feed.settle() {
                Ok(()) => kept = vec![100 + round],
                Err(error) => break error,
            }
            assert_eq!(position(&store), kept);
        };
        assert!(matches!(failed, IntakeError::Commit(_)), "{failed}");
        // The small one has been stored by then.
        let _ = store.submit(Vec::new()).unwrap().wait();
        assert_eq!(position(&store), kept);
        disk.set_room(None);
        let mut feed = intake(&store);
        assert_eq!(feed.progress().position, kept);
        feed.submit(leases(1, 150, 200 + usize::from(round)), progress(round))
            .unwrap();
        feed.settle().unwrap();
        assert_eq!(position(&store), [round]);
    }

    #[test]
    fn the_last_of_several_positions_under_way_is_kept_when_all_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default(), Topology::default());
        let store = Arc::new(store.unwrap());
        let mut feed = intake(&store);
        for number in 1..=20 {
            feed.submit(leases(1, u32::from(number), 6), progress(number))
                .unwrap();
        }
        feed.settle().unwrap();
        assert_eq!(
            (position(&store), &feed.progress().position),
            (vec![20], &vec![20])
        );
        assert_eq!(feed.status().snapshot().events, (1..=20).sum::<u64>());
        assert_eq!(feed.status().snapshot().read_up_to.millis(), 20);
        let records = store.reader().published().sequence;
        feed.announce().unwrap();
        feed.settle().unwrap();
        assert_eq!(store.reader().published().sequence, records);
    }
}
