//! The checkpoint: the indexes as they were at a clean stop, so that the next start need not derive them from the log.
//!
//! It is believed only if its fingerprint and sequence are those of the store at hand; anything odd in it means that the
//! log is scanned instead. A file of 64 octets of header, then the indexes one after the other.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use crate::event::Link6;
use crate::index::{
    ExpiryQueue, GroupsWriter, Hasher, IdListWriter, KeyIndexWriter, PostingsWriter,
    SlotTableWriter,
};
use crate::log::{LogView, Pos};
use crate::open::Loaded;
use crate::options::{LoadPhase, LoadProgress, Options};
use crate::record::{Record, parse};
use crate::topology::Topology;
use crate::vpn::Vpn;
use crate::writer::Writer;

const NAME: &str = "checkpoint";
const UNFINISHED: &str = "checkpoint.tmp";
const MAGIC: &[u8; 8] = b"LEASEQCP";
const VERSION: u32 = 2;
const HEADER: usize = 64;
/// Octets of the buffers between the indexes and the file.
const BUFFER: usize = 1 << 20;

/// What the indexes depend on besides the log.
pub(crate) fn fingerprint(hasher: &Hasher, topology: &Topology) -> u64 {
    let text = format!(
        "{VERSION}/{}/{:?}/{:08x}/{topology:?}",
        usize::BITS,
        hasher.fingerprint(),
        layout()
    );
    hasher.hash(u8::MAX, &[text.as_bytes()])
}

/// A checksum of small indexes as they are saved. Where an entry lies is known to the code alone, so a change of that must
/// not depend on somebody remembering to count a version up.
fn layout() -> u32 {
    let mut saved = Vec::new();
    save_sample(&mut saved).map_or(0, |()| crc32fast::hash(&saved))
}

fn save_sample(out: &mut Vec<u8>) -> io::Result<()> {
    let spread = |id: u32| u64::from(id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // A few values have many ids, the others two.
    let value = |id: u32| {
        if id.is_multiple_of(8) {
            id % 128
        } else {
            id / 2 + 128
        }
    };
    let mut keys = KeyIndexWriter::with_capacity(0);
    let mut postings = PostingsWriter::with_capacity(0);
    let mut slots = SlotTableWriter::new();
    let mut groups = GroupsWriter::new();
    let mut list = IdListWriter::new();
    let mut expiry = ExpiryQueue::new(1 << 30);
    for id in 0..4096 {
        keys.insert(spread(id), id);
        postings.insert(spread(value(id)), id, |other| value(other) == value(id));
        if let Some(slot) = slots.alloc() {
            slots.set_pos(slot, u64::from(id));
        }
        if let Some(group) = groups.create(id) {
            groups.insert(group, id);
        }
        list.insert(id);
        expiry.schedule(id, (1 << 30) + id * 97);
    }
    keys.save(out)?;
    postings.save(out)?;
    slots.save_with(out, |pos| pos)?;
    groups.save(out)?;
    list.save(out)?;
    expiry.save(out)
}

/// Writes, and sums up what was written.
struct Summed<W> {
    inner: W,
    crc: crc32fast::Hasher,
    octets: u64,
}

impl<W> Summed<W> {
    fn new(inner: W) -> Self {
        Summed {
            inner,
            crc: crc32fast::Hasher::new(),
            octets: 0,
        }
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(octets)?;
        self.crc.update(&octets[..written]);
        self.octets += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(octets)?;
        self.crc.update(&octets[..read]);
        self.octets += read as u64;
        Ok(read)
    }
}

/// The file's header.
struct Header {
    fingerprint: u64,
    last_sequence: u64,
    octets: u64,
    crc: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        octets[..8].copy_from_slice(MAGIC);
        octets[8..12].copy_from_slice(&VERSION.to_le_bytes());
        octets[16..24].copy_from_slice(&self.fingerprint.to_le_bytes());
        octets[24..32].copy_from_slice(&self.last_sequence.to_le_bytes());
        octets[32..40].copy_from_slice(&self.octets.to_le_bytes());
        octets[40..44].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&octets);
        octets[12..16].copy_from_slice(&crc.to_le_bytes());
        octets
    }

    fn parse(octets: &[u8; HEADER]) -> Option<Header> {
        let word = |at: usize| {
            octets[at..]
                .first_chunk()
                .map_or(0, |chunk| u64::from_le_bytes(*chunk))
        };
        let half = |at: usize| {
            octets[at..]
                .first_chunk()
                .map_or(0, |chunk| u32::from_le_bytes(*chunk))
        };
        let header = Header {
            fingerprint: word(16),
            last_sequence: word(24),
            octets: word(32),
            crc: half(40),
        };
        (header.encode() == *octets).then_some(header)
    }
}

