//! The help texts, the list of scenarios, and how bad usage ends.

use std::process::{Command, Output};

fn loadgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leaseq-loadgen"))
        .args(arguments)
        .env("COLUMNS", "100")
        .output()
        .expect("the binary")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn help_of_each_command() {
    for command in [
        &["--help"][..],
        &["run", "--help"],
        &["report", "--help"],
        &["list", "--help"],
        &["list"],
    ] {
        let output = loadgen(command);
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        let name = command
            .join("-")
            .replace("---", "-")
            .replace("--help", "help");
        insta::assert_snapshot!(name, text(&output.stdout));
    }
}

#[test]
fn bad_usage_and_bad_scenarios_end_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "[data]\nrelays = 5\nbindins-per-relay = 5\n").unwrap();
    let file = file.to_str().unwrap();
    let misspelt = format!(
        "leaseq-loadgen: {file}:3:1: unknown key `bindins-per-relay` in [data]; did you mean `bindings-per-relay`?\n"
    );
    for (command, told) in [
        (
            &["run", "strom"][..],
            "leaseq-loadgen: \"strom\" is neither a file nor a built-in scenario; did you mean `storm`?\n",
        ),
        (&["run", file], &misspelt),
        (
            &["run", "storm", "--relays", "0"],
            "leaseq-loadgen: --relays 0: expected at least 1, found 0\n",
        ),
        (
            &["run", "storm", "--set", "relays"],
            "error: invalid value 'relays' for '--set <KEY=VALUE>': expected KEY=VALUE, such as data.relays=500, found \"relays\"",
        ),
        (
            &["run", "storm", "--json", "/does/not/exist/x.json"],
            "leaseq-loadgen: --json /does/not/exist/x.json: expected a directory /does/not/exist, found none\n",
        ),
        (
            &["report", "/does/not/exist.json"],
            "leaseq-loadgen: /does/not/exist.json: cannot be read: No such file or directory (os error 2)\n",
        ),
        (
            &["report", file],
            &format!(
                "leaseq-loadgen: {file}: expected the JSON that a run writes, but it is no JSON"
            ),
        ),
        (
            &["frobnicate"],
            "error: unrecognized subcommand 'frobnicate'",
        ),
    ] {
        let output = loadgen(command);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {stderr}");
        assert!(stderr.starts_with(told), "{command:?}: {stderr}");
        assert_eq!(text(&output.stdout), "", "{command:?}");
    }
}
