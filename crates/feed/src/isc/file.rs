//! A lease file as an iterator of events.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::vec;

use leaseq_store::{Event, LeaseKind};

use super::blocks::{Blocks, KEYWORDS, Piece, begins_declaration};
use super::ia::{self, ByteOrder};
use super::lease4;
use super::token::{Fault, Token, Tokens};
use crate::lines::{Line, Lines};
use crate::{ReadError, Rejection};

/// Octets asked of a file at a time.
const READ_SIZE: usize = 256 * 1024;

/// Why a lease file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", file.display())]
pub struct OpenError {
    /// The file asked for.
    pub file: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Whether a file that begins with these octets is a lease file of dhcpd: comments, then a declaration.
pub fn is_lease_file(head: &[u8]) -> bool {
    const SERVER: &[u8] = b"isc-dhcp";
    const MANUAL: &[u8] = b"dhcpd.leases(5)";
    let mut lines = head.split(|octet| *octet == b'\n');
    let told = |line: &[u8], text: &[u8]| memchr::memmem::find(line, text).is_some();
    lines
        .find_map(|line| match line.trim_ascii_start() {
            [] => None,
            [b'#', comment @ ..] => {
                (told(comment, SERVER) || told(comment, MANUAL)).then_some(true)
            }
            _ => Some(begins_declaration(line)),
        })
        .unwrap_or(false)
}

/// The leases of the file at `path`; `feed` is put into each event.
pub fn open(path: &Path, feed: u16) -> Result<Leases<File>, OpenError> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (size, file) = opened.map_err(|source| OpenError {
        file: path.into(),
        source,
    })?;
    let leases = Leases::read(path.into(), file, feed);
    Ok(Leases { size, ..leases })
}

/// Lines of a lease file as events.
pub(super) struct Declarations {
    blocks: Blocks,
    feed: u16,
    order: ByteOrder,
    /// Events of the declaration at hand.
    events: vec::IntoIter<Event>,
    relay_data: RelayData,
}

/// How many leases tell a relay agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayData {
    /// Changes to an IPv4 lease in use.
    pub leases4: u64,
    /// Those of them with options of a relay agent.
    pub leases4_with: u64,
    /// Changes to an IPv6 lease in use; none ever tells a relay agent.
    pub leases6: u64,
}

impl Declarations {
    pub(super) fn new(feed: u16) -> Self {
        Self {
            blocks: Blocks::default(),
            feed,
            order: ByteOrder::NATIVE,
            events: Vec::new().into_iter(),
            relay_data: RelayData::default(),
        }
    }

    /// Begins anew behind this many lines of a file whose IAIDs are in this order.
    pub(super) fn begin(&mut self, lines: u64, order: ByteOrder) {
        self.blocks.begin(lines);
        self.order = order;
        self.events = Vec::new().into_iter();
        self.relay_data = RelayData::default();
    }

    /// The order of the octets of IAIDs here.
    pub(super) fn order(&self) -> ByteOrder {
        self.order
    }

    /// Takes the next line. To be called when [`Declarations::next_event`] has nothing more.
    pub(super) fn take(&mut self, line: &Line<'_>) {
        self.blocks.take(line);
    }

    /// The line on which a declaration begins that has not ended yet.
    pub(super) fn unfinished(&self) -> Option<u64> {
        self.blocks.unfinished()
    }

    pub(super) fn relay_data(&self) -> RelayData {
        self.relay_data
    }

    /// The next event of the lines so far, or a line and what is wrong there.
    pub(super) fn next_event(&mut self) -> Option<Result<Event, (u64, String)>> {
        loop {
            if let Some(event) = self.events.next() {
                self.relay_data.count(&event);
                return Some(Ok(event));
            }
            let (line, text) = match self.blocks.next_piece()? {
                Piece::Declaration { line, text } => (line, text),
                Piece::Broken { line, reason } => return Some(Err((line, reason))),
            };
            match checked_events(text, self.feed, &mut self.order) {
                Ok(events) => self.events = events.into_iter(),
                Err(fault) => return Some(Err((line + fault.line, fault.reason))),
            }
        }
    }
}

