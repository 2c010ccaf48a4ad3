//! A mirror over TLS, in both families: bulk and active. What is wrong with a certificate is told, and what was put right is
//! noticed without a restart.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::changes::{Changes, marker};
use crate::common::{leaseq, run, stderr, text};
use crate::node::Node;
use crate::replica::settle_and_compare;

const STORE: &str = "sync = \"never\"\nsegment-size = \"1MiB\"\nexpiry-grace = \"1s\"";
/// Looks at what a test waits for, and the time between them.
const TRIES: u32 = 6_000;
const PAUSE: Duration = Duration::from_millis(10);

/// Signs certificates; everything is in files of its directory.
struct Authority {
    dir: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let authority = Authority {
            dir: tempfile::tempdir().unwrap(),
        };
        authority.shell(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem \
             -days 30 -subj '/O=Example ISP/CN={name}' -addext 'keyUsage=critical,keyCertSign,cRLSign'"
        ));
        authority
    }

    fn shell(&self, command: &str) {
        let output = Command::new("sh")
            .args(["-e", "-c", command])
            .current_dir(self.dir.path())
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{command}: {}", stderr(&output));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate for this name, and its key, in the files `NAME.pem` and `NAME.key`.
    fn sign(&self, name: &str, usage: &str) -> [PathBuf; 2] {
        self.shell(&format!(
            "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr \
             -subj '/CN={name}'\n\
             printf '%s\\n' 'subjectAltName=DNS:{name}' 'extendedKeyUsage={usage}' > {name}.ext\n\
             openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 7 -extfile {name}.ext \
             -out {name}.pem"
        ));
        ["pem", "key"].map(|kind| self.file(&format!("{name}.{kind}")))
    }
}

/// Puts files in the place of others, each at once, as an operator should.
fn put(dir: &Path, files: &[(&str, &Path)]) {
    for (name, file) in files {
        fs::copy(file, dir.join("new")).unwrap();
        fs::rename(dir.join("new"), dir.join(name)).unwrap();
    }
}

/// What a server says of its feeds.
fn feeds(node: &Node) -> Vec<Value> {
    let mut stream = TcpStream::connect(node.server().address("admin")).unwrap();
    let request = b"GET /api/status HTTP/1.1\r\nHost: leaseq\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let status: Value = serde_json::from_str(body).unwrap();
    status["feeds"].as_array().unwrap().clone()
}

/// Waits until each feed waits for a server because of one of these.
fn wait_for_trouble(node: &Node, causes: &[&str]) {
    let is_in_trouble = |feed: &Value| {
        let trouble = feed["last_trouble"]["text"].as_str().unwrap_or_default();
        feed["phase"] == "waiting" && causes.iter().any(|cause| trouble.contains(cause))
    };
    for _ in 0..TRIES {
        if feeds(node).iter().all(is_in_trouble) {
            return;
        }
        std::thread::park_timeout(PAUSE);
    }
    panic!("never came: {causes:?}; {:?}", feeds(node));
}

/// The active streams of a server: family, and whether on TLS.
fn streams(node: &Node) -> Vec<(u64, bool)> {
    let store = node.store();
    let told = run(
        &[
            "ctl",
            "streams",
            "--format",
            "json",
            "--data-dir",
            text(&store),
        ],
        0,
    );
    let mut streams: Vec<_> = told
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|stream| stream["connection"].clone())
        .map(|stream| (stream["family"].as_u64().unwrap(), stream["tls"] == true))
        .collect();
    streams.sort_unstable();
    streams
}

/// Waits until the mirror follows in both families, on TLS.
fn wait_for_streams(origin: &Node) {
    for _ in 0..TRIES {
        if streams(origin) == [(4, true), (6, true)] {
            return;
        }
        std::thread::park_timeout(PAUSE);
    }
    panic!("never came: {:?}", streams(origin));
}

