//! `leaseq check-config`: says what is wrong with a configuration file.

use std::time::SystemTime;

use crate::cli::CheckConfig;
use crate::config::{Config, Overrides};
use crate::exit::Done;

/// Checks the file; warnings go to standard error.
pub fn run(arguments: &CheckConfig) -> anyhow::Result<Done> {
    let config = Config::load(&arguments.file, Overrides::default())?;
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    let now = SystemTime::now();
    for warning in config
        .certificates
        .iter()
        .filter_map(|each| each.warning(now))
    {
        eprintln!("warning: {warning}");
    }
    println!("{}: good", arguments.file.display());
    Ok(Done::All)
}
