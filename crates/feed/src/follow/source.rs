//! What the feeds of lease files have in common: where the file is, and how following begins.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leaseq_store::Store;

use super::FollowError;
use crate::run::{Feed, Follower, Intake, IntakeError, Phase, Status, Stop};

/// Events handed to the store at a time.
pub(crate) const BATCH: usize = 1_000;
/// While nothing changes, the store hears this often that nothing did.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// What the feed of a lease file is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// The lease file of the server.
    pub path: PathBuf,
}

/// Why a lease file cannot be followed for the moment; the feed tries again after a while.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A file cannot be read or watched.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The store takes nothing.
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

/// Starts a feed that follows a lease file: `follow` is given its path, until it is told to end (`Ok`) or fails, and then again.
/// `kind` is the configuration's word for it, `family` the one that it tells of if that is one only.
///
/// # Errors
/// There is no thread or no open file to be had.
pub(crate) fn start<E: Display + From<IntakeError>>(
    settings: Settings,
    kind: &'static str,
    family: Option<u8>,
    store: Arc<Store>,
    mut follow: impl FnMut(&Path, &mut Intake, &Stop) -> Result<(), E> + Send + 'static,
) -> io::Result<Feed> {
    let Settings { name, path } = settings;
    let source = path.display().to_string();
    let status = Arc::new(Status::new(name, kind, family, source));
    let follower = Follower::start(store, Arc::clone(&status), move |intake, stop| {
        intake.announce()?;
        intake.status().enter(Phase::Loading);
        follow(&path, intake, stop)
    })?;
    Ok(Feed::new(status, None, Box::new(follower)))
}
