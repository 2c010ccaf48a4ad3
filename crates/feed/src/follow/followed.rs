//! A file that another program keeps under one name: appends to, replaces by another one, or writes anew in place.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::FollowError;
use super::position::{Identity, Position};
use super::tail::{Condition, Place, Tail};
use super::watch::{Watch, Woken};
use crate::lines::Line;
use crate::run::Stop;

/// How the other program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It appends, and now and then puts another file in its place.
    Appends,
    /// It writes the whole file anew in place: after each change all of it is read again.
    Rewrites,
}

/// Why reading begins at the start of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No file of this name was read before, or not the one that the position was of.
    First,
    /// Another file has the name; the one before was read to its end.
    Replaced,
    /// The file became shorter than what was read.
    Truncated,
    /// The file was written anew in place.
    Rewritten,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Lines from the start of a file follow. What was read before is of the past.
    Begin(Why),
    /// A line; [`Followed::line`] is its number. Never [`Line::Unterminated`].
    Line(Line<'a>),
    /// All is read that was there when this was asked.
    End,
    /// There is no file of this name. One that had it was read to its end.
    Missing,
}

/// Follows the file of a name.
#[derive(Debug)]
pub struct Followed {
    path: PathBuf,
    way: Way,
    watch: Watch,
    tail: Option<Tail>,
    changed: bool,
}

impl Followed {
    /// Follows the file of this name, from a position on if it is of that file.
    ///
    /// # Errors
    /// Not for want of the file or its directory: these may come.
    pub fn new(path: &Path, way: Way, from: Option<&Position>) -> Result<Followed, FollowError> {
        let mut watch = Watch::new(path)?;
        let tail = match from {
            Some(position) if way == Way::Appends => Tail::resume(path, position)?,
            _ => None,
        };
        if tail.is_some() {
            watch.file()?;
        }
        Ok(Followed {
            path: path.into(),
            way,
            watch,
            tail,
            changed: false,
        })
    }

    /// Whether it goes on behind the position that it was given.
    pub fn is_resumed(&self) -> bool {
        self.tail.is_some()
    }

    /// What comes next; does not wait. What the file has appended to it by the call is before the [`Step::End`] that it
    /// returns, so a time taken before the call is one up to which all was read.
    pub fn step(&mut self) -> Result<Step<'_>, FollowError> {
        // Two looks: what was appended before the file lost its name is read before that counts.
        for look in 0..2 {
            let Some(tail) = &mut self.tail else {
                return self.begin(Why::First);
            };
            if !tail.is_ready() {
                // Octets from the middle of other lines are not to be taken for lines.
                match tail.condition()? {
                    Condition::Intact => {}
                    Condition::Truncated => return self.begin(Why::Truncated),
                    Condition::Rewritten => return self.begin(Why::Rewritten),
                }
            }
            if let Some(place) = tail.advance()? {
                return Ok(Step::Line(self.line_at(place)));
            }
            let named = identity_of(&self.path)?;
            if named.as_ref() == Some(tail.identity()) {
                return self.end();
            }
            if look == 1 && named.is_some() {
                return self.begin(Why::Replaced);
            }
        }
        Ok(Step::Missing)
    }

    /// Waits until there may be more, at most this long.
    pub fn wait(&mut self, stop: &Stop, at_most: Duration) -> Result<Woken, FollowError> {
        let woken = self.watch.wait(stop, at_most)?;
        self.changed |= woken == Woken::Changed;
        Ok(woken)
    }

    /// Number of the line that was given last, from 1.
    pub fn line(&self) -> u64 {
        self.tail.as_ref().map_or(0, Tail::lines)
    }

    /// The place behind the line that was given last.
    pub fn position(&self) -> Option<Position> {
        self.tail.as_ref().map(Tail::position)
    }

    /// Octets that are there and were not given yet.
    pub fn backlog(&self) -> Result<u64, FollowError> {
        match &self.tail {
            Some(tail) => Ok(tail.size()?.saturating_sub(tail.octets())),
            None => Ok(0),
        }
    }

    fn begin(&mut self, why: Why) -> Result<Step<'_>, FollowError> {
        // Before the file is opened: what happens to it later is known.
        self.changed = false;
        self.watch.take_changes()?;
        match Tail::open(&self.path) {
            Err(error) if error.is_missing() => return Ok(Step::Missing),
            opened => self.tail = Some(opened?),
        }
        self.watch.file()?;
        Ok(Step::Begin(why))
    }

    /// The file was read to its end, and it still has the name.
    fn end(&mut self) -> Result<Step<'_>, FollowError> {
        // Where appending is all that happens, changes are left for the next wait: they may be of what was not read yet.
        if self.way == Way::Rewrites && (self.changed | self.watch.take_changes()?) {
            return self.begin(Why::Rewritten);
        }
        Ok(Step::End)
    }

    fn line_at(&self, place: Place) -> Line<'_> {
        match &self.tail {
            Some(tail) => tail.line(place),
            None => Line::TooLong,
        }
    }
}

