//! Changes of bindings that are made while relays look on.

pub mod driver;
pub mod mark;
pub mod schedule;

pub use driver::{Driven, Driver};
pub use mark::{Change, Mark};
pub use schedule::Schedule;
