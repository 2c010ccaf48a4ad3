//! A feed that mirrors another leasequery server: everything in bulk, then what changes by active leasequery.
//!
//! DHCPv4 begins with the bulk query for all configured addresses, and goes on with an active query from the first base-time
//! of the bulk answer; a lost connection is made again and caught up with from the last base-time, which is kept in the store
//! together with what was told before it. If the server cannot tell everything since then (DataMissing), all is read once
//! more, and what is not told then has ended.
//!
//! DHCPv6 has no bulk query for everything. There the active query itself asks from the beginning of time, which a server can
//! answer whose history is whole; where it cannot, the links and relay agents are asked for that are configured, or that
//! earlier answers have told. What is not asked for cannot be known, which the feed's remark says.
//!
//! A server without active leasequery is asked in bulk at an interval.
//!
//! # What is stored
//! - Times are told relative to base-time; they are made absolute with it, so that the mirror tells the same times. They are
//!   those of the server's clock: the clocks of both must be kept in step, and the remark says if they are not.
//! - Each binding is marked REMOTE, whatever the server said of it: RFC 6926 §6.2.8 has the flag say that a change took place
//!   on another server than the one that tells it, and that is so for everything that a mirror tells. A requestor that asks
//!   both takes the server's own word for it (§7.6).
//! - Of an address that was never leased nothing is stored.
//! - DHCPv6 leasequery tells that a lease is over, not how it ended: its state is EXPIRED if its time had run out, else
//!   RELEASED.
//! - Of two mirrors that tell of one binding, the store keeps what §7.6 says is better.

mod ask;
mod bulk;
mod keeper;
mod lease4;
mod lease6;
mod position;
mod run;
mod settings;
mod stream;
mod wake;

use std::io;
use std::sync::Arc;

use leaseq_store::Store;

use crate::run::{Feed, Follower, Running, Status};
use run::Mirror;
use wake::Wake;

pub use settings::{Family, ServerError, Settings, TlsFiles};

/// Starts the feed. A server that is away, or files that cannot be read, are no faults of the start.
///
/// # Errors
/// There is no thread or no open file to be had.
pub fn start(settings: &Settings, store: Arc<Store>) -> io::Result<Feed> {
    let status = Arc::new(Status::new(
        &settings.name,
        "leasequery",
        Some(settings.family.number()),
        &settings.server,
    ));
    let wake = Arc::new(Wake::default());
    let mut mirror = Mirror::new(settings.clone(), Arc::clone(&wake));
    let follower = Follower::start(store, Arc::clone(&status), move |intake, stop| {
        mirror.run(intake, stop)
    })?;
    let follower = Some(Box::new(follower));
    Ok(Feed::new(status, None, Box::new(Run { wake, follower })))
}

/// A mirror's thread, and how it is woken.
struct Run {
    wake: Arc<Wake>,
    follower: Option<Box<Follower>>,
}

impl Running for Run {
    fn stop(mut self: Box<Self>) {
        self.wake.give();
        if let Some(follower) = self.follower.take() {
            follower.stop();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.wake.give();
    }
}
