//! The manual's reference of the configuration names every key there is and no other, and what a reload changes.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;

use super::{Config, Overrides, feed, sections};

const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

/// The headings of the reference with the keys of their sections, as they are read from a file.
fn sections() -> BTreeMap<&'static str, BTreeSet<String>> {
    BTreeMap::from([
        ("[store]", keys::<sections::Store>()),
        ("[engine]", keys::<sections::Engine>()),
        ("[limits]", keys::<sections::Limits>()),
        ("[dhcp4]", without(keys::<sections::Dhcp4>(), "subnet")),
        ("[[dhcp4.subnet]]", keys::<sections::Subnet4>()),
        ("[dhcp6]", without(keys::<sections::Dhcp6>(), "link")),
        ("[[dhcp6.link]]", keys::<sections::Link6>()),
        ("[active]", keys::<sections::Active>()),
        ("[tls]", keys::<sections::Tls>()),
        ("[[requestor]]", keys::<sections::Requestor>()),
        ("[admin]", keys::<sections::Admin>()),
        ("[control]", keys::<sections::Control>()),
        ("[[feed]]", keys::<feed::Section>()),
    ])
}

/// What serde says is expected in place of a key that nobody has.
fn keys<T: DeserializeOwned>() -> BTreeSet<String> {
    expected(toml::from_str::<T>("no-such-key = 0").err())
}

fn expected(error: Option<toml::de::Error>) -> BTreeSet<String> {
    let error = error.expect("an unknown name is refused");
    let names = error.message().split('`').skip(1).step_by(2);
    names.skip(1).map(str::to_owned).collect()
}

fn without(mut keys: BTreeSet<String>, section: &str) -> BTreeSet<String> {
    assert!(keys.remove(section), "{section}");
    keys
}

/// The rows below each heading in brackets: first and last column of tables whose first column has this title.
fn documented(title: &str) -> BTreeMap<&'static str, BTreeMap<String, String>> {
    let mut found: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    let (mut heading, mut is_in_table) = ("", false);
    for line in REFERENCE.lines() {
        if let Some(text) = line.strip_prefix('#') {
            heading = text.trim_start_matches('#').trim();
        }
        let columns: Vec<&str> = line
            .split('|')
            .map(str::trim)
            .filter(|column| !column.is_empty())
            .collect();
        let [first, .., last] = columns[..] else {
            is_in_table = false;
            continue;
        };
        if first == title {
            is_in_table = true;
        } else if is_in_table && first.starts_with('`') {
            for name in first.split(", ") {
                let name = name.trim_matches(['`', '"']);
                let rows = found.entry(heading).or_default();
                assert_eq!(
                    rows.insert(name.to_owned(), last.to_owned()),
                    None,
                    "{name} is explained twice in {heading}"
                );
            }
        }
    }
    found
}

#[test]
fn every_key_is_explained_and_no_other() {
    let explained: BTreeMap<&str, BTreeSet<String>> = documented("key")
        .into_iter()
        .map(|(heading, rows)| (heading, rows.into_keys().collect()))
        .collect();
    assert_eq!(explained, sections());
    let top: BTreeSet<String> = sections()
        .keys()
        .map(|heading| heading.trim_matches(['[', ']']))
        .filter(|name| !name.contains('.'))
        .map(str::to_owned)
        .collect();
    assert_eq!(keys::<sections::File>(), top);
}

#[test]
fn every_kind_of_feed_is_explained_and_no_other() {
    let kinds = expected(toml::from_str::<feed::Section>("kind = \"no-such-kind\"").err());
    let explained: BTreeSet<String> = documented("kind")["[[feed]]"].keys().cloned().collect();
    assert_eq!(explained, kinds);
}

#[test]
fn what_needs_a_restart_is_said() {
    let mut said = BTreeSet::new();
    for (heading, rows) in documented("key") {
        let section = heading.trim_matches(['[', ']']);
        for (key, after_reload) in rows {
            if after_reload == "restart" {
                said.insert(match section.contains('.') {
                    true => section.to_owned(),
                    false => format!("{section}.{key}"),
                });
            }
        }
    }
    let config = Config::embedded(Overrides::default());
    let fixed: BTreeSet<String> = config
        .fixed()
        .into_iter()
        .map(|(key, _)| key.to_owned())
        .collect();
    assert_eq!(said, fixed);
}
