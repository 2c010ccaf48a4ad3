//! What a client may ask for.

use serde::{Deserialize, Serialize};

/// Longest request, its line end included.
pub const MAX_REQUEST: u64 = 4_096;

/// A request: `{"command":"close","id":17}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the server does, as `/api/status` tells it.
    Status {},
    /// All connections.
    Connections {},
    /// Active streams alone.
    Streams {},
    /// Reset a connection.
    Close {
        /// Its number in the lists.
        id: u64,
    },
    /// Read the configuration again, as SIGHUP does.
    Reload {},
    /// End all connections one after another, and take no new ones.
    Drain {
        /// How long that may take, in milliseconds; at most a day.
        over_ms: u64,
        /// Whether the server stops then.
        exit: bool,
    },
    /// Drop superseded records from the log.
    Compact {},
    /// Check the log and each index against it.
    Verify {},
    /// Counts and sizes of the store.
    Stat {},
    /// All leases, as `store export` writes them.
    Export {},
    /// The log as it is, to be written as another store.
    Backup {},
    /// What leasequery can tell, as `store export --as-leasequery` writes it.
    ExportAsLeasequery {
        /// As it would be told at this time, Unix seconds; now if it is not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<u32>,
    },
}

impl Request {
    /// Reads a request.
    pub fn parse(line: &[u8]) -> Result<Request, String> {
        serde_json::from_slice(line).map_err(|error| format!("not a request: {error}"))
    }

    /// The request on a line.
    pub fn line(&self) -> String {
        // Text and numbers can always be written.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_are_written() {
        for (request, line) in [
            (Request::Status {}, "{\"command\":\"status\"}\n"),
            (
                Request::Close { id: 17 },
                "{\"command\":\"close\",\"id\":17}\n",
            ),
            (
                Request::ExportAsLeasequery { at: None },
                "{\"command\":\"export-as-leasequery\"}\n",
            ),
            (
                Request::ExportAsLeasequery { at: Some(9) },
                "{\"command\":\"export-as-leasequery\",\"at\":9}\n",
            ),
        ] {
            assert_eq!(request.line(), line);
            assert_eq!(Request::parse(line.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_was_expected() {
        for (line, told) in [
            ("", "EOF"),
            ("status", "expected value"),
            ("{\"command\":\"statuss\"}", "expected one of `status`"),
            ("{\"command\":\"close\"}", "missing field `id`"),
            ("{\"command\":\"close\",\"id\":-1}", "invalid value"),
            ("{\"command\":\"status\",\"id\":1}", "unknown field `id`"),
            ("[1]", "not a request"),
        ] {
            let error = Request::parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
        assert!(Request::parse(&[0xff, b'\n']).is_err());
    }
}
