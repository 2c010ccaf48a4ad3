//! What an answer tells, piece by piece.

use std::fmt;
use std::net::Ipv4Addr;

use leaseq_wire::{v4, v6};

/// One thing told by an answer. Views borrow from the octets received.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// DHCPv4: an address.
    Binding4(Binding4<'a>),
    /// DHCPv6: a client on a link.
    Client6(Client6<'a>),
    /// A query has ended; nothing more comes for it.
    Done(Done<'a>),
}

impl<'a> Event<'a> {
    /// The transaction id of the query that it belongs to.
    #[must_use]
    pub fn xid(&self) -> u32 {
        match self {
            Self::Binding4(binding) => binding.message.xid(),
            Self::Client6(client) => client.message.xid(),
            Self::Done(done) => done.xid,
        }
    }

    /// The message that told it, without its frame.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        match self {
            Self::Binding4(binding) => binding.message.octets(),
            Self::Client6(client) => client.message.octets(),
            Self::Done(done) => done.message,
        }
    }
}

/// The state of an IPv4 address: a DHCPLEASEACTIVE or DHCPLEASEUNASSIGNED.
#[derive(Clone, Copy, Debug)]
pub struct Binding4<'a> {
    /// The message.
    pub message: v4::Message<'a>,
}

impl Binding4<'_> {
    /// The address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.message.ciaddr()
    }

    /// It is leased.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.message.message_type() == Some(v4::message_type::DHCPLEASEACTIVE)
    }
}

/// Leases of a DHCPv6 client on one link.
#[derive(Clone, Debug)]
pub struct Client6<'a> {
    /// The message.
    pub message: v6::Message<'a>,
    /// The client, its addresses and prefixes.
    pub client: v6::ClientData<'a>,
    /// A status that came beside it.
    pub status: Option<Status>,
}

/// The end of a query.
#[derive(Clone, Debug)]
pub struct Done<'a> {
    /// Transaction id of the query.
    pub xid: u32,
    /// The status it ended with, if one was told.
    pub status: Option<Status>,
    /// Addresses (DHCPv4) or clients (DHCPv6) told before.
    pub bindings: u64,
    /// The message that ended it.
    pub message: &'a [u8],
}

impl Done<'_> {
    /// The status, if it is one of failure.
    #[must_use]
    pub fn failure(&self) -> Option<&Status> {
        self.status.as_ref().filter(|status| status.code != 0)
    }
}

/// A status told by a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The code, in its protocol's numbers.
    pub code: u16,
    /// The code's name in the registry, if it has one.
    pub name: Option<&'static str>,
    /// Text for people; may be empty.
    pub text: String,
}

impl Status {
    pub(crate) fn of4(message: &v4::Message<'_>) -> Option<Self> {
        let value = message.option(v4::option_code::STATUS_CODE)?;
        let status = v4::Status::read(&value)?;
        let text: Vec<u8> = status.text().collect();
        Some(Self {
            code: status.code.into(),
            name: status.known().map(v4::StatusCode::name),
            text: String::from_utf8_lossy(&text).into_owned(),
        })
    }

    pub(crate) fn of6(options: &v6::Options<'_>) -> Option<Self> {
        let status = v6::Status::parse(options.find(v6::option_code::STATUS_CODE)?).ok()?;
        Some(Self {
            code: status.code,
            name: status.known().map(v6::StatusCode::name),
            text: String::from_utf8_lossy(status.text).into_owned(),
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "status {}", self.code)?,
        }
        // The text is the server's: control characters in it do not reach a terminal.
        let text: String = self.text.chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            Ok(())
        } else {
            write!(f, ": {text}")
        }
    }
}
