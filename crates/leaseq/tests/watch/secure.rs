//! Secure mode: `leaseq watch` and `leaseq query` on TLS.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use crate::common::{Server, leaseq, run, stderr, stdout, text};
use crate::leases::{active4, active6};

/// PEM files of an authority and of what it has certified: `ca.pem`, `server.pem`, `relay.pem` and their keys.
fn certify(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    for (name, purpose) in [
        ("server", ExtendedKeyUsagePurpose::ServerAuth),
        ("relay", ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![format!("{name}.example.net")]).unwrap();
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &authority).unwrap();
        fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[test]
fn query_and_watch_ask_a_server_in_secure_mode_on_tls() {
    let dir = tempfile::tempdir().unwrap();
    certify(dir.path());
    let leases = dir.path().join("leases.ndjson");
    let lines = format!("{}\n{}\n", active4(1, 3600), active6(2, 3600));
    fs::write(&leases, lines).unwrap();
    let store = dir.path().join("store");
    run(&["import", "--data-dir", text(&store), text(&leases)], 0);
    let config = dir.path().join("leaseq.toml");
    let told = format!(
        r#"
[store]
dir = "{0}/store"
[engine]
cores = [0]
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[dhcp6.link]]
name = "pop-7"
prefixes = ["2001:db8:7::/48"]
[active]
enabled = true
[tls]
certificate = "server.pem"
key = "server.key"
client-ca = "ca.pem"
bulk = "required"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
"#,
        dir.path().display()
    );
    fs::write(&config, told).unwrap();
    let server = Server::start(&config);
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("relay.pem"), file("relay.key"));
    let secure = [
        "--tls",
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
    ];
    let ask = |words: &[&str], name: &str| {
        let output = leaseq(&[words, &secure, &["--tls-name", name]].concat())
            .output()
            .unwrap();
        (output.status.code(), stdout(&output), stderr(&output))
    };
    let (v4, v6) = (server.ready("dhcp4-tcp"), server.ready("dhcp6-tcp"));
    let past = ["--since", "1", "--until-caught-up", "--format", "table"];
    for (words, lease) in [
        (&["query", v4, "v4", "--relay-id", "09"][..], "198.51.100.1"),
        (&["query", v6, "v6", "--relay-id", "09"], "2001:db8:7::2"),
        (&[&["watch", v4, "v4"], &past[..]].concat(), "198.51.100.1"),
        (&[&["watch", v6, "v6"], &past[..]].concat(), "2001:db8:7::2"),
    ] {
        let (status, told, log) = ask(words, "server.example.net");
        assert_eq!(status, Some(0), "{words:?}: {log}");
        assert!(told.contains(lease), "{words:?}: {told}");
        // Not the server that was meant.
        let (status, told, log) = ask(words, "other.example.net");
        assert_eq!((status, told.as_str()), (Some(1), ""), "{words:?}");
        assert!(
            log.contains("the TLS handshake failed: invalid peer certificate"),
            "{log}"
        );
    }
    // Without TLS the server closes the connection.
    let output = leaseq(&[&["watch", v4, "v4"], &past[..]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("the connection was lost"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn files_of_secure_mode_are_looked_at_first() {
    let dir = tempfile::tempdir().unwrap();
    let (missing, empty): (PathBuf, PathBuf) =
        (dir.path().join("missing"), dir.path().join("empty"));
    fs::write(&empty, "").unwrap();
    for command in [
        &["watch", "127.0.0.1:9", "v4"][..],
        &["query", "127.0.0.1:9", "v4", "--all"],
    ] {
        for (ca, status, told) in [
            (
                &missing,
                1,
                format!(
                    "leaseq: {}: cannot be read: No such file",
                    missing.display()
                ),
            ),
            (
                &empty,
                2,
                "leaseq: expected certificates of authorities in PEM: no certificate found".into(),
            ),
        ] {
            let tls = [
                "--tls",
                "--tls-ca",
                text(ca),
                "--tls-cert",
                text(&empty),
                "--tls-key",
                text(&empty),
            ];
            let output = leaseq(&[command, &tls].concat()).output().unwrap();
            assert_eq!(output.status.code(), Some(status));
            assert!(stderr(&output).starts_with(&told), "{}", stderr(&output));
        }
    }
}
