//! Ports, timers and limits, named as the RFCs name them. A server or requestor may let its operator change them.

use std::time::Duration;

/// UDP and TCP port of a DHCPv4 server (RFC 4388 §6.2, RFC 6926 §7.1).
pub const DHCPV4_SERVER_PORT: u16 = 67;
/// UDP and TCP port of a DHCPv6 server or relay agent (RFC 5007 §4.3.2, RFC 5460 §6.1).
pub const DHCPV6_SERVER_PORT: u16 = 547;

/// Idle or blocked bulk connections are closed after this time (RFC 6926 §6.3, RFC 5460 §5.6).
pub const BULK_LQ_DATA_TIMEOUT: Duration = Duration::from_secs(300);
/// Connections a server serves at once unless told otherwise (RFC 6926 §6.3, RFC 5460 §5.6).
pub const BULK_LQ_MAX_CONNS: usize = 10;
/// How long a requestor tries to connect. The last draft of RFC 5460 named it, the RFC does not.
pub const BULK_LQ_CONN_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest pause between two tries to connect of a requestor that backs off exponentially. From the same draft.
pub const BULK_LQ_MAX_RETRY: Duration = Duration::from_secs(60);

/// A requestor of an active query that hears nothing for this long drops the connection (RFC 7724 §5.3, RFC 7653 §6.4).
pub const ACTIVE_LQ_RCV_TIMEOUT: Duration = Duration::from_secs(120);
/// A server that cannot send for this long drops the connection (RFC 7724 §5.3, RFC 7653 §6.4).
pub const ACTIVE_LQ_SEND_TIMEOUT: Duration = Duration::from_secs(120);
/// A server with nothing to tell sends a keepalive this often (RFC 7724 §5.3, RFC 7653 §6.4).
pub const ACTIVE_LQ_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// First retransmission of a DHCPv6 query over UDP (RFC 5007 §4.1.4).
pub const LQ_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest time between two retransmissions (RFC 5007 §4.1.4).
pub const LQ_MAX_RT: Duration = Duration::from_secs(10);
/// A query is sent this many times at most (RFC 5007 §4.1.4).
pub const LQ_MAX_RC: u32 = 5;
