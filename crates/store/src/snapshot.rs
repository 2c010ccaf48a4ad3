//! All bindings as they were at one moment, while the store goes on changing.
//!
//! A scan alone would miss what changes during it: the record that the view has is not the newest any more, and the newest
//! lies behind the view. So the bindings that have changed since the view was taken are remembered by key, with the sequence
//! of their last record within it, and told by a second scan. That is the only memory it takes.

use std::collections::{HashMap, HashSet};

use crate::record::Record;
use crate::scan::{LogCursor, ScanFrom};
use crate::view::View;

/// What a binding is known by: its VPN, address and prefix length.
type Key = Vec<u8>;

/// What the store now says of a record within a view.
enum Standing {
    /// It is the binding's newest.
    Newest,
    /// The view has a later one.
    Superseded,
    /// The binding has changed, or was forgotten, after the view was taken: this may be its last record in it, or not.
    Changed,
}

impl View {
    /// Calls `tell` once with each binding in any state, as it was when the view was taken; those that have changed since
    /// come last. The view keeps the segments that it has from being given back to the disk, so take a new one for this.
    ///
    /// # Errors
    /// Those of `tell`, which end it.
    pub fn bindings<'v, E>(
        &'v self,
        mut tell: impl FnMut(Record<'v>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut changed: HashMap<Key, u64> = HashMap::new();
        let mut cursor = LogCursor::new(ScanFrom::Start);
        while let Some(record) = cursor.next(self) {
            let Some((key, standing)) = self.standing(&record) else {
                continue;
            };
            match standing {
                Standing::Newest => tell(record)?,
                Standing::Superseded => {}
                Standing::Changed => {
                    changed.insert(key(), record.sequence());
                }
            }
        }
        let last: HashSet<u64> = changed.into_values().collect();
        let Some(first) = last.iter().min() else {
            return Ok(());
        };
        let mut cursor = LogCursor::new(ScanFrom::Sequence(*first));
        while let Some(record) = cursor.next(self) {
            if last.contains(&record.sequence()) {
                tell(record)?;
            }
        }
        Ok(())
    }

    /// The key of a binding's record, to be made if it is needed, and how the record stands; `None`: it is of no binding.
    fn standing<'r>(
        &self,
        record: &'r Record<'_>,
    ) -> Option<(impl FnOnce() -> Key + 'r, Standing)> {
        let (newest, vpn, address, length) = match record {
            Record::Bind4(bind) => {
                let newest = self
                    .slot4(bind.vpn(), bind.address())
                    .and_then(|slot| self.bind4(slot))
                    .filter(|other| other.address() == bind.address() && other.vpn() == bind.vpn())
                    .map(|other| other.sequence());
                let address = u128::from(bind.address().to_bits());
                // No IPv6 prefix has this length.
                (newest, bind.vpn(), address, u8::MAX)
            }
            Record::Bind6(lease) => {
                let newest = self
                    .slot6(lease.vpn(), lease.address(), lease.prefix_len())
                    .and_then(|slot| self.bind6(slot))
                    .map(|other| other.sequence());
                let address = lease.address().to_bits();
                (newest, lease.vpn(), address, lease.prefix_len())
            }
            Record::Departed4(_) | Record::Departed6(_) | Record::Feed(_) => return None,
        };
        let standing = match newest {
            Some(newest) if newest == record.sequence() => Standing::Newest,
            Some(newest) if newest <= self.published().sequence => Standing::Superseded,
            _ => Standing::Changed,
        };
        let key = move || [&[length][..], &address.to_be_bytes(), vpn.vss()].concat();
        Some((key, standing))
    }
}
