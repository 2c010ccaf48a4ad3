//! Opening a log: which segments it has, where it ends, and every record in it.

use std::sync::Arc;

use super::chain::{self, SegmentFile};
use super::disk::Access;
use super::error::{Corruption, Damage, OpenError};
use super::format::{BatchFlaw, Records, SEGMENT_HEADER, SegmentName};
use super::home::Home;
use super::pos::Pos;
use super::segments::{LogView, Segment, Segments};
use super::walk::{FoundBatch, Reached, Stop, Walk};
use super::writer::Log;

/// What a recovery found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// Sequence of the next record; 1 in an empty log.
    pub next_sequence: u64,
    /// Stamp of the last batch in milliseconds, a batch without records too; 0 in an empty log.
    pub last_stamp: u64,
    /// Batches read.
    pub batches: u64,
    /// Records read; 0 if the log was not replayed.
    pub records: u64,
    /// Where a torn batch was cut off, if one was.
    pub cut: Option<Cut>,
}

/// The torn end of a log: a batch that was being written when the power failed, so never acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The segment.
    pub segment: SegmentName,
    /// Octets from its start to the torn batch.
    pub offset: u64,
    /// Octets from there to the last that is not zero.
    pub octets: u64,
    /// Why it is not a batch.
    pub flaw: BatchFlaw,
}

/// A log whose segments are mapped and in order, not yet read.
#[derive(Debug)]
pub struct Recovery {
    home: Home,
    segments: Arc<Segments>,
}

/// How a segment ended.
pub(super) struct Ended {
    pub reached: Reached,
    /// The last batch of the segment.
    last: Option<FoundBatch>,
    pub cut: Option<Cut>,
}

/// Takes each record at recovery, in order; says why it cannot read one, which ends the opening.
pub type OnRecord<'a, 'f> = &'a mut (dyn FnMut(Pos, &[u8]) -> Result<(), String> + 'f);

impl Recovery {
    /// Clears away what is unfinished or superseded, maps the segments and checks that none is missing.
    pub fn begin(home: Home) -> Result<Recovery, OpenError> {
        let (disk, dir) = (&*home.disk, &*home.dir);
        if !home.options.read_only {
            remove_unfinished(&home)?;
        }
        let mut files = Vec::new();
        for name in chain::names(disk, dir)? {
            files.push(chain::load(disk, dir, name, home.options.populate)?);
        }
        let superseded = chain::drop_superseded(&mut files);
        chain::check_order(&files)?;
        if !home.options.read_only {
            // First the names of the merged segments must be durable, then those of their sources may go.
            disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
            for name in &superseded {
                let path = dir.join(name.to_string());
                disk.remove(&path).map_err(OpenError::io("remove", &path))?;
            }
            if !superseded.is_empty() {
                disk.sync_dir(dir).map_err(OpenError::io("sync", dir))?;
            }
        }
        let numbered = (1..)
            .zip(files)
            .map(|(number, SegmentFile { header, map })| {
                let path = dir.join(header.name.to_string());
                Arc::new(Segment::new(number, header, path, map))
            });
        let segments = Arc::new(Segments::from_chain(numbered.collect()));
        Ok(Recovery { home, segments })
    }

    /// A view in which each record can be looked up from the moment its batch has been checked: for the callback of
    /// [`replay`](Self::replay), which may keep it.
    pub fn view(&self) -> LogView {
        LogView::new(Arc::clone(&self.segments))
    }

    /// Where the log ends: its next sequence and last stamp, from the last segment alone.
    pub fn end(&self) -> Result<(u64, u64), OpenError> {
        let mut recovered = Recovered::nothing();
        let Some(last) = self.segments.chain().last() else {
            return Ok((1, 0));
        };
        let ended = read(last, None, 0, true, None, &mut recovered)?;
        Ok((ended.reached.next_sequence, ended.reached.stamp))
    }

    /// Checks every batch and gives each record, in order, to `on_record`, which says why it cannot read one.
    pub fn replay(self, on_record: OnRecord<'_, '_>) -> Result<(Log, Recovered), OpenError> {
        self.finish(Some(on_record))
    }

    /// Opens the log without reading its records: for an owner that knows them from elsewhere. The last segment is
    /// checked whole, of the others only the headers of the batches.
    pub fn skip(self) -> Result<(Log, Recovered), OpenError> {
        self.finish(None)
    }

    fn finish(
        self,
        mut on_record: Option<OnRecord<'_, '_>>,
    ) -> Result<(Log, Recovered), OpenError> {
        let mut recovered = Recovered::nothing();
        let mut reached = Reached {
            next_sequence: 1,
            stamp: 0,
        };
        let mut tail = None;
        let segments = self.segments.chain();
        for (at, segment) in segments.iter().enumerate() {
            let following = segments.get(at + 1).map(|s| s.header.first_sequence);
            if segment.header.first_sequence != reached.next_sequence {
                return Err(damaged(
                    segment,
                    0,
                    Damage::Gap {
                        reached: reached.next_sequence,
                        following: segment.header.first_sequence,
                    },
                ));
            }
            let checksums = on_record.is_some() || following.is_none();
            let on_record = on_record.as_deref_mut();
            let ended = read(
                segment,
                following,
                reached.stamp,
                checksums,
                on_record,
                &mut recovered,
            )?;
            reached = ended.reached;
            if following.is_none() {
                tail = ended.last;
                recovered.cut = ended.cut;
            }
        }
        recovered.next_sequence = reached.next_sequence;
        recovered.last_stamp = reached.stamp;
        if !self.home.options.read_only
            && let Some(active) = segments.last()
        {
            mend(&self.home, active, tail, recovered.cut.as_ref())?;
        }
        let log = Log::start(self.home, self.segments, reached)?;
        Ok((log, recovered))
    }
}

