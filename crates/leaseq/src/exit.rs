//! How the process ends.

use std::process::ExitCode;

use crate::config::ConfigError;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Everything was done.
    All,
    /// Some of the input was rejected, and told; the rest is done.
    Rejections,
}

/// Bad usage that the command line's syntax does not show.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;
const REJECTIONS: u8 = 3;

/// Tells a failure on standard error, and gives the exit status of how the command ended.
pub fn report(done: anyhow::Result<Done>) -> ExitCode {
    let error = match done {
        Ok(Done::All) => return ExitCode::SUCCESS,
        Ok(Done::Rejections) => return ExitCode::from(REJECTIONS),
        Err(error) => error,
    };
    eprintln!("leaseq: {error:#}");
    let is_usage = error.is::<ConfigError>() || error.is::<Usage>();
    ExitCode::from(if is_usage { BAD_USAGE } else { FAILED })
}
