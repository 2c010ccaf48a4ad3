//! Sources of bindings: lease files and live feeds of DHCP servers.
//!
//! A source turns what another program wrote about its leases into [`leaseq_store::Event`]s:
//!
//! - [`kea`]: lease files of ISC Kea's memfile backend, v4 and v6, with the files of its clean-up;
//! - [`kea_ha`]: a backup peer of Kea's high availability hook, over HTTP;
//! - [`isc`]: lease files of ISC dhcpd, v4 and v6;
//! - [`dnsmasq`]: the lease file of dnsmasq;
//! - [`ndjson`]: one lease event a line, in both directions (import, export);
//! - [`follow`]: files that another program keeps writing, for the sources that are such files;
//! - [`mirror`]: another leasequery server;
//! - [`socket`]: NDJSON on a Unix or TCP socket, answered line by line once durable.
//!
//! What follows a source while the server runs is a [`run::Feed`], started from its [`Settings`].
//!
//! File sources are iterators of `Result<Event, ReadError>`, whose events have passed [`leaseq_store::Event::check`]. A line that cannot be understood is a
//! [`Rejection`] with file, line and reason; the lines around it are not harmed by it. Nothing here panics on
//! what a source contains, and no line, however long, takes more memory than [`lines::MAX_LINE`] octets.

pub mod dnsmasq;
pub mod follow;
mod held;
pub mod hex;
pub mod isc;
pub mod kea;
pub mod kea_ha;
pub mod lines;
pub mod mirror;
pub mod ndjson;
pub mod rejection;
pub mod run;
mod settings;
pub mod socket;
pub mod vpn;

pub use rejection::{ReadError, Rejection};
pub use settings::{Settings, StartError};
