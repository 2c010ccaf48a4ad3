//! From the sections of the file to what store, engine and sessions take.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use leaseq_engine::{EngineConfig, Listeners};
use leaseq_feed::hex;
use leaseq_session::{
    ActiveSettings, Dhcp4Settings, Dhcp6Settings, Limits, LinkRule, OnLimit, ReplyTo,
    RequestorRule, Settings, TlsSettings,
};
use leaseq_store::{LinkConfig, Options, Range4, SyncMode, Topology, Vpn};
use toml::Spanned;

use super::feed;
use super::sections::{self, ActiveMode, Cores, File, TlsBulk};
use super::units::{Pool, Size, Text, UnixPath, network_of};
use super::{Config, Overrides};
use crate::tls::{self, Certificate, Files, Which};

/// Where in the file, and what is wrong there.
pub(super) type Fault = (Range<usize>, String);

const SEGMENT_UNIT: u64 = 4_096;
const MIN_SEGMENT: u64 = 64 << 10;
const MAX_SEGMENT: u64 = 2 << 30;
/// Octets of a DUID: a type and something after it, at most 128 (RFC 8415 §11.1).
const DUID_OCTETS: std::ops::RangeInclusive<usize> = 3..=130;

/// `base`: the directory that relative names of files are meant from.
pub(super) fn build(file: File, base: &Path, overrides: Overrides) -> Result<Config, Fault> {
    let mut warnings = Vec::new();
    let listeners = Listeners {
        dhcp4_tcp: addresses(&file.dhcp4.listen_tcp),
        dhcp4_udp: addresses(&file.dhcp4.listen_udp),
        dhcp6_tcp: addresses(&file.dhcp6.listen_tcp),
        dhcp6_udp: addresses(&file.dhcp6.listen_udp),
    };
    if file.requestors.is_empty() {
        warnings.push("no [[requestor]] is configured: nobody is served".to_owned());
    }
    let (tls, certificates) = tls(&file.tls, base)?.unzip();
    let mut certificates = certificates.unwrap_or_default();
    let feeds = feed::feeds(&file.feeds, base, &mut certificates)?;
    let settings = Settings {
        limits: limits(&file.limits)?,
        dhcp4: dhcp4(&file.dhcp4, &listeners, &mut warnings),
        dhcp6: dhcp6(&file.dhcp6, &listeners, &mut warnings)?,
        active: active(&file.active, overrides, &mut warnings)?,
        tls,
        requestors: requestors(&file)?,
    };
    secure_mode_has_tls(&file.active, &settings)?;
    required_tls_is_offered(&file.tls, &settings)?;
    Ok(Config {
        data_dir: file.store.dir.clone(),
        store: store(&file.store)?,
        topology: topology(&file)?,
        engine: EngineConfig {
            cores: match file.engine.cores {
                None | Some(Cores::Auto(_)) => None,
                Some(Cores::List(cores)) => Some(cores),
            },
            shutdown_timeout: file.limits.shutdown_timeout.0,
            ..EngineConfig::default()
        },
        listeners,
        settings: Arc::new(settings),
        admin: file.admin.listen.0.0,
        control: file.control.socket.map(|Text(UnixPath(path))| path),
        feeds,
        certificates,
        warnings,
    })
}

fn active(
    section: &sections::Active,
    overrides: Overrides,
    warnings: &mut Vec<String>,
) -> Result<ActiveSettings, Fault> {
    let written = section.enabled.as_ref().map(|enabled| *enabled.get_ref());
    if overrides.active_insecure && written == Some(false) {
        warnings.push(
            "active.enabled is false: --active-insecure does not switch active leasequery on"
                .to_owned(),
        );
    }
    Ok(ActiveSettings {
        enabled: written.unwrap_or(overrides.active_insecure),
        insecure: overrides.active_insecure || section.mode == ActiveMode::Insecure,
        relay_scope: section.relay_scope,
        send_timeout: at_least_a_second("send-timeout", &section.send_timeout)?,
        idle_timeout: at_least_a_second("idle-timeout", &section.idle_timeout)?,
    })
}

