//! A real Kea of Debian's packages, told by its control socket what to lease. For the tests of several crates.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How long a test waits for what must come, before it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often Kea is started at most until it runs.
const MOST_STARTS: usize = 100;

/// The programs of Debian's packages, or why the test is skipped. It fails instead where they are required.
pub fn installed() -> bool {
    let programs = [
        "/usr/sbin/kea-dhcp4",
        "/usr/sbin/kea-dhcp6",
        "/usr/sbin/kea-lfc",
    ];
    let missing = programs.iter().find(|program| !Path::new(program).exists());
    let missing = match (missing, hook()) {
        (Some(program), _) => *program,
        (None, None) => "libdhcp_lease_cmds.so",
        (None, Some(_)) => return true,
    };
    let required = std::env::var_os("LEASEQ_PEERS").is_some_and(|peers| peers == "required");
    assert!(
        !required,
        "{missing} is missing: install Debian's kea-dhcp4-server, kea-dhcp6-server and kea-common"
    );
    println!("skipped: {missing} is not installed");
    false
}

fn hook() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?.flatten();
    let hooks = libraries.map(|found| found.path().join("kea/hooks/libdhcp_lease_cmds.so"));
    hooks.into_iter().find(|hook| hook.exists())
}

/// A running Kea of one protocol.
pub struct Kea {
    dir: PathBuf,
    family: u8,
    child: Child,
    log: Receiver<String>,
}

impl Kea {
    /// Starts it with its files in `dir`; it cleans them up every second.
    pub fn start(dir: &Path, family: u8) -> Kea {
        let subnets = match family {
            4 => json!({"subnet4": [{"id": 1, "subnet": "10.0.0.0/8"}]}),
            _ => json!({"subnet6": [{"id": 1, "subnet": "2001:db8::/32"}]}),
        };
        Kea::start_with(dir, family, subnets, &[])
    }

    /// Starts it with settings of its own, and with further arguments of its command line.
    pub fn start_with(dir: &Path, family: u8, settings: Value, arguments: &[String]) -> Kea {
        let mut config = json!({
            "interfaces-config": {"interfaces": []},
            "control-socket": {"socket-type": "unix", "socket-name": socket(dir, family)},
            "lease-database": {"type": "memfile", "persist": true, "name": leases(dir, family), "lfc-interval": 1},
            "hooks-libraries": [{"library": hook().expect("the hook")}],
            "valid-lifetime": 86_400,
            "loggers": [{"name": format!("kea-dhcp{family}"), "severity": "INFO", "output_options": [{"output": "stdout", "flush": true}]}],
        });
        let all = config.as_object_mut().expect("an object");
        if family == 6 {
            all.insert("data-directory".into(), json!(dir));
        }
        all.extend(settings.as_object().expect("an object").clone());
        let file = dir.join(format!("kea{family}.json"));
        let config = json!({format!("Dhcp{family}"): config});
        fs::write(&file, config.to_string()).unwrap();
        // Kea refuses to start while the clean-up of the one before still runs.
        (0..MOST_STARTS)
            .find_map(|_| Kea::spawn(dir, family, &file, arguments))
            .expect("a Kea that starts")
    }

    fn spawn(dir: &Path, family: u8, config: &Path, arguments: &[String]) -> Option<Kea> {
        let mut child = Command::new(format!("/usr/sbin/kea-dhcp{family}"))
            .arg("-c")
            .arg(config)
            .args(arguments)
            .env("KEA_LOCKFILE_DIR", dir)
            .env("KEA_PIDFILE_DIR", dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Kea");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (lines, log) = channel();
        thread::spawn(move || {
            let texts = output.lines().map_while(Result::ok);
            texts.into_iter().try_for_each(|text| lines.send(text))
        });
        let kea = Kea {
            dir: dir.into(),
            family,
            child,
            log,
        };
        let started = format!("DHCP{family}_STARTED");
        let mut lines = std::iter::from_fn(|| kea.log.recv_timeout(PATIENCE).ok());
        lines.any(|line| line.contains(&started)).then_some(kea)
    }

    /// Waits for a line of its log that comes from now on.
    pub fn wait_for_next(&self, part: &str) {
        self.log.try_iter().for_each(drop);
        self.wait_for_log(part);
    }

    fn wait_for_log(&self, part: &str) {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            if line
                .unwrap_or_else(|_| panic!("Kea logs no {part}"))
                .contains(part)
            {
                return;
            }
        }
    }

    /// Its live lease file.
    pub fn leases(&self) -> PathBuf {
        leases(&self.dir, self.family)
    }

    /// Ends it and starts it again.
    pub fn restart(self) -> Kea {
        let (dir, family) = (self.dir.clone(), self.family);
        drop(self);
        Kea::start(&dir, family)
    }

    /// A command of its API for leases, that of its protocol: `add` is `lease4-add` or `lease6-add`. It has to be obeyed.
    pub fn command(&self, command: &str, arguments: Value) -> Value {
        let name = format!("lease{}-{command}", self.family);
        let answer = self.ask(&json!({"command": name, "arguments": arguments}));
        assert_eq!(answer["result"], 0, "{name} {arguments}: {answer}");
        answer
    }

    /// What it answers on its control socket.
    pub fn ask(&self, request: &Value) -> Value {
        let mut stream = UnixStream::connect(socket(&self.dir, self.family)).expect("Kea's socket");
        stream.write_all(request.to_string().as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(&answer).expect("JSON")
    }

    /// All its leases.
    pub fn all(&self) -> Vec<Value> {
        let answer = self.command("get-all", json!({"subnets": [1]}));
        answer["arguments"]["leases"]
            .as_array()
            .expect("leases")
            .clone()
    }
}

impl Drop for Kea {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

fn socket(dir: &Path, family: u8) -> PathBuf {
    dir.join(format!("kea{family}.sock"))
}

fn leases(dir: &Path, family: u8) -> PathBuf {
    dir.join(format!("kea-leases{family}.csv"))
}

/// The address of the lease of this number.
pub fn address(family: u8, number: u32) -> IpAddr {
    match family {
        4 => Ipv4Addr::from(0x0a00_0000 + number).into(),
        _ => Ipv6Addr::from((0x2001_0db8_0007 << 80) + u128::from(number)).into(),
    }
}

/// The lease of this number as Kea's API takes it, obtained through one of 50 relay agents.
pub fn lease(family: u8, number: u32) -> Value {
    let [_, a, b, c] = number.to_be_bytes();
    let mut lease = json!({"ip-address": address(family, number), "subnet-id": 1});
    let more = match family {
        4 => json!({
            "hw-address": format!("02:00:00:{a:02x}:{b:02x}:{c:02x}"),
            "client-id": format!("01:02:00:00:{a:02x}:{b:02x}:{c:02x}"),
            "user-context": {"ISC": {"relay-agent-info": format!("0x0206{:012x}", number % 50)}},
        }),
        _ => json!({
            "duid": format!("00:03:00:01:02:00:00:{a:02x}:{b:02x}:{c:02x}"),
            "iaid": 1,
            "user-context": {"ISC": {"relays": [{
                "hop": 0,
                "link": "2001:db8:ffff::1",
                "peer": "fe80::1",
                "options": format!("0x0025000800000009{:08x}", number % 50),
            }]}},
        }),
    };
    let all = lease.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    lease
}

/// The same lease, as it is updated whether or not it is there.
pub fn renewed(family: u8, number: u32) -> Value {
    let mut lease = lease(family, number);
    lease["force-create"] = true.into();
    lease
}
