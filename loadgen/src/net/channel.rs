//! A relay's connection with what lies on it: nothing, or TLS.

use std::cell::RefCell;
use std::io;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use leaseq_requestor::tls::{Channel, TlsError};
use leaseq_requestor::{FrameError, ProtocolFault};
use slab::Slab;
use thiserror::Error;

use crate::fault::{FaultKind, KEPT_OCTETS};
use crate::measure::Count;
use crate::net::connection::{ConnectOptions, Connection};
use crate::relay::context::Context;

/// Octets read at a time.
const READ_SIZE: usize = 256 * 1024;

/// Why a connection is of no more use.
#[derive(Debug, Error)]
pub enum LinkError {
    /// There is none.
    #[error("no connection: {0}")]
    NotConnected(io::Error),
    /// The server has ended it.
    #[error("the server closed the connection")]
    Closed,
    /// It has failed.
    #[error("the connection was lost: {0}")]
    Failed(io::Error),
    /// Nothing came for so long.
    #[error("nothing came for {0:?}")]
    Late(Duration),
    /// The run is over.
    #[error("the run is over")]
    Stopped,
    /// There is no TLS on it, or no longer.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server broke the protocol.
    #[error("{fault}")]
    Protocol {
        /// What it did.
        fault: ProtocolFault,
        /// The beginning of the message in question, without its frame.
        octets: Vec<u8>,
    },
}

impl From<FrameError> for LinkError {
    fn from(error: FrameError) -> Self {
        let mut octets = error.message;
        octets.truncate(KEPT_OCTETS);
        Self::Protocol {
            fault: error.error.fault,
            octets,
        }
    }
}

impl LinkError {
    /// What kind of fault it is, for a relay that did nothing to deserve it; `None`: none.
    #[must_use]
    pub fn kind(&self) -> Option<FaultKind> {
        match self {
            Self::NotConnected(_) => Some(FaultKind::NotConnected),
            Self::Closed | Self::Failed(_) => Some(FaultKind::Lost),
            Self::Late(_) => Some(FaultKind::Late),
            Self::Stopped => None,
            Self::Tls(_) => Some(FaultKind::Protocol),
            Self::Protocol { fault, .. } => Some(match fault {
                ProtocolFault::UnknownXid(_) => FaultKind::UnknownXid,
                _ => FaultKind::Protocol,
            }),
        }
    }

    /// The message that it is about; empty: none.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        match self {
            Self::Protocol { octets, .. } => octets,
            _ => &[],
        }
    }

    /// It says that there is no connection, or no longer.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::NotConnected(_) | Self::Closed | Self::Failed(_))
    }
}

/// Where the connections of a thread read into: whoever has octets waiting reads them and is done with them before anyone
/// else reads, so that idle connections need no memory for it.
#[derive(Clone, Debug)]
pub struct Buffers(Rc<RefCell<Box<[u8]>>>);

impl Default for Buffers {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; READ_SIZE].into())))
    }
}

/// The open connections of a thread, so that all can be ended.
#[derive(Clone, Default)]
pub struct OpenLinks(Rc<RefCell<Slab<Weak<Connection>>>>);

impl OpenLinks {
    /// Ends all of them.
    pub fn shutdown(&self) {
        for (_, connection) in self.0.borrow().iter() {
            if let Some(connection) = connection.upgrade() {
                connection.shutdown();
            }
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// A connection of a relay.
pub struct Link {
    connection: Rc<Connection>,
    channel: Channel,
    /// What the kernel has not taken yet.
    unsent: Vec<u8>,
    patience: Option<Duration>,
    /// Octets read at a time.
    most: usize,
    context: Rc<Context>,
    key: usize,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.context.links.0.borrow_mut().try_remove(self.key);
    }
}

impl Link {
    /// Connects once, with TLS where the group has it, and measures how long it took from now on: the wait for others of
    /// this thread that connect is in it.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn open(context: &Rc<Context>, relay: u32) -> Result<Self, LinkError> {
        let wished = Instant::now();
        let options = ConnectOptions {
            server: context.server,
            source: context.source.map(|network| network.of(relay)),
            receive_buffer: context.group.receive_buffer,
            reset_on_close: false,
            timeout: context.patience,
        };
        let link = Self::open_with(context, &options).await?;
        context.report.measure(|measures| {
            measures.connect.record(wished.elapsed());
        });
        Ok(link)
    }

    /// As [`open`](Self::open), but in another manner, and not measured.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn open_with(
        context: &Rc<Context>,
        options: &ConnectOptions,
    ) -> Result<Self, LinkError> {
        let connection = tokio::select! {
            biased;
            () = context.stopped() => return Err(LinkError::Stopped),
            connection = connect(context, options) => Rc::new(connection?),
        };
        let key = context
            .links
            .0
            .borrow_mut()
            .insert(Rc::downgrade(&connection));
        let channel = match &context.tls {
            Some(tls) if context.group.tls => {
                Channel::secure(tls, context.family, context.xid(context.random()))
            }
            _ => Channel::plain(),
        };
        let mut link = Self {
            connection,
            channel,
            unsent: Vec::new(),
            patience: Some(context.patience),
            most: READ_SIZE,
            context: context.clone(),
            key,
        };
        context.report.count(Count::Connections, 1);
        while !link.channel.is_open() {
            link.receive(&mut |_| Ok(())).await?;
        }
        Ok(link)
    }

