//! What the store needs of a disk, as a trait, so that a test can stand in for one that fails or loses power.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation};

/// Octets written at once when a file is filled with zeros.
const ZERO_CHUNK: usize = 1 << 20;

/// Creation, renaming and removal of files, and the sync of a directory.
///
/// What a method promises about a loss of power is what "What is assumed of the disk" in `docs/store-format.md` says.
pub trait Disk: Send + Sync + Debug {
    /// Makes the directory and its parents if they are missing.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes a file of `octets` zeros, really written and not merely reserved, in place of one of that name. Nothing of
    /// it is durable before [`DiskFile::sync`] and, for its name, [`sync_dir`](Self::sync_dir).
    fn create(&self, path: &Path, octets: u64) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file that exists.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file another name, in place of a file of that name; atomic.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. A map of it stays valid.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Takes the lock file of a directory for this process, made if missing, and writes the process id into it.
    fn lock(&self, path: &Path) -> Result<LockFile, LockError> {
        LockFile::take(path)
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open file.
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of `octets` at `offset`.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable, the file's length too.
    fn sync(&self) -> io::Result<()>;

    /// The file, for reading and mapping.
    fn file(&self) -> &File;
}

/// The lock on a directory; released when dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub struct LockFile {
    _held: File,
}

/// Why a lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another opener holds it; its process id if the file tells one.
    Held(Option<u32>),
    /// The lock file could not be opened, locked or written.
    Io(io::Error),
}

impl LockFile {
    fn take(path: &Path) -> Result<LockFile, LockError> {
        // A store on a read-only file system can still be looked at.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(path)
            .or_else(|error| File::open(path).map_err(|_| error))
            .map_err(LockError::Io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let holder = (&file).take(32).read_to_string(&mut text).ok();
                return Err(LockError::Held(
                    holder.and_then(|_| text.trim().parse().ok()),
                ));
            }
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        // The text is for people and for the message above; the lock itself is the kernel's.
        if file.set_len(0).is_ok() && file.rewind().is_ok() {
            writeln!(file, "{}", std::process::id()).map_err(LockError::Io)?;
        }
        Ok(LockFile { _held: file })
    }
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path, octets: u64) -> io::Result<Box<dyn DiskFile>> {
        // A new file, not a truncated old one: somebody may have the old one mapped.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(path)?;
        if let Err(error) = fill_with_zeros(&file, octets) {
            // Its space is what the next attempt needs.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Reserves the space first, for one extent where the file system can, then writes the zeros.
fn fill_with_zeros(file: &File, octets: u64) -> io::Result<()> {
    if octets == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, octets) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let zeros = vec![0; ZERO_CHUNK.min(octets as usize)];
    let mut at = 0;
    while at < octets {
        let part = (octets - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..part as usize], at)?;
        at += part;
    }
    Ok(())
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(octets, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn file(&self) -> &File {
        &self.0
    }
}
