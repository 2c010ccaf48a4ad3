//! From a file, or the name of a built-in scenario, and the command line's values to a scenario that can be run.

use std::path::{Path, PathBuf};

use leaseq_toml_file::{ConfigError, Step, in_words, span_of};
use serde::Deserialize;
use toml::Table;

pub use super::set::Override;
use super::{Scenario, built_in, rules};

/// A scenario that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Something is wrong in its file.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Something is wrong with what the command line puts into it.
    #[error("{option}: {reason}")]
    Option {
        /// The option as it was given.
        option: String,
        /// What was expected, what came.
        reason: String,
    },
    /// There is neither a built-in scenario nor a file of this name.
    #[error(
        "{}",
        leaseq_toml_file::instead(
            format!("{name:?} is neither a file nor a built-in scenario"), name, &built_in::names()
        )
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

/// A scenario with the name that its results carry.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// The built-in scenario's name, or the file's without extension.
    pub name: String,
    /// What is to be run.
    pub scenario: Scenario,
}

/// Reads a scenario, puts the command line's values into it, in their order, and checks it as a whole.
///
/// # Errors
/// With file, line and column, or with the option that is to blame.
pub fn read(source: &str, overrides: &[Override]) -> Result<Named, ScenarioError> {
    if let Some(built_in) = built_in::find(source) {
        let file = PathBuf::from(format!("built-in {source}.toml"));
        let scenario = parse(&file, built_in.text, overrides)?;
        return Ok(Named {
            name: source.to_owned(),
            scenario,
        });
    }
    let file = Path::new(source);
    // What looks like a name was meant as one.
    if !file.exists() && file.extension().is_none() && !source.contains('/') {
        return Err(ScenarioError::Unknown {
            name: source.to_owned(),
        });
    }
    let text = leaseq_toml_file::read(file)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Ok(Named {
        name: name.into_owned(),
        scenario: parse(file, &text, overrides)?,
    })
}

/// As [`read`], of a text.
///
/// # Errors
/// As of [`read`].
pub fn parse(file: &Path, text: &str, overrides: &[Override]) -> Result<Scenario, ScenarioError> {
    let of_file = |error| ConfigError::from_toml(file, text, &error);
    let mut scenario: Scenario = toml::from_str(text).map_err(of_file)?;
    scenario.limits.leave_out_what_is_off();
    let mut table: Table = toml::from_str(text).map_err(of_file)?;
    let mut set = Vec::with_capacity(overrides.len());
    for given in overrides {
        let refused = |reason| ScenarioError::Option {
            option: given.option.clone(),
            reason,
        };
        let path = given.apply(&mut table).map_err(refused)?;
        scenario =
            Scenario::deserialize(table.clone()).map_err(|error| refused(in_words(&error)))?;
        scenario.limits.leave_out_what_is_off();
        set.push((path, given));
    }
    rules::check(&scenario, &table).map_err(|rules::Broken { path, reason }| {
        match blamed(&set, &path) {
            Some(given) => ScenarioError::Option {
                option: given.option.clone(),
                reason,
            },
            None => ScenarioError::File(match span_of(text, &path) {
                Some(span) => ConfigError::at(file, text, span, reason),
                None => ConfigError::about(file, reason),
            }),
        }
    })?;
    Ok(scenario)
}

/// The last option that set what is at a path, or something that it is in.
fn blamed<'o>(set: &[(Vec<Step>, &'o Override)], path: &[Step]) -> Option<&'o Override> {
    set.iter()
        .rev()
        .find(|(place, _)| path.starts_with(place))
        .map(|(_, given)| *given)
}

#[cfg(test)]
mod tests;
