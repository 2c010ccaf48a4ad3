//! What is said about input that was not taken.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// One line of a file that was not taken, with the reason. Nothing else is lost with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The file as it was named or found.
    pub file: PathBuf,
    /// Line number, counted from 1.
    pub line: u64,
    /// What was expected and what came.
    pub reason: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}:{}: {}",
            self.file.display(),
            self.line,
            self.reason
        )
    }
}

/// Why a source did not yield an event.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// One line was rejected; the source goes on after it.
    #[error("{0}")]
    Rejected(Rejection),
    /// The file could not be read further; the source ends.
    #[error("cannot read {}", file.display())]
    Io {
        /// The file that failed.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What is wrong with JSON that is a single line: the line number, which is always 1, is left out.
pub(crate) fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => format!("{} (column {})", &text[..end], error.column()),
        None => text,
    }
}
