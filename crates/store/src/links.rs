//! Links: which one an address means, and the clients on each.
//!
//! Configured links come first and have the first numbers. Others get a number when a binding tells them: by its
//! link-address, by its source's subnet number, or as the one unknown link. Numbers are never taken back.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Ipv6Addr;
use std::sync::{Arc, OnceLock};

use crate::checkpoint::{get_link, odd, put_link};
use crate::event::{LeaseKind, Link6, mask};
use crate::index::{Hasher, IdList, IdListWriter, KeyIndex, KeyIndexWriter};
use crate::topology::{LinkConfig, Prefix6};

/// Entries of a chunk, and most chunks: about 16 million links.
const CHUNK: usize = 4_096;
const CHUNKS: usize = 4_096;
/// Kind of hash for links; see [`crate::keys`].
const HASH_KIND: u8 = crate::keys::LINK;

/// Prefixes to links: the longest one that contains an address.
#[derive(Debug, Default)]
struct Prefixes {
    /// Lengths in use, the longest first.
    lengths: Vec<u8>,
    links: HashMap<(u8, u128), u32>,
}

impl Prefixes {
    fn add(&mut self, prefix: Prefix6, link: u32) {
        let address = mask(prefix.address, prefix.len).to_bits();
        self.links.entry((prefix.len, address)).or_insert(link);
        if let Err(at) = self
            .lengths
            .binary_search_by(|length| prefix.len.cmp(length))
        {
            self.lengths.insert(at, prefix.len);
        }
    }

    fn find(&self, address: Ipv6Addr) -> Option<u32> {
        self.lengths.iter().find_map(|&length| {
            self.links
                .get(&(length, mask(address, length).to_bits()))
                .copied()
        })
    }
}

/// What is known of one link.
struct Entry {
    /// What bindings call it; a configured link has no name of this kind.
    link: Option<Link6>,
    /// The first link-address that a binding told.
    told: OnceLock<Ipv6Addr>,
    groups: Arc<IdList>,
}

/// Entries that never move; a place is set once.
type Chunk = Box<[OnceLock<Entry>]>;

fn no_chunks() -> Box<[OnceLock<Chunk>]> {
    (0..CHUNKS).map(|_| OnceLock::new()).collect()
}

/// What readers see of the links.
pub(crate) struct Links {
    hasher: Hasher,
    prefixes: Prefixes,
    delegated: Prefixes,
    /// An address of each configured link.
    configured: Vec<Option<Ipv6Addr>>,
    known: Arc<KeyIndex>,
    chunks: Box<[OnceLock<Chunk>]>,
}

impl Links {
    fn entry(&self, link: u32) -> Option<&Entry> {
        let link = link as usize;
        self.chunks
            .get(link / CHUNK)?
            .get()?
            .get(link % CHUNK)?
            .get()
    }

    fn hash(&self, link: Link6) -> u64 {
        match link {
            Link6::Unknown => self.hasher.hash(HASH_KIND, &[&[0]]),
            Link6::Address(address) => self.hasher.hash(HASH_KIND, &[&[1], &address.octets()]),
            Link6::Subnet(number) => self.hasher.hash(HASH_KIND, &[&[2], &number.to_be_bytes()]),
        }
    }

    fn named(&self, link: Link6) -> Option<u32> {
        let is_it = |number| {
            self.entry(number)
                .is_some_and(|entry| entry.link == Some(link))
        };
        self.known.find(self.hash(link), is_it)
    }

    fn configured_for(&self, link: Link6, kind: LeaseKind, address: Ipv6Addr) -> Option<u32> {
        if self.configured.is_empty() {
            return None;
        }
        let by_link = match link {
            Link6::Address(link) => self.prefixes.find(link),
            _ => None,
        };
        by_link.or_else(|| match kind {
            LeaseKind::Pd => self
                .delegated
                .find(address)
                .or_else(|| self.prefixes.find(address)),
            LeaseKind::Na | LeaseKind::Ta => self.prefixes.find(address),
        })
    }

    /// The link of a lease.
    pub(crate) fn of_lease(&self, link: Link6, kind: LeaseKind, address: Ipv6Addr) -> Option<u32> {
        self.configured_for(link, kind, address)
            .or_else(|| self.named(link))
    }

