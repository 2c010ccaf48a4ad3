//! Compares what a server tells with what its store holds.
//!
//! While an answer comes, changes go on. So each binding has a range of versions that may be told: from the newest change
//! that had been acknowledged when the query was sent (in a stream: the newest one that was told before) to the newest one
//! that has been submitted. Which of them a message tells shows in the [mark](crate::changes::mark) of the change.

mod bulk;
mod expected;
mod heard;
mod judge4;
mod judge6;
mod picture;
mod stream;

pub use bulk::{BulkCheck, BulkEnd};
pub use expected::Expected;
pub(crate) use judge4::{Told4, judge as judge4};
pub(crate) use judge6::{Told6, judge as judge6};
pub use picture::Picture;
pub use stream::{Changes, StreamCheck};

use crate::fault::FaultKind;

/// Takes faults: what kind, in words, and the message it is about (empty: about none).
pub type OnFault<'a> = &'a mut dyn FnMut(FaultKind, String, &[u8]);

/// Seconds that a time may be off for rounding.
const ROUNDING: i64 = 2;
/// Seconds that two clocks that are the same may differ, and that something may take that takes no time.
const SLACK: i64 = 5;
/// Seconds that a lease may be told as running after its end: a server waits for a late source of bindings before it ends
/// a lease.
const GRACE: i64 = 60;
/// Bindings that are named in a fault about many.
const NAMED: usize = 5;
