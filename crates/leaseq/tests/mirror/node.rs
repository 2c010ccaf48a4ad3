//! A server of the test, with a configuration and a store of its own, that can be killed and comes back at the same address.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaseq_requestor::client::bulk;
use leaseq_requestor::{Event, Query, Query4, Query6, Selector4, Selector6};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Server, run, stat, text};

/// Looks at what a test waits for, and the time between them.
const TRIES: u32 = 60_000;
const PAUSE: Duration = Duration::from_millis(10);

/// What both sides have in common.
const COMMON: &str = r#"
[engine]
cores = [0]
[limits]
max-connections = 50
[[dhcp4.subnet]]
prefix = "198.51.100.0/24"
[[dhcp4.subnet]]
prefix = "198.51.100.0/24"
vpn = "red"
[[dhcp6.link]]
name = "pop-7"
prefixes = ["2001:db8:7::/48"]
delegated = ["2001:db8:7000::/36"]
[active]
relay-scope = true
idle-timeout = "1s"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
"#;

pub struct Node {
    pub dir: tempfile::TempDir,
    server: Option<Server>,
    /// Kept across restarts: where it listened first.
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    /// `[store]` keys and `[[feed]]` sections.
    store: String,
    feeds: String,
    /// Where its certificates are, if it serves nobody without TLS.
    tls: Option<PathBuf>,
}

impl Node {
    /// Starts a server whose leases come over a socket.
    pub fn origin(store: &str) -> Node {
        Node::start(store, None, leases_come_over_a_socket)
    }

    /// The same on TLS alone, with the files `server.pem`, `server.key` and `ca.pem` of a directory.
    pub fn secure_origin(store: &str, tls: &Path) -> Node {
        Node::start(store, Some(tls.to_owned()), leases_come_over_a_socket)
    }

    /// Starts a mirror of what listens at these addresses.
    pub fn mirror(store: &str, v4: SocketAddr, v6: SocketAddr) -> Node {
        Node::start(store, None, |_| mirrors(4, v4) + &mirrors(6, v6))
    }

    /// Starts a mirror of a server on TLS that is to have this name, with the files `mirror.pem`, `mirror.key` and `ca.pem` of
    /// a directory.
    pub fn secure_mirror(store: &str, origin: &Node, tls: &Path, name: &str) -> Node {
        let feed = |family: u8, server: SocketAddr| {
            mirrors(family, server)
                + &format!(
                    "ca = \"{0}/ca.pem\"\ncertificate = \"{0}/mirror.pem\"\nkey = \"{0}/mirror.key\"\nserver-name = \"{name}\"\n",
                    tls.display(),
                )
        };
        Node::start(store, None, |_| feed(4, origin.v4) + &feed(6, origin.v6))
    }