impl Recovered {
    pub(super) fn nothing() -> Recovered {
        Recovered {
            next_sequence: 1,
            last_stamp: 0,
            batches: 0,
            records: 0,
            cut: None,
        }
    }
}

fn remove_unfinished(home: &Home) -> Result<(), OpenError> {
    let dir = &*home.dir;
    let names = home.disk.list(dir).map_err(OpenError::io("list", dir))?;
    for name in names.iter().filter(|name| name.ends_with(".tmp")) {
        let path = dir.join(name);
        home.disk
            .remove(&path)
            .map_err(OpenError::io("remove", &path))?;
    }
    Ok(())
}

fn damaged(segment: &Segment, offset: u64, damage: Damage) -> OpenError {
    Corruption {
        segment: segment.header.name,
        offset,
        damage,
    }
    .into()
}

/// Walks one segment, publishing it batch by batch.
pub(super) fn read(
    segment: &Segment,
    following: Option<u64>,
    stamp: u64,
    checksums: bool,
    mut on_record: Option<OnRecord<'_, '_>>,
    recovered: &mut Recovered,
) -> Result<Ended, OpenError> {
    let octets = segment.map.unpublished();
    let mut walk = Walk::new(octets, &segment.header, following, stamp, checksums);
    // A segment without batches has the stamp of the one before it.
    segment.publish(SEGMENT_HEADER, segment.header.first_sequence, stamp);
    let mut last = None;
    loop {
        let batch = match walk.next() {
            Ok(batch) => batch,
            Err(stop) => {
                let cut = judge(segment, &walk, stop, following)?;
                let reached = walk.reached();
                return Ok(Ended { reached, last, cut });
            }
        };
        recovered.batches += 1;
        last = Some(batch);
        segment.publish(batch.end(), batch.header.next_sequence, batch.header.stamp);
        // Without checksums only headers of batches are read, so that a clean start touches no record.
        let records = checksums.then(|| batch.records(octets));
        segment.note(batch.offset, &batch.header, records);
        if let Some(on_record) = on_record.as_deref_mut() {
            give_records(segment, octets, &batch, on_record, &mut recovered.records)?;
        }
    }
}

fn give_records(
    segment: &Segment,
    octets: &[u8],
    batch: &FoundBatch,
    on_record: OnRecord<'_, '_>,
    given: &mut u64,
) -> Result<(), OpenError> {
    let first = Pos::new(segment.number, batch.records_at());
    let generation = segment.header.name.generation;
    let mut records = Records::new(batch.header, generation, batch.records(octets));
    loop {
        let at = records.offset() as u64;
        let found = records
            .next()
            .map_err(|flaw| damaged(segment, batch.records_at() + at, Damage::Record(flaw)))?;
        let Some((_, record)) = found else {
            return Ok(());
        };
        on_record(first.plus(at), record)
            .map_err(|reason| damaged(segment, batch.records_at() + at, Damage::Content(reason)))?;
        *given += 1;
    }
}

/// Tells the end of the log, an abandoned batch and a torn one from damage to what had been synced.
fn judge(
    segment: &Segment,
    walk: &Walk<'_>,
    stop: Stop,
    following: Option<u64>,
) -> Result<Option<Cut>, OpenError> {
    let name = segment.header.name;
    // A segment gets its name only after its first batch (after compaction: all of it) has been synced; only the very
    // first one is made empty.
    let first_was_synced = name.id > 1 && walk.at() == SEGMENT_HEADER;
    let flaw = match (stop, following) {
        (Stop::Void, _) => return Ok(None),
        (Stop::Zeros, None) if !first_was_synced => return Ok(None),
        (Stop::Zeros, None) => BatchFlaw::Magic,
        (Stop::Flaw(flaw), None) => {
            if !first_was_synced && !walk.later_batch() {
                let octets = walk.rest_used();
                return Ok(Some(Cut {
                    segment: name,
                    offset: walk.at(),
                    octets,
                    flaw,
                }));
            }
            flaw
        }
        (Stop::Zeros, Some(following)) => {
            let reached = walk.reached().next_sequence;
            return Err(damaged(
                segment,
                walk.at(),
                Damage::Gap { reached, following },
            ));
        }
        (Stop::Flaw(flaw), Some(_)) => flaw,
    };
    Err(damaged(segment, walk.at(), Damage::Batch(flaw)))
}

/// Zeros what was cut, and writes the last batch once more: it may lie in the kernel's memory only, after a sync that
/// failed or never was, and what is about to be told to relays has to be durable.
fn mend(
    home: &Home,
    active: &Segment,
    last: Option<FoundBatch>,
    cut: Option<&Cut>,
) -> Result<(), OpenError> {
    let path = &*active.path;
    let file = home
        .disk
        .open(path, Access::Write)
        .map_err(OpenError::io("open", path))?;
    if let Some(cut) = cut {
        let zeros = vec![0; cut.octets as usize];
        file.write_at(&zeros, cut.offset)
            .map_err(OpenError::io("write", path))?;
    }
    if let Some(last) = last {
        let batch = active.map.octets()[last.offset as usize..last.end() as usize].to_vec();
        file.write_at(&batch, last.offset)
            .map_err(OpenError::io("write", path))?;
    }
    file.sync().map_err(OpenError::io("sync", path))
}
