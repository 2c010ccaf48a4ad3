//! The configuration: a TOML file, checked as a whole, and what store, engine and sessions are to do because of it.
//!
//! A key that is not known is refused with file, line and the nearest known key. What belongs to a feature that this
//! version does not have is checked like everything else, and refused only where it is switched on.

mod build;
mod feed;
mod kea_ha;
mod sections;
mod units;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leaseq_engine::{EngineConfig, Listeners};
use leaseq_feed::Settings as FeedSettings;
use leaseq_session::{ActiveSettings, Dhcp4Settings, Network, ReplyTo, RequestorRule, Settings};
use leaseq_store::{Options, SyncMode, Topology};

use crate::control::Location;
use crate::tls::Certificate;

pub use leaseq_toml_file::ConfigError;

/// A configuration that was found good.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the store.
    pub data_dir: PathBuf,
    /// How the store is opened.
    pub store: Options,
    /// The configured addresses and links.
    pub topology: Topology,
    /// The engine's threads and times.
    pub engine: EngineConfig,
    /// Where requestors connect to.
    pub listeners: Listeners,
    /// What sessions do: the part that a reload changes.
    pub settings: Arc<Settings>,
    /// Where the admin HTTP listens, if at all.
    pub admin: Option<SocketAddr>,
    /// The control socket, if it is not to be in the store's directory.
    pub control: Option<PathBuf>,
    /// The sources of leases that are followed.
    pub feeds: Vec<FeedSettings>,
    /// The certificates that TLS is served and requestors are trusted with.
    pub certificates: Vec<Certificate>,
    /// What works, but is probably not meant.
    pub warnings: Vec<String>,
}

/// What the command line says in place of the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// Active leasequery is served without TLS.
    pub active_insecure: bool,
}

impl Config {
    /// Reads and checks a file.
    pub fn load(file: &Path, overrides: Overrides) -> Result<Config, ConfigError> {
        let text = leaseq_toml_file::read(file)?;
        Config::parse(file, &text, overrides)
    }

    /// Checks the text of a file. Files that it names relatively are meant from its directory, but for the store's.
    pub fn parse(file: &Path, text: &str, overrides: Overrides) -> Result<Config, ConfigError> {
        let sections =
            toml::from_str(text).map_err(|error| ConfigError::from_toml(file, text, &error))?;
        let base = file.parent().unwrap_or(Path::new(""));
        build::build(sections, base, overrides)
            .map_err(|(span, reason)| ConfigError::at(file, text, span, reason))
    }

    /// What `leaseq serve` does without a file: everything on loopback, data in `./leaseq-data`, active leasequery only if
    /// the command line asks for it.
    pub fn embedded(overrides: Overrides) -> Config {
        let on = |address: SocketAddr| vec![address];
        let [v4, v6]: [SocketAddr; 2] = [
            (Ipv4Addr::LOCALHOST, 6767).into(),
            (Ipv6Addr::LOCALHOST, 5547).into(),
        ];
        let loopback = [
            (Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            (Ipv6Addr::LOCALHOST.into(), 128),
        ];
        let rules = loopback.map(|(address, bits)| {
            Network::new(address, bits).expect("a length that fits the family")
        });
        Config {
            data_dir: "leaseq-data".into(),
            store: Options::default(),
            topology: Topology::default(),
            engine: EngineConfig::default(),
            listeners: Listeners {
                dhcp4_tcp: on(v4),
                dhcp4_udp: on(v4),
                dhcp6_tcp: on(v6),
                dhcp6_udp: on(v6),
            },
            settings: Arc::new(Settings {
                // Port 67 of a loopback giaddr is nobody's; whoever tries leaseq out waits at the port he asked from.
                dhcp4: Dhcp4Settings {
                    reply_to: ReplyTo::Source,
                    ..Dhcp4Settings::default()
                },
                active: ActiveSettings {
                    enabled: overrides.active_insecure,
                    insecure: overrides.active_insecure,
                    ..ActiveSettings::default()
                },
                requestors: rules
                    .into_iter()
                    .map(|network| Arc::new(RequestorRule::all(network)))
                    .collect(),
                ..Settings::default()
            }),
            admin: Some((Ipv4Addr::LOCALHOST, 8067).into()),
            control: None,
            feeds: Vec::new(),
            certificates: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Where the control socket is.
    pub fn control_location(&self) -> Location {
        Location {
            data_dir: self.data_dir.clone(),
            configured: self.control.clone(),
        }
    }

    /// Names of what differs from `other` and cannot change while the server runs.
    pub fn fixed_differences(&self, other: &Config) -> Vec<&'static str> {
        let (mine, others) = (self.fixed(), other.fixed());
        let differs =
            |(mine, other): &(&(&'static str, String), &(&'static str, String))| mine.1 != other.1;
        mine.iter()
            .zip(&others)
            .filter(differs)
            .map(|(mine, _)| mine.0)
            .collect()
    }

    fn fixed(&self) -> Vec<(&'static str, String)> {
        let Options {
            sync,
            group_interval,
            segment_size,
            ..
        } = &self.store;
        vec![
            ("store.dir", format!("{:?}", self.data_dir)),
            ("store.sync", format!("{:?}", sync == &SyncMode::Group)),
            ("store.group-interval", format!("{group_interval:?}")),
            ("store.segment-size", format!("{segment_size:?}")),
            ("engine.cores", format!("{:?}", self.engine.cores)),
            ("admin.listen", format!("{:?}", self.admin)),
            ("control.socket", format!("{:?}", self.control)),
        ]
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod mirror_tests;
#[cfg(test)]
mod tests;
