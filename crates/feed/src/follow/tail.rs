//! The complete lines of one open file, as far as it has been written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::position::{HEAD, Identity, Position};
use super::{FollowError, open};
use crate::lines::{Line, MAX_LINE};

/// Octets asked of a file at a time.
const READ_SIZE: usize = 256 * 1024;

/// Whether what was read of a file is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is, or so it seems.
    Intact,
    /// The file is shorter than what was read of it.
    Truncated,
    /// The file begins with other octets than those that were read.
    Rewritten,
}

/// Where a line lies in the buffer; none: it was too long and is nowhere.
pub(crate) struct Place(Option<Range<usize>>);

/// Reads the lines of an open file. A line without its end is being written: it waits until it has one. Renaming or removing
/// the file does no harm.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: File,
    identity: Identity,
    /// The first octets that were read.
    head: Vec<u8>,
    /// What was read and not given out is `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Octets and lines given out.
    octets: u64,
    lines: u64,
    /// Octets of a line that is too long, read and thrown away.
    skipped: u64,
}

impl Tail {
    /// A file from its beginning. `path` is what errors name.
    pub fn of(path: &Path, file: File) -> Result<Tail, FollowError> {
        let found = file.metadata().map_err(|source| FollowError::Open {
            path: path.into(),
            source,
        })?;
        Ok(Tail {
            path: path.into(),
            identity: Identity::of(&found),
            file,
            head: Vec::new(),
            buffer: Vec::new(),
            start: 0,
            end: 0,
            octets: 0,
            lines: 0,
            skipped: 0,
        })
    }

    /// The file of this name from its beginning.
    pub fn open(path: &Path) -> Result<Tail, FollowError> {
        Tail::of(path, open(path)?)
    }

    /// The file of this name from a position on; none if there is no such file, or it is not the one that the position is of.
    pub fn resume(path: &Path, position: &Position) -> Result<Option<Tail>, FollowError> {
        let mut tail = match Tail::open(path) {
            Err(error) if error.is_missing() => return Ok(None),
            opened => opened?,
        };
        if position.head > HEAD || position.head as u64 > position.octets {
            return Ok(None);
        }
        let head = tail.head_now(position.head)?;
        if !position.is_of(&tail.identity, &head) || tail.size()? < position.octets {
            return Ok(None);
        }
        (tail.head, tail.octets, tail.lines) = (head, position.octets, position.lines);
        Ok(Some(tail))
    }

    /// The same open file, read from its beginning.
    pub fn again(&self) -> Result<Tail, FollowError> {
        let file = self
            .file
            .try_clone()
            .map_err(|source| self.failed(source))?;
        Tail::of(&self.path, file)
    }

