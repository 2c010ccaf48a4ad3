//! What an engine is started with: where it listens, on which CPUs it runs, what memory it may use.

use std::net::SocketAddr;
use std::time::Duration;

/// Largest message a relay can be sent, with its frame header: every buffer given to a session holds one more octet.
pub(crate) const FRAME_OCTETS: usize = 65_537;

/// CPUs, memory and times of an engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// CPUs that each get one pinned data thread. `None` chooses: see [`crate::Placement`].
    pub cores: Option<Vec<usize>>,
    /// Octets of replies that are encoded and written at once when there is no pressure on memory.
    pub chunk_octets: usize,
    /// Octets of replies that one core may have waiting for its peers. Chunks shrink well before it is used up; a
    /// connection that needs to send always gets a chunk of [`crate::SMALL_CHUNK_OCTETS`].
    pub budget_octets: usize,
    /// Entries of each core's submission queue, a power of two.
    pub ring_entries: u32,
    /// Entries of each core's completion queue, a power of two.
    pub completion_entries: u32,
    /// How long running queries may take to end once the engine shuts down, or on a connection whose place another one of
    /// the same requestor has taken.
    pub shutdown_timeout: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            cores: None,
            chunk_octets: 1 << 20,
            budget_octets: 64 << 20,
            ring_entries: 4_096,
            completion_entries: 32_768,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

/// Addresses to listen on, or, in the answer of [`crate::Engine::addresses`], those that were bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listeners {
    /// Bulk and active leasequery for DHCPv4.
    pub dhcp4_tcp: Vec<SocketAddr>,
    /// Leasequery for DHCPv4 over UDP.
    pub dhcp4_udp: Vec<SocketAddr>,
    /// Bulk and active leasequery for DHCPv6.
    pub dhcp6_tcp: Vec<SocketAddr>,
    /// Leasequery for DHCPv6 over UDP.
    pub dhcp6_udp: Vec<SocketAddr>,
}
