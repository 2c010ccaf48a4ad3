//! `ia-na "IAID+DUID" { .. }`: the leases of an identity association of an IPv6 client.

use std::net::Ipv6Addr;

use leaseq_store::{Event, Event6, LeaseKind, State};

use super::date::{Date, date};
use super::state::{binding_state, lifetime};
use super::token::{Fault, Token, Tokens, parse};

/// Order of the octets of an IAID in a lease file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The order that a file without `authoring-byte-order` has: that of the machine, as dhcpd has it.
    pub(super) const NATIVE: ByteOrder = if cfg!(target_endian = "big") {
        ByteOrder::Big
    } else {
        ByteOrder::Little
    };

    /// Most significant octet first, or last.
    pub(super) fn of(big_endian: bool) -> Self {
        if big_endian {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        }
    }

    /// `authoring-byte-order ORDER;`, its keyword taken already.
    pub(super) fn read(tokens: &mut Tokens<'_>) -> Result<Self, Fault> {
        let order = match tokens.word("a byte order")? {
            b"little-endian" => ByteOrder::Little,
            b"big-endian" => ByteOrder::Big,
            other => {
                let expected = "\"little-endian\" or \"big-endian\"";
                return Err(tokens.expected(expected, Some(Token::Word(other))));
            }
        };
        tokens.end()?;
        Ok(order)
    }

    fn iaid(self, octets: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(octets),
            ByteOrder::Big => u32::from_be_bytes(octets),
        }
    }
}

/// What an identity association says of all its leases.
struct Client {
    kind: LeaseKind,
    iaid: u32,
    duid: Vec<u8>,
    cltt: Option<Date>,
}

/// Appends the events of a declaration, its keyword taken already.
pub(super) fn leases(
    tokens: &mut Tokens<'_>,
    kind: LeaseKind,
    order: ByteOrder,
    feed: u16,
    events: &mut Vec<Event>,
) -> Result<(), Fault> {
    let octets = tokens.octets("an IAID with a DUID")?;
    let (iaid, duid) = octets
        .split_first_chunk::<4>()
        .filter(|(_, duid)| !duid.is_empty())
        .ok_or_else(|| {
            tokens.fault(format!(
                "expected the 4 octets of an IAID and a DUID, found {} octets",
                octets.len()
            ))
        })?;
    let mut client = Client {
        kind,
        iaid: order.iaid(*iaid),
        duid: duid.to_vec(),
        cltt: None,
    };
    tokens.mark(Token::Open, "\"{\"")?;
    loop {
        match tokens.next()? {
            Some(Token::Close) => return Ok(()),
            Some(Token::Word(b"cltt")) => client.cltt = Some(date(tokens)?),
            Some(Token::Word(b"iaaddr")) if kind != LeaseKind::Pd => {
                let address = tokens.parse("an IPv6 address")?;
                events.push(client.lease(tokens, address, 128, feed)?);
            }
            Some(Token::Word(b"iaprefix")) if kind == LeaseKind::Pd => {
                let (address, length) = prefix(tokens)?;
                events.push(client.lease(tokens, address, length, feed)?);
            }
            Some(Token::Word(_)) => tokens.skip()?,
            other => return Err(tokens.expected("a statement or \"}\"", other)),
        }
    }
}

fn prefix(tokens: &mut Tokens<'_>) -> Result<(Ipv6Addr, u8), Fault> {
    const EXPECTED: &str = "an IPv6 prefix";
    let word = tokens.word(EXPECTED)?;
    let slash = word.iter().position(|octet| *octet == b'/');
    slash
        .and_then(|at| Some((parse(&word[..at])?, parse(&word[at + 1..])?)))
        .ok_or_else(|| tokens.expected(EXPECTED, Some(Token::Word(word))))
}

impl Client {
    /// `{ .. }` behind an address or prefix.
    fn lease(
        &self,
        tokens: &mut Tokens<'_>,
        address: Ipv6Addr,
        prefix_len: u8,
        feed: u16,
    ) -> Result<Event, Fault> {
        tokens.mark(Token::Open, "\"{\"")?;
        let (mut state, mut ends) = (State::Active, None);
        let (mut preferred, mut valid) = (None, None);
        loop {
            match tokens.next()? {
                Some(Token::Close) => break,
                Some(Token::Word(b"binding")) => state = binding_state(tokens)?,
                Some(Token::Word(b"ends")) => ends = Some(date(tokens)?),
                Some(Token::Word(b"preferred-life")) => preferred = Some(seconds(tokens)?),
                Some(Token::Word(b"max-life")) => valid = Some(seconds(tokens)?),
                Some(Token::Word(_)) => tokens.skip()?,
                other => return Err(tokens.expected("a statement or \"}\"", other)),
            }
        }
        let mut event = Event6::new(address, state);
        event.prefix_len = prefix_len;
        event.kind = self.kind;
        event.duid = Some(self.duid.clone());
        event.iaid = Some(self.iaid);
        event.feed = feed;
        event.cltt = self.cltt.and_then(Date::seconds);
        event.valid_lifetime =
            lifetime(state, event.cltt, ends).or_else(|| valid.filter(|_| !state.is_end()));
        event.preferred_lifetime = preferred
            .filter(|_| !state.is_end())
            .map(|seconds| seconds.min(event.valid_lifetime.unwrap_or(seconds)));
        // The end of a lease that was released stays what it was, so it tells nothing; that of others is when they ended.
        event.state_since = ends
            .filter(|_| state.is_end() && state != State::Released)
            .and_then(Date::seconds);
        Ok(Event::V6(event))
    }
}

/// `N;`
fn seconds(tokens: &mut Tokens<'_>) -> Result<u32, Fault> {
    let seconds = tokens.parse("seconds")?;
    tokens.end()?;
    Ok(seconds)
}
