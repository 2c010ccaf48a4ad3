//! The kinds of feeds of lease files, and files as their servers write them.

use std::ops::Range;
use std::path::Path;

use leaseq_feed::kea::Family;
use leaseq_feed::{ReadError, Settings, dnsmasq, isc, kea};
use leaseq_store::{Event, State};

use crate::fixture::{Fixture, now};

const KEA_HEADER: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n";
const LIFETIME: u64 = 600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Kea,
    Isc,
    Dnsmasq,
}

pub const KINDS: [Kind; 3] = [Kind::Kea, Kind::Isc, Kind::Dnsmasq];

/// The address of the lease of this number.
pub fn address(number: u32) -> [u8; 4] {
    (0x0a00_0000 + number).to_be_bytes()
}

/// Whether the leases of these numbers are in use.
pub fn lives(fixture: &Fixture, mut numbers: Range<u32>) -> bool {
    numbers.all(|number| {
        let lease = fixture.lease4(address(number));
        lease.is_some_and(|lease| lease.state == State::Active)
    })
}

/// Runs it for each kind, all beside each other: most of the time is spent waiting.
pub fn each(run: impl Fn(Kind) + Sync) {
    std::thread::scope(|scope| {
        for kind in KINDS {
            let run = &run;
            scope.spawn(move || run(kind));
        }
    });
}

impl Kind {
    pub fn settings(self, path: &Path) -> Settings {
        self.named("leases", path)
    }

    pub fn named(self, name: &str, path: &Path) -> Settings {
        let (name, path) = (name.to_owned(), path.to_owned());
        match self {
            Kind::Kea => Settings::KeaMemfile(kea::Settings {
                name,
                family: Family::V4,
                path,
            }),
            Kind::Isc => Settings::IscDhcpd(isc::Settings { name, path }),
            Kind::Dnsmasq => Settings::Dnsmasq(dnsmasq::Settings { name, path }),
        }
    }

    /// A file with the leases of these numbers.
    pub fn file(self, leases: Range<u32>) -> String {
        let begin = match self {
            Kind::Kea => KEA_HEADER,
            Kind::Isc => "authoring-byte-order little-endian;\n",
            Kind::Dnsmasq => "",
        };
        begin.to_owned() + &self.leases(leases)
    }

    /// The leases of these numbers, as they stand in a file.
    pub fn leases(self, leases: Range<u32>) -> String {
        let start = now();
        let end = start + LIFETIME;
        let lease = |number: u32| {
            let [a, b, c, d] = address(number);
            let hwaddr = format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
            let address = format!("{a}.{b}.{c}.{d}");
            match self {
                Kind::Kea => {
                    format!("{address},{hwaddr},,{LIFETIME},{end},1,0,0,,0,,0\n")
                }
                Kind::Isc => format!(
                    "lease {address} {{\n  starts epoch {start};\n  ends epoch {end};\n  cltt epoch {start};\n  \
                     binding state active;\n  hardware ethernet {hwaddr};\n}}\n"
                ),
                Kind::Dnsmasq => format!("{end} {hwaddr} {address} * *\n"),
            }
        };
        leases.map(lease).collect()
    }

    /// What an import of the file hands to the store.
    pub fn import(self, path: &Path) -> Vec<Event> {
        let taken = |item: Result<Event, ReadError>| item.unwrap();
        match self {
            Kind::Kea => kea::open(path, 0).unwrap().map(taken).collect(),
            Kind::Isc => isc::open(path, 0).unwrap().map(taken).collect(),
            Kind::Dnsmasq => {
                let now = u32::try_from(now()).unwrap();
                dnsmasq::open(path, 0, now).unwrap().map(taken).collect()
            }
        }
    }

    /// The server writes further leases, in a file that had those of `before`.
    pub fn write(self, fixture: &Fixture, before: u32, all: u32) {
        match self {
            Kind::Kea | Kind::Isc => fixture.append(&self.leases(before..all)),
            Kind::Dnsmasq => fixture.rewrite(&[&self.file(0..all)]),
        }
    }
}
