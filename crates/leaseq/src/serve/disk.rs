//! Looks after the disk of the store: it is told when room becomes short, before changes have to be refused for want of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Segments that there should be room for: the next ones of the log, and those that a compaction writes before others go.
const SEGMENTS: u64 = 8;

/// The thread that looks, until it is stopped.
pub struct DiskWatch {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl DiskWatch {
    /// Looks at once, and then goes on from a thread of its own.
    pub fn start(data_dir: PathBuf, segment_size: u64) -> io::Result<DiskWatch> {
        let mut disk = Disk {
            needed_octets: segment_size.saturating_mul(SEGMENTS),
            is_low: false,
        };
        disk.look(free_octets(&data_dir));
        let (end, ended) = channel();
        let look = move || {
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                disk.look(free_octets(&data_dir));
            }
        };
        let thread = thread::Builder::new().name("disk".into()).spawn(look)?;
        Ok(DiskWatch { end, thread })
    }

    /// Ends the thread.
    pub fn stop(self) {
        // Fails only if it has ended.
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

/// What the server's user may still write there; `None`: it cannot be known.
fn free_octets(dir: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(dir).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// What was told of the disk.
struct Disk {
    needed_octets: u64,
    is_low: bool,
}

impl Disk {
    /// Tells when room has become short, and when it is not any more.
    fn look(&mut self, free_octets: Option<u64>) {
        let Some(free_octets) = free_octets else {
            return;
        };
        let needed_octets = self.needed_octets;
        let was_low = std::mem::replace(&mut self.is_low, free_octets < needed_octets);
        if self.is_low && !was_low {
            tracing::warn!(
                id = "disk-low",
                free_octets,
                needed_octets,
                "the disk of the store is nearly full, and changes will be refused when it is: make room, or shorten store.history"
            );
        } else if was_low && !self.is_low {
            tracing::info!(
                id = "disk-low-over",
                free_octets,
                "the disk of the store has room again"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_until_it_has_room_again() {
        let mut disk = Disk {
            needed_octets: 1_000,
            is_low: false,
        };
        let mut after = |free| {
            disk.look(free);
            disk.is_low
        };
        assert!(!after(Some(1_000)));
        assert!(after(Some(999)));
        assert!(after(None), "what cannot be known changes nothing");
        assert!(!after(Some(5_000)));
    }

    #[test]
    fn the_room_of_a_directory_is_known() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_octets(dir.path()).is_some());
        assert_eq!(free_octets(&dir.path().join("missing")), None);
    }
}
