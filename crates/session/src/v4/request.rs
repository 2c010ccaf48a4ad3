//! What a DHCPv4 query asks for: its keys, its qualifiers, and what is wrong with it.

use leaseq_store::{Selector4, Vpn, VpnSelect};
use leaseq_wire::v4::option_code::{
    CLIENT_IDENTIFIER, QUERY_END_TIME, QUERY_START_TIME, RELAY_AGENT_INFORMATION, VSS,
};
use leaseq_wire::v4::relay_info::RelayInfo;
use leaseq_wire::v4::suboption::{RELAY_ID, REMOTE_ID};
use leaseq_wire::v4::{Message, OptionValue, op};
use leaseq_wire::vss::Vss;

use crate::settings::QueryKind;

/// Octets of a client identifier or relay agent information in several parts that are still put together. Stored client
/// identifiers are shorter, so a longer one has no binding.
pub(super) const MAX_JOINED: usize = 1_024;

/// Room for a value that lies in several parts (RFC 3396).
pub(super) type Joined = [u8; MAX_JOINED];

/// The keys that a query gives. How many it may give differs between UDP and bulk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Keys<'a> {
    pub(super) hwaddr: Option<(u8, &'a [u8])>,
    pub(super) client_id: Option<&'a [u8]>,
    pub(super) remote_id: Option<&'a [u8]>,
    pub(super) relay_id: Option<&'a [u8]>,
    /// Option 82 holds something beside a remote-id.
    pub(super) more_relay_info: bool,
}

/// A part of a query that cannot be understood, in words for the requestor's operator.
pub(super) type Malformed = &'static str;

impl<'a> Keys<'a> {
    /// Reads the keys. `joined`: room for a client identifier and a relay agent information, used only if they are split.
    pub(super) fn read(
        message: &Message<'a>,
        joined: &'a mut [Option<Joined>; 2],
    ) -> Result<Keys<'a>, Malformed> {
        let [joined_client, joined_relay] = joined;
        let hwaddr = match message.chaddr() {
            [] if message.chaddr_field() != &[0; 16] => return Err("chaddr without hlen"),
            [] => None,
            address => Some((message.htype(), address)),
        };
        let mut keys = Keys {
            hwaddr,
            ..Keys::default()
        };
        if let Some(value) = message.option(CLIENT_IDENTIFIER) {
            let client_id = whole(&value, joined_client).ok_or("client identifier is too long")?;
            if client_id.is_empty() {
                return Err("client identifier is empty");
            }
            keys.client_id = Some(client_id);
        }
        if let Some(value) = message.option(RELAY_AGENT_INFORMATION) {
            let octets =
                whole(&value, joined_relay).ok_or("relay agent information is too long")?;
            let info = RelayInfo::parse(octets)
                .map_err(|_| "a sub-option of the relay agent information overruns it")?;
            for (code, value) in info {
                match code {
                    REMOTE_ID | RELAY_ID if value.is_empty() => {
                        return Err("remote-id or relay-id is empty");
                    }
                    REMOTE_ID if keys.remote_id.is_none() => keys.remote_id = Some(value),
                    RELAY_ID if keys.relay_id.is_none() => keys.relay_id = Some(value),
                    REMOTE_ID | RELAY_ID => return Err("remote-id or relay-id is given twice"),
                    _ => keys.more_relay_info = true,
                }
            }
        }
        Ok(keys)
    }

    /// How many keys are given.
    pub(super) fn count(&self) -> usize {
        usize::from(self.hwaddr.is_some())
            + usize::from(self.client_id.is_some())
            + usize::from(self.remote_id.is_some())
            + usize::from(self.relay_id.is_some())
    }

    /// The kind of query and the selector of the first key given; none of them: all addresses.
    pub(super) fn selector(&self) -> (QueryKind, Option<Selector4<'a>>) {
        if let Some((htype, address)) = self.hwaddr {
            (
                QueryKind::HwAddr,
                Some(Selector4::HwAddr { htype, address }),
            )
        } else if let Some(client_id) = self.client_id {
            (QueryKind::ClientId, Some(Selector4::ClientId(client_id)))
        } else if let Some(remote_id) = self.remote_id {
            (QueryKind::RemoteId, Some(Selector4::RemoteId(remote_id)))
        } else if let Some(relay_id) = self.relay_id {
            (QueryKind::RelayId, Some(Selector4::RelayId(relay_id)))
        } else {
            (QueryKind::All, None)
        }
    }
}

/// The value in one piece: as it lies in the message if it does, else put together in `joined`.
fn whole<'a>(value: &OptionValue<'a>, joined: &'a mut Option<Joined>) -> Option<&'a [u8]> {
    match value.as_slice() {
        Some(slice) => Some(slice),
        None => value.copy_to(joined.insert([0; MAX_JOINED])),
    }
}

/// Checks what the header of every query over TCP must be (RFC 6926 §8.2, RFC 7724 §7.3).
pub(super) fn check_header(message: &Message<'_>) -> Result<(), Malformed> {
    if message.op() != op::BOOTREQUEST {
        return Err("op is not BOOTREQUEST");
    }
    let fields = [message.ciaddr(), message.yiaddr(), message.siaddr()];
    if fields.iter().any(|address| !address.is_unspecified()) {
        return Err("ciaddr, yiaddr and siaddr must be zero");
    }
    Ok(())
}

/// The VPNs asked for (RFC 6926 §7.2): without option 221 the global one.
pub(super) fn vpns(message: &Message<'_>) -> Result<VpnSelect, Malformed> {
    let Some(value) = message.option(VSS) else {
        return Ok(VpnSelect::One(Vpn::GLOBAL));
    };
    let octets = value.as_slice().ok_or("VPN identifier is too long")?;
    match Vss::parse(octets) {
        Ok(Vss::All) => Ok(VpnSelect::All),
        Ok(_) => Ok(VpnSelect::One(Vpn::from_vss(octets))),
        Err(_) => Err("VPN identifier of a type or length that is not defined"),
    }
}

/// The window asked for, Unix seconds, both ends inclusive; none: any time.
pub(super) fn window(message: &Message<'_>) -> Result<Option<(u32, u32)>, Malformed> {
    let time = |code| match message.option(code) {
        Some(value) => value
            .to_u32()
            .map(Some)
            .ok_or("query-start-time or query-end-time is not 4 octets"),
        None => Ok(None),
    };
    Ok(match (time(QUERY_START_TIME)?, time(QUERY_END_TIME)?) {
        (None, None) => None,
        (start, end) => Some((start.unwrap_or(0), end.unwrap_or(u32::MAX))),
    })
}
