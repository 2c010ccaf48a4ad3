//! The rows that a query is about.

/// Rows in ascending order. Of those of an export some may be there only because another lease of their client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a>(Kind<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind<'a> {
    Range {
        first: u32,
        len: u32,
    },
    /// In ascending order but for [`INDIRECT`].
    List(&'a [u32]),
}

/// Marks a row that is told only beside another one of its client.
pub(super) const INDIRECT: u32 = 1 << 31;

impl<'a> Rows<'a> {
    pub(super) fn range(first: u32, len: u32) -> Self {
        Self(Kind::Range { first, len })
    }

    /// Rows of a list, in ascending order but for the highest bit, which marks a row that is told only beside another one.
    pub fn list(rows: &'a [u32]) -> Self {
        Self(Kind::List(rows))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Kind::Range { len, .. } => len as usize,
            Kind::List(rows) => rows.len(),
        }
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at a place.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<u32> {
        match self.0 {
            Kind::Range { first, len } => {
                let place = u32::try_from(place).ok()?;
                (place < len).then(|| first + place)
            }
            Kind::List(rows) => rows.get(place).map(|row| row & !INDIRECT),
        }
    }

    /// The place of a row among them.
    #[must_use]
    #[inline]
    pub fn place(&self, row: u32) -> Option<usize> {
        match self.0 {
            Kind::Range { first, len } => {
                let place = row.wrapping_sub(first);
                (place < len).then_some(place as usize)
            }
            Kind::List(rows) => rows.binary_search_by_key(&row, |row| row & !INDIRECT).ok(),
        }
    }

    /// The row at a place is what the query asks for; otherwise it comes only with another lease of its client.
    #[must_use]
    pub fn is_direct(&self, place: usize) -> bool {
        match self.0 {
            Kind::Range { .. } => true,
            Kind::List(rows) => rows.get(place).is_some_and(|row| row & INDIRECT == 0),
        }
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        (0..self.len()).filter_map(move |place| self.get(place))
    }
}
