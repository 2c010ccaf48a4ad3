//! Runs relays: in threads, each with a runtime on a core of its own, in one process or several.

pub mod board;
pub mod plan;
pub mod processes;
pub mod threads;
