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

/// A place in the log that outlives a view: where one has read up to. It holds no map and no lock, so it may wait for as
/// long as it likes, over changes of segments and over compactions, and goes on behind the last record it gave.
#[derive(Clone, Debug)]
pub struct LogCursor {
    place: log::Scan,
}

impl LogCursor {
    /// A cursor that has given nothing yet.
    pub fn new(from: ScanFrom) -> LogCursor {
        LogCursor {
            place: log::Scan::new(from.in_log()),
        }
    }

    /// The lowest sequence that the next record can have.
    pub fn next_sequence(&self) -> u64 {
        self.place.next_sequence()
    }

    /// The next record, if it was published when the view was taken.
    pub(crate) fn next<'v>(&mut self, view: &'v View) -> Option<Record<'v>> {
        let below = view.published().sequence.saturating_add(1);
        loop {
            let (_, octets) = self.place.next(view.log(), below)?;
            if let Some(record) = trusted(octets) {
                return Some(view.shared().graced(record));
            }
        }
    }
}

impl ScanFrom {
    fn in_log(self) -> log::ScanFrom {
        match self {
            ScanFrom::Start => log::ScanFrom::Start,
            ScanFrom::Sequence(sequence) => log::ScanFrom::Sequence(sequence),
            ScanFrom::Stamp(stamp) => log::ScanFrom::Stamp(stamp.millis()),
        }
    }
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
    cursor: LogCursor,
}

impl<'v> Scan<'v> {
    pub(crate) fn new(view: &'v View, from: ScanFrom) -> Self {
        Scan {
            view,
            cursor: LogCursor::new(from),
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
        let record = self.cursor.next(self.view)?;
        Some(Scanned {
            newest: is_newest(self.view, &record),
            record,
        })
    }
}

/// Whether the record is the newest of its binding. Told by its sequence: compaction changes positions, never sequences.
///
/// While the view is held, compaction may drop an end that the view's log still has, and the address may be leased anew: no
/// departure then tells those who have not read the end yet. So an end counts as the newest unless the view has a later
/// record of its binding.
pub(crate) fn is_newest(view: &View, record: &Record<'_>) -> bool {
    let (newest, is_end) = match record {
        Record::Bind4(bind) => (
            view.slot4(bind.vpn(), bind.address())
                .and_then(|slot| view.bind4(slot))
                .filter(|other| other.address() == bind.address() && other.vpn() == bind.vpn())
                .map(|other| other.sequence()),
            bind.state().is_end(),
        ),
        Record::Bind6(bind) => (
            view.slot6(bind.vpn(), bind.address(), bind.prefix_len())
                .and_then(|slot| view.bind6(slot))
                .map(|other| other.sequence()),
            bind.state().is_end(),
        ),
        Record::Feed(feed) => {
            let feeds = view.shared().feeds.load();
            let newest = feeds.get(usize::from(feed.number()) - 1);
            (newest.map(|state| state.sequence), false)
        }
        Record::Departed4(_) | Record::Departed6(_) => return true,
    };
    match newest {
        Some(newest) if newest <= view.published().sequence => newest == record.sequence(),
        Some(newest) => is_end || newest == record.sequence(),
        None => is_end,
    }
}
