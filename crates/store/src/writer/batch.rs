//! A batch in the making: events resolved against what is stored, or against what the batch itself holds of their key.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::client6;
use super::merge::{complete4, complete6};
use super::rival::{Claim, Rivalry};
use smallvec::SmallVec;

use crate::apply::Indexes;
use crate::event::{Event4, Event6, EventError, FeedEvent, State};
use crate::feeds::Feeds;
use crate::keys::Keys;
use crate::log::LogView;
use crate::record::{
    Bind4, Bind6, Record, encode_departed4, encode_feed, encode4, encode6, set_joined,
    set_sequence, trusted,
};
use crate::time::Stamp;

/// Octets of records after which a batch is closed, however many events wait: a sync should not take long.
const TARGET: usize = 8 << 20;
/// Where the fields begin that tell two records of a key apart: after length, kind, flags, feed, sequence and stamp.
const COMPARED: usize = 24;

/// Octets of a departure beyond those of the record that it is of.
const DEPARTURE: usize = 64;

/// A record of the batch that changes an index.
pub(crate) struct Entry {
    /// Offset in the batch's records.
    pub(crate) offset: usize,
    /// Slot of the key, if it had one when the batch was made.
    pub(crate) slot: Option<u32>,
    /// Entry of the same key before this one in the batch.
    pub(crate) earlier: Option<usize>,
}

/// Passes on what is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        self.0 = octets.iter().fold(self.0, |hash, octet| {
            hash.rotate_left(8) ^ u64::from(*octet)
        });
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Records that are to be appended together.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<u8>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) count: u32,
    pub(crate) first_sequence: u64,
    pub(crate) stamp: Stamp,
    limit: usize,
    /// Hash of a key to its newest entry.
    newest: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    /// Hash of a DUID to the entries with which leases came to the client.
    joined: HashMap<u64, SmallVec<[usize; 2]>, BuildHasherDefault<Hashed>>,
    scratch: Vec<u8>,
    /// Two feeds that have claimed one binding since this was asked last: the event's, and the stored binding's.
    conflict: Cell<Option<(u16, u16)>>,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the batch.
    Changed,
    /// It says what is stored already.
    Unchanged,
    /// Another feed has something newer.
    Outdated,
    /// It does not fit: commit the batch first, then try again.
    Full,
    /// It cannot be stored.
    Rejected(EventError),
}

/// What an event is resolved against.
pub(crate) struct Context<'c> {
    pub(crate) indexes: &'c Indexes,
    pub(crate) feeds: &'c mut Feeds,
    pub(crate) log: &'c LogView,
    /// Seconds after its end that a lease of a live feed may still be confirmed.
    pub(crate) grace: u32,
    /// Whether expiry waits for a feed to confirm the time.
    pub(crate) unconfirmed: bool,
}

impl Context<'_> {
    /// Whether a lease of this feed with this end is expired at `now`, by the rules of expiry.
    pub(crate) fn is_over(&self, feed: u16, end: u64, now: u32) -> bool {
        let read_up_to = self.feeds.live(feed);
        match read_up_to {
            Some(read_up_to) => u64::from(read_up_to) > end + u64::from(self.grace),
            None => end <= u64::from(now) && !self.unconfirmed,
        }
    }
}

