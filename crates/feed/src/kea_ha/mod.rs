//! The backup server of Kea's high availability hook (`libdhcp_ha.so`), mode `passive-backup` or beside any other mode.
//!
//! Kea posts a command for each lease that it gives or takes back (`http`, `request`, `command`, `execute`); the answer comes once
//! the lease is durable. Kea neither waits for that, unless `wait-backup-ack` is set, nor sends a second time, nor tells a
//! backup of leases that its own commands (`lease4-add`) change; so all leases are read now and then through its control
//! channel (`pull`, `keeper`), and those that Kea no longer has are ended.
//!
//! A DHCPv4 and a DHCPv6 server may send to one feed, and so may the two servers of a pair. In the store the feed's position
//! names the families that are there; nothing counts as read before all of them were heard of.

mod access;
mod answer;
mod command;
mod control;
mod execute;
mod http;
mod keeper;
mod lease;
mod origins;
mod parting;
mod peer;
mod places;
mod pull;
mod request;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use leaseq_store::Store;

pub use access::{ControlAccess, Credentials, CredentialsError, ServerTls, Tls};
pub use control::{ControlAddress, ControlAddressError};

use crate::run::{Feed, Follower, Phase, Running, Status};
use crate::socket;

/// What a feed of kind `kea-ha` is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Where Kea's HA hook sends to: the `url` of the peer of role `backup`.
    pub listen: SocketAddr,
    /// What Kea has to say to be heard: its `basic-auth-user` and `basic-auth-password`.
    pub credentials: Option<Credentials>,
    /// The peer's `url` is an `https` one.
    pub tls: Option<ServerTls>,
    /// Where the DHCPv4 server, or its control agent, is asked for its leases.
    pub control4: Option<ControlAddress>,
    /// Where the DHCPv6 server, or its control agent, is asked for its leases.
    pub control6: Option<ControlAddress>,
    /// What control agents ask of us.
    pub control_access: ControlAccess,
    /// From one reading of all leases to the next.
    pub pull_interval: Duration,
    /// How long a server may be silent before it is asked whether it is there.
    pub probe_interval: Duration,
}

/// What [`Settings::pull_interval`] is unless it is set.
pub const PULL_INTERVAL: Duration = Duration::from_secs(3_600);
/// What [`Settings::probe_interval`] is unless it is set. Leases end late by up to as much while Kea is silent.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// Starts the feed.
///
/// # Errors
/// The address cannot be listened on, or there is no thread to be had.
pub fn start(settings: &Settings, store: Arc<Store>) -> io::Result<Feed> {
    let source = settings.listen.to_string();
    let status = Arc::new(Status::new(&settings.name, "kea-ha", None, source));
    let peer = Arc::new(peer::Peer::new(Arc::clone(&store), Arc::clone(&status)));
    let service = http::Service {
        credentials: settings.credentials.clone(),
        tls: settings.tls.clone(),
        limits: places::Limits::default(),
    };
    let server = http::Server::start(settings.listen, service, Arc::clone(&peer))?;
    let address = socket::Address::Tcp(server.address());
    if settings.control4.is_none() && settings.control6.is_none() {
        // There is nothing to be read but what is pushed.
        status.enter(Phase::Following);
    }
    let keeper = {
        let (settings, peer) = (settings.clone(), Arc::clone(&peer));
        Follower::start(store, Arc::clone(&status), move |intake, stop| {
            keeper::keep(&settings, &peer, intake, stop)
        })
    };
    let keeper = match keeper {
        Ok(keeper) => Box::new(keeper),
        Err(error) => {
            peer.end();
            return Err(error);
        }
    };
    let sides = Some((server, keeper));
    Ok(Feed::new(
        status,
        Some(address),
        Box::new(Both { peer, sides }),
    ))
}

/// The two sides of the feed.
struct Both {
    peer: Arc<peer::Peer>,
    sides: Option<(http::Server, Box<Follower>)>,
}

impl Running for Both {
    fn stop(mut self: Box<Self>) {
        self.peer.end();
        if let Some((server, keeper)) = self.sides.take() {
            server.join();
            keeper.stop();
        }
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.peer.end();
    }
}
