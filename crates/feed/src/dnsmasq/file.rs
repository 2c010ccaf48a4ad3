//! A lease file as an iterator of events.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::vec;

use leaseq_store::Event;

use super::lease::{Fields, Lease, parse};
use crate::{ReadError, Rejection};

/// Octets of the largest file that is read. Lines have some 100 octets, and dnsmasq keeps 1,000 leases unless told otherwise.
pub const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Why a lease file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error("cannot read {}", file.display())]
    Io {
        /// The file asked for.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than any lease file.
    #[error("{}: expected a file of at most {MAX_FILE} octets", file.display())]
    TooLarge {
        /// The file asked for.
        file: PathBuf,
    },
}

/// Whether a file that begins with these octets is a lease file of dnsmasq.
pub fn is_lease_file(head: &[u8]) -> bool {
    let line = head.split(|octet| *octet == b'\n').next();
    line.is_some_and(|line| Fields::of(line).is_known())
}

/// The leases of the file at `path`, as they are at `now`, in Unix seconds; `feed` is put into each event.
pub fn open(path: &Path, feed: u16, now: u32) -> Result<Leases, OpenError> {
    let text = File::open(path)
        .and_then(read)
        .map_err(|source| OpenError::Io {
            file: path.into(),
            source,
        })?;
    let text = text.ok_or_else(|| OpenError::TooLarge { file: path.into() })?;
    Ok(Leases::read(path.into(), &text, feed, now))
}

/// All octets of a file; `None` if they are too many.
pub(super) fn read(file: File) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    Ok((text.len() as u64 <= MAX_FILE).then_some(text))
}

/// Events of a lease file, in the order of its lines; rejections come last.
pub struct Leases {
    path: PathBuf,
    octets: u64,
    now: u32,
    leases: vec::IntoIter<Lease>,
    rejected: vec::IntoIter<(u64, String)>,
    of_v4: u64,
    with_relay_data: u64,
}

impl Leases {
    /// The leases of a file of this text; `path` is what rejections name.
    pub fn read(path: PathBuf, text: &[u8], feed: u16, now: u32) -> Self {
        let (leases, rejected) = parse(text, feed);
        Self {
            path,
            octets: text.len() as u64,
            now,
            leases: leases.into_iter(),
            rejected: rejected.into_iter(),
            of_v4: 0,
            with_relay_data: 0,
        }
    }

    /// Octets of the file, all of which were read.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// IPv4 leases so far.
    pub fn of_v4(&self) -> u64 {
        self.of_v4
    }

    /// Those of them that tell a relay agent.
    pub fn with_relay_data(&self) -> u64 {
        self.with_relay_data
    }
}

impl Iterator for Leases {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(lease) = self.leases.next() {
            if let Event::V4(event) = &lease.event {
                self.of_v4 += 1;
                self.with_relay_data += u64::from(event.relay_agent_info.is_some());
            }
            return Some(Ok(lease.seen_at(self.now)));
        }
        let (line, reason) = self.rejected.next()?;
        Some(Err(ReadError::Rejected(Rejection {
            file: self.path.clone(),
            line,
            reason,
        })))
    }
}
