//! How a request is answered: objects on lines, the last of which says how it went.

use std::io::{self, BufWriter, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Octets gathered before they are written.
const WRITE_SIZE: usize = 256 * 1024;

/// The last line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// It was done: what came of it, if anything is to be told.
    Done {
        /// Figures by name.
        #[serde(flatten)]
        result: Map<String, Value>,
    },
    /// It was not done.
    Failed {
        /// Why.
        error: String,
    },
}

impl End {
    /// Done, without a result.
    pub fn done() -> End {
        End::Done { result: Map::new() }
    }

    /// Done, with the members of an object as the result.
    pub fn with(result: Value) -> End {
        match result {
            Value::Object(result) => End::Done { result },
            _ => End::done(),
        }
    }

    /// Not done.
    pub fn failed(error: impl ToString) -> End {
        End::Failed {
            error: error.to_string(),
        }
    }

    /// The end in a line of an answer, if it is the last one. A lease's line has no such key.
    pub fn parse(line: &str) -> Option<End> {
        line.starts_with("{\"end\":")
            .then(|| serde_json::from_str(line).ok())?
    }
}

/// An answer that is being written.
pub struct Answer<W: Write>(BufWriter<W>);

impl<W: Write> Answer<W> {
    /// Nothing is written yet.
    pub fn to(out: W) -> Answer<W> {
        Answer(BufWriter::with_capacity(WRITE_SIZE, out))
    }

    /// One object.
    pub fn object(&mut self, object: &Value) -> io::Result<()> {
        writeln!(self.0, "{object}")
    }

    /// An object that announces octets, and these after its line.
    pub fn octets(&mut self, announced: &impl Serialize, octets: &[u8]) -> io::Result<()> {
        let line = serde_json::to_string(announced)?;
        writeln!(self.0, "{line}")?;
        octets
            .chunks(WRITE_SIZE)
            .try_for_each(|part| self.0.write_all(part))
    }

    /// Lines as they are; each has its end.
    pub fn lines(&mut self) -> &mut impl Write {
        &mut self.0
    }

    /// One object, sent at once.
    pub fn send(&mut self, object: &Value) -> io::Result<()> {
        self.object(object)?;
        self.0.flush()
    }

    /// How it went. This also sends what was gathered.
    pub fn end(&mut self, end: &End) -> io::Result<()> {
        let line = serde_json::to_string(end)?;
        writeln!(self.0, "{line}")?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_lines_and_an_end() {
        let mut out = Vec::new();
        let mut answer = Answer::to(&mut out);
        answer.object(&json!({"connection": {"id": 1}})).unwrap();
        answer.end(&End::with(json!({"reset": 1}))).unwrap();
        drop(answer);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [r#"{"connection":{"id":1}}"#, r#"{"end":"done","reset":1}"#]
        );
        assert_eq!(End::parse(lines[0]), None);
        assert_eq!(End::parse(lines[1]), Some(End::with(json!({"reset": 1}))));
    }

    #[test]
    fn a_failure_says_why() {
        let mut out = Vec::new();
        Answer::to(&mut out)
            .end(&End::failed("no such connection"))
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"end\":\"failed\",\"error\":\"no such connection\"}\n"
        );
        assert_eq!(
            End::parse(text.trim_end()),
            Some(End::failed("no such connection"))
        );
    }
}