    /// From now on it is an error if nothing comes for so long; at first the scenario's patience. `None`: never.
    pub fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
        self.connection
            .set_deadline(patience.map(|patience| Instant::now() + patience));
    }

    /// From now on so many octets, and at least one, are read at a time.
    pub fn read_at_most(&mut self, octets: usize) {
        self.most = octets.clamp(1, READ_SIZE);
    }

    /// Sends a framed message.
    ///
    /// # Errors
    /// If the connection has ended, or does not take it.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), LinkError> {
        self.channel.send(message);
        self.wait_for_patience();
        self.unsent.append(&mut self.channel.take_output());
        let octets = std::mem::take(&mut self.unsent);
        let sent = self.connection.write_all(octets).await;
        sent.map_err(|error| self.end(Some(error)))
    }

    /// Waits for octets and hands them over, decrypted. It may be given up and begun again: no octets are lost.
    ///
    /// # Errors
    /// That of `on_octets`, or if the connection has ended.
    pub async fn receive(
        &mut self,
        on_octets: &mut dyn FnMut(&[u8]) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.flush()?;
        self.wait_for_patience();
        let buffers = self.context.buffers.clone();
        loop {
            let ready = self.connection.readable().await;
            ready.map_err(|error| self.end(Some(error)))?;
            let mut buffer = buffers.0.borrow_mut();
            let octets = match self.connection.read_now(&mut buffer[..self.most]) {
                Ok(0) => return Err(self.end(None)),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(self.end(Some(error))),
            };
            self.context
                .report
                .count(Count::Octets, octets.len() as u64);
            let received = self.channel.receive(octets, on_octets);
            // What TLS has to say, an alert too.
            let flushed = self.flush();
            return received.and(flushed);
        }
    }

    /// Says that nothing more is asked, and waits a little for the server to end the connection, so that whatever it sends
    /// beyond its answers is seen.
    ///
    /// # Errors
    /// That of `on_octets`.
    pub async fn finish(
        mut self,
        on_octets: &mut dyn FnMut(&[u8]) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        self.channel.close();
        // The answers are whole: a goodbye that does not get through changes nothing.
        if self.flush().is_err() || self.connection.finish().is_err() {
            return Ok(());
        }
        let until = Instant::now() + FAREWELL.min(self.context.patience);
        self.patience = None;
        self.connection.set_deadline(Some(until));
        loop {
            match self.receive(on_octets).await {
                Ok(()) => {}
                Err(error @ LinkError::Protocol { .. }) => return Err(error),
                Err(_) => return Ok(()),
            }
        }
    }

    /// The connection beneath, for those that do not keep to the rules.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn wait_for_patience(&self) {
        if let Some(patience) = self.patience {
            self.connection
                .set_deadline(Some(Instant::now() + patience));
        }
    }

    /// Sends what the kernel takes now of what TLS has to say.
    fn flush(&mut self) -> Result<(), LinkError> {
        if self.channel.has_output() {
            self.unsent.append(&mut self.channel.take_output());
        }
        if self.unsent.is_empty() {
            return Ok(());
        }
        match self.connection.write_now(&self.unsent) {
            Ok(count) => {
                self.unsent.drain(..count);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.end(Some(error))),
        }
    }

    /// Why the connection has ended, as far as the system can tell.
    fn end(&self, error: Option<io::Error>) -> LinkError {
        match error {
            _ if self.context.is_stopped() => LinkError::Stopped,
            _ if self.connection.is_expired() => {
                LinkError::Late(self.patience.unwrap_or(self.context.patience))
            }
            Some(error) => LinkError::Failed(error),
            None => LinkError::Closed,
        }
    }
}

/// How long a server may take to end a connection that we have ended.
const FAREWELL: Duration = Duration::from_secs(2);

async fn connect(context: &Context, options: &ConnectOptions) -> Result<Connection, LinkError> {
    // It is never closed.
    let _permit = context.connecting.acquire().await;
    let opened = Connection::open(options).await;
    opened.map_err(LinkError::NotConnected)
}