/// Reads the checkpoint into empty indexes, if there is one for exactly this store.
pub(crate) fn read(
    dir: &Path,
    fingerprint: u64,
    last_sequence: u64,
    view: &LogView,
    into: Loaded,
    options: &Options,
) -> Option<Loaded> {
    let file = File::open(dir.join(NAME)).ok()?;
    let total = file.metadata().ok()?.len();
    let tell = |done| {
        if let Some(progress) = &options.progress {
            progress(LoadProgress {
                phase: LoadPhase::Checkpoint,
                done,
                total,
            });
        }
    };
    tell(0);
    match try_read(file, fingerprint, last_sequence, view, into) {
        Ok(loaded) => {
            tell(total);
            Some(loaded)
        }
        Err(error) => {
            tracing::info!(id = "checkpoint-unused", %error, "the indexes are derived from the log");
            None
        }
    }
}

fn try_read(
    file: File,
    fingerprint: u64,
    last_sequence: u64,
    view: &LogView,
    into: Loaded,
) -> io::Result<Loaded> {
    let mut file = BufReader::with_capacity(BUFFER, file);
    let mut octets = [0; HEADER];
    file.read_exact(&mut octets)?;
    let header = Header::parse(&octets).ok_or_else(|| odd("its header is damaged"))?;
    if header.fingerprint != fingerprint || header.last_sequence != last_sequence {
        return Err(odd(
            "it is of another state of the store, or of another configuration",
        ));
    }
    let mut input = Summed::new(file.take(header.octets));
    let loaded = load(&mut input, into)?;
    if input.octets != header.octets || input.crc.clone().finalize() != header.crc {
        return Err(odd("its checksum is wrong"));
    }
    check(&loaded, view)?;
    Ok(loaded)
}

/// The indexes must lead to segments that there are.
fn check(loaded: &Loaded, view: &LogView) -> io::Result<()> {
    let slots = &loaded.indexes.slots;
    // The positions of a few slots, all over the table, show whether the segments are numbered as they were.
    let step = (slots.high() / 1_024).max(1) as usize;
    for slot in (0..slots.high()).step_by(step) {
        let pos = Pos::from_raw(slots.pos(slot));
        if !pos.is_none() && !view.contains(pos) {
            return Err(odd("a position in it leads nowhere"));
        }
    }
    Ok(())
}

/// Removes the checkpoint: from now on the log is ahead of it.
pub(crate) fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the checkpoint of a store that is about to stop.
pub(crate) fn write(writer: &Writer) -> io::Result<()> {
    let dir = writer.log.home().dir().to_owned();
    let unfinished = dir.join(UNFINISHED);
    let file = File::create(&unfinished)?;
    let mut file = BufWriter::with_capacity(BUFFER, file);
    file.write_all(&[0; HEADER])?;
    let mut out = Summed::new(file);
    save(&mut out, writer)?;
    let header = Header {
        fingerprint: writer.fingerprint,
        last_sequence: writer.log.next_sequence() - 1,
        octets: out.octets,
        crc: out.crc.finalize(),
    };
    let mut file = out
        .inner
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.seek(io::SeekFrom::Start(0))?;
    file.write_all(&header.encode())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, dir.join(NAME))?;
    File::open(&dir)?.sync_all()
}

fn save(out: &mut impl Write, writer: &Writer) -> io::Result<()> {
    let indexes = &writer.indexes;
    let renumbering = writer.log.renumbering();
    let after = |pos: u64| renumbering.after_reopening(Pos::from_raw(pos)).raw();
    indexes.slots.save_with(out, after)?;
    indexes.keys.save(out)?;
    indexes.ranges.save(out)?;
    indexes.outside.save(out)?;
    for postings in [
        &indexes.hwaddr,
        &indexes.client_id,
        &indexes.remote_id4,
        &indexes.relay_id4,
    ] {
        postings.save(out)?;
    }
    indexes.groups.save(out)?;
    for postings in [&indexes.duid, &indexes.remote_id6, &indexes.relay_id6] {
        postings.save(out)?;
    }
    indexes.links.save(out)?;
    indexes.expiry.save(out)?;
    indexes.forget.save(out)?;
    for word in indexes.prefix_lengths.words() {
        put(out, word)?;
    }
    for count in indexes.counts.states() {
        put(out, count)?;
    }
    let vpns = writer.shared.vpns.load();
    put(out, vpns.len() as u64)?;
    for vpn in vpns.iter() {
        put(out, vpn.vss().len() as u64)?;
        out.write_all(vpn.vss())?;
    }
    let dead = writer.log.dead_by_segment();
    put(out, dead.len() as u64)?;
    for (pos, octets, records) in dead {
        put(out, after(pos.raw()))?;
        put(out, octets)?;
        put(out, records)?;
    }
    // Feeds: their newest records themselves, for they are few.
    let records = writer.feeds.positions();
    put(out, records.len() as u64)?;
    for pos in records {
        let record = writer
            .view
            .record(pos)
            .ok_or_else(|| odd("a feed's record is not in the log"))?;
        put(out, after(pos.raw()))?;
        put(out, record.len() as u64)?;
        out.write_all(record)?;
    }
    put(out, indexes.links.len() as u64)
}

