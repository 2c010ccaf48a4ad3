//! A DHCPv6 message between requestor and server as received (RFC 8415 §8): read in place.

use super::message_type::{RELAY_FORW, RELAY_REPL};
use super::options::{Options, OptionsIter};
use crate::{Fault, ParseError};

/// Octets before the options: message type and transaction id.
pub const HEADER_LEN: usize = 4;

/// The highest transaction id: it has 24 bits.
pub const MAX_XID: u32 = 0x00ff_ffff;

/// A message whose options are known not to overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    octets: &'a [u8],
    msg_type: u8,
    xid: u32,
    options: Options<'a>,
}

impl<'a> Message<'a> {
    /// Reads a message: a frame's, or a whole datagram.
    ///
    /// # Errors
    /// If it is shorter than 4 octets, a relayed message, or has an option that overruns. The error tells message type and
    /// xid if they could be read.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParseError> {
        let [msg_type, x0, x1, x2, ref rest @ ..] = *octets else {
            let fault = Fault::TooShort {
                expected: HEADER_LEN,
                got: octets.len(),
            };
            return Err(ParseError::new(fault, octets.len()));
        };
        if matches!(msg_type, RELAY_FORW | RELAY_REPL) {
            let error = ParseError::new(Fault::MessageType(msg_type), 0);
            return Err(ParseError {
                message_type: Some(msg_type),
                ..error
            });
        }
        let xid = u32::from_be_bytes([0, x0, x1, x2]);
        let options = Options::parse(rest).map_err(|error| ParseError {
            at: error.at + HEADER_LEN,
            xid: Some(xid),
            message_type: Some(msg_type),
            ..error
        })?;
        Ok(Self {
            octets,
            msg_type,
            xid,
            options,
        })
    }

    /// The octets it was read from.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Message type.
    #[must_use]
    pub fn msg_type(&self) -> u8 {
        self.msg_type
    }

    /// Transaction id, 24 bits.
    #[must_use]
    pub fn xid(&self) -> u32 {
        self.xid
    }

    /// The options at top level.
    #[must_use]
    pub fn options(&self) -> Options<'a> {
        self.options
    }

    /// The value of the first option with this code at top level.
    #[must_use]
    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        self.options.find(code)
    }

    /// Code and value of each option at top level, in order.
    #[must_use]
    pub fn iter(&self) -> OptionsIter<'a> {
        self.options.iter()
    }
}
