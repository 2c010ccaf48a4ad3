//! Which files together are the leases of a Kea.
//!
//! Kea's lease file clean-up moves the live file to `.1`, merges the previous result `.2` and `.1` into `.output`,
//! renames that to `.completed`, deletes `.1` and `.2`, and renames `.completed` to `.2`. So the leases are those
//! of `.completed` if it is there, else of `.2` and then `.1`; and after them those of the live file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How often the set of files is looked at again when a clean-up changes it meanwhile.
const MOST_TRIES: usize = 16;

/// A file of a Kea's leases, open for reading.
#[derive(Debug)]
pub struct OpenedFile {
    /// Its name when it was opened.
    pub path: PathBuf,
    /// The file itself: renames after the opening do no harm.
    pub file: File,
}

/// Opens the files that hold the leases of the Kea whose live lease file is `live`, oldest first.
///
/// A clean-up may run meanwhile: the files are looked at again until none of them was renamed while they were
/// opened. The live file may be missing for the moment of its replacement, but not all of them.
pub fn lease_files(live: &Path) -> io::Result<Vec<OpenedFile>> {
    let mut opened = open_all(live)?;
    for _ in 1..MOST_TRIES {
        let again = open_all(live)?;
        if identities(&opened)? == identities(&again)? {
            break;
        }
        opened = again;
    }
    if opened.is_empty() {
        // For the error of the system, which names the reason.
        let file = File::open(live)?;
        opened.push(OpenedFile {
            path: live.into(),
            file,
        });
    }
    Ok(opened)
}

fn open_all(live: &Path) -> io::Result<Vec<OpenedFile>> {
    let completed = open_if_there(with_suffix(live, ".completed"))?;
    let merged = completed.is_some();
    let mut opened: Vec<OpenedFile> = completed.into_iter().collect();
    if !merged {
        opened.extend(open_if_there(with_suffix(live, ".2"))?);
        opened.extend(open_if_there(with_suffix(live, ".1"))?);
    }
    opened.extend(open_if_there(live.into())?);
    Ok(opened)
}

fn open_if_there(path: PathBuf) -> io::Result<Option<OpenedFile>> {
    match File::open(&path) {
        Ok(file) => Ok(Some(OpenedFile { path, file })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a file of the clean-up.
pub(super) fn with_suffix(live: &Path, suffix: &str) -> PathBuf {
    let mut name = live.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn identities(opened: &[OpenedFile]) -> io::Result<Vec<(u64, u64)>> {
    opened
        .iter()
        .map(|opened| {
            opened
                .file
                .metadata()
                .map(|found| (found.dev(), found.ino()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(live: &Path) -> Vec<String> {
        let opened = lease_files(live).unwrap();
        opened
            .iter()
            .map(|opened| {
                opened
                    .path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn the_files_of_a_clean_up_are_read_in_the_order_of_their_rows() {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("leases.csv");
        assert_eq!(
            lease_files(&live).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        fs::write(&live, "").unwrap();
        assert_eq!(names(&live), ["leases.csv"]);
        for other in [
            "leases.csv.1",
            "leases.csv.2",
            "leases.csv.output",
            "leases.csv.pid",
        ] {
            fs::write(dir.path().join(other), "").unwrap();
        }
        assert_eq!(names(&live), ["leases.csv.2", "leases.csv.1", "leases.csv"]);
        fs::write(dir.path().join("leases.csv.completed"), "").unwrap();
        assert_eq!(names(&live), ["leases.csv.completed", "leases.csv"]);
        fs::remove_file(&live).unwrap();
        assert_eq!(names(&live), ["leases.csv.completed"]);
    }

    #[test]
    fn a_file_named_by_itself_is_read_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["leases.csv", "leases.csv.2"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(names(&dir.path().join("leases.csv.2")), ["leases.csv.2"]);
    }
}
