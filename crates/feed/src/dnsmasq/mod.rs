//! The lease file of dnsmasq.
//!
//! One line a lease, and dnsmasq writes the whole file anew at each change, in place:
//!
//! | line | |
//! |---|---|
//! | `EXPIRY [TYPE-]MAC ADDRESS NAME CLIENT-ID` | an IPv4 lease; `*` for what is not known, EXPIRY 0 for a lease that does not end |
//! | `EXPIRY [T]IAID ADDRESS NAME DUID` | an IPv6 lease; `T`: of a temporary address |
//! | `duid DUID` | the server's own, before the IPv6 leases |
//! | `agent-info ADDRESS HEX` | option 82 of an IPv4 lease (newer versions, at the end of the file) |
//! | `vendorclass ADDRESS HEX` | option 60 of an IPv4 lease (likewise) |
//!
//! The file tells when a lease ends, not when its client was heard last, and not the length of the lease. So the time at which
//! a line was first seen like this counts as the client's last transaction, and the lease time is what was left then.

mod file;
mod lease;
mod live;

pub use file::{Leases, MAX_FILE, OpenError, is_lease_file, open};
pub use lease::{Lease, parse};
pub use live::start;

pub use crate::follow::source::Settings;

/// What to know if no IPv4 lease of a file tells a relay agent.
pub const NO_RELAY_DATA: &str = "no lease tells a relay agent, so queries by relay-id or remote-id will find none of them; only newer \
     versions of dnsmasq write relay agents' options, and only into IPv4 leases";