    /// The link that an address means: a configured one, else one known by exactly this link-address.
    pub(crate) fn of_address(&self, address: Ipv6Addr) -> Option<u32> {
        self.prefixes
            .find(address)
            .or_else(|| self.named(Link6::Address(address)))
    }

    /// Whether the address lies inside a prefix of a configured link.
    pub(crate) fn knows(&self, address: Ipv6Addr) -> bool {
        self.prefixes
            .find(address)
            .or_else(|| self.delegated.find(address))
            .is_some()
    }

    /// An address of the link.
    pub(crate) fn address(&self, link: u32) -> Option<Ipv6Addr> {
        let told = self.entry(link).and_then(|entry| entry.told.get().copied());
        told.or_else(|| self.configured.get(link as usize).copied().flatten())
    }

    /// The clients on the link.
    pub(crate) fn groups(&self, link: u32) -> Option<&Arc<IdList>> {
        self.entry(link).map(|entry| &entry.groups)
    }
}

/// The writer's side of [`Links`].
pub(crate) struct LinksWriter {
    shared: Arc<Links>,
    known: KeyIndexWriter,
    groups: Vec<IdListWriter>,
}

impl LinksWriter {
    /// The configured links, and none other yet.
    pub(crate) fn new(config: &[LinkConfig], hasher: Hasher) -> LinksWriter {
        let (mut prefixes, mut delegated) = (Prefixes::default(), Prefixes::default());
        for (link, config) in (0..).zip(config) {
            config
                .prefixes
                .iter()
                .for_each(|prefix| prefixes.add(*prefix, link));
            config
                .delegated
                .iter()
                .for_each(|prefix| delegated.add(*prefix, link));
        }
        let first = |link: &LinkConfig| {
            link.prefixes
                .first()
                .map(|prefix| mask(prefix.address, prefix.len))
        };
        let known = KeyIndexWriter::with_capacity(0);
        let shared = Links {
            hasher,
            prefixes,
            delegated,
            configured: config.iter().map(first).collect(),
            known: known.shared(),
            chunks: no_chunks(),
        };
        let mut links = LinksWriter {
            shared: Arc::new(shared),
            known,
            groups: Vec::new(),
        };
        for _ in config {
            links.put(None, IdListWriter::new());
        }
        links
    }

    /// The readers' side.
    pub(crate) fn shared(&self) -> Arc<Links> {
        Arc::clone(&self.shared)
    }

    fn put(&mut self, link: Option<Link6>, groups: IdListWriter) -> Option<u32> {
        let number = self.groups.len();
        let chunk = self.shared.chunks.get(number / CHUNK)?;
        let entry = Entry {
            link,
            told: OnceLock::new(),
            groups: groups.shared(),
        };
        let entries = chunk.get_or_init(|| (0..CHUNK).map(|_| OnceLock::new()).collect());
        // The place is new, so the entry is set.
        let _ = entries[number % CHUNK].set(entry);
        self.groups.push(groups);
        u32::try_from(number).ok()
    }

    /// The link of a lease; it gets a number if it has none. `None`: there are too many links.
    pub(crate) fn resolve(
        &mut self,
        link: Link6,
        kind: LeaseKind,
        address: Ipv6Addr,
    ) -> Option<u32> {
        let number = match self.shared.of_lease(link, kind, address) {
            Some(number) => number,
            None => {
                let number = self.put(Some(link), IdListWriter::new())?;
                self.known.insert(self.shared.hash(link), number);
                number
            }
        };
        if let (Link6::Address(told), Some(entry)) = (link, self.shared.entry(number)) {
            entry.told.get_or_init(|| told);
        }
        Some(number)
    }

    /// The clients on the link, to change them.
    pub(crate) fn groups_mut(&mut self, link: u32) -> Option<&mut IdListWriter> {
        self.groups.get_mut(link as usize)
    }

