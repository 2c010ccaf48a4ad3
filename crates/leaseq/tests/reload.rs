//! Reading the configuration again: what takes effect, for whom, and what is named as needing a restart.

mod common;

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use common::{Server, leaseq, run, stderr, stdout, text};
use rustix::process::Signal;

fn write_config(dir: &Path, limits: &str, subnets: &str, links: &str) -> PathBuf {
    let file = dir.join("leaseq.toml");
    let text = format!(
        r#"
[store]
dir = "{0}/store"
sync = "never"
segment-size = "256KiB"
{limits}
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
{subnets}
[dhcp6]
listen-tcp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
{links}
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "off"
"#,
        dir.display()
    );
    fs::write(&file, text).unwrap();
    file
}

const LEASES: &str = concat!(
    r#"{"family":4,"address":"198.51.100.5","state":"active","hwaddr":"01:02:5e:10:00:00:01","valid_lifetime":4000000000}"#,
    "\n",
    r#"{"family":6,"address":"2001:db8:7::23","duid":"0003000102005e100001","iaid":1,"link":"2001:db8:9::1","state":"active","valid_lifetime":4000000000}"#,
    "\n",
    r#"{"family":6,"address":"2001:db8:8::24","duid":"0003000102005e100002","iaid":1,"link":"2001:db8:9::1","state":"active","valid_lifetime":4000000000}"#,
    "\n",
);

fn start(dir: &Path, config: &Path) -> Server {
    let leases = dir.join("leases.ndjson");
    fs::write(&leases, LEASES).unwrap();
    let store = dir.join("store");
    run(&["import", "--data-dir", text(&store), text(&leases)], 0);
    Server::start(config)
}

/// Reads it again through the control socket; what is told of it.
fn reload(dir: &Path) -> String {
    run(
        &["ctl", "reload", "--data-dir", text(&dir.join("store"))],
        0,
    )
}

/// How many lines an answer has.
fn count(server: &str, arguments: &[&str]) -> usize {
    let arguments = [&["query", server], arguments, &["--format", "ndjson"]].concat();
    let output = leaseq(&arguments).output().unwrap();
    stdout(&output).lines().count()
}

#[test]
fn pools_are_taken_over_while_the_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let subnet = "[[dhcp4.subnet]]\nprefix = \"198.51.100.0/29\"";
    let config = write_config(dir.path(), "", subnet, "");
    let server = start(dir.path(), &config);
    let v4 = server.ready("dhcp4-tcp");
    assert_eq!(count(v4, &["v4", "--all"]), 6);
    let mut other_family = TcpStream::connect(server.address("dhcp6-tcp")).unwrap();
    let subnet = "[[dhcp4.subnet]]\nprefix = \"203.0.113.0/28\"\n[[dhcp4.subnet]]\nprefix = \"192.0.2.0/30\"";
    write_config(dir.path(), "", subnet, "");
    assert_eq!(reload(dir.path()), "the configuration was read again\n");
    // The lease is outside of all pools now, and is told beside them.
    assert_eq!(count(v4, &["v4", "--all"]), 14 + 2 + 1);
    assert_eq!(count(v4, &["v4", "--hwaddr", "02:5e:10:00:00:01"]), 1);
    // Nobody was disturbed.
    other_family.set_nonblocking(true).unwrap();
    let waits = other_family.read(&mut [0]).unwrap_err().kind();
    assert_eq!(waits, std::io::ErrorKind::WouldBlock);
    // The next start finds what was saved with them.
    server.signal(Signal::TERM);
    assert_eq!(server.wait().0.code(), Some(0));
    let server = Server::start(&config);
    assert_eq!(count(server.ready("dhcp4-tcp"), &["v4", "--all"]), 17);
}

#[test]
fn links_are_taken_over_and_connections_of_dhcpv6_begin_anew() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "", "", "");
    let server = start(dir.path(), &config);
    let v6 = server.ready("dhcp6-tcp");
    let on_link = |link| count(v6, &["v6", "--link", link]);
    assert_eq!((on_link("2001:db8:9::1"), on_link("2001:db8:7::1")), (2, 0));
    let mut before = TcpStream::connect(server.address("dhcp6-tcp")).unwrap();
    let mut other_family = TcpStream::connect(server.address("dhcp4-tcp")).unwrap();
    let link = "[[dhcp6.link]]\nname = \"pop-7\"\nprefixes = [\"2001:db8:7::/48\"]";
    write_config(dir.path(), "", "", link);
    server.signal(Signal::HUP);
    server.wait_for_log("reload-links");
    server.wait_for_log("reload-done");
    assert_eq!((on_link("2001:db8:9::1"), on_link("2001:db8:7::1")), (1, 1));
    assert_eq!(before.read(&mut [0]).unwrap_or(0), 0, "it was to end");
    other_family.set_nonblocking(true).unwrap();
    let waits = other_family.read(&mut [0]).unwrap_err().kind();
    assert_eq!(waits, std::io::ErrorKind::WouldBlock);
    let verified = run(
        &[
            "store",
            "verify",
            "--data-dir",
            text(&dir.path().join("store")),
        ],
        0,
    );
    assert!(verified.contains("good, "), "{verified}");
}