fn load(input: &mut impl Read, mut into: Loaded) -> io::Result<Loaded> {
    let indexes = &mut into.indexes;
    indexes.slots = SlotTableWriter::load(input)?;
    indexes.keys = KeyIndexWriter::load(input)?;
    indexes.ranges.load(input)?;
    indexes.outside = IdListWriter::load(input)?;
    for postings in [
        &mut indexes.hwaddr,
        &mut indexes.client_id,
        &mut indexes.remote_id4,
        &mut indexes.relay_id4,
    ] {
        *postings = PostingsWriter::load(input)?;
    }
    indexes.groups = GroupsWriter::load(input)?;
    for postings in [
        &mut indexes.duid,
        &mut indexes.remote_id6,
        &mut indexes.relay_id6,
    ] {
        *postings = PostingsWriter::load(input)?;
    }
    indexes.links.load(input)?;
    indexes.expiry = ExpiryQueue::load(input)?;
    indexes.forget = ExpiryQueue::load(input)?;
    for at in 0..3 {
        indexes.prefix_lengths.set_word(at, get(input)?);
    }
    for at in 0..17 {
        indexes.counts.set_state(at, get(input)?);
    }
    for _ in 0..get_count(input)? {
        let length = get_count(input)?.min(255);
        let mut octets = vec![0; length];
        input.read_exact(&mut octets)?;
        crate::open::note_vpn(&mut into.vpns, Vpn::from_vss(&octets).as_ref());
    }
    for _ in 0..get_count(input)? {
        into.dead
            .push((Pos::from_raw(get(input)?), get(input)?, get(input)?));
    }
    for _ in 0..get_count(input)? {
        let pos = Pos::from_raw(get(input)?);
        let mut record = vec![0; get_count(input)?.min(crate::event::MAX_RECORD)];
        input.read_exact(&mut record)?;
        match parse(&record) {
            Ok(Record::Feed(feed)) => into
                .feeds
                .apply(&feed, pos)
                .map_err(|_| odd("its feeds are not in order"))?,
            _ => return Err(odd("its feeds are no feeds")),
        };
    }
    if get(input)? != indexes.links.len() as u64 {
        return Err(odd("it has another number of links than it says"));
    }
    Ok(into)
}

fn put(out: &mut impl Write, word: u64) -> io::Result<()> {
    out.write_all(&word.to_le_bytes())
}

fn get(input: &mut impl Read) -> io::Result<u64> {
    let mut octets = [0; 8];
    input.read_exact(&mut octets)?;
    Ok(u64::from_le_bytes(octets))
}

fn get_count(input: &mut impl Read) -> io::Result<usize> {
    let count = get(input)?;
    usize::try_from(count)
        .ok()
        .filter(|&count| count <= 1 << 24)
        .ok_or_else(|| odd("a count in it is too large"))
}

/// Writes the link's name in two words and a kind.
pub(crate) fn put_link(out: &mut impl Write, link: Link6) -> io::Result<()> {
    let (kind, bits) = match link {
        Link6::Unknown => (0, 0),
        Link6::Address(address) => (1, address.to_bits()),
        Link6::Subnet(number) => (2, u128::from(number)),
    };
    put(out, kind)?;
    out.write_all(&bits.to_le_bytes())
}

/// Reads what [`put_link`] wrote.
pub(crate) fn get_link(input: &mut impl Read) -> io::Result<Link6> {
    let kind = get(input)?;
    let mut octets = [0; 16];
    input.read_exact(&mut octets)?;
    let bits = u128::from_le_bytes(octets);
    match kind {
        0 => Ok(Link6::Unknown),
        1 => Ok(Link6::Address(bits.into())),
        2 => Ok(Link6::Subnet(bits as u32)),
        _ => Err(odd("a link of a kind that does not exist")),
    }
}

/// An error that means: do not believe the checkpoint.
pub(crate) fn odd(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_header_is_not_believed() {
        let header = Header {
            fingerprint: 1,
            last_sequence: 2,
            octets: 3,
            crc: 4,
        };
        let octets = header.encode();
        assert_eq!(Header::parse(&octets).unwrap().octets, 3);
        for at in 0..HEADER {
            let mut damaged = octets;
            damaged[at] ^= 1;
            assert!(Header::parse(&damaged).is_none(), "octet {at}");
        }
    }

    #[test]
    fn the_layout_is_the_same_each_time_and_depends_on_every_index() {
        let mut saved = Vec::new();
        save_sample(&mut saved).unwrap();
        assert_eq!(crc32fast::hash(&saved), layout());
        assert!(saved.len() > 4096 * (4 + 4 + 8 + 4 + 4), "{}", saved.len());
    }

    #[test]
    fn links_are_written_and_read() {
        for link in [
            Link6::Unknown,
            Link6::Address("2001:db8::1".parse().unwrap()),
            Link6::Subnet(7),
        ] {
            let mut out = Vec::new();
            put_link(&mut out, link).unwrap();
            assert_eq!(get_link(&mut out.as_slice()).unwrap(), link);
        }
    }
}
