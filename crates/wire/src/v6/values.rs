//! Values of the options of leasequery that have an inner form.

use std::net::Ipv6Addr;

use super::option_code::{CLIENTID, CLT_TIME, IAADDR, IAPREFIX, LQ_RELAY_DATA};
use super::options::{Options, OptionsIter};
use super::relay::RelayChain;
use super::{QueryType, StatusCode};
use crate::{Fault, ParseError};

/// LQ_QUERY (44): what is asked for (RFC 5007 §4.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LqQuery<'a> {
    /// The query type; may be one that [`QueryType`] does not know.
    pub query_type: u8,
    /// The link asked about, or zero for any.
    pub link_address: Ipv6Addr,
    /// The query-options.
    pub options: Options<'a>,
}

impl<'a> LqQuery<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If it is shorter than 17 octets or one of its options overruns.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (&[query_type, link @ ..], rest) = fixed::<17>(value)?;
        let link_address = address(&link, 0);
        Ok(Self {
            query_type,
            link_address,
            options: nested(rest, 17)?,
        })
    }

    /// The query type's meaning, if it is a known one.
    #[must_use]
    pub fn known(&self) -> Option<QueryType> {
        QueryType::from_u8(self.query_type)
    }
}

/// IAADDR (5): an address with the lifetimes that remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IaAddr<'a> {
    /// The address.
    pub address: Ipv6Addr,
    /// Preferred lifetime left, seconds.
    pub preferred: u32,
    /// Valid lifetime left, seconds.
    pub valid: u32,
    /// Its options.
    pub options: Options<'a>,
}

impl<'a> IaAddr<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If it is shorter than 24 octets or one of its options overruns.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (octets, rest) = fixed::<24>(value)?;
        let (preferred, valid) = (number(octets, 16), number(octets, 20));
        Ok(Self {
            address: address(octets, 0),
            preferred,
            valid,
            options: nested(rest, 24)?,
        })
    }
}

/// IAPREFIX (26): a delegated prefix with the lifetimes that remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IaPrefix<'a> {
    /// Preferred lifetime left, seconds.
    pub preferred: u32,
    /// Valid lifetime left, seconds.
    pub valid: u32,
    /// Bits of the prefix, 0 to 128.
    pub prefix_len: u8,
    /// The prefix.
    pub prefix: Ipv6Addr,
    /// Its options.
    pub options: Options<'a>,
}

impl<'a> IaPrefix<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If it is shorter than 25 octets, the prefix longer than 128 bits, or one of its options overruns.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (octets, rest) = fixed::<25>(value)?;
        let prefix_len = octets[8];
        if prefix_len > 128 {
            return Err(ParseError::new(Fault::PrefixLength(prefix_len), 8));
        }
        let (preferred, valid) = (number(octets, 0), number(octets, 4));
        Ok(Self {
            preferred,
            valid,
            prefix_len,
            prefix: address(octets, 9),
            options: nested(rest, 25)?,
        })
    }
}

/// An address or a delegated prefix of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease<'a> {
    /// An address.
    Address(IaAddr<'a>),
    /// A delegated prefix.
    Prefix(IaPrefix<'a>),
}

impl Lease<'_> {
    /// Valid lifetime left, seconds; 0: ended.
    #[must_use]
    pub fn valid(&self) -> u32 {
        match self {
            Self::Address(lease) => lease.valid,
            Self::Prefix(lease) => lease.valid,
        }
    }

    /// Preferred lifetime left, seconds.
    #[must_use]
    pub fn preferred(&self) -> u32 {
        match self {
            Self::Address(lease) => lease.preferred,
            Self::Prefix(lease) => lease.preferred,
        }
    }

    /// The address, or the prefix's, with its length; 128 for an address.
    #[must_use]
    pub fn prefix(&self) -> (Ipv6Addr, u8) {
        match self {
            Self::Address(lease) => (lease.address, 128),
            Self::Prefix(lease) => (lease.prefix, lease.prefix_len),
        }
    }
}

/// CLIENT_DATA (45): what is known of one client on one link (RFC 5007 §4.1.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientData<'a> {
    /// Its options.
    pub options: Options<'a>,
}