#[test]
fn what_needs_a_restart_is_named_and_times_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "", "", "");
    let _server = start(dir.path(), &config);
    let changed = fs::read_to_string(&config).unwrap();
    let times = "segment-size = \"256KiB\"\nhistory = \"2h\"\nexpiry-grace = \"5s\"\n[limits]\nshutdown-timeout = \"1s\"\nmax-connections = 5";
    let changed = changed.replace("segment-size = \"256KiB\"", times);
    fs::write(&config, &changed).unwrap();
    assert_eq!(reload(dir.path()), "the configuration was read again\n");
    let listen = changed
        .replace("256KiB", "512KiB")
        .replace("listen = \"off\"", "listen = \"127.0.0.1:0\"");
    fs::write(&config, listen).unwrap();
    let told = reload(dir.path());
    for key in ["store.segment-size", "admin.listen"] {
        let expected = format!("{key} has changed, but needs a restart");
        assert!(told.contains(&expected), "{told}");
    }
    assert_eq!(told.lines().count(), 3, "{told}");
}

/// Where a server is reached now, by kind.
fn listening(dir: &Path, kind: &str) -> Vec<String> {
    let store = dir.join("store");
    let arguments = [
        "ctl",
        "status",
        "--format",
        "json",
        "--data-dir",
        text(&store),
    ];
    let status: serde_json::Value = serde_json::from_str(&run(&arguments, 0)).unwrap();
    let addresses = status["status"]["listening"][kind].as_array().unwrap();
    addresses
        .iter()
        .map(|address| address.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn addresses_are_taken_over_and_connections_stay() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "", "", "");
    let server = start(dir.path(), &config);
    let (v4, v6) = (server.ready("dhcp4-tcp"), server.ready("dhcp6-tcp"));
    let mut before = TcpStream::connect(v4).unwrap();
    // One is new, one stays, and there is UDP; the other family's is gone.
    let written = fs::read_to_string(&config).unwrap();
    let several = written
        .replace(
            "listen-tcp = [\"127.0.0.1:0\"]",
            "reply-to = \"source\"\nlisten-tcp = [\"127.0.0.2:0\", \"127.0.0.1:0\"]\nlisten-udp = [\"127.0.0.1:0\"]",
        )
        .replace("listen-tcp = [\"[::1]:0\"]", "listen-tcp = []");
    fs::write(&config, &several).unwrap();
    assert_eq!(reload(dir.path()), "the configuration was read again\n");
    let tcp = listening(dir.path(), "dhcp4-tcp");
    assert_eq!((tcp.len(), &*tcp[1]), (2, v4));
    let by_hwaddr = ["v4", "--hwaddr", "02:5e:10:00:00:01"];
    for address in &tcp {
        assert_eq!(count(address, &by_hwaddr), 1);
    }
    let udp = listening(dir.path(), "dhcp4-udp");
    assert_eq!(count(&udp[0], &["v4", "--udp", "--ip", "198.51.100.5"]), 1);
    assert!(TcpStream::connect(v6).is_err(), "it is closed");
    assert_eq!(listening(dir.path(), "dhcp6-tcp"), [""; 0]);

    // All addresses of a port in place of one of them, and back; UDP is gone.
    let port = v4.rsplit(':').next().unwrap();
    for tcp in [format!("0.0.0.0:{port}"), v4.to_owned()] {
        let one = several
            .replace(
                "[\"127.0.0.2:0\", \"127.0.0.1:0\"]",
                &format!("[\"{tcp}\"]"),
            )
            .replace("listen-udp = [\"127.0.0.1:0\"]", "listen-udp = []");
        fs::write(&config, one).unwrap();
        assert_eq!(reload(dir.path()), "the configuration was read again\n");
        assert_eq!(listening(dir.path(), "dhcp4-tcp"), [tcp]);
        assert_eq!(count(v4, &by_hwaddr), 1);
    }
    UdpSocket::bind(&udp[0]).expect("the address of a closed socket");

    // An address that somebody has: nothing is changed, pools neither.
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = owner.local_addr().unwrap().to_string();
    let pools = several.replace("127.0.0.2:0", &taken).replace(
        "[dhcp6]",
        "[[dhcp4.subnet]]\nprefix = \"192.0.2.0/29\"\n[dhcp6]",
    );
    let all = count(v4, &["v4", "--all"]);
    fs::write(&config, pools).unwrap();
    let store = dir.path().join("store");
    let output = leaseq(&["ctl", "reload", "--data-dir", text(&store)])
        .output()
        .unwrap();
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains(&format!("cannot listen on TCP {taken}: "))
            && told.contains("nothing is changed"),
        "{told}"
    );
    assert_eq!(listening(dir.path(), "dhcp4-tcp"), [v4]);
    assert_eq!(count(v4, &["v4", "--all"]), all);
    // The first connection has seen it all.
    before.set_nonblocking(true).unwrap();
    let waits = before.read(&mut [0]).unwrap_err().kind();
    assert_eq!(waits, std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_bad_file_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let subnet = "[[dhcp4.subnet]]\nprefix = \"198.51.100.0/29\"";
    let config = write_config(dir.path(), "", subnet, "");
    let server = start(dir.path(), &config);
    // Good pools, and a fault behind them.
    let subnet = "[[dhcp4.subnet]]\nprefix = \"203.0.113.0/28\"";
    write_config(
        dir.path(),
        "",
        subnet,
        "[[dhcp6.link]]\nname = \"a\"\n[[dhcp6.link]]\nname = \"a\"",
    );
    let store = dir.path().join("store");
    let output = leaseq(&["ctl", "reload", "--data-dir", text(&store)])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("configured twice"),
        "{}",
        stderr(&output)
    );
    assert_eq!(count(server.ready("dhcp4-tcp"), &["v4", "--all"]), 6);
}