#[test]
fn a_mirror_over_tls_says_what_is_wrong_and_recovers_when_it_is_put_right() {
    let (isp, other) = (
        Authority::new("Leasequery CA"),
        Authority::new("Another CA"),
    );
    let server = isp.sign("dhcp1.example.net", "serverAuth");
    let mirror_s = isp.sign("mirror.example.net", "clientAuth");
    let stranger = other.sign("mirror.example.net", "clientAuth");
    let ours = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    let put_theirs = |[certificate, key]: &[PathBuf; 2]| {
        put(
            theirs.path(),
            &[("server.pem", certificate), ("server.key", key)],
        );
    };
    let put_ours = |[certificate, key]: &[PathBuf; 2]| {
        put(
            ours.path(),
            &[("mirror.pem", certificate), ("mirror.key", key)],
        );
    };
    put_theirs(&server);
    put(theirs.path(), &[("ca.pem", &isp.file("ca.pem"))]);
    let mut changes = Changes::new(5);
    let mut origin = Node::secure_origin(STORE, theirs.path());
    origin.feed(&changes.some(200));

    // We trust another authority than the server's.
    put_ours(&stranger);
    put(ours.path(), &[("ca.pem", &other.file("ca.pem"))]);
    let mirror = Node::secure_mirror(STORE, &origin, ours.path(), "dhcp1.example.net");
    mirror.server().wait_for_log("feed-failed");
    wait_for_trouble(&mirror, &["UnknownIssuer"]);

    // We trust the right one, and it does not know us.
    put(ours.path(), &[("ca.pem", &isp.file("ca.pem"))]);
    wait_for_trouble(&mirror, &["received fatal alert", "reset by peer"]);
    put_ours(&mirror_s);
    origin.feed(&marker(0));
    mirror.wait_for_client(0);
    wait_for_streams(&origin);

    // The server comes back with another name, and is given the right one again.
    put_theirs(&isp.sign("dhcp2.example.net", "serverAuth"));
    origin.kill();
    origin.start_again();
    origin.feed(&changes.some(50));
    mirror.server().wait_for_log("mirror-down");
    wait_for_trouble(&mirror, &["not valid for name"]);
    put_theirs(&server);
    origin.server().signal(Signal::HUP);
    origin.feed(&marker(1));
    mirror.wait_for_client(1);

    // Our renewal goes wrong: with a key that is another certificate's, those of before are used.
    put(ours.path(), &[("mirror.key", &stranger[1])]);
    origin.kill();
    origin.start_again();
    mirror.server().wait_for_log("mirror-tls");
    origin.feed(&marker(2));
    mirror.wait_for_client(2);

    // Then a certificate that is not accepted.
    put_ours(&stranger);
    origin.kill();
    origin.start_again();
    wait_for_trouble(&mirror, &["received fatal alert", "reset by peer"]);
    put_ours(&isp.sign("replica.example.net", "clientAuth"));
    origin.feed(&changes.some(50));
    origin.feed(&marker(3));
    mirror.wait_for_client(3);
    wait_for_streams(&origin);
    settle_and_compare(origin, mirror);
}

#[test]
fn a_server_that_demands_tls_is_not_mirrored_without() {
    let isp = Authority::new("Leasequery CA");
    let [certificate, key] = isp.sign("dhcp1.example.net", "serverAuth");
    let theirs = tempfile::tempdir().unwrap();
    put(
        theirs.path(),
        &[
            ("server.pem", &certificate),
            ("server.key", &key),
            ("ca.pem", &isp.file("ca.pem")),
        ],
    );
    let origin = Node::secure_origin(STORE, theirs.path());
    let mirror = Node::mirror(STORE, origin.v4, origin.v6);
    for _ in 0..2 {
        mirror.server().wait_for_log("feed-failed");
    }
    let told: Vec<String> = feeds(&mirror)
        .iter()
        .map(|feed| feed["last_trouble"]["text"].to_string())
        .collect();
    assert!(
        told[0].contains("the connection was closed with 1 queries unanswered"),
        "{told:?}"
    );
    assert!(
        told[1].contains("neither everything nor changes"),
        "{told:?}"
    );
    let store = mirror.store();
    let exported = leaseq(&["store", "export", "--data-dir", text(&store)]);
    assert_eq!({ exported }.output().unwrap().stdout, b"");
}
