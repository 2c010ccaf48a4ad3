//! Bindings as a server exported them: NDJSON, one lease a line.
//!
//! Of each lease a digest of what does not change is kept, and where its line is in the file: that is read again where more
//! is needed, for a query over UDP, a change, or the words of a fault. An export does not say which link-addresses mean one
//! link: each counts as a link of its own.

mod load;

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use ahash::RandomState;
use leaseq_requestor::Family;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::lists::Lists;
use super::parse::Parsed;
use super::table::Table;
use super::{Content, DataError, First, LeaseKey, RelayData, Rows, Seen4};
use crate::changes::Change;
use crate::changes::mark::{self, CLIENT_FQDN, HOST_NAME};
use crate::scenario::By;
use load::Loader;

/// Octets of the longest line.
const LONGEST_LINE: usize = 1 << 20;
/// Octets of a line that are read at first.
const USUAL_LINE: usize = 2_048;
const IS_ACTIVE: u8 = 1;
const HAS_CLTT: u8 = 2;
const HAS_VALID: u8 = 4;

/// One lease.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// An IPv4 address in the last four octets.
    address: [u8; 16],
    /// Of what does not change; in DHCPv6 of the relay agents.
    digest: u64,
    /// Of its line in the file.
    offset: u64,
    cltt: u32,
    valid: u32,
    preferred: u32,
    /// Number of its VPN; 0: the global one.
    vpn: u16,
    /// Of a delegated prefix; 255: an address.
    prefix_len: u8,
    flags: u8,
}

/// What a server exported.
#[derive(Debug)]
pub(super) struct Export {
    file: File,
    entries: Vec<Entry>,
    /// The first so many of them were active.
    active: u32,
    table: Table,
    hasher: RandomState,
    /// VSS information of each VPN, type included; the first one is the global one's: nothing.
    vpns: Vec<Vec<u8>>,
    relay_ids: Lists,
    remote_ids: Lists,
    links: Lists,
    clients: Clients,
}

/// DHCPv6 rows by client and link.
#[derive(Debug, Default)]
struct Clients {
    /// Of each row its client.
    of: Vec<u32>,
    /// Rows in the order of their clients, and where those of each client begin.
    rows: Vec<u32>,
    starts: Vec<u32>,
    /// Of each client a digest of VPN and DUID.
    duids: Vec<u64>,
}

