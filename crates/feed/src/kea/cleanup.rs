//! Which files together are the leases of a Kea.
//!
//! Kea's lease file clean-up moves the live file to `.1`, merges the previous result `.2` and `.1` into `.output`,
//! renames that to `.completed`, deletes `.1` and `.2`, and renames `.completed` to `.2`. So the leases are those
//! of `.completed` if it is there, else of `.2` and then `.1`; and after them those of the live file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::follow::Identity;

/// How often the set of files is looked at again when a clean-up changes it meanwhile.
const MOST_TRIES: usize = 16;
/// How many symbolic links may lead to a lease file.
const MOST_LINKS: usize = 16;
/// What Kea calls the older files, beside the live one.
const OLDER: [&str; 3] = [".completed", ".2", ".1"];

/// A file of a Kea's leases, open for reading.
#[derive(Debug)]
pub struct OpenedFile {
    /// Its name when it was opened.
    pub path: PathBuf,
    /// The file itself: renames after the opening do no harm.
    pub file: File,
    identity: Identity,
}

/// Opens the files that hold the leases of the Kea whose live lease file is `live`, oldest first.
///
/// A clean-up may run meanwhile: the files are looked at again until none of them was renamed while they were
/// opened. The live file may be missing for the moment of its replacement, but not all of them.
pub fn lease_files(live: &Path) -> io::Result<Vec<OpenedFile>> {
    let open = |path: &Path| match opened(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    };
    let mut files = settled(&name_in_kea(live), open, |file| file.identity)?;
    if files.is_empty() {
        // For the error of the system, which names the reason.
        files.push(opened(live)?);
    }
    Ok(files)
}

fn opened(path: &Path) -> io::Result<OpenedFile> {
    let file = File::open(path)?;
    Ok(OpenedFile {
        path: path.into(),
        identity: Identity::of(&file.metadata()?),
        file,
    })
}

/// Opens those of the files that are there, oldest first, with `open`, until two looks in a row find the same ones.
pub(super) fn settled<T, E>(
    live: &Path,
    open: impl Fn(&Path) -> Result<Option<T>, E>,
    identity: impl Fn(&T) -> Identity,
) -> Result<Vec<T>, E> {
    let identities = |files: &[T]| files.iter().map(&identity).collect::<Vec<_>>();
    let mut files = open_all(live, &open)?;
    for _ in 1..MOST_TRIES {
        let again = open_all(live, &open)?;
        if identities(&files) == identities(&again) {
            break;
        }
        files = again;
    }
    Ok(files)
}

fn open_all<T, E>(live: &Path, open: impl Fn(&Path) -> Result<Option<T>, E>) -> Result<Vec<T>, E> {
    let [completed, previous, input] = OLDER.map(|suffix| with_suffix(live, suffix));
    let mut opened: Vec<T> = open(&completed)?.into_iter().collect();
    if opened.is_empty() {
        opened.extend(open(&previous)?);
        opened.extend(open(&input)?);
    }
    opened.extend(open(live)?);
    Ok(opened)
}

/// The name that Kea has for its live file. If `live` is a symbolic link, the older files lie beside the file that it leads to,
/// unless there are some beside the link. The file need not be there.
pub(super) fn name_in_kea(live: &Path) -> PathBuf {
    let mut name = live.to_path_buf();
    for _ in 0..MOST_LINKS {
        let has_older = OLDER
            .iter()
            .any(|suffix| with_suffix(&name, suffix).symlink_metadata().is_ok());
        match fs::read_link(&name) {
            Ok(target) if !has_older => {
                name = name.parent().unwrap_or(Path::new("")).join(target);
            }
            _ => break,
        }
    }
    name
}

/// The name of a file of the clean-up.
pub(super) fn with_suffix(live: &Path, suffix: &str) -> PathBuf {
    let mut name = live.as_os_str().to_owned();
    name.push(suffix);
    name.into()
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
    fn the_older_files_lie_beside_the_file_that_a_link_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let (link, live) = (dir.path().join("link.csv"), dir.path().join("leases.csv"));
        std::os::unix::fs::symlink("leases.csv", &link).unwrap();
        fs::write(dir.path().join("leases.csv.1"), "").unwrap();
        assert_eq!(names(&link), ["leases.csv.1"]);
        fs::write(&live, "").unwrap();
        assert_eq!(names(&link), ["leases.csv.1", "leases.csv"]);
        // The link is what Kea itself has for a name.
        fs::write(dir.path().join("link.csv.2"), "").unwrap();
        assert_eq!(names(&link), ["link.csv.2", "link.csv"]);
        // A link that leads nowhere, for ever.
        let round = dir.path().join("round.csv");
        std::os::unix::fs::symlink("round.csv", &round).unwrap();
        assert!(lease_files(&round).is_err());
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
