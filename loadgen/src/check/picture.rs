//! What is known of all bindings at some moment, where a stream goes on from.

/// What a stream starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// All changes up to this one are in it. `None`: nothing is known.
    pub(super) upto: Option<u64>,
    /// Later changes that are in it, in ascending order.
    pub(super) changes: Vec<u64>,
    /// Bindings that were not told, so that one of these changes has ended them.
    pub(super) ended: Vec<Ended>,
}

/// A binding that was told, but not in which version; nearly always one that is over, without the change that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) row: u32,
    /// The oldest version that it may be.
    pub(super) oldest: u64,
    /// The newest version that it may be.
    pub(super) newest: u64,
}

impl Picture {
    /// Nothing is known: what changed before the stream is live need not be told.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Everything is known as it was at first: a stream with a start time before the first change, which has to tell every
    /// change.
    #[must_use]
    pub fn first() -> Self {
        Self::as_of(0)
    }

    /// Everything is known up to a change.
    #[must_use]
    pub fn as_of(change: u64) -> Self {
        Self {
            upto: Some(change),
            ..Self::default()
        }
    }

    pub(super) fn of_bulk(upto: u64, changes: Vec<u64>, ended: Vec<Ended>) -> Self {
        Self {
            upto: Some(upto),
            changes,
            ended,
        }
    }
}
