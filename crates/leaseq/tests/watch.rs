//! `leaseq watch`: against the real server, killed and started again in between; and against servers of a few lines that
//! say what the real one says only in need.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Server, export, leaseq, stderr, stdout, text};
use leaseq_wire::frame::{self, Split};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, Header, StatusCode, message_type, option_code, suboption};
use leaseq_wire::{OutBuf, v6};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};

/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `leaseq watch`.
struct Watch {
    child: Child,
    lines: Receiver<String>,
    log: Receiver<Value>,
    told: Vec<Value>,
}

impl Watch {
    fn start(server: &str, rest: &[&str]) -> Watch {
        let quick = [
            "--retry",
            "50ms",
            "--max-retry",
            "200ms",
            "--log-format",
            "json",
        ];
        let arguments = [&["watch", server], rest, &quick].concat();
        let mut child = leaseq(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (line, lines) = channel();
        let output = BufReader::new(output.expect("a pipe"));
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|text| line.send(text))
        });
        let (message, log) = channel();
        let errors = BufReader::new(errors.expect("a pipe"));
        thread::spawn(move || {
            let messages = errors.lines().map_while(Result::ok);
            messages
                .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
                .try_for_each(|text| message.send(text))
        });
        Watch {
            child,
            lines,
            log,
            told: Vec::new(),
        }
    }

    /// Waits for a message of the log with this id.
    fn wait_for_log(&self, id: &str) -> Value {
        loop {
            let message = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no message {id}"));
            if message["id"] == id {
                return message;
            }
        }
    }

    /// Waits for a change of this address.
    fn wait_for(&mut self, address: &str) -> Value {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no change of {address}"));
            self.told
                .push(serde_json::from_str(&line).expect("a JSON line"));
            let last = self.told.last().unwrap();
            if last["address"] == address {
                return last.clone();
            }
        }
    }

    /// Ends it with a signal: how it ended, and all that it told.
    fn end(mut self) -> (ExitStatus, Vec<Value>) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("a running process");
        let status = self.child.wait().expect("a child");
        let rest = self
            .lines
            .iter()
            .map(|line| serde_json::from_str(&line).unwrap());
        let told = self.told.drain(..).chain(rest).collect();
        (status, told)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that can be killed and comes back at the same address.
struct Restarting {
    dir: tempfile::TempDir,
    server: Option<Server>,
    address: SocketAddr,
    family: u8,
}

impl Restarting {
    fn start(family: u8) -> Restarting {
        let dir = tempfile::tempdir().unwrap();
        let server = start(dir.path(), family, None);
        let address = server.address(if family == 4 {
            "dhcp4-tcp"
        } else {
            "dhcp6-tcp"
        });
        Restarting {
            dir,
            server: Some(server),
            address,
            family,
        }
    }

    /// Sends lines to the feed; they are durable afterwards.
    fn feed(&self, lines: &[Value]) {
        let mut stream = UnixStream::connect(self.dir.path().join("feed.sock")).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        let expected = format!("{{\"ok\":{}}}\n", lines.len());
        assert!(answers.ends_with(&expected), "{answers}");
    }

    fn kill(&mut self) {
        self.server.take().unwrap().kill();
        let _ = fs::remove_file(self.dir.path().join("feed.sock"));
    }

    fn start_again(&mut self) {
        self.server = Some(start(self.dir.path(), self.family, Some(self.address)));
    }

    /// Ends it, and gives what is in its store.
    fn end(mut self) -> Vec<Value> {
        self.kill();
        export(&self.dir.path().join("store"))
    }
}

fn start(dir: &Path, family: u8, address: Option<SocketAddr>) -> Server {
    let at = |own: u8, any: &str| match address {
        Some(address) if own == family => address.to_string(),
        _ => any.to_owned(),
    };
    let config = format!(
        r#"
[store]
dir = "{0}/store"
sync = "never"
segment-size = "1MiB"
[engine]
cores = [0]
[dhcp4]
listen-tcp = ["{1}"]
server-identifier = "127.0.0.1"
[[dhcp4.subnet]]
prefix = "198.51.100.0/24"
[dhcp6]
listen-tcp = ["{2}"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[dhcp6.link]]
name = "pop-7"
prefixes = ["2001:db8:7::/48"]
delegated = ["2001:db8:7000::/36"]
[active]
relay-scope = true
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[[feed]]
kind = "ndjson"
listen = "unix:{0}/feed.sock"
"#,
        dir.display(),
        at(4, "127.0.0.1:0"),
        at(6, "[::1]:0"),
    );
    let file = dir.join("leaseq.toml");
    fs::write(&file, config).unwrap();
    let arguments = [
        "serve",
        "--active-insecure",
        "--log-format",
        "json",
        "--config",
        text(&file),
    ];
    Server::start_with(&arguments)
}

