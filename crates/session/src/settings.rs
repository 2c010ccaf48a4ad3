//! What of the configuration concerns sessions: limits, what each family sends, and who may ask for what.
//!
//! A [`Settings`] is built once by whoever reads the configuration and never changes; connections keep the snapshot
//! they began with, and a reload puts a new one in its place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use leaseq_wire::parameters::{ACTIVE_LQ_IDLE_TIMEOUT, ACTIVE_LQ_SEND_TIMEOUT};

/// The DHCP family that a listener serves, whatever the IP version underneath.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// DHCPv4: RFC 4388, 6148, 6926.
    V4,
    /// DHCPv6: RFC 5007, 5460.
    V6,
}

/// A snapshot of the configuration, as far as sessions need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Bounds on connections, queries and waiting.
    pub limits: Limits,
    /// What the DHCPv4 side sends.
    pub dhcp4: Dhcp4Settings,
    /// What the DHCPv6 side sends.
    pub dhcp6: Dhcp6Settings,
    /// Active leasequery.
    pub active: ActiveSettings,
    /// TLS, where there is a certificate.
    pub tls: Option<TlsSettings>,
    /// Who is served: the first rule whose network contains the requestor counts; without one nobody is served.
    pub requestors: Vec<Arc<RequestorRule>>,
}

impl Settings {
    /// The rule for a requestor, or nothing if it is not to be served.
    pub fn rule_for(&self, requestor: IpAddr) -> Option<&Arc<RequestorRule>> {
        self.requestors
            .iter()
            .find(|rule| rule.network.contains(requestor))
    }
}

/// Bounds on connections, queries and waiting (`[limits]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of each family at a time (BULK_LQ_MAX_CONNS, RFC 6926 §6.3).
    pub max_connections: u32,
    /// What happens to a connection above a limit.
    pub on_limit: OnLimit,
    /// TCP queries of each requestor in a second; 0: no limit. Later ones are read later, none is refused.
    pub queries_per_second: u32,
    /// UDP queries of each requestor in a second; 0: no limit. Later ones are discarded.
    pub udp_queries_per_second: u32,
    /// Connections of each family from one requestor's address; 0: only `max_connections` counts.
    pub max_connections_per_requestor: u32,
    /// Queries that run on a connection at a time; at least 1. No more are read (RFC 6926 §8.4).
    pub max_queries_per_connection: u32,
    /// Queries in a row that found no binding before their connection is closed; 0: no limit.
    pub max_empty_replies: u32,
    /// How long a connection may be idle, or blocked in either direction (BULK_LQ_DATA_TIMEOUT, RFC 6926 §6.3).
    pub data_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 10,
            on_limit: OnLimit::Refuse,
            queries_per_second: 0,
            udp_queries_per_second: 0,
            max_connections_per_requestor: 0,
            max_queries_per_connection: 8,
            max_empty_replies: 0,
            data_timeout: Duration::from_secs(300),
        }
    }
}

/// Active leasequery (`[active]`, RFC 7724, RFC 7653).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSettings {
    /// Whether it is served at all.
    pub enabled: bool,
    /// Whether it is served without TLS. It is served with TLS or without, never both (RFC 7724 §8.1).
    pub insecure: bool,
    /// Whether a DHCPv4 query may be narrowed to a relay-id or remote-id, which RFC 7724 does not know.
    pub relay_scope: bool,
    /// How long a requestor may acknowledge nothing of what is sent to it (ACTIVE_LQ_SEND_TIMEOUT).
    pub send_timeout: Duration,
    /// How long nothing is sent before a keepalive is (ACTIVE_LQ_IDLE_TIMEOUT).
    pub idle_timeout: Duration,
}

impl Default for ActiveSettings {
    fn default() -> ActiveSettings {
        ActiveSettings {
            enabled: false,
            insecure: false,
            relay_scope: false,
            send_timeout: ACTIVE_LQ_SEND_TIMEOUT,
            idle_timeout: ACTIVE_LQ_IDLE_TIMEOUT,
        }
    }
}

