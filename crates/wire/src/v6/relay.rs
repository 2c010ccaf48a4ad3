//! Relayed messages (RFC 8415 §9), as LQ_RELAY_DATA holds them.

use std::net::Ipv6Addr;

use super::message_type::{RELAY_FORW, RELAY_REPL};
use super::option_code::RELAY_MSG;
use super::options::Options;
use crate::{Fault, ParseError};

/// Octets before the options of a relayed message.
pub const RELAY_HEADER_LEN: usize = 34;

/// The most relay agents that a message passes: HOP_COUNT_LIMIT of RFC 3315, higher than the one of RFC 8415.
pub const MAX_HOPS: usize = 32;

/// A RELAY-FORW or RELAY-REPL whose options are known not to overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayMessage<'a> {
    /// RELAY_FORW or RELAY_REPL.
    pub msg_type: u8,
    /// Relay agents that it had passed.
    pub hop_count: u8,
    /// An address of the client's link, or zero.
    pub link_address: Ipv6Addr,
    /// The client or relay agent that it came from.
    pub peer_address: Ipv6Addr,
    /// Its options; RELAY_MSG among them, except in the innermost message of LQ_RELAY_DATA.
    pub options: Options<'a>,
}

impl<'a> RelayMessage<'a> {
    /// Reads a relayed message.
    ///
    /// # Errors
    /// If it is shorter than 34 octets, of another type, or has an option that overruns.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParseError> {
        let Some((header, rest)) = octets.split_first_chunk::<RELAY_HEADER_LEN>() else {
            let fault = Fault::TooShort {
                expected: RELAY_HEADER_LEN,
                got: octets.len(),
            };
            return Err(ParseError::new(fault, octets.len()));
        };
        let [msg_type, hop_count, addresses @ ..] = header;
        if !matches!(*msg_type, RELAY_FORW | RELAY_REPL) {
            return Err(ParseError::new(Fault::MessageType(*msg_type), 0));
        }
        let options = Options::parse(rest).map_err(|error| ParseError {
            at: error.at + RELAY_HEADER_LEN,
            ..error
        })?;
        let address = |at: usize| {
            let octets = addresses[at..].first_chunk::<16>().copied();
            Ipv6Addr::from(octets.unwrap_or_default())
        };
        Ok(Self {
            msg_type: *msg_type,
            hop_count: *hop_count,
            link_address: address(0),
            peer_address: address(16),
            options,
        })
    }
}

/// The relayed messages in one another, outermost (nearest to the server) first, at most [`MAX_HOPS`].
///
/// Ends after the one whose RELAY_MSG is missing or is not a relayed message, but the client's own. One that cannot be
/// read is an error, and the last item.
#[derive(Clone, Debug)]
pub struct RelayChain<'a> {
    octets: Option<&'a [u8]>,
    hops: usize,
}

impl<'a> RelayChain<'a> {
    /// Starts at the outermost message.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        Self {
            octets: Some(octets),
            hops: 0,
        }
    }
}

impl<'a> Iterator for RelayChain<'a> {
    type Item = Result<RelayMessage<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let relay = match RelayMessage::parse(self.octets.take()?) {
            Ok(relay) => relay,
            Err(error) => return Some(Err(error)),
        };
        self.hops += 1;
        if self.hops < MAX_HOPS {
            let inner = relay.options.find(RELAY_MSG);
            self.octets = inner.filter(|inner| matches!(inner, [RELAY_FORW | RELAY_REPL, ..]));
        }
        Some(Ok(relay))
    }
}
