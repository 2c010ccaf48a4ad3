//! The real server on TLS against another implementation, OpenSSL, with certificates made by the manual's own commands.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::{Server, leaseq, run, stderr, text};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use serde_json::{Value, json};

const FAMILIES: [u8; 2] = [4, 6];

/// A directory with an authority, a server and a relay, and a store with a few leases.
struct Place {
    dir: tempfile::TempDir,
}

/// The commands of the manual for certificates: the first three make them, the last one renews the server's.
fn commands() -> Vec<String> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let manual = fs::read_to_string(manual).expect("the manual");
    let commands: Vec<String> = manual
        .split("```sh\n")
        .skip(1)
        .filter_map(|block| block.split("```").next())
        .filter(|block| block.starts_with("openssl "))
        .map(str::to_owned)
        .collect();
    assert_eq!(commands.len(), 4, "the manual's commands");
    commands
}

fn shell(dir: &Path, commands: &str) {
    let output = Command::new("sh")
        .args(["-e", "-c", commands])
        .current_dir(dir)
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{commands}: {}", stderr(&output));
}

impl Place {
    fn new() -> Place {
        let place = Place::certificates("Leasequery CA");
        let lines: String = (1..=5)
            .map(|n| {
                format!(
                    "{{\"family\":4,\"address\":\"100.64.0.{n}\",\"state\":\"active\",\"client_id\":\"01{n:02x}\",\"valid_lifetime\":3600}}\n\
                     {{\"family\":6,\"address\":\"2001:db8:7::{n}\",\"duid\":\"00030001{n:02x}\",\"iaid\":1,\"link\":\"2001:db8:7::1\",\
                     \"state\":\"active\",\"valid_lifetime\":3600}}\n"
                )
            })
            .collect();
        let file = place.file("leases.ndjson");
        fs::write(&file, lines).expect("written");
        let store = place.file("store");
        run(&["import", "--data-dir", text(&store), text(&file)], 0);
        place
    }

    /// Without leases, and with an authority of this name.
    fn certificates(authority: &str) -> Place {
        let place = Place {
            dir: tempfile::tempdir().expect("a directory"),
        };
        for command in &commands()[..3] {
            let command = command.replace("CN=Leasequery CA", &format!("CN={authority}"));
            shell(place.dir.path(), &command);
        }
        place
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, active: &str, tls: &str) -> PathBuf {
        let file = self.file("leaseq.toml");
        let config = format!(
            r#"
[store]
dir = "{0}/store"
sync = "never"
segment-size = "1MiB"
[limits]
max-connections = 50
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[dhcp6.link]]
name = "pop-7"
prefixes = ["2001:db8:7::/48"]
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[active]
enabled = true
{active}
[tls]
certificate = "server.pem"
key = "server.key"
client-ca = "ca.pem"
{tls}
"#,
            self.dir.path().display()
        );
        fs::write(&file, config).expect("written");
        file
    }

    fn serve(&self, active: &str, tls: &str) -> Server {
        Server::start(&self.config(active, tls))
    }

    /// A relay that trusts the authority and shows the certificate of this name in this directory.
    fn relay(&self, server: &Server, family: u8, certificate: &Path) -> Value {
        let address: SocketAddr = server.address(&format!("dhcp{family}-tcp"));
        json!({
            "family": family,
            "host": address.ip().to_string(),
            "port": address.port(),
            "name": "dhcp1.example.net",
            "ca": self.file("ca.pem"),
            "certificate": certificate,
            "key": certificate.with_extension("key"),
            "version": "1.3",
            "queries": ["bulk"],
        })
    }

    /// A certificate of the authority for this name, valid until the end of this year.
    fn sign(&self, name: &str, until: i32) -> PathBuf {
        let key = fs::read_to_string(self.file("ca.key")).expect("the authority's key");
        let mut authority = CertificateParams::new(vec![]).expect("no names");
        let subject = &mut authority.distinguished_name;
        *subject = rcgen::DistinguishedName::new();
        subject.push(DnType::OrganizationName, "Example ISP");
        subject.push(DnType::CommonName, "Leasequery CA");
        let issuer = Issuer::new(authority, KeyPair::from_pem(&key).expect("a key"));
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        let file = self.file(&format!("{name}-{until}.pem"));
        fs::write(&file, certificate.pem()).expect("written");
        fs::write(file.with_extension("key"), key.serialize_pem()).expect("written");
        file
    }
}

