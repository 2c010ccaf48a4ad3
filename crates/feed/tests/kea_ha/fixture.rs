//! A store with a feed, the HTTP side of a Kea that pushes to it, and a control socket that answers as Kea's.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use leaseq_feed::kea_ha::{self, ControlAccess, Settings};
use leaseq_feed::run::{Feed, Snapshot};
use leaseq_feed::socket::Address;
use leaseq_store::{
    Event4, Event6, FeedState, ManualClock, Options, Store, SyncMode, Topology, Vpn,
};
use serde_json::{Value, json};

/// The time of the tests, Unix seconds: a minute after the leases of the recorded requests were given.
pub const NOW: u64 = 1_795_343_584;
/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with a feed of kind `kea-ha`.
pub struct Fixture {
    _dir: tempfile::TempDir,
    pub store: Arc<Store>,
    pub feed: Feed,
    pub clock: Arc<ManualClock>,
}

/// Starts a feed; `control4` and `control6` are sockets of Kea.
pub fn fixture(control4: Option<&Path>, control6: Option<&Path>) -> Fixture {
    fixture_of(settings(control4, control6))
}

/// Starts a feed with these settings.
pub fn fixture_of(settings: Settings) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW * 1_000));
    let options = Options {
        sync: SyncMode::Never,
        segment_size: 1 << 20,
        clock: Arc::clone(&clock) as _,
        ..Options::default()
    };
    let path = dir.path().join("store");
    let store = Arc::new(Store::open(&path, options, Topology::default()).unwrap());
    let feed = kea_ha::start(&settings, Arc::clone(&store)).unwrap();
    Fixture {
        _dir: dir,
        store,
        feed,
        clock,
    }
}

/// Settings of a feed; `control4` and `control6` are sockets of Kea.
pub fn settings(control4: Option<&Path>, control6: Option<&Path>) -> Settings {
    let control =
        |path: Option<&Path>| path.map(|path| format!("unix:{}", path.display()).parse().unwrap());
    Settings {
        name: "kea".into(),
        listen: "127.0.0.1:0".parse().unwrap(),
        credentials: None,
        tls: None,
        control4: control(control4),
        control6: control(control6),
        control_access: ControlAccess::default(),
        pull_interval: Duration::from_secs(3_600),
        // Kea is asked at each turn.
        probe_interval: Duration::ZERO,
    }
}

impl Fixture {
    /// Ends the feed and starts it again on the same store.
    pub fn restart_feed(self, control4: Option<&Path>) -> Fixture {
        self.feed.stop();
        let feed = kea_ha::start(&settings(control4, None), Arc::clone(&self.store)).unwrap();
        Fixture { feed, ..self }
    }

    /// Connects as Kea's HA hook.
    pub fn kea(&self) -> Kea {
        Kea::connect(self.address())
    }

    pub fn address(&self) -> SocketAddr {
        match self.feed.listens() {
            Some(Address::Tcp(address)) => *address,
            other => panic!("expected a TCP address, found {other:?}"),
        }
    }

    /// Waits until this holds, at most for so many commits and turns of the feed.
    pub fn wait_until(&self, holds: impl Fn(&Fixture) -> bool) {
        let mut kea = self.kea();
        for _ in 0..200_000 {
            if holds(self) {
                return;
            }
            // A round through the feed's socket that tells it nothing.
            kea.post(r#"{"command":"version-get"}"#);
        }
        panic!("it did not come: {:?} {:?}", self.told(), self.state());
    }

    pub fn told(&self) -> Snapshot {
        self.feed.status().snapshot()
    }

    pub fn lease4(&self, address: &str) -> Option<Event4> {
        let view = self.store.reader().view();
        let address: Ipv4Addr = address.parse().unwrap();
        view.binding4(&Vpn::GLOBAL, address)
            .map(|bind| bind.to_event())
    }

    pub fn lease6(&self, address: &str) -> Option<Event6> {
        let view = self.store.reader().view();
        let address: Ipv6Addr = address.parse().unwrap();
        view.lease6(&Vpn::GLOBAL, address)
            .map(|lease| lease.to_event())
    }

    /// What the store knows of the feed.
    pub fn state(&self) -> FeedState {
        let feeds = self.store.feeds();
        feeds.into_iter().find(|feed| feed.name == "kea").unwrap()
    }
}

/// A connection of Kea.
pub struct Kea(BufReader<TcpStream>);

impl Kea {
    pub fn connect(address: SocketAddr) -> Kea {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Kea(BufReader::new(stream))
    }

    /// The feed's address.
    pub fn peer(&self) -> SocketAddr {
        self.0.get_ref().peer_addr().unwrap()
    }

    /// Sends as many octets as are taken at once; how many.
    pub fn send_some(&mut self, octets: &[u8]) -> usize {
        let stream = self.0.get_mut();
        stream.set_nonblocking(true).unwrap();
        let sent = stream.write(octets).unwrap_or(0);
        stream.set_nonblocking(false).unwrap();
        sent
    }

    /// Sends octets as they are.
    pub fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
    }

    /// Reads a response: its status and body; `None` if the connection ended.
    pub fn receive(&mut self) -> Option<(u16, Value)> {
        let mut line = String::new();
        if self.0.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = 0;
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Some((status, serde_json::from_slice(&body).unwrap()))
    }

    /// Posts a body as Kea does.
    pub fn post(&mut self, body: &str) -> (u16, Value) {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n{body}",
            body.len()
        );
        self.send(request.as_bytes());
        self.receive().expect("a response")
    }

    /// Posts a command; the one answer to it.
    pub fn command(&mut self, name: &str, arguments: Value) -> Value {
        let service = if name.starts_with("lease6") {
            "dhcp6"
        } else {
            "dhcp4"
        };
        let body = json!({"command": name, "service": [service], "arguments": arguments});
        let (status, answer) = self.post(&body.to_string());
        assert_eq!(status, 200, "{answer}");
        let answers = answer.as_array().expect("a list");
        assert_eq!(answers.len(), 1);
        answers[0].clone()
    }
}

