//! A copy of the store on its way to the client, who writes it: the server may write to its own directories alone.

use std::io::{self, Write};

use leaseq_store::Reader;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::{Answer, End};

/// What a line of the answer announces; as many octets as it says follow the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackupPart {
    /// A segment of the log.
    Segment {
        /// Name of its file.
        file: String,
        /// Octets of its file: zeros follow those that are sent.
        size: u64,
        /// Octets that are sent.
        octets: u64,
    },
    /// The file `STORE`, after all segments.
    Store {
        /// Sequence of the last record.
        sequence: u64,
        /// Octets that are sent.
        octets: u64,
    },
}

/// Sends everything that is durable when it is called, while the store goes on. What it takes is the client's time alone.
pub fn send(reader: &Reader, answer: &mut Answer<impl Write>) -> io::Result<End> {
    let image = reader.image();
    let mut sent = 0;
    for segment in image.segments() {
        let octets = segment.octets();
        let part = BackupPart::Segment {
            file: segment.file_name(),
            size: segment.size(),
            octets: octets.len() as u64,
        };
        answer.octets(&part, octets)?;
        sent += octets.len();
    }
    let identity = image.identity();
    let part = BackupPart::Store {
        sequence: image.sequence(),
        octets: identity.len() as u64,
    };
    answer.octets(&part, &identity)?;
    let (sequence, segments) = (image.sequence(), image.segments().len());
    tracing::info!(
        id = "control-backup",
        sequence,
        segments,
        octets = sent,
        "a copy of the store was handed out"
    );
    Ok(End::with(
        json!({ "sequence": sequence, "segments": segments }),
    ))
}
