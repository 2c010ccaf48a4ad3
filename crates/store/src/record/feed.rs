//! Feed records: name, position and read-up-to time of a feed.

use super::{begin, kind, seal, u16_at, u64_at};
use crate::event::FeedEvent;
use crate::time::Stamp;

const FIXED: usize = 40;

/// How far a feed had been read.
#[derive(Clone, Copy, Debug)]
pub struct FeedRecord<'a> {
    octets: &'a [u8],
}

impl<'a> FeedRecord<'a> {
    pub(super) fn check(octets: &'a [u8]) -> Result<Self, String> {
        if octets.len() < FIXED {
            return Err(format!("a feed record of {} octets", octets.len()));
        }
        let record = FeedRecord { octets };
        let used = FIXED + record.name_len() + usize::from(u16_at(octets, 34));
        if used > octets.len() {
            return Err(format!(
                "a feed record of {} octets whose fields take {used}",
                octets.len()
            ));
        }
        if record.number() == 0 {
            return Err("a feed record without a number".to_owned());
        }
        if std::str::from_utf8(&octets[FIXED..FIXED + record.name_len()]).is_err() {
            return Err("a feed's name that is not UTF-8".to_owned());
        }
        Ok(record)
    }

    pub(super) fn trusted(octets: &'a [u8]) -> Self {
        FeedRecord { octets }
    }

    pub(crate) fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Number of the feed, from 1.
    pub fn number(&self) -> u16 {
        u16_at(self.octets, 6)
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        std::str::from_utf8(&self.octets[FIXED..FIXED + self.name_len()]).unwrap_or_default()
    }

    /// Where to go on reading, in the feed's own format.
    pub fn position(&self) -> &'a [u8] {
        let start = FIXED + self.name_len();
        &self.octets[start..start + usize::from(u16_at(self.octets, 34))]
    }

    /// Nothing that the source did before this is unknown.
    pub fn read_up_to(&self) -> Stamp {
        Stamp::from_millis(u64_at(self.octets, 24))
    }

    /// Whether the feed is followed.
    pub fn live(&self) -> bool {
        self.octets[36] == 1
    }

    /// Sequence of the record.
    pub fn sequence(&self) -> u64 {
        super::sequence(self.octets)
    }

    /// When it was committed.
    pub fn stamp(&self) -> Stamp {
        super::stamp(self.octets)
    }

    fn name_len(&self) -> usize {
        usize::from(u16_at(self.octets, 32))
    }
}

/// Appends the record of a checked event of the feed with this number, and gives its octets.
pub(crate) fn encode_feed(
    out: &mut Vec<u8>,
    number: u16,
    event: &FeedEvent,
    sequence: u64,
    stamp: Stamp,
) -> usize {
    let start = begin(out, kind::FEED, 0, number);
    out.extend_from_slice(&event.read_up_to.millis().to_le_bytes());
    out.extend_from_slice(&(event.name.len() as u16).to_le_bytes());
    out.extend_from_slice(&(event.position.len() as u16).to_le_bytes());
    out.extend_from_slice(&[u8::from(event.live), 0, 0, 0]);
    out.extend_from_slice(event.name.as_bytes());
    out.extend_from_slice(&event.position);
    seal(out, start, sequence, stamp)
}
