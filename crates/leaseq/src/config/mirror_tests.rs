//! A feed that mirrors another server: what each key has it do, and what is wrong with others.

use std::path::Path;
use std::time::Duration;

use leaseq_feed::Settings as FeedSettings;
use leaseq_feed::mirror::{Family, Settings, TlsFiles};

use super::*;

fn parse(keys: &str) -> Result<Config, ConfigError> {
    let text = format!("[[feed]]\nkind = \"leasequery\"\n{keys}");
    let file = Path::new("/etc/leaseq/leaseq.toml");
    Config::parse(file, &text, Overrides::default())
}

fn mirror(keys: &str) -> Settings {
    let config = parse(keys).unwrap_or_else(|error| panic!("{error}"));
    match config.feeds.as_slice() {
        [FeedSettings::Leasequery(settings)] => settings.clone(),
        other => panic!("expected one mirror, found {other:?}"),
    }
}

#[test]
fn without_more_than_a_server_it_is_asked_as_the_rfcs_say() {
    let expected = Settings {
        name: "leasequery:192.0.2.1".into(),
        family: Family::V4,
        server: "192.0.2.1".into(),
        tls: None,
        interval: Duration::from_secs(900),
        retry: Duration::from_secs(60),
        data_timeout: Duration::from_secs(300),
        receive_timeout: Duration::from_secs(120),
        links: Vec::new(),
        relay_ids: Vec::new(),
    };
    assert_eq!(mirror("family = 4\nserver = \"192.0.2.1\""), expected);
}

#[test]
fn every_key_of_a_mirror_has_its_effect() {
    let found = mirror(
        "name = \"pop-7\"\nfamily = 6\nserver = \"[2001:db8::1]:5547\"\ninterval = \"5m\"\nretry = \"90s\"\n\
         ca = \"tls/ca.pem\"\ncertificate = \"tls/mirror.pem\"\nkey = \"/run/keys/mirror.key\"\n\
         server-name = \"dhcp1.example.net\"\nlinks = [\"2001:db8:7::1\", \"2001:db8:8::1\"]\n\
         relay-ids = [\"0x000300010200005e1007\", \"text:bng\"]",
    );
    let expected = Settings {
        name: "pop-7".into(),
        family: Family::V6,
        server: "[2001:db8::1]:5547".into(),
        tls: Some(TlsFiles {
            ca: "/etc/leaseq/tls/ca.pem".into(),
            certificate: "/etc/leaseq/tls/mirror.pem".into(),
            key: "/run/keys/mirror.key".into(),
            server_name: "dhcp1.example.net".into(),
        }),
        interval: Duration::from_secs(300),
        retry: Duration::from_secs(90),
        data_timeout: Duration::from_secs(300),
        receive_timeout: Duration::from_secs(120),
        links: ["2001:db8:7::1", "2001:db8:8::1"]
            .map(|link| link.parse().unwrap())
            .into(),
        relay_ids: vec![vec![0, 3, 0, 1, 2, 0, 0, 0x5e, 0x10, 7], b"bng".to_vec()],
    };
    assert_eq!(found, expected);
}

#[test]
fn a_server_has_an_address_or_a_name_which_its_certificate_has_too() {
    for (server, name) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:6767", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:5547", "2001:db8::1"),
        ("dhcp1", "dhcp1"),
        ("dhcp1.example.net", "dhcp1.example.net"),
        ("dhcp1.example.net:6767", "dhcp1.example.net"),
    ] {
        let found = mirror(&format!(
            "family = 4\nserver = \"{server}\"\nca = \"a\"\ncertificate = \"b\"\nkey = \"c\""
        ));
        assert_eq!(found.server, server);
        assert_eq!(found.name, format!("leasequery:{server}"));
        assert_eq!(found.tls.unwrap().server_name, name);
    }
}

#[test]
fn what_is_wrong_with_a_mirror_is_told() {
    const SERVER: &str = "family = 4\nserver = \"192.0.2.1\"\n";
    const SERVER6: &str = "family = 6\nserver = \"2001:db8::1\"\n";
    let texts = [
        "".to_owned(),
        "server = \"192.0.2.1\"".to_owned(),
        "family = 4".to_owned(),
        "family = 5\nserver = \"192.0.2.1\"".to_owned(),
        "family = 4\nserver = 67".to_owned(),
        "family = 4\nserver = \"\"".to_owned(),
        "family = 4\nserver = \"192.0.2.1:\"".to_owned(),
        "family = 4\nserver = \"192.0.2.1:x\"".to_owned(),
        "family = 4\nserver = \"192.0.2.1:70000\"".to_owned(),
        "family = 4\nserver = \"192.0.2.256:67\"".to_owned(),
        "family = 6\nserver = \"[2001:db8::1\"".to_owned(),
        "family = 4\nserver = \"dhcp1 example\"".to_owned(),
        format!("{SERVER}interval = \"10ms\""),
        format!("{SERVER}interval = \"soon\""),
        format!("{SERVER}retry = \"0s\""),
        format!("{SERVER}retry = 60"),
        format!("{SERVER}ca = \"ca.pem\""),
        format!("{SERVER}certificate = \"mirror.pem\"\nkey = \"mirror.key\""),
        format!("{SERVER}server-name = \"dhcp1.example.net\""),
        format!("{SERVER}ca = \"a\"\ncertificate = \"b\"\nkey = \"c\"\nserver-name = \"dhcp1:67\""),
        format!("{SERVER}links = [\"2001:db8:7::1\"]"),
        format!("{SERVER6}links = [\"192.0.2.1\"]"),
        format!("{SERVER6}links = [\"2001:db8:7::/48\"]"),
        format!("{SERVER6}links = \"2001:db8:7::1\""),
        format!("{SERVER6}relay-ids = [\"0g\"]"),
        format!("{SERVER}path = \"x\""),
        format!("{SERVER}listen = \"127.0.0.1:67\""),
        format!("{SERVER}port = 67"),
    ];
    let all: Vec<String> = texts
        .iter()
        .map(|keys| match parse(keys) {
            Ok(_) => panic!("expected this to be refused: {keys}"),
            Err(error) => format!("{keys}\n  => {error}"),
        })
        .collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn two_mirrors_of_one_server_have_names_of_their_own() {
    let one = "family = 4\nserver = \"192.0.2.1\"\n";
    let error = parse(&format!("{one}[[feed]]\nkind = \"leasequery\"\n{one}")).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("expected a name of its own for each feed"),
        "{told}"
    );
}
