//! Why a lease file cannot be followed for the moment.

use std::path::PathBuf;

use crate::follow::FollowError;
use crate::run::IntakeError;

/// A fault of the source or of the store; the feed tries again after a while.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// A file cannot be read or watched.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The store takes nothing.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// A lease file of the other protocol.
    #[error("{}: expected Kea's leases of DHCPv{expected}, found those of DHCPv{found}", file.display())]
    Family {
        /// The file.
        file: PathBuf,
        /// 4 or 6, as the feed is told.
        expected: u8,
        /// 4 or 6, as the header says.
        found: u8,
    },
    /// The columns to do without a header are not those of a lease file.
    #[error("cannot read rows without a header: {0}")]
    Columns(String),
    /// A file became shorter between two readings of it.
    #[error("{} was cut while it was read", .0.display())]
    Cut(PathBuf),
}