impl Export {
    pub(super) fn load(family: Family, path: &Path) -> Result<Self, DataError> {
        let read = |source| DataError::Read {
            path: path.to_owned(),
            source,
        };
        let wrong = |line, reason: String| DataError::Line {
            path: path.to_owned(),
            line,
            reason,
        };
        let file = File::open(path).map_err(read)?;
        let mut loader = Loader::new(family);
        let mut input = BufReader::with_capacity(1 << 20, &file);
        let (mut octets, mut offset, mut number) = (Vec::new(), 0_u64, 0_u64);
        // Place, length and number of the lines of leases that are not active: their rows come behind all others.
        let mut ended = Vec::new();
        loop {
            octets.clear();
            let length = input.read_until(b'\n', &mut octets).map_err(read)?;
            if length == 0 {
                break;
            }
            number += 1;
            if length > LONGEST_LINE {
                let most = LONGEST_LINE - 1;
                return Err(wrong(number, format!("expected at most {most} octets")));
            }
            if !octets.trim_ascii().is_empty() {
                let is_added = loader
                    .add(&octets, offset, true)
                    .map_err(|reason| wrong(number, reason))?;
                if !is_added {
                    ended.push((offset, length, number));
                }
            }
            offset += length as u64;
        }
        loader.active = loader.entries.len() as u32;
        for (offset, length, number) in ended {
            octets.resize(length, 0);
            file.read_exact_at(&mut octets, offset).map_err(read)?;
            loader
                .add(&octets, offset, false)
                .map_err(|reason| wrong(number, reason))?;
        }
        match loader.entries.is_empty() {
            true => Err(DataError::Empty),
            false => Ok(loader.finish(file)),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(super) fn active(&self) -> u32 {
        self.active
    }

    fn lists(&self, by: By) -> Option<&Lists> {
        match by {
            By::RelayId => Some(&self.relay_ids),
            By::RemoteId => Some(&self.remote_ids),
            By::Link => Some(&self.links),
            By::All | By::Address | By::Hwaddr | By::ClientId => None,
        }
    }

    pub(super) fn targets(&self, by: By) -> u32 {
        self.lists(by).map_or(0, Lists::len)
    }

    pub(super) fn target_id(&self, by: By, target: u32) -> Option<&[u8]> {
        self.lists(by)?.id(target)
    }

    pub(super) fn rows_of(&self, by: By, target: u32) -> Rows<'_> {
        match self.lists(by) {
            Some(lists) => Rows::list(lists.rows(target)),
            None => Rows::range(0, 0),
        }
    }

    pub(super) fn find(&self, key: LeaseKey<'_>) -> Option<u32> {
        match key {
            LeaseKey::V4(address) => self.find_in(IpAddr::V4(address), None, &[]),
            LeaseKey::V6 {
                address,
                prefix_len,
                vpn,
            } => self.find_in(IpAddr::V6(address), prefix_len, vpn),
        }
    }

    pub(super) fn find_in(&self, address: IpAddr, len: Option<u8>, vpn: &[u8]) -> Option<u32> {
        let vpn = self.vpns.iter().position(|known| known == vpn)? as u16;
        let key = (octets_of(address), len.unwrap_or(NO_PREFIX), vpn);
        self.table.find(self.hasher.hash_one(key), |row| {
            self.entries
                .get(row as usize)
                .is_some_and(|entry| key_of(entry) == key)
        })
    }

    pub(super) fn is_global(&self, row: u32) -> bool {
        self.entry(row).is_some_and(|entry| entry.vpn == 0)
    }

    fn entry(&self, row: u32) -> Option<&Entry> {
        self.entries.get(row as usize)
    }

    pub(super) fn first(&self, row: u32) -> First {
        let Some(entry) = self.entry(row) else {
            return First::default();
        };
        let has = |flag, value| (entry.flags & flag != 0).then_some(value);
        First {
            is_active: entry.flags & IS_ACTIVE != 0,
            cltt: has(HAS_CLTT, entry.cltt),
            preferred: entry.preferred,
            valid: has(HAS_VALID, entry.valid),
        }
    }

    pub(super) fn is_same4(&self, row: u32, seen: &Seen4<'_>) -> bool {
        let mut octets = SmallVec::<[u8; 256]>::new();
        let mut put = |octet| octets.push(octet);
        digest_octets4(
            (seen.htype, seen.chaddr),
            seen.client_id.iter().flat_map(|value| value.bytes()),
            seen.relay_info.iter().flat_map(|value| value.bytes()),
            &mut put,
        );
        let digest = self.hasher.hash_one(&octets[..]);
        self.entry(row).is_some_and(|entry| entry.digest == digest)
    }

    pub(super) fn is_duid(&self, row: u32, duid: &[u8]) -> bool {
        let vpn = self.entry(row).map_or(0, |entry| entry.vpn);
        let client = self.clients.of.get(row as usize);
        let held = client.and_then(|client| self.clients.duids.get(*client as usize));
        held == Some(&self.hasher.hash_one((vpn, duid)))
    }

    pub(super) fn is_relay_data(&self, row: u32, relay_data: &RelayData<'_>) -> bool {
        let mut octets = SmallVec::<[u8; 512]>::new();
        for hop in relay_data.hops() {
            octets.extend(hop.link.octets());
            octets.extend(hop.peer.octets());
            match hop.octets() {
                Some(options) => octets.extend_from_slice(options),
                None => hop.options().for_each(|(code, value)| {
                    octets.extend(code.to_be_bytes());
                    octets.extend((value.len() as u16).to_be_bytes());
                    octets.extend_from_slice(value);
                }),
            }
            octets.push(HOP_END);
        }
        let digest = self.hasher.hash_one(&octets[..]);
        self.entry(row).is_some_and(|entry| entry.digest == digest)
    }

    pub(super) fn client(&self, row: u32) -> Rows<'_> {
        let client = self.clients.of.get(row as usize).copied();
        Rows::list(client.map_or(&[], |client| self.clients.rows(client)))
    }

    pub(super) fn content(&self, row: u32) -> Option<Content> {
        let line = self.line(row)?;
        Parsed::read(&line).ok()?.content().ok()
    }