impl Batch {
    /// Begins a batch. `limit` is the most octets of records that the log takes in one.
    pub(crate) fn begin(&mut self, first_sequence: u64, stamp: Stamp, limit: usize) {
        self.records.clear();
        self.entries.clear();
        self.newest.clear();
        self.joined.clear();
        self.count = 0;
        self.first_sequence = first_sequence;
        self.stamp = stamp;
        self.limit = limit;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether enough has come together.
    pub(crate) fn is_full(&self) -> bool {
        self.records.len() >= TARGET.min(self.limit)
    }

    /// Whether an event's record has room, with what it may take over from the stored one, and the departure of that. To be
    /// known before the event is completed: an event that has to wait for the next batch must be as it came.
    fn has_room(&self, event: usize, stored: usize) -> bool {
        self.is_empty() || self.records.len() + event + 2 * stored + DEPARTURE <= self.limit
    }

    fn sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.count)
    }

    /// The record of an entry.
    pub(crate) fn record(&self, entry: usize) -> Option<Record<'_>> {
        let offset = self.entries.get(entry)?.offset;
        let octets = &self.records[offset..];
        let length = u32::from_le_bytes(*octets.first_chunk()?) as usize;
        trusted(&octets[..length])
    }

    /// The newest record that the batch has of a lease.
    pub(super) fn newest6<'b>(&'b self, cx: &Context<'_>, lease: &Bind6<'_>) -> Option<Bind6<'b>> {
        if self.is_empty() {
            return None;
        }
        let (address, prefix_len) = (lease.address(), lease.prefix_len());
        let hasher = &cx.indexes.hasher;
        let hash = hasher.key6(lease.vpn().vss(), address, prefix_len);
        match self.record(*self.newest.get(&hash)?)? {
            Record::Bind6(newest)
                if (newest.address(), newest.prefix_len()) == (address, prefix_len) =>
            {
                Some(newest)
            }
            _ => None,
        }
    }

    /// The records with which leases came to clients in this batch whose DUID has this hash.
    pub(super) fn joined(&self, duid: u64) -> impl Iterator<Item = Bind6<'_>> {
        let entries = self.joined.get(&duid).into_iter().flatten();
        entries.filter_map(|&entry| match self.record(entry)? {
            Record::Bind6(lease) => Some(lease),
            _ => None,
        })
    }

    /// Octets that are left for departures beside a record of this length.
    fn room_beside(&self, record: usize) -> usize {
        self.limit.saturating_sub(self.records.len() + record)
    }

    fn note_conflict(&self, rivalry: Rivalry, event: u16, stored: u16) {
        if rivalry == Rivalry::Rivals {
            self.conflict.set(Some((event, stored)));
        }
    }

    /// Two feeds that have claimed one binding since this was asked last.
    pub(crate) fn take_conflict(&self) -> Option<(u16, u16)> {
        self.conflict.take()
    }

    /// Resolves an event of an IPv4 binding.
    pub(crate) fn add4(&mut self, event: &mut Event4, cx: &Context<'_>) -> Outcome {
        if !cx.feeds.has(event.feed) {
            return Outcome::Rejected(EventError::UnknownFeed { number: event.feed });
        }
        let hash = cx.indexes.hasher.key4(event.vpn.vss(), event.address);
        let earlier = self.newest.get(&hash).copied();
        let slot = match earlier {
            Some(entry) => self.entries[entry].slot,
            None => cx
                .indexes
                .slot4(cx.log, event.vpn.as_ref(), event.address, hash),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let stored = match earlier {
            Some(entry) => match self.record(entry) {
                Some(Record::Bind4(bind))
                    if bind.address() == event.address && bind.vpn() == event.vpn =>
                {
                    Some(bind)
                }
                // Two keys of one hash: very rare, and a batch apart they do no harm.
                _ => {
                    self.scratch = scratch;
                    return Outcome::Full;
                }
            },
            None => slot.and_then(|slot| cx.indexes.stored(cx.log).bind4(slot)),
        };
        if !self.has_room(
            event.most_octets(),
            stored.as_ref().map_or(0, |old| old.octets().len()),
        ) {
            self.scratch = scratch;
            return Outcome::Full;
        }
        let now = self.stamp.seconds();
        let feed = event.feed;
        let (rivalry, judge) = match &stored {
            Some(old) => {
                let rivalry = Rivalry::between(cx.feeds, feed, old.feed());
                event.feed = rivalry.owner(feed, old.feed());
                let is_renewed = event.cltt.is_none_or(|cltt| Some(cltt) > old.cltt());
                let judge = rivalry.judge(feed, old.feed(), old.state(), is_renewed);
                (rivalry, judge)
            }
            None => (Rivalry::None, feed),
        };
        complete4(event, stored.as_ref(), now, |end| {
            cx.is_over(judge, end, now)
        });
        encode4(&mut scratch, event, 0, self.stamp);
        let mut departed = Vec::new();
        if let Some(old) = &stored {
            let takes_over = rivalry.takes_over(cx.feeds, feed, old.state());
            if is_same(old.octets(), &scratch) && !takes_over {
                self.scratch = scratch;
                return Outcome::Unchanged;
            }
            let new = Bind4::trusted(&scratch);
            self.note_conflict(rivalry, feed, old.feed());
            if !rivalry.admits(Claim::of4(&new), Claim::of4(old)) {
                self.scratch = scratch;
                return Outcome::Outdated;
            }
            let had = old.remote_id().is_some() || old.relay_id().is_some();
            if had && (old.remote_id() != new.remote_id() || old.relay_id() != new.relay_id()) {
                encode_departed4(&mut departed, *old, 0, self.stamp);
            }
        }
        let outcome = self.put(&mut scratch, &mut departed, hash, slot, earlier);
        self.scratch = scratch;
        outcome
    }

    /// Resolves an event of an IPv6 lease.
    pub(crate) fn add6(&mut self, event: &mut Event6, cx: &Context<'_>) -> Outcome {
        if !cx.feeds.has(event.feed) {
            return Outcome::Rejected(EventError::UnknownFeed { number: event.feed });
        }
        let hash = cx
            .indexes
            .hasher
            .key6(event.vpn.vss(), event.address, event.prefix_len);
        let earlier = self.newest.get(&hash).copied();
        let slot = match earlier {
            Some(entry) => self.entries[entry].slot,
            None => cx.indexes.slot6(
                cx.log,
                event.vpn.as_ref(),
                event.address,
                event.prefix_len,
                hash,
            ),
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let stored = match earlier {
            Some(entry) => match self.record(entry) {
                Some(Record::Bind6(bind))
                    if bind.address() == event.address
                        && bind.prefix_len() == event.prefix_len
                        && bind.vpn() == event.vpn =>
                {
                    Some(bind)
                }
                _ => {
                    self.scratch = scratch;
                    return Outcome::Full;
                }
            },
            None => slot.and_then(|slot| cx.indexes.stored(cx.log).bind6(slot)),
        };
        if !self.has_room(
            event.most_octets(),
            stored.as_ref().map_or(0, |old| old.octets().len()),
        ) {
            self.scratch = scratch;
            return Outcome::Full;
        }
        let now = self.stamp.seconds();
        let feed = event.feed;
        let (rivalry, judge) = match &stored {
            Some(old) => {
                let rivalry = Rivalry::between(cx.feeds, feed, old.feed());
                event.feed = rivalry.owner(feed, old.feed());
                let is_renewed = event.cltt.is_none_or(|cltt| Some(cltt) > old.cltt());
                let judge = rivalry.judge(feed, old.feed(), old.state(), is_renewed);
                (rivalry, judge)
            }
            None => (Rivalry::None, feed),
        };
        complete6(event, stored.as_ref(), now, |end| {
            cx.is_over(judge, end, now)
        });
        encode6(&mut scratch, event, 0, self.stamp);
        let mut joined = None;
        let mut departed = Vec::new();
        if let Some(old) = &stored {
            let new = Bind6::trusted(&scratch);
            let links = cx.indexes.links.shared();
            let link =
                |lease: &Bind6<'_>| links.of_lease(lease.link(), lease.kind(), lease.address());
            // A link that is not known yet is another one; `None` equal to `None` would be two unknown ones.
            let stays = old.duid() == new.duid()
                && !new.duid().is_empty()
                && (old.link() == new.link() && old.kind() == new.kind()
                    || (link(old).is_some() && link(old) == link(&new)));
            if stays {
                joined = Some(old.joined());
                set_joined(&mut scratch, old.joined());
            }
            let takes_over = rivalry.takes_over(cx.feeds, feed, old.state());
            if is_same6(old.octets(), &scratch) && !takes_over {
                self.scratch = scratch;
                return Outcome::Unchanged;
            }
            let new = Bind6::trusted(&scratch);
            self.note_conflict(rivalry, feed, old.feed());
            if !rivalry.admits(Claim::of6(&new), Claim::of6(old)) {
                self.scratch = scratch;
                return Outcome::Outdated;
            }
            let had = !old.duid().is_empty() || old.hops().next().is_some();
            let departs = !stays || old.link() != new.link() || !old.hops().eq(new.hops());
            if had && (departs || old.state() != new.state()) {
                let others = client6::others(self, cx, old, slot, earlier.is_none());
                let room = self.room_beside(scratch.len());
                if departs {
                    client6::depart(&mut departed, old, &others, room, self.stamp);
                }
                let stays = stays.then_some(&new);
                client6::others_depart(&mut departed, old, stays, &others, room, self.stamp);
            }
        }
        if joined.is_none() {
            let departures = records_in(&departed) as u64;
            set_joined(&mut scratch, self.sequence() + departures);
        }
        let joins = joined.is_none() && !Bind6::trusted(&scratch).duid().is_empty();
        let outcome = self.put(&mut scratch, &mut departed, hash, slot, earlier);
        if joins && outcome == Outcome::Changed {
            let duid = cx.indexes.hasher.duid(Bind6::trusted(&scratch).duid());
            let entry = self.entries.len() - 1;
            self.joined.entry(duid).or_default().push(entry);
        }
        self.scratch = scratch;
        outcome
    }

    /// Resolves an event of a feed.
    pub(crate) fn add_feed(&mut self, event: &FeedEvent, cx: &mut Context<'_>) -> Outcome {
        let number = match cx.feeds.number(&event.name) {
            Ok(number) => number,
            Err(error) => return Outcome::Rejected(error),
        };
        if cx.feeds.is_unchanged(number, event) {
            return Outcome::Unchanged;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode_feed(&mut scratch, number, event, 0, self.stamp);
        let outcome = self.append(&mut scratch, &mut []);
        self.scratch = scratch;
        match outcome {
            Ok(offset) => {
                self.entries.push(Entry {
                    offset,
                    slot: None,
                    earlier: None,
                });
                Outcome::Changed
            }
            Err(outcome) => outcome,
        }
    }

    /// Adds the end of a lease that ran out: its record with state EXPIRED since the end of its lease. False: the batch
    /// is full, or has a record of this key already.
    pub(crate) fn expire(&mut self, slot: u32, record: Record<'_>, cx: &Context<'_>) -> bool {
        let (hash, octets, state_at, since_at, end) = match record {
            Record::Bind4(bind) => {
                let hash = cx.indexes.hasher.key4(bind.vpn().vss(), bind.address());
                (hash, bind.octets(), 28, 36, bind.end())
            }
            Record::Bind6(bind) => {
                let hash =
                    cx.indexes
                        .hasher
                        .key6(bind.vpn().vss(), bind.address(), bind.prefix_len());
                (hash, bind.octets(), 42, 52, bind.end())
            }
            _ => return true,
        };
        let Some(end) = end else { return true };
        if self.newest.contains_key(&hash) {
            return false;
        }
        let mut expired = octets.to_vec();
        expired[state_at] = State::Expired as u8;
        let since = u32::try_from(end).unwrap_or(u32::MAX);
        expired[since_at..since_at + 4].copy_from_slice(&since.to_le_bytes());
        let mut departed = Vec::new();
        if let Record::Bind6(old) = &record {
            let others = client6::others(self, cx, old, Some(slot), true);
            let room = self.room_beside(expired.len());
            client6::others_depart(&mut departed, old, None, &others, room, self.stamp);
        }
        self.put(&mut expired, &mut departed, hash, Some(slot), None) == Outcome::Changed
    }

    fn put(
        &mut self,
        record: &mut [u8],
        departed: &mut [u8],
        hash: u64,
        slot: Option<u32>,
        earlier: Option<usize>,
    ) -> Outcome {
        match self.append(record, departed) {
            Ok(offset) => {
                self.newest.insert(hash, self.entries.len());
                self.entries.push(Entry {
                    offset,
                    slot,
                    earlier,
                });
                Outcome::Changed
            }
            Err(outcome) => outcome,
        }
    }

    /// Appends a record, and the departures before it if there are any. Gives the record's offset.
    fn append(&mut self, record: &mut [u8], departed: &mut [u8]) -> Result<usize, Outcome> {
        let octets = record.len() + departed.len();
        if self.records.len() + octets > self.limit {
            if self.is_empty() {
                let error = EventError::TooLong {
                    field: "record",
                    found: octets,
                    most: self.limit,
                };
                return Err(Outcome::Rejected(error));
            }
            return Err(Outcome::Full);
        }
        let mut rest = departed;
        while let Some(length) = length_of(rest) {
            let (departure, others) = rest.split_at_mut(length);
            set_sequence(departure, self.sequence(), self.stamp);
            self.records.extend_from_slice(departure);
            self.count += 1;
            rest = others;
        }
        set_sequence(record, self.sequence(), self.stamp);
        let offset = self.records.len();
        self.records.extend_from_slice(record);
        self.count += 1;
        Ok(offset)
    }
}

/// Octets of the record at the start of encoded ones; none at their end.
fn length_of(records: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(*records.first_chunk()?) as usize;
    (1..=records.len()).contains(&length).then_some(length)
}

/// Number of records in encoded ones.
fn records_in(mut records: &[u8]) -> usize {
    let mut count = 0;
    while let Some(length) = length_of(records) {
        records = &records[length..];
        count += 1;
    }
    count
}

/// Whether two records of a key say the same: all but feed, sequence and stamp.
fn is_same(old: &[u8], new: &[u8]) -> bool {
    old.len() == new.len() && old[4..6] == new[4..6] && old[COMPARED..] == new[COMPARED..]
}

/// As [`is_same`], leaving out with which record the lease came to its client.
fn is_same6(old: &[u8], new: &[u8]) -> bool {
    old.len() == new.len()
        && old[4..6] == new[4..6]
        && old[COMPARED..64] == new[COMPARED..64]
        && old[72..] == new[72..]
}