/// TLS on the TCP listeners of both families (`[tls]`).
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Certificate, key, and whom to trust: it demands a certificate of every requestor.
    pub config: Arc<rustls::ServerConfig>,
    /// Whether bulk queries are answered on TLS only.
    pub bulk_required: bool,
    /// How long a handshake may take, from the answer to DHCPTLS or STARTTLS.
    pub handshake_timeout: Duration,
    /// Handshakes under way at a time on each core; at least 1. Those above wait.
    pub max_handshakes: u32,
}

impl PartialEq for TlsSettings {
    fn eq(&self, other: &TlsSettings) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
            && self.bulk_required == other.bulk_required
            && self.handshake_timeout == other.handshake_timeout
            && self.max_handshakes == other.max_handshakes
    }
}

impl Eq for TlsSettings {}

/// What happens to a connection above a limit (`limits.on-limit`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLimit {
    /// It is closed at once.
    #[default]
    Refuse,
    /// It takes the place of the oldest connection of the same requestor; without one it is closed at once.
    ReplaceOldest,
}

/// What the DHCPv4 side sends (`[dhcp4]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp4Settings {
    /// Where UDP replies go.
    pub reply_to: ReplyTo,
    /// The value of option 54.
    pub server_identifier: Ipv4Addr,
    /// Options never sent, even if asked for.
    pub withhold_options: OptionSet,
}

impl Default for Dhcp4Settings {
    fn default() -> Dhcp4Settings {
        Dhcp4Settings {
            reply_to: ReplyTo::Giaddr,
            server_identifier: Ipv4Addr::LOCALHOST,
            withhold_options: OptionSet::EMPTY,
        }
    }
}

/// Where a DHCPv4 UDP reply goes (`dhcp4.reply-to`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyTo {
    /// To port 67 of the query's giaddr (RFC 4388 §6.4.3).
    #[default]
    Giaddr,
    /// To where the query came from: for tests, and relay agents behind address translation.
    Source,
}

/// What the DHCPv6 side sends (`[dhcp6]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp6Settings {
    /// The DUID in OPTION_SERVERID.
    pub server_duid: Vec<u8>,
    /// Options never sent, even if asked for.
    pub withhold_options: Vec<u16>,
    /// Whether queries over UDP are answered that relay agents forwarded. They may come from others than the requestors
    /// that are trusted (RFC 5007 §5).
    pub relayed_queries: bool,
}

impl Default for Dhcp6Settings {
    fn default() -> Dhcp6Settings {
        let server_duid = vec![0x00, 0x03, 0x00, 0x01, 0x02, 0x00, 0x5e, 0x00, 0x53, 0x01];
        Dhcp6Settings {
            server_duid,
            withhold_options: Vec::new(),
            relayed_queries: true,
        }
    }
}

/// What the requestors of a network may ask for and see (`[[requestor]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestorRule {
    /// Where they connect from.
    pub network: Network,
    /// The queries they may make.
    pub queries: QueryKinds,
    /// VSS information octets of the VPNs they may see (no octets: the global VPN); empty: any.
    pub vpns: Vec<Vec<u8>>,
    /// Relay-ids whose bindings they may see; empty: any.
    pub relay_ids: Vec<Vec<u8>>,
    /// DHCPv6 links whose bindings they may see; empty: any. DHCPv4 bindings have no link.
    pub links: Vec<LinkRule>,
}

impl RequestorRule {
    /// A rule that lets a network make every query and see everything.
    pub fn all(network: Network) -> RequestorRule {
        RequestorRule {
            network,
            queries: QueryKinds::ALL,
            vpns: Vec::new(),
            relay_ids: Vec::new(),
            links: Vec::new(),
        }
    }

    /// Whether bindings of the VPN with these VSS information octets may be seen.
    pub fn allows_vpn(&self, vss: &[u8]) -> bool {
        self.vpns.is_empty() || self.vpns.iter().any(|allowed| allowed == vss)
    }

    /// Whether a binding with this relay-id may be seen.
    pub fn allows_relay_id(&self, relay_id: Option<&[u8]>) -> bool {
        self.relay_ids.is_empty()
            || relay_id.is_some_and(|id| self.relay_ids.iter().any(|allowed| allowed == id))
    }
}

