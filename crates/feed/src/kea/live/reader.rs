//! The rows of one lease file as it is being written.

use std::net::IpAddr;

use leaseq_store::Event;

use super::fault::Fault;
use crate::Rejection;
use crate::follow::Tail;
use crate::kea::file::{Family, family_of_header};
use crate::kea::row::Rows;
use crate::lines::{Line, MAX_LINE};
use crate::run::Status;

/// The columns of files without a header, as Kea writes them. A row may have fewer.
const COLUMNS4: &[u8] = b"address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id";
const COLUMNS6: &[u8] =
    b"address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,\
fqdn_fwd,fqdn_rev,hostname,hwaddr,state,user_context,hwtype,hwaddr_source,pool_id";

/// What a line of a lease file tells.
pub(super) enum Row {
    /// A change of a lease.
    Lease(Event),
    /// No lease: the header, or an empty line.
    Blank,
    /// Nothing that could be taken; perhaps the address that it was of.
    Rejected(Option<IpAddr>),
}

/// Reads the rows of a file; what cannot be taken is told to the feed's status.
pub(super) struct Reader {
    tail: Tail,
    columns: Columns,
}

impl Reader {
    /// Rows of a file from where `tail` is. Behind the file's beginning the header that was read before is used again.
    pub(super) fn new(tail: Tail, family: Family, feed: u16) -> Result<Reader, Fault> {
        let mut columns = Columns {
            family,
            feed,
            rows: None,
            headless: false,
        };
        if tail.lines() > 0 {
            let head = tail.head();
            let header = head.split(|octet| *octet == b'\n').next().unwrap_or(head);
            let header = header.strip_suffix(b"\r").unwrap_or(header);
            if !columns.header(header, &tail)? {
                columns.headless()?;
            }
        }
        Ok(Reader { tail, columns })
    }

    /// The same open file from its beginning.
    pub(super) fn again(&self) -> Result<Reader, Fault> {
        Reader::new(self.tail.again()?, self.columns.family, self.columns.feed)
    }

    /// The file.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Whether a header was read, or done without.
    pub(super) fn has_columns(&self) -> bool {
        self.columns.rows.is_some()
    }

    /// Whether the file has no header, so that what its rows mean is a guess.
    pub(super) fn is_headless(&self) -> bool {
        self.columns.headless
    }

    /// The next line's row, or `None` when there is no further complete line yet.
    pub(super) fn next(&mut self, status: Option<&Status>) -> Result<Option<Row>, Fault> {
        let Some(place) = self.tail.advance()? else {
            return Ok(None);
        };
        let line = self.tail.line(place);
        let number = self.tail.lines();
        self.columns.row(line, &self.tail, number, status).map(Some)
    }

    /// The last row of a file that nobody writes to any more, if it has no line end.
    pub(super) fn rest(&mut self, status: Option<&Status>) -> Result<Option<Row>, Fault> {
        match self.tail.rest() {
            Some(line) => {
                let number = self.tail.lines() + 1;
                self.columns.row(line, &self.tail, number, status).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// How the lines of a file are understood.
struct Columns {
    family: Family,
    feed: u16,
    rows: Option<Rows>,
    headless: bool,
}

impl Columns {
    /// Takes a line for the header if it is one.
    fn header(&mut self, line: &[u8], tail: &Tail) -> Result<bool, Fault> {
        match family_of_header(line) {
            None => return Ok(false),
            Some(found) if found != self.family => {
                return Err(Fault::Family {
                    file: tail.path().into(),
                    expected: self.family.number(),
                    found: found.number(),
                });
            }
            Some(_) => {}
        }
        match Rows::new(self.family, line, self.feed) {
            Ok(rows) => self.rows = Some(rows),
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Does without a header.
    fn headless(&mut self) -> Result<(), Fault> {
        let columns = match self.family {
            Family::V4 => COLUMNS4,
            Family::V6 => COLUMNS6,
        };
        self.headless = true;
        self.rows = Some(Rows::new(self.family, columns, self.feed).map_err(Fault::Columns)?);
        Ok(())
    }

    /// What a line tells. Rejections are told to the status, if there is one.
    fn row(
        &mut self,
        line: Line<'_>,
        tail: &Tail,
        number: u64,
        status: Option<&Status>,
    ) -> Result<Row, Fault> {
        let reject = |reason: String| {
            if let Some(status) = status {
                status.reject(Rejection {
                    file: tail.path().into(),
                    line: number,
                    reason,
                });
            }
        };
        let (line, cut) = match line {
            Line::Whole(line) => (line, false),
            Line::Unterminated(line) => (line, true),
            Line::TooLong => {
                reject(format!("expected a row of at most {MAX_LINE} octets"));
                return Ok(Row::Rejected(None));
            }
        };
        // Octets that a writer did not know to be cut off, or that did not reach the disk, are zero.
        let from = line.iter().position(|octet| *octet != 0);
        let line = &line[from.unwrap_or(line.len())..];
        if line.is_empty() || (line.starts_with(b"address,") && self.header(line, tail)?) {
            return Ok(Row::Blank);
        }
        if self.rows.is_none() {
            let found = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
            reject(format!(
                "expected the header of a Kea lease file (\"address,...\"), found {found:?}; rows are read as Kea writes them"
            ));
            self.headless()?;
        }
        let event = match &mut self.rows {
            Some(rows) => rows.event(line, cut),
            None => return Ok(Row::Blank),
        };
        let event = event.and_then(|event| match event.check() {
            Ok(()) => Ok(event),
            Err(error) => Err(error.to_string()),
        });
        match event {
            Ok(event) => Ok(Row::Lease(event)),
            Err(reason) => {
                reject(reason);
                Ok(Row::Rejected(address(line)))
            }
        }
    }
}

/// The address that a row is of; it comes first in all versions.
fn address(line: &[u8]) -> Option<IpAddr> {
    let field = line.split(|octet| *octet == b',').next()?;
    std::str::from_utf8(field).ok()?.parse().ok()
}
