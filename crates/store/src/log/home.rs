//! A store's directory: its lock, its identity, and what is in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Access, Disk, LockError, LockFile};
use super::error::OpenError;
use super::format::{
    MAX_SEGMENT, MIN_SEGMENT, SEGMENT_HEADER, SegmentHeader, SegmentName, VERSION, u32_at, u64_at,
};
use super::map::SegmentMap;
use super::walk::only_zeros;

const MAGIC: &[u8; 8] = b"LEASEQ01";
/// Octets of the file `STORE`.
pub const IDENTITY: usize = 64;

/// What a store is told apart by, given once when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Server time in milliseconds at which the store was made: since then a never-leased address has been AVAILABLE.
    pub created: u64,
    /// Seeds of the index hash.
    pub seeds: [u64; 4],
}

impl Identity {
    pub(super) fn encode(&self) -> [u8; IDENTITY] {
        let mut octets = [0; IDENTITY];
        octets[..8].copy_from_slice(MAGIC);
        octets[8..12].copy_from_slice(&VERSION.to_le_bytes());
        octets[16..24].copy_from_slice(&self.created.to_le_bytes());
        for (field, seed) in octets[24..56].chunks_exact_mut(8).zip(self.seeds) {
            field.copy_from_slice(&seed.to_le_bytes());
        }
        let crc = crc32fast::hash(&octets);
        octets[12..16].copy_from_slice(&crc.to_le_bytes());
        octets
    }

    fn parse(octets: &[u8], path: &Path) -> Result<Identity, OpenError> {
        let bad = |what| OpenError::BadIdentity {
            path: path.to_owned(),
            what,
        };
        let octets: &[u8; IDENTITY] = octets
            .try_into()
            .map_err(|_| bad("it does not have 64 octets"))?;
        if octets[..8] != MAGIC[..] {
            return Err(bad("it does not start with the mark of a lease store"));
        }
        let found = u32_at(octets, 8);
        if found != VERSION {
            let path = path.to_owned();
            return Err(OpenError::Version { path, found });
        }
        let mut unsigned = *octets;
        unsigned[12..16].fill(0);
        if crc32fast::hash(&unsigned) != u32_at(octets, 12) {
            return Err(bad("its checksum is wrong"));
        }
        Ok(Identity {
            created: u64_at(octets, 16),
            seeds: std::array::from_fn(|i| u64_at(octets, 24 + 8 * i)),
        })
    }
}

/// How the log is opened and written.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Octets of each new segment: a multiple of 4,096 from 64 KiB to 2 GiB.
    pub segment_size: u64,
    /// Whether a batch is synced before it counts as appended. Without, a loss of power may cost any of the log.
    pub sync: bool,
    /// Whether the files are left as they are: nothing can be appended, a torn tail is left out but not removed.
    pub read_only: bool,
    /// Whether segments are loaded into memory when they are mapped.
    pub populate: bool,
    /// Whether a helper thread makes the next segment ahead of need; otherwise the append that needs it does.
    pub ahead: bool,
    /// Who the store is if it has to be made; `None`: a missing store is an error.
    pub create: Option<Identity>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_size: 64 << 20,
            sync: true,
            read_only: false,
            populate: true,
            ahead: true,
            create: None,
        }
    }
}

/// The locked directory of a store that exists.
#[derive(Debug)]
pub struct Home {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    identity: Identity,
    _lock: LockFile,
}

impl Home {
    /// Locks the directory and reads the store's identity. A store is made if there is none and the options say whose.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Result<Home, OpenError> {
        let size = options.segment_size;
        if !(MIN_SEGMENT..=MAX_SEGMENT).contains(&size) || !size.is_multiple_of(4096) {
            return Err(OpenError::SegmentSize { found: size });
        }
        let creates = options.create.filter(|_| !options.read_only);
        if creates.is_some() {
            disk.create_dir(dir)
                .map_err(OpenError::io("make directory", dir))?;
        } else if !dir.join("STORE").exists() {
            return Err(OpenError::NoStore {
                dir: dir.to_owned(),
            });
        }
        let lock = disk.lock(&dir.join("LOCK")).map_err(|error| match error {
            LockError::Held(pid) => OpenError::Locked {
                dir: dir.to_owned(),
                pid,
            },
            LockError::Io(source) => OpenError::io("lock", &dir.join("LOCK"))(source),
        })?;
        let path = dir.join("STORE");
        let identity = match (path.exists(), creates) {
            (true, _) => {
                let octets = std::fs::read(&path).map_err(OpenError::io("read", &path))?;
                Identity::parse(&octets, &path)?
            }
            (false, Some(identity)) => {
                make(&*disk, dir, &identity, size)?;
                identity
            }
            (false, None) => {
                return Err(OpenError::NoStore {
                    dir: dir.to_owned(),
                });
            }
        };
        Ok(Home {
            disk,
            dir: dir.to_owned(),
            options,
            identity,
            _lock: lock,
        })
    }

    /// Who the store is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The disk that the store lies on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }
}

/// Makes an empty store. `STORE` comes last: while it is missing, the making was interrupted and is begun anew.
fn make(disk: &dyn Disk, dir: &Path, identity: &Identity, size: u64) -> Result<(), OpenError> {
    let first = SegmentName {
        id: 1,
        generation: 0,
    };
    for name in disk.list(dir).map_err(OpenError::io("list", dir))? {
        let foreign = match SegmentName::parse(&name) {
            Some(name) => name != first || !is_empty(disk, &dir.join(name.to_string()))?,
            None => false,
        };
        if foreign {
            return Err(OpenError::NoIdentity {
                dir: dir.to_owned(),
            });
        }
    }
    let header = SegmentHeader {
        name: first,
        size,
        first_sequence: 1,
        covers_to: 1,
        dropped_until: 0,
    };
    for (name, octets, content) in [
        (&*first.to_string(), size, &header.encode()[..]),
        ("STORE", 0, &identity.encode()),
    ] {
        make_file(disk, dir, name, octets, content)
            .map_err(OpenError::io("write", &dir.join(name)))?;
    }
    // The directory itself may be new as well.
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        disk.sync_dir(parent)
            .map_err(OpenError::io("sync", parent))?;
    }
    Ok(())
}

/// Whether a segment has nothing behind its header.
fn is_empty(disk: &dyn Disk, path: &Path) -> Result<bool, OpenError> {
    let file = disk
        .open(path, Access::Read)
        .map_err(OpenError::io("open", path))?;
    let map = SegmentMap::new(file.file(), false).map_err(OpenError::io("map", path))?;
    let batches = map.unpublished().get(SEGMENT_HEADER as usize..);
    Ok(batches.is_none_or(only_zeros))
}

/// Makes a small durable file: under a temporary name first, so that it is there whole or not at all.
pub(super) fn make_file(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    octets: u64,
    content: &[u8],
) -> io::Result<()> {
    let unfinished = unfinished(dir, name);
    let file = disk.create(&unfinished, octets)?;
    file.write_at(content, 0)?;
    file.sync()?;
    disk.rename(&unfinished, &dir.join(name))?;
    disk.sync_dir(dir)
}

/// The temporary name of a file that is not finished; such files are deleted when the store is opened.
pub(super) fn unfinished(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.tmp"))
}
