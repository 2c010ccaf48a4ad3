//! What Kea's numbers and values mean, wherever it writes them: in lease files and in the commands of its API.

use leaseq_store::{Link6, Relay6, State};

/// The hardware type of an address that is written without one.
pub(crate) const HTYPE_ETHERNET: u8 = 1;
/// The option in which a client's host name is told.
pub(crate) const OPTION_HOST_NAME: u8 = 12;

/// A lease's state, and since when it holds if Kea tells.
pub(crate) struct Held {
    pub(crate) state: State,
    pub(crate) state_since: Option<u32>,
}

/// The state of this number; `expire` is when the lease ends, in Unix seconds.
pub(crate) fn state(number: u64, expire: u64) -> Result<Held, String> {
    let (state, state_since) = match number {
        // 4 is an address that the client made and registered (RFC 9686): in use like a leased one.
        0 | 4 => (State::Active, None),
        1 => (State::Abandoned, None),
        2 => (State::Expired, u32::try_from(expire).ok()),
        3 => (State::Released, None),
        other => return Err(format!("expected a state from 0 to 4, found {other}")),
    };
    Ok(Held { state, state_since })
}

/// The DUID of a lease's client. Kea writes nothing but zeros where there is none (declined leases).
pub(crate) fn client(duid: Vec<u8>) -> Option<Vec<u8>> {
    duid.iter().any(|octet| *octet != 0).then_some(duid)
}

/// The link of a lease. A relay below another one may leave its link-address unspecified (RFC 6221): the nearest one to the
/// client that does not tells the link; without any, Kea's subnet stands for it if the lease has a client.
pub(crate) fn link(relay: Option<&[Relay6]>, has_client: bool, subnet_id: u32) -> Option<Link6> {
    let hops = relay.unwrap_or_default().iter().rev();
    hops.map(|hop| hop.link)
        .find(|link| !link.is_unspecified())
        .map(Link6::Address)
        .or_else(|| has_client.then_some(Link6::Subnet(subnet_id)))
}
