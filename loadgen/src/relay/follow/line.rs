//! A follower's connection as its task sees it: none, one that is being made, one that octets come on.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;

use leaseq_requestor::follow::Line;

use super::listener::Listener;
use crate::net::channel::{Link, LinkError};
use crate::relay::context::Context;

type Connecting = Pin<Box<dyn Future<Output = Result<Link, LinkError>>>>;

/// One of a follower's two connections.
#[derive(Default)]
pub(super) enum Wire {
    #[default]
    None,
    Connecting(Connecting),
    Open(Link),
}

/// What has happened to a connection.
pub(super) enum Happened {
    Connected,
    /// Octets have come, and were listened to.
    Octets,
}

impl Wire {
    /// Begins to connect.
    pub(super) fn connect(context: &Rc<Context>, relay: u32) -> Self {
        let context = context.clone();
        Self::Connecting(Box::pin(async move { Link::open(&context, relay).await }))
    }

    /// Sends a message. Where there is no connection, nothing is sent.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), LinkError> {
        let Self::Open(link) = self else {
            return Ok(());
        };
        link.send(octets).await?;
        // From here on it is the follower that has patience.
        link.set_patience(None);
        Ok(())
    }

    /// Waits for something to happen, and has octets listened to. It may be given up and begun again.
    pub(super) async fn wait(
        &mut self,
        line: Line,
        listener: &RefCell<Listener<'_>>,
    ) -> Result<Happened, LinkError> {
        match self {
            Self::None => pending().await,
            Self::Connecting(connecting) => {
                let link = connecting.await?;
                *self = Self::Open(link);
                Ok(Happened::Connected)
            }
            Self::Open(link) => {
                let listen = &mut |octets: &[u8]| listener.borrow_mut().hear(line, octets);
                link.receive(listen).await?;
                Ok(Happened::Octets)
            }
        }
    }
}
