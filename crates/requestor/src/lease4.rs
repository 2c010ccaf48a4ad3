//! What a server told of an IPv4 address.

use std::net::Ipv4Addr;

use leaseq_wire::INFINITY;
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{
    DATA_SOURCE_REMOTE, DhcpState, Message, OptionValue, message_type, option_code as code,
};

use crate::{ValueError, ValueProblem, Vpn};

/// The state of an IPv4 address with everything that leasequery told of it. Seconds are those on the wire, counted from
/// [`as_of`](Self::as_of).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease4 {
    /// The address.
    pub address: Ipv4Addr,
    /// Its state; if dhcp-state was not told, active or available, as the message type says.
    pub state: DhcpState,
    /// Hardware type and address, if one was told.
    pub hwaddr: Option<(u8, Vec<u8>)>,
    /// Client identifier.
    pub client_id: Option<Vec<u8>>,
    /// The time from which all others are counted: the message's base-time, or else when it was received.
    pub as_of: UnixSeconds,
    /// Seconds since the last transaction with the client.
    pub last_transaction: Option<u32>,
    /// Seconds that the state has lasted.
    pub in_state: Option<u32>,
    /// Seconds left of the lease; [`INFINITY`] has no end.
    pub lease_time: Option<u32>,
    /// Seconds left until renewal (T1).
    pub renewal: Option<u32>,
    /// Seconds left until rebinding (T2).
    pub rebinding: Option<u32>,
    /// Value of the relay agent information option.
    pub relay_agent_info: Option<Vec<u8>>,
    /// All addresses of the client; told over UDP only.
    pub associated: Vec<Ipv4Addr>,
    /// The VPN, unless it is the global one.
    pub vpn: Option<Vpn>,
    /// The server has the binding from another one.
    pub remote: bool,
    /// Options of the client, by code in order of appearance.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Lease4 {
    /// Reads a DHCPLEASEACTIVE or DHCPLEASEUNASSIGNED that was received at this time.
    ///
    /// # Errors
    /// If the value of one of leasequery's options has a form that it never has.
    pub fn read(message: &Message<'_>, received: UnixSeconds) -> Result<Self, ValueError> {
        let is_active = message.message_type() == Some(message_type::DHCPLEASEACTIVE);
        let mut lease = Self {
            address: message.ciaddr(),
            state: if is_active {
                DhcpState::Active
            } else {
                DhcpState::Available
            },
            hwaddr: (message.hlen() > 0).then(|| (message.htype(), message.chaddr().to_vec())),
            client_id: None,
            as_of: received,
            last_transaction: None,
            in_state: None,
            lease_time: None,
            renewal: None,
            rebinding: None,
            relay_agent_info: None,
            associated: Vec::new(),
            vpn: None,
            remote: false,
            options: Vec::new(),
        };
        for (code, value) in message.options() {
            lease.take(code, &value)?;
        }
        Ok(lease)
    }

    fn take(&mut self, code: u8, value: &OptionValue<'_>) -> Result<(), ValueError> {
        match code {
            code::DHCP_MESSAGE_TYPE
            | code::SERVER_IDENTIFIER
            | code::OPTION_OVERLOAD
            | code::STATUS_CODE => {}
            code::IP_ADDRESS_LEASE_TIME => self.lease_time = Some(number(code, value)?),
            code::RENEWAL_TIME => self.renewal = Some(number(code, value)?),
            code::REBINDING_TIME => self.rebinding = Some(number(code, value)?),
            code::CLIENT_LAST_TRANSACTION_TIME => {
                self.last_transaction = Some(number(code, value)?)
            }
            code::START_TIME_OF_STATE => self.in_state = Some(number(code, value)?),
            code::BASE_TIME => self.as_of = UnixSeconds(number(code, value)?),
            code::CLIENT_IDENTIFIER => self.client_id = Some(value.bytes().collect()),
            code::RELAY_AGENT_INFORMATION => self.relay_agent_info = Some(value.bytes().collect()),
            code::ASSOCIATED_IP => {
                let octets: Vec<u8> = value.bytes().collect();
                let (addresses, rest) = octets.as_chunks::<4>();
                if !rest.is_empty() {
                    return Err(length(code, addresses.len() * 4 + 4, octets.len()));
                }
                self.associated = addresses
                    .iter()
                    .map(|octets| Ipv4Addr::from(*octets))
                    .collect();
            }
            code::DHCP_STATE => {
                let state = octet(code, value)?;
                let unknown = ValueError {
                    code: code.into(),
                    problem: ValueProblem::Unknown(state.into()),
                };
                self.state = DhcpState::from_u8(state).ok_or(unknown)?;
            }
            code::DATA_SOURCE => self.remote = octet(code, value)? & DATA_SOURCE_REMOTE != 0,
            code::VSS => {
                let octets: Vec<u8> = value.bytes().collect();
                let inside = |error| ValueError {
                    code: code.into(),
                    problem: ValueProblem::Inside(error),
                };
                let vpn = Vpn::read(&octets).map_err(inside)?;
                self.vpn = (vpn.vss() != leaseq_wire::vss::Vss::Global).then_some(vpn);
            }
            _ => self.options.push((code, value.bytes().collect())),
        }
        Ok(())
    }

    /// When the last transaction with the client was.
    #[must_use]
    pub fn cltt(&self) -> Option<UnixSeconds> {
        self.last_transaction
            .map(|ago| UnixSeconds(self.as_of.0.saturating_sub(ago)))
    }

    /// Since when the state lasts.
    #[must_use]
    pub fn state_since(&self) -> Option<UnixSeconds> {
        self.in_state
            .map(|ago| UnixSeconds(self.as_of.0.saturating_sub(ago)))
    }

    /// A time that is told as seconds left, counted from the last transaction instead (from
    /// [`as_of`](Self::as_of), if that is not known). Infinity stays infinite.
    #[must_use]
    pub fn from_last_transaction(&self, left: u32) -> u32 {
        from_last_transaction(left, self.last_transaction)
    }
}

/// See [`Lease4::from_last_transaction`].
pub(crate) fn from_last_transaction(left: u32, last_transaction: Option<u32>) -> u32 {
    match left {
        INFINITY => INFINITY,
        // A sum that 32 bits cannot tell stays finite.
        left => left
            .saturating_add(last_transaction.unwrap_or(0))
            .min(INFINITY - 1),
    }
}

fn number(code: u8, value: &OptionValue<'_>) -> Result<u32, ValueError> {
    value.to_u32().ok_or(length(code, 4, value.len()))
}

fn octet(code: u8, value: &OptionValue<'_>) -> Result<u8, ValueError> {
    value.to_u8().ok_or(length(code, 1, value.len()))
}

fn length(code: u8, expected: usize, got: usize) -> ValueError {
    ValueError {
        code: code.into(),
        problem: ValueProblem::Length { expected, got },
    }
}
