//! The backup peer of Kea's HA hook: requests that a Kea 2.2 was seen to send, what misbehaves on HTTP, and the pull against a
//! control socket with pushes and faults in the middle of it.

mod fixture;
mod pull;
mod push;
mod rude;