    /// The next complete line, or `None` when there is none yet.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, FollowError> {
        let next = self.advance()?;
        Ok(next.map(|place| self.line(place)))
    }

    /// Goes behind the next complete line, if there is one, and tells where in the buffer it lies.
    pub(crate) fn advance(&mut self) -> Result<Option<Place>, FollowError> {
        let mut searched = 0;
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]);
            if let Some(at) = found {
                let (from, to) = (self.start, self.start + searched + at);
                self.start = to + 1;
                let skipped = std::mem::take(&mut self.skipped);
                self.octets += skipped + (to + 1 - from) as u64;
                self.lines += 1;
                let is_whole = skipped == 0 && to - from <= MAX_LINE;
                return Ok(Some(Place(is_whole.then_some(from..to))));
            }
            searched = self.end - self.start;
            if self.skipped > 0 || searched > MAX_LINE {
                self.skipped += searched as u64;
                self.start = self.end;
                searched = 0;
            }
            if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// Whether the next line has been read already, so that asking for it does not read.
    pub fn is_ready(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.start..self.end]).is_some()
    }

    /// The line that the last [`Tail::advance`] told of.
    pub(crate) fn line(&self, place: Place) -> Line<'_> {
        let Place(Some(place)) = place else {
            return Line::TooLong;
        };
        let line = &self.buffer[place];
        Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// What follows the last complete line, to be asked for when nobody writes to the file any more. The position stays before it.
    pub fn rest(&self) -> Option<Line<'_>> {
        if self.skipped > 0 {
            return Some(Line::TooLong);
        }
        let rest = &self.buffer[self.start..self.end];
        (!rest.is_empty()).then_some(Line::Unterminated(rest))
    }

    /// The name under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Lines given out, those before the position where reading began included: the number of the line that was given last.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Octets given out, likewise.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The first octets of the file, as they were read; at most [`HEAD`].
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The place behind the last line given out.
    pub fn position(&self) -> Position {
        let head = usize::try_from(self.octets).map_or(HEAD, |octets| octets.min(HEAD));
        let head = &self.head[..head.min(self.head.len())];
        Position {
            file: self.identity,
            octets: self.octets,
            lines: self.lines,
            head: head.len(),
            digest: crc32fast::hash(head),
        }
    }

    /// Octets that the file has now.
    pub fn size(&self) -> Result<u64, FollowError> {
        let found = self.file.metadata().map_err(|source| self.failed(source))?;
        Ok(found.len())
    }

    /// Whether what was read is still there.
    pub fn condition(&self) -> Result<Condition, FollowError> {
        if self.size()? < self.read_up_to() {
            return Ok(Condition::Truncated);
        }
        if self.head_now(self.head.len())? != self.head {
            return Ok(Condition::Rewritten);
        }
        Ok(Condition::Intact)
    }

    fn read_up_to(&self) -> u64 {
        self.octets + self.skipped + (self.end - self.start) as u64
    }

    /// The file's first octets as they are now, fewer if there are fewer.
    fn head_now(&self, octets: usize) -> Result<Vec<u8>, FollowError> {
        let mut head = vec![0; octets];
        let mut filled = 0;
        while filled < octets {
            match self.read_at(&mut head[filled..], filled as u64)? {
                0 => break,
                octets => filled += octets,
            }
        }
        head.truncate(filled);
        Ok(head)
    }

    /// Whether there was more to read.
    fn read_more(&mut self) -> Result<bool, FollowError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + READ_SIZE / 2 {
            // Holds a line of MAX_LINE octets and a read more at most: a longer one is thrown away.
            self.buffer.resize(self.end + READ_SIZE, 0);
        }
        let at = self.read_up_to();
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read_at(&mut buffer[self.end..], at);
        self.buffer = buffer;
        let octets = read?;
        let from = self.end;
        self.end += octets;
        if self.head.len() < HEAD && at == self.head.len() as u64 {
            let more = octets.min(HEAD - self.head.len());
            self.head.extend_from_slice(&self.buffer[from..from + more]);
        }
        Ok(octets > 0)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize, FollowError> {
        loop {
            match self.file.read_at(into, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(|source| self.failed(source)),
            }
        }
    }

    fn failed(&self, source: io::Error) -> FollowError {
        FollowError::Read {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    struct Written {
        dir: tempfile::TempDir,
        file: File,
    }

    fn written(text: &str) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let mut file = File::create(dir.path().join("leases")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Written { dir, file }
    }

    impl Written {
        fn path(&self) -> PathBuf {
            self.dir.path().join("leases")
        }

        fn append(&mut self, text: impl AsRef<[u8]>) {
            self.file.write_all(text.as_ref()).unwrap();
        }
    }

    fn lines(tail: &mut Tail) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = tail.next_line().unwrap() {
            lines.push(match line {
                Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                other => format!("{other:?}"),
            });
        }
        lines
    }

    #[test]
    fn an_unterminated_line_waits_for_its_end() {
        let mut leases = written("header\none\ntw");
        let mut tail = Tail::open(&leases.path()).unwrap();
        assert_eq!(lines(&mut tail), ["header", "one"]);
        assert_eq!(tail.rest(), Some(Line::Unterminated(b"tw")));
        assert_eq!((tail.lines(), tail.octets()), (2, 11));
        leases.append("o\r\nthree\n");
        assert_eq!(lines(&mut tail), ["two", "three"]);
        assert_eq!(
            (tail.rest(), tail.condition().unwrap()),
            (None, Condition::Intact)
        );
    }

    #[test]
    fn an_endless_line_is_thrown_away_and_takes_bounded_memory() {
        let mut leases = written("one\n");
        leases.append(vec![b'x'; 3 * MAX_LINE]);
        let mut tail = Tail::open(&leases.path()).unwrap();
        assert_eq!(lines(&mut tail), ["one"]);
        assert_eq!((tail.rest(), tail.octets()), (Some(Line::TooLong), 4));
        leases.append("x\ntwo\n");
        assert_eq!(lines(&mut tail), ["TooLong", "two"]);
        assert_eq!(tail.octets(), leases.file.metadata().unwrap().len());
        assert!(tail.buffer.len() <= 2 * MAX_LINE + READ_SIZE);
    }

    #[test]
    fn reading_goes_on_at_a_position_of_the_same_file_under_any_name() {
        let mut leases = written("header\none\ntw");
        let mut tail = Tail::open(&leases.path()).unwrap();
        lines(&mut tail);
        let position = tail.position();
        leases.append("o\nthree\n");
        let renamed = leases.dir.path().join("leases.1");
        fs::rename(leases.path(), &renamed).unwrap();
        assert!(Tail::resume(&leases.path(), &position).unwrap().is_none());
        let mut resumed = Tail::resume(&renamed, &position).unwrap().unwrap();
        assert_eq!(lines(&mut resumed), ["two", "three"]);
        assert_eq!(resumed.lines(), 4);
        lines(&mut tail);
        assert_eq!(resumed.position(), tail.position());
    }

    #[test]
    fn a_file_that_is_not_the_one_of_a_position_is_not_gone_on_with() {
        let leases = written("header\none\n");
        let mut tail = Tail::open(&leases.path()).unwrap();
        lines(&mut tail);
        let position = tail.position();
        // Another file with the same octets.
        let copy = leases.dir.path().join("copy");
        fs::copy(leases.path(), &copy).unwrap();
        assert!(Tail::resume(&copy, &position).unwrap().is_none());
        // The same file, shorter, then other octets at its beginning.
        leases.file.set_len(8).unwrap();
        assert_eq!(tail.condition().unwrap(), Condition::Truncated);
        assert!(Tail::resume(&leases.path(), &position).unwrap().is_none());
        leases
            .file
            .write_all_at(b"Header\ntwo\nthree\n", 0)
            .unwrap();
        assert_eq!(tail.condition().unwrap(), Condition::Rewritten);
        assert!(Tail::resume(&leases.path(), &position).unwrap().is_none());
    }

    #[test]
    fn a_file_is_read_a_second_time_by_the_same_descriptor() {
        let leases = written("one\ntwo\n");
        let mut tail = Tail::open(&leases.path()).unwrap();
        lines(&mut tail);
        fs::remove_file(leases.path()).unwrap();
        assert_eq!(lines(&mut tail.again().unwrap()), ["one", "two"]);
    }
}
