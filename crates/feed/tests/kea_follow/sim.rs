//! A Kea that appends to its lease file and cleans it up, step by step, and a model of what it holds.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

pub const HEADER: &str = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n";
/// Steps of a clean-up.
pub const CYCLE: usize = 9;
/// Lifetime of all leases: none runs out while a test runs.
const LIFETIME: u32 = 1 << 30;

/// What a lease tells: its client's last transaction.
pub type Model = BTreeMap<Ipv4Addr, u32>;

pub struct Sim {
    dir: tempfile::TempDir,
    live: Option<File>,
    /// The next step of the clean-up.
    step: usize,
    clock: u32,
    /// The rest of a row that is half written.
    rest: Option<String>,
    pub model: Model,
}

pub fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

impl Sim {
    pub fn new() -> Sim {
        let dir = tempfile::tempdir().unwrap();
        let mut sim = Sim {
            dir,
            live: None,
            step: 0,
            clock: 1_700_000_000,
            rest: None,
            model: Model::new(),
        };
        sim.reopen();
        sim.write(HEADER);
        sim
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("leases4.csv{suffix}"))
    }

    /// Whether Kea can write rows: not between the steps that put a new file in place.
    pub fn is_live(&self) -> bool {
        self.live.is_some() && self.step != 2
    }

    /// Opens the live file anew, as a Kea that was started again.
    pub fn reopen(&mut self) {
        if self.step != 1 {
            let mut options = OpenOptions::new();
            self.live = Some(
                options
                    .append(true)
                    .create(true)
                    .open(self.file(""))
                    .unwrap(),
            );
        }
    }

    pub fn write(&mut self, text: &str) {
        let rest = self.rest.take().unwrap_or_default();
        if self.is_live() {
            let text = rest + text;
            self.live
                .as_ref()
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
        }
    }

    /// Gives out a lease, or renews it.
    pub fn lease(&mut self, number: u8) {
        if let Some(row) = self.leased(number) {
            self.write(&row);
        }
    }

    fn leased(&mut self, number: u8) -> Option<String> {
        if !self.is_live() {
            return None;
        }
        self.clock += 1;
        self.model.insert(address(number), self.clock);
        Some(self.row(number, LIFETIME, self.clock + LIFETIME, 0))
    }

    /// Gives out a lease, and is interrupted while it writes the row.
    pub fn half(&mut self, number: u8) {
        if self.rest.is_some() {
            self.write("");
        }
        if let Some(row) = self.leased(number) {
            let (first, rest) = row.split_at(row.len() / 2);
            self.write(first);
            self.rest = Some(rest.to_owned());
        }
    }

    /// Takes a lease away.
    pub fn remove(&mut self, number: u8) {
        if self.is_live() && self.model.remove(&address(number)).is_some() {
            self.write(&self.row(number, 0, self.clock, 0));
        }
    }

    /// Takes back a lease that ran out.
    pub fn expire(&mut self, number: u8) {
        if self.is_live() && self.model.remove(&address(number)).is_some() {
            self.write(&self.row(number, 60, self.clock - 60, 2));
        }
    }

    fn row(&self, number: u8, lifetime: u32, expire: u32, state: u8) -> String {
        let address = address(number);
        format!("{address},02:00:00:00:00:{number:02x},,{lifetime},{expire},1,0,0,,{state},,0\n")
    }

    /// The next step of a clean-up.
    pub fn step(&mut self) {
        if self.rest.is_some() {
            self.write("");
        }
        let (output, completed) = (self.file(".output"), self.file(".completed"));
        match self.step {
            0 => {
                self.live = None;
                fs::rename(self.file(""), self.file(".1")).unwrap();
            }
            1 => self.live = Some(File::create_new(self.file("")).unwrap()),
            2 => self
                .live
                .as_ref()
                .unwrap()
                .write_all(HEADER.as_bytes())
                .unwrap(),
            3 => fs::write(&output, &HEADER[..20]).unwrap(),
            4 => fs::write(&output, self.merged()).unwrap(),
            5 => fs::rename(&output, &completed).unwrap(),
            6 => drop(fs::remove_file(self.file(".2"))),
            7 => fs::remove_file(self.file(".1")).unwrap(),
            _ => fs::rename(&completed, self.file(".2")).unwrap(),
        }
        self.step = (self.step + 1) % CYCLE;
    }

    /// Goes on to the end of the clean-up under way.
    pub fn finish(&mut self) {
        if self.rest.is_some() {
            self.write("");
        }
        while self.step != 0 {
            self.step();
        }
    }

    /// The last rows of `.2` and `.1`, without those that take leases away.
    fn merged(&self) -> String {
        let mut last = BTreeMap::new();
        for suffix in [".2", ".1"] {
            let text = fs::read_to_string(self.file(suffix)).unwrap_or_default();
            for row in text.lines().skip(1) {
                let fields: Vec<&str> = row.split(',').collect();
                match fields[..] {
                    [address, _, _, "0", ..] => drop(last.remove(address)),
                    [address, _, _, _, _, ..] => {
                        last.insert(address.to_owned(), row.to_owned());
                    }
                    _ => {}
                }
            }
        }
        let rows = last.values().map(|row| format!("{row}\n"));
        HEADER.to_owned() + &rows.collect::<String>()
    }
}
