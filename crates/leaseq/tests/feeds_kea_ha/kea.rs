//! A Kea server of Debian's packages, run for a test.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How long Kea may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether Kea and its hooks are there. If they must be (`LEASEQ_PEERS=required`), their absence fails the test.
pub fn installed() -> bool {
    let wanted = [
        (program("kea-dhcp4"), "kea-dhcp4", "kea-dhcp4-server"),
        (program("kea-dhcp6"), "kea-dhcp6", "kea-dhcp6-server"),
        (
            program("kea-ctrl-agent"),
            "kea-ctrl-agent",
            "kea-ctrl-agent",
        ),
        (hook("libdhcp_ha.so"), "libdhcp_ha.so", "kea-common"),
        (
            hook("libdhcp_lease_cmds.so"),
            "libdhcp_lease_cmds.so",
            "kea-common",
        ),
    ];
    for (found, name, package) in wanted {
        if found.is_none() {
            let required = std::env::var("LEASEQ_PEERS").is_ok_and(|peers| peers == "required");
            assert!(
                !required,
                "{name} is not installed: apt-get install {package}"
            );
            println!("skipped: {name} is not installed");
            return false;
        }
    }
    true
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/local/sbin"])
        .map(|dir| Path::new(dir).join(name))
        .find(|program| program.is_file())
}

fn hook(name: &str) -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    libraries
        .map(|dir| dir.path().join("kea/hooks").join(name))
        .find(|hook| hook.is_file())
}

/// A running server; killed when it is dropped.
pub struct Kea {
    process: Process,
    family: u8,
    dir: PathBuf,
    socket: PathBuf,
    /// Where it takes packets of clients.
    pub server_port: u16,
    /// Where a relay agent listens for its answers.
    pub relay: UdpSocket,
}

impl Kea {
    /// Starts one that sends its leases to the backup at `url`, and waits until it serves.
    pub fn start(family: u8, dir: &Path, url: &str) -> Kea {
        Kea::start_with(family, dir, json!({"url": url}), json!({}))
    }

    /// The same with more that is said of the backup, `url` included, and of high availability.
    pub fn start_with(family: u8, dir: &Path, backup: Value, more: Value) -> Kea {
        let host = if family == 4 { "127.0.0.1" } else { "::1" };
        let relay = UdpSocket::bind((host, 0)).unwrap();
        relay
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let free = |socket: UdpSocket| socket.local_addr().unwrap().port();
        let server_port = free(UdpSocket::bind((host, 0)).unwrap());
        let socket = dir.join(format!("kea{family}.sock"));
        let settings = config(family, dir, &socket, backup, more);
        fs::write(config_file(family, dir), settings.to_string()).unwrap();
        let client_port = relay.local_addr().unwrap().port();
        Kea {
            process: serve(family, dir, server_port, client_port),
            family,
            dir: dir.to_owned(),
            socket,
            server_port,
            relay,
        }
    }

    /// Kills it, as a loss of power would; what it had in its lease file is there when it is started again.
    pub fn restart(&mut self) {
        self.process.kill();
        let client_port = self.relay.local_addr().unwrap().port();
        self.process = serve(self.family, &self.dir, self.server_port, client_port);
    }

