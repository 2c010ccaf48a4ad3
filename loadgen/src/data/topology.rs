//! What leaseq's configuration has to say so that it knows the bindings that are made up.

use std::net::Ipv4Addr;

use leaseq_requestor::Family;
use toml::{Table, Value};

use super::{Source, made_up};

/// Sections of leaseq's configuration: a `[[dhcp4.subnet]]` whose pool is exactly the rows, or, if queries by link are to be
/// asked, a `[[dhcp6.link]]` for each relay. Empty for an export: its server has a configuration.
#[must_use]
pub fn configuration(family: Family, source: &Source, by_link: bool) -> Table {
    let &Source::MadeUp {
        relays,
        bindings_per_relay,
        ..
    } = source
    else {
        return Table::new();
    };
    let (section, list, entries) = match family {
        Family::V4 => {
            let rows = relays.saturating_mul(bindings_per_relay).max(1);
            let last = Ipv4Addr::from((10_u32 << 24).saturating_add(rows - 1));
            let pool = Value::from(format!("10.0.0.0-{last}"));
            let subnet = table([
                ("prefix", Value::from("10.0.0.0/8")),
                ("pools", Value::Array(vec![pool])),
            ]);
            ("dhcp4", "subnet", vec![Value::Table(subnet)])
        }
        Family::V6 if by_link => {
            let links = (0..relays).map(|relay| {
                let mut prefix = made_up::link(relay).segments();
                prefix[7] = 0;
                let prefix = std::net::Ipv6Addr::from(prefix);
                Value::Table(table([
                    ("name", Value::from(format!("relay-{relay}"))),
                    (
                        "prefixes",
                        Value::Array(vec![format!("{prefix}/64").into()]),
                    ),
                ]))
            });
            ("dhcp6", "link", links.collect())
        }
        Family::V6 => return Table::new(),
    };
    table([(
        section,
        Value::Table(table([(list, Value::Array(entries))])),
    )])
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    let entries = entries.into_iter();
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
