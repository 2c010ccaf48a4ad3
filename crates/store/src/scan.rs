//! Records in log order: for export, verification and catch-up.

use crate::record::Record;
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
}

impl<'v> Scan<'v> {
    pub(crate) fn new(view: &'v View, _from: ScanFrom) -> Self {
        Scan { view }
    }
}

impl<'v> Iterator for Scan<'v> {
    type Item = Scanned<'v>;

    fn next(&mut self) -> Option<Scanned<'v>> {
        let _ = self.view.now();
        None
    }
}
