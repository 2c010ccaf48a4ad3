//! A file of NDJSON lines as an iterator of events.

use std::io::Read;
use std::path::PathBuf;

use leaseq_store::Event;

use super::parse;
use crate::lines::{Line, Lines, MAX_LINE};
use crate::{ReadError, Rejection};

/// Octets asked of a file at a time.
const READ_SIZE: usize = 256 * 1024;

/// Events of the lines of a file, in order. Blank lines are passed over.
pub struct Events<R> {
    path: PathBuf,
    lines: Lines<R>,
    failed: bool,
}

impl<R: Read> Events<R> {
    /// Reads lines from `input`; `path` is what rejections name.
    pub fn new(path: PathBuf, input: R) -> Self {
        Self {
            path,
            lines: Lines::new(input, READ_SIZE),
            failed: false,
        }
    }

    /// Octets read so far.
    pub fn octets_done(&self) -> u64 {
        self.lines.octets()
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            let parsed = match self.lines.next_line() {
                Ok(None) => return None,
                Ok(Some(Line::Whole(line) | Line::Unterminated(line))) => {
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    checked(line)
                }
                Ok(Some(Line::TooLong)) => {
                    Err(format!("expected a line of at most {MAX_LINE} octets"))
                }
                Err(source) => {
                    self.failed = true;
                    return Some(Err(ReadError::Io {
                        file: self.path.clone(),
                        source,
                    }));
                }
            };
            return Some(parsed.map_err(|reason| {
                ReadError::Rejected(Rejection {
                    file: self.path.clone(),
                    line: self.lines.number(),
                    reason,
                })
            }));
        }
    }
}

fn checked(line: &[u8]) -> Result<Event, String> {
    let event = parse(line).map_err(|error| error.to_string())?;
    event.check().map_err(|error| error.to_string())?;
    Ok(event)
}
