//! The configuration of a server of our own: wide enough for the scenario, everything on loopback.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value, toml};

use super::{OwnError, certificates};
use crate::data::{Source, topology};
use crate::scenario::{Behaviour, By, FamilyNumber, Group, Scenario};

/// Connections of a family that there is always room for.
const LEAST_CONNECTIONS: u32 = 1_000;
/// Queries of a connection that there is always room for: leaseq's own default.
const LEAST_QUERIES: u32 = 8;

/// What of it is not in the scenario.
pub(super) struct Place<'a> {
    pub store: &'a Path,
    pub feed: &'a Path,
    /// Ports of 127.0.0.1 and of [::1], of the families that are used.
    pub port4: Option<u16>,
    pub port6: Option<u16>,
    pub sources: &'a BTreeMap<FamilyNumber, Source>,
}

/// The whole configuration; the scenario's own sections are over everything else.
pub(super) fn build(scenario: &Scenario, place: &Place<'_>) -> Result<Table, OwnError> {
    let over = &scenario.server.config;
    if over
        .get("store")
        .is_some_and(|store| store.get("dir").is_some())
    {
        return Err(OwnError::StoreDir);
    }
    let mut config = base(scenario, place);
    let by_link = scenario
        .group
        .iter()
        .any(|group| group.by == Some(By::Link));
    for (family, source) in place.sources {
        let topology = topology::configuration((*family).into(), source, by_link);
        merge(&mut config, &topology);
    }
    if uses_tls(scenario) {
        merge(
            &mut config,
            &toml! {
                [tls]
                certificate = (certificates::SERVER)
                key = (certificates::SERVER_KEY)
                client-ca = (certificates::AUTHORITY)
                // A storm of handshakes takes its time, and none is to be turned away for it.
                handshake-timeout = "60s"
            },
        );
    }
    if let Some(active) = active(scenario)? {
        merge(&mut config, &active);
    }
    merge(&mut config, over);
    Ok(config)
}

/// A group uses TLS: certificates are needed.
pub(super) fn uses_tls(scenario: &Scenario) -> bool {
    scenario.group.iter().any(|group| group.tls)
}

fn base(scenario: &Scenario, place: &Place<'_>) -> Table {
    let queries = scenario.group.iter().filter_map(|group| group.queries);
    let queries = i64::from(queries.fold(LEAST_QUERIES, u32::max));
    let connections = i64::from(connections(scenario));
    let store = place.store.display().to_string();
    let feed = format!("unix:{}", place.feed.display());
    let listen = |address: &str, port: Option<u16>| {
        let sockets = port.iter().map(|port| format!("{address}:{port}").into());
        Value::Array(sockets.collect())
    };
    let (listen4, listen6) = (
        listen("127.0.0.1", place.port4),
        listen("[::1]", place.port6),
    );
    toml! {
        [store]
        dir = store

        [limits]
        max-connections = connections
        max-connections-per-requestor = 0
        max-queries-per-connection = queries
        queries-per-second = 0
        udp-queries-per-second = 0

        [dhcp4]
        listen-tcp = (listen4.clone())
        listen-udp = listen4
        reply-to = "source"
        server-identifier = "127.0.0.1"

        [dhcp6]
        listen-tcp = (listen6.clone())
        listen-udp = listen6
        server-duid = "00:03:00:01:02:6c:67:00:00:01"

        [[requestor]]
        network = "127.0.0.0/8"

        [[requestor]]
        network = "::1"

        [admin]
        listen = "127.0.0.1:0"

        [[feed]]
        kind = "ndjson"
        listen = feed
    }
}

/// Connections of one family, bulk and active together: twice those that the relays have at a time, for those that come while
/// others are about to go.
fn connections(scenario: &Scenario) -> u32 {
    let places = |family| {
        let groups = scenario.group.iter();
        groups
            .filter(|group| group.family == family && group.behaviour != Behaviour::Udp)
            .map(|group| group.at_once.of(group.relays.of(scenario.data.relays)))
            .fold(0, u32::saturating_add)
    };
    places(FamilyNumber::V4)
        .max(places(FamilyNumber::V6))
        .saturating_mul(2)
        .saturating_add(LEAST_CONNECTIONS)
}

