//! Lease files as iterators of events.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use leaseq_store::Event;

use super::cleanup::{OpenedFile, lease_files};
use super::row::Rows;
use crate::lines::{Line, Lines, MAX_LINE};
use crate::{ReadError, Rejection};

/// Octets asked of a file at a time.
const READ_SIZE: usize = 256 * 1024;

/// The protocol that a lease file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// DHCPv4, `kea-leases4.csv`.
    V4,
    /// DHCPv6, `kea-leases6.csv`.
    V6,
}

impl Family {
    /// 4 or 6.
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }
}

/// Why a file cannot be read as a lease file.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused.
    #[error("cannot open {}", file.display())]
    Io {
        /// The file asked for.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first line does not name the columns of a lease file.
    #[error("{}:1: {reason}", file.display())]
    Header {
        /// The file asked for.
        file: PathBuf,
        /// What was expected and what came.
        reason: String,
    },
    /// A lease file, but of the other protocol.
    #[error("{}: expected Kea's leases of DHCPv{expected}, found those of DHCPv{found}", file.display())]
    Family {
        /// The file asked for.
        file: PathBuf,
        /// 4 or 6, as asked for.
        expected: u8,
        /// 4 or 6, as the header says.
        found: u8,
    },
}

/// The protocol of a file that begins with this line, if it is the header of a lease file.
pub fn family_of_header(line: &[u8]) -> Option<Family> {
    let has = |name: &[u8]| {
        line.split(|octet| *octet == b',')
            .any(|column| column == name)
    };
    match (
        line.starts_with(b"address,"),
        has(b"duid"),
        has(b"client_id"),
    ) {
        (true, true, _) => Some(Family::V6),
        (true, false, true) => Some(Family::V4),
        _ => None,
    }
}

/// The v4 leases of a Kea whose live lease file is at `path`, with the files of its clean-up.
pub fn read4(path: &Path, feed: u16) -> Result<Leases, OpenError> {
    let leases = open(path, feed)?;
    expect(leases, Family::V4)
}

/// The v6 leases of a Kea whose live lease file is at `path`, with the files of its clean-up.
pub fn read6(path: &Path, feed: u16) -> Result<Leases, OpenError> {
    let leases = open(path, feed)?;
    expect(leases, Family::V6)
}

fn expect(leases: Leases, expected: Family) -> Result<Leases, OpenError> {
    match leases.files.iter().find(|file| file.family != expected) {
        None => Ok(leases),
        Some(other) => Err(OpenError::Family {
            file: other.path.clone(),
            expected: expected.number(),
            found: other.family.number(),
        }),
    }
}

/// The leases of a Kea whose live lease file is at `path`; the headers tell the protocol. `feed` is put into
/// each event.
pub fn open(path: &Path, feed: u16) -> Result<Leases, OpenError> {
    let opened = lease_files(path).map_err(|source| OpenError::Io {
        file: path.into(),
        source,
    })?;
    let mut files = Vec::with_capacity(opened.len());
    for OpenedFile { path, file, .. } in opened {
        // A clean-up that found nothing to keep leaves a file without even a header.
        files.extend(LeaseFile::new(path, file, feed)?);
    }
    let octets = files.iter().map(|file| file.size).sum();
    files.reverse();
    let family = files.last().map(|file| file.family);
    Ok(Leases {
        files,
        family,
        octets,
        octets_done: 0,
        with_relay_data: 0,
    })
}

/// Events of the files that together are the leases of one Kea, oldest first.
pub struct Leases {
    /// Those not read to their end yet, the next one last.
    files: Vec<LeaseFile<File>>,
    family: Option<Family>,
    octets: u64,
    octets_done: u64,
    with_relay_data: u64,
}

impl Leases {
    /// The protocol, unless every file was empty.
    pub fn family(&self) -> Option<Family> {
        self.family
    }

    /// Octets of all files when they were opened.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Octets read so far.
    pub fn octets_done(&self) -> u64 {
        self.octets_done + self.files.last().map_or(0, |file| file.lines.octets())
    }

    /// Rows so far that told a relay. None at all: Kea runs without `store-extended-info`.
    pub fn with_relay_data(&self) -> u64 {
        self.with_relay_data
            + self
                .files
                .last()
                .map_or(0, |file| file.rows.with_relay_data())
    }
}

impl Iterator for Leases {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let file = self.files.last_mut()?;
            if let Some(item) = file.next() {
                return Some(item);
            }
            self.octets_done += file.lines.octets();
            self.with_relay_data += file.rows.with_relay_data();
            self.files.pop();
        }
    }
}

/// Events of one lease file, in the order of its rows.
pub struct LeaseFile<R> {
    path: PathBuf,
    family: Family,
    size: u64,
    lines: Lines<R>,
    rows: Rows,
    failed: bool,
}

impl LeaseFile<File> {
    fn new(path: PathBuf, file: File, feed: u16) -> Result<Option<Self>, OpenError> {
        let size = file.metadata().map(|found| found.len());
        let size = size.map_err(|source| OpenError::Io {
            file: path.clone(),
            source,
        })?;
        Ok(Self::read(path, file, feed)?.map(|file| Self { size, ..file }))
    }
}

impl<R: Read> LeaseFile<R> {
    /// Reads rows from `input`; `path` is what rejections name. `None`: the input is empty.
    pub fn read(path: PathBuf, input: R, feed: u16) -> Result<Option<Self>, OpenError> {
        let mut lines = Lines::new(input, READ_SIZE);
        let header = lines.next_line().map_err(|source| OpenError::Io {
            file: path.clone(),
            source,
        })?;
        let header = match header {
            None => return Ok(None),
            Some(Line::Whole(line) | Line::Unterminated(line)) => line,
            Some(Line::TooLong) => b"",
        };
        let refused = |reason| OpenError::Header {
            file: path.clone(),
            reason,
        };
        let family = family_of_header(header).ok_or_else(|| {
            let found = String::from_utf8_lossy(&header[..header.len().min(60)]);
            refused(format!(
                "expected the header of a Kea lease file (\"address,...\"), found {found:?}"
            ))
        })?;
        let rows = Rows::new(family, header, feed).map_err(refused)?;
        Ok(Some(Self {
            path,
            family,
            size: 0,
            lines,
            rows,
            failed: false,
        }))
    }

    fn event(&mut self) -> io::Result<Option<Result<Event, String>>> {
        loop {
            let Some(line) = self.lines.next_line()? else {
                return Ok(None);
            };
            let (line, cut) = match line {
                Line::Whole(b"") => continue,
                Line::Whole(line) => (line, false),
                Line::Unterminated(line) => (line, true),
                Line::TooLong => {
                    return Ok(Some(Err(format!(
                        "expected a row of at most {MAX_LINE} octets"
                    ))));
                }
            };
            let event = self.rows.event(line, cut);
            return Ok(Some(event.and_then(|event| match event.check() {
                Ok(()) => Ok(event),
                Err(error) => Err(error.to_string()),
            })));
        }
    }
}

impl<R: Read> Iterator for LeaseFile<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.event() {
            Ok(None) => None,
            Ok(Some(Ok(event))) => Some(Ok(event)),
            Ok(Some(Err(reason))) => {
                let line = self.lines.number();
                Some(Err(ReadError::Rejected(Rejection {
                    file: self.path.clone(),
                    line,
                    reason,
                })))
            }
            Err(source) => {
                self.failed = true;
                Some(Err(ReadError::Io {
                    file: self.path.clone(),
                    source,
                }))
            }
        }
    }
}
