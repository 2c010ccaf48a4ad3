//! The checks against leaseq's own core: what it tells is accepted at any moment, and whatever is done to its messages is
//! found.

mod bulk;
mod export;
mod rig;
mod stream;