/// The section for active leasequery, if a relay follows or a timeout of it is tested.
fn active(scenario: &Scenario) -> Result<Option<Table>, OwnError> {
    let follows = |group: &&Group| {
        matches!(
            group.behaviour,
            Behaviour::Follow | Behaviour::RecoverThenFollow
        )
    };
    let followers = || scenario.group.iter().filter(follows);
    let timeouts = &scenario.timeouts;
    let is_tested = timeouts.active_idle.is_some() || timeouts.active_send.is_some();
    let is_plain = followers().any(|group| !group.tls) || is_tested;
    let is_secure = followers().any(|group| group.tls);
    let mode = match (is_plain, is_secure) {
        (false, false) => return Ok(None),
        (true, false) => "insecure",
        (false, true) => "secure",
        (true, true) => return Err(OwnError::ActiveBothWays),
    };
    // In its insecure mode leaseq refuses TLS for everything.
    if is_plain && uses_tls(scenario) {
        return Err(OwnError::ActiveBothWays);
    }
    Ok(Some(toml! {
        [active]
        enabled = true
        mode = mode
        relay-scope = true
    }))
}

/// Puts one configuration over another: tables key by key, everything else whole.
fn merge(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(text: &str) -> Scenario {
        toml::from_str(text).unwrap()
    }

    fn built(text: &str) -> Result<Table, OwnError> {
        let place = Place {
            store: "/run/x/store".as_ref(),
            feed: "/run/x/feed.sock".as_ref(),
            port4: Some(6_767),
            port6: None,
            sources: &BTreeMap::from([(
                FamilyNumber::V4,
                Source::MadeUp {
                    relays: 10,
                    bindings_per_relay: 300,
                    cltt: 1,
                    valid: 2,
                },
            )]),
        };
        build(&scenario(text), &place)
    }

    fn get<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let found = table.get(first)?;
        match rest {
            "" => Some(found),
            rest => get(found.as_table()?, rest),
        }
    }

    const FOLLOW: &str = "[[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'follow'\n";
    const SECURE: &str = "[[group]]\nname = 'b'\nfamily = 6\nbehaviour = 'recover'\ntls = true\n";

    #[test]
    fn it_is_wide_enough_for_the_scenario() {
        let config = built(
            "data.relays = 8000\n[[group]]\nname = 'a'\nfamily = 4\nbehaviour = 'parallel'\nqueries = 30\nat-once = '50%'\n",
        )
        .unwrap();
        let number = |path| get(&config, path).unwrap().as_integer().unwrap();
        assert_eq!(number("limits.max-connections"), 9_000);
        assert_eq!(number("limits.max-queries-per-connection"), 30);
        assert!(get(&config, "active").is_none() && get(&config, "tls").is_none());
        assert_eq!(
            get(&config, "dhcp4.listen-udp"),
            Some(&Value::from(vec!["127.0.0.1:6767"]))
        );
        assert_eq!(
            get(&config, "dhcp6.listen-tcp"),
            Some(&Value::Array(Vec::new()))
        );
        let subnet = &get(&config, "dhcp4.subnet").unwrap()[0];
        assert_eq!(subnet["pools"][0].as_str(), Some("10.0.0.0-10.0.11.183"));
    }

    #[test]
    fn active_leasequery_is_on_for_those_who_follow() {
        let mode = |text: &str| {
            let config = built(text).unwrap();
            let mode = get(&config, "active.mode").and_then(Value::as_str);
            mode.map(str::to_owned)
        };
        assert_eq!(mode(FOLLOW).as_deref(), Some("insecure"));
        let secure = format!("{FOLLOW}tls = true\n");
        assert_eq!(mode(&secure).as_deref(), Some("secure"));
        assert_eq!(
            mode(&format!("{secure}{SECURE}")).as_deref(),
            Some("secure")
        );
        assert_eq!(mode(SECURE), None);
        assert_eq!(
            mode("[timeouts]\nactive-idle = '2s'\n").as_deref(),
            Some("insecure")
        );
        for both in [format!("{secure}{FOLLOW}"), format!("{FOLLOW}{SECURE}")] {
            assert!(matches!(built(&both), Err(OwnError::ActiveBothWays)));
        }
    }

    #[test]
    fn the_scenario_is_over_everything() {
        let config = built(
            "[server.config.limits]\nmax-connections = 5\n[[server.config.requestor]]\nnetwork = '127.0.0.9'\n[server.config.engine]\ncores = [0]\n",
        )
        .unwrap();
        assert_eq!(
            get(&config, "limits.max-connections"),
            Some(&Value::from(5))
        );
        assert_eq!(
            get(&config, "limits.queries-per-second"),
            Some(&Value::from(0))
        );
        let requestors = get(&config, "requestor").unwrap().as_array().unwrap();
        assert_eq!(requestors.len(), 1);
        assert!(get(&config, "engine.cores").is_some());
        let elsewhere = "[server.config.store]\ndir = '/elsewhere'\n";
        assert!(matches!(built(elsewhere), Err(OwnError::StoreDir)));
    }
}
