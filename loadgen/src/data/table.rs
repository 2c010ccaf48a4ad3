//! From a hash to a row, in eight octets a row: open addressing, half full at most.

/// An empty place.
const EMPTY: u32 = u32::MAX;

/// Rows by their hash. The rows themselves are kept elsewhere.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// A power of two of them.
    places: Vec<u32>,
    rows: usize,
}

impl Table {
    /// The row with a hash that is the one looked for.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        // There is always an empty place.
        while self.places[at] != EMPTY {
            if is(self.places[at]) {
                return Some(self.places[at]);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Adds a row; `hash_of` gives the hash of those that are there.
    pub(super) fn insert(&mut self, hash: u64, row: u32, hash_of: &dyn Fn(u32) -> u64) {
        if (self.rows + 1) * 2 > self.places.len() {
            let more = (self.places.len() * 2).max(16);
            let old = std::mem::replace(&mut self.places, vec![EMPTY; more]);
            for row in old.into_iter().filter(|row| *row != EMPTY) {
                self.put(hash_of(row), row);
            }
        }
        self.put(hash, row);
        self.rows += 1;
    }

    fn put(&mut self, hash: u64, row: u32) {
        let mask = self.places.len() - 1;
        let mut at = hash as usize & mask;
        while self.places[at] != EMPTY {
            at = (at + 1) & mask;
        }
        self.places[at] = row;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_found_whatever_its_hash() {
        // Many hashes are equal.
        let hash = |row: u32| u64::from(row % 7);
        let mut table = Table::default();
        assert_eq!(table.find(0, |_| true), None);
        for row in 0..1_000 {
            table.insert(hash(row), row, &hash);
        }
        for row in 0..1_000 {
            assert_eq!(table.find(hash(row), |found| found == row), Some(row));
        }
        assert_eq!(table.find(3, |found| found == 1_001), None);
        assert!(table.places.len() <= 2_048);
    }
}