/// A DHCPv6 link by name, with the prefixes that make it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRule {
    /// Name in the configuration.
    pub name: String,
    /// Prefixes of the link; a link-address inside one of them means this link.
    pub prefixes: Vec<Network>,
}

/// An IP network: an address and the number of leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix_len: u8,
}

/// Why a network was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor address/length.
    #[error("expected an address or address/length, found {0:?}")]
    Syntax(String),
    /// More bits than an address of the family has.
    #[error("prefix length {found} is above {most}")]
    Length {
        /// The length given.
        found: u8,
        /// The most it may be.
        most: u8,
    },
}

impl Network {
    /// The network of the first `prefix_len` bits of `address`; further bits are ignored.
    ///
    /// # Errors
    /// The length is above 32 (IPv4) or 128 (IPv6).
    pub fn new(address: IpAddr, prefix_len: u8) -> Result<Network, NetworkError> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        if prefix_len > most {
            return Err(NetworkError::Length {
                found: prefix_len,
                most,
            });
        }
        Ok(Network {
            address,
            prefix_len,
        })
    }

    /// Whether an address lies in the network. An IPv4 address mapped into IPv6 counts as the IPv4 address it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix_len);
                (u32::from(network) ^ u32::from(address))
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => self.contains_v6(network, address),
            // A mapped address given to an IPv6 rule such as ::/0 or ::ffff:0:0/96.
            (IpAddr::V6(network), IpAddr::V4(address)) => {
                self.contains_v6(network, address.to_ipv6_mapped())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    fn contains_v6(&self, network: Ipv6Addr, address: Ipv6Addr) -> bool {
        let shift = 128 - u32::from(self.prefix_len);
        (u128::from(network) ^ u128::from(address))
            .checked_shr(shift)
            .unwrap_or(0)
            == 0
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let syntax = || NetworkError::Syntax(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| syntax())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        Network::new(
            address,
            length.unwrap_or(if address.is_ipv4() { 32 } else { 128 }),
        )
    }
}

/// What a requestor asks for: the kinds of query that a rule can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QueryKind {
    /// By address or delegated prefix.
    Ip,
    /// By hardware type and address.
    HwAddr,
    /// By client identifier or DUID.
    ClientId,
    /// By remote-id.
    RemoteId,
    /// By relay-id.
    RelayId,
    /// By DHCPv6 link-address.
    Link,
    /// All configured addresses.
    All,
    /// Active leasequery.
    Active,
}