/// The time when the test began. Leases of one client have one time of the last transaction, so that DHCPv6, which tells one
/// for all of them, tells that of each.
fn seconds() -> u64 {
    static BEGIN: LazyLock<u64> = LazyLock::new(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs()
    });
    *BEGIN
}

fn active4(last: u8, lifetime: u32) -> Value {
    json!({
        "family": 4, "address": format!("198.51.100.{last}"), "state": "active",
        "hwaddr": format!("01:02:00:5e:10:00:{last:02x}"), "client_id": format!("01aa{last:02x}"),
        "cltt": seconds() - 50, "state_since": seconds() - 100, "valid_lifetime": lifetime,
        // remote-id "r", relay-id 9.
        "relay_agent_info": "0201720c0109",
    })
}

fn ended4(last: u8, state: &str) -> Value {
    json!({"family": 4, "address": format!("198.51.100.{last}"), "state": state})
}

fn active6(last: u8, lifetime: u32) -> Value {
    let options = "0035000109"; // relay-id 9
    json!({
        "family": 6, "address": format!("2001:db8:7::{last:x}"), "duid": format!("000300{last:02x}"), "iaid": 1,
        "link": "2001:db8:7::1", "state": "active", "cltt": seconds() - 50,
        "preferred_lifetime": lifetime / 2, "valid_lifetime": lifetime,
        "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": options}],
    })
}

fn prefix6(last: u8, state: &str) -> Value {
    json!({
        "family": 6, "prefix": format!("2001:db8:70{last:02x}::/48"), "duid": format!("000300{last:02x}"), "iaid": 2,
        "link": "2001:db8:7::1", "state": state, "cltt": seconds() - 50,
        "preferred_lifetime": 1800, "valid_lifetime": 3600,
        "relay": [{"link": "2001:db8:7::1", "peer": "fe80::1", "options": "0035000109"}],
    })
}

fn ended6(last: u8, state: &str) -> Value {
    json!({
        "family": 6, "address": format!("2001:db8:7::{last:x}"), "duid": format!("000300{last:02x}"), "iaid": 1,
        "link": "2001:db8:7::1", "state": state,
    })
}

/// The last thing told of each lease, by address or prefix.
fn table(told: &[Value]) -> BTreeMap<String, Map<String, Value>> {
    let mut table = BTreeMap::new();
    for line in told {
        let mut fields = line.as_object().unwrap().clone();
        assert!(fields.remove("base_time").unwrap().is_u64());
        fields.insert("ended".into(), (fields["state"] != "active").into());
        assert_eq!(line["ended"], fields["ended"], "{line}");
        let key = fields.get("address").or(fields.get("prefix")).unwrap();
        table.insert(key.as_str().unwrap().to_owned(), fields);
    }
    table
}

/// What was told at last of each lease is what the store holds, as far as leasequery tells it.
fn assert_equal(told: &[Value], exported: &[Value]) {
    let mut told = table(told);
    for lease in exported {
        let key = lease["address"]
            .as_str()
            .or(lease["prefix"].as_str())
            .unwrap();
        let mut fields = told
            .remove(key)
            .unwrap_or_else(|| panic!("{key} was not told"));
        let has_ended = fields.remove("ended").unwrap() == true;
        assert_eq!(has_ended, lease["state"] != "active", "{fields:?} {lease}");
        if has_ended && lease["family"] == 6 {
            // DHCPv6 tells no state but that.
            continue;
        }
        for (name, value) in fields {
            assert_eq!(value, lease[&name], "{key}: {name}");
        }
    }
    assert!(told.is_empty(), "not in the store: {told:?}");
}

