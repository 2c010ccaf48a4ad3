//! User and password, and TLS: of Kea's HA hook to the feed, and of the feed to Kea's control agent.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::client::Clients4;
use crate::common::{export, stderr, stdout, text};
use crate::kea::{Agent, Kea, installed};
use crate::place::{Authority, Place};
use crate::stream::Stream;

#[test]
fn kea_has_to_tell_the_password_and_a_reload_takes_over_another() {
    if !installed() {
        return;
    }
    let place = Place::new();
    let listen = Place::free_address();
    place.write("password", "an old one\n");
    place.configure(&format!(
        "listen = \"{listen}\"\nuser = \"kea\"\npassword-file = \"password\"\n"
    ));
    let server = place.serve();
    let mut stream = Stream::start(server.ready("dhcp4-tcp"), "v4");
    let backup = json!({
        "url": format!("http://{listen}/"), "basic-auth-user": "kea", "basic-auth-password": "pass: word",
    });
    let kea = Kea::start_with(4, place.path(), backup, json!({}));
    let mut clients = Clients4::new(&kea);
    let refused = clients.get(1);
    let told = server.wait_for_log("kea-ha-unauthorized");
    assert!(told.contains("found others"), "{told}");
    assert!(
        !told.contains("an old one") && !told.contains("pass: "),
        "{told}"
    );
    place.write("password", "pass: word\n");
    server.signal(Signal::HUP);
    server.wait_for_log("reload-done");
    let taken = clients.get(2);
    assert_eq!(stream.wait_for(&taken.to_string())["ended"], false);
    stream.end();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log:?}");
    let stored: BTreeSet<String> = export(&place.file("store"))
        .iter()
        .map(|lease| lease["address"].as_str().unwrap().to_owned())
        .collect();
    assert!(stored.contains(&taken.to_string()), "{stored:?}");
    assert!(!stored.contains(&refused.to_string()), "{stored:?}");
}

/// The certificate that whoever listens there shows to one with a certificate of Kea's; none if it is not shown any.
fn shown(place: &Place, address: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", address, "-CAfile"])
        .arg(place.file("ca.pem"))
        .arg("-cert")
        .arg(place.file("kea.pem"))
        .arg("-key")
        .arg(place.file("kea.key"))
        .args(["-verify_return_error", "-showcerts"])
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let (told, errors) = (stdout(&output), stderr(&output));
    let certificate = told
        .find("-----BEGIN CERTIFICATE-----")
        .zip(told.find("-----END CERTIFICATE-----"));
    let (begins, ends) = certificate.unwrap_or_else(|| panic!("{told}{errors}"));
    told[begins..ends].replace('\n', "")
}

fn in_file(place: &Place, name: &str) -> String {
    let pem = fs::read_to_string(place.file(name)).unwrap();
    let ends = pem.find("-----END CERTIFICATE-----").unwrap();
    pem[..ends].replace(['\n', '\r'], "")
}

