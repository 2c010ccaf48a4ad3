//! Where the store of a server of our own is: in the run's directory, or in one that is used again.
//!
//! Beside a directory that is used again lies a small file, the marker: what the store was filled with, and which store it
//! is. Only what has a marker is ever changed or removed; everything else in the way is an error.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::data::Source;
use crate::scenario::FamilyNumber;

/// Added to the directory's name.
const MARKER: &str = ".loadgen.json";
/// File of a store that no other store has alike: it holds random seeds.
const IDENTITY: &str = "STORE";
/// What a server that was killed leaves of its control socket.
const CONTROL: &str = "control.sock";
/// File that is locked while a store is open.
const LOCK: &str = "LOCK";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Something is there, and we have not made it.
    #[error(
        "expected {0} to be missing, empty or filled by this program, found something else there; name another directory or \
         remove it"
    )]
    NotOurs(PathBuf),
    /// A file that no store has.
    #[error("expected nothing but a store in {dir}, found {file}")]
    Stranger {
        /// The directory.
        dir: PathBuf,
        /// Name of the file.
        file: String,
    },
    /// A server has it open.
    #[error("the store in {0} is in use by another process")]
    InUse(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
}

/// What a store was filled with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Marker {
    /// The octets of [`IDENTITY`].
    store: Vec<u8>,
    /// What it was filled with.
    sources: BTreeMap<FamilyNumber, Source>,
    /// Changes were driven into it since.
    is_changed: bool,
}

/// The directory of a store.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// It stays when the run is over.
    is_kept: bool,
}

/// What a directory holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// Nothing.
    Nothing,
    /// These bindings.
    Bindings(BTreeMap<FamilyNumber, Source>),
}

impl DataDir {
    /// One that goes with the run's directory, in which it does not exist yet.
    pub fn temporary(path: PathBuf) -> Self {
        Self {
            path,
            is_kept: false,
        }
    }

    /// One that stays.
    pub fn kept(path: PathBuf) -> Self {
        Self {
            path,
            is_kept: true,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, if that is fit to be used as it is: unchanged, and as `is_fit` wants it. A store of ours that is not is
    /// removed.
    pub fn look(
        &self,
        is_fit: impl Fn(&BTreeMap<FamilyNumber, Source>) -> bool,
    ) -> Result<Holds, DataDirError> {
        if self.is_empty()? {
            return Ok(Holds::Nothing);
        }
        let Some(marker) = self.marker()? else {
            return Err(DataDirError::NotOurs(self.path.clone()));
        };
        if !marker.is_changed && is_fit(&marker.sources) {
            return Ok(Holds::Bindings(marker.sources));
        }
        self.clear()?;
        Ok(Holds::Nothing)
    }

    /// Notes what it was filled with.
    pub fn filled(&self, sources: &BTreeMap<FamilyNumber, Source>) -> Result<(), DataDirError> {
        if !self.is_kept {
            return Ok(());
        }
        let identity = self.path.join(IDENTITY);
        self.write(&Marker {
            store: fs::read(&identity).map_err(|error| at(identity, error))?,
            sources: sources.clone(),
            is_changed: false,
        })
    }

    /// Notes that it is about to be changed.
    pub fn will_change(&self) -> Result<(), DataDirError> {
        match self.marker()? {
            Some(marker) => self.write(&Marker {
                is_changed: true,
                ..marker
            }),
            None => Ok(()),
        }
    }

    /// Removes the store that was made here, and its marker.
    pub fn clear(&self) -> Result<(), DataDirError> {
        let io = |error| at(self.path.clone(), error);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_of_store = match name.as_str() {
                // A socket, or a link to one.
                CONTROL => true,
                _ => {
                    entry.file_type().is_ok_and(|kind| kind.is_file())
                        && (matches!(name.as_str(), LOCK | IDENTITY | "checkpoint")
                            || name.ends_with(".seg")
                            || name.ends_with(".tmp"))
                }
            };
            if !is_of_store {
                return Err(DataDirError::Stranger {
                    dir: self.path.clone(),
                    file: name,
                });
            }
            files.push(entry.path());
        }
        let lock = self.path.join(LOCK);
        let locked = match fs::File::open(&lock) {
            Ok(file) => {
                flock(&file, FlockOperation::NonBlockingLockExclusive)
                    .map_err(|_| DataDirError::InUse(self.path.clone()))?;
                Some(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(lock, error)),
        };
        remove_if_there(&self.marker_path())?;
        files
            .into_iter()
            .try_for_each(|file| remove_if_there(&file))?;
        drop(locked);
        Ok(())
    }

    fn is_empty(&self) -> Result<bool, DataDirError> {
        match fs::read_dir(&self.path) {
            Ok(mut entries) => Ok(entries.next().is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(at(self.path.clone(), error)),
        }
    }

    /// The marker, if there is one and it is of the store that is there.
    fn marker(&self) -> Result<Option<Marker>, DataDirError> {
        let path = self.marker_path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(path, error)),
        };
        let identity = fs::read(self.path.join(IDENTITY)).unwrap_or_default();
        let marker = serde_json::from_str::<Marker>(&text).ok();
        Ok(marker.filter(|marker| !identity.is_empty() && marker.store == identity))
    }

    fn write(&self, marker: &Marker) -> Result<(), DataDirError> {
        let path = self.marker_path();
        let io = |error| at(path.clone(), error);
        let text = serde_json::to_string(marker).map_err(|error| io(error.into()))?;
        let unfinished = path.with_extension("tmp");
        fs::write(&unfinished, text)
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(io)
    }

    fn marker_path(&self) -> PathBuf {
        // Without a slash at the end, which would put it inside.
        let path: PathBuf = self.path.components().collect();
        let mut name = path.into_os_string();
        name.push(MARKER);
        name.into()
    }
}

fn remove_if_there(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path.to_owned(), error)),
        _ => Ok(()),
    }
}

