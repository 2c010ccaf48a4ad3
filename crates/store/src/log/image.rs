//! A whole log as it is at one moment, to be copied while it is written on.
//!
//! Nothing of it changes any more: a table of segments keeps its maps whatever compaction replaces, what is published of a
//! segment stays as it is, and only the last segment of a table is appended to. So an image is the table and where each segment
//! ended, and taking one costs the writer nothing.

use std::path::Path;
use std::sync::Arc;

use super::disk::RealDisk;
use super::error::OpenError;
use super::format::{BatchHeader, SEGMENT_HEADER};
use super::home::{Home, IDENTITY, Identity, LogOptions};
use super::recovery::{OnRecord, Recovery};
use super::segments::{LogView, Segment};
use super::writer::Log;

/// A log at one moment. It keeps the segments that it has from being given back to the disk.
#[derive(Debug)]
pub struct Image {
    identity: Identity,
    view: LogView,
    /// Octets of each segment in order.
    ends: Vec<u64>,
    next_sequence: u64,
    stamp: u64,
    /// Of a store that nobody else has open: its lock.
    _log: Option<Log>,
}

/// A segment of an image.
#[derive(Clone, Copy, Debug)]
pub struct ImageSegment<'i> {
    segment: &'i Segment,
    end: u64,
}

impl ImageSegment<'_> {
    /// Name of its file.
    pub fn file_name(&self) -> String {
        self.segment.header.name.to_string()
    }

    /// Octets of its file.
    pub fn size(&self) -> u64 {
        self.segment.header.size
    }

    /// What the file begins with; the rest of it is zeros.
    pub fn octets(&self) -> &[u8] {
        let octets = self.segment.map.octets();
        &octets[..octets.len().min(self.end as usize)]
    }
}

impl Image {
    /// The log that readers find in this view.
    pub(crate) fn of(identity: Identity, view: LogView) -> Image {
        let chain = view.chain();
        let ends: Vec<u64> = chain.iter().map(|s| s.map.published()).collect();
        let (mut next_sequence, mut stamp) = (1, 0);
        if let (Some(last), Some(&end)) = (chain.last(), ends.last()) {
            next_sequence = last.header.first_sequence;
            // Not what the segment says of itself: it may have got another batch since.
            let octets = &last.map.octets()[..end as usize];
            let mut offset = SEGMENT_HEADER;
            while let Some(rest) = octets.get(offset as usize..)
                && let Ok(batch) = BatchHeader::parse(rest)
            {
                (next_sequence, stamp) = (batch.next_sequence, batch.stamp);
                offset += batch.total();
            }
        }
        Image {
            identity,
            view,
            ends,
            next_sequence,
            stamp,
            _log: None,
        }
    }

    /// The log of a store that nobody has open, which it locks. Every checksum is checked, and each record is given to
    /// `on_record`. Nothing is changed.
    pub(crate) fn of_files(dir: &Path, on_record: OnRecord<'_, '_>) -> Result<Image, OpenError> {
        let options = LogOptions {
            read_only: true,
            populate: false,
            ..LogOptions::default()
        };
        let home = Home::open(Arc::new(RealDisk), dir, options)?;
        let (log, _) = Recovery::begin(home)?.replay(on_record)?;
        let image = Image::of(*log.identity(), log.view());
        Ok(Image {
            _log: Some(log),
            ..image
        })
    }

    /// The segments in order.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = ImageSegment<'_>> {
        let ends = self.ends.iter();
        self.view
            .chain()
            .iter()
            .zip(ends)
            .map(|(segment, &end)| ImageSegment { segment, end })
    }

    /// The octets of the file `STORE`.
    pub fn identity(&self) -> [u8; IDENTITY] {
        self.identity.encode()
    }

    /// Sequence of the last record; 0: there is none.
    pub fn sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Server time of the last batch in milliseconds of Unix time; 0: there is none.
    pub fn stamp_ms(&self) -> u64 {
        self.stamp
    }
}
