//! The help texts, and how bad usage ends.

mod common;

use common::{leaseq, stderr, stdout};

#[test]
fn help_of_each_command() {
    for command in [
        &["--help"][..],
        &["serve", "--help"],
        &["import", "--help"],
        &["query", "--help"],
        &["watch", "--help"],
        &["store", "--help"],
        &["store", "stat", "--help"],
        &["store", "backup", "--help"],
        &["check-config", "--help"],
        &["ctl", "--help"],
        &["ctl", "close", "--help"],
    ] {
        let output = leaseq(command).output().expect("the binary");
        assert_eq!(output.status.code(), Some(0));
        let name = command
            .join("-")
            .replace("---", "-")
            .replace("--help", "help");
        insta::assert_snapshot!(name, stdout(&output));
    }
}

#[test]
fn bad_usage_ends_with_2() {
    for (command, told) in [
        (
            &["serve", "--config", "/does/not/exist.toml"][..],
            "leaseq: /does/not/exist.toml: cannot be read: No such file",
        ),
        (
            &["check-config", "/does/not/exist.toml"],
            "leaseq: /does/not/exist.toml: cannot be read: No such file",
        ),
        (
            &["serve", "--sample", "0"],
            "error: invalid value '0' for '--sample <N>'",
        ),
        (
            &["import", "--data-dir", "x"],
            "error: the following required arguments were not provided:",
        ),
        (
            &["frobnicate"],
            "error: unrecognized subcommand 'frobnicate'",
        ),
    ] {
        let output = leaseq(command).output().expect("the binary");
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert!(
            stderr(&output).starts_with(told),
            "{command:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn a_configuration_is_checked_with_its_warnings() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("leaseq.toml");
    std::fs::write(
        &file,
        "[dhcp4]\nlisten-tcp = [\"192.0.2.1:67\"]\n[dhcp6]\nlisten-tcp = []\n",
    )
    .unwrap();
    let output = leaseq(&["check-config", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stderr(&output),
        "warning: no [[requestor]] is configured: nobody is served\n"
    );
    std::fs::write(&file, "[limits]\nmax-conections = 5\n").unwrap();
    let output = leaseq(&["check-config", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "leaseq: {}:2:1: unknown key `max-conections` in [limits]; did you mean `max-connections`?\n",
        file.display()
    );
    assert_eq!(stderr(&output), expected);
}
