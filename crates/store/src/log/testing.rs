//! A disk for tests that fails on request and forgets on a loss of power what was not synced.
//!
//! It works on real files, so everything else runs as it does in earnest, maps too. Beside them it keeps what is durable:
//! per file the octets at the last sync, per directory the names. [`FaultDisk::crash`] then rewrites the files as a loss of
//! power may leave them: each 4 KiB page and each name that was not synced is old or new, in any combination.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Access, Disk, DiskFile, RealDisk};

const PAGE: usize = 4096;

/// An operation that can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// [`Disk::create`].
    Create,
    /// [`DiskFile::write_at`]; half of the octets get written all the same.
    Write,
    /// [`DiskFile::sync`]; whether its pages got durable is never known, whatever is synced later.
    Sync,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::sync_dir`]; one that works makes up for it.
    SyncDir,
}

/// An error number of the operating system: an input or output error.
pub const EIO: i32 = 5;
/// An error number of the operating system: no space left on device.
pub const ENOSPC: i32 = 28;

/// A disk over one directory that fails on request.
#[derive(Clone, Debug)]
pub struct FaultDisk {
    dir: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts crashes: a file opened before one is gone.
    power_cycle: u64,
    /// Operations counted since the disk was made.
    done: Vec<Op>,
    faults: Vec<Fault>,
    /// From this operation on nothing works until the next crash.
    dies_at: Option<usize>,
    room: Option<u64>,
    files: Vec<Contents>,
    /// What each name leads to, as the running program sees it.
    names: BTreeMap<PathBuf, usize>,
    /// The names that are durable.
    durable_names: BTreeMap<PathBuf, usize>,
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Fault {
    op: Op,
    /// Operations of this kind that still work.
    after: u64,
    times: u64,
    errno: i32,
}

/// A file, whatever its name.
#[derive(Debug)]
struct Contents {
    file: Arc<File>,
    durable: Vec<u8>,
    unsynced: BTreeSet<usize>,
    /// Pages as they were when a sync of them failed.
    lost: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Name {
    Put(PathBuf, usize),
    Gone(PathBuf),
    Moved(PathBuf, PathBuf, usize),
}

/// A change of names that is not durable for certain.
#[derive(Clone, Debug)]
struct Change {
    name: Name,
    synced: bool,
}

impl FaultDisk {
    /// A disk over `dir`; the files in it are durable.
    pub fn new(dir: &Path) -> io::Result<FaultDisk> {
        let disk = FaultDisk {
            dir: dir.to_owned(),
            state: Arc::default(),
        };
        let mut state = disk.state();
        state.adopt(dir)?;
        drop(state);
        Ok(disk)
    }

    /// Makes the operation of this kind fail that is the `nth` from now (1: the next one), and the ones after it:
    /// `times` in all.
    pub fn fail(&self, op: Op, nth: u64, times: u64, errno: i32) {
        self.state().faults.push(Fault {
            op,
            after: nth.saturating_sub(1),
            times,
            errno,
        });
    }

    /// Takes all requests to fail back.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.dies_at = None;
    }

    /// Lets `operations` more operations work and then none, as if the process were killed there: what comes after has no
    /// effect, clearing up neither.
    pub fn die_after(&self, operations: usize) {
        let mut state = self.state();
        state.dies_at = Some(state.done.len() + operations);
    }

    /// Limits the octets of all files together; creating a file beyond fails with ENOSPC. `None`: no limit.
    pub fn set_room(&self, octets: Option<u64>) {
        self.state().room = octets;
    }

    /// The operations so far, those that failed too.
    pub fn operations(&self) -> Vec<Op> {
        self.state().done.clone()
    }

    /// Cuts the power: rewrites the directory as the disk may be found afterwards, by random numbers. Whatever has files
    /// of it open should be dropped before; it can do nothing any more.
    pub fn crash(&self, random: &mut dyn FnMut() -> u64) -> io::Result<()> {
        let mut state = self.state();
        let names = state.names_after_crash(random);
        let mut survivors = Vec::new();
        for (path, at) in names {
            survivors.push((path, state.files[at].after_crash(random)?));
        }
        for path in state.names.keys() {
            fs::remove_file(path)?;
        }
        for (path, octets) in survivors {
            fs::write(path, octets)?;
        }
        *state = State {
            power_cycle: state.power_cycle + 1,
            room: state.room,
            done: std::mem::take(&mut state.done),
            ..State::default()
        };
        state.adopt(&self.dir)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn create(&self, path: &Path, octets: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.start(Op::Create)?;
        let used = state.used()?;
        if state.room.is_some_and(|room| used + octets > room) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        let created = RealDisk.create(path, octets)?;
        let at = state.files.len();
        let pages = (octets as usize).div_ceil(PAGE);
        state.files.push(Contents {
            file: Arc::new(created.file().try_clone()?),
            durable: Vec::new(),
            unsynced: (0..pages).collect(),
            lost: BTreeMap::new(),
        });
        state.names.insert(path.to_owned(), at);
        state.change(Name::Put(path.to_owned(), at));
        Ok(self.opened(&state, at))
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Box<dyn DiskFile>> {
        let state = self.state();
        let at = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.opened(&state, at))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.start(Op::Rename)?;
        RealDisk.rename(from, to)?;
        let at = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), at);
        state.change(Name::Moved(from.to_owned(), to.to_owned(), at));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.start(Op::Remove)?;
        RealDisk.remove(path)?;
        state.names.remove(path);
        state.change(Name::Gone(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.start(Op::SyncDir)?;
        if dir == self.dir {
            for change in &mut state.changes {
                change.synced = true;
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
}

impl FaultDisk {
    fn opened(&self, state: &State, at: usize) -> Box<dyn DiskFile> {
        Box::new(FaultFile {
            file: Arc::clone(&state.files[at].file),
            at,
            power_cycle: state.power_cycle,
            disk: self.clone(),
        })
    }
}

impl State {
    /// Takes the files of the directory as durable. The lock file is none of the store's data.
    fn adopt(&mut self, dir: &Path) -> io::Result<()> {
        for name in RealDisk.list(dir)? {
            let path = dir.join(&name);
            if name == "LOCK" {
                continue;
            }
            let file = File::options().read(true).write(true).open(&path)?;
            let at = self.files.len();
            self.files.push(Contents {
                durable: fs::read(&path)?,
                file: Arc::new(file),
                unsynced: BTreeSet::new(),
                lost: BTreeMap::new(),
            });
            self.names.insert(path.clone(), at);
            self.durable_names.insert(path, at);
        }
        Ok(())
    }

    /// Whether the process counts as killed.
    fn is_dead(&self) -> bool {
        self.dies_at.is_some_and(|at| self.done.len() >= at)
    }

    /// Counts an operation and says whether it is to fail.
    fn start(&mut self, op: Op) -> io::Result<()> {
        let dead = self.is_dead();
        self.done.push(op);
        if dead {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mut errno = None;
        for fault in self.faults.iter_mut().filter(|fault| fault.op == op) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                errno = Some(fault.errno);
            }
        }
        errno.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// Octets of all files that have a name.
    fn used(&self) -> io::Result<u64> {
        let lengths = self
            .names
            .values()
            .map(|&at| Ok(self.files[at].file.metadata()?.len()));
        lengths.sum()
    }

    fn change(&mut self, name: Name) {
        self.changes.push(Change {
            name,
            synced: false,
        });
    }

    fn names_after_crash(&self, random: &mut dyn FnMut() -> u64) -> BTreeMap<PathBuf, usize> {
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            if !change.synced && coin(random) {
                continue;
            }
            match change.name.clone() {
                Name::Put(path, at) => {
                    names.insert(path, at);
                }
                Name::Gone(path) => {
                    names.remove(&path);
                }
                Name::Moved(from, to, at) => {
                    names.remove(&from);
                    names.insert(to, at);
                }
            }
        }
        names
    }
}

fn coin(random: &mut dyn FnMut() -> u64) -> bool {
    random() >> 32 & 1 == 1
}

impl Contents {
    /// The file as a loss of power may leave it.
    fn after_crash(&self, random: &mut dyn FnMut() -> u64) -> io::Result<Vec<u8>> {
        let current = self.current()?;
        let mut octets = self.durable.clone();
        if octets.len() < current.len() && coin(random) {
            octets.resize(current.len(), 0);
        }
        for (&page, lost) in &self.lost {
            if coin(random) {
                put_page(&mut octets, page, lost);
            }
        }
        for &page in &self.unsynced {
            if coin(random) {
                put_page(&mut octets, page, page_of(&current, page));
            }
        }
        Ok(octets)
    }

    fn current(&self) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; self.file.metadata()?.len() as usize];
        self.file.read_exact_at(&mut octets, 0)?;
        Ok(octets)
    }
}

fn page_of(octets: &[u8], page: usize) -> &[u8] {
    let start = (page * PAGE).min(octets.len());
    &octets[start..(start + PAGE).min(octets.len())]
}

/// Puts a page into a file, as far as the file reaches.
fn put_page(octets: &mut [u8], page: usize, content: &[u8]) {
    let start = (page * PAGE).min(octets.len());
    let end = (start + content.len()).min(octets.len());
    octets[start..end].copy_from_slice(&content[..end - start]);
}

#[derive(Debug)]
struct FaultFile {
    file: Arc<File>,
    at: usize,
    power_cycle: u64,
    disk: FaultDisk,
}

impl FaultFile {
    /// The disk's state, as long as the power has not been cut since this file was opened.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.power_cycle != self.power_cycle {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        Ok(state)
    }
}

impl DiskFile for FaultFile {
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        let dead = state.is_dead();
        let result = state.start(Op::Write);
        let written = match result {
            Ok(()) => octets,
            Err(_) if dead => &[],
            Err(_) => &octets[..octets.len() / 2],
        };
        if !written.is_empty() {
            self.file.write_all_at(written, offset)?;
            let first = offset as usize / PAGE;
            let last = (offset as usize + written.len() - 1) / PAGE;
            state.files[self.at].unsynced.extend(first..=last);
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let dead = state.is_dead();
        let result = state.start(Op::Sync);
        if dead {
            return result;
        }
        let contents = &mut state.files[self.at];
        let current = contents.current()?;
        let pages = std::mem::take(&mut contents.unsynced);
        if result.is_ok() {
            contents.durable.resize(current.len(), 0);
        }
        for page in pages {
            if result.is_ok() {
                put_page(&mut contents.durable, page, page_of(&current, page));
                contents.lost.remove(&page);
            } else {
                contents.lost.insert(page, page_of(&current, page).to_vec());
            }
        }
        result
    }

    fn file(&self) -> &File {
        &self.file
    }
}
