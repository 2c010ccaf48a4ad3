//! Reading a whole store and reporting what is damaged, without changing anything.

use std::sync::Arc;

use super::chain::{self, SegmentFile};
use super::error::{Corruption, Damage, OpenError};
use super::format::SegmentName;
use super::home::Home;
use super::recovery::{Cut, OnRecord, Recovered, read};
use super::segments::Segment;

/// What the files of a log hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The segments in order of their ids.
    pub segments: Vec<SegmentReport>,
    /// Segments that others supersede; deleted when the store is next opened for writing.
    pub superseded: Vec<SegmentName>,
    /// A segment that is missing or does not belong.
    pub order: Option<Corruption>,
    /// A torn batch at the end, which is no damage; cut off when the store is next opened for writing.
    pub cut: Option<Cut>,
}

/// What one segment holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentReport {
    /// Which one.
    pub segment: SegmentName,
    /// Batches that are whole, up to the damage.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Octets of the batches, with their headers.
    pub octets: u64,
    /// The first damage; what follows it in the segment was not looked at.
    pub damage: Option<Corruption>,
}

impl Report {
    /// All damage found.
    pub fn damage(&self) -> impl Iterator<Item = &Corruption> {
        let in_segments = self.segments.iter().filter_map(|s| s.damage.as_ref());
        in_segments.chain(&self.order)
    }

    /// Whole batches in all segments.
    pub fn batches(&self) -> u64 {
        self.segments.iter().map(|s| s.batches).sum()
    }

    /// Records in them.
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|s| s.records).sum()
    }

    /// Octets of batches in all segments.
    pub fn octets(&self) -> u64 {
        self.segments.iter().map(|s| s.octets).sum()
    }
}

/// Checks every header, batch and record of the store. `on_record` checks what a record says, and may see them out of
/// order or with gaps where segments are damaged. An error means that the files could not be read at all.
pub fn verify(home: &Home, on_record: OnRecord<'_, '_>) -> Result<Report, OpenError> {
    let (disk, dir) = (&*home.disk, &*home.dir);
    let mut report = Report::default();
    let mut files = Vec::new();
    for name in chain::names(disk, dir)? {
        match chain::load(disk, dir, name, false) {
            Ok(file) => files.push(file),
            Err(OpenError::Corrupt(damage)) => {
                report.segments.push(SegmentReport::unread(name, damage));
            }
            Err(error) => return Err(error),
        }
    }
    report.superseded = chain::drop_superseded(&mut files);
    if report.segments.is_empty() {
        report.order = chain::check_order(&files).err();
    }
    let segments: Vec<Arc<Segment>> = (1..)
        .zip(files)
        .map(|(number, SegmentFile { header, map })| {
            let path = dir.join(header.name.to_string());
            Arc::new(Segment::new(number, header, path, map))
        })
        .collect();
    let mut reached = None;
    for (at, segment) in segments.iter().enumerate() {
        let header = &segment.header;
        let adjacent = segments
            .get(at + 1)
            .map(|next| &next.header)
            .filter(|next| next.name.id == header.covers_to.saturating_add(1));
        let following = adjacent.map(|next| next.first_sequence);
        let stamp = reached.map_or(0, |(_, stamp)| stamp);
        let mut found = Recovered::nothing();
        let result = read(segment, following, stamp, true, Some(on_record), &mut found);
        let mut damage = match (&result, reached) {
            (_, Some((expected, _))) if expected != header.first_sequence => Some(Corruption {
                segment: header.name,
                offset: 0,
                damage: Damage::Gap {
                    reached: expected,
                    following: header.first_sequence,
                },
            }),
            _ => None,
        };
        reached = None;
        match result {
            Ok(ended) => {
                if following.is_some() {
                    reached = Some((ended.reached.next_sequence, ended.reached.stamp));
                }
                if at + 1 == segments.len() {
                    report.cut = ended.cut;
                } else if let Some(cut) = ended.cut {
                    // Only the end of the log can be torn, and this segment's neighbour is missing.
                    damage = damage.or(Some(Corruption {
                        segment: cut.segment,
                        offset: cut.offset,
                        damage: Damage::Batch(cut.flaw),
                    }));
                }
            }
            Err(OpenError::Corrupt(first)) => {
                damage = damage.or(Some(first));
            }
            Err(error) => return Err(error),
        }
        report.segments.push(SegmentReport {
            segment: header.name,
            batches: found.batches,
            records: found.records,
            octets: segment.used(),
            damage,
        });
    }
    report.segments.sort_by_key(|s| s.segment);
    Ok(report)
}

impl SegmentReport {
    fn unread(segment: SegmentName, damage: Corruption) -> SegmentReport {
        SegmentReport {
            segment,
            batches: 0,
            records: 0,
            octets: 0,
            damage: Some(damage),
        }
    }
}
