//! Writing the files of a store's copy.
//!
//! `STORE` comes last, when everything else is durable: a copy that breaks off is no store, and is refused as one. What breaks
//! off with an error is removed again; what a kill leaves is for people to remove.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, LockError, LockFile, RealDisk};
use super::error::OpenError;
use super::format::{MAX_SEGMENT, SegmentName};
use super::home::{IDENTITY, make_file, unfinished};
use super::image::Image;
use super::recovery::OnRecord;

/// What is written behind the octets of a segment.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
const STORE: &str = "STORE";
const LOCK: &str = "LOCK";

/// The directory that a copy is written into. Unless it is finished, all of it is removed again.
#[derive(Debug)]
pub struct CopyTarget {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    made_dir: bool,
    made: Vec<PathBuf>,
    open: Option<OpenSegment>,
    /// Held until the copy is read back.
    lock: Option<LockFile>,
    finished: bool,
}

/// The segment that is being written.
#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    size: u64,
    /// Octets announced that have not come.
    awaited: u64,
    at: u64,
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Something is in the directory already.
    #[error("{} is not empty: expected an empty directory, or one that is yet to be made", .dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The copy cannot be read back.
    #[error("the copy cannot be read back: {0}")]
    ReadBack(#[from] OpenError),
    /// What came is not a segment, or not all of one.
    #[error("what is copied is not a log: {0}")]
    Foreign(String),
}

impl CopyTarget {
    /// Takes an empty directory, or makes it.
    pub fn create(dir: &Path) -> Result<CopyTarget, CopyError> {
        CopyTarget::create_on(Arc::new(RealDisk), dir)
    }

    /// As [`CopyTarget::create`], on a disk that may fail.
    #[doc(hidden)]
    pub fn create_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<CopyTarget, CopyError> {
        let made_dir = !dir.exists();
        disk.create_dir(dir).map_err(failed("make", dir))?;
        let mut copy = CopyTarget {
            disk,
            dir: dir.to_owned(),
            made_dir,
            made: Vec::new(),
            open: None,
            lock: None,
            finished: false,
        };
        let not_empty = || CopyError::NotEmpty {
            dir: dir.to_owned(),
        };
        if fs::read_dir(dir)
            .map_err(failed("list", dir))?
            .next()
            .is_some()
        {
            return Err(not_empty());
        }
        let lock = dir.join(LOCK);
        copy.lock = match copy.disk.lock(&lock) {
            Ok(held) => Some(held),
            Err(LockError::Held(_)) => return Err(not_empty()),
            Err(LockError::Io(source)) => return Err(failed("lock", &lock)(source)),
        };
        copy.made.push(lock);
        Ok(copy)
    }

    /// Begins a segment: the name and the size of its file, and how many octets will come; the rest is zeros.
    pub fn segment(&mut self, file_name: &str, size: u64, octets: u64) -> Result<(), CopyError> {
        self.end_segment()?;
        let path = self.dir.join(file_name);
        let is_new = SegmentName::parse(file_name).is_some() && !self.made.contains(&path);
        if !is_new || octets > size || size > MAX_SEGMENT {
            return Err(CopyError::Foreign(format!(
                "expected a new segment of at most {MAX_SEGMENT} octets, found {octets} of {size} octets for {file_name:?}"
            )));
        }
        self.made.push(path.clone());
        let file = self.disk.create(&path, 0).map_err(failed("make", &path))?;
        self.open = Some(OpenSegment {
            path,
            file,
            size,
            awaited: octets,
            at: 0,
        });
        Ok(())
    }

    /// The next octets of the segment.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), CopyError> {
        let open = self.open.as_mut();
        let open = open.filter(|open| open.awaited >= octets.len() as u64);
        let Some(open) = open else {
            return Err(CopyError::Foreign(
                "more octets came than were announced".to_owned(),
            ));
        };
        open.awaited -= octets.len() as u64;
        open.put(octets)
    }

    /// Fills the segment up and makes it durable, so that little is left to sync at the end.
    fn end_segment(&mut self) -> Result<(), CopyError> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        if open.awaited > 0 {
            return Err(CopyError::Foreign(format!(
                "{} octets of {} are missing",
                open.awaited,
                open.path.display()
            )));
        }
        while open.at < open.size {
            let part = (open.size - open.at).min(ZEROS.len() as u64);
            open.put(&ZEROS[..part as usize])?;
        }
        open.file.sync().map_err(failed("sync", &open.path))
    }

    /// Makes the copy durable, then a store, and reads it back: each record is given to `on_record`, and the last one must have
    /// this sequence.
    pub(crate) fn seal(
        mut self,
        identity: &[u8; IDENTITY],
        sequence: u64,
        on_record: OnRecord<'_, '_>,
    ) -> Result<Image, CopyError> {
        self.end_segment()?;
        let dir = self.dir.as_path();
        self.made.extend([dir.join(STORE), unfinished(dir, STORE)]);
        let disk = &*self.disk;
        disk.sync_dir(dir).map_err(failed("sync", dir))?;
        make_file(disk, dir, STORE, 0, identity).map_err(failed("write", &dir.join(STORE)))?;
        let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|_| self.made_dir) {
            disk.sync_dir(parent).map_err(failed("sync", parent))?;
        }
        self.lock = None;
        let image = Image::of_files(dir, on_record)?;
        if image.sequence() != sequence {
            return Err(CopyError::Foreign(format!(
                "expected record {sequence} to be its last one, found {}",
                image.sequence()
            )));
        }
        self.finished = true;
        Ok(image)
    }
}

impl OpenSegment {
    fn put(&mut self, octets: &[u8]) -> Result<(), CopyError> {
        self.file
            .write_at(octets, self.at)
            .map_err(failed("write", &self.path))?;
        self.at += octets.len() as u64;
        Ok(())
    }
}

impl Drop for CopyTarget {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What made it a store goes first.
        for path in self.made.iter().rev() {
            let _ = self.disk.remove(path);
        }
        if self.made_dir {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Io {
        action,
        path,
        source,
    }
}