    /// Number of links.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Writes the links that bindings have told, and the clients on all.
    pub(crate) fn save(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.groups.len() as u64).to_le_bytes())?;
        for (number, groups) in (0..).zip(&self.groups) {
            let entry = self
                .shared
                .entry(number)
                .ok_or_else(|| odd("a link without an entry"))?;
            put_link(out, entry.link.unwrap_or(Link6::Unknown))?;
            put_link(
                out,
                entry
                    .told
                    .get()
                    .map_or(Link6::Unknown, |told| Link6::Address(*told)),
            )?;
            groups.save(out)?;
        }
        Ok(())
    }

    /// Reads what [`LinksWriter::save`] wrote, into links of the same configuration that are still empty.
    pub(crate) fn load(&mut self, input: &mut impl Read) -> io::Result<()> {
        let mut count = [0; 8];
        input.read_exact(&mut count)?;
        let count = u64::from_le_bytes(count);
        if count < self.groups.len() as u64 || count > (CHUNK * CHUNKS) as u64 {
            return Err(odd("a number of links that cannot be"));
        }
        let configured = std::mem::take(&mut self.groups).len();
        let shared = Arc::get_mut(&mut self.shared).ok_or_else(|| odd("the links are in use"))?;
        shared.chunks = no_chunks();
        for number in 0..count as usize {
            let link = get_link(input)?;
            let told = get_link(input)?;
            let groups = IdListWriter::load(input)?;
            let link = (number >= configured).then_some(link);
            if let Some(link) = link {
                self.known.insert(self.shared.hash(link), number as u32);
            }
            let entry = self
                .put(link, groups)
                .and_then(|number| self.shared.entry(number));
            if let (Some(entry), Link6::Address(told)) = (entry, told) {
                entry.told.get_or_init(|| told);
            }
        }
        Ok(())
    }

    /// Octets taken.
    pub(crate) fn memory(&self) -> usize {
        let lists: usize = self.groups.iter().map(IdListWriter::memory).sum();
        lists + self.known.memory() + self.groups.len() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> LinksWriter {
        let prefix = |text: &str, len| Prefix6 {
            address: text.parse().unwrap(),
            len,
        };
        let pop = LinkConfig {
            name: "pop-7".to_owned(),
            prefixes: vec![prefix("2001:db8:7::", 48), prefix("2001:db8:7:7::", 64)],
            delegated: vec![prefix("2001:db8:7000::", 36)],
        };
        let inner = LinkConfig {
            name: "inner".to_owned(),
            prefixes: vec![prefix("2001:db8:7:8::", 64)],
            delegated: vec![],
        };
        LinksWriter::new(&[pop, inner], Hasher::with_seeds([1, 2, 3, 4]))
    }

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn configured_links_come_first() {
        let mut links = links();
        let elsewhere = ip("2001:db8:ffff::1");
        assert_eq!(
            links.resolve(
                Link6::Address(ip("2001:db8:7::1")),
                LeaseKind::Na,
                elsewhere
            ),
            Some(0)
        );
        assert_eq!(
            links.resolve(
                Link6::Address(ip("2001:db8:7:8::1")),
                LeaseKind::Na,
                elsewhere
            ),
            Some(1)
        );
        assert_eq!(
            links.resolve(Link6::Unknown, LeaseKind::Pd, ip("2001:db8:7100::")),
            Some(0)
        );
        assert_eq!(
            links.resolve(Link6::Unknown, LeaseKind::Na, ip("2001:db8:7100::")),
            Some(2)
        );
        assert_eq!(links.shared().address(0), Some(ip("2001:db8:7::1")));
    }

    #[test]
    fn other_links_are_known_by_what_tells_them() {
        let mut links = links();
        let lease = ip("2001:db8:ffff::1");
        let by_address = links
            .resolve(Link6::Address(ip("2001:db8:9::1")), LeaseKind::Na, lease)
            .unwrap();
        let by_number = links
            .resolve(Link6::Subnet(9), LeaseKind::Na, lease)
            .unwrap();
        let unknown = links.resolve(Link6::Unknown, LeaseKind::Na, lease).unwrap();
        assert_eq!([by_address, by_number, unknown], [2, 3, 4]);
        assert_eq!(
            links.resolve(Link6::Subnet(9), LeaseKind::Na, lease),
            Some(by_number)
        );
        let shared = links.shared();
        assert_eq!(shared.of_address(ip("2001:db8:9::1")), Some(by_address));
        assert_eq!(shared.of_address(ip("2001:db8:9::2")), None);
        assert!(shared.knows(ip("2001:db8:7000::1")) && !shared.knows(lease));
        assert_eq!(shared.address(by_number), None);
    }
}
