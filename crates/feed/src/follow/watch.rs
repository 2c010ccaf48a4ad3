//! Waiting for a file to change, for another one to get its name, or for the signal to end.
//!
//! The directory is watched for names that come and go, the file itself for octets. Which of both happened is of no matter:
//! whoever is woken looks at the file. So an overflow of the kernel's queue needs no care of its own, it wakes too. The
//! directory may be missing, or be removed: it is looked for again whenever a wait begins.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::FollowError;
use crate::run::Stop;

/// Events are asked of the kernel in pieces of this many octets.
const EVENTS_SIZE: usize = 4_096;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something changed: look at the file.
    Changed,
    /// Nothing did for the time told.
    Quiet,
    /// The signal to end was given.
    Stopped,
}

/// Watches one name in a directory, and the file that had it when [`Watch::file`] was called.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    path: PathBuf,
    directory: PathBuf,
    on_directory: Option<i32>,
    on_file: Option<i32>,
}

impl Watch {
    /// Watches for files of this name; its directory may be missing.
    pub fn new(path: &Path) -> Result<Watch, FollowError> {
        let failed = |source: Errno| FollowError::Watch {
            path: path.into(),
            source: source.into(),
        };
        let inotify =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut watch = Watch {
            inotify,
            path: path.into(),
            directory: directory.into(),
            on_directory: None,
            on_file: None,
        };
        watch.directory()?;
        Ok(watch)
    }

    /// Watches the file that has the name now, instead of the one before. To be called when a file has been opened and before
    /// it is read to its end: what is appended later wakes.
    pub fn file(&mut self) -> Result<(), FollowError> {
        let events = WatchFlags::MODIFY | WatchFlags::ATTRIB | WatchFlags::DELETE_SELF;
        let added = match inotify::add_watch(&self.inotify, &self.path, events) {
            Ok(added) => Some(added),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(source) => return Err(failed(&self.path, source)),
        };
        if let Some(before) = std::mem::replace(&mut self.on_file, added)
            && added != Some(before)
        {
            // The kernel has taken it away itself if the file is gone.
            let _ = inotify::remove_watch(&self.inotify, before);
        }
        Ok(())
    }

    /// Waits for a change since the last wait, at most this long.
    pub fn wait(&mut self, stop: &Stop, at_most: Duration) -> Result<Woken, FollowError> {
        let until = Instant::now() + at_most;
        if self.directory()? {
            return Ok(if stop.is_given() {
                Woken::Stopped
            } else {
                Woken::Changed
            });
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut ready = [
                PollFd::new(&self.inotify, PollFlags::IN),
                PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            ];
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => return Err(failed(&self.path, source)),
            }
            if stop.is_given() {
                return Ok(Woken::Stopped);
            }
            if self.take_changes()? {
                return Ok(Woken::Changed);
            }
            if left.is_zero() {
                return Ok(Woken::Quiet);
            }
        }
    }

    /// Whether anything changed since the last wait; does not wait.
    pub fn take_changes(&mut self) -> Result<bool, FollowError> {
        let mut buffer = [MaybeUninit::uninit(); EVENTS_SIZE];
        let mut events = inotify::Reader::new(&self.inotify, &mut buffer);
        let name = self
            .path
            .file_name()
            .map(std::os::unix::ffi::OsStrExt::as_bytes);
        let mut changed = false;
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(changed),
                Err(Errno::INTR) => continue,
                Err(source) => return Err(failed(&self.path, source)),
            };
            let of_directory = self.on_directory == Some(event.wd());
            let gone = ReadFlags::IGNORED | ReadFlags::MOVE_SELF | ReadFlags::DELETE_SELF;
            if of_directory && event.events().intersects(gone) {
                // Its name may lead to another directory now.
                self.on_directory = None;
                if !event.events().contains(ReadFlags::IGNORED) {
                    let _ = inotify::remove_watch(&self.inotify, event.wd());
                }
                changed = true;
            } else if of_directory {
                changed |= event.file_name().map(std::ffi::CStr::to_bytes) == name;
            } else if self.on_file == Some(event.wd())
                || event.events().contains(ReadFlags::QUEUE_OVERFLOW)
            {
                changed = true;
            }
        }
    }

    /// Sees to it that the directory is watched if it is there. True: it was not before.
    fn directory(&mut self) -> Result<bool, FollowError> {
        if self.on_directory.is_some() {
            return Ok(false);
        }
        let events = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        match inotify::add_watch(&self.inotify, &self.directory, events) {
            Ok(added) => {
                self.on_directory = Some(added);
                Ok(true)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(source) => Err(failed(&self.directory, source)),
        }
    }
}

