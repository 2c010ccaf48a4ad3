//! Reads the feed's answers.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Shutdown;
use std::sync::atomic::Ordering;

use serde::Deserialize;

use super::Side;
use crate::fault::{Fault, FaultKind};
use crate::measure::Times;
use crate::result::KEPT_FAULTS;

/// Octets of answers that are read at a time.
const BUFFER: usize = 64 * 1024;
/// Octets of an answer that are taken.
const LONGEST: u64 = 64 * 1024;

/// What the feed answered.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub acknowledged: u64,
    pub refused: u64,
    pub acknowledgement: Times,
    /// The first of the refused.
    pub faults: Vec<Fault>,
    /// Why the connection ended, if it was not we who ended it.
    pub end: Option<String>,
}

/// All lines up to one are durable, but for those told otherwise.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Answer {
    Done { ok: u64 },
    Refused { line: u64, error: String },
}

/// Reads until the connection ends.
pub(super) fn read(side: &Side) -> Answered {
    let mut answered = Answered::default();
    let mut answers = BufReader::with_capacity(BUFFER, &side.stream);
    let mut line = Vec::new();
    let mut upto = 0;
    let end = loop {
        line.clear();
        match (&mut answers).take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => break "it was closed".to_owned(),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
        if let Err(problem) = answered.take(side, &line, &mut upto) {
            break problem;
        }
    };
    if !side.stopping.load(Ordering::Acquire) {
        answered.end = Some(end);
        // What is still written would be waited for in vain.
        let _ = side.stream.shutdown(Shutdown::Both);
    }
    answered
}

impl Answered {
    /// Takes an answer; `upto` is the last line that was answered.
    fn take(&mut self, side: &Side, answer: &[u8], upto: &mut u64) -> Result<(), String> {
        let unexpected = |expected: String| {
            let found = String::from_utf8_lossy(answer);
            Err(format!("expected {expected}, found {:?}", found.trim_end()))
        };
        let Ok(parsed) = serde_json::from_slice(answer) else {
            return unexpected("an answer of a feed".to_owned());
        };
        let (Answer::Done { ok: line } | Answer::Refused { line, .. }) = parsed;
        let submitted = side.board.submitted(side.family) - side.before;
        if line <= *upto || line > submitted {
            return unexpected(format!("an answer to a line after {upto} of {submitted}"));
        }
        match parsed {
            Answer::Done { .. } => {
                side.board.acknowledge(side.family, side.before + line);
                for number in *upto + 1..=line {
                    let times = side.board.times(side.family, side.before + number);
                    let (submitted, acknowledged) = times.unwrap_or_default();
                    self.acknowledgement
                        .record_ns(acknowledged.saturating_sub(submitted));
                }
                self.acknowledged += line - *upto;
            }
            Answer::Refused { error, .. } => {
                self.refused += 1;
                if self.faults.len() < KEPT_FAULTS {
                    let number = side.before + line;
                    let mut text = format!("the feed refused it: {error}; the line: ");
                    side.line(number, &mut text);
                    let text = text.trim_end().to_owned();
                    let fault = side.fault(FaultKind::Status, Some(number), text);
                    self.faults.push(fault);
                }
            }
        }
        *upto = line;
        Ok(())
    }
}