/// Watches while leases change and the server is killed and comes back, and compares what was told with the store.
fn survives_a_restart(
    family: u8,
    filter: &[&str],
    active: fn(u8, u32) -> Value,
    ended: fn(u8, &str) -> Value,
    more: fn(u8, &str) -> Value,
) {
    let address = |last: u8| active(last, 0)["address"].as_str().unwrap().to_owned();
    let mut server = Restarting::start(family);
    let before: Vec<_> = (1..=20).map(|last| active(last, 3600)).collect();
    server.feed(&before);
    let name = format!("v{family}");
    let arguments = [&[name.as_str(), "--since", "1"], filter].concat();
    let mut watch = Watch::start(&server.address.to_string(), &arguments);
    watch.wait_for_log("watch-caught-up");
    server.feed(&[
        active(21, 3600),
        ended(1, "released"),
        more(1, "active"),
        active(22, 3600),
    ]);
    assert_eq!(watch.wait_for(&address(22))["ended"], false);
    for round in 0..2_u8 {
        let lifetime = 4000 + u32::from(round);
        // Some of it is told before the server dies, some after it has come back.
        server.feed(&[
            active(2, lifetime),
            ended(3 + round, "expired"),
            more(2 + round, "active"),
        ]);
        server.kill();
        watch.wait_for_log("watch-down");
        server.start_again();
        server.feed(&[
            active(5 + round, lifetime),
            ended(7 + round, "released"),
            active(30 + round, lifetime),
        ]);
        watch.wait_for_log("watch-caught-up");
        server.feed(&[
            ended(9 + round, "released"),
            more(1, "released"),
            active(40 + round, lifetime),
        ]);
        watch.wait_for(&address(40 + round));
    }
    let (status, told) = watch.end();
    assert_eq!(status.code(), Some(0));
    assert_equal(&told, &server.end());
}

#[test]
fn v4_changes_are_told_across_restarts() {
    survives_a_restart(4, &[], active4, ended4, |last, state| match state {
        "active" => active4(100 + last, 3600),
        _ => ended4(100 + last, state),
    });
}

#[test]
fn v4_changes_of_a_relay_agent_are_told_across_restarts() {
    survives_a_restart(
        4,
        &["--relay-id", "09"],
        active4,
        ended4,
        |last, state| match state {
            "active" => active4(100 + last, 3600),
            _ => ended4(100 + last, state),
        },
    );
}

#[test]
fn v6_changes_are_told_across_restarts() {
    survives_a_restart(6, &[], active6, ended6, prefix6);
}

#[test]
fn v6_changes_behind_a_relay_agent_are_told_across_restarts() {
    survives_a_restart(6, &["--relay-id", "09"], active6, ended6, prefix6);
}

