//! Leasequery over UDP: a batch of datagrams a turn.
//!
//! After each batch the socket is asked for through the ring again, even if more datagrams wait: so a storm of queries
//! gets one batch for every round of the core's connections, and what does not fit is dropped by the kernel.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use leaseq_session::Family;

use crate::core::Core;
use crate::mmsg::{self, Inbox, Outbox};
use crate::ring;
use crate::service::Service;
use crate::stats;

/// How long a socket that fails for no known reason is left alone.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Whether a socket is to be closed, and who waits for that.
#[derive(Default)]
pub(crate) struct Closing(RefCell<Option<Sender<Infallible>>>);

impl Closing {
    /// It is to be closed; then the sender is dropped.
    pub fn begin(&self, closed: Sender<Infallible>) {
        *self.0.borrow_mut() = Some(closed);
    }
}

/// Answers the datagrams of one socket until it is closed, or for as long as the core runs.
pub(crate) async fn serve<S: Service>(
    core: Rc<Core<S>>,
    socket: Rc<OwnedFd>,
    closing: Rc<Closing>,
    family: Family,
    address: SocketAddr,
) {
    let engine = core.stats.clone();
    // A socket bound to one address answers from it anyway.
    if address.ip().is_unspecified()
        && let Err(error) = mmsg::ask_for_local_address(&*socket, address.is_ipv6())
    {
        tracing::warn!(id = "engine-udp-source", %address, %error, "answers may come from another address of this machine");
    }
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    let mut told = false;
    loop {
        let polled = ring::readable(&socket).await.0;
        if closing.0.borrow().is_some() {
            // The socket first, for whoever waits may want its address.
            drop(socket);
            drop(closing.0.take());
            return;
        }
        let received = match polled.and_then(|_| inbox.receive(&*socket)) {
            Ok(received) => received,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                continue;
            }
            Err(error) => {
                stats::add(&engine.udp_errors, 1);
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(id = "engine-udp-error", %address, %error, "reading datagrams failed");
                }
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
        };
        core.service.answer(core.now(), &mut |answer| {
            for at in 0..received {
                let Some((from, local, request)) = inbox.request(at) else {
                    stats::add(&engine.udp_too_long, 1);
                    continue;
                };
                if let Some((length, to)) = answer(family, from, request, outbox.room()) {
                    outbox.push(length, to, local);
                    if outbox.is_full() {
                        stats::add(&engine.udp_not_sent, outbox.send(&*socket));
                    }
                }
            }
        });
        stats::add(&engine.udp_not_sent, outbox.send(&*socket));
    }
}
