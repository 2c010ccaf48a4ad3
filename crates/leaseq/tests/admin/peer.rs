//! Programs of others that a test runs, where they are installed.

use std::env;
use std::path::PathBuf;

/// The path of a program. Without it the test is skipped, unless the environment says that all programs must be there.
pub fn find(program: &str, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file());
    if found.is_none() {
        let required = env::var("LEASEQ_PEERS").is_ok_and(|value| value == "required");
        assert!(
            !required,
            "{program} of the Debian package {package} is needed"
        );
        eprintln!("skipped: {program} is not installed");
    }
    found
}
