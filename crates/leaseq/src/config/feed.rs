//! `[[feed]]`: the section as it is written, and what a feed is told to do because of it.

use std::collections::HashSet;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaseq_feed::kea_ha::ControlAddress;
use leaseq_feed::{Settings, dnsmasq, isc, kea, mirror, socket};
use leaseq_wire::parameters::{
    ACTIVE_LQ_IDLE_TIMEOUT, ACTIVE_LQ_RCV_TIMEOUT, BULK_LQ_DATA_TIMEOUT,
};
use serde::Deserialize;
use toml::Spanned;

use super::build::Fault;
use super::kea_ha;
use super::units::{Octets, Text};
use crate::tls::Certificate;

/// How often a server without active leasequery is asked in bulk.
const MIRROR_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// The shortest time between attempts at a mirrored server.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

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
    pub control4: Option<Text<ControlAddress>>,
    pub control6: Option<Text<ControlAddress>>,
    pub pull_interval: Option<Text<Duration>>,
    pub probe_interval: Option<Text<Duration>>,
    /// What Kea says to be heard, and what its control agents want to hear.
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub control_user: Option<String>,
    pub control_password_file: Option<PathBuf>,
    pub interval: Option<Text<Duration>>,
    pub retry: Option<Text<Duration>>,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub server_name: Option<String>,
    pub links: Option<Vec<Text<Ipv6Addr>>>,
    pub relay_ids: Option<Vec<Text<Octets>>>,
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
                "user",
                "password-file",
                "certificate",
                "key",
                "ca",
                "control-user",
                "control-password-file",
                "server-name",
            ],
            Kind::Ndjson => &["listen"],
            Kind::IscDhcpd | Kind::Dnsmasq => &["path"],
            Kind::Leasequery => &[
                "family",
                "server",
                "interval",
                "retry",
                "ca",
                "certificate",
                "key",
                "server-name",
                "links",
                "relay-ids",
            ],
        }
    }
}

/// The feeds of a file. Each has a name of its own: the store keeps under it how far the feed was read.
/// The certificates that they use are added to `certificates`.
pub(super) fn feeds(
    sections: &[Spanned<Section>],
    base: &Path,
    certificates: &mut Vec<Certificate>,
) -> Result<Vec<Settings>, Fault> {
    let mut names = HashSet::new();
    let mut feeds = Vec::with_capacity(sections.len());
    for section in sections {
        let settings = feed(section.get_ref(), base, certificates)
            .map_err(|reason| (section.span(), reason))?;
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

fn feed(
    section: &Section,
    base: &Path,
    certificates: &mut Vec<Certificate>,
) -> Result<Settings, String> {
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
        ("user", section.user.is_some()),
        ("password-file", section.password_file.is_some()),
        ("control-user", section.control_user.is_some()),
        (
            "control-password-file",
            section.control_password_file.is_some(),
        ),
        ("interval", section.interval.is_some()),
        ("retry", section.retry.is_some()),
        ("ca", section.ca.is_some()),
        ("certificate", section.certificate.is_some()),
        ("key", section.key.is_some()),
        ("server-name", section.server_name.is_some()),
        ("links", section.links.is_some()),
        ("relay-ids", section.relay_ids.is_some()),
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
            kea_ha::settings(section, name(&listen), listen, base, certificates)
                .map(Settings::KeaHa)
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
        Kind::Leasequery => {
            let server = section.server.as_ref().ok_or_else(|| needs("server"))?;
            let family = match section.family.ok_or_else(|| needs("family"))? {
                4 => mirror::Family::V4,
                6 => mirror::Family::V6,
                other => return Err(format!("family: expected 4 or 6, found {other}")),
            };
            mirror(section, name(server), family, server, base).map(Settings::Leasequery)
        }
    }
}

/// A mirror of another server, with or without TLS.
fn mirror(
    section: &Section,
    name: String,
    family: mirror::Family,
    server: &str,
    base: &Path,
) -> Result<mirror::Settings, String> {
    let host =
        |key: &str, text| mirror::Settings::host(text).map_err(|error| format!("{key}: {error}"));
    let server_host = host("server", server)?;
    let files = (&section.ca, &section.certificate, &section.key);
    let tls = match files {
        (Some(ca), Some(certificate), Some(key)) => {
            let name = section.server_name.as_deref();
            if let Some(name) = name.filter(|name| host("server-name", name) != Ok(name)) {
                return Err(format!(
                    "server-name: expected an address or a name of a host, found {name:?}"
                ));
            }
            Some(mirror::TlsFiles {
                ca: base.join(ca),
                certificate: base.join(certificate),
                key: base.join(key),
                server_name: name.unwrap_or(server_host).to_owned(),
            })
        }
        (None, None, None) if section.server_name.is_none() => None,
        _ => {
            let needed = "TLS to a server needs `ca`, `certificate` and `key`";
            return Err(needed.into());
        }
    };
    let links = section.links.iter().flatten().map(|Text(link)| *link);
    let links: Vec<_> = links.collect();
    if family == mirror::Family::V4 && !links.is_empty() {
        return Err("`links` has no meaning in family 4".into());
    }
    let relay_ids = section.relay_ids.iter().flatten();
    let second = Duration::from_secs(1);
    let interval = at_least(second, "interval", &section.interval, MIRROR_INTERVAL)?;
    let retry = at_least(
        SHORTEST_RETRY,
        "retry",
        &section.retry,
        ACTIVE_LQ_IDLE_TIMEOUT,
    )?;
    Ok(mirror::Settings {
        name,
        family,
        server: server.to_owned(),
        tls,
        interval,
        retry,
        data_timeout: BULK_LQ_DATA_TIMEOUT,
        receive_timeout: ACTIVE_LQ_RCV_TIMEOUT,
        links,
        relay_ids: relay_ids.map(|Text(Octets(id))| id.clone()).collect(),
    })
}

fn at_least(
    least: Duration,
    key: &str,
    given: &Option<Text<Duration>>,
    default: Duration,
) -> Result<Duration, String> {
    match given {
        None => Ok(default),
        Some(Text(time)) if *time < least => Err(format!(
            "{key}: expected at least {least:?}, found {time:?}"
        )),
        Some(Text(time)) => Ok(*time),
    }
}
