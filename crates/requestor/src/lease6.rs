//! What a server told of a DHCPv6 client on a link.

use std::net::Ipv6Addr;

use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v6::{ClientData, Lease, LqRelayData, Message, OptionsIter, option_code as code};
use leaseq_wire::vss::Vss;

use crate::lease4::from_last_transaction;
use crate::{ValueError, ValueProblem, Vpn};

/// The leases of a DHCPv6 client on one link with everything that leasequery told of them. Seconds are those on the
/// wire, counted from [`as_of`](Self::as_of).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client6Leases {
    /// The client's DUID.
    pub duid: Option<Vec<u8>>,
    /// Its addresses and delegated prefixes.
    pub leases: Vec<Lease6>,
    /// The time from which all others are counted: the message's base-time, or else when it was received.
    pub as_of: UnixSeconds,
    /// Seconds since the last transaction with the client.
    pub last_transaction: Option<u32>,
    /// The relay agents between client and server, the one nearest to the server first.
    pub relays: Vec<Relay6>,
    /// The VPN, unless it is the global one.
    pub vpn: Option<Vpn>,
    /// Options of the client, in order of appearance.
    pub options: Vec<(u16, Vec<u8>)>,
}

/// An address or a delegated prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease6 {
    /// The address, or the prefix's.
    pub address: Ipv6Addr,
    /// Length of a delegated prefix; an address has none.
    pub prefix_len: Option<u8>,
    /// Seconds left of the preferred lifetime.
    pub preferred: u32,
    /// Seconds left of the valid lifetime; 0: the lease has ended.
    pub valid: u32,
}

/// A relay agent that the client's last message passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay6 {
    /// Its link-address.
    pub link: Ipv6Addr,
    /// Its peer-address.
    pub peer: Ipv6Addr,
    /// Options that it added, as on the wire, without RELAY_MSG.
    pub options: Vec<u8>,
}

impl Client6Leases {
    /// Reads CLIENT_DATA of a message that was received at this time.
    ///
    /// # Errors
    /// If the value of one of leasequery's options has a form that it never has.
    pub fn read(
        message: &Message<'_>,
        client: &ClientData<'_>,
        received: UnixSeconds,
    ) -> Result<Self, ValueError> {
        let top = message.options();
        let as_of = match top.find(code::LQ_BASE_TIME) {
            Some(value) => Seconds2000(number(code::LQ_BASE_TIME, value)?).into(),
            None => received,
        };
        let mut read = Self {
            duid: client.client_id().map(<[u8]>::to_vec),
            leases: Vec::new(),
            as_of,
            last_transaction: None,
            relays: Vec::new(),
            vpn: None,
            options: Vec::new(),
        };
        // Some servers put these two beside CLIENT_DATA instead of into it.
        for (code, value) in top
            .iter()
            .filter(|(code, _)| matches!(*code, code::VSS | code::LQ_RELAY_DATA))
        {
            read.take(code, value)?;
        }
        for lease in client.leases() {
            let lease = lease.map_err(|error| inside(code::CLIENT_DATA, error))?;
            let (address, len) = lease.prefix();
            read.leases.push(Lease6 {
                address,
                prefix_len: matches!(lease, Lease::Prefix(_)).then_some(len),
                preferred: lease.preferred(),
                valid: lease.valid(),
            });
        }
        for (code, value) in client.options {
            read.take(code, value)?;
        }
        Ok(read)
    }

    fn take(&mut self, code: u16, value: &[u8]) -> Result<(), ValueError> {
        match code {
            code::CLIENTID | code::IAADDR | code::IAPREFIX => {}
            code::CLT_TIME => self.last_transaction = Some(number(code, value)?),
            code::LQ_RELAY_DATA => self.relays = relays(value)?,
            code::VSS => {
                let vpn = Vpn::read(value).map_err(|error| inside(code, error))?;
                self.vpn = (vpn.vss() != Vss::Global).then_some(vpn);
            }
            _ => self.options.push((code, value.to_vec())),
        }
        Ok(())
    }

    /// When the last transaction with the client was.
    #[must_use]
    pub fn cltt(&self) -> Option<UnixSeconds> {
        self.last_transaction
            .map(|ago| UnixSeconds(self.as_of.0.saturating_sub(ago)))
    }

    /// A lifetime that is told as seconds left, counted from the last transaction instead (from
    /// [`as_of`](Self::as_of), if that is not known). Infinity stays infinite, and what has ended stays 0.
    #[must_use]
    pub fn from_last_transaction(&self, left: u32) -> u32 {
        match left {
            0 => 0,
            left => from_last_transaction(left, self.last_transaction),
        }
    }

    /// The value of the first option with this code that a relay agent added, from the one nearest to the client on.
    #[must_use]
    pub fn relay_option(&self, code: u16) -> Option<&[u8]> {
        let mut nearest_first = self.relays.iter().rev();
        nearest_first.find_map(|relay| {
            let mut options = OptionsIter::unchecked(&relay.options);
            options
                .find(|(found, _)| *found == code)
                .map(|(_, value)| value)
        })
    }
}

fn relays(value: &[u8]) -> Result<Vec<Relay6>, ValueError> {
    let problem = |error| inside(code::LQ_RELAY_DATA, error);
    let relay_data = LqRelayData::parse(value).map_err(problem)?;
    let mut relays = Vec::new();
    for relay in relay_data.relays() {
        let relay = relay.map_err(problem)?;
        let mut options = Vec::new();
        for (code, value) in relay
            .options
            .iter()
            .filter(|(code, _)| *code != code::RELAY_MSG)
        {
            options.extend(code.to_be_bytes());
            options.extend((value.len() as u16).to_be_bytes());
            options.extend(value);
        }
        relays.push(Relay6 {
            link: relay.link_address,
            peer: relay.peer_address,
            options,
        });
    }
    Ok(relays)
}

fn number(code: u16, value: &[u8]) -> Result<u32, ValueError> {
    let problem = ValueProblem::Length {
        expected: 4,
        got: value.len(),
    };
    value
        .try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| ValueError { code, problem })
}

fn inside(code: u16, error: leaseq_wire::ParseError) -> ValueError {
    ValueError {
        code,
        problem: ValueProblem::Inside(error),
    }
}