/// The other implementation, as it runs.
struct Client {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Client {
    fn start(case: &Value) -> Client {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls_client.py");
        let mut child = Command::new("python3")
            .arg("-Wignore")
            .arg(script)
            .arg(case.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Client { child, lines }
    }

    fn next(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("a line");
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    fn go_on(&mut self) {
        let input = self.child.stdin.as_mut().expect("a pipe");
        input.write_all(b"\n").expect("written");
    }

    /// Everything that happens until its end.
    fn all(case: &Value) -> Vec<Value> {
        let mut client = Client::start(case);
        let told: Vec<Value> = std::iter::from_fn(|| client.next()).collect();
        let status = client.child.wait().expect("a child");
        assert!(status.success(), "{case}");
        told
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to DHCPTLS or STARTTLS: type and status.
fn accepted(family: u8) -> Value {
    json!({ "answer": [if family == 4 { 18 } else { 7 }, null] })
}

fn with(case: &Value, key: &str, value: Value) -> Value {
    let mut case = case.clone();
    case[key] = value;
    case
}

/// What a bulk query over five leases is answered with.
fn bulk(family: u8) -> Value {
    let (first, other, done) = if family == 4 {
        (13, 13, 15)
    } else {
        (15, 17, 16)
    };
    let mut told = vec![json!([first, null])];
    told.extend((0..4).map(|_| json!([other, null])));
    told.push(json!([done, null]));
    json!({ "told": told })
}

#[test]
fn another_implementation_is_served_in_both_families_and_versions() {
    let place = Place::new();
    let server = place.serve("", "allowed-names = [\"*.bng.example.net\"]");
    for family in FAMILIES {
        for (version, cipher) in [
            ("1.2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
            ("1.3", "TLS_AES_256_GCM_SHA384"),
        ] {
            let case = place.relay(&server, family, &place.file("relay.pem"));
            let case = with(&case, "version", version.into());
            let case = with(&case, "queries", json!(["bulk", "bulk"]));
            let told = Client::all(&case);
            assert_eq!(told[0], accepted(family));
            assert_eq!(
                (&told[1]["version"], &told[1]["cipher"]),
                (&json!(format!("TLSv{version}")), &json!(cipher))
            );
            assert_eq!(told[2..], [bulk(family), bulk(family)]);
        }
    }
    // A stream that catches up: five leases, then CatchUpComplete. A DHCPv6 one begins with a LEASEQUERY-REPLY.
    for (family, messages, caught_up) in [(4, 6, json!([17, 7])), (6, 7, json!([17, 13]))] {
        let case = place.relay(&server, family, &place.file("relay.pem"));
        let told = Client::all(&with(&case, "queries", json!(["active"])));
        let told = told[2]["told"].as_array().expect("messages");
        assert_eq!((told.len(), told.last()), (messages, Some(&caught_up)));
    }
}

#[test]
fn our_own_requestor_is_served() {
    let place = Place::new();
    let server = place.serve("", "");
    let files = ["ca.pem", "relay.pem", "relay.key"].map(|name| place.file(name));
    for family in FAMILIES {
        let address = server.ready(&format!("dhcp{family}-tcp")).to_owned();
        let version = format!("v{family}");
        let tls = [
            "--tls",
            "--tls-ca",
            text(&files[0]),
            "--tls-cert",
            text(&files[1]),
            "--tls-key",
            text(&files[2]),
            "--tls-name",
            "dhcp1.example.net",
            "--format",
            "ndjson",
        ];
        let selector = match family {
            4 => &["--all"][..],
            _ => &["--link", "2001:db8:7::1"],
        };
        let query = [&["query", &address, &version], selector, &tls].concat();
        assert_eq!(run(&query, 0).lines().count(), 5, "{query:?}");
        let since = ["--since", "-1h", "--until-caught-up"];
        let watch = [&["watch", &address, &version], &since[..], &tls].concat();
        assert_eq!(run(&watch, 0).lines().count(), 5, "{watch:?}");
    }
}

#[test]
fn a_long_answer_is_the_same_on_tls() {
    let place = Place::certificates("Leasequery CA");
    let config = place.config("", "");
    let config = text(&config);
    let server = Server::start_with(&["serve", "--config", config, "--sample", "30000"]);
    let case = place.relay(&server, 4, &place.file("relay.pem"));
    let plain = Client::all(&with(&case, "version", Value::Null));
    let told = plain[0]["told"].as_array().expect("messages");
    assert!(told.len() > 15_000, "{}", told.len());
    for version in ["1.2", "1.3"] {
        let secured = Client::all(&with(&case, "version", version.into()));
        assert!(secured[2] == plain[0], "TLS {version}");
    }
}

#[test]
fn handshakes_that_have_to_wait_are_completed_one_after_another() {
    let place = Place::new();
    let server = place.serve("", "max-handshakes = 1\nhandshake-timeout = \"1s\"");
    let case = place.relay(&server, 4, &place.file("relay.pem"));
    // One that does not go on: it keeps the others waiting for its time, and no longer.
    let mut stuck = TcpStream::connect(server.address("dhcp4-tcp")).expect("connected");
    stuck.write_all(&dhcptls()).expect("written");
    stuck.write_all(&[22, 3, 1]).expect("written");
    let clients: Vec<_> = (0..8).map(|_| Client::start(&case)).collect();
    for mut client in clients {
        let told: Vec<Value> = std::iter::from_fn(|| client.next()).collect();
        assert_eq!((told.len(), &told[2]), (3, &bulk(4)), "{told:?}");
    }
}

/// The frame of a DHCPTLS.
fn dhcptls() -> Vec<u8> {
    let mut message = vec![0; 236];
    message[0] = 1;
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 18, 255]);
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

#[test]
fn only_acceptable_certificates_are_accepted() {
    let place = Place::new();
    let other = Place::certificates("Other CA");
    let impostor = Place::certificates("Leasequery CA");
    let server = place.serve(
        "",
        "allowed-names = [\"pe1.bng.example.net\", \"192.0.2.7\"]",
    );
    let cases = [
        (other.file("relay.pem"), "UNKNOWN_CA"),
        (impostor.file("relay.pem"), "DECRYPT_ERROR"),
        (
            place.sign("pe1.bng.example.net", 2025),
            "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        ),
        (
            place.sign("pe2.bng.example.net", 2050),
            "TLSV1_ALERT_ACCESS_DENIED",
        ),
    ];
    for (family, version) in [(4, "1.2"), (6, "1.3")] {
        for (certificate, alert) in &cases {
            let case = place.relay(&server, family, certificate);
            let told = Client::all(&with(&case, "version", version.into()));
            assert_eq!(told[0], accepted(family));
            let refused = told.last().and_then(|last| last["tls"].as_str());
            assert!(
                refused.is_some_and(|found| found.ends_with(alert)),
                "{}: expected {alert}, found {told:?}",
                certificate.display()
            );
        }
        let case = place.relay(&server, family, &place.file("relay.pem"));
        let case = with(&case, "version", version.into());
        let told = Client::all(&with(&case, "certificate", Value::Null));
        let refused = told.last().and_then(|last| last["tls"].as_str());
        assert_eq!(
            refused,
            Some("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "{told:?}"
        );
        // An address among the names will do as well.
        let case = place.relay(&server, family, &place.sign("192.0.2.7", 2050));
        assert_eq!(Client::all(&case)[2], bulk(family));
    }
    let line = server.wait_for_log("tls-name-refused");
    assert!(line.contains("pe2.bng.example.net"), "{line}");
}

#[test]
fn weak_versions_and_suites_are_refused() {
    let place = Place::new();
    let server = place.serve("", "");
    for (version, ciphers) in [
        ("1.1", "ALL:@SECLEVEL=0"),
        ("1.2", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"),
        ("1.2", "ECDHE-ECDSA-AES256-SHA:AES128-SHA:@SECLEVEL=0"),
        ("1.2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ] {
        let case = place.relay(&server, 4, &place.file("relay.pem"));
        let case = with(&case, "version", version.into());
        let told = Client::all(&with(&case, "ciphers", ciphers.into()));
        assert_eq!((told.len(), &told[0]), (2, &accepted(4)), "{ciphers}");
        let refused = told[1]["tls"].as_str().unwrap_or_default();
        assert!(refused.contains("ALERT"), "{ciphers}: {told:?}");
    }
}

#[test]
fn modes_decide_what_is_answered_without_tls() {
    let place = Place::new();
    let secure = place.serve("", "");
    let plain = |server: &Server, family, query: &str| {
        let case = place.relay(server, family, &place.file("relay.pem"));
        let case = with(&case, "version", Value::Null);
        Client::all(&with(&case, "queries", json!([query])))
    };
    for family in FAMILIES {
        assert_eq!(plain(&secure, family, "active"), [json!({"closed": true})]);
        assert_eq!(plain(&secure, family, "bulk"), [bulk(family)]);
    }
    drop(secure);
    let required = place.serve("", "bulk = \"required\"");
    for family in FAMILIES {
        assert_eq!(plain(&required, family, "bulk"), [json!({"closed": true})]);
        let case = place.relay(&required, family, &place.file("relay.pem"));
        assert_eq!(Client::all(&case)[2], bulk(family));
    }
    drop(required);
    let insecure = place.serve("mode = \"insecure\"", "");
    for family in FAMILIES {
        let case = place.relay(&insecure, family, &place.file("relay.pem"));
        let refused = if family == 4 { [18, 8] } else { [7, 15] };
        assert_eq!(
            Client::all(&case),
            [json!({ "answer": refused }), bulk(family)]
        );
    }
    for family in FAMILIES {
        assert!(plain(&insecure, family, "active")[0]["told"].is_array());
    }
}

#[test]
fn certificates_are_renewed_without_an_end_to_running_connections() {
    let place = Place::new();
    let server = place.serve("", "");
    let case = place.relay(&server, 6, &place.file("relay.pem"));
    let mut running = Client::start(&with(&case, "queries", json!(["bulk", "wait", "bulk"])));
    assert_eq!(running.next(), Some(accepted(6)));
    let old = running.next().expect("TLS")["serial"].clone();
    assert_eq!(running.next(), Some(bulk(6)));
    assert_eq!(running.next(), Some(json!({"waiting": true})));

    shell(place.dir.path(), &commands()[3]);
    server.signal(Signal::HUP);
    server.wait_for_log("reload-done");
    let renewed = Client::all(&case);
    assert_ne!(renewed[1]["serial"], old);
    assert_eq!(renewed[2], bulk(6));

    // A bad file changes nothing, and says so.
    fs::write(place.file("server.key"), "rubbish").expect("written");
    server.signal(Signal::HUP);
    let line = server.wait_for_log("reload-refused");
    assert!(
        line.contains("server.key: expected a private key"),
        "{line}"
    );
    let after = Client::all(&case);
    assert_eq!(
        (&after[1]["serial"], &after[2]),
        (&renewed[1]["serial"], &bulk(6))
    );

    running.go_on();
    assert_eq!(
        running.next(),
        Some(bulk(6)),
        "it runs on with what it began with"
    );
}

#[test]
fn a_certificate_that_is_about_to_end_is_told_and_one_that_is_over_refused() {
    let place = Place::new();
    let shorter = commands()[3].replace("-days 397", "-days 12");
    shell(place.dir.path(), &shorter);
    let config = place.config("", "");
    let output = leaseq(&["check-config", text(&config)]).output();
    let output = output.expect("the binary");
    assert_eq!(output.status.code(), Some(0));
    let told = stderr(&output);
    assert!(
        told.starts_with("warning: ")
            && told.contains("server.pem: the certificate of CN=dhcp1.example.net ends at "),
        "{told}"
    );
    let server = Server::start(&config);
    let line = server.wait_for_log("tls-certificate-expiring");
    assert!(line.contains("server.pem"), "{line}");
    drop(server);

    let old = place.sign("dhcp1.example.net", 2025);
    fs::copy(&old, place.file("server.pem")).expect("copied");
    fs::copy(old.with_extension("key"), place.file("server.key")).expect("copied");
    for command in [
        vec!["check-config", text(&config)],
        vec!["serve", "--config", text(&config)],
    ] {
        let output = leaseq(&command).output().expect("the binary");
        assert_eq!(output.status.code(), Some(2));
        let told = stderr(&output);
        assert!(
            told.contains("leaseq.toml:") && told.contains(" ended at 2025-12-31"),
            "{told}"
        );
    }
}
