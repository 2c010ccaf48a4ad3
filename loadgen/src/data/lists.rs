//! Rows by an identifier: of a relay agent, a circuit, a link.

use ahash::AHashMap;

/// For each identifier its rows, in ascending order but for a mark in their highest bit.
#[derive(Debug, Default)]
pub(super) struct Lists {
    ids: Vec<Box<[u8]>>,
    starts: Vec<u32>,
    rows: Vec<u32>,
}

/// Collects them.
#[derive(Debug)]
pub(super) struct ListsBuilder {
    numbers: AHashMap<Box<[u8]>, u32>,
    /// Number of the identifier, row.
    members: Vec<(u32, u32)>,
}

/// Calls back with each row that belongs to a row.
type More<'a> = &'a dyn Fn(u32, &mut dyn FnMut(u32));

impl Lists {
    /// Identifiers.
    pub(super) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// An identifier; they are numbered in the order in which they first appeared.
    pub(super) fn id(&self, number: u32) -> Option<&[u8]> {
        self.ids.get(number as usize).map(|id| &**id)
    }

    /// Its rows.
    pub(super) fn rows(&self, number: u32) -> &[u32] {
        let number = number as usize;
        let bounds = self.starts.get(number).zip(self.starts.get(number + 1));
        let rows = bounds.map(|(start, end)| *start as usize..*end as usize);
        rows.and_then(|rows| self.rows.get(rows))
            .unwrap_or_default()
    }
}

impl ListsBuilder {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            numbers: AHashMap::new(),
            members: Vec::new(),
        }
    }

    /// A row has an identifier.
    pub(super) fn add(&mut self, id: &[u8], row: u32) {
        let number = match self.numbers.get(id) {
            Some(number) => *number,
            None => {
                let number = self.numbers.len() as u32;
                self.numbers.insert(id.into(), number);
                number
            }
        };
        self.members.push((number, row));
    }

    /// `more` calls back with each row that belongs to a row although it has not its identifier: these are marked.
    pub(super) fn finish(mut self, mark: u32, more: More<'_>) -> Lists {
        for at in 0..self.members.len() {
            let (number, row) = self.members[at];
            let members = &mut self.members;
            more(row, &mut |other| members.push((number, other | mark)));
        }
        // Of a row that is there with and without the mark, the one without stays.
        self.members
            .sort_unstable_by_key(|(number, row)| (*number, row & !mark, row & mark));
        self.members
            .dedup_by_key(|(number, row)| (*number, *row & !mark));
        let mut lists = Lists {
            ids: vec![Box::default(); self.numbers.len()],
            starts: Vec::with_capacity(self.numbers.len() + 1),
            rows: self.members.iter().map(|(_, row)| *row).collect(),
        };
        for (id, number) in self.numbers {
            lists.ids[number as usize] = id;
        }
        for number in 0..=lists.ids.len() as u32 {
            let start = self.members.partition_point(|(other, _)| *other < number);
            lists.starts.push(start as u32);
        }
        lists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_listed_in_order_and_once() {
        const MARK: u32 = 1 << 31;
        let mut builder = ListsBuilder::new();
        for (id, row) in [(b"one", 9), (b"two", 3), (b"one", 4), (b"one", 4)] {
            builder.add(id, row);
        }
        // Row 5 belongs to row 4, and row 4 to row 9.
        let more = |row: u32, each: &mut dyn FnMut(u32)| match row {
            4 => each(5),
            9 => each(4),
            _ => {}
        };
        let lists = builder.finish(MARK, &more);
        assert_eq!((lists.len(), lists.id(1)), (2, Some(&b"two"[..])));
        assert_eq!(lists.rows(0), [4, 5 | MARK, 9]);
        assert_eq!(lists.rows(1), [3]);
        assert_eq!((lists.rows(2), lists.id(2)), (&[][..], None));
    }
}
