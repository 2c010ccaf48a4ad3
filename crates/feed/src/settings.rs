//! What a feed is told to do, of whatever kind.

use std::io;
use std::sync::Arc;

use leaseq_store::Store;

use crate::run::Feed;
use crate::{dnsmasq, isc, kea, kea_ha, mirror, socket};

/// The settings of one feed. Two that are equal run the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// A socket that takes leases in NDJSON.
    Ndjson(socket::Settings),
    /// A backup peer of Kea's high availability hook.
    KeaHa(kea_ha::Settings),
    /// The lease file of a running Kea.
    KeaMemfile(kea::Settings),
    /// The lease file of a running ISC dhcpd.
    IscDhcpd(isc::Settings),
    /// The lease file of a running dnsmasq.
    Dnsmasq(dnsmasq::Settings),
    /// Another leasequery server.
    Leasequery(mirror::Settings),
}

/// Why a feed cannot be started. Faults of the source are not among them: a feed waits for it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It cannot listen where it should.
    #[error("the feed {name:?} cannot listen on {address}")]
    Listen {
        /// The feed's name.
        name: String,
        /// The address of its settings.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is no thread or no open file to be had for it.
    #[error("the feed {name:?} cannot be started")]
    Start {
        /// The feed's name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Settings {
    /// The feed's name, under which the store keeps its position.
    pub fn name(&self) -> &str {
        match self {
            Settings::Ndjson(settings) => &settings.name,
            Settings::KeaHa(settings) => &settings.name,
            Settings::KeaMemfile(settings) => &settings.name,
            Settings::IscDhcpd(settings) => &settings.name,
            Settings::Dnsmasq(settings) => &settings.name,
            Settings::Leasequery(settings) => &settings.name,
        }
    }

    /// Starts the feed.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(&self, store: Arc<Store>) -> Result<Feed, StartError> {
        match self {
            Settings::Ndjson(settings) => {
                socket::start(settings, store).map_err(|source| StartError::Listen {
                    name: settings.name.clone(),
                    address: settings.listen.to_string(),
                    source,
                })
            }
            Settings::KeaHa(settings) => {
                kea_ha::start(settings, store).map_err(|source| StartError::Listen {
                    name: settings.name.clone(),
                    address: settings.listen.to_string(),
                    source,
                })
            }
            Settings::KeaMemfile(settings) => {
                kea::start(settings, store).map_err(|source| StartError::Start {
                    name: settings.name.clone(),
                    source,
                })
            }
            Settings::IscDhcpd(settings) => {
                isc::start(settings, store).map_err(|source| StartError::Start {
                    name: settings.name.clone(),
                    source,
                })
            }
            Settings::Dnsmasq(settings) => {
                dnsmasq::start(settings, store).map_err(|source| StartError::Start {
                    name: settings.name.clone(),
                    source,
                })
            }
            Settings::Leasequery(settings) => {
                mirror::start(settings, store).map_err(|source| StartError::Start {
                    name: settings.name.clone(),
                    source,
                })
            }
        }
    }
}
