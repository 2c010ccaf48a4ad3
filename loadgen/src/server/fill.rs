//! Fills a store: the lines of every row go through a pipe into `leaseq import`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{OwnError, Step};
use crate::data::{Inventory, Source};
use crate::program::Program;
use crate::scenario::FamilyNumber;

/// Octets of lines that are written at a time.
const CHUNK: usize = 256 * 1024;
/// How long the import may say nothing, when it has all lines, until we look whether to give it up.
const LOOK: Duration = Duration::from_millis(100);

/// Puts the bindings into the store in `dir`, which does not exist yet or is empty.
pub(super) fn fill(
    binary: &Path,
    dir: &Path,
    sources: &BTreeMap<FamilyNumber, Source>,
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<(), OwnError> {
    let inventories = sources
        .iter()
        .map(|(family, source)| Inventory::load((*family).into(), source))
        .collect::<Result<Vec<_>, _>>()?;
    let mut command = Command::new(binary);
    command
        .args(["import", "--format", "ndjson", "--data-dir"])
        .arg(dir)
        .arg("/dev/stdin");
    let mut import =
        Program::start(&mut command).map_err(|error| OwnError::Start(binary.to_owned(), error))?;
    let total = inventories.iter().map(Inventory::len).map(u64::from).sum();
    let written = match write(&mut import, &inventories, total, watch) {
        Ok(()) => None,
        // It has stopped reading: its own words say why.
        Err(Unwritten::Pipe(error)) => Some(error),
        Err(Unwritten::GivenUp) => return Err(OwnError::GivenUp),
    };
    let status = loop {
        match import.wait(LOOK).map_err(OwnError::Watch)? {
            Some(status) => break status,
            None if watch(Step::Filling { done: total, total }) => {}
            None => return Err(OwnError::GivenUp),
        }
    };
    if status.success() && written.is_none() {
        return Ok(());
    }
    let words = import.last_words();
    let pipe = written.map(|error| error.to_string()).unwrap_or_default();
    Err(OwnError::Fill {
        status: status.to_string(),
        words: if words.is_empty() { pipe } else { words },
    })
}

/// Why not all lines were written.
enum Unwritten {
    GivenUp,
    Pipe(io::Error),
}

fn write(
    import: &mut Program,
    inventories: &[Inventory],
    total: u64,
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<(), Unwritten> {
    let Some(mut input) = import.take_input() else {
        return Ok(());
    };
    let mut lines = String::with_capacity(CHUNK * 2);
    let mut done = 0;
    for inventory in inventories {
        for row in 0..inventory.len() {
            inventory.line(row, None, &mut lines);
            done += 1;
            if lines.len() < CHUNK {
                continue;
            }
            input.write_all(lines.as_bytes()).map_err(Unwritten::Pipe)?;
            lines.clear();
            if !watch(Step::Filling { done, total }) {
                return Err(Unwritten::GivenUp);
            }
        }
    }
    input.write_all(lines.as_bytes()).map_err(Unwritten::Pipe)?;
    match watch(Step::Filling { done, total }) {
        true => Ok(()),
        false => Err(Unwritten::GivenUp),
    }
}
