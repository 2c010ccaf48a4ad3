//! Records: the common header, the kinds, and the check that each record passes before anything is read from it.
//!
//! The layouts are drawn in `docs/store-format.md`. Integers of the store are little endian; what goes out on the wire lies
//! in the record as it goes out.

use std::net::Ipv6Addr;

use crate::event::{Link6, MAX_RECORD};
use crate::time::Stamp;

mod bind4;
mod bind6;
mod departed;
mod encode4;
mod encode6;
mod feed;
mod options;

pub use bind4::Bind4;
pub use bind6::{Bind6, Hop, Hops};
pub use departed::{Departed4, Departed6};
pub(crate) use departed::{encode_departed4, encode_departed6};
pub(crate) use encode4::encode4;
pub(crate) use encode6::{encode6, set_joined};
pub use feed::FeedRecord;
pub(crate) use feed::encode_feed;

/// Octets of the header that all records have.
pub(crate) const HEADER: usize = 24;
/// Flag: the source has the binding from another server.
pub(crate) const FLAG_REMOTE: u8 = 1;
/// Flag: the client's last transaction is known.
pub(crate) const FLAG_CLTT: u8 = 2;

/// Kinds of records.
pub(crate) mod kind {
    pub const BIND4: u8 = 1;
    pub const BIND6: u8 = 2;
    pub const DEPARTED4: u8 = 3;
    pub const DEPARTED6: u8 = 4;
    pub const FEED: u8 = 5;
}

/// A record of the log, whole and checked.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// State of an IPv4 address.
    Bind4(Bind4<'a>),
    /// State of an IPv6 address or delegated prefix.
    Bind6(Bind6<'a>),
    /// Selector values that an IPv4 binding had until then.
    Departed4(Departed4<'a>),
    /// Selector values that an IPv6 binding had until then.
    Departed6(Departed6<'a>),
    /// How far a feed was read.
    Feed(FeedRecord<'a>),
}

/// Reads a record, checking that no accessor can reach outside of it. The error says what is wrong, and where.
pub(crate) fn parse(octets: &[u8]) -> Result<Record<'_>, String> {
    if octets.len() < HEADER || octets.len() > MAX_RECORD || !octets.len().is_multiple_of(8) {
        return Err(format!("a record of {} octets", octets.len()));
    }
    let said = u32_at(octets, 0) as usize;
    if said != octets.len() {
        return Err(format!(
            "a record of {} octets that says {said}",
            octets.len()
        ));
    }
    match octets[4] {
        kind::BIND4 => Bind4::check(octets).map(Record::Bind4),
        kind::BIND6 => Bind6::check(octets).map(Record::Bind6),
        kind::DEPARTED4 => Departed4::check(octets).map(Record::Departed4),
        kind::DEPARTED6 => Departed6::check(octets).map(Record::Departed6),
        kind::FEED => FeedRecord::check(octets).map(Record::Feed),
        other => Err(format!(
            "a record of kind {other}, which this version does not know"
        )),
    }
}

/// Reads a record that was checked when it was appended or recovered.
pub(crate) fn trusted(octets: &[u8]) -> Option<Record<'_>> {
    Some(match *octets.get(4)? {
        kind::BIND4 => Record::Bind4(Bind4::trusted(octets)),
        kind::BIND6 => Record::Bind6(Bind6::trusted(octets)),
        kind::DEPARTED4 => Record::Departed4(Departed4::trusted(octets)),
        kind::DEPARTED6 => Record::Departed6(Departed6::trusted(octets)),
        kind::FEED => Record::Feed(FeedRecord::trusted(octets)),
        _ => return None,
    })
}

impl Record<'_> {
    /// Sequence of the record.
    pub fn sequence(&self) -> u64 {
        sequence(self.octets())
    }

    /// When it was committed.
    pub fn stamp(&self) -> Stamp {
        stamp(self.octets())
    }

    pub(crate) fn octets(&self) -> &[u8] {
        match self {
            Record::Bind4(record) => record.octets(),
            Record::Bind6(record) => record.octets(),
            Record::Departed4(record) => record.octets(),
            Record::Departed6(record) => record.octets(),
            Record::Feed(record) => record.octets(),
        }
    }
}

/// Begins a record in `out`; sequence and stamp are set by [`seal`] and when the batch is written.
fn begin(out: &mut Vec<u8>, kind: u8, flags: u8, feed: u16) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out[start + 4] = kind;
    out[start + 5] = flags;
    out[start + 6..start + 8].copy_from_slice(&feed.to_le_bytes());
    start
}

/// Ends the record that began at `start`: pads it, writes its length, sequence and stamp. Gives its octets.
fn seal(out: &mut Vec<u8>, start: usize, sequence: u64, stamp: Stamp) -> usize {
    let padded = (out.len() - start).next_multiple_of(8);
    out.resize(start + padded, 0);
    out[start..start + 4].copy_from_slice(&(padded as u32).to_le_bytes());
    set_sequence(&mut out[start..], sequence, stamp);
    padded
}

/// Gives a record its sequence and commit stamp.
pub(crate) fn set_sequence(record: &mut [u8], sequence: u64, stamp: Stamp) {
    record[8..16].copy_from_slice(&sequence.to_le_bytes());
    record[16..24].copy_from_slice(&stamp.millis().to_le_bytes());
}

/// Sequence of a record.
pub(crate) fn sequence(record: &[u8]) -> u64 {
    u64_at(record, 8)
}

/// Commit stamp of a record.
pub(crate) fn stamp(record: &[u8]) -> Stamp {
    Stamp::from_millis(u64_at(record, 16))
}

fn u16_at(octets: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([octets[at], octets[at + 1]])
}

fn u32_at(octets: &[u8], at: usize) -> u32 {
    octets[at..]
        .first_chunk()
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(octets: &[u8], at: usize) -> u64 {
    octets[at..]
        .first_chunk()
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

fn ipv6_at(octets: &[u8], at: usize) -> Ipv6Addr {
    octets[at..]
        .first_chunk::<16>()
        .map_or(Ipv6Addr::UNSPECIFIED, |chunk| (*chunk).into())
}

/// A link as two fields of a record: its kind and 16 octets.
fn link_fields(link: Link6) -> (u8, [u8; 16]) {
    match link {
        Link6::Unknown => (0, [0; 16]),
        Link6::Address(address) => (1, address.octets()),
        Link6::Subnet(number) => {
            let mut octets = [0; 16];
            octets[12..].copy_from_slice(&number.to_be_bytes());
            (2, octets)
        }
    }
}

/// The link of a record's kind and the 16 octets at `at`.
fn link_from(kind: u8, octets: &[u8], at: usize) -> Link6 {
    match kind {
        1 => Link6::Address(ipv6_at(octets, at)),
        2 => Link6::Subnet(ipv6_at(octets, at).to_bits() as u32),
        _ => Link6::Unknown,
    }
}

/// Checks a table of hops at `at`: each value must lie within the record.
fn check_hops(octets: &[u8], at: usize, hops: usize) -> Result<(), String> {
    for entry in 0..hops * 2 {
        let offset = usize::from(u16_at(octets, at + 4 * entry));
        let length = usize::from(u16_at(octets, at + 4 * entry + 2));
        if offset != 0 && offset + length > octets.len() {
            return Err(format!(
                "a hop's value at octets {offset} to {} of {}",
                offset + length,
                octets.len()
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