/// Active leasequery is served on TLS unless the insecure mode is written out, so it needs a certificate (RFC 7724 §8.1).
fn secure_mode_has_tls(section: &sections::Active, settings: &Settings) -> Result<(), Fault> {
    let active = &settings.active;
    if !active.enabled || active.insecure || settings.tls.is_some() {
        return Ok(());
    }
    let span = section.enabled.as_ref().map_or(0..0, Spanned::span);
    let reason = "active leasequery in mode \"secure\" needs `certificate`, `key` and `client-ca` in [tls]; \
                  configure them, or write mode = \"insecure\" where the network is protected otherwise";
    Err((span, reason.to_owned()))
}

/// What sessions need for TLS, and the certificates in its files; nothing if none of them is given.
fn tls(
    section: &sections::Tls,
    base: &Path,
) -> Result<Option<(TlsSettings, Vec<Certificate>)>, Fault> {
    let handshake_timeout = at_least_a_second("handshake-timeout", &section.handshake_timeout)?;
    let max_handshakes = *section.max_handshakes.get_ref();
    if max_handshakes == 0 {
        let span = section.max_handshakes.span();
        return Err((span, "max-handshakes: expected at least 1, found 0".into()));
    }
    let files = [
        ("certificate", &section.certificate),
        ("key", &section.key),
        ("client-ca", &section.client_ca),
    ];
    let Some(given) = files.iter().find_map(|(_, file)| file.as_ref()) else {
        return Ok(None);
    };
    if let Some((missing, _)) = files.iter().find(|(_, file)| file.is_none()) {
        let reason =
            format!("[tls] needs `certificate`, `key` and `client-ca`; `{missing}` is missing");
        return Err((given.span(), reason));
    }
    let [certificate, key, client_ca] = files.map(|(_, file)| {
        file.as_ref()
            .map_or_else(|| base.to_owned(), |file| base.join(file.get_ref()))
    });
    let files = Files {
        certificate: &certificate,
        key: &key,
        client_ca: Some(&client_ca),
    };
    let allowed = section.allowed_names.iter().map(|text| text.0.clone());
    let loaded = tls::load(files, allowed.collect(), SystemTime::now()).map_err(|unusable| {
        let to_blame = match unusable.which {
            Which::Certificate => &section.certificate,
            Which::Key => &section.key,
            Which::Authorities => &section.client_ca,
        };
        let span = to_blame.as_ref().map_or(given.span(), Spanned::span);
        (span, unusable.to_string())
    })?;
    let settings = TlsSettings {
        config: loaded.config,
        bulk_required: is_bulk_required(section).is_some(),
        handshake_timeout,
        max_handshakes,
    };
    Ok(Some((settings, loaded.certificates)))
}

/// Where it is written that bulk queries are answered on TLS only.
fn is_bulk_required(section: &sections::Tls) -> Option<Range<usize>> {
    let bulk = section.bulk.as_ref()?;
    (*bulk.get_ref() == TlsBulk::Required).then(|| bulk.span())
}

/// Bulk on TLS only, and no TLS, would be no bulk at all.
fn required_tls_is_offered(section: &sections::Tls, settings: &Settings) -> Result<(), Fault> {
    let Some(span) = is_bulk_required(section) else {
        return Ok(());
    };
    let reason = if settings.tls.is_none() {
        "bulk = \"required\" needs `certificate`, `key` and `client-ca`"
    } else if settings.active.enabled && settings.active.insecure {
        "bulk = \"required\" cannot be kept: TLS is refused while active leasequery is insecure"
    } else {
        return Ok(());
    };
    Err((span, reason.to_owned()))
}

fn at_least_a_second(key: &str, value: &Spanned<Text<Duration>>) -> Result<Duration, Fault> {
    let Text(duration) = *value.get_ref();
    if duration < Duration::from_secs(1) {
        let found = humantime::format_duration(duration);
        let reason = format!("{key}: expected at least 1s, found {found}");
        return Err((value.span(), reason));
    }
    Ok(duration)
}

