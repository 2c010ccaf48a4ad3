//! Lease files of ISC Kea's memfile backend.
//!
//! A lease file is a journal in CSV: a header that names the columns, then a row for each change; the last row of
//! an address wins, and a row with `valid_lifetime` 0 takes the lease away. Columns differ between versions and are
//! found by name. [`LeaseFile`] reads one file, [`Leases`] the files that together are the leases of a Kea
//! (see [`lease_files`]). The feed of these [`Settings`] follows them while Kea runs.

mod cleanup;
pub(crate) mod context;
mod escape;
mod file;
mod live;
pub(crate) mod meaning;
mod row;

pub use cleanup::{OpenedFile, lease_files};
pub use file::{Family, LeaseFile, Leases, OpenError, family_of_header, open, read4, read6};
pub use live::{Settings, start};
