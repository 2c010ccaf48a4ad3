//! Messages encoded once for all streams of one form: the newest ones, as a string of octets that grows at its end and
//! loses its front.

/// What precedes the frames of an entry: sequence, stamp, octets, messages, bindings.
const HEADER: usize = 8 + 8 + 4 + 4 + 4;

/// The newest entries, never more than about twice the capacity in octets.
#[derive(Debug)]
pub(super) struct Ring {
    octets: Vec<u8>,
    /// Place of the first octet held. Places count all octets ever appended.
    start: u64,
    capacity: usize,
}

/// What was told about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'r> {
    /// Sequence of the record.
    pub(super) sequence: u64,
    /// Its stamp, in milliseconds.
    pub(super) stamp: u64,
    /// Frames about it.
    pub(super) messages: u32,
    /// Bindings told in them.
    pub(super) bindings: u32,
    /// The frames.
    pub(super) frames: &'r [u8],
    /// Place of the next entry.
    pub(super) next: u64,
}

impl Ring {
    /// An empty ring that keeps at least `capacity` octets.
    pub(super) fn new(capacity: usize) -> Ring {
        Ring {
            octets: Vec::new(),
            start: 0,
            capacity,
        }
    }

    /// Place of the oldest entry.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// Place of the entry that comes next.
    pub(super) fn end(&self) -> u64 {
        self.start + self.octets.len() as u64
    }

    /// Appends an entry; `next` of it is ignored.
    pub(super) fn push(&mut self, entry: &Entry<'_>) {
        self.octets.extend_from_slice(&entry.sequence.to_le_bytes());
        self.octets.extend_from_slice(&entry.stamp.to_le_bytes());
        for number in [entry.frames.len() as u32, entry.messages, entry.bindings] {
            self.octets.extend_from_slice(&number.to_le_bytes());
        }
        self.octets.extend_from_slice(entry.frames);
        if self.octets.len() > 2 * self.capacity {
            self.drop_front();
        }
    }

    /// The entry at a place; `None` at the end, or if it is not held any more.
    pub(super) fn entry(&self, place: u64) -> Option<Entry<'_>> {
        let at = usize::try_from(place.checked_sub(self.start)?).ok()?;
        let (head, rest) = self.octets.get(at..)?.split_first_chunk::<HEADER>()?;
        let number =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        let length = number(16) as usize;
        Some(Entry {
            sequence: long(0),
            stamp: long(8),
            messages: number(20),
            bindings: number(24),
            frames: rest.get(..length)?,
            next: place + (HEADER + length) as u64,
        })
    }

    /// Forgets everything: the place that was the end is not held either.
    pub(super) fn clear(&mut self) {
        self.start = self.end() + 1;
        self.octets.clear();
    }

    /// Forgets the oldest entries, but keeps the capacity.
    fn drop_front(&mut self) {
        let enough = self.end() - self.capacity as u64;
        let mut first = self.start;
        while first < enough {
            match self.entry(first) {
                // An entry that is larger than the capacity stays alone.
                Some(entry) if entry.next < self.end() => first = entry.next,
                _ => break,
            }
        }
        self.octets.drain(..(first - self.start) as usize);
        self.start = first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, frames: &[u8]) -> Entry<'_> {
        Entry {
            sequence,
            stamp: sequence * 1_000,
            messages: 1,
            bindings: 2,
            frames,
            next: 0,
        }
    }

    #[test]
    fn entries_are_read_in_order_and_old_ones_are_gone() {
        let mut ring = Ring::new(1_000);
        let frames = [7; 72];
        let places: Vec<u64> = (0..50)
            .map(|sequence| {
                let place = ring.end();
                ring.push(&entry(sequence, &frames));
                place
            })
            .collect();
        assert!(ring.octets.len() <= 2_100 && ring.start() > 0);
        assert_eq!(ring.entry(0), None, "what was dropped is not read");
        assert_eq!(ring.entry(ring.end()), None);
        let mut place = ring.start();
        let first = places
            .iter()
            .position(|held| *held == place)
            .expect("an entry starts there");
        for sequence in first as u64..50 {
            let found = ring.entry(place).expect("held");
            let expected = Entry {
                next: found.next,
                ..entry(sequence, &frames)
            };
            assert_eq!(found, expected);
            place = found.next;
        }
        assert_eq!(place, ring.end());
    }

    #[test]
    fn the_newest_entry_is_held_however_large_it_is() {
        let mut ring = Ring::new(100);
        ring.push(&entry(1, &[1; 50]));
        let place = ring.end();
        ring.push(&entry(2, &[2; 5_000]));
        assert_eq!(
            ring.entry(place).map(|entry| entry.frames.len()),
            Some(5_000)
        );
        ring.push(&entry(3, &[3; 10]));
        assert_eq!(ring.start(), ring.end() - (HEADER + 10) as u64);
    }
}
