//! A file to import, of any format.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use leaseq_feed::kea::{self, Family};
use leaseq_feed::ndjson::Events;
use leaseq_feed::{ReadError, dnsmasq, isc};
use leaseq_store::Event;

use crate::cli::ImportFormat;
use crate::exit::Usage;

/// Octets of a file that are looked at to tell its format.
const HEAD: u64 = 4_096;
/// Names of Kea's lease files, for a directory of them.
const KEA_FILES: [&str; 2] = ["kea-leases4.csv", "kea-leases6.csv"];

/// A file to import: an iterator of its events.
pub struct Source {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Kea(kea::Leases),
    Isc(isc::Leases<File>),
    Dnsmasq(dnsmasq::Leases),
    Ndjson { events: Events<File>, octets: u64 },
}

impl Source {
    /// Opens a file; without a format its first lines tell it.
    pub fn open(path: &Path, format: Option<ImportFormat>) -> anyhow::Result<Source> {
        if path.is_dir() {
            return Err(Usage(format!(
                "{} is a directory; name its files, such as {}",
                path.display(),
                KEA_FILES.join(" or ")
            ))
            .into());
        }
        let format = match format {
            Some(format) => format,
            None => guess(path)?,
        };
        let kind = match format {
            ImportFormat::Kea4 => Kind::Kea(kea::read4(path, 0)?),
            ImportFormat::Kea6 => Kind::Kea(kea::read6(path, 0)?),
            ImportFormat::Ndjson => {
                let file =
                    File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                let octets = file.metadata().map_or(0, |found| found.len());
                Kind::Ndjson {
                    events: Events::new(path.into(), file),
                    octets,
                }
            }
            ImportFormat::Isc => Kind::Isc(isc::open(path, 0)?),
            ImportFormat::Dnsmasq => Kind::Dnsmasq(dnsmasq::open(path, 0, unix_seconds())?),
        };
        Ok(Source {
            path: path.into(),
            kind,
        })
    }

    /// The file as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Octets to read in all, or 0 if that is not known.
    pub fn octets(&self) -> u64 {
        match &self.kind {
            Kind::Kea(leases) => leases.octets(),
            Kind::Isc(leases) => leases.octets(),
            Kind::Dnsmasq(leases) => leases.octets(),
            Kind::Ndjson { octets, .. } => *octets,
        }
    }

    /// Octets read so far.
    pub fn octets_done(&self) -> u64 {
        match &self.kind {
            Kind::Kea(leases) => leases.octets_done(),
            Kind::Isc(leases) => leases.octets_done(),
            Kind::Dnsmasq(leases) => leases.octets(),
            Kind::Ndjson { events, .. } => events.octets_done(),
        }
    }

    /// Says so if no row told a relay, for then most queries find nothing.
    pub fn tell_missing_relay_data(&self) {
        let remark = match &self.kind {
            Kind::Kea(leases) if leases.octets() > 0 && leases.with_relay_data() == 0 => {
                "no row tells a relay agent, so queries by relay-id or remote-id will find none of its leases; Kea notes relay \
                 agents only if \"store-extended-info\" is true, which is not the default"
            }
            Kind::Isc(leases) => match leases.relay_data().remark() {
                Some(remark) => remark,
                None => return,
            },
            Kind::Dnsmasq(leases) if leases.of_v4() > 0 && leases.with_relay_data() == 0 => {
                dnsmasq::NO_RELAY_DATA
            }
            Kind::Kea(_) | Kind::Dnsmasq(_) | Kind::Ndjson { .. } => return,
        };
        eprintln!("{}: {remark}", self.path.display());
    }
}

impl Iterator for Source {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.kind {
            Kind::Kea(leases) => leases.next(),
            Kind::Isc(leases) => leases.next(),
            Kind::Dnsmasq(leases) => leases.next(),
            Kind::Ndjson { events, .. } => events.next(),
        }
    }
}

fn guess(path: &Path) -> anyhow::Result<ImportFormat> {
    let mut head = Vec::new();
    // In the moment of its replacement a live file is missing, but the files of the clean-up are there.
    if let Some(opened) = kea::lease_files(path)
        .with_context(|| format!("cannot open {}", path.display()))?
        .first_mut()
    {
        opened
            .file
            .by_ref()
            .take(HEAD)
            .read_to_end(&mut head)
            .with_context(|| format!("cannot read {}", path.display()))?;
    }
    let line = head
        .split(|octet| *octet == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match kea::family_of_header(line) {
        Some(Family::V4) => Ok(ImportFormat::Kea4),
        Some(Family::V6) => Ok(ImportFormat::Kea6),
        None if isc::is_lease_file(&head) => Ok(ImportFormat::Isc),
        None if dnsmasq::is_lease_file(&head) => Ok(ImportFormat::Dnsmasq),
        None if head.trim_ascii_start().starts_with(b"{") || head.is_empty() => Ok(ImportFormat::Ndjson),
        None => Err(Usage(format!(
            "{}: the first lines tell no known format; expected a lease file of Kea, ISC dhcpd or dnsmasq, or a JSON object a line (or give --format)",
            path.display()
        ))
        .into()),
    }
}

fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    })
}
