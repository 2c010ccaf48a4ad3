//! The configuration of the manual is good, and what is wrong with others is told with its place.

use std::path::Path;
use std::time::Duration;

use leaseq_feed::Settings as FeedSettings;
use leaseq_session::{OnLimit, QueryKind};
use leaseq_store::Vpn;

use super::*;

fn good(text: &str) -> Config {
    good_with(text, Overrides::default())
}

fn good_with(text: &str, overrides: Overrides) -> Config {
    Config::parse(Path::new("leaseq.toml"), text, overrides)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// `serve --active-insecure`.
const ACTIVE_INSECURE: Overrides = Overrides {
    active_insecure: true,
};

fn told(text: &str) -> String {
    match Config::parse(Path::new("leaseq.toml"), text, Overrides::default()) {
        Ok(_) => panic!("expected this to be refused: {text}"),
        Err(error) => error.to_string(),
    }
}

const FULL: &str = r#"
[store]
dir = "/srv/leases"
sync = "never"
group-interval = "2ms"
segment-size = "16MiB"
history = "12h"
expiry-grace = "10s"
[engine]
cores = [2, 3]
[limits]
max-connections = 20000
on-limit = "replace-oldest"
queries-per-second = 5
udp-queries-per-second = 6
shutdown-timeout = "7s"
max-connections-per-requestor = 8
max-queries-per-connection = 9
max-empty-replies = 10
data-timeout = "30s"
[dhcp4]
listen-tcp = ["192.0.2.1:67", "127.0.0.1:6767"]
listen-udp = ["192.0.2.1:67"]
reply-to = "source"
server-identifier = "192.0.2.9"
withhold-options = [12, 82]
[[dhcp4.subnet]]
prefix = "198.51.100.0/24"
pools = ["198.51.100.10-198.51.100.20", "198.51.100.30-198.51.100.40"]
[[dhcp4.subnet]]
prefix = "203.0.113.0/24"
vpn = "red"
[dhcp6]
listen-tcp = ["[::1]:547"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
withhold-options = [23]
relayed-queries = false
[[dhcp6.link]]
name = "pop-7"
prefixes = ["2001:db8:7::/48"]
delegated = ["2001:db8:7000::/36"]
[active]
enabled = true
mode = "insecure"
relay-scope = true
send-timeout = "119s"
idle-timeout = "59s"
[tls]
allowed-names = ["*.bng.example.net", "192.0.2.7"]
bulk = "optional"
handshake-timeout = "11s"
max-handshakes = 12
[[requestor]]
network = "10.0.0.0/8"
queries = ["ip", "relay-id"]
vpns = ["", "00005e:00000001"]
relay-ids = ["0x0102", "text:bng"]
links = ["pop-7"]
[[requestor]]
network = "2001:db8::/32"
[admin]
listen = "off"
[[feed]]
kind = "ndjson"
listen = "unix:/run/leaseq/feed.sock"
"#;

#[test]
fn every_key_has_its_effect() {
    let config = good(FULL);
    assert_eq!(config.data_dir, Path::new("/srv/leases"));
    assert_eq!(
        (config.store.sync, config.store.segment_size),
        (SyncMode::Never, 16 << 20)
    );
    assert_eq!(config.store.history, Duration::from_secs(12 * 3_600));
    assert_eq!(config.engine.cores, Some(vec![2, 3]));
    assert_eq!(config.engine.shutdown_timeout, Duration::from_secs(7));
    let limits = &config.settings.limits;
    assert_eq!(
        (limits.max_connections, limits.on_limit),
        (20_000, OnLimit::ReplaceOldest)
    );
    assert_eq!(
        (limits.queries_per_second, limits.udp_queries_per_second),
        (5, 6)
    );
    assert_eq!(
        (
            limits.max_connections_per_requestor,
            limits.max_queries_per_connection
        ),
        (8, 9)
    );
    assert_eq!(
        (limits.max_empty_replies, limits.data_timeout),
        (10, Duration::from_secs(30))
    );
    let dhcp4 = &config.settings.dhcp4;
    assert_eq!(
        (dhcp4.reply_to, dhcp4.server_identifier.octets()),
        (ReplyTo::Source, [192, 0, 2, 9])
    );
    assert!(dhcp4.withhold_options.contains(82) && !dhcp4.withhold_options.contains(61));
    assert_eq!(config.settings.dhcp6.withhold_options, [23]);
    assert!(!config.settings.dhcp6.relayed_queries);
    let expected = ActiveSettings {
        enabled: true,
        insecure: true,
        relay_scope: true,
        send_timeout: Duration::from_secs(119),
        idle_timeout: Duration::from_secs(59),
    };
    assert_eq!(config.settings.active, expected);
    assert_eq!(config.listeners.dhcp4_tcp.len(), 2);
    let ranges: Vec<_> = config
        .topology
        .ranges4
        .iter()
        .map(|range| (range.vpn.clone(), range.first.to_string()))
        .collect();
    let expected = [
        (Vpn::GLOBAL, "198.51.100.10"),
        (Vpn::GLOBAL, "198.51.100.30"),
        (Vpn::named("red"), "203.0.113.1"),
    ];
    assert_eq!(ranges, expected.map(|(vpn, first)| (vpn, first.to_owned())));
    assert_eq!(config.topology.links6[0].delegated[0].len, 36);
    let rule = &config.settings.requestors[0];
    assert!(rule.queries.contains(QueryKind::RelayId) && !rule.queries.contains(QueryKind::All));
    assert_eq!(rule.vpns, [vec![], vec![1, 0, 0, 0x5e, 0, 0, 0, 1]]);
    assert_eq!(rule.relay_ids, [vec![1, 2], b"bng".to_vec()]);
    assert_eq!(rule.links[0].prefixes.len(), 1);
    assert!(
        config.settings.requestors[1]
            .queries
            .contains(QueryKind::All)
    );
    assert_eq!((config.admin, config.feeds.len()), (None, 1));
    assert_eq!(config.warnings, Vec::<String>::new());
}

#[test]
fn an_empty_file_listens_on_the_ports_of_the_protocols_and_serves_nobody() {
    let config = good("[dhcp6]\nserver-duid = \"000300010200\"\n");
    assert_eq!(config.listeners.dhcp4_tcp, ["0.0.0.0:67".parse().unwrap()]);
    assert_eq!(config.listeners.dhcp6_tcp, ["[::]:547".parse().unwrap()]);
    assert!(config.listeners.dhcp4_udp.is_empty() && config.listeners.dhcp6_udp.is_empty());
    assert_eq!(config.settings.limits.max_connections, 10);
    assert!(config.settings.dhcp6.relayed_queries);
    assert_eq!(
        config.warnings,
        [
            "no [[requestor]] is configured: nobody is served",
            "dhcp4.server-identifier is not configured: requestors are told 127.0.0.1",
        ]
    );
}

#[test]
fn the_address_that_is_listened_on_identifies_the_server() {
    let config = good("[dhcp4]\nlisten-tcp = [\"0.0.0.0:67\"]\nlisten-udp = [\"192.0.2.7:67\"]\n");
    assert_eq!(
        config.settings.dhcp4.server_identifier.octets(),
        [192, 0, 2, 7]
    );
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let texts = [
        "x",
        "[store",
        "max-conections = 1",
        "[limts]",
        "[limits]\n# a comment\nmax-conections = 1",
        "[limits]\nfrobnicate = 1",
        "[limits]\nmax-connections = -1",
        "[limits]\nmax-connections = \"ten\"",
        "[limits]\ndata-timeout = 300",
        "[limits]\ndata-timeout = \"300\"",
        "[limits]\ndata-timeout = \"10ms\"",
        "[limits]\nmax-queries-per-connection = 0",
        "[limits]\non-limit = \"drop\"",
        "[store]\nsegment-size = \"64\"",
        "[store]\nsegment-size = \"1000000B\"",
        "[store]\nsync = \"always\"",
        "[engine]\ncores = \"all\"",
        "[dhcp4]\nlisten-tcp = [\"0.0.0.0\"]",
        "[dhcp4]\nwithhold-options = [256]",
        "[[dhcp4.subnet]]\npools = []",
        "[[dhcp4.subnet]]\nprefix = \"198.51.100.1/24\"",
        "[[dhcp4.subnet]]\nprefix = \"198.51.100.0/24\"\npools = [\"198.51.101.1-198.51.101.2\"]",
        "[[dhcp4.subnet]]\nprefix = \"198.51.100.0/24\"\npools = [\"198.51.100.1-198.51.100.9\",\n\"198.51.100.5-198.51.100.12\"]",
        "[dhcp6]\nserver-duid = \"00\"",
        "[dhcp6]\nserver-duid = \"0g\"",
        "[[dhcp6.link]]\nname = \"a\"\n[[dhcp6.link]]\nname = \"a\"",
        "[[requestor]]\nnetwork = \"10.0.0.0/33\"",
        "[[requestor]]\nnetwork = \"10.0.0.0/8\"\nqueries = [\"mac\"]",
        "[[requestor]]\nnetwork = \"10.0.0.0/8\"\nlinks = [\"pop-9\"]",
        "[active]\nenabled = true",
        "[active]\nenabled = true\nmode = \"secure\"",
        "[active]\nidle-timeout = \"soon\"",
        "[active]\nidle-timeout = \"10ms\"",
        "[active]\nsend-timeout = \"0s\"",
        "[active]\nmode = \"open\"",
        "[tls]\ncertificate = \"server.pem\"",
        "[tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient-ca = \"ca.pem\"",
        "[tls]\nbulk = \"required\"",
        "[tls]\nallowed-names = [\"pe1.example.net\",\n\"pe*.example.net\"]",
        "[tls]\nhandshake-timeout = \"10\"",
        "[tls]\nhandshake-timeout = \"10ms\"",
        "[tls]\nmax-handshakes = 0",
        "[[feed]]\nkind = \"kea-ha\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"unix:/run/leaseq/kea.sock\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\ncontrol4 = \"/run/kea/kea4-ctrl-socket\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\npull-interval = \"10ms\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nuser = \"kea\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\npassword-file = \"password\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nuser = \"kea\"\npassword-file = \"/nowhere/password\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nuser = \"a:b\"\npassword-file = \"/proc/self/comm\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nuser = \"kea\"\npassword-file = \"/dev/null\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\ncertificate = \"leaseq.pem\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nkey = \"leaseq.key\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nca = \"ca.pem\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\ncertificate = \"/nowhere/leaseq.pem\"\nkey = \"leaseq.key\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\ncontrol4 = \"https://127.0.0.1:8000/\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\ncontrol4 = \"https://127.0.0.1:8000/\"\nca = \"/nowhere/ca.pem\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\ncontrol4 = \"unix:/kea4.sock\"\ncontrol-user = \"leaseq\"",
        "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nserver-name = \"kea.example.net\"",
        "[[feed]]\nkind = \"ndjson\"\nlisten = \"127.0.0.1:1\"\ncontrol6 = \"unix:/run/kea/kea6-ctrl-socket\"",
        "[[feed]]\nkind = \"kea\"",
        "[[feed]]\nkind = \"isc-dhcpd\"",
        "[[feed]]\nkind = \"dnsmasq\"\npath = \"x\"\nfamily = 4",
        "[[feed]]\nkind = \"ndjson\"",
        "[[feed]]\nkind = \"ndjson\"\nlisten = \"feed.sock\"",
        "[[feed]]\nkind = \"ndjson\"\nlisten = \"127.0.0.1:1\"\npath = \"x\"",
        "[admin]\nlisten = \"localhost\"",
    ];
    let all: Vec<String> = texts
        .iter()
        .map(|text| format!("{text}\n  => {}", told(text)))
        .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn a_backup_of_kea_is_told_where_to_ask_for_all_leases() {
    let of = |text: &str| {
        let config = good(&format!("[[feed]]\nkind = \"kea-ha\"\n{text}"));
        match config.feeds.as_slice() {
            [FeedSettings::KeaHa(settings)] => settings.clone(),
            other => panic!("expected one feed of Kea, found {other:?}"),
        }
    };
    let least = of("listen = \"127.0.0.1:8068\"");
    assert_eq!(least.name, "kea-ha:127.0.0.1:8068");
    assert_eq!((&least.control4, &least.control6), (&None, &None));
    assert_eq!((&least.credentials, &least.tls), (&None, &None));
    assert_eq!(least.pull_interval, Duration::from_secs(3_600));
    let full = of(
        "name = \"pop-7\"\nlisten = \"[::1]:8068\"\ncontrol4 = \"unix:/run/kea/kea4-ctrl-socket\"\n\
         control6 = \"http://127.0.0.1:8000/\"\npull-interval = \"10m\"\nprobe-interval = \"2s\"",
    );
    let told = |control: Option<leaseq_feed::kea_ha::ControlAddress>| control.unwrap().to_string();
    assert_eq!((full.name.as_str(), full.listen.port()), ("pop-7", 8068));
    assert_eq!(told(full.control4), "unix:/run/kea/kea4-ctrl-socket");
    assert_eq!(told(full.control6), "http://127.0.0.1:8000/");
    assert_eq!(full.pull_interval, Duration::from_secs(600));
    assert_eq!(full.probe_interval, Duration::from_secs(2));
}

#[test]
fn a_backup_of_kea_is_another_once_a_password_or_a_certificate_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leaseq.toml");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let certify = || {
        let signed = rcgen::generate_simple_self_signed(vec!["leaseq.example.net".into()]).unwrap();
        write("leaseq.pem", &signed.cert.pem());
        write("leaseq.key", &signed.signing_key.serialize_pem());
    };
    let read = || {
        let text = "[[feed]]\nkind = \"kea-ha\"\nlisten = \"127.0.0.1:8068\"\nuser = \"kea\"\n\
                    password-file = \"one\"\ncontrol4 = \"http://127.0.0.1:8000/\"\ncontrol-user = \"leaseq\"\n\
                    control-password-file = \"two\"\ncertificate = \"leaseq.pem\"\nkey = \"leaseq.key\"";
        Config::parse(&file, text, Overrides::default()).unwrap()
    };
    write("one", "first secret\n");
    write("two", "second secret\n");
    certify();
    let mut last = read();
    assert_eq!(last.certificates.len(), 1);
    assert_eq!(read().feeds, last.feeds);
    let changes: [&dyn Fn(); 3] = [
        &|| write("one", "third secret"),
        &|| write("two", "fourth secret"),
        &certify,
    ];
    for change in changes {
        change();
        let changed = read();
        assert_ne!(changed.feeds, last.feeds);
        last = changed;
    }
    let told = format!("{:?}", last.feeds);
    assert!(
        told.contains("\"kea\"") && !told.contains("secret"),
        "{told}"
    );
}

#[test]
fn lease_files_of_feeds_lie_beside_the_configuration() {
    let file = Path::new("/etc/leaseq/leaseq.toml");
    for kind in ["isc-dhcpd", "dnsmasq"] {
        for path in ["leases", "/etc/leaseq/leases"] {
            let text = format!("[[feed]]\nkind = \"{kind}\"\npath = \"{path}\"");
            let config = Config::parse(file, &text, Overrides::default()).unwrap();
            let found = match &config.feeds[0] {
                FeedSettings::IscDhcpd(settings) => &settings.path,
                FeedSettings::Dnsmasq(settings) => &settings.path,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, Path::new("/etc/leaseq/leases"));
            let name = format!("{kind}:/etc/leaseq/leases");
            assert_eq!(config.feeds[0].name(), name);
        }
    }
}

#[test]
fn active_leasequery_is_off_and_its_insecure_mode_is_asked_for_separately() {
    let of = |text: &str, overrides| {
        let config = good_with(text, overrides);
        let ActiveSettings {
            enabled, insecure, ..
        } = config.settings.active;
        (enabled, insecure)
    };
    assert_eq!(of("", Overrides::default()), (false, false));
    let insecure = "[active]\nenabled = true\nmode = \"insecure\"";
    assert_eq!(of(insecure, Overrides::default()), (true, true));
    // The command line counts more than the mode, and switches on what the file does not switch off.
    assert_eq!(of("", ACTIVE_INSECURE), (true, true));
    assert_eq!(
        of(
            "[active]\nenabled = true\nmode = \"secure\"",
            ACTIVE_INSECURE
        ),
        (true, true)
    );
    let off = "[active]\nenabled = false";
    assert_eq!(of(off, ACTIVE_INSECURE), (false, true));
    assert!(
        good_with(off, ACTIVE_INSECURE)
            .warnings
            .iter()
            .any(|warning| warning.contains("--active-insecure"))
    );
    let embedded = |overrides| Config::embedded(overrides).settings.active.clone();
    assert_eq!(embedded(Overrides::default()), ActiveSettings::default());
    assert!(embedded(ACTIVE_INSECURE).enabled && embedded(ACTIVE_INSECURE).insecure);
}

#[test]
fn a_reload_names_what_cannot_change() {
    let config = good(FULL);
    let changed = FULL
        .replace("16MiB", "32MiB")
        .replace("[2, 3]", "\"auto\"")
        .replace("max-connections = 20000", "max-connections = 5");
    assert_eq!(
        good(&changed).fixed_differences(&config),
        ["store.segment-size", "engine.cores"]
    );
    assert_eq!(good(FULL).fixed_differences(&config), Vec::<&str>::new());
}

#[test]
fn the_embedded_default_is_on_loopback_and_serves_loopback() {
    let config = Config::embedded(Overrides::default());
    let Listeners {
        dhcp4_tcp,
        dhcp4_udp,
        dhcp6_tcp,
        dhcp6_udp,
    } = &config.listeners;
    let told: Vec<String> = [dhcp4_tcp, dhcp4_udp, dhcp6_tcp, dhcp6_udp]
        .iter()
        .map(|found| format!("{found:?}"))
        .collect();
    assert_eq!(
        told,
        [
            "[127.0.0.1:6767]",
            "[127.0.0.1:6767]",
            "[[::1]:5547]",
            "[[::1]:5547]"
        ]
    );
    assert_eq!(config.admin, Some("127.0.0.1:8067".parse().unwrap()));
    assert_eq!(config.data_dir, Path::new("leaseq-data"));
    for (address, is_served) in [
        ("127.0.0.9", true),
        ("::1", true),
        ("192.0.2.1", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(
            config.settings.rule_for(address.parse().unwrap()).is_some(),
            is_served,
            "{address}"
        );
    }
}

#[test]
fn a_feed_of_a_lease_file_has_a_family_and_a_path_meant_from_the_files_directory() {
    let text = "[[feed]]\nkind = \"kea-memfile\"\nfamily = 4\npath = \"kea/leases4.csv\"\n\
         [[feed]]\nkind = \"kea-memfile\"\nname = \"pop-7\"\nfamily = 6\npath = \"/var/lib/kea/leases6.csv\"";
    let file = Path::new("/etc/leaseq/leaseq.toml");
    let config = Config::parse(file, text, Overrides::default()).unwrap();
    let told: Vec<_> = config
        .feeds
        .iter()
        .map(|feed| match feed {
            leaseq_feed::Settings::KeaMemfile(feed) => (
                &*feed.name,
                feed.family.number(),
                feed.path.to_str().unwrap(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "kea-memfile:/etc/leaseq/kea/leases4.csv",
                4,
                "/etc/leaseq/kea/leases4.csv"
            ),
            ("pop-7", 6, "/var/lib/kea/leases6.csv"),
        ]
    );
}

#[test]
fn what_a_feed_of_a_lease_file_lacks_is_told() {
    let refused = |keys: &str| told(&format!("[[feed]]\nkind = \"kea-memfile\"\n{keys}"));
    let expected = [
        ("family = 4", "a feed of kind \"kea-memfile\" needs `path`"),
        (
            "path = \"a\"",
            "a feed of kind \"kea-memfile\" needs `family`",
        ),
        (
            "family = 5\npath = \"a\"",
            "family: expected 4 or 6, found 5",
        ),
        (
            "family = 4\npath = \"a\"\nserver = \"192.0.2.1:67\"",
            "`server` is not a key of a feed of kind \"kea-memfile\"",
        ),
    ];
    for (keys, reason) in expected {
        let found = refused(keys);
        assert!(found.contains(reason), "{keys}: {found}");
    }
}
