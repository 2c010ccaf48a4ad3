//! Following a file that another program writes: what is appended, and what becomes of the file under its name.
//!
//! - [`Watch`] waits, by inotify, for a file or its directory to change, or for the signal to end;
//! - [`Tail`] reads the complete lines of one open file, and goes on when there are more;
//! - [`Position`] is a place in a file that can be kept over restarts and is recognised as of that very file;
//! - [`Followed`] puts them together for a file that is appended to or rewritten under one name;
//! - `source` is what the feeds of such files begin with.
//!
//! A file is looked at when it changed, and once in a while when it did not, by two calls to the system that read nothing: what
//! was read is not read again. Lines are bounded by [`crate::lines::MAX_LINE`].

mod followed;
mod position;
pub(crate) mod source;
mod tail;
mod watch;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

pub use followed::{Followed, Step, Way, Why, identity_of};
pub use position::{HEAD, Identity, Position};
pub use tail::{Condition, Tail};
pub use watch::{Watch, Woken};

/// Why a file cannot be followed. None of them is for ever: the file may be replaced, its rights changed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It cannot be opened.
    #[error("cannot open {}: {source}{}", path.display(), advice(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is something else under its name.
    #[error("{}: expected a file, found {found}", path.display())]
    NotAFile {
        /// The name.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Changes of it cannot be waited for.
    #[error("cannot watch {}: {source}{}", path.display(), advice(source))]
    Watch {
        /// The file or its directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FollowError {
    /// Whether there is no file of this name.
    pub fn is_missing(&self) -> bool {
        matches!(self, FollowError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What to do where rights are missing, or the system has run out of watches.
fn advice(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::PermissionDenied {
        return ": the user that leaseq runs as has to be let into the directories and to read the file, for instance by its group";
    }
    match source
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::NOSPC) => ": raise the sysctl fs.inotify.max_user_watches",
        Some(rustix::io::Errno::MFILE) => {
            ": raise the sysctl fs.inotify.max_user_instances or the limit of open files"
        }
        _ => "",
    }
}

/// Opens a file for reading. Anything but a regular file is refused: a pipe would block, a directory says so only when read.
pub(crate) fn open(path: &Path) -> Result<File, FollowError> {
    let failed = |source| FollowError::Open {
        path: path.into(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let found = match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () => "a device",
    };
    Err(FollowError::NotAFile {
        path: path.into(),
        found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(
            refused
                .to_string()
                .ends_with("expected a file, found a directory")
        );
        assert!(!refused.is_missing());
        let refused = open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "/dev/null: expected a file, found a device"
        );
        assert!(open(&dir.path().join("none")).unwrap_err().is_missing());
    }

    #[test]
    fn a_want_of_watches_comes_with_advice() {
        let error = FollowError::Watch {
            path: "/leases".into(),
            source: rustix::io::Errno::NOSPC.into(),
        };
        assert!(error.to_string().ends_with("fs.inotify.max_user_watches"));
    }
}
