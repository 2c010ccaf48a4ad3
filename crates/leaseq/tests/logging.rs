//! What is logged, and in which form, as the command line and the environment say it.

mod common;

use std::path::Path;

use common::{leaseq, stderr, text};
use serde_json::Value;

/// What a server logs that has no requestors, and that cannot open its store because there is a file in the way.
fn logged(arguments: &[&str], variable: Option<&str>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("leaseq.toml");
    std::fs::write(
        &config,
        "[dhcp4]\nlisten-tcp = []\n[dhcp6]\nlisten-tcp = []\n",
    )
    .unwrap();
    let serve = [
        "serve",
        "--config",
        text(&config),
        "--data-dir",
        text(&config),
    ];
    let mut command = leaseq(&[&serve[..], arguments].concat());
    if let Some(filter) = variable {
        command.env("LEASEQ_LOG", filter);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    stderr(&output)
}

#[test]
fn each_line_has_its_id() {
    assert!(logged(&[], None).contains("id=\"config-warning\""));
    let json = logged(&["--log-format", "json"], None);
    let line: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&line["id"], &line["level"]),
        (&"config-warning".into(), &"WARN".into())
    );
}

#[test]
fn the_command_line_says_what_is_logged_before_the_environment_does() {
    for (level, variable, is_logged) in [
        (None, None, true),
        (Some("warn"), None, true),
        (Some("error"), None, false),
        (None, Some("error"), false),
        (Some("info"), Some("error"), true),
        (Some("error"), Some("debug"), false),
    ] {
        let arguments = level.map(|level| ["--log-level", level]);
        let told = logged(arguments.as_ref().map_or(&[], |all| &all[..]), variable);
        assert_eq!(
            told.contains("config-warning"),
            is_logged,
            "{level:?} {variable:?}"
        );
    }
}

#[test]
fn without_a_journal_logs_go_to_standard_error_and_say_so() {
    let told = logged(&["--log-format", "journald"], None);
    let has_journal = Path::new("/run/systemd/journal/socket").exists();
    for id in ["log-journald-missing", "config-warning"] {
        assert_eq!(
            told.contains(&format!("id=\"{id}\"")),
            !has_journal,
            "{told}"
        );
    }
}
