//! One connection that is watched closely.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use leaseq_requestor::client::random;
use leaseq_requestor::tls::{Channel, TlsError};
use leaseq_requestor::{Bulk, Event, ProtocolError, Query, QueryError, Status};
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, SockRef, Socket, Type};
use thiserror::Error;

use super::subject::Subject;

/// How often a wait looks whether everything is to end.
const SLICE: Duration = Duration::from_millis(100);
/// How long the server's own end is waited for when we close.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order.
    Closed,
    /// By a reset.
    Reset,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
        })
    }
}

/// Why a test cannot go on.
#[derive(Debug, Error)]
pub(super) enum ProbeError {
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// Accepted and closed, or not even accepted.
    #[error("refused")]
    Refused,
    #[error("{0} before the answer was whole")]
    Ended(Ending),
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Late(Duration),
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    #[error("{0}")]
    Tls(#[from] TlsError),
    #[error("{0}")]
    Query(#[from] QueryError),
    #[error("the query failed: {0}")]
    Status(Status),
    /// By the user.
    #[error("interrupted")]
    Stopped,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many octets of the connection.
    Octets(usize),
    Ended(Ending),
    /// Nothing until then.
    Late,
}

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Our own address.
    pub source: Option<IpAddr>,
    /// Octets of the kernel's receive buffer.
    pub receive_buffer: Option<usize>,
}

/// One connection.
pub(super) struct Probe<'a> {
    subject: &'a Subject<'a>,
    stream: TcpStream,
    channel: Channel,
    buffer: Vec<u8>,
    /// Octets received.
    received: Cell<u64>,
}

