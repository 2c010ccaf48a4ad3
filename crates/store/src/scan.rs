//! Records in log order: for export, verification and catch-up.

use crate::log;
use crate::record::{Record, trusted};
use crate::time::Stamp;
use crate::view::View;

/// Where a scan of the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanFrom {
    /// With the oldest record.
    Start,
    /// With the first record of this sequence or a later one.
    Sequence(u64),
    /// With the first record committed at this stamp or later.
    Stamp(Stamp),
}

/// A record met by a scan.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'v> {
    /// The record.
    pub record: Record<'v>,
    /// Whether it is the newest of its binding, or of its feed. A departure always is.
    pub newest: bool,
}

/// Records in log order, up to the last one published when the view was taken.
pub struct Scan<'v> {
    view: &'v View,
    cursor: log::Scan,
    below: u64,
}

impl<'v> Scan<'v> {
    pub(crate) fn new(view: &'v View, from: ScanFrom) -> Self {
        let from = match from {
            ScanFrom::Start => log::ScanFrom::Start,
            ScanFrom::Sequence(sequence) => log::ScanFrom::Sequence(sequence),
            ScanFrom::Stamp(stamp) => log::ScanFrom::Stamp(stamp.millis()),
        };
        Scan {
            view,
            cursor: log::Scan::new(from),
            below: view.published().sequence.saturating_add(1),
        }
    }

    /// The lowest sequence that the next record can have: where a later scan goes on.
    pub fn next_sequence(&self) -> u64 {
        self.cursor.next_sequence()
    }
}

impl<'v> Iterator for Scan<'v> {
    type Item = Scanned<'v>;

    fn next(&mut self) -> Option<Scanned<'v>> {
        loop {
            let (_, octets) = self.cursor.next(self.view.log(), self.below)?;
            let Some(record) = trusted(octets) else {
                continue;
            };
            let record = self.view.shared().graced(record);
            return Some(Scanned {
                newest: is_newest(self.view, &record),
                record,
            });
        }
    }
}

/// Whether the record is the newest of its binding. Told by its sequence: compaction changes positions, never sequences.
fn is_newest(view: &View, record: &Record<'_>) -> bool {
    let newest = match record {
        Record::Bind4(bind) => view
            .slot4(bind.vpn(), bind.address())
            .and_then(|slot| view.bind4(slot))
            .filter(|other| other.address() == bind.address() && other.vpn() == bind.vpn())
            .map(|other| other.sequence()),
        Record::Bind6(bind) => view
            .slot6(bind.vpn(), bind.address(), bind.prefix_len())
            .and_then(|slot| view.bind6(slot))
            .map(|other| other.sequence()),
        Record::Feed(feed) => view
            .shared()
            .feeds
            .load()
            .get(usize::from(feed.number()) - 1)
            .map(|state| state.sequence),
        Record::Departed4(_) | Record::Departed6(_) => return true,
    };
    newest == Some(record.sequence())
}
