//! What the tests of the real binary share.

use std::process::{Command, Output};

/// The binary with these arguments.
pub fn leaseq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leaseq"));
    command
        .args(arguments)
        .env_remove("LEASEQ_LOG")
        .env("COLUMNS", "100");
    command
}

/// What it wrote to standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What it wrote to standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
