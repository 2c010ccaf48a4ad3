//! Lock-free indexes: one writer, many readers that take no lock.
//!
//! They know ids and hashes, not records. A lookup yields *candidates*; the consumer reads each candidate's record and
//! skips it unless it matches. What the indexes promise in return, at any moment and while the writer goes on:
//! - a walk over what one lookup returned meets each id at most once;
//! - an id that stayed where it was throughout the lookup is among the candidates, and stays there unless it leaves;
//! - a slot or a group number that a running walk may still hold is not given to another binding ([`Walks`]).
//!
//! | type | from | to |
//! |---|---|---|
//! | [`KeyIndex`] | hash of VPN and address | slot |
//! | [`Ranges4`] | configured IPv4 address | slot |
//! | [`SlotTable`] | slot | log position |
//! | [`Postings`] | hash of a selector's value | slots, or groups |
//! | [`Groups`] | group (client on a link) | slots, link |
//! | [`IdList`] | | slots or groups that belong together |
//! | [`ExpiryQueue`] | time | slots to look at |
//!
//! Each has a writer of its own type, which cannot be cloned and whose changing methods take `&mut self`, so there is
//! one writer because there cannot be two. Readers hold an `Arc` of the shared side.
//!
//! # Why an entry has 16 bits of the hash beside it
//! A u32 alone would be enough to find a record, and only the record tells what the entry is there for. But then growth
//! would have to read the record of every entry of the shard to know where it belongs: cache misses by the million,
//! on the writer's path. And every stranger on a search path would cost a reader such a miss. 16 bits beside the shard's
//! 10 make growth a copy in order, and of ten million entries one search in seven meets a stranger. They cost 2 octets
//! an entry; ten entries with their tags share a cache line, so that a search touches one line as a rule.
//!
//! Numbers on disk ([`SlotTableWriter::save_with`] and its kin) are those of the memory: arrays as they are, little endian.

mod chunks;
mod expiry;
mod groups;
mod hash;
mod id_list;
mod key;
mod list;
mod persist;
mod postings;
mod ranges;
mod slots;
mod sync;
mod table;
mod walks;

pub use expiry::ExpiryQueue;
pub use groups::{Groups, GroupsWriter};
pub use hash::Hasher;
pub use id_list::{IdList, IdListWriter, IdSnapshot};
pub use key::{KeyIndex, KeyIndexWriter};
pub use postings::{Candidates, Postings, PostingsWriter};
pub use ranges::{IndexRange4, RangeCursor, RangeError, Ranges4, Ranges4Writer};
pub use slots::{SlotTable, SlotTableWriter};
pub use walks::{WalkGuard, Walks, WalksWriter};

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(all(test, not(loom)))]
mod tests;
