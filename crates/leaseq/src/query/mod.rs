//! `leaseq query`: asks a server and prints what it tells, as it comes.

pub mod arguments;
mod ask;
pub mod octets;
pub mod output;
pub mod secure;
pub mod server;
pub mod time;

use std::io::{BufWriter, stdout};

pub use arguments::Arguments;

use crate::exit::Done;

/// Asks; leases go to standard output, everything else that is to be said to standard error.
pub fn run(arguments: &Arguments) -> anyhow::Result<Done> {
    let question = arguments.question(leaseq_requestor::client::now())?;
    let mut out = BufWriter::with_capacity(64 * 1024, stdout().lock());
    let said = ask::ask(&question, &mut out)?;
    for line in &said.notes {
        eprintln!("leaseq: {line}");
    }
    match said.failure {
        Some(failure) => Err(anyhow::anyhow!(failure)),
        None => Ok(Done::All),
    }
}