    /// The line that puts a row into a store, as it was at first or as a change makes it.
    pub(super) fn write(&self, row: u32, change: Option<Change>, out: &mut String) {
        let Some(line) = self.line(row) else { return };
        let Some(change) = change else {
            out.push_str(&String::from_utf8_lossy(line.trim_ascii()));
            out.push('\n');
            return;
        };
        let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(&line) else {
            return;
        };
        let is_v6 = fields.get("family").and_then(Value::as_u64) == Some(6);
        let state = if change.is_release {
            "released"
        } else {
            "active"
        };
        fields.insert("state".into(), state.into());
        fields.insert("cltt".into(), change.at.into());
        fields.remove("state_since");
        if let Some(valid) = self.first(row).valid.filter(|_| is_v6) {
            let preferred = mark::preferred(change.number, valid);
            fields.insert("preferred_lifetime".into(), preferred.into());
        }
        let code = if is_v6 { CLIENT_FQDN } else { HOST_NAME.into() };
        let mut value = String::new();
        change.write_hex(is_v6, &mut value);
        let options = fields.entry("options").or_insert_with(|| Map::new().into());
        if let Some(options) = options.as_object_mut() {
            options.insert(code.to_string(), value.into());
        }
        out.push_str(&Value::Object(fields).to_string());
        out.push('\n');
    }

    /// A row's line in the file, as far as it can be read.
    fn line(&self, row: u32) -> Option<Vec<u8>> {
        let offset = self.entry(row)?.offset;
        let mut line = vec![0; USUAL_LINE];
        loop {
            let mut length = 0;
            while length < line.len() {
                match self
                    .file
                    .read_at(&mut line[length..], offset + length as u64)
                {
                    Ok(0) => break,
                    Ok(more) => length += more,
                    Err(_) => return None,
                }
            }
            let end = line[..length].iter().position(|octet| *octet == b'\n');
            if end.is_some() || length < line.len() || line.len() >= LONGEST_LINE {
                line.truncate(end.unwrap_or(length));
                return Some(line);
            }
            line.resize(line.len() * 4, 0);
        }
    }
}

impl Clients {
    fn rows(&self, client: u32) -> &[u32] {
        let bound = |client: u32| {
            self.starts
                .get(client as usize)
                .map(|start| *start as usize)
        };
        let end = bound(client + 1).unwrap_or(self.rows.len());
        bound(client)
            .and_then(|start| self.rows.get(start..end))
            .unwrap_or_default()
    }

    /// Groups rows by DUID, and those by link; `keys`: digests of both, of each row.
    fn of(keys: &[(u64, u64)]) -> Self {
        let key = |row: u32| keys.get(row as usize).copied().unwrap_or_default();
        let mut clients = Self {
            of: vec![0; keys.len()],
            rows: (0..keys.len() as u32).collect(),
            ..Self::default()
        };
        clients.rows.sort_unstable_by_key(|row| (key(*row), *row));
        let mut last = None;
        for (place, row) in clients.rows.iter().enumerate() {
            let key = key(*row);
            if last.replace(key) != Some(key) {
                clients.starts.push(place as u32);
                clients.duids.push(key.0);
            }
            clients.of[*row as usize] = clients.starts.len() as u32 - 1;
        }
        clients
    }

    /// All rows of the DUID of a row, on whatever link.
    fn of_duid(&self, row: u32) -> &[u32] {
        let Some(client) = self.of.get(row as usize).map(|client| *client as usize) else {
            return &[];
        };
        let duid = self.duids[client];
        let first = self.duids[..client]
            .iter()
            .rev()
            .take_while(|other| **other == duid)
            .count();
        let last = self.duids[client..]
            .iter()
            .take_while(|other| **other == duid)
            .count();
        let bound = |client: usize| {
            self.starts
                .get(client)
                .map_or(self.rows.len(), |start| *start as usize)
        };
        self.rows
            .get(bound(client - first)..bound(client + last))
            .unwrap_or_default()
    }
}

/// The prefix length of an address.
const NO_PREFIX: u8 = u8::MAX;
/// Between the relay agents in what is digested.
const HOP_END: u8 = 0xff;

fn octets_of(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()).to_be_bytes(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn key_of(entry: &Entry) -> ([u8; 16], u8, u16) {
    (entry.address, entry.prefix_len, entry.vpn)
}

/// Puts what does not change of a DHCPv4 binding into one string of octets.
fn digest_octets4(
    (htype, chaddr): (u8, &[u8]),
    client_id: impl Iterator<Item = u8>,
    relay_info: impl Iterator<Item = u8>,
    put: &mut dyn FnMut(u8),
) {
    let mut length = 0_u32;
    put(if chaddr.is_empty() { 0 } else { htype });
    put(chaddr.len() as u8);
    chaddr.iter().for_each(|octet| put(*octet));
    for octet in client_id {
        length += 1;
        put(octet);
    }
    relay_info.for_each(&mut *put);
    length.to_be_bytes().into_iter().for_each(put);
}
