//! Which files of a directory make up the log, and in which order.

use std::path::Path;

use super::disk::{Access, Disk};
use super::error::{Corruption, Damage, OpenError};
use super::format::{HeaderFlaw, SegmentHeader, SegmentName};
use super::map::SegmentMap;

/// A mapped segment file whose header is right.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub header: SegmentHeader,
    pub map: SegmentMap,
}

/// The names of all segment files, by id and generation.
pub(super) fn names(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentName>, OpenError> {
    let files = disk.list(dir).map_err(OpenError::io("list", dir))?;
    let mut names: Vec<_> = files
        .iter()
        .filter_map(|name| SegmentName::parse(name))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Maps a segment and reads its header.
pub(super) fn load(
    disk: &dyn Disk,
    dir: &Path,
    name: SegmentName,
    populate: bool,
) -> Result<SegmentFile, OpenError> {
    let path = dir.join(name.to_string());
    let file = disk
        .open(&path, Access::Read)
        .map_err(OpenError::io("open", &path))?;
    let map = SegmentMap::new(file.file(), populate).map_err(OpenError::io("map", &path))?;
    match SegmentHeader::parse(map.unpublished(), name) {
        Ok(header) => Ok(SegmentFile { header, map }),
        Err(HeaderFlaw::Version(found)) => Err(OpenError::Version { path, found }),
        Err(flaw) => Err(Corruption {
            segment: name,
            offset: 0,
            damage: Damage::Header(flaw),
        }
        .into()),
    }
}

/// Takes out the segments that others supersede, and returns their names.
pub(super) fn drop_superseded(files: &mut Vec<SegmentFile>) -> Vec<SegmentName> {
    let headers: Vec<SegmentHeader> = files.iter().map(|file| file.header).collect();
    files
        .extract_if(.., |file| {
            headers.iter().any(|other| other.supersedes(&file.header))
        })
        .map(|file| file.header.name)
        .collect()
}

/// Checks that the segments, by id, follow one another from id 1 on and that the last one can be appended to.
pub(super) fn check_order(files: &[SegmentFile]) -> Result<(), Corruption> {
    let mut expected = 1;
    let mut before: Option<SegmentName> = None;
    for SegmentFile { header, .. } in files {
        let damage = match before {
            Some(before) if header.name.id < expected => Some(Damage::Overlap(before)),
            _ if header.name.id != expected => Some(Damage::Missing { expected }),
            _ => None,
        };
        if let Some(damage) = damage {
            return Err(at_start(header.name, damage));
        }
        expected = header.covers_to.saturating_add(1);
        before = Some(header.name);
    }
    match files.last() {
        Some(last) if last.header.name.generation > 0 => {
            Err(at_start(last.header.name, Damage::NoActive))
        }
        Some(_) => Ok(()),
        None => Err(at_start(
            SegmentName {
                id: 1,
                generation: 0,
            },
            Damage::Missing { expected: 1 },
        )),
    }
}

fn at_start(segment: SegmentName, damage: Damage) -> Corruption {
    Corruption {
        segment,
        offset: 0,
        damage,
    }
}
