//! Lines of a file or socket, each bounded in length.
//!
//! The buffer grows to at most [`MAX_LINE`] octets and a read more. A longer line is thrown away up to its end
//! and reported as [`Line::TooLong`], so that a source without line ends cannot make the process grow.

use std::io::{self, Read};

/// The longest line taken, in octets. The largest record holds 61,440 octets, twice that in hex, and some names.
pub const MAX_LINE: usize = 256 * 1024;

/// A line of the input, without its line end (LF or CRLF).
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A whole line.
    Whole(&'a [u8]),
    /// What followed the last line end, not empty: perhaps still being written.
    Unterminated(&'a [u8]),
    /// A line of more than [`MAX_LINE`] octets, skipped.
    TooLong,
}

/// Splits what it reads into lines.
pub struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    number: u64,
    taken: u64,
    ended: bool,
    skipping: bool,
}

impl<R: Read> Lines<R> {
    /// Lines of `input`, read in pieces of up to `read_size` octets.
    pub fn new(input: R, read_size: usize) -> Self {
        let buffer = vec![0; read_size.clamp(64, MAX_LINE)];
        Self {
            input,
            buffer,
            start: 0,
            end: 0,
            number: 0,
            taken: 0,
            ended: false,
            skipping: false,
        }
    }

    /// Number of the line that was returned last, counted from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Octets of the lines returned so far, line ends included.
    pub fn octets(&self) -> u64 {
        self.taken
    }

    /// Whether the next line lies in the buffer whole, so that [`Lines::next_line`] would not read.
    pub fn is_ready(&self) -> bool {
        memchr::memchr(b'\n', &self.buffer[self.start..self.end]).is_some()
    }

    /// The next line, or `None` at the end of the input.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let mut searched = 0;
        loop {
            let found = memchr::memchr(b'\n', &self.buffer[self.start + searched..self.end]);
            if let Some(at) = found {
                let from = self.start;
                let to = from + searched + at;
                self.consume(to + 1 - from);
                self.number += 1;
                if std::mem::take(&mut self.skipping) || to - from > MAX_LINE {
                    return Ok(Some(Line::TooLong));
                }
                let line = &self.buffer[from..to];
                return Ok(Some(Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))));
            }
            searched = self.end - self.start;
            if searched >= MAX_LINE {
                self.skipping = true;
            }
            if self.skipping {
                self.consume(searched);
                searched = 0;
            }
            if self.ended {
                return Ok(self.last_line());
            }
            self.read_more()?;
        }
    }

    fn last_line(&mut self) -> Option<Line<'_>> {
        let (from, to) = (self.start, self.end);
        if from == to && !self.skipping {
            return None;
        }
        self.consume(to - from);
        self.number += 1;
        if std::mem::take(&mut self.skipping) {
            return Some(Line::TooLong);
        }
        Some(Line::Unterminated(&self.buffer[from..to]))
    }

    fn consume(&mut self, octets: usize) {
        self.start += octets;
        self.taken += octets as u64;
    }

    fn read_more(&mut self) -> io::Result<()> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end > self.buffer.len() / 2 {
                // Stays below MAX_LINE twice: a line that long is being skipped by then.
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        match self.input.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.ended = true,
            Ok(octets) => self.end += octets,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives out what it holds in pieces of the sizes told.
    struct Pieces {
        octets: Vec<u8>,
        at: usize,
        sizes: Vec<usize>,
        turn: usize,
    }

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let size = self.sizes[self.turn % self.sizes.len()]
                .min(out.len())
                .min(self.octets.len() - self.at);
            out[..size].copy_from_slice(&self.octets[self.at..self.at + size]);
            self.at += size;
            self.turn += 1;
            Ok(size)
        }
    }

    fn all<R: Read>(lines: &mut Lines<R>) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push(match line {
                Line::Whole(text) | Line::Unterminated(text) => Some(text.to_vec()),
                Line::TooLong => None,
            });
        }
        out
    }

    #[test]
    fn line_ends_are_taken_off_and_the_last_line_is_marked() {
        let mut lines = Lines::new(&b"one\r\n\ntwo"[..], 64);
        assert_eq!(lines.next_line().unwrap(), Some(Line::Whole(b"one")));
        assert_eq!(lines.next_line().unwrap(), Some(Line::Whole(b"")));
        assert_eq!(lines.next_line().unwrap(), Some(Line::Unterminated(b"two")));
        assert_eq!(lines.number(), 3);
        assert_eq!(lines.next_line().unwrap(), None);
        assert_eq!(lines.octets(), 9);
    }

    #[test]
    fn an_endless_line_is_skipped_and_the_next_one_is_whole() {
        let mut text = vec![b'x'; 3 * MAX_LINE];
        text.extend_from_slice(b"\nnext\n");
        text.extend(vec![b'y'; 2 * MAX_LINE]);
        let mut lines = Lines::new(&text[..], 1000);
        assert_eq!(all(&mut lines), [None, Some(b"next".to_vec()), None]);
        assert!(lines.buffer.len() <= 2 * MAX_LINE + 1000);
        assert_eq!(lines.octets(), text.len() as u64);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_input_is_cut(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'b')], 0..400),
            sizes in proptest::collection::vec(1usize..90, 1..5),
        ) {
            let mut expected: Vec<_> = text.split(|octet| *octet == b'\n').map(|line| Some(line.to_vec())).collect();
            if expected.last() == Some(&Some(vec![])) {
                expected.pop();
            }
            let pieces = Pieces { octets: text, at: 0, sizes, turn: 0 };
            prop_assert_eq!(all(&mut Lines::new(pieces, 64)), expected);
        }
    }
}