impl QueryKind {
    /// Every kind, in the order of the configuration's documentation.
    pub const ALL: [QueryKind; 8] = [
        QueryKind::Ip,
        QueryKind::HwAddr,
        QueryKind::ClientId,
        QueryKind::RemoteId,
        QueryKind::RelayId,
        QueryKind::Link,
        QueryKind::All,
        QueryKind::Active,
    ];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            QueryKind::Ip => "ip",
            QueryKind::HwAddr => "hwaddr",
            QueryKind::ClientId => "client-id",
            QueryKind::RemoteId => "remote-id",
            QueryKind::RelayId => "relay-id",
            QueryKind::Link => "link",
            QueryKind::All => "all",
            QueryKind::Active => "active",
        }
    }

    /// The kind of this name in the configuration.
    pub fn from_name(name: &str) -> Option<QueryKind> {
        QueryKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A set of [`QueryKind`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryKinds(u8);

impl QueryKinds {
    /// Every kind.
    pub const ALL: QueryKinds = QueryKinds(u8::MAX);
    /// No kind.
    pub const NONE: QueryKinds = QueryKinds(0);

    /// Whether the set holds a kind.
    pub const fn contains(self, kind: QueryKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl FromIterator<QueryKind> for QueryKinds {
    fn from_iter<I: IntoIterator<Item = QueryKind>>(kinds: I) -> QueryKinds {
        QueryKinds(
            kinds
                .into_iter()
                .fold(0, |bits, kind| bits | 1 << kind as u8),
        )
    }
}

/// A set of DHCPv4 option codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSet([u64; 4]);

impl OptionSet {
    /// No option.
    pub const EMPTY: OptionSet = OptionSet([0; 4]);

    /// Whether the set holds a code.
    pub const fn contains(&self, code: u8) -> bool {
        self.0[(code >> 6) as usize] & (1 << (code & 63)) != 0
    }

    /// Adds a code.
    pub const fn insert(&mut self, code: u8) {
        self.0[(code >> 6) as usize] |= 1 << (code & 63);
    }

    /// Takes a code out.
    pub const fn remove(&mut self, code: u8) {
        self.0[(code >> 6) as usize] &= !(1 << (code & 63));
    }

    /// Whether no code is in it.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The codes that are in both sets.
    pub fn intersection(&self, other: &OptionSet) -> OptionSet {
        OptionSet(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    /// The codes that are not in `other`.
    pub fn difference(&self, other: &OptionSet) -> OptionSet {
        OptionSet(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }
}

impl FromIterator<u8> for OptionSet {
    fn from_iter<I: IntoIterator<Item = u8>>(codes: I) -> OptionSet {
        let mut set = OptionSet::EMPTY;
        codes.into_iter().for_each(|code| set.insert(code));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().expect("a network")
    }

    #[test]
    fn networks_contain_what_shares_their_leading_bits() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(network("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(!network("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(network("0.0.0.0/0").contains(address("203.0.113.9")));
        assert!(!network("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(network("::/0").contains(address("2001:db8::1")));
        assert!(network("192.0.2.7").contains(address("192.0.2.7")));
        assert!(!network("192.0.2.7").contains(address("192.0.2.6")));
        assert!(
            network("192.0.2.0/24").contains(address("::ffff:192.0.2.7")),
            "mapped addresses are IPv4"
        );
        assert!(network("::ffff:0:0/96").contains(address("::ffff:192.0.2.7")));
        assert!(!network("2001:db8::/33").contains(address("2001:db8:8000::1")));
    }

    #[test]
    fn bad_networks_say_what_is_wrong() {
        let error = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        assert_eq!(error("10.0.0.0/33"), "prefix length 33 is above 32");
        assert_eq!(
            error("ten"),
            "expected an address or address/length, found \"ten\""
        );
        assert_eq!(
            error("10.0.0.0/x"),
            "expected an address or address/length, found \"10.0.0.0/x\""
        );
    }

    #[test]
    fn the_first_matching_rule_counts_and_none_serves_nobody() {
        let mut narrow = RequestorRule::all(network("10.1.0.0/16"));
        narrow.queries = [QueryKind::Ip].into_iter().collect();
        let settings = Settings {
            requestors: vec![
                Arc::new(narrow),
                Arc::new(RequestorRule::all(network("10.0.0.0/8"))),
            ],
            ..Settings::default()
        };
        let queries = |text: &str| {
            settings
                .rule_for(text.parse().expect("an address"))
                .map(|rule| rule.queries)
        };
        assert_eq!(
            queries("10.1.2.3").map(|kinds| kinds.contains(QueryKind::All)),
            Some(false)
        );
        assert_eq!(queries("10.2.2.3"), Some(QueryKinds::ALL));
        assert_eq!(queries("192.0.2.1"), None);
        assert!(
            Settings::default()
                .rule_for("127.0.0.1".parse().expect("an address"))
                .is_none()
        );
    }

    #[test]
    fn option_sets_hold_every_code_apart() {
        let set: OptionSet = [0, 63, 64, 82, 255].into_iter().collect();
        for code in 0..=255 {
            assert_eq!(
                set.contains(code),
                [0, 63, 64, 82, 255].contains(&code),
                "code {code}"
            );
        }
        let less = set.difference(&[82].into_iter().collect());
        assert!(!less.contains(82) && less.contains(64));
        assert!(set.intersection(&OptionSet::EMPTY).is_empty());
    }

    #[test]
    fn query_kinds_are_found_by_their_names() {
        for kind in QueryKind::ALL {
            assert_eq!(QueryKind::from_name(kind.name()), Some(kind));
            assert!(QueryKinds::ALL.contains(kind) && !QueryKinds::NONE.contains(kind));
        }
        assert_eq!(QueryKind::from_name("everything"), None);
    }
}
