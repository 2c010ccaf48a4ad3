//! Reads an export line by line, and keeps of each lease what is compared.

use std::fs::File;
use std::net::IpAddr;

use ahash::{AHashMap, RandomState};
use leaseq_requestor::Family;
use leaseq_wire::v4::suboption;
use leaseq_wire::v6::{OptionsIter, option_code as code6};
use smallvec::SmallVec;

use super::{
    Clients, Entry, Export, HAS_CLTT, HAS_VALID, HOP_END, IS_ACTIVE, NO_PREFIX, digest_octets4,
    key_of, octets_of,
};
use crate::data::lists::ListsBuilder;
use crate::data::parse::Parsed;
use crate::data::rows::INDIRECT;
use crate::data::table::Table;
use crate::data::{Content, MOST_ROWS};

/// Reads lines one by one.
pub(super) struct Loader {
    family: Family,
    pub(super) entries: Vec<Entry>,
    /// The first so many of them are active.
    pub(super) active: u32,
    table: Table,
    hasher: RandomState,
    vpns: Vec<Vec<u8>>,
    vpn_numbers: AHashMap<Vec<u8>, u16>,
    relay_ids: ListsBuilder,
    remote_ids: ListsBuilder,
    links: ListsBuilder,
    /// Digests of DUID and link of each DHCPv6 row.
    clients: Vec<(u64, u64)>,
}

impl Loader {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            entries: Vec::new(),
            active: 0,
            table: Table::default(),
            // The same in every process.
            hasher: RandomState::with_seeds(0x6c67, 0x6578, 0x706f, 0x7274),
            vpns: vec![Vec::new()],
            vpn_numbers: AHashMap::from_iter([(Vec::new(), 0)]),
            relay_ids: ListsBuilder::new(),
            remote_ids: ListsBuilder::new(),
            links: ListsBuilder::new(),
            clients: Vec::new(),
        }
    }

    /// Adds a line's lease, if it is one of the family that is wanted and is active or not as said. `false`: it is the
    /// other.
    pub(super) fn add(&mut self, line: &[u8], offset: u64, active: bool) -> Result<bool, String> {
        let parsed = Parsed::read(line)?;
        if parsed.family != self.family {
            return Ok(true);
        }
        if parsed.is_active != active {
            return Ok(false);
        }
        let row = self.entries.len() as u32;
        if row >= MOST_ROWS {
            return Err(format!("more than {MOST_ROWS} leases"));
        }
        let content = parsed.content()?;
        let vpn = match self.vpn_numbers.get(&parsed.vpn) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(self.vpns.len()).map_err(|_| "more than 65536 VPNs")?;
                self.vpns.push(parsed.vpn.clone());
                self.vpn_numbers.insert(parsed.vpn.clone(), number);
                number
            }
        };
        let mut octets = SmallVec::<[u8; 512]>::new();
        match self.family {
            Family::V4 => self.digest4(row, &content, &mut octets),
            Family::V6 => self.digest6(row, vpn, &content, parsed.link, &mut octets),
        }
        let has = |flag, is: bool| if is { flag } else { 0 };
        let entry = Entry {
            address: octets_of(content.address),
            digest: self.hasher.hash_one(&octets[..]),
            offset,
            cltt: parsed.cltt.unwrap_or_default(),
            valid: parsed.valid.unwrap_or_default(),
            preferred: parsed.preferred.or(parsed.valid).unwrap_or(u32::MAX),
            vpn,
            prefix_len: content.prefix_len.unwrap_or(NO_PREFIX),
            flags: has(IS_ACTIVE, parsed.is_active)
                | has(HAS_CLTT, parsed.cltt.is_some())
                | has(HAS_VALID, parsed.valid.is_some()),
        };
        let (hasher, entries) = (&self.hasher, &self.entries);
        let hash = hasher.hash_one(key_of(&entry));
        let is_known = |other: u32| {
            entries
                .get(other as usize)
                .is_some_and(|other| key_of(other) == key_of(&entry))
        };
        if self.table.find(hash, is_known).is_some() {
            return Err(format!("{content} is there a second time"));
        }
        self.entries.push(entry);
        let entries = &self.entries;
        self.table.insert(hash, row, &|row| {
            entries
                .get(row as usize)
                .map_or(0, |entry| hasher.hash_one(key_of(entry)))
        });
        Ok(true)
    }

    fn digest4(&mut self, row: u32, content: &Content, octets: &mut SmallVec<[u8; 512]>) {
        let hwaddr = content.hwaddr.as_ref();
        let value = |value: &Option<Vec<u8>>| value.clone().unwrap_or_default().into_iter();
        digest_octets4(
            hwaddr.map_or((0, &[]), |(htype, octets)| (*htype, octets.as_slice())),
            value(&content.client_id),
            value(&content.relay_info),
            &mut |octet| octets.push(octet),
        );
        for (code, ids) in [
            (suboption::RELAY_ID, &mut self.relay_ids),
            (suboption::REMOTE_ID, &mut self.remote_ids),
        ] {
            if let Some(id) = content.suboption(code).filter(|id| !id.is_empty()) {
                ids.add(id, row);
            }
        }
    }

    fn digest6(
        &mut self,
        row: u32,
        vpn: u16,
        content: &Content,
        link: Option<IpAddr>,
        octets: &mut SmallVec<[u8; 512]>,
    ) {
        for relay in &content.relays {
            octets.extend(relay.link.octets());
            octets.extend(relay.peer.octets());
            octets.extend_from_slice(&relay.options);
            octets.push(HOP_END);
            for (code, value) in OptionsIter::unchecked(&relay.options) {
                match code {
                    code6::RELAY_ID => self.relay_ids.add(value, row),
                    code6::REMOTE_ID => self.remote_ids.add(value, row),
                    _ => {}
                }
            }
        }
        if let Some(IpAddr::V6(link)) = link {
            self.links.add(&link.octets(), row);
        }
        let duid = content.duid.as_deref().unwrap_or_default();
        let duid = self.hasher.hash_one((vpn, duid));
        self.clients.push((duid, self.hasher.hash_one(link)));
    }

    pub(super) fn finish(mut self, file: File) -> Export {
        self.entries.shrink_to_fit();
        let clients = Clients::of(&self.clients);
        // With a lease of a client its other ones are told too.
        let more = |row: u32, each: &mut dyn FnMut(u32)| {
            clients
                .of_duid(row)
                .iter()
                .copied()
                .filter(|other| *other != row)
                .for_each(each);
        };
        Export {
            relay_ids: self.relay_ids.finish(INDIRECT, &more),
            remote_ids: self.remote_ids.finish(INDIRECT, &more),
            links: self.links.finish(INDIRECT, &|_, _| {}),
            file,
            entries: self.entries,
            active: self.active,
            table: self.table,
            hasher: self.hasher,
            vpns: self.vpns,
            clients,
        }
    }
}
