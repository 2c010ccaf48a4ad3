//! `[[feed]]`: the section as it is written, and what a feed is told to do because of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaseq_feed::{Settings, dnsmasq, isc, kea, kea_ha, socket};
use serde::Deserialize;
use toml::Spanned;

use super::build::Fault;
use super::units::Text;

/// The shortest interval at which a source is asked.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// A source of leases. Which keys it takes depends on its kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Section {
    pub kind: Kind,
    pub name: Option<String>,
    pub family: Option<u8>,
    pub path: Option<PathBuf>,
    pub listen: Option<Text<socket::Address>>,
    pub server: Option<String>,
    /// Where Kea is asked for all its leases: its DHCPv4 server, and its DHCPv6 server.
    pub control4: Option<Text<kea_ha::ControlAddress>>,
    pub control6: Option<Text<kea_ha::ControlAddress>>,
    pub pull_interval: Option<Text<Duration>>,
    pub probe_interval: Option<Text<Duration>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    KeaMemfile,
    KeaHa,
    IscDhcpd,
    Dnsmasq,
    Ndjson,
    Leasequery,
}

impl Kind {
    /// Its name in the configuration.
    fn name(self) -> &'static str {
        match self {
            Kind::KeaMemfile => "kea-memfile",
            Kind::KeaHa => "kea-ha",
            Kind::IscDhcpd => "isc-dhcpd",
            Kind::Dnsmasq => "dnsmasq",
            Kind::Ndjson => "ndjson",
            Kind::Leasequery => "leasequery",
        }
    }

    /// The keys that a feed of this kind takes, `kind` and `name` beside them.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::KeaMemfile => &["family", "path"],
            Kind::KeaHa => &[
                "listen",
                "control4",
                "control6",
                "pull-interval",
                "probe-interval",
            ],
            Kind::Ndjson => &["listen"],
            Kind::IscDhcpd | Kind::Dnsmasq => &["path"],
            Kind::Leasequery => &["family", "server"],
        }
    }
}

/// The feeds of a file. Each has a name of its own: the store keeps under it how far the feed was read.
pub(super) fn feeds(sections: &[Spanned<Section>], base: &Path) -> Result<Vec<Settings>, Fault> {
    let mut names = HashSet::new();
    let mut feeds = Vec::with_capacity(sections.len());
    for section in sections {
        let settings = feed(section.get_ref(), base).map_err(|reason| (section.span(), reason))?;
        if !names.insert(settings.name().to_owned()) {
            let reason = format!(
                "expected a name of its own for each feed, found {:?} twice",
                settings.name()
            );
            return Err((section.span(), reason));
        }
        feeds.push(settings);
    }
    Ok(feeds)
}

fn feed(section: &Section, base: &Path) -> Result<Settings, String> {
    let kind = section.kind.name();
    let given = [
        ("family", section.family.is_some()),
        ("path", section.path.is_some()),
        ("listen", section.listen.is_some()),
        ("server", section.server.is_some()),
        ("control4", section.control4.is_some()),
        ("control6", section.control6.is_some()),
        ("pull-interval", section.pull_interval.is_some()),
        ("probe-interval", section.probe_interval.is_some()),
    ];
    let foreign = given
        .iter()
        .find(|(key, is_given)| *is_given && !section.kind.keys().contains(key));
    if let Some((key, _)) = foreign {
        return Err(format!("`{key}` is not a key of a feed of kind {kind:?}"));
    }
    // Without a name of its own a feed is called by its kind and its source.
    let name = |source: &dyn std::fmt::Display| {
        section
            .name
            .clone()
            .unwrap_or_else(|| format!("{kind}:{source}"))
    };
    let needs = |key: &str| format!("a feed of kind {kind:?} needs `{key}`");
    match section.kind {
        Kind::Ndjson => {
            let Text(listen) = section.listen.as_ref().ok_or_else(|| needs("listen"))?;
            Ok(Settings::Ndjson(socket::Settings {
                name: name(listen),
                listen: listen.clone(),
            }))
        }
        Kind::KeaHa => {
            let listen = match section.listen.as_ref().ok_or_else(|| needs("listen"))? {
                Text(socket::Address::Tcp(listen)) => *listen,
                Text(unix) => {
                    return Err(format!(
                        "expected an address and port in `listen` of a feed of kind {kind:?}, found \"{unix}\""
                    ));
                }
            };
            let interval = |key: &str, given: &Option<Text<Duration>>, default| match given {
                Some(Text(given)) if *given < SHORTEST_INTERVAL => Err(format!(
                    "expected at least {} in `{key}`",
                    humantime::format_duration(SHORTEST_INTERVAL)
                )),
                Some(Text(given)) => Ok(*given),
                None => Ok(default),
            };
            let control = |given: &Option<Text<kea_ha::ControlAddress>>| {
                given.as_ref().map(|Text(address)| address.clone())
            };
            Ok(Settings::KeaHa(kea_ha::Settings {
                name: name(&listen),
                listen,
                control4: control(&section.control4),
                control6: control(&section.control6),
                pull_interval: interval(
                    "pull-interval",
                    &section.pull_interval,
                    kea_ha::PULL_INTERVAL,
                )?,
                probe_interval: interval(
                    "probe-interval",
                    &section.probe_interval,
                    kea_ha::PROBE_INTERVAL,
                )?,
            }))
        }
        Kind::KeaMemfile => {
            let family = section.family.ok_or_else(|| needs("family"))?;
            let family = match family {
                4 => kea::Family::V4,
                6 => kea::Family::V6,
                other => return Err(format!("family: expected 4 or 6, found {other}")),
            };
            let path = section.path.as_ref().ok_or_else(|| needs("path"))?;
            let path = base.join(path);
            Ok(Settings::KeaMemfile(kea::Settings {
                name: name(&path.display()),
                family,
                path,
            }))
        }
        Kind::IscDhcpd => {
            let path = base.join(section.path.as_ref().ok_or_else(|| needs("path"))?);
            Ok(Settings::IscDhcpd(isc::Settings {
                name: name(&path.display()),
                path,
            }))
        }
        Kind::Dnsmasq => {
            let path = base.join(section.path.as_ref().ok_or_else(|| needs("path"))?);
            Ok(Settings::Dnsmasq(dnsmasq::Settings {
                name: name(&path.display()),
                path,
            }))
        }
        Kind::Leasequery => Err(format!("a feed of kind {kind:?} is not in this version")),
    }
}