#[test]
fn a_state_file_takes_up_where_the_last_watch_ended() {
    let server = Restarting::start(4);
    let state = server.dir.path().join("watch.state");
    let address = server.address.to_string();
    let arguments = ["v4", "--since", "1", "--state", text(&state)];
    server.feed(&[active4(1, 3600)]);
    let watch = Watch::start(&address, &arguments);
    watch.wait_for_log("watch-caught-up");
    let (status, told) = watch.end();
    assert_eq!((status.code(), table(&told).len()), (Some(0), 1));
    let seconds: u64 = fs::read_to_string(&state).unwrap().trim().parse().unwrap();
    server.feed(&[active4(2, 3600)]);
    let rest = [&arguments[..], &["--until-caught-up"]].concat();
    let output = leaseq(&[&["watch", address.as_str()], &rest[..]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("since={seconds}")),
        "{}",
        stderr(&output)
    );
    assert!(
        stdout(&output).contains("198.51.100.2"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_server_without_active_leasequery_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("leaseq.toml");
    let told = format!(
        "[store]\ndir = \"{}\"\n[dhcp4]\nlisten-tcp = [\"127.0.0.1:0\"]\n[dhcp6]\nlisten-tcp = [\"[::1]:0\"]\nserver-duid = \"00030001\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[[requestor]]\nnetwork = \"::1\"\n",
        data.display()
    );
    fs::write(&config, told).unwrap();
    let server = Server::start(&config);
    let address = server.address("dhcp6-tcp").to_string();
    let output = leaseq(&["watch", &address, "v6"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let end = "leaseq: the server ended the query: NotSupported";
    assert!(stderr(&output).contains(end), "{}", stderr(&output));
}

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
    common::run(&["import", "--data-dir", text(&store), text(&leases)], 0);
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

/// Takes one request of a connection.
fn request(stream: &mut TcpStream) -> Vec<u8> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Split::Frame { message, .. } = frame::split(&request) {
            return message.to_vec();
        }
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "a request");
        request.extend(&buffer[..n]);
    }
}

/// A framed message.
fn framed(write: impl FnOnce(&mut OutBuf<'_>)) -> Vec<u8> {
    let mut octets = [0; 2000];
    let mut out = OutBuf::new(&mut octets);
    let start = frame::begin(&mut out).unwrap();
    write(&mut out);
    frame::end(&mut out, start).unwrap();
    out.as_slice().to_vec()
}

const BASE: u32 = 1_790_000_000;

fn message4(xid: u32, kind: u8, last: u8, base: u32, status: Option<StatusCode>) -> Vec<u8> {
    let address = if last == 0 {
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::new(198, 51, 100, last)
    };
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0x5e, 0x10, 0, last]);
    let header = Header {
        htype: 1,
        hlen: 6,
        chaddr,
        ciaddr: address,
        ..Header::reply(xid)
    };
    framed(|out| {
        let mut writer = v4::MessageWriter::start(out, &header, kind).unwrap();
        writer.server_identifier(Ipv4Addr::LOCALHOST).unwrap();
        writer.base_time(UnixSeconds(BASE + base)).unwrap();
        if let Some(status) = status {
            writer.status(status, "").unwrap();
        } else if kind == ACTIVE {
            writer
                .option_u32(option_code::IP_ADDRESS_LEASE_TIME, 3000)
                .unwrap();
            writer
                .option_u32(option_code::CLIENT_LAST_TRANSACTION_TIME, 600)
                .unwrap();
            writer
                .relay_agent_information(&[(suboption::RELAY_ID, b"bng-7")])
                .unwrap();
        }
        writer.finish();
    })
}

const ACTIVE: u8 = message_type::DHCPLEASEACTIVE;
const FREE: u8 = message_type::DHCPLEASEUNASSIGNED;
const STATUS: u8 = message_type::DHCPLEASEQUERYSTATUS;

/// A stream that tells three addresses, misses something, and has it asked for on a second connection.
fn gap_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let xid = v4::Message::parse(&request(&mut stream)).unwrap().xid();
        let status = |code, base| message4(xid, STATUS, 0, base, Some(code));
        let told = [
            message4(xid, ACTIVE, 1, 10, None),
            message4(xid, ACTIVE, 2, 10, None),
            message4(xid, ACTIVE, 3, 10, None),
            status(StatusCode::DataMissing, 20),
            message4(xid, FREE, 2, 21, None),
        ];
        stream.write_all(&told.concat()).unwrap();
        let (mut fill, _) = listener.accept().unwrap();
        let bulk = v4::Message::parse(&request(&mut fill)).unwrap().xid();
        let told = [
            // Older than what the stream has told.
            message4(bulk, ACTIVE, 2, 20, None),
            message4(bulk, ACTIVE, 4, 20, None),
            message4(bulk, ACTIVE, 1, 20, None),
            message4(bulk, message_type::DHCPLEASEQUERYDONE, 0, 20, None),
        ];
        fill.write_all(&told.concat()).unwrap();
        // Until both are closed.
        let _ = fill.read(&mut [0; 100]);
        let _ = stream.read(&mut [0; 100]);
    });
    address
}

#[test]
fn what_a_gap_leaves_out_is_told_as_ended() {
    let address = gap_server().to_string();
    let arguments = [
        "watch",
        &address,
        "v4",
        "--since",
        "1789999000",
        "--relay-id",
        "09",
        "--until-caught-up",
    ];
    let output = leaseq(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|line| {
            let base_time = line["base_time"].as_u64().unwrap() - u64::from(BASE);
            (
                line["address"].as_str().unwrap(),
                line["ended"] == true,
                base_time,
            )
        })
        .collect();
    let address = |last| format!("198.51.100.{last}");
    let expected = [
        (1, false, 10),
        (2, false, 10),
        (3, false, 10),
        (2, true, 21),
        (4, false, 20),
        (1, false, 20),
        (3, true, 20),
    ];
    let expected = expected.map(|(last, ended, base)| (address(last), ended, base));
    let expected: Vec<_> = expected
        .iter()
        .map(|(address, ended, base)| (address.as_str(), *ended, *base))
        .collect();
    assert_eq!(told, expected);
    for text in [
        "changes are missing: asking for them in bulk",
        "what was missing has been told",
    ] {
        assert!(stderr(&output).contains(text), "{}", stderr(&output));
    }
}

