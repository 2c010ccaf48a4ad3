//! The sections of the configuration file, as they are written there, with their defaults.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use leaseq_session::{Network, QueryKind};
use leaseq_store::{Prefix6, Vpn};
use leaseq_wire::parameters::{ACTIVE_LQ_IDLE_TIMEOUT, ACTIVE_LQ_SEND_TIMEOUT};
use serde::Deserialize;
use toml::Spanned;

use super::feed;
use super::units::{AdminListen, Octets, Pool, Prefix4, Size, Text, UnixPath};
use crate::tls::AllowedName;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub store: Store,
    pub engine: Engine,
    pub limits: Limits,
    pub dhcp4: Dhcp4,
    pub dhcp6: Dhcp6,
    pub active: Active,
    pub tls: Tls,
    #[serde(rename = "requestor")]
    pub requestors: Vec<Requestor>,
    pub admin: Admin,
    pub control: Control,
    #[serde(rename = "feed")]
    pub feeds: Vec<Spanned<feed::Section>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Store {
    pub dir: PathBuf,
    pub sync: Sync,
    pub group_interval: Text<Duration>,
    pub segment_size: Spanned<Text<Size>>,
    pub history: Text<Duration>,
    pub expiry_grace: Text<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sync {
    Group,
    Never,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            dir: "/var/lib/leaseq".into(),
            sync: Sync::Group,
            group_interval: Text(Duration::ZERO),
            segment_size: Spanned::new(0..0, Text(Size(64 << 20))),
            history: hours(24),
            expiry_grace: seconds(30),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Engine {
    pub cores: Option<Cores>,
}

/// `"auto"`, or CPU numbers.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"auto\" or a list of CPU numbers such as [2, 3]"
)]
pub enum Cores {
    Auto(Auto),
    List(Vec<usize>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auto {
    Auto,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    pub max_connections: u32,
    pub on_limit: OnLimit,
    pub queries_per_second: u32,
    pub udp_queries_per_second: u32,
    pub shutdown_timeout: Text<Duration>,
    pub max_connections_per_requestor: u32,
    pub max_queries_per_connection: Spanned<u32>,
    pub max_empty_replies: u32,
    pub data_timeout: Spanned<Text<Duration>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLimit {
    Refuse,
    ReplaceOldest,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 10,
            on_limit: OnLimit::Refuse,
            queries_per_second: 0,
            udp_queries_per_second: 0,
            shutdown_timeout: seconds(5),
            max_connections_per_requestor: 0,
            max_queries_per_connection: Spanned::new(0..0, 8),
            max_empty_replies: 0,
            data_timeout: Spanned::new(0..0, seconds(300)),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dhcp4 {
    pub listen_tcp: Vec<Text<SocketAddr>>,
    pub listen_udp: Vec<Text<SocketAddr>>,
    pub reply_to: ReplyTo,
    pub server_identifier: Option<Text<Ipv4Addr>>,
    pub withhold_options: Vec<u8>,
    #[serde(rename = "subnet")]
    pub subnets: Vec<Subnet4>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyTo {
    Giaddr,
    Source,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Subnet4 {
    pub prefix: Text<Prefix4>,
    pub pools: Option<Vec<Spanned<Text<Pool>>>>,
    pub vpn: Option<Text<Vpn>>,
}

impl Default for Dhcp4 {
    fn default() -> Self {
        Dhcp4 {
            listen_tcp: vec![Text((Ipv4Addr::UNSPECIFIED, 67).into())],
            listen_udp: Vec::new(),
            reply_to: ReplyTo::Giaddr,
            server_identifier: None,
            withhold_options: Vec::new(),
            subnets: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dhcp6 {
    pub listen_tcp: Vec<Text<SocketAddr>>,
    pub listen_udp: Vec<Text<SocketAddr>>,
    pub server_duid: Option<Spanned<Text<Octets>>>,
    pub withhold_options: Vec<u16>,
    pub relayed_queries: bool,
    #[serde(rename = "link")]
    pub links: Vec<Link6>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Link6 {
    pub name: Spanned<String>,
    #[serde(default)]
    pub prefixes: Vec<Text<Prefix6>>,
    #[serde(default)]
    pub delegated: Vec<Text<Prefix6>>,
}

impl Default for Dhcp6 {
    fn default() -> Self {
        Dhcp6 {
            listen_tcp: vec![Text((Ipv6Addr::UNSPECIFIED, 547).into())],
            listen_udp: Vec::new(),
            server_duid: None,
            withhold_options: Vec::new(),
            relayed_queries: true,
            links: Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Active {
    /// Off unless given (RFC 7724 §8.1).
    pub enabled: Option<Spanned<bool>>,
    pub mode: ActiveMode,
    pub relay_scope: bool,
    pub send_timeout: Spanned<Text<Duration>>,
    pub idle_timeout: Spanned<Text<Duration>>,
}

/// `insecure` has to be written out (RFC 7724 §8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActiveMode {
    Secure,
    Insecure,
}

impl Default for Active {
    fn default() -> Self {
        Active {
            enabled: None,
            mode: ActiveMode::Secure,
            relay_scope: false,
            send_timeout: Spanned::new(0..0, Text(ACTIVE_LQ_SEND_TIMEOUT)),
            idle_timeout: Spanned::new(0..0, Text(ACTIVE_LQ_IDLE_TIMEOUT)),
        }
    }
}

/// TLS: there if its three files are.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    pub certificate: Option<Spanned<PathBuf>>,
    pub key: Option<Spanned<PathBuf>>,
    pub client_ca: Option<Spanned<PathBuf>>,
    pub allowed_names: Vec<Text<AllowedName>>,
    pub bulk: Option<Spanned<TlsBulk>>,
    pub handshake_timeout: Spanned<Text<Duration>>,
    pub max_handshakes: Spanned<u32>,
}

impl Default for Tls {
    fn default() -> Self {
        Tls {
            certificate: None,
            key: None,
            client_ca: None,
            allowed_names: Vec::new(),
            bulk: None,
            handshake_timeout: Spanned::new(0..0, seconds(10)),
            max_handshakes: Spanned::new(0..0, 64),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsBulk {
    Optional,
    Required,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Requestor {
    pub network: Text<Network>,
    pub queries: Option<Vec<Text<QueryKind>>>,
    #[serde(default)]
    pub vpns: Vec<Text<Vpn>>,
    #[serde(default)]
    pub relay_ids: Vec<Text<Octets>>,
    #[serde(default)]
    pub links: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    pub listen: Text<AdminListen>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            listen: Text(AdminListen(Some((Ipv4Addr::LOCALHOST, 8067).into()))),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// In the store's directory unless given.
    pub socket: Option<Text<UnixPath>>,
}

fn seconds(seconds: u64) -> Text<Duration> {
    Text(Duration::from_secs(seconds))
}

fn hours(hours: u64) -> Text<Duration> {
    seconds(hours * 3_600)
}