    /// Asks on its control socket.
    pub fn ask(&self, command: &str, arguments: Value) -> Value {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let mut question = json!({"command": command});
        if !arguments.is_null() {
            question["arguments"] = arguments;
        }
        stream.write_all(question.to_string().as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// All its leases.
    pub fn leases(&self) -> Vec<Value> {
        let answer = self.ask(&format!("lease{}-get-all", self.family), Value::Null);
        let leases = answer["arguments"]["leases"].as_array();
        leases.unwrap_or_else(|| panic!("{answer}")).clone()
    }
}

fn config_file(family: u8, dir: &Path) -> PathBuf {
    dir.join(format!("kea-dhcp{family}.conf"))
}

fn serve(family: u8, dir: &Path, server_port: u16, client_port: u16) -> Process {
    let ports = [
        "-p".to_owned(),
        server_port.to_string(),
        "-P".to_owned(),
        client_port.to_string(),
    ];
    Process::start(
        &format!("kea-dhcp{family}"),
        dir,
        &config_file(family, dir),
        &ports,
        &format!("DHCP{family}_STARTED"),
    )
}

/// The control agent of a Kea whose control socket is in the same directory.
pub struct Agent {
    _process: Process,
    /// Where it takes questions.
    pub port: u16,
}

impl Agent {
    /// Starts it with more that is said of it, and waits until it serves.
    pub fn start(family: u8, dir: &Path, more: Value) -> Agent {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut settings = json!({
            "http-host": "127.0.0.1",
            "http-port": port,
            "control-sockets": {
                format!("dhcp{family}"): {
                    "socket-type": "unix", "socket-name": dir.join(format!("kea{family}.sock")),
                },
            },
            "loggers": [{
                "name": "kea-ctrl-agent", "severity": "INFO", "output_options": [{"output": "stdout"}],
            }],
        });
        merge(&mut settings, more);
        let file = dir.join("kea-ctrl-agent.conf");
        let settings = json!({"Control-agent": settings});
        fs::write(&file, settings.to_string()).unwrap();
        let started = "CTRL_AGENT_STARTED";
        Agent {
            _process: Process::start("kea-ctrl-agent", dir, &file, &[], started),
            port,
        }
    }
}

/// A process of Kea, killed when it is dropped.
struct Process {
    child: Child,
    log: Receiver<String>,
}

impl Process {
    /// Starts it, and waits until a line of its log holds `started`.
    fn start(
        name: &str,
        dir: &Path,
        config: &Path,
        arguments: &[String],
        started: &str,
    ) -> Process {
        let mut child = Command::new(program(name).unwrap())
            .arg("-c")
            .arg(config)
            .args(arguments)
            .env("KEA_LOCKFILE_DIR", dir)
            .env("KEA_PIDFILE_DIR", dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (line, log) = channel();
        thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            // Read on when nobody listens any more: a full pipe would hold Kea up.
            lines.by_ref().for_each(|text| drop(line.send(text)));
        });
        let mut told = Vec::new();
        loop {
            match log.recv_timeout(PATIENCE) {
                Ok(text) if text.contains(started) => break,
                Ok(text) => told.push(text),
                Err(_) => panic!("{name} did not start: {told:#?}"),
            }
        }
        Process { child, log }
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            self.log.iter().for_each(|line| println!("{line}"));
        }
    }
}

/// Sets the members of `more` in `settings`.
fn merge(settings: &mut Value, more: Value) {
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
}

fn config(family: u8, dir: &Path, socket: &Path, backup: Value, more: Value) -> Value {
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}/", own.local_addr().unwrap());
    let mut peer = json!({"name": "leaseq", "role": "backup"});
    merge(&mut peer, backup);
    let mut high_availability = json!({
        "this-server-name": "primary",
        "mode": "passive-backup",
        "multi-threading": {
            "enable-multi-threading": true, "http-dedicated-listener": true, "http-listener-threads": 1,
            "http-client-threads": 2,
        },
        "peers": [
            {"name": "primary", "url": own, "role": "primary"},
            peer,
        ],
    });
    merge(&mut high_availability, more);
    let mut settings = json!({
        "control-socket": {"socket-type": "unix", "socket-name": socket},
        "lease-database": {"type": "memfile", "persist": true, "name": dir.join(format!("kea-leases{family}.csv"))},
        "store-extended-info": true,
        "valid-lifetime": 3600,
        "multi-threading": {"enable-multi-threading": true, "thread-pool-size": 2, "packet-queue-size": 64},
        "hooks-libraries": [
            {"library": hook("libdhcp_lease_cmds.so")},
            {"library": hook("libdhcp_ha.so"), "parameters": {"high-availability": [high_availability]}},
        ],
        "loggers": [{
            "name": format!("kea-dhcp{family}"), "severity": "INFO", "output_options": [{"output": "stdout"}],
        }],
    });
    let more = if family == 4 {
        json!({
            "interfaces-config": {"interfaces": ["lo/127.0.0.1"], "dhcp-socket-type": "udp"},
            "subnet4": [{
                "id": 7, "subnet": "10.77.0.0/16", "relay": {"ip-addresses": ["127.0.0.1"]},
                "pools": [{"pool": "10.77.1.0-10.77.250.255"}],
            }],
        })
    } else {
        json!({
            "data-directory": dir,
            "server-id": {"type": "EN", "enterprise-id": 2495, "identifier": "0123456789", "persist": false},
            "interfaces-config": {"interfaces": ["lo/::1"]},
            "preferred-lifetime": 1800,
            "subnet6": [{
                "id": 9, "subnet": "2001:db8:7::/48", "relay": {"ip-addresses": ["2001:db8:7::1"]},
                "pools": [{"pool": "2001:db8:7::1:0-2001:db8:7::ffff:ffff"}],
                "pd-pools": [{"prefix": "2001:db8:7000::", "prefix-len": 40, "delegated-len": 56}],
            }],
        })
    };
    merge(&mut settings, more);
    json!({format!("Dhcp{family}"): settings})
}
