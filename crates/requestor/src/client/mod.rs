//! Drives the cores over blocking sockets: for the command line, for tests and for small tools.

mod follow;

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use leaseq_wire::parameters::{BULK_LQ_CONN_TIMEOUT, BULK_LQ_DATA_TIMEOUT};
use leaseq_wire::time::UnixSeconds;
use thiserror::Error;

pub use follow::{Heard, Stop, follow};

use crate::tls::{Channel, TlsClient, TlsError};
use crate::{
    Answer, Bulk, Event, ProtocolError, ProtocolFault, Query, QueryError, Step, Timers, UdpExchange,
};

/// Octets asked of a connection at a time.
const READ_SIZE: usize = 256 * 1024;

/// Why a query could not be asked or was not answered.
#[derive(Debug, Error)]
pub enum ClientError {
    /// It cannot be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The queries for one connection are of different families or requestors.
    #[error("the queries of one connection are not of one family and requestor")]
    MixedQueries,
    /// No connection.
    #[error("cannot connect to {server}")]
    Connect {
        /// The server.
        server: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The connection or socket failed.
    #[error("the connection to {server} failed")]
    Io {
        /// The server.
        server: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// Nothing came for too long.
    #[error("no answer from {0} in time")]
    TimedOut(SocketAddr),
    /// The server broke the protocol, or closed the connection too early.
    #[error("{server} broke the protocol")]
    Protocol {
        /// The server.
        server: SocketAddr,
        /// What it did.
        source: ProtocolError,
    },
    /// There is no TLS with the server, or no longer.
    #[error("no TLS with {server}")]
    Tls {
        /// The server.
        server: SocketAddr,
        /// Why.
        source: TlsError,
    },
    /// The server closed the connection where it should have answered the request for TLS.
    #[error("{0} closed the connection before TLS was established")]
    ClosedBeforeTls(SocketAddr),
    /// The answer over UDP cannot be read.
    #[error("the answer of {server} cannot be read")]
    Datagram {
        /// The server.
        server: SocketAddr,
        /// What is wrong with it.
        source: ProtocolFault,
    },
}

/// How sockets are used.
#[derive(Clone, Debug)]
pub struct Client {
    /// How long to try to connect.
    pub connect_timeout: Duration,
    /// How long to wait for octets of an answer over TCP.
    pub read_timeout: Duration,
    /// Queries that run at once on one connection; the others wait for their end.
    pub parallel: usize,
    /// Local address of the UDP socket; any port of any address if not given. A DHCPv4 server that replies to giaddr
    /// needs port 67 here.
    pub bind: Option<SocketAddr>,
    /// Retransmission over UDP, if not as the family's RFC has it.
    pub timers: Option<Timers>,
    /// Secure mode over TCP.
    pub tls: Option<TlsClient>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            connect_timeout: BULK_LQ_CONN_TIMEOUT,
            read_timeout: BULK_LQ_DATA_TIMEOUT,
            parallel: 8,
            bind: None,
            timers: None,
            tls: None,
        }
    }
}

/// Asks one query over TCP; see [`Client::bulk`].
///
/// # Errors
/// As of [`Client::bulk`].
pub fn bulk(
    server: SocketAddr,
    query: &Query,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    Client::default().bulk(server, std::slice::from_ref(query), &mut |_, event| {
        on_event(event)
    })
}

/// Asks one query over UDP; see [`Client::udp`].
///
/// # Errors
/// As of [`Client::udp`].
pub fn udp(server: SocketAddr, query: &Query) -> Result<Answer, ClientError> {
    Ok(Client::default().udp(server, query)?.0)
}

