//! `leaseq-loadgen`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    leaseq_loadgen::cli::main(std::env::args_os())
}