fn addresses(texts: &[Text<SocketAddr>]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.0).collect()
}

fn store(section: &sections::Store) -> Result<Options, Fault> {
    let Text(Size(segment_size)) = *section.segment_size.get_ref();
    if !segment_size.is_multiple_of(SEGMENT_UNIT)
        || !(MIN_SEGMENT..=MAX_SEGMENT).contains(&segment_size)
    {
        let reason = "expected a multiple of 4KiB from 64KiB to 2GiB";
        return Err((
            section.segment_size.span(),
            format!("segment-size: {reason}, found {segment_size}B"),
        ));
    }
    Ok(Options {
        sync: match section.sync {
            sections::Sync::Group => SyncMode::Group,
            sections::Sync::Never => SyncMode::Never,
        },
        group_interval: section.group_interval.0,
        segment_size,
        history: section.history.0,
        expiry_grace: section.expiry_grace.0,
        ..Options::default()
    })
}

fn limits(section: &sections::Limits) -> Result<Limits, Fault> {
    if *section.max_queries_per_connection.get_ref() == 0 {
        let span = section.max_queries_per_connection.span();
        return Err((
            span,
            "max-queries-per-connection: expected at least 1, found 0".into(),
        ));
    }
    let data_timeout = at_least_a_second("data-timeout", &section.data_timeout)?;
    Ok(Limits {
        max_connections: section.max_connections,
        on_limit: match section.on_limit {
            sections::OnLimit::Refuse => OnLimit::Refuse,
            sections::OnLimit::ReplaceOldest => OnLimit::ReplaceOldest,
        },
        queries_per_second: section.queries_per_second,
        udp_queries_per_second: section.udp_queries_per_second,
        max_connections_per_requestor: section.max_connections_per_requestor,
        max_queries_per_connection: *section.max_queries_per_connection.get_ref(),
        max_empty_replies: section.max_empty_replies,
        data_timeout,
    })
}

fn dhcp4(
    section: &sections::Dhcp4,
    listeners: &Listeners,
    warnings: &mut Vec<String>,
) -> Dhcp4Settings {
    let listening = || listeners.dhcp4_tcp.iter().chain(&listeners.dhcp4_udp);
    let bound = listening().find_map(|address| match address.ip() {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    });
    let configured = section.server_identifier.as_ref().map(|text| text.0);
    if configured.or(bound).is_none() && listening().next().is_some() {
        warnings.push(
            "dhcp4.server-identifier is not configured: requestors are told 127.0.0.1".to_owned(),
        );
    }
    Dhcp4Settings {
        reply_to: match section.reply_to {
            sections::ReplyTo::Giaddr => ReplyTo::Giaddr,
            sections::ReplyTo::Source => ReplyTo::Source,
        },
        server_identifier: configured.or(bound).unwrap_or(Ipv4Addr::LOCALHOST),
        withhold_options: section.withhold_options.iter().copied().collect(),
    }
}

fn dhcp6(
    section: &sections::Dhcp6,
    listeners: &Listeners,
    warnings: &mut Vec<String>,
) -> Result<Dhcp6Settings, Fault> {
    let server_duid = match &section.server_duid {
        Some(configured) => {
            let octets = configured.get_ref().0.0.clone();
            if !DUID_OCTETS.contains(&octets.len()) {
                let reason = format!(
                    "server-duid: expected a DUID of 3 to 130 octets, found {}",
                    octets.len()
                );
                return Err((configured.span(), reason));
            }
            octets
        }
        None => {
            let duid = duid_of_interface().unwrap_or_else(|| Dhcp6Settings::default().server_duid);
            if !listeners.dhcp6_tcp.is_empty() || !listeners.dhcp6_udp.is_empty() {
                warnings.push(format!(
                    "dhcp6.server-duid is not configured: requestors are told {}",
                    hex::encode_colons(&duid)
                ));
            }
            duid
        }
    };
    Ok(Dhcp6Settings {
        server_duid,
        withhold_options: section.withhold_options.clone(),
        relayed_queries: section.relayed_queries,
    })
}

