//! Whom the relays ask: a server of the generator's own, or one that runs already.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A leaseq started for the run, on loopback with free ports, in a directory of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OwnServer {
    /// The program; default: `leaseq` beside this one, or in PATH.
    #[serde(default)]
    pub binary: Option<PathBuf>,
    /// Its store; default: a temporary directory. One that holds this scenario's bindings already is used as it is.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
    /// Sections of leaseq's configuration, put over those that the generator writes itself.
    #[serde(default)]
    pub config: toml::Table,
}

/// A server that runs already; each of these has an option of the command line too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Target {
    /// Its address and port for DHCPv4, TCP and UDP.
    #[serde(default)]
    pub server4: Option<SocketAddr>,
    /// Its address and port for DHCPv6, TCP and UDP.
    #[serde(default)]
    pub server6: Option<SocketAddr>,
    /// The UNIX socket of its NDJSON feed, for changes.
    #[serde(default)]
    pub feed: Option<PathBuf>,
    /// What it holds: `leaseq store export` of it. Without it answers are checked for form only.
    #[serde(default)]
    pub expect: Option<PathBuf>,
    /// Its process, if it is on this machine, to measure CPU and memory.
    #[serde(default)]
    pub pid: Option<u32>,
}

impl Target {
    /// A server is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.server4.is_some() || self.server6.is_some()
    }
}

/// PEM files of a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsFiles {
    /// Authorities whose servers are trusted.
    pub ca: PathBuf,
    /// The relays' certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Name in the server's certificate.
    pub server_name: String,
}