/// Serves one connection with what `answer` gives for its request.
fn server(answer: impl FnOnce(&[u8]) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = request(&mut stream);
        stream.write_all(&answer(&request)).unwrap();
        let _ = stream.read(&mut [0; 100]);
    });
    address.to_string()
}

fn two_changes(request: &[u8]) -> Vec<u8> {
    let xid = v4::Message::parse(request).unwrap().xid();
    let caught_up = message4(xid, STATUS, 0, 7, Some(StatusCode::CatchUpComplete));
    let told = [
        message4(xid, ACTIVE, 23, 5, None),
        message4(xid, FREE, 24, 6, None),
        caught_up,
    ];
    told.concat()
}

fn watch(server: &str, rest: &[&str]) -> (Option<i32>, String) {
    let output = leaseq(
        &[
            &[
                "watch",
                server,
                "v4",
                "--since",
                "1789999000",
                "--until-caught-up",
            ],
            rest,
        ]
        .concat(),
    )
    .output()
    .unwrap();
    (output.status.code(), stdout(&output))
}

#[test]
fn a_table_has_the_base_time_and_a_row_for_each_address() {
    let (status, table) = watch(&server(two_changes), &["--format", "table"]);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(table, @r"
    BASE TIME             ADDRESS        STATE      CLIENT             LEFT  LAST SEEN  REMOTE-ID  RELAY-ID  VPN
    2026-09-21T14:13:25Z  198.51.100.23  active     02:00:5e:10:00:17  50m   10m ago               bng-7
    2026-09-21T14:13:26Z  198.51.100.24  available  02:00:5e:10:00:18
    ");
}

#[test]
fn ndjson_has_a_line_for_each_change() {
    let (status, lines) = watch(&server(two_changes), &[]);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(lines, @r#"
    {"family":4,"address":"198.51.100.23","state":"active","hwaddr":"01:02:00:5e:10:00:17","cltt":1789999405,"valid_lifetime":3600,"relay_agent_info":"0c05626e672d37","base_time":1790000005,"ended":false}
    {"family":4,"address":"198.51.100.24","state":"available","hwaddr":"01:02:00:5e:10:00:18","base_time":1790000006,"ended":true}
    "#);
}

#[test]
fn hex_has_a_line_for_each_message_statuses_included() {
    let (status, lines) = watch(&server(two_changes), &["--format", "hex"]);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!((status, lines.len()), (Some(0), 3));
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("0201") && line.ends_with("ff")),
        "{lines:?}"
    );
}

#[test]
fn a_refusal_ends_with_1_and_so_does_a_past_that_cannot_be_told() {
    let refused = server(|request| {
        let xid = v4::Message::parse(request).unwrap().xid();
        message4(xid, STATUS, 0, 5, Some(StatusCode::NotAllowed))
    });
    let output = leaseq(&["watch", &refused, "v4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = "leaseq: the server ended the query: NotAllowed\n";
    assert!(stderr(&output).ends_with(told), "{}", stderr(&output));

    let missing = server(|request| {
        let request = v6::Message::parse(request).unwrap();
        framed(|out| {
            let kind = v6::message_type::LEASEQUERY_REPLY;
            let mut writer = v6::MessageWriter::start(out, kind, request.xid()).unwrap();
            writer.server_id(&[9]).unwrap();
            writer
                .client_id(request.option(v6::option_code::CLIENTID).unwrap())
                .unwrap();
            writer.status(v6::StatusCode::DataMissing, "").unwrap();
            writer.base_time(UnixSeconds(BASE).into()).unwrap();
            writer.finish();
        })
    });
    let arguments = [
        "watch",
        &missing,
        "v6",
        "--since",
        "1789999000",
        "--until-caught-up",
    ];
    let output = leaseq(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = "leaseq: the server cannot tell everything since 1789999000\n";
    assert!(stderr(&output).ends_with(told), "{}", stderr(&output));
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
