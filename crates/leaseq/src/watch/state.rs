//! The file in which `leaseq watch` remembers up to where changes were told: Unix seconds of the server's time, a line.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;
use leaseq_wire::time::UnixSeconds;

/// The time in a state file; none: there is no such file.
pub fn read(file: &Path) -> anyhow::Result<Option<UnixSeconds>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("{}: cannot be read", file.display()));
        }
    };
    let seconds = text.trim_end().parse().with_context(|| {
        format!(
            "{}: expected seconds of Unix time, got {:?}",
            file.display(),
            text.chars().take(40).collect::<String>()
        )
    })?;
    Ok(Some(UnixSeconds(seconds)))
}

/// Keeps a state file up to date. What was printed must have been flushed before.
pub struct State {
    file: Option<PathBuf>,
    written: Option<UnixSeconds>,
}

impl State {
    pub fn new(file: Option<PathBuf>, found: Option<UnixSeconds>) -> Self {
        Self {
            file,
            written: found,
        }
    }

    /// Replaces the file, if the time has moved on.
    pub fn write(&mut self, time: Option<UnixSeconds>) -> anyhow::Result<()> {
        let (Some(file), Some(seconds)) = (&self.file, time) else {
            return Ok(());
        };
        if self.written == time {
            return Ok(());
        }
        let mut new = file.clone().into_os_string();
        new.push(".new");
        fs::write(&new, format!("{}\n", seconds.0))
            .and_then(|()| fs::rename(&new, file))
            .with_context(|| format!("{}: cannot be written", file.display()))?;
        self.written = time;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state");
        assert_eq!(read(&file).unwrap(), None);
        let mut state = State::new(Some(file.clone()), None);
        state.write(None).unwrap();
        assert!(!file.exists());
        state.write(Some(UnixSeconds(1_790_000_000))).unwrap();
        assert_eq!(read(&file).unwrap(), Some(UnixSeconds(1_790_000_000)));
        fs::write(&file, "yesterday\n").unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(
            error.ends_with("state: expected seconds of Unix time, got \"yesterday\\n\""),
            "{error}"
        );
    }
}
