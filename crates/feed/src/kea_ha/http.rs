//! The HTTP/1.1 server that Kea sends its commands to, on a thread of its own.
//!
//! Everything is bounded: connections, the octets of a body, all bodies together, and the time that a header, a body and an
//! idle connection may take. A request that ends before its body does may have been an update: it counts as lost.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::execute::execute;
use super::peer::Peer;

/// Connections at a time; a further one is closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Octets of a body. Kea sends a few hundred for a lease; a bulk may hold all leases of a client.
const MAX_BODY: u64 = 16 * 1024 * 1024;
/// A longer body waits until few others are as long.
const LARGE_BODY: u64 = 1024 * 1024;
/// Large bodies at a time.
const LARGE_BODIES: usize = 2;
/// How long a header may take, and how long a connection is kept without a request: Kea keeps its connections open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long requests under way may take when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after an accept that failed for want of something (open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running server.
pub(super) struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

/// What all connections share.
struct Shared {
    peer: Arc<Peer>,
    connections: Arc<Semaphore>,
    large_bodies: Semaphore,
}

impl Server {
    /// Listens, and answers from its own thread.
    pub(super) fn start(listen: SocketAddr, peer: Arc<Peer>) -> io::Result<Server> {
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
            .spawn(move || runtime.block_on(serve(listener, peer)))?;
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

async fn serve(listener: TcpListener, peer: Arc<Peer>) {
    let mut ends = peer.ends();
    let shared = Arc::new(Shared {
        peer,
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        large_bodies: Semaphore::new(LARGE_BODIES),
    });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = has_ended(&mut ends) => break,
        };
        match accepted {
            Ok((socket, from)) => admit(socket, from, &shared, &mut connections),
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

fn admit(socket: TcpStream, from: SocketAddr, shared: &Arc<Shared>, connections: &mut JoinSet<()>) {
    let Ok(place) = Arc::clone(&shared.connections).try_acquire_owned() else {
        let reason = format!("{from} was refused: {MAX_CONNECTIONS} connections are open");
        shared.peer.lost(None, reason);
        return;
    };
    let shared = Arc::clone(shared);
    connections.spawn(async move {
        // Answers are small and waited for.
        let _ = socket.set_nodelay(true);
        converse(socket, from, &shared).await;
        drop(place);
    });
}

async fn converse(socket: TcpStream, from: SocketAddr, shared: &Arc<Shared>) {
    let mut ends = shared.peer.ends();
    let service = service_fn(|request| {
        let shared = Arc::clone(shared);
        async move { Ok::<_, Infallible>(respond(&shared, from, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
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

async fn respond(
    shared: &Shared,
    from: SocketAddr,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        let mut refused = failed(StatusCode::METHOD_NOT_ALLOWED);
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return refused;
    }
    let body = match read(shared, from, request.into_body()).await {
        Ok(body) => body,
        Err(status) => return failed(status),
    };
    match execute(&shared.peer, &body).await {
        Ok(answer) => response(StatusCode::OK, answer.json()),
        Err(_) => failed(StatusCode::BAD_REQUEST),
    }
}

/// Reads a body; the status of the response if that cannot be.
async fn read(shared: &Shared, from: SocketAddr, body: Incoming) -> Result<Bytes, StatusCode> {
    let mut unread = Unread {
        peer: &shared.peer,
        reason: Some(format!("the request of {from} was cut off")),
    };
    let Some(octets) = body.size_hint().exact() else {
        unread.because(format!("{from} sent a request without its length"));
        return Err(StatusCode::LENGTH_REQUIRED);
    };
    if octets > MAX_BODY {
        unread.because(format!(
            "{from} sent {octets} octets, expected at most {MAX_BODY} in a request"
        ));
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let collected = async {
        let _large = match octets {
            ..=LARGE_BODY => None,
            _ => shared.large_bodies.acquire().await.ok(),
        };
        body.collect().await
    };
    match tokio::time::timeout(BODY_TIMEOUT, collected).await {
        Ok(Ok(body)) => {
            unread.reason = None;
            Ok(body.to_bytes())
        }
        Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
        Err(_) => {
            let seconds = BODY_TIMEOUT.as_secs();
            unread.because(format!(
                "the request of {from} was not there after {seconds} s"
            ));
            Err(StatusCode::REQUEST_TIMEOUT)
        }
    }
}

/// A request that may be an update, and is lost unless it was read; be it that its connection ends meanwhile.
struct Unread<'a> {
    peer: &'a Peer,
    reason: Option<String>,
}

impl Unread<'_> {
    fn because(&mut self, reason: String) {
        self.reason = Some(reason);
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            self.peer.lost(None, reason);
        }
    }
}

/// A response as Kea's own server gives it when there is no command to answer.
fn failed(status: StatusCode) -> Response<Full<Bytes>> {
    let (code, reason) = (
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
    );
    let body = serde_json::json!({"result": code, "text": reason});
    response(status, body.to_string())
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