    /// Starts a server with these feeds; with the directory of its certificates, if it serves nobody without TLS.
    pub fn start(store: &str, tls: Option<PathBuf>, feeds: impl FnOnce(&Path) -> String) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Node {
            server: None,
            v4: any,
            v6: any,
            store: store.to_owned(),
            feeds: feeds(dir.path()),
            tls,
            dir,
        };
        node.start_again();
        let server = node.server();
        (node.v4, node.v6) = (server.address("dhcp4-tcp"), server.address("dhcp6-tcp"));
        node
    }

    /// Starts it where it was.
    pub fn start_again(&mut self) {
        let _ = fs::remove_file(self.socket());
        let (common, mode) = match &self.tls {
            None => (COMMON.to_owned(), "--active-insecure"),
            Some(tls) => {
                let secure = format!(
                    "[tls]\ncertificate = \"{0}/server.pem\"\nkey = \"{0}/server.key\"\nclient-ca = \"{0}/ca.pem\"\n\
                     bulk = \"required\"\n[active]\nenabled = true\n",
                    tls.display()
                );
                (COMMON.replace("[active]\n", &secure), "--log-level=info")
            }
        };
        let config = format!(
            "[store]\ndir = \"{}/store\"\n{}\n[dhcp4]\nlisten-tcp = [\"{}\"]\nserver-identifier = \"127.0.0.1\"\n\
             [dhcp6]\nlisten-tcp = [\"{}\"]\nserver-duid = \"00:03:00:01:02:00:5e:00:53:01\"\n{common}{}",
            self.dir.path().display(),
            self.store,
            self.v4,
            self.v6,
            self.feeds,
        );
        let file = self.config();
        fs::write(&file, config).unwrap();
        let arguments = [
            "serve",
            mode,
            "--log-format",
            "json",
            "--config",
            text(&file),
        ];
        self.server = Some(Server::start_with(&arguments));
    }

    /// Has other `[store]` keys from the next start on.
    pub fn set_store(&mut self, store: &str) {
        store.clone_into(&mut self.store);
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a running server")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("leaseq.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// Sends lines to the feed; they are durable afterwards.
    pub fn feed(&self, lines: &[Value]) {
        try_feed(&self.socket(), lines).unwrap();
    }

    /// Where lines are sent to.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("feed.sock")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server.take().expect("a running server").kill();
    }

    /// Ends it as an operator does.
    pub fn stop(&mut self) {
        let server = self.server.take().expect("a running server");
        server.signal(Signal::TERM);
        let (status, log) = server.wait();
        assert!(status.success(), "{log:?}");
    }

    /// Figures of its store; it must not run.
    pub fn stat(&self) -> Value {
        stat(&self.store())
    }

    /// What leasequery tells of its store at this time; it must not run.
    pub fn told(&self, at: u64) -> Vec<String> {
        let config = self.config();
        let store = self.store();
        let at = at.to_string();
        let arguments = [
            "store",
            "export",
            "--as-leasequery",
            "--data-dir",
            text(&store),
            "--config",
            text(&config),
            "--at",
            &at,
        ];
        run(&arguments, 0).lines().map(str::to_owned).collect()
    }

    /// Waits until it tells leases of the client of each family that has this number.
    pub fn wait_for_client(&self, number: u16) {
        let id = number.to_be_bytes();
        let v4 = Query4::new(Selector4::ClientId([&[1, 0xff][..], &id].concat()));
        let v6 = Query6::new(
            Selector6::Duid([&[0, 3, 0xff][..], &id].concat()),
            &[0, 3, 1],
        );
        for (server, query) in [(self.v4, Query::V4(v4)), (self.v6, Query::V6(v6))] {
            let has_come = (0..TRIES).any(|_| {
                let found = leases(server, &query) > 0;
                if !found {
                    std::thread::park_timeout(PAUSE);
                }
                found
            });
            assert!(has_come, "client {number} never came: {query:?}");
        }
    }
}

/// A feed that mirrors a server.
pub fn mirrors(family: u8, server: SocketAddr) -> String {
    format!(
        "[[feed]]\nkind = \"leasequery\"\nfamily = {family}\nserver = \"{server}\"\nretry = \"20ms\"\n"
    )
}

/// A feed of what [`Node::feed`] sends.
pub fn leases_come_over_a_socket(dir: &Path) -> String {
    let dir = dir.display();
    format!("[[feed]]\nkind = \"ndjson\"\nlisten = \"unix:{dir}/feed.sock\"\n")
}

/// Sends lines to a feed's socket; they are durable afterwards, unless the server has gone.
pub fn try_feed(socket: &Path, lines: &[Value]) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answers = String::new();
    stream.read_to_string(&mut answers)?;
    assert!(!answers.contains("error"), "{answers}");
    let expected = format!("{{\"ok\":{}}}\n", lines.len());
    match answers.ends_with(&expected) {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Leases, or clients, that a server tells.
fn leases(server: SocketAddr, query: &Query) -> u64 {
    let mut found = 0;
    let asked = bulk(server, query, &mut |event| {
        found += u64::from(!matches!(event, Event::Done(_)));
        std::ops::ControlFlow::Continue(())
    });
    asked.expect("an answer");
    found
}

/// That both tell the same at this time.
pub fn assert_equal(origin: &Node, mirror: &Node, at: u64) {
    let (expected, found) = (origin.told(at), mirror.told(at));
    assert!(!expected.is_empty());
    let differs = expected.iter().zip(&found).find(|(a, b)| a != b);
    assert_eq!(differs, None, "the first that differs");
    assert_eq!(expected.len(), found.len());
}
