//! The HTTP/1.1 server that Kea sends its commands to, on a thread of its own, with or without TLS.
//!
//! Everything is bounded: connections and how long each may be silent (`places`), the octets of a header and of a body, all large
//! bodies together, and the time that a body may take (`request`).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::access::{Credentials, ServerTls};
use super::parting::WithoutGoodbye;
use super::peer::Peer;
use super::places::{Ending, Limits, Places, Taken};
use super::request::Requests;

/// Octets of a request's header, and of answers that wait because the client does not read them.
const MAX_BUFFER: usize = 16 * 1024;
/// Lines of a request's header.
const MAX_HEADERS: usize = 64;
/// How long requests under way may take when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after an accept that failed for want of something (open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server.
pub(super) struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

/// Who is served, and how.
pub(super) struct Service {
    pub(super) credentials: Option<Credentials>,
    pub(super) tls: Option<ServerTls>,
    pub(super) limits: Limits,
}

/// What all connections share.
struct Shared {
    peer: Arc<Peer>,
    requests: Requests,
    tls: Option<TlsAcceptor>,
    limits: Limits,
}

impl Server {
    /// Listens, and answers from its own thread.
    pub(super) fn start(
        listen: SocketAddr,
        service: Service,
        peer: Arc<Peer>,
    ) -> io::Result<Server> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let listener = {
            let _in_runtime = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let thread = thread::Builder::new()
            .name("kea-ha".into())
            .spawn(move || runtime.block_on(serve(listener, service, peer)))?;
        Ok(Server { address, thread })
    }

    /// The address that was bound.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the thread, which ends with the peer: it takes no more requests and answers those under way.
    pub(super) fn join(self) {
        let _ = self.thread.join();
    }
}

async fn serve(listener: TcpListener, service: Service, peer: Arc<Peer>) {
    let mut ends = peer.ends();
    let places = Places::new(service.limits);
    let shared = Arc::new(Shared {
        peer,
        requests: Requests::new(service.credentials),
        tls: service.tls.map(|tls| TlsAcceptor::from(tls.config())),
        limits: service.limits,
    });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = has_ended(&mut ends) => break,
        };
        match accepted {
            Ok((socket, from)) => admit(socket, from, &places, &shared, &mut connections),
            Err(error) => {
                tracing::warn!(id = "kea-ha-accept-failed", %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, all_ended).await;
}

fn admit(
    socket: TcpStream,
    from: SocketAddr,
    places: &Arc<Places>,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
) {
    let Some(place) = places.take() else {
        let most = shared.limits.connections;
        let reason = format!("{from} was refused: {most} connections are open");
        shared.peer.lost(None, reason);
        return;
    };
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        // Answers are small and waited for.
        let _ = socket.set_nodelay(true);
        tokio::select! {
            () = attend(socket, from, &shared, &place) => {}
            ending = place.must_end() => {
                let why = match ending {
                    Ending::Silent => "it was silent",
                    Ending::GaveWay => "it gave way to another, and had been of no use",
                };
                tracing::debug!(id = "kea-ha-connection-ended", %from, why, "a connection ended");
            }
        }
    });
}

async fn attend(socket: TcpStream, from: SocketAddr, shared: &Shared, place: &Taken) {
    let Some(tls) = &shared.tls else {
        return converse(socket, from, shared, place).await;
    };
    let mut ends = shared.peer.ends();
    let shaken = tokio::select! {
        shaken = tls.accept(socket) => shaken,
        () = has_ended(&mut ends) => return,
    };
    match shaken {
        Ok(socket) => converse(WithoutGoodbye(socket), from, shared, place).await,
        // Whoever only looks whether the port is open loses nothing.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(id = "kea-ha-connection-ended", %from, %error, "a connection ended");
        }
        Err(error) => {
            let told = format!("{from}: expected TLS: {error}; an update of Kea may be lost");
            shared.peer.status().trouble("kea-ha-tls-failed", told);
            shared.peer.mark_lost(None);
        }
    }
}

async fn converse(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    from: SocketAddr,
    shared: &Shared,
    place: &Taken,
) {
    let mut ends = shared.peer.ends();
    let service = service_fn(|request| async move {
        let Shared {
            peer,
            requests,
            limits,
            ..
        } = shared;
        let responded = requests.respond(peer, from, limits, place, request);
        Ok::<_, Infallible>(responded.await)
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = has_ended(&mut ends) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(id = "kea-ha-connection-ended", %from, %error, "a connection ended");
    }
}

async fn has_ended(ends: &mut watch::Receiver<bool>) {
    // The sender lives as long as the peer.
    let _ = ends.wait_for(|ends| *ends).await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use leaseq_store::{Options, Store, SyncMode, Topology};

    use super::*;
    use crate::run::Status;

    /// A moment, which is over before a client can have done anything.
    const NO_TIME: Duration = Duration::from_millis(1);

    /// What a client that sends this, and nothing more, is told before the connection is closed.
    fn told(limits: Limits, sent: &[u8]) -> (String, u64) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 1 << 20,
            ..Options::default()
        };
        let store = Store::open(dir.path(), options, Topology::default()).unwrap();
        let status = Arc::new(Status::new("kea", "kea-ha", None, "here"));
        let peer = Arc::new(Peer::new(Arc::new(store), Arc::clone(&status)));
        let service = Service {
            credentials: None,
            tls: None,
            limits,
        };
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(listen, service, Arc::clone(&peer)).unwrap();
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.write_all(sent).unwrap();
        let mut told = Vec::new();
        // Whether it was closed before or after what was sent is left to chance.
        let _ = client.read_to_end(&mut told);
        peer.end();
        server.join();
        let status = status.snapshot();
        (String::from_utf8(told).unwrap(), status.troubles)
    }

    #[test]
    fn silence_ends_a_connection() {
        let first = Limits {
            first_request: NO_TIME,
            ..Limits::default()
        };
        assert_eq!(told(first, b""), (String::new(), 0));
        assert_eq!(told(first, b"POST / HT"), (String::new(), 0));
        let idle = Limits {
            idle: NO_TIME,
            ..Limits::default()
        };
        let (answer, _) = told(idle, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 405 "),
            "{answer}"
        );
    }

    #[test]
    fn a_body_that_does_not_come_is_a_lost_update() {
        let body = Limits {
            body: NO_TIME,
            ..Limits::default()
        };
        let (answer, troubles) = told(
            body,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        );
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert_eq!(troubles, 1);
    }
}