/// A DUID-LL (RFC 8415 §11.4) of the first network interface with an address of its own.
fn duid_of_interface() -> Option<Vec<u8>> {
    let mut names: Vec<_> = fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    names.iter().find_map(|interface| {
        let read = |name| fs::read_to_string(interface.join(name)).ok();
        let hardware_type: u16 = read("type")?.trim().parse().ok()?;
        let address = hex::decode_any(read("address")?.trim()).ok()?;
        let is_ethernet =
            hardware_type == 1 && address.len() == 6 && address.iter().any(|octet| *octet != 0);
        is_ethernet.then(|| [&[0, 3, 0, 1][..], &address].concat())
    })
}

fn topology(file: &File) -> Result<Topology, Fault> {
    let mut ranges4: Vec<(Range<usize>, Range4)> = Vec::new();
    for subnet in &file.dhcp4.subnets {
        let vpn = subnet
            .vpn
            .as_ref()
            .map_or(Vpn::GLOBAL, |text| text.0.clone());
        let prefix = subnet.prefix.0;
        let Some(pools) = &subnet.pools else {
            let (first, last) = prefix.hosts();
            ranges4.push((0..0, Range4 { vpn, first, last }));
            continue;
        };
        let (lowest, highest) = prefix.bounds();
        for pool in pools {
            let Text(Pool { first, last }) = *pool.get_ref();
            if first < lowest || last > highest {
                return Err((
                    pool.span(),
                    format!("pool {first}-{last} is not inside the prefix {prefix}"),
                ));
            }
            ranges4.push((
                pool.span(),
                Range4 {
                    vpn: vpn.clone(),
                    first,
                    last,
                },
            ));
        }
    }
    let mut names = HashSet::new();
    let mut links6 = Vec::new();
    for link in &file.dhcp6.links {
        let name = link.name.get_ref();
        if !names.insert(name.as_str()) {
            return Err((
                link.name.span(),
                format!("link {name:?} is configured twice"),
            ));
        }
        let prefixes =
            |texts: &[Text<leaseq_store::Prefix6>]| texts.iter().map(|text| text.0).collect();
        links6.push(LinkConfig {
            name: name.clone(),
            prefixes: prefixes(&link.prefixes),
            delegated: prefixes(&link.delegated),
        });
    }
    ranges4.sort_by(|(_, one), (_, other)| (&one.vpn, one.first).cmp(&(&other.vpn, other.first)));
    for pair in ranges4.windows(2) {
        let ((_, one), (span, other)) = (&pair[0], &pair[1]);
        if one.vpn == other.vpn && other.first <= one.last {
            let reason = format!(
                "{}-{} overlaps {}-{}",
                other.first, other.last, one.first, one.last
            );
            return Err((span.clone(), reason));
        }
    }
    Ok(Topology {
        ranges4: ranges4.into_iter().map(|(_, range)| range).collect(),
        links6,
    })
}

fn requestors(file: &File) -> Result<Vec<Arc<RequestorRule>>, Fault> {
    let rule = |section: &sections::Requestor| {
        let mut rule = RequestorRule::all(section.network.0);
        if let Some(queries) = &section.queries {
            rule.queries = queries.iter().map(|text| text.0).collect();
        }
        rule.vpns = section
            .vpns
            .iter()
            .map(|text| text.0.vss().to_vec())
            .collect();
        rule.relay_ids = section
            .relay_ids
            .iter()
            .map(|text| text.0.0.clone())
            .collect();
        for link in &section.links {
            let name = link.get_ref();
            let Some(found) = file
                .dhcp6
                .links
                .iter()
                .find(|known| known.name.get_ref() == name)
            else {
                return Err((
                    link.span(),
                    format!("expected the name of a [[dhcp6.link]], found {name:?}"),
                ));
            };
            let prefixes = found
                .prefixes
                .iter()
                .map(|text| network_of(text.0))
                .collect();
            rule.links.push(LinkRule {
                name: name.clone(),
                prefixes,
            });
        }
        Ok(Arc::new(rule))
    };
    file.requestors.iter().map(rule).collect()
}