impl RelayData {
    /// What the operator should know if no lease tells a relay agent.
    pub fn remark(&self) -> Option<&'static str> {
        match (self.leases4, self.leases4_with, self.leases6) {
            (0, _, 0) => None,
            (0, ..) => Some(
                "no lease tells a relay agent, so queries by relay-id or remote-id will find none of them; dhcpd writes none into \
                 IPv6 leases",
            ),
            (_, 0, _) => Some(
                "no IPv4 lease tells a relay agent, so queries by relay-id or remote-id will find none of them; dhcpd writes the \
                 options of a relay agent only into leases that were obtained through one that adds option 82, and keeps them \
                 through renewals that bypass it only with \"stash-agent-options true;\"",
            ),
            _ => None,
        }
    }

    fn count(&mut self, event: &Event) {
        match event {
            Event::V4(event) if !event.state.is_end() => {
                self.leases4 += 1;
                self.leases4_with += u64::from(event.relay_agent_info.is_some());
            }
            Event::V6(event) if !event.state.is_end() => self.leases6 += 1,
            _ => {}
        }
    }
}

/// What a declaration tells, all of which can be stored.
fn checked_events(text: &[u8], feed: u16, order: &mut ByteOrder) -> Result<Vec<Event>, Fault> {
    let events = events(text, feed, order)?;
    match events.iter().find_map(|event| event.check().err()) {
        None => Ok(events),
        Some(error) => Err(Fault {
            line: 0,
            reason: error.to_string(),
        }),
    }
}

/// What a declaration tells.
fn events(text: &[u8], feed: u16, order: &mut ByteOrder) -> Result<Vec<Event>, Fault> {
    let mut tokens = Tokens::new(text);
    let mut events = Vec::new();
    let keyword = tokens.word("a declaration")?;
    let kind = match keyword {
        b"lease" => {
            events.push(Event::V4(lease4::lease(&mut tokens, feed)?));
            return Ok(events);
        }
        b"authoring-byte-order" => {
            *order = ByteOrder::read(&mut tokens)?;
            return Ok(events);
        }
        b"ia-na" | b"ia_na" => LeaseKind::Na,
        b"ia-ta" | b"ia_ta" => LeaseKind::Ta,
        b"ia-pd" | b"ia_pd" => LeaseKind::Pd,
        other if KEYWORDS.contains(&other) => return Ok(events),
        other => return Err(tokens.expected("a declaration", Some(Token::Word(other)))),
    };
    ia::leases(&mut tokens, kind, *order, feed, &mut events)?;
    Ok(events)
}

/// Events of a lease file, in the order of its declarations.
pub struct Leases<R> {
    path: PathBuf,
    size: u64,
    lines: Lines<R>,
    declarations: Declarations,
    ended: bool,
}

impl<R: Read> Leases<R> {
    /// Reads declarations from `input`; `path` is what rejections name.
    pub fn read(path: PathBuf, input: R, feed: u16) -> Self {
        Self {
            path,
            size: 0,
            lines: Lines::new(input, READ_SIZE),
            declarations: Declarations::new(feed),
            ended: false,
        }
    }

    /// Octets of the file when it was opened.
    pub fn octets(&self) -> u64 {
        self.size
    }

    /// Octets read so far.
    pub fn octets_done(&self) -> u64 {
        self.lines.octets()
    }

    /// How many leases so far tell a relay agent.
    pub fn relay_data(&self) -> RelayData {
        self.declarations.relay_data()
    }

    fn rejected(&self, (line, reason): (u64, String)) -> ReadError {
        ReadError::Rejected(Rejection {
            file: self.path.clone(),
            line,
            reason,
        })
    }
}

impl<R: Read> Iterator for Leases<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(event) = self.declarations.next_event() {
                return Some(event.map_err(|fault| self.rejected(fault)));
            }
            if self.ended {
                return None;
            }
            match self.lines.next_line() {
                Ok(Some(line)) => self.declarations.take(&line),
                Ok(None) => {
                    self.ended = true;
                    let line = self.declarations.unfinished()?;
                    let reason = "expected the end of this declaration, found that of the file";
                    return Some(Err(self.rejected((line, reason.into()))));
                }
                Err(source) => {
                    self.ended = true;
                    return Some(Err(ReadError::Io {
                        file: self.path.clone(),
                        source,
                    }));
                }
            }
        }
    }
}
