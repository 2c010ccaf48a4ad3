//! Lines on their way to the store, and their answers.

use std::fmt::Write as _;

use leaseq_store::{Event, EventError};

use crate::ndjson;

/// Most lines handed to the store at a time.
const MAX_LINES: usize = 4_096;
/// Octets of lines after which no more are added.
const ENOUGH_OCTETS: usize = 1024 * 1024;

/// Consecutive lines of one writer.
#[derive(Default)]
pub(super) struct Batch {
    /// What the lines told.
    events: Vec<Event>,
    answers: Answers,
    octets: usize,
}

/// What is to be answered about the lines of a batch.
#[derive(Default)]
pub(super) struct Answers {
    /// Number of the batch's last line.
    last_line: u64,
    /// Line of each event.
    lines: Vec<u64>,
    /// Lines that were refused, with the reason.
    refused: Vec<(u64, String)>,
}

impl Batch {
    /// Takes a line; a blank one is answered, but tells nothing.
    pub(super) fn push(&mut self, number: u64, line: &[u8]) {
        self.octets += line.len();
        self.answers.last_line = number;
        if line.trim_ascii().is_empty() {
            return;
        }
        match ndjson::parse(line) {
            Ok(event) => {
                self.events.push(event);
                self.answers.lines.push(number);
            }
            Err(error) => self.answers.refused.push((number, error.to_string())),
        }
    }

    /// Refuses a line unread.
    pub(super) fn refuse(&mut self, number: u64, reason: String) {
        self.answers.last_line = number;
        self.answers.refused.push((number, reason));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.answers.last_line == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() + self.answers.refused.len() >= MAX_LINES || self.octets >= ENOUGH_OCTETS
    }

    /// The events for the store and the answers for the writer; the batch is empty afterwards.
    pub(super) fn take(&mut self) -> (Vec<Event>, Answers) {
        let Batch {
            events, answers, ..
        } = std::mem::take(self);
        (events, answers)
    }
}

impl Answers {
    /// How many lines became events.
    pub(super) fn events(&self) -> usize {
        self.lines.len()
    }

    /// The refused lines, and why.
    pub(super) fn refused(&self) -> &[(u64, String)] {
        &self.refused
    }

    /// Notes which events the store refused, by their index in the batch.
    pub(super) fn refuse_events(&mut self, refused: Vec<(usize, EventError)>) {
        for (index, error) in refused {
            if let Some(line) = self.lines.get(index) {
                self.refused.push((*line, error.to_string()));
            }
        }
    }

    /// Notes that the store took no event of the batch.
    pub(super) fn refuse_all(&mut self, reason: &str) {
        self.refused
            .extend(self.lines.iter().map(|line| (*line, reason.to_owned())));
    }

    /// Appends the answers, in the order of the lines.
    pub(super) fn write(mut self, first_line: u64, out: &mut String) -> u64 {
        self.refused.sort_by_key(|(line, _)| *line);
        let mut next_line = first_line;
        for (line, reason) in &self.refused {
            if *line > next_line {
                let _ = writeln!(out, "{{\"ok\":{}}}", line - 1);
            }
            let reason = serde_json::Value::String(reason.clone());
            let _ = writeln!(out, "{{\"line\":{line},\"error\":{reason}}}");
            next_line = line + 1;
        }
        if self.last_line >= next_line {
            let _ = writeln!(out, "{{\"ok\":{}}}", self.last_line);
        }
        self.last_line + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = br#"{"family":4,"address":"192.0.2.1","state":"reset"}"#;

    #[test]
    fn answers_come_in_the_order_of_the_lines() {
        let mut batch = Batch::default();
        batch.push(7, GOOD);
        batch.push(8, GOOD);
        batch.push(9, b"rubbish");
        batch.push(10, b"");
        batch.push(11, GOOD);
        batch.push(12, GOOD);
        batch.refuse(13, "too \"long\"".into());
        let (events, mut answers) = batch.take();
        assert!(batch.is_empty());
        assert_eq!(events.len(), 4);
        answers.refuse_events(vec![(2, EventError::MissingDuid)]);
        let mut out = String::new();
        assert_eq!(answers.write(7, &mut out), 14);
        assert_eq!(
            out,
            "{\"ok\":8}\n\
             {\"line\":9,\"error\":\"expected a JSON object\"}\n\
             {\"ok\":10}\n\
             {\"line\":11,\"error\":\"an active IPv6 lease needs the DUID of its client\"}\n\
             {\"ok\":12}\n\
             {\"line\":13,\"error\":\"too \\\"long\\\"\"}\n"
        );
    }

    #[test]
    fn a_batch_is_bounded_in_lines_and_in_octets() {
        let mut batch = Batch::default();
        let mut number = 0;
        while !batch.is_full() {
            number += 1;
            batch.push(number, GOOD);
        }
        assert_eq!(number, MAX_LINES as u64);
        batch.take();
        for _ in 0..2 {
            assert!(!batch.is_full());
            batch.push(1, &vec![b' '; ENOUGH_OCTETS / 2]);
        }
        assert!(batch.is_full());
    }
}
