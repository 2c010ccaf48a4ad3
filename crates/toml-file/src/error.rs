//! What is wrong with a file, and where.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::nearest::nearest;

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Line and column, counted from 1, if a place in the file is to blame.
    pub place: Option<(usize, usize)>,
    /// What was expected, what came, and what to do.
    pub reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(out, "{line}:{column}:")?;
        }
        write!(out, " {}", self.reason)
    }
}

/// The text of a file.
///
/// # Errors
/// If it cannot be read, or is not UTF-8.
pub fn read(file: &Path) -> Result<String, ConfigError> {
    let octets = fs::read(file)
        .map_err(|error| ConfigError::about(file, format!("cannot be read: {error}")))?;
    String::from_utf8(octets).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        ConfigError::about(
            file,
            format!("expected UTF-8 text, found another octet at offset {offset}"),
        )
    })
}

impl ConfigError {
    /// An error about a file as a whole.
    pub fn about(file: &Path, reason: impl Into<String>) -> Self {
        ConfigError {
            file: file.into(),
            place: None,
            reason: reason.into(),
        }
    }

    /// An error about a span of the file's text.
    pub fn at(file: &Path, text: &str, span: Range<usize>, reason: impl Into<String>) -> Self {
        let place = Some(place_of(text, span.start));
        ConfigError {
            file: file.into(),
            place,
            reason: reason.into(),
        }
    }

    /// What the TOML reader says, in our words.
    pub fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let place = error.span().map(|span| place_of(text, span.start));
        let message = error.message().trim_end().replace('\n', ", ");
        let reason = unknown_key(text, place, &message).unwrap_or(message);
        ConfigError {
            file: file.into(),
            place,
            reason,
        }
    }
}

fn place_of(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    (line, column)
}

/// What the TOML reader says about a value that is not in a file, in our words.
pub fn in_words(error: &toml::de::Error) -> String {
    let message = error.message().trim_end().replace('\n', ", ");
    match parts_of(&message) {
        Some((unknown, known)) => instead(format!("unknown key `{unknown}`"), unknown, &known),
        None => message,
    }
}

/// The unknown key and the known ones of serde's "unknown field".
fn parts_of(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (unknown, rest) = rest.split_once('`')?;
    Some((unknown, rest.split('`').skip(1).step_by(2).collect()))
}

/// What is unknown, with what may have been meant or could be meant.
pub fn instead(what: String, unknown: &str, known: &[&str]) -> String {
    match nearest(unknown, known) {
        Some(key) => format!("{what}; did you mean `{key}`?"),
        None => format!("{what}; known are {}", known.join(", ")),
    }
}

/// serde's "unknown field" with the section it is in and the nearest known key.
fn unknown_key(text: &str, place: Option<(usize, usize)>, message: &str) -> Option<String> {
    let (unknown, known) = parts_of(message)?;
    let line = place.map_or(0, |(line, _)| line);
    let above: Vec<&str> = text.lines().take(line).collect();
    let header = above.iter().rev().find_map(|line| header_of(line));
    let on_header = above.last().is_some_and(|line| header_of(line).is_some());
    let what = match header {
        Some(header) if !on_header => format!("unknown key `{unknown}` in {header}"),
        Some(_) => format!("unknown section `{unknown}`"),
        None => format!("unknown key `{unknown}` outside any section"),
    };
    Some(instead(what, unknown, &known))
}

/// The section that a line begins, with its brackets.
fn header_of(line: &str) -> Option<&str> {
    let line = line.trim();
    let end = line.rfind(']')?;
    line.starts_with('[').then(|| &line[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_told_why_not() {
        let refused = read(Path::new("/does/not/exist.toml")).unwrap_err();
        let expected = "/does/not/exist.toml: cannot be read: No such file or directory";
        assert!(refused.to_string().starts_with(expected), "{refused}");
        // An ELF file is not UTF-8.
        let refused = read(&std::env::current_exe().unwrap()).unwrap_err();
        assert!(refused.reason.starts_with("expected UTF-8"), "{refused}");
    }

    #[test]
    fn places_count_characters_from_1() {
        let text = "a = \"\u{fc}\"\nbb = \"\u{fc}\" # x";
        let place = |offset| {
            let error = ConfigError::at(Path::new("f"), text, offset..offset, "");
            error.place
        };
        assert_eq!(place(0), Some((1, 1)));
        assert_eq!(place(text.find("bb").unwrap()), Some((2, 1)));
        assert_eq!(place(text.find('#').unwrap()), Some((2, 10)));
        // Within the character, and behind the end.
        assert_eq!(place(text.find('\u{fc}').unwrap() + 1), Some((1, 6)));
        assert_eq!(place(1_000), Some((2, 13)));
    }
}
