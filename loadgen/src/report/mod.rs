//! The capacity report: one HTML page out of results, with plots, models and tables for planning.
//!
//! The page needs nothing but itself: no script, no font, no picture from elsewhere. It is well-formed XML as well as HTML,
//! so that it can be checked. Everything in it comes from [`RunResult`]s; what there is no data for is named, with the scenario
//! that gives it. `systems` puts results of one server together, `observe` looks at each point, `model` fits with `fit`,
//! and the other modules write a part of the page each.

mod capacity;
mod compare;
mod findings;
pub mod fit;
mod html;
mod model;
mod number;
mod observe;
mod plot;
mod plots;
mod scalability;
mod scale;
mod surroundings;
mod systems;
mod table;
mod verdict;
mod work;

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::result::{FORMAT, RunResult};
use html::Html;
use model::Models;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A result cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON, or not whole.
    #[error("{}: expected the JSON that a run writes, but it is no JSON: {source}", file.display())]
    NotJson {
        /// The file.
        file: PathBuf,
        /// Where, and why.
        source: serde_json::Error,
    },
    /// It is JSON, but says nothing of its format.
    #[error("{}: expected the JSON that a run writes, but it has no \"format\"", file.display())]
    NoFormat {
        /// The file.
        file: PathBuf,
    },
    /// It is of another version of this program.
    #[error("{}: expected a result of format {FORMAT}, found format {found}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// The format it has.
        found: u64,
    },
    /// It has the right format, but something in it has not.
    #[error("{}: no valid result of format {FORMAT}: {source}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// Where, and why.
        source: serde_json::Error,
    },
    /// There is nothing to report.
    #[error("expected at least one result")]
    NoResults,
    /// The page cannot be written.
    #[error("{}: cannot be written: {source}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What tells formats apart.
#[derive(Deserialize)]
struct Head {
    format: Option<serde_json::Value>,
}

/// Reads a result.
///
/// # Errors
/// If the file cannot be read, is no JSON, or holds no result of [`FORMAT`].
pub fn read(file: &Path) -> Result<RunResult, ReportError> {
    let owned = || file.to_owned();
    let text = std::fs::read_to_string(file).map_err(|source| ReportError::Read {
        file: owned(),
        source,
    })?;
    let head: Head = serde_json::from_str(&text).map_err(|_| {
        match serde_json::from_str::<IgnoredAny>(&text) {
            // Some other JSON, such as a list.
            Ok(IgnoredAny) => ReportError::NoFormat { file: owned() },
            Err(source) => ReportError::NotJson {
                file: owned(),
                source,
            },
        }
    })?;
    let found = head
        .format
        .and_then(|format| format.as_u64())
        .ok_or_else(|| ReportError::NoFormat { file: owned() })?;
    if found != u64::from(FORMAT) {
        return Err(ReportError::Format {
            file: owned(),
            found,
        });
    }
    serde_json::from_str(&text).map_err(|source| ReportError::Content {
        file: owned(),
        source,
    })
}

/// Reads several results, each with the name of its file.
///
/// # Errors
/// As [`read`], for the first that fails.
pub fn read_all(files: &[PathBuf]) -> Result<Vec<(String, RunResult)>, ReportError> {
    let name = |file: &Path| {
        file.file_name()
            .unwrap_or(file.as_os_str())
            .to_string_lossy()
            .into_owned()
    };
    files
        .iter()
        .map(|file| Ok((name(file), read(file)?)))
        .collect()
}

/// Writes the report of results, each with the name of its file, as one HTML page.
///
/// # Errors
/// If there are no results, or the page cannot be written.
pub fn write(results: &[(String, RunResult)], out: &Path) -> Result<(), ReportError> {
    if results.is_empty() {
        return Err(ReportError::NoResults);
    }
    std::fs::write(out, page(results)).map_err(|source| ReportError::Write {
        file: out.to_owned(),
        source,
    })
}

/// The page.
#[must_use]
pub fn page(results: &[(String, RunResult)]) -> String {
    let systems = systems::systems(results);
    let models: Vec<Models> = systems
        .iter()
        .map(|system| model::models(&system.observations))
        .collect();
    let title = match &systems[..] {
        [one] => format!("Leasequery capacity: {}", one.name),
        _ => format!("Leasequery capacity: {} compared", systems.len()),
    };
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n");
    html.element("html", &[("lang", "en")], |html| {
        html.element("head", &[], |html| head(&title, html));
        html.element("body", &[], |html| {
            html.element("header", &[], |html| html.leaf("h1", &[], &title));
            html.element("main", &[], |html| {
                verdict::write(&systems, html);
                compare::write(&systems, html);
                surroundings::write(&systems, html);
                plots::write(&systems, &models, html);
                scalability::write(&systems, &models, html);
                planning(&systems, &models, html);
                surroundings::points(&systems, html);
                findings::write(&systems, html);
            });
            html.element("footer", &[], |html| {
                html.paragraph(&format!(
                    "Made by leaseq-loadgen {}. docs/capacity.md says how each figure is measured, and what it does not say.",
                    env!("CARGO_PKG_VERSION")
                ));
            });
        });
    });
    html.finish()
}

fn head(title: &str, html: &mut Html) {
    html.void("meta", &[("charset", "utf-8")]);
    html.void(
        "meta",
        &[
            ("name", "viewport"),
            ("content", "width=device-width, initial-scale=1"),
        ],
    );
    html.void(
        "meta",
        &[("name", "color-scheme"), ("content", "light dark")],
    );
    // Nothing in the page may fetch anything, whatever a result's names say.
    html.void(
        "meta",
        &[
            ("http-equiv", "Content-Security-Policy"),
            ("content", "default-src 'none'; style-src 'unsafe-inline'"),
        ],
    );
    html.leaf("title", &[], title);
    html.element("style", &[], |html| html.raw(include_str!("style.css")));
}

fn planning(systems: &[systems::System<'_>], models: &[Models], html: &mut Html) {
    html.element("section", &[], |html| {
        html.leaf("h2", &[], "Capacity");
        html.paragraph(
            "For so many relays with so many bindings each, and so many changes a second: by the models, with the CPUs that were \
             measured. Figures beyond what was measured say \u{201c}extrapolated\u{201d}; those further away than ten times the \
             measured range are not given. Cores are the server\u{2019}s, as if its work could be shared among them evenly: the CPU time \
             of a storm divided by the time it is given.",
        );
        for (system, models) in systems.iter().zip(models) {
            capacity::write(system, models, html);
        }
    });
}