/// Which file has this name, if any has.
pub fn identity_of(path: &Path) -> Result<Option<Identity>, FollowError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(Identity::of(&found))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(FollowError::Open {
            path: path.into(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::io::Write;

    use super::*;

    struct Source {
        dir: tempfile::TempDir,
        followed: Followed,
    }

    impl Source {
        fn new(way: Way) -> Source {
            let dir = tempfile::tempdir().unwrap();
            let followed = Followed::new(&dir.path().join("leases"), way, None).unwrap();
            Source { dir, followed }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("leases")
        }

        fn append(&self, text: &str) {
            let mut options = OpenOptions::new();
            let mut file = options.append(true).create(true).open(self.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn replace(&self, text: &str) {
            let new = self.dir.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.path()).unwrap();
        }

        /// Steps until there is nothing more, as words.
        fn steps(&mut self) -> Vec<String> {
            let mut steps = Vec::new();
            loop {
                let (step, is_last) = match self.followed.step().unwrap() {
                    Step::Line(Line::Whole(line)) => {
                        (String::from_utf8(line.to_vec()).unwrap(), false)
                    }
                    Step::Begin(why) => (format!("{why:?}"), false),
                    other => (format!("{other:?}"), true),
                };
                steps.push(step);
                if is_last {
                    return steps;
                }
            }
        }
    }

    #[test]
    fn appended_lines_come_and_a_replaced_file_is_read_to_its_end_first() {
        let mut source = Source::new(Way::Appends);
        assert_eq!(source.steps(), ["Missing"]);
        source.append("one\n");
        assert_eq!(source.steps(), ["First", "one", "End"]);
        let mut old = OpenOptions::new().append(true).open(source.path()).unwrap();
        source.append("two\nthr");
        assert_eq!(source.steps(), ["two", "End"]);
        source.replace("four\n");
        old.write_all(b"ee\n").unwrap();
        assert_eq!(source.steps(), ["three", "Replaced", "four", "End"]);
        fs::remove_file(source.path()).unwrap();
        assert_eq!(source.steps(), ["Missing"]);
        source.append("five\n");
        assert_eq!(source.steps(), ["Replaced", "five", "End"]);
    }

    #[test]
    fn a_file_cut_or_overwritten_in_place_is_begun_again() {
        let mut source = Source::new(Way::Appends);
        source.append("one\ntwo\n");
        assert_eq!(source.steps(), ["First", "one", "two", "End"]);
        let file = File::options().write(true).open(source.path()).unwrap();
        file.set_len(4).unwrap();
        assert_eq!(source.steps(), ["Truncated", "one", "End"]);
        fs::write(source.path(), "three\n").unwrap();
        assert_eq!(source.steps(), ["Rewritten", "three", "End"]);
    }

    #[test]
    fn following_goes_on_at_a_position() {
        let mut source = Source::new(Way::Appends);
        source.append("one\ntwo\n");
        source.steps();
        let position = source.followed.position().unwrap();
        source.append("three\n");
        let path = source.path();
        source.followed = Followed::new(&path, Way::Appends, Some(&position)).unwrap();
        assert!(source.followed.is_resumed());
        assert_eq!(source.followed.backlog().unwrap(), 6);
        assert_eq!(source.steps(), ["three", "End"]);
        assert_eq!(
            (source.followed.line(), source.followed.backlog().unwrap()),
            (3, 0)
        );
        source.replace("one\ntwo\nthree\n");
        source.followed = Followed::new(&path, Way::Appends, Some(&position)).unwrap();
        assert!(!source.followed.is_resumed());
        assert_eq!(source.steps(), ["First", "one", "two", "three", "End"]);
    }

    #[test]
    fn a_file_that_is_rewritten_is_read_whole_after_each_change() {
        let mut source = Source::new(Way::Rewrites);
        source.append("one\n");
        assert_eq!(source.steps(), ["First", "one", "End"]);
        assert_eq!(source.steps(), ["End"]);
        // Longer than before, with the same beginning.
        fs::write(source.path(), "one\ntwo\n").unwrap();
        let stop = Stop::new().unwrap();
        let woken = source.followed.wait(&stop, Duration::from_secs(60));
        assert_eq!(woken.unwrap(), Woken::Changed);
        assert_eq!(source.steps(), ["two", "Rewritten", "one", "two", "End"]);
        assert_eq!(source.steps(), ["End"]);
    }
}
