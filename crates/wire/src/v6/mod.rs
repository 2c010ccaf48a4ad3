//! DHCPv6 leasequery: RFC 5007 over UDP, RFC 5460 (bulk) and 7653 (active, and times for bulk) over TCP.

mod codes;
mod message;
mod options;
mod relay;
mod values;
mod writer;

pub use codes::{QueryType, StatusCode, message_type, option_code};
pub use message::{HEADER_LEN, MAX_XID, Message};
pub use options::{Options, OptionsIter, OroCodes};
pub use relay::{MAX_HOPS, RELAY_HEADER_LEN, RelayChain, RelayMessage};
pub use values::{
    ClientData, IaAddr, IaPrefix, Lease, Leases, Links, LqQuery, LqRelayData, RemoteId, Status,
};
pub use writer::{MessageWriter, OptionStart};
