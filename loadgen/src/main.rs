//! `leaseq-loadgen`: see the library.

use std::process::ExitCode;

use leaseq_loadgen::work::processes;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|role| role == processes::ROLE) {
        return worker();
    }
    leaseq_loadgen::cli::main(std::env::args_os())
}

/// The role in which a run starts this program beside itself.
fn worker() -> ExitCode {
    match processes::work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leaseq-loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}
