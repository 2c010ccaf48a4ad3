//! What a message tells of a lease's content, in place.

use std::net::Ipv6Addr;

use leaseq_wire::v4::{Message, OptionValue, option_code as code4};
use leaseq_wire::v6::{LqRelayData, RelayMessage, option_code as code6};

/// What does not change of a DHCPv4 binding, as a message tells it.
pub(crate) struct Seen4<'a> {
    /// Hardware type.
    pub(crate) htype: u8,
    /// Hardware address.
    pub(crate) chaddr: &'a [u8],
    /// Client identifier.
    pub(crate) client_id: Option<OptionValue<'a>>,
    /// Relay agent information.
    pub(crate) relay_info: Option<OptionValue<'a>>,
}

impl<'a> Seen4<'a> {
    /// What a message tells.
    pub(crate) fn of(message: &Message<'a>) -> Self {
        Self {
            htype: message.htype(),
            chaddr: message.chaddr(),
            client_id: message.option(code4::CLIENT_IDENTIFIER),
            relay_info: message.option(code4::RELAY_AGENT_INFORMATION),
        }
    }
}

/// The relay agents of a DHCPv6 client, as a message tells them.
#[derive(Clone, Copy)]
pub(crate) struct RelayData<'a>(Option<LqRelayData<'a>>);

/// One relay agent.
pub(crate) struct Hop<'a> {
    /// Its link-address.
    pub(crate) link: Ipv6Addr,
    /// Its peer-address.
    pub(crate) peer: Ipv6Addr,
    /// Its options, RELAY_MSG among them where another relay agent follows.
    relay: RelayMessage<'a>,
}

impl<'a> Hop<'a> {
    /// Its options, as on the wire, one after the other, without RELAY_MSG.
    pub(crate) fn options(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let options = self.relay.options.iter();
        options.filter(|(code, _)| *code != code6::RELAY_MSG)
    }

    /// All its options, if RELAY_MSG is not among them.
    pub(crate) fn octets(&self) -> Option<&'a [u8]> {
        let options = self.relay.options;
        let is_inner = options.find(code6::RELAY_MSG).is_none();
        is_inner.then(|| options.octets())
    }
}

impl<'a> RelayData<'a> {
    /// Reads the option's value, if there is one. `None`: it cannot be read.
    pub(crate) fn read(value: Option<&'a [u8]>) -> Option<Self> {
        let relay_data = value.map(LqRelayData::parse).transpose().ok()?;
        let is_sound = relay_data
            .iter()
            .flat_map(LqRelayData::relays)
            .all(|relay| relay.is_ok());
        is_sound.then_some(Self(relay_data))
    }

    /// The relay agents, the one nearest to the server first.
    pub(crate) fn hops(&self) -> impl Iterator<Item = Hop<'a>> + use<'a> {
        let relays = self.0.into_iter().flat_map(|data| data.relays());
        relays.flatten().map(|relay| Hop {
            link: relay.link_address,
            peer: relay.peer_address,
            relay,
        })
    }
}
