//! Where the `leaseq` program is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::OwnError;

/// Names the program, if neither the scenario nor our own place does.
pub const VARIABLE: &str = "LEASEQ";
const NAME: &str = "leaseq";

/// The program: the one that the scenario names, or that of the environment variable, or the one beside our own, or the first
/// one in `PATH`.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, OwnError> {
    if let Some(path) = named {
        return is_program(path).ok_or_else(|| OwnError::NoBinary(path.display().to_string()));
    }
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        let told = || format!("{} (from {VARIABLE} in the environment)", path.display());
        return is_program(&path).ok_or_else(|| OwnError::NoBinary(told()));
    }
    let beside = env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(Path::to_owned));
    let path = env::var_os("PATH").unwrap_or_default();
    let found = beside
        .into_iter()
        .chain(env::split_paths(&path))
        .find_map(|dir| is_program(&dir.join(NAME)));
    found.ok_or_else(|| {
        OwnError::NoBinary(format!(
            "{NAME} beside this program or in PATH (server.binary or {VARIABLE} can name it)"
        ))
    })
}

/// What it says of itself: `leaseq 0.1.0`.
pub(super) fn version(binary: &Path) -> Result<String, OwnError> {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map_err(|error| OwnError::Start(binary.to_owned(), error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim() {
        text if output.status.success() && text.starts_with(NAME) => Ok(text.to_owned()),
        _ => Err(OwnError::NotLeaseq(binary.to_owned())),
    }
}

fn is_program(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_program_is_taken_or_told_missing() {
        assert_eq!(
            find(Some("/bin/sh".as_ref())).unwrap(),
            Path::new("/bin/sh")
        );
        let told = find(Some("/no/such/leaseq".as_ref())).unwrap_err();
        assert_eq!(
            told.to_string(),
            "expected the program /no/such/leaseq, found none"
        );
    }

    #[test]
    fn another_program_is_not_taken_for_leaseq() {
        assert!(matches!(
            version("/bin/true".as_ref()),
            Err(OwnError::NotLeaseq(_))
        ));
    }
}