fn failed(path: &Path, source: Errno) -> FollowError {
    FollowError::Watch {
        path: path.into(),
        source: io::Error::from(source),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::*;

    /// Long enough for any event; no test waits that long unless it fails.
    const LONG: Duration = Duration::from_secs(60);
    const AT_ONCE: Duration = Duration::ZERO;

    struct Watched {
        dir: tempfile::TempDir,
        watch: Watch,
        stop: Stop,
    }

    impl Watched {
        fn new() -> Watched {
            let dir = tempfile::tempdir().unwrap();
            let watch = Watch::new(&dir.path().join("sub/leases")).unwrap();
            Watched {
                dir,
                watch,
                stop: Stop::new().unwrap(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn is_woken(&mut self) -> bool {
            let woken = self.watch.wait(&self.stop, LONG).unwrap() == Woken::Changed;
            assert_eq!(self.watch.wait(&self.stop, AT_ONCE).unwrap(), Woken::Quiet);
            woken
        }

        fn is_quiet(&mut self) -> bool {
            self.watch.wait(&self.stop, AT_ONCE).unwrap() == Woken::Quiet
        }
    }

    #[test]
    fn each_change_of_the_name_and_of_the_file_wakes() {
        let mut watched = Watched::new();
        assert!(watched.is_quiet());
        fs::create_dir(watched.path("sub")).unwrap();
        assert!(watched.is_woken());
        let mut file = File::create(watched.path("sub/leases")).unwrap();
        assert!(watched.is_woken());
        watched.watch.file().unwrap();
        file.write_all(b"one\n").unwrap();
        assert!(watched.is_woken());
        fs::rename(watched.path("sub/leases"), watched.path("sub/leases.1")).unwrap();
        assert!(watched.is_woken());
        // It is followed under its new name, until another one is watched.
        file.write_all(b"two\n").unwrap();
        assert!(watched.is_woken());
        fs::write(watched.path("sub/new"), "").unwrap();
        fs::rename(watched.path("sub/new"), watched.path("sub/leases")).unwrap();
        assert!(watched.is_woken());
        watched.watch.file().unwrap();
        file.write_all(b"three\n").unwrap();
        assert!(watched.is_quiet());
        fs::remove_file(watched.path("sub/leases")).unwrap();
        assert!(watched.is_woken());
    }

    #[test]
    fn a_directory_that_is_made_anew_is_watched_again() {
        let mut watched = Watched::new();
        for round in 0..3 {
            fs::create_dir(watched.path("sub")).unwrap();
            assert!(watched.is_woken(), "round {round}");
            File::create(watched.path("sub/leases")).unwrap();
            assert!(watched.is_woken(), "round {round}");
            if round == 1 {
                fs::rename(watched.path("sub"), watched.path("moved")).unwrap();
            } else {
                fs::remove_dir_all(watched.path("sub")).unwrap();
            }
            assert_eq!(
                watched.watch.wait(&watched.stop, LONG).unwrap(),
                Woken::Changed
            );
            while watched.watch.wait(&watched.stop, AT_ONCE).unwrap() == Woken::Changed {}
        }
    }

    #[test]
    fn other_names_do_not_wake_and_a_full_queue_does() {
        let mut watched = Watched::new();
        fs::create_dir(watched.path("sub")).unwrap();
        assert!(watched.is_woken());
        File::create(watched.path("sub/leases.pid")).unwrap();
        assert!(watched.is_quiet());
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let (one, other) = (watched.path("sub/one"), watched.path("sub/other"));
        File::create(&one).unwrap();
        // Each rename is two events; events of different names are not merged.
        for _ in 0..=most.min(100_000) / 4 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        if most <= 100_000 {
            assert!(watched.is_woken());
        }
    }

    #[test]
    fn the_signal_to_end_ends_a_wait() {
        let mut watched = Watched::new();
        watched.stop.give();
        assert_eq!(
            watched.watch.wait(&watched.stop, LONG).unwrap(),
            Woken::Stopped
        );
    }
}