impl<'a> ClientData<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If one of its options overruns.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        Ok(Self {
            options: Options::parse(value)?,
        })
    }

    /// The client's DUID.
    #[must_use]
    pub fn client_id(&self) -> Option<&'a [u8]> {
        self.options.find(CLIENTID)
    }

    /// Seconds since the last transaction with the client.
    #[must_use]
    pub fn clt_time(&self) -> Option<u32> {
        self.options.find_u32(CLT_TIME)
    }

    /// The client's addresses and prefixes.
    #[must_use]
    pub fn leases(&self) -> Leases<'a> {
        Leases {
            options: self.options.iter(),
        }
    }

    /// How the client's last message came to the server.
    #[must_use]
    pub fn relay_data(&self) -> Option<Result<LqRelayData<'a>, ParseError>> {
        self.options.find(LQ_RELAY_DATA).map(LqRelayData::parse)
    }
}

/// The addresses and prefixes among a client's options.
#[derive(Clone, Debug)]
pub struct Leases<'a> {
    options: OptionsIter<'a>,
}

impl<'a> Iterator for Leases<'a> {
    type Item = Result<Lease<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.options.next()? {
                (IAADDR, value) => return Some(IaAddr::parse(value).map(Lease::Address)),
                (IAPREFIX, value) => return Some(IaPrefix::parse(value).map(Lease::Prefix)),
                _ => {}
            }
        }
    }
}

/// LQ_RELAY_DATA (47): how the client's last message came to the server (RFC 5007 §4.1.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LqRelayData<'a> {
    /// The relay agent that the server had it from.
    pub peer_address: Ipv6Addr,
    /// The relayed message, without the client's own in it.
    pub message: &'a [u8],
}

impl<'a> LqRelayData<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If it is shorter than 16 octets. The relayed message is read by [`relays`](Self::relays).
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (octets, message) = fixed::<16>(value)?;
        Ok(Self {
            peer_address: address(octets, 0),
            message,
        })
    }

    /// The relay agents on the way, the one nearest to the server first.
    #[must_use]
    pub fn relays(&self) -> RelayChain<'a> {
        RelayChain::new(self.message)
    }
}

/// Addresses in LQ_CLIENT_LINK (48): a link each. Octets at the end that are not a whole address are ignored.
#[derive(Clone, Debug)]
pub struct Links<'a> {
    octets: &'a [u8],
}

impl<'a> Links<'a> {
    /// Reads the option's value.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        Self { octets: value }
    }
}

impl Iterator for Links<'_> {
    type Item = Ipv6Addr;

    fn next(&mut self) -> Option<Ipv6Addr> {
        let (link, rest) = self.octets.split_first_chunk::<16>()?;
        self.octets = rest;
        Some(Ipv6Addr::from(*link))
    }
}

/// REMOTE_ID (37): enterprise number and identifier (RFC 4649 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteId<'a> {
    /// Enterprise number of the relay agent's vendor.
    pub enterprise: u32,
    /// The identifier.
    pub id: &'a [u8],
}

impl<'a> RemoteId<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If it is shorter than 4 octets.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (octets, id) = fixed::<4>(value)?;
        Ok(Self {
            enterprise: u32::from_be_bytes(*octets),
            id,
        })
    }
}

/// STATUS_CODE (13): a code and a text for people (RFC 8415 §21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// The code; may be one that [`StatusCode`] does not know.
    pub code: u16,
    /// The text: UTF-8 if the sender keeps to the RFC.
    pub text: &'a [u8],
}

impl<'a> Status<'a> {
    /// Reads the option's value.
    ///
    /// # Errors
    /// If it is shorter than 2 octets.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let (octets, text) = fixed::<2>(value)?;
        Ok(Self {
            code: u16::from_be_bytes(*octets),
            text,
        })
    }

    /// The code's meaning, if it is a known one.
    #[must_use]
    pub fn known(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.code)
    }
}

fn fixed<const N: usize>(value: &[u8]) -> Result<(&[u8; N], &[u8]), ParseError> {
    let short = ParseError::new(
        Fault::Length {
            expected: N,
            got: value.len(),
        },
        0,
    );
    value.split_first_chunk::<N>().ok_or(short)
}

fn nested(octets: &[u8], base: usize) -> Result<Options<'_>, ParseError> {
    Options::parse(octets).map_err(|error| ParseError {
        at: error.at + base,
        ..error
    })
}

fn address(octets: &[u8], at: usize) -> Ipv6Addr {
    let address = octets.get(at..).and_then(|rest| rest.first_chunk::<16>());
    Ipv6Addr::from(address.copied().unwrap_or_default())
}

fn number(octets: &[u8], at: usize) -> u32 {
    octets
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .map_or(0, u32::from_be_bytes)
}