impl Client {
    /// Asks queries over one TCP connection, up to [`parallel`](Self::parallel) at once, and hands over what comes, with the index of the
    /// query it is for, until all have ended or `on_event` breaks off. How a query ended is in its [`Event::Done`].
    ///
    /// # Errors
    /// If a query cannot be asked, or the connection failed before all of them had ended.
    pub fn bulk(
        &self,
        server: SocketAddr,
        queries: &[Query],
        on_event: &mut dyn FnMut(usize, Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let Some(first) = queries.first() else {
            return Ok(());
        };
        if queries.iter().any(|query| !can_share(first, query)) {
            return Err(ClientError::MixedQueries);
        }
        let first_xid = random() as u32;
        let numbered = queries.iter().zip(0_u32..);
        let requests = numbered
            .map(|(query, n)| {
                let xid = query.xid(first_xid.wrapping_add(n));
                Ok((xid, query.bulk_request(xid)?))
            })
            .collect::<Result<Vec<_>, QueryError>>()?;
        let indexes: HashMap<u32, usize> = requests
            .iter()
            .zip(0..)
            .map(|((xid, _), n)| (*xid, n))
            .collect();

        let connect = |source| ClientError::Connect { server, source };
        let io = |source| io_error(server, source);
        let mut stream =
            TcpStream::connect_timeout(&server, self.connect_timeout).map_err(connect)?;
        stream.set_nodelay(true).map_err(io)?;
        stream
            .set_read_timeout(Some(self.read_timeout))
            .map_err(io)?;
        stream
            .set_write_timeout(Some(self.read_timeout))
            .map_err(io)?;

        let mut channel = match &self.tls {
            Some(tls) => Channel::secure(tls, first.family(), first.xid(random() as u32)),
            None => Channel::plain(),
        };
        let mut core = Bulk::like(first);
        let mut waiting = requests.iter();
        let mut buffer = vec![0; READ_SIZE];
        let mut flow = ControlFlow::Continue(());
        loop {
            if channel.is_open() {
                let room = self.parallel.max(1).saturating_sub(core.running());
                for (xid, request) in waiting.by_ref().take(room) {
                    core.add(*xid);
                    channel.send(request);
                }
                if core.running() == 0 {
                    channel.close();
                    // The answer is whole: a goodbye that does not get through changes nothing.
                    let _ = stream.write_all(&channel.take_output());
                    return Ok(());
                }
            }
            stream.write_all(&channel.take_output()).map_err(io)?;
            let protocol = |source| ClientError::Protocol { server, source };
            let octets = match stream.read(&mut buffer).map_err(io)? {
                0 if channel.is_open() => return core.closed().map_err(protocol),
                0 => return Err(ClientError::ClosedBeforeTls(server)),
                n => &buffer[..n],
            };
            let received = channel.receive(octets, &mut |octets| {
                core.push(octets, &mut |event| {
                    if flow.is_continue() {
                        let index = indexes.get(&event.xid()).copied().unwrap_or_default();
                        flow = on_event(index, event);
                    }
                })
                .map_err(Failure::Protocol)
            });
            if flow.is_break() {
                return Ok(());
            }
            match received {
                Ok(()) => {}
                Err(Failure::Protocol(source)) => return Err(protocol(source)),
                Err(Failure::Tls(source)) => {
                    // The alert says why.
                    let _ = stream.write_all(&channel.take_output());
                    return Err(ClientError::Tls { server, source });
                }
            }
        }
    }

    /// Asks one query over UDP, again and again until it is answered. Returns the answer and the datagram that it is.
    /// A DHCPv4 query without giaddr gets the local address of the socket.
    ///
    /// # Errors
    /// If the query cannot be asked, the socket fails, or no answer comes in time.
    pub fn udp(&self, server: SocketAddr, query: &Query) -> Result<(Answer, Vec<u8>), ClientError> {
        let io = |source| io_error(server, source);
        let any = match server.ip() {
            IpAddr::V4(_) => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            IpAddr::V6(_) => SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0),
        };
        let socket = UdpSocket::bind(self.bind.unwrap_or(any)).map_err(io)?;
        socket
            .connect(server)
            .map_err(|source| ClientError::Connect { server, source })?;
        let mut query = query.clone();
        if let (Query::V4(query), IpAddr::V4(local)) =
            (&mut query, socket.local_addr().map_err(io)?.ip())
            && query.giaddr.is_unspecified()
        {
            query.giaddr = local;
        }
        let mut exchange = UdpExchange::new(&query, random() as u32, random())?;
        if let Some(timers) = self.timers {
            exchange = exchange.with_timers(timers);
        }
        let mut buffer = vec![0; 65_536];
        loop {
            let due = match exchange.step(Instant::now()) {
                Step::Send(request) => {
                    socket.send(request).map_err(io)?;
                    continue;
                }
                Step::WaitUntil(due) => due,
                Step::Failed => return Err(ClientError::TimedOut(server)),
            };
            let left = due
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left)).map_err(io)?;
            let datagram = match socket.recv(&mut buffer) {
                Ok(n) => &buffer[..n],
                Err(error) if is_timeout(&error) => continue,
                Err(error) => return Err(io(error)),
            };
            let answer = exchange.receive(datagram, now());
            if let Some(answer) =
                answer.map_err(|source| ClientError::Datagram { server, source })?
            {
                return Ok((answer, datagram.to_vec()));
            }
        }
    }
}

/// What can be wrong with octets of a server.
enum Failure {
    Tls(TlsError),
    Protocol(ProtocolError),
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

/// Whether two queries can run on one connection.
fn can_share(one: &Query, other: &Query) -> bool {
    match (one, other) {
        (Query::V4(_), Query::V4(_)) => true,
        (Query::V6(one), Query::V6(other)) => one.requestor == other.requestor,
        _ => false,
    }
}

/// The time by the wall clock.
#[must_use]
pub fn now() -> UnixSeconds {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixSeconds(u32::try_from(since_epoch.as_secs()).unwrap_or(u32::MAX))
}

/// A DUID for a requestor that has none: a DUID-UUID (RFC 6355) made up at random.
#[must_use]
pub fn random_duid() -> Vec<u8> {
    let mut duid = vec![0, 4];
    duid.extend(random().to_be_bytes());
    duid.extend(random().to_be_bytes());
    // Version 4, variant 1 of RFC 4122.
    duid[8] = duid[8] & 0x0f | 0x40;
    duid[10] = duid[10] & 0x3f | 0x80;
    duid
}

/// A number at random, from the standard library's random seeds, which differ at each call: good enough for jitter and for
/// ids that only must not repeat soon.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn io_error(server: SocketAddr, source: io::Error) -> ClientError {
    if is_timeout(&source) {
        ClientError::TimedOut(server)
    } else {
        ClientError::Io { server, source }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
