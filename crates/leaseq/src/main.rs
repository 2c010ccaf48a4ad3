//! The `leaseq` command.

fn main() {}
