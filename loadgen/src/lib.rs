//! Thousands of simulated leasequery relays against one server, and what came of it.
//!
//! A [`scenario`] says which relays there are and what each does. [`work`] runs them on a tokio-uring runtime a core, in one
//! process or several; each relay is a task with a behaviour ([`relay`]) on connections of [`net`]. What the server tells is
//! compared with what its store holds ([`data`], [`check`]), while [`changes`] drives changes into that store through its
//! feed; [`server`] starts and fills a leaseq of our own and watches what it uses. What was measured ([`measure`]) and found
//! wrong ([`fault`]) becomes a [`result`], and results become a capacity report.

pub mod changes;
pub mod check;
pub mod cli;
pub mod data;
pub mod environment;
pub mod fault;
pub mod live;
pub mod measure;
pub mod net;
pub mod probes;
mod program;
pub mod relay;
pub mod report;
pub mod result;
pub mod run;
pub mod scenario;
pub mod server;
pub mod work;
