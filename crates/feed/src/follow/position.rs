//! A place in a file that outlives the process.
//!
//! A name says little: files are renamed, removed and made anew, and a new one may get the inode of an old one. So a position
//! names its file by device and inode, by the time it was made where the file system keeps that, and by a digest of its first
//! octets.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Octets at the beginning of a file by which it is known again.
pub const HEAD: usize = 4_096;

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Device that it is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
    /// When it was made, in nanoseconds of Unix time; none where the file system does not keep it.
    pub born: Option<u64>,
}

impl Identity {
    /// The identity of the file that this was asked of.
    pub fn of(found: &Metadata) -> Identity {
        let born = found.created().ok();
        let born = born.and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Identity {
            device: found.dev(),
            inode: found.ino(),
            born: born.and_then(|born| u64::try_from(born.as_nanos()).ok()),
        }
    }
}

/// A place in a file, always at the beginning of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The file.
    pub file: Identity,
    /// Octets before the place.
    pub octets: u64,
    /// Lines before the place.
    pub lines: u64,
    /// Octets that the digest is of: those before the place, up to [`HEAD`].
    pub head: usize,
    /// CRC-32 of these.
    pub digest: u32,
}

impl Position {
    /// The position as it is kept in the store: JSON of some 150 octets.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// A position that was kept; none if these octets are not one.
    pub fn decode(octets: &[u8]) -> Option<Position> {
        serde_json::from_slice(octets).ok()
    }

    /// Whether a file of this identity, with these first octets, can be only the one that the position is of.
    ///
    /// Without a time of birth a file that was made anew on the same inode, and has the same header, must not pass for the old
    /// one: then the digest has to be of [`HEAD`] octets.
    pub(super) fn is_of(&self, file: &Identity, head: &[u8]) -> bool {
        self.file == *file
            && (file.born.is_some() || self.head >= HEAD)
            && head.len() == self.head
            && crc32fast::hash(head) == self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(born: Option<u64>, head: &[u8]) -> Position {
        Position {
            file: Identity {
                device: 1,
                inode: 2,
                born,
            },
            octets: head.len() as u64,
            lines: 1,
            head: head.len(),
            digest: crc32fast::hash(head),
        }
    }

    #[test]
    fn a_position_is_kept_and_read_again() {
        let kept = position(Some(u64::MAX), b"header\n");
        let octets = kept.encode();
        assert!(octets.len() < 256);
        assert_eq!(Position::decode(&octets), Some(kept));
        assert_eq!(Position::decode(b""), None);
        assert_eq!(Position::decode(b"{\"octets\":-1}"), None);
    }

    #[test]
    fn a_reused_inode_is_told_by_birth_or_by_content() {
        let kept = position(Some(5), b"header\n");
        assert!(kept.is_of(&kept.file, b"header\n"));
        assert!(!kept.is_of(&kept.file, b"Header\n"));
        let anew = Identity {
            born: Some(6),
            ..kept.file
        };
        assert!(!kept.is_of(&anew, b"header\n"));
    }

    #[test]
    fn without_a_time_of_birth_a_short_beginning_proves_nothing() {
        let short = position(None, b"header\n");
        assert!(!short.is_of(&short.file, b"header\n"));
        let long = position(None, &[b'x'; HEAD]);
        assert!(long.is_of(&long.file, &[b'x'; HEAD]));
    }
}