#[test]
fn everything_goes_over_tls_and_a_reload_takes_over_a_renewed_certificate() {
    if !installed() {
        return;
    }
    let place = Place::new();
    let authority = Authority::new(&place, "Kea CA");
    authority.sign(&place, "leaseq");
    authority.sign(&place, "kea");
    let file = |name: &str| text(&place.file(name)).to_owned();
    let listen = Place::free_address();
    let backup = json!({
        "url": format!("https://{listen}/"), "basic-auth-user": "kea", "basic-auth-password": "one",
        "trust-anchor": file("ca.pem"), "cert-file": file("kea.pem"), "key-file": file("kea.key"),
    });
    let kea = Kea::start_with(4, place.path(), backup, json!({}));
    let agent = Agent::start(
        4,
        place.path(),
        json!({
            "trust-anchor": file("ca.pem"), "cert-file": file("kea.pem"), "key-file": file("kea.key"),
            "cert-required": true,
            "authentication": {
                "type": "basic", "realm": "kea-control-agent", "clients": [{"user": "leaseq", "password": "two"}],
            },
        }),
    );
    place.write("kea-password", "one");
    place.write("agent-password", "two");
    place.configure(&format!(
        r#"
listen = "{listen}"
user = "kea"
password-file = "kea-password"
certificate = "leaseq.pem"
key = "leaseq.key"
ca = "ca.pem"
control4 = "https://127.0.0.1:{}/"
control-user = "leaseq"
control-password-file = "agent-password"
server-name = "kea.example.net"
"#,
        agent.port
    ));
    let mut clients = Clients4::new(&kea);
    // Before leaseq is there: only the control agent can tell of it.
    let before = clients.get(1).to_string();
    let server = place.serve();
    let pulled = server.wait_for_log("kea-ha-pulled");
    assert!(pulled.contains("\"leases\":1"), "{pulled}");
    let mut stream = Stream::start(server.ready("dhcp4-tcp"), "v4");
    let pushed = clients.get(2).to_string();
    stream.wait_for(&pushed);

    // Who shows no certificate, or does not speak TLS, is refused; Kea is served on.
    let anybody = Command::new("openssl")
        .args(["s_client", "-connect", &listen])
        .stdin(Stdio::null())
        .output();
    anybody.expect("openssl");
    let told = server.wait_for_log("kea-ha-tls-failed");
    assert!(told.contains("peer sent no certificates"), "{told}");
    let mut plain = TcpStream::connect(&listen).unwrap();
    plain.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    server.wait_for_log("kea-ha-tls-failed");
    let pushed = clients.get(3).to_string();
    stream.wait_for(&pushed);

    assert_eq!(shown(&place, &listen), in_file(&place, "leaseq.pem"));
    authority.sign(&place, "leaseq");
    assert_ne!(shown(&place, &listen), in_file(&place, "leaseq.pem"));
    server.signal(Signal::HUP);
    server.wait_for_log("reload-done");
    assert_eq!(shown(&place, &listen), in_file(&place, "leaseq.pem"));
    // A reload with a file that cannot be used changes nothing.
    place.write("ca.pem", "none");
    server.signal(Signal::HUP);
    let told = server.wait_for_log("reload-refused");
    assert!(
        told.contains("`ca`: ") && told.contains("expected a certificate in PEM"),
        "{told}"
    );
    let last = clients.get(4).to_string();
    stream.wait_for(&last);
    stream.end();
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());
    let stored = export(&place.file("store"));
    assert_eq!(stored.len(), 4, "{stored:?}");
    assert!(stored.iter().any(|lease| lease["address"] == *before));
}

#[test]
fn a_control_agent_is_asked_over_http_and_says_who_may_ask() {
    if !installed() {
        return;
    }
    let place = Place::new();
    let listen = Place::free_address();
    let kea = Kea::start(4, place.path(), &format!("http://{listen}/"));
    let authentication = json!({
        "type": "basic", "realm": "kea-control-agent", "clients": [{"user": "leaseq", "password": "two"}],
    });
    let agent = Agent::start(4, place.path(), json!({"authentication": authentication}));
    let address = Clients4::new(&kea).get(1).to_string();
    place.write("password", "one\n");
    place.configure(&format!(
        r#"
listen = "{listen}"
control4 = "http://127.0.0.1:{}/"
control-user = "leaseq"
control-password-file = "password"
"#,
        agent.port
    ));
    let server = place.serve();
    let told = server.wait_for_log("kea-ha-control-failed");
    assert!(
        told.contains("does not take our user and password"),
        "{told}"
    );
    place.write("password", "two\n");
    server.signal(Signal::HUP);
    server.wait_for_log("kea-ha-pulled");
    server.signal(Signal::TERM);
    assert!(server.wait().0.success());
    let stored = export(&place.file("store"));
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0]["address"], address);
}
