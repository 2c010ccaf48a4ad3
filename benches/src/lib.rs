//! Shared parts of leaseq's benches.
