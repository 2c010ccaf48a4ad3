//! The limit of open files: raised at the start, compared with the connections that are allowed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside connections: log segments, listeners, rings, feeds, the admin interface.
const OTHER_FILES: u64 = 1_024;

/// Raises the soft limit of open files to the hard one and returns the limit that then holds, `u64::MAX` if there is none.
pub(crate) fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(id = "engine-open-files", %error, "the limit of open files could not be raised");
            limit.current
        }
    };
    current.unwrap_or(u64::MAX)
}

/// How many of `connections` fit under a limit of `open_files`, if not all do.
pub(crate) fn too_many(connections: u64, open_files: u64) -> Option<u64> {
    let fits = open_files.saturating_sub(OTHER_FILES);
    (connections > fits).then_some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raises_to_the_hard_limit() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.maximum.unwrap_or(u64::MAX));
    }

    #[test]
    fn knows_what_does_not_fit() {
        assert_eq!(too_many(15_000, 20_000), None);
        assert_eq!(too_many(20_000, 20_000), Some(18_976));
        assert_eq!(too_many(10, 256), Some(0));
    }
}