impl<'a> Probe<'a> {
    /// Connects and says nothing.
    pub fn connect(subject: &'a Subject<'a>, how: How) -> Result<Self, ProbeError> {
        let open = || {
            let socket = Socket::new(Domain::for_address(subject.server), Type::STREAM, None)?;
            if let Some(octets) = how.receive_buffer {
                // Before connecting, for the window that the server sees.
                socket.set_recv_buffer_size(octets)?;
            }
            if let Some(source) = how.source {
                socket.bind(&SocketAddr::new(source, 0).into())?;
            }
            socket.connect_timeout(&subject.server.into(), subject.patience)?;
            socket.set_tcp_nodelay(true)?;
            socket.set_write_timeout(Some(subject.patience))?;
            Ok(socket)
        };
        let socket = open().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => {
                ProbeError::Refused
            }
            _ => ProbeError::Connect(error),
        })?;
        Ok(Self {
            subject,
            stream: socket.into(),
            channel: Channel::plain(),
            buffer: vec![0; 16 << 10],
            received: Cell::new(0),
        })
    }

    /// Connects and makes ready for queries: negotiates TLS, if that is wanted.
    pub fn open(subject: &'a Subject<'a>, how: How) -> Result<Self, ProbeError> {
        let mut probe = Self::connect(subject, how)?;
        probe.secure()?;
        Ok(probe)
    }

    /// Negotiates TLS, if that is wanted.
    pub fn secure(&mut self) -> Result<(), ProbeError> {
        let subject = self.subject;
        let Some(tls) = &subject.tls else {
            return Ok(());
        };
        let xid = subject.small(0).xid(random() as u32);
        self.channel = Channel::secure(tls, subject.family, xid);
        let until = Instant::now() + subject.patience;
        while !self.channel.is_open() {
            self.flush()?;
            match self.read(until, &mut |_| Ok(()))? {
                Step::Octets(_) => {}
                Step::Ended(ending) => return Err(self.ended(ending)),
                Step::Late => return Err(ProbeError::Late(subject.patience)),
            }
        }
        self.flush()
    }

    /// Octets received so far, those of TLS included.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Sends octets of requests.
    pub fn send(&mut self, octets: &[u8]) -> Result<(), ProbeError> {
        self.channel.send(octets);
        self.flush()
    }

    fn flush(&mut self) -> Result<(), ProbeError> {
        let octets = self.channel.take_output();
        self.stream
            .write_all(&octets)
            .map_err(|_| self.ended(Ending::Reset))
    }

    /// What an end of the connection means before anything has come: that it was refused.
    pub fn ended(&self, ending: Ending) -> ProbeError {
        match self.received() {
            0 => ProbeError::Refused,
            _ => ProbeError::Ended(ending),
        }
    }

    /// Reads once, at the latest until then, and hands over what is there.
    pub fn read(
        &mut self,
        until: Instant,
        on_octets: &mut dyn FnMut(&[u8]) -> Result<(), ProbeError>,
    ) -> Result<Step, ProbeError> {
        let step = self.read_raw(usize::MAX, until)?;
        if let Step::Octets(count) = step {
            self.channel.receive(&self.buffer[..count], on_octets)?;
        }
        Ok(step)
    }

    /// Reads so many octets at most, at the latest until then, and drops them undeciphered.
    pub fn read_raw(&mut self, most: usize, until: Instant) -> Result<Step, ProbeError> {
        if self.wait(PollFlags::IN, until)?.is_empty() {
            return Ok(Step::Late);
        }
        let room = most.min(self.buffer.len());
        Ok(match self.stream.read(&mut self.buffer[..room]) {
            Ok(0) => Step::Ended(Ending::Closed),
            Ok(count) => {
                self.received.set(self.received() + count as u64);
                Step::Octets(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Step::Octets(0),
            Err(_) => Step::Ended(Ending::Reset),
        })
    }

    /// Waits until there is one of these events, or the connection's end, and says which; none: not until then.
    pub fn wait(&self, events: PollFlags, until: Instant) -> Result<PollFlags, ProbeError> {
        loop {
            if self.subject.is_stopped() {
                return Err(ProbeError::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            let slice = left.min(SLICE);
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: i64::from(slice.subsec_nanos()),
            };
            let mut waiting = [PollFd::new(&self.stream, events)];
            // An error is an interruption by a signal: it is waited again.
            let _ = rustix::event::poll(&mut waiting, Some(&timeout));
            let found = waiting[0].revents();
            if !found.is_empty() || left.is_zero() {
                return Ok(found);
            }
        }
    }

    /// Octets that the kernel has received and nobody has read.
    pub fn unread(&self) -> u64 {
        // Fails for what is no socket only.
        rustix::io::ioctl_fionread(&self.stream).unwrap_or(0)
    }

    /// How the connection has ended, after its end was told by [`wait`](Self::wait) and without reading.
    pub fn unread_ending(&self) -> Ending {
        match self.stream.take_error() {
            Ok(None) => Ending::Closed,
            _ => Ending::Reset,
        }
    }

    /// Waits for the connection's end, reading and dropping what comes, until then: how it ended and when.
    pub fn wait_for_end(
        &mut self,
        until: Instant,
    ) -> Result<Option<(Ending, Instant)>, ProbeError> {
        loop {
            match self.read(until, &mut |_| Ok(()))? {
                Step::Octets(_) => {}
                Step::Ended(ending) => return Ok(Some((ending, Instant::now()))),
                Step::Late => return Ok(None),
            }
        }
    }

    /// The connection has ended; what has come is read and dropped.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.wait_for_end(Instant::now()), Ok(None))
    }

    /// Asks a bulk query and reads its answer to the end: how many bindings were told.
    pub fn recover(&mut self, query: &Query) -> Result<u64, ProbeError> {
        let xid = query.xid(random() as u32);
        self.send(&query.bulk_request(xid)?)?;
        let mut core = Bulk::like(query);
        core.add(xid);
        let (mut told, mut failure) = (0, None);
        while core.running() > 0 {
            let until = Instant::now() + self.subject.patience;
            let step = self.read(until, &mut |octets| {
                core.push(octets, &mut |event| match event {
                    Event::Binding4(_) => told += 1,
                    Event::Client6(client) => told += client.client.leases().count() as u64,
                    Event::Done(done) => failure = done.failure().cloned(),
                })?;
                Ok(())
            })?;
            match step {
                Step::Octets(_) => {}
                Step::Ended(ending) => return Err(self.ended(ending)),
                Step::Late => return Err(ProbeError::Late(self.subject.patience)),
            }
        }
        match failure {
            Some(status) => Err(ProbeError::Status(status)),
            None => Ok(told),
        }
    }

    /// Says goodbye and waits a moment for the server to close too, so that it has counted this connection out.
    pub fn close(mut self) {
        self.channel.close();
        let goodbye = self.flush().and_then(|()| {
            // It may have ended already.
            let _ = self.stream.shutdown(Shutdown::Write);
            self.wait_for_end(Instant::now() + FAREWELL)
        });
        if !matches!(goodbye, Ok(Some(_))) {
            self.reset();
        }
    }

    /// Ends the connection at once, with whatever is under way.
    pub fn reset(self) {
        // It may have ended already.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