/// An IPv4 lease as the HA hook tells it; the client is told by the last octet of its address.
pub fn pushed4(last: u8, given: u64) -> Value {
    json!({
        "client-id": format!("01:{last:02x}"), "expire": given + 600, "force-create": true, "fqdn-fwd": false,
        "fqdn-rev": false, "hostname": "", "hw-address": format!("02:00:00:00:00:{last:02x}"),
        "ip-address": format!("198.51.100.{last}"), "state": 0, "subnet-id": 7, "valid-lft": 600,
        "user-context": {"ISC": {"relay-agent-info": "0x02020102"}},
    })
}

/// The number-th IPv4 lease as a page tells it.
pub fn paged4(number: u32, given: u64) -> Value {
    let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 51, 100, 0)) + number);
    json!({
        "client-id": format!("01:{:02x}", number % 256), "cltt": given, "fqdn-fwd": false, "fqdn-rev": false,
        "hostname": "", "hw-address": "02:00:00:00:00:01", "ip-address": address.to_string(), "state": 0,
        "subnet-id": 7, "valid-lft": 600, "user-context": {"ISC": {"relay-agent-info": "0x02020102"}},
    })
}

/// A control socket that answers as that of a Kea.
pub struct Control {
    _dir: tempfile::TempDir,
    path: PathBuf,
    shared: Arc<Mutex<Leases>>,
    asked: Receiver<String>,
}

type AfterPage = Box<dyn FnMut(&str) + Send>;

#[derive(Default)]
struct Leases {
    by_address: BTreeMap<IpAddr, Value>,
    pid: u64,
    /// Called after a page is made, before it is answered, with what the page begins after.
    after_page: Option<AfterPage>,
    /// Pages that break in the middle, after so many.
    breaks_after: Option<usize>,
}

impl Control {
    pub fn start(leases: impl IntoIterator<Item = Value>) -> Control {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kea.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let shared = Arc::new(Mutex::new(Leases {
            pid: 1,
            ..Leases::default()
        }));
        let (send, asked) = channel();
        let control = Control {
            _dir: dir,
            path,
            shared: Arc::clone(&shared),
            asked,
        };
        leases.into_iter().for_each(|lease| control.put(lease));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                serve(stream, &shared, &send);
            }
        });
        control
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn put(&self, lease: Value) {
        let address = lease["ip-address"].as_str().unwrap().parse().unwrap();
        self.shared
            .lock()
            .unwrap()
            .by_address
            .insert(address, lease);
    }

    pub fn remove(&self, address: &str) {
        let address = address.parse().unwrap();
        self.shared.lock().unwrap().by_address.remove(&address);
    }

    pub fn set_pid(&self, pid: u64) {
        self.shared.lock().unwrap().pid = pid;
    }

    pub fn after_page(&self, call: impl FnMut(&str) + Send + 'static) {
        self.shared.lock().unwrap().after_page = Some(Box::new(call));
    }

    pub fn break_after(&self, pages: Option<usize>) {
        self.shared.lock().unwrap().breaks_after = pages;
    }

    /// Waits until this command was asked.
    pub fn wait_for(&self, command: &str) {
        loop {
            let asked = self.asked.recv_timeout(PATIENCE);
            if asked.unwrap_or_else(|_| panic!("no {command}")) == command {
                return;
            }
        }
    }

    /// Waits until a pull that begins now or later has ended: the pull's questions, then one whether Kea is there.
    pub fn wait_for_pull(&self) {
        self.wait_for("lease4-get-page");
        self.wait_for("status-get");
    }
}

fn serve(mut stream: UnixStream, shared: &Mutex<Leases>, asked: &Sender<String>) {
    let mut question = serde_json::Deserializer::from_reader(&stream).into_iter::<Value>();
    let Some(Ok(question)) = question.next() else {
        return;
    };
    let name = question["command"].as_str().unwrap().to_owned();
    let _ = asked.send(name.clone());
    let answer = match name.as_str() {
        "status-get" => {
            let pid = shared.lock().unwrap().pid;
            json!({"result": 0, "arguments": {"pid": pid, "uptime": 10, "reload": 10}}).to_string()
        }
        "lease4-get-page" | "lease6-get-page" => match page(&question["arguments"], shared) {
            Some(page) => page.to_string(),
            // Half an answer.
            None => "{ \"arguments\": { \"count\": 1024, \"leases\": [ { \"cl".to_owned(),
        },
        other => {
            json!({"result": 2, "text": format!("'{other}' command not supported.")}).to_string()
        }
    };
    let _ = stream.write_all(answer.as_bytes());
}

fn page(arguments: &Value, shared: &Mutex<Leases>) -> Option<Value> {
    let from = arguments["from"].as_str().unwrap();
    let limit = arguments["limit"].as_u64().unwrap() as usize;
    let page: Vec<Value> = {
        let mut leases = shared.lock().unwrap();
        match &mut leases.breaks_after {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        let after = leases
            .by_address
            .iter()
            .filter(|(address, _)| from == "start" || **address > from.parse::<IpAddr>().unwrap());
        after.take(limit).map(|(_, lease)| lease.clone()).collect()
    };
    let call = shared.lock().unwrap().after_page.take();
    if let Some(mut call) = call {
        call(from);
        shared.lock().unwrap().after_page.get_or_insert(call);
    }
    let result = if page.is_empty() { 3 } else { 0 };
    Some(json!({
        "result": result, "text": "", "arguments": {"count": page.len(), "leases": page},
    }))
}
