//! A DHCPv4 message as received (RFC 2131 §2): read in place.

use std::net::Ipv4Addr;

use super::option_code::{DHCP_MESSAGE_TYPE, OPTION_OVERLOAD};
use super::options::{Areas, Fragments, OptionValue, Options, check_area};
use crate::{Fault, ParseError};

/// Octets before the magic cookie.
pub const FIXED_LEN: usize = 236;
/// Octets before the options: the fixed part and the cookie.
pub const HEADER_LEN: usize = 240;
/// Begins the options (RFC 2131 §3).
pub const COOKIE: u32 = 0x6382_5363;

/// Values of the field `op`.
pub mod op {
    /// From client or requestor to server.
    pub const BOOTREQUEST: u8 = 1;
    /// From the server.
    pub const BOOTREPLY: u8 = 2;
}

const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;

/// A message whose options are known not to overrun.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    fixed: &'a [u8; HEADER_LEN],
    areas: Areas<'a>,
    message_type: Option<u8>,
}

impl<'a> Message<'a> {
    /// Reads a message: a frame's, or a whole datagram.
    ///
    /// A missing END is forgiven; what follows END is ignored. Options in `file` and `sname` are read if option 52 says so.
    ///
    /// # Errors
    /// If it is shorter than 240 octets, has no magic cookie, an `hlen` over 16, or an option that overruns. The error
    /// tells the xid if there were octets enough for it to have one.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParseError> {
        let Some((fixed, options)) = octets.split_first_chunk::<HEADER_LEN>() else {
            let fault = Fault::TooShort {
                expected: HEADER_LEN,
                got: octets.len(),
            };
            let xid = (octets.len() >= FIXED_LEN).then(|| be32(octets, 4));
            return Err(ParseError {
                xid,
                ..ParseError::new(fault, octets.len())
            });
        };
        let xid = Some(be32(fixed, 4));
        let cookie = be32(fixed, FIXED_LEN);
        if cookie != COOKIE {
            return Err(ParseError {
                xid,
                ..ParseError::new(Fault::Cookie(cookie), FIXED_LEN)
            });
        }

        let mut message_type = Types::default();
        let mut overload = 0;
        let mut read = || -> Result<Areas<'a>, ParseError> {
            let options = check_area(options, HEADER_LEN, &mut |option| match (
                option.code,
                option.value,
            ) {
                (DHCP_MESSAGE_TYPE, value) => message_type.add(value),
                (OPTION_OVERLOAD, &[value]) => overload = value,
                _ => {}
            })?;
            let mut overloaded = |bit: u8, field: std::ops::Range<usize>| match overload & bit {
                0 => Ok(&[][..]),
                _ => check_area(&fixed[field.clone()], field.start, &mut |option| {
                    if option.code == DHCP_MESSAGE_TYPE {
                        message_type.add(option.value);
                    }
                }),
            };
            Ok([options, overloaded(1, FILE)?, overloaded(2, SNAME)?])
        };
        let areas = read();
        let message_type = message_type.only();
        let areas = areas.map_err(|error| ParseError {
            xid,
            message_type,
            ..error
        })?;
        if fixed[2] > 16 {
            return Err(ParseError {
                xid,
                message_type,
                ..ParseError::new(Fault::HardwareLength(fixed[2]), 2)
            });
        }
        Ok(Self {
            octets,
            fixed,
            areas,
            message_type,
        })
    }

    /// The octets it was read from.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// BOOTREQUEST or BOOTREPLY, see [`op`].
    #[must_use]
    pub fn op(&self) -> u8 {
        self.fixed[0]
    }

    /// Hardware type.
    #[must_use]
    pub fn htype(&self) -> u8 {
        self.fixed[1]
    }

    /// Octets of the hardware address, 0 to 16.
    #[must_use]
    pub fn hlen(&self) -> u8 {
        self.fixed[2]
    }

    /// Relay agents on the way.
    #[must_use]
    pub fn hops(&self) -> u8 {
        self.fixed[3]
    }

    /// Transaction id.
    #[must_use]
    pub fn xid(&self) -> u32 {
        be32(self.fixed, 4)
    }

    /// Seconds since the client began.
    #[must_use]
    pub fn secs(&self) -> u16 {
        u16::from_be_bytes([self.fixed[8], self.fixed[9]])
    }

    /// Flags: the highest bit asks for broadcast.
    #[must_use]
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.fixed[10], self.fixed[11]])
    }

    /// Client address: in leasequery the address asked for or told.
    #[must_use]
    pub fn ciaddr(&self) -> Ipv4Addr {
        be32(self.fixed, 12).into()
    }

    /// The client's new address.
    #[must_use]
    pub fn yiaddr(&self) -> Ipv4Addr {
        be32(self.fixed, 16).into()
    }

    /// Next server.
    #[must_use]
    pub fn siaddr(&self) -> Ipv4Addr {
        be32(self.fixed, 20).into()
    }

    /// Relay agent address: where a UDP answer goes.
    #[must_use]
    pub fn giaddr(&self) -> Ipv4Addr {
        be32(self.fixed, 24).into()
    }

    /// The hardware address: `hlen` octets.
    #[must_use]
    pub fn chaddr(&self) -> &'a [u8] {
        let hlen = usize::from(self.hlen()).min(16);
        &self.fixed[28..28 + hlen]
    }

    /// The whole field of 16 octets, padding included.
    #[must_use]
    pub fn chaddr_field(&self) -> &'a [u8; 16] {
        self.fixed[28..].first_chunk().unwrap_or(&[0; 16])
    }

    /// The value of option 53, if there is one and it is one octet.
    #[must_use]
    pub fn message_type(&self) -> Option<u8> {
        self.message_type
    }

    /// The value of an option, all fragments of it.
    #[must_use]
    pub fn option(&self, code: u8) -> Option<OptionValue<'a>> {
        OptionValue::find(self.areas, code)
    }

    /// Each option once, in order of first appearance.
    #[must_use]
    pub fn options(&self) -> Options<'a> {
        Options::new(self.areas)
    }

    /// Options as they lie in the message, fragments apart.
    #[must_use]
    pub fn fragments(&self) -> Fragments<'a> {
        Fragments::new(self.areas)
    }
}

/// Collects option 53 over all areas: of several fragments none is a message type.
#[derive(Default)]
struct Types {
    octets: usize,
    last: u8,
}

impl Types {
    fn add(&mut self, value: &[u8]) {
        self.octets += value.len();
        self.last = value.last().copied().unwrap_or(self.last);
    }

    fn only(&self) -> Option<u8> {
        (self.octets == 1).then_some(self.last)
    }
}

fn be32(octets: &[u8], at: usize) -> u32 {
    octets
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .map_or(0, u32::from_be_bytes)
}
