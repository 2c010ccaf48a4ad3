//! TOML files read strictly: what is wrong with one is told with file, line, column and, for a key that is not known, the
//! nearest known one.
//!
//! [`read`] gives the text of a file; what its reader finds wrong becomes a [`ConfigError`], either from the TOML reader's
//! error or [at](ConfigError::at) a span. [`span_of`] finds the span of a key by its [path](Step), for checks that come after
//! reading and know only which key is to blame.

mod error;
mod nearest;
mod place;

pub use error::{ConfigError, in_words, instead, read};
pub use nearest::nearest;
pub use place::{Step, span_of};
