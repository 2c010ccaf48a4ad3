//! Every log has an id, and the manual's list of messages has every id and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources of what is shipped: without tests, which have ids of their own.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = fs::read_dir(root().join("crates"))
        .expect("the crates")
        .map(|entry| entry.expect("an entry").path().join("src"))
        .collect();
    waiting.push(root().join("loadgen/src"));
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if path.is_dir() {
                waiting.push(path);
            } else if name.ends_with(".rs") && !name.contains("test") {
                let text = fs::read_to_string(&path).expect("a source");
                // Tests of a module are at its end.
                let shipped = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or("");
                found.push((path, shipped.to_owned()));
            }
        }
    }
    assert!(found.len() > 100, "{} sources", found.len());
    found
}

/// The text of a literal that follows.
fn literal(text: &str) -> Option<&str> {
    text.trim_start().strip_prefix('"')?.split('"').next()
}

/// What lies between the parenthesis that was just opened and the one that closes it; parentheses in literals come in pairs.
fn arguments(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|mark| {
        depth += match mark {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

/// The ids of all logs with the level at which they are told; and where a log has none.
fn told() -> (BTreeMap<String, BTreeSet<&'static str>>, Vec<String>) {
    let mut ids: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut without = Vec::new();
    for (path, text) in sources() {
        for level in LEVELS {
            for (at, call) in text.match_indices(&format!("tracing::{level}!(")) {
                let arguments = arguments(&text[at + call.len()..]);
                let line = text[..at].lines().count();
                if arguments.trim_start().starts_with("id,") {
                    // Given by the caller: see below.
                    continue;
                }
                match arguments
                    .split_once("id = ")
                    .and_then(|(_, id)| literal(id))
                {
                    Some(id) => {
                        ids.entry(id.to_owned()).or_default().insert(level);
                    }
                    None => without.push(format!("{}:{line}", path.display())),
                }
            }
        }
        for call in [".trouble(", ".remark(", ".wait_for_source("] {
            for (at, _) in text.match_indices(call) {
                if let Some(id) = literal(&text[at + call.len()..]) {
                    ids.entry(id.to_owned()).or_default().insert("warn");
                }
            }
        }
    }
    (ids, without)
}

/// The rows of the list: id, level, meaning. Feeds of several kinds tell some of them, each listed under its kind.
fn listed() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(root().join("docs/messages.md")).expect("the list of messages");
    let mut rows = Vec::new();
    let mut under_this_heading = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('#') {
            under_this_heading.clear();
        }
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, level, meaning, _, ""] = columns[..] else {
            continue;
        };
        let id = id.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let Some(id) = id else {
            continue;
        };
        assert!(under_this_heading.insert(id), "{id} is listed twice");
        rows.push((id.to_owned(), level.to_owned(), meaning.to_owned()));
    }
    rows
}

#[test]
fn every_log_has_an_id_that_is_listed_with_its_level() {
    let (told, without) = told();
    assert_eq!(without, Vec::<String>::new(), "logs without an id");
    let listed = listed();
    let mut wrong = Vec::new();
    for (id, level, meaning) in &listed {
        let said: BTreeSet<&str> = level.split(", ").collect();
        match told.get(id) {
            None => wrong.push(format!("{id} is listed, but nothing tells it")),
            Some(levels) if *levels != said => {
                wrong.push(format!("{id} is told as {levels:?}, listed as {said:?}"));
            }
            Some(_) if meaning.is_empty() => {
                wrong.push(format!("{id} is listed without what it means"));
            }
            Some(_) => {}
        }
    }
    let is_listed = |id: &String| listed.iter().any(|(listed, ..)| listed == id);
    let missing = told.keys().filter(|id| !is_listed(id));
    wrong.extend(missing.map(|id| format!("{id} is not in docs/messages.md")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