fn at(path: PathBuf, error: io::Error) -> DataDirError {
    DataDirError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(cltt: u32) -> BTreeMap<FamilyNumber, Source> {
        let source = Source::MadeUp {
            relays: 2,
            bindings_per_relay: 3,
            cltt,
            valid: 60,
        };
        BTreeMap::from([(FamilyNumber::V6, source)])
    }

    /// A directory as an import leaves it.
    fn filled(dir: &Path, identity: &str) -> DataDir {
        let path = dir.join("store/");
        fs::create_dir(&path).unwrap();
        for (file, text) in [
            (IDENTITY, identity),
            (LOCK, "77"),
            (CONTROL, ""),
            ("1-0.seg", "log"),
        ] {
            fs::write(path.join(file), text).unwrap();
        }
        DataDir::kept(path)
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_store_of_ours_is_used_again_until_it_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), "one");
        store.filled(&sources(5)).unwrap();
        assert_eq!(files(dir.path()), ["store", "store.loadgen.json"]);
        let holds = Holds::Bindings(sources(5));
        assert_eq!(store.look(|found| *found == sources(5)).unwrap(), holds);
        assert_eq!(files(store.path()).len(), 4);
        store.will_change().unwrap();
        assert_eq!(store.look(|_| true).unwrap(), Holds::Nothing);
        assert_eq!(files(dir.path()), ["store"]);
        assert_eq!(files(store.path()), [""; 0]);
        fs::remove_dir(store.path()).unwrap();
        let store = filled(dir.path(), "two");
        store.filled(&sources(5)).unwrap();
        assert_eq!(store.look(|_| false).unwrap(), Holds::Nothing);
        assert_eq!(files(store.path()), [""; 0]);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), "one");
        assert!(matches!(
            store.look(|_| true),
            Err(DataDirError::NotOurs(_))
        ));
        store.filled(&sources(5)).unwrap();
        // Another store in its place.
        fs::write(store.path().join(IDENTITY), "other").unwrap();
        assert!(matches!(
            store.look(|_| false),
            Err(DataDirError::NotOurs(_))
        ));
        fs::write(store.path().join(IDENTITY), "one").unwrap();
        fs::write(store.path().join("notes.txt"), "mine").unwrap();
        let told = store.look(|_| false).unwrap_err();
        assert!(matches!(&told, DataDirError::Stranger { file, .. } if file == "notes.txt"));
        assert_eq!(files(store.path()).len(), 5);
    }

    #[test]
    fn a_store_that_is_open_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path(), "one");
        store.filled(&sources(5)).unwrap();
        let lock = fs::File::open(store.path().join(LOCK)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(store.look(|_| false), Err(DataDirError::InUse(_))));
        assert_eq!(files(store.path()).len(), 4);
    }
}
