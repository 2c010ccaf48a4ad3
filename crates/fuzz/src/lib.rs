//! Fuzz targets: one function for each kind of input that comes from outside, each asserting more than "does not panic".
//!
//! `scripts/fuzz` runs them under libFuzzer (the programs in `src/bin`); the tests here replay the committed corpora, so that
//! what was once found stays found.

pub mod feeds;
pub mod sessions;
pub mod wire;

#[cfg(test)]
mod replay;
