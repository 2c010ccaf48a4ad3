//! A server with some of everything: bindings, a feed in trouble, a query, an active stream.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use leaseq_wire::v4;
use tempfile::TempDir;

use crate::common::Server;

/// The feed's name holds what a page must not take for markup.
pub const FEED: &str = "leases <b>&\\\"1";
/// The same, as it is.
pub const FEED_TEXT: &str = "leases <b>&\"1";

/// A running server and what is connected to it.
pub struct Setup {
    /// Its directory.
    pub dir: TempDir,
    /// The server.
    pub server: Server,
    stream: TcpStream,
}

impl Setup {
    /// Starts it, feeds it, asks it.
    pub fn start() -> Setup {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("leaseq.toml");
        let text = format!(
            r#"
[store]
dir = "{0}/store"
[limits]
max-connections = 50
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
listen-udp = ["127.0.0.1:0"]
reply-to = "source"
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[active]
enabled = true
mode = "insecure"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[[feed]]
kind = "ndjson"
name = "{FEED}"
listen = "unix:{0}/feed.sock"
"#,
            dir.path().display()
        );
        fs::write(&file, text).expect("a file");
        let server = Server::start(&file);
        feed(&dir.path().join("feed.sock"));
        let stream = follow(server.address("dhcp4-tcp"));
        Setup {
            dir,
            server,
            stream,
        }
    }

    /// Where the admin HTTP is.
    pub fn admin(&self) -> SocketAddr {
        self.server.address("admin")
    }

    /// Where the active stream comes from.
    pub fn requestor(&self) -> SocketAddr {
        self.stream.local_addr().expect("an address")
    }
}

/// Three bindings, and a line that is none.
fn feed(socket: &Path) {
    let mut stream = UnixStream::connect(socket).expect("the feed");
    let lines = [
        r#"{"family":4,"address":"100.64.0.1","state":"active","hwaddr":"01:02:5e:10:00:00:01"}"#,
        r#"{"family":4,"address":"100.64.0.2","state":"active","hwaddr":"01:02:5e:10:00:00:02"}"#,
        r#"{"family":4,"address":"100.64.0.3","state":"released"}"#,
        r#"{"family":4,"address":"no such address"}"#,
    ];
    let text = lines.join("\n") + "\n";
    stream.write_all(text.as_bytes()).expect("a reader");
    // The answer to the last line, which is an error, follows those to the others.
    let refused = BufReader::new(&stream)
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("error"));
    assert!(refused, "an error for the last line");
}

/// An active stream of everything since the beginning; it is at the tail once it has heard that.
fn follow(server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(server).expect("the server");
    let mut message = vec![0_u8; 240];
    message[0] = 1;
    message[4..8].copy_from_slice(&7_u32.to_be_bytes());
    message[236..].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, v4::message_type::DHCPACTIVELEASEQUERY]);
    message.extend([154, 4, 0, 0, 0, 1, 255]);
    let length = u16::try_from(message.len()).expect("a length");
    stream
        .write_all(&[&length.to_be_bytes()[..], &message].concat())
        .expect("a reader");
    // Two bindings are active, one is not any more; the fourth message says that this was all.
    for _ in 0..4 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a message");
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).expect("a message");
    }
    stream
}
