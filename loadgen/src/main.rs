//! `leaseq-loadgen`: see the library.

fn main() {
    println!("leaseq-loadgen {}", env!("CARGO_PKG_VERSION"));
}
