//! HTTP/1.1 with hyper, on a single-threaded runtime.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};

use super::impatient::Impatient;
use super::metrics::Metrics;
use super::page::STATUS_PAGE;
use super::status::{self, Listed};
use super::watched::Watched;

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// Octets of a header, and of what is read ahead of one; a longer one is refused.
const MAX_HEADER: usize = 16 * 1024;
/// How long clients are waited for.
const PATIENCE: Patience = Patience {
    header: Duration::from_secs(10),
    taking: Duration::from_secs(10),
    connection: Duration::from_secs(300),
};
/// Pause after an accept that failed for want of something (open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const NOT_FOUND: &str = "there is no such page; there are:\n\n\
    /            the status page\n\
    /healthz     the process is alive\n\
    /readyz      it serves, and what it serves is fresh\n\
    /metrics     for Prometheus\n\
    /api/status  JSON\n";

/// The running admin HTTP.
pub struct Admin {
    address: SocketAddr,
    watched: Arc<Watched>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// How long a client is waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// For the header of a request, and for the next request.
    header: Duration,
    /// While it takes nothing of an answer.
    taking: Duration,
    /// Altogether.
    connection: Duration,
}

struct Pages {
    watched: Arc<Watched>,
    metrics: Metrics,
}

impl Admin {
    /// Listens, and answers from its own thread; at first that the server recovers.
    pub fn start(address: SocketAddr) -> anyhow::Result<Admin> {
        let listener = TcpListener::bind(address)
            .with_context(|| {
                format!("the admin HTTP cannot listen on {address} (admin.listen names another address, or \"off\")")
            })?;
        listener
            .set_nonblocking(true)
            .context("the admin HTTP cannot be set up")?;
        let address = listener
            .local_addr()
            .context("the admin HTTP cannot be set up")?;
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build();
        let runtime = runtime.context("the admin HTTP cannot be set up")?;
        let watched = Arc::new(Watched::default());
        let pages = Arc::new(Pages {
            metrics: Metrics::of(Arc::clone(&watched)),
            watched: Arc::clone(&watched),
        });
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, pages, PATIENCE) => {}
                    _ = ended => {}
                }
            });
        };
        let thread = thread::Builder::new()
            .name("admin".into())
            .spawn(run)
            .context("the admin thread cannot be started")?;
        tracing::info!(id = "admin-listening", %address, "the admin HTTP listens");
        Ok(Admin {
            address,
            watched,
            end,
            thread,
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells of.
    pub fn watched(&self) -> &Arc<Watched> {
        &self.watched
    }

    /// Closes its connections and waits for its thread.
    pub fn stop(self) {
        let _ = self.end.send(());
        let _ = self.thread.join();
    }
}

async fn accept(listener: TcpListener, pages: Arc<Pages>, patience: Patience) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(id = "admin-failed", %error, "the admin HTTP cannot run");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(id = "admin-accept-failed", %error, "an admin connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            serve(socket, &pages, patience).await;
            drop(place);
        });
    }
}

/// Answers the requests of one connection until it ends, or its client has been waited for long enough.
async fn serve(socket: TcpStream, pages: &Pages, patience: Patience) {
    let service = service_fn(|request| {
        let answer = answer(pages, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_buf_size(MAX_HEADER)
        .serve_connection(
            TokioIo::new(Impatient::new(socket, patience.taking)),
            service,
        );
    // Whatever ends a connection concerns its client alone.
    let _ = tokio::time::timeout(patience.connection, connection).await;
}

fn answer(pages: &Pages, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = page(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "expected GET\n".into(),
        );
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => status_page(),
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => {
            let reasons = pages.watched.unready();
            if reasons.is_empty() {
                return page(StatusCode::OK, TEXT, "ready\n".into());
            }
            let text = reasons.join("\n") + "\n";
            page(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
        }
        "/metrics" if asks_for_openmetrics(request) => {
            page(StatusCode::OK, OPENMETRICS, pages.metrics.openmetrics())
        }
        "/metrics" => page(StatusCode::OK, PROMETHEUS, pages.metrics.plain()),
        "/api/status" => {
            let listed = Listed::asked(request.uri().query());
            let status = status::json(&pages.watched, listed);
            page(StatusCode::OK, JSON, format!("{status}\n"))
        }
        _ => page(StatusCode::NOT_FOUND, TEXT, NOT_FOUND.into()),
    }
}

/// Prometheus names what it takes; whoever does not gets the older format, which everybody reads.
fn asks_for_openmetrics(request: &Request<Incoming>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter();
    accepted.any(|types| {
        types
            .to_str()
            .is_ok_and(|types| types.contains("application/openmetrics-text"))
    })
}

fn status_page() -> Response<Full<Bytes>> {
    let mut response = page(StatusCode::OK, HTML, STATUS_PAGE.html.clone());
    if let Ok(policy) = HeaderValue::from_str(&STATUS_PAGE.policy) {
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);
    const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: leaseq\r\nConnection: close\r\n\r\n";

    /// A server of a status without a store behind it; it ends with the test's process.
    fn server(patience: Patience) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let watched = Arc::new(Watched::default());
        let pages = Arc::new(Pages {
            metrics: Metrics::of(Arc::clone(&watched)),
            watched,
        });
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(accept(listener, pages, patience));
        });
        address
    }

    /// Connects and sends this; the server may have hung up meanwhile.
    fn send(to: SocketAddr, octets: &[u8]) -> Client {
        let mut client = Client::connect(to).unwrap();
        let _ = client.write_all(octets);
        client
    }

    /// What comes until the server closes the connection, or resets it.
    fn read(mut client: Client) -> String {
        let mut got = Vec::new();
        let _ = client.read_to_end(&mut got);
        String::from_utf8_lossy(&got).into_owned()
    }

    #[test]
    fn a_client_that_does_not_ask_is_let_go() {
        let server = server(Patience {
            header: SHORT,
            taking: LONG,
            connection: LONG,
        });
        assert!(!read(send(server, b"")).contains(" 200 "));
        assert!(!read(send(server, &GET[..GET.len() - 2])).contains(" 200 "));
        // After an answer it may ask again, and does not.
        let kept = b"GET /healthz HTTP/1.1\r\nHost: leaseq\r\n\r\n";
        assert!(read(send(server, kept)).contains(" 200 "));
    }

    #[test]
    fn a_client_that_takes_nothing_is_let_go() {
        let server = server(Patience {
            header: LONG,
            taking: SHORT,
            connection: LONG,
        });
        // More answers than the buffers of both sides hold.
        let mut client = Client::connect(server).unwrap();
        let page = b"GET / HTTP/1.1\r\nHost: leaseq\r\n\r\n";
        let refused = (0..1_000_000).any(|_| client.write_all(page).is_err());
        assert!(refused, "the connection goes on");
        assert!(read(send(server, GET)).contains(" 200 "));
    }

    #[test]
    fn a_header_without_an_end_is_refused() {
        let server = server(PATIENCE);
        let mut client = send(server, b"GET /healthz HTTP/1.1\r\nHost: leaseq\r\nX: ");
        let refused = (0..10_000).any(|_| client.write_all(&[b'x'; 4096]).is_err());
        assert!(refused, "40 MB of a header were taken");
        let long = [b"GET /", &[b'x'; MAX_HEADER][..], b" HTTP/1.1\r\n\r\n"].concat();
        assert!(!read(send(server, &long)).contains(" 200 "));
        assert!(read(send(server, GET)).contains(" 200 "));
    }

    #[test]
    fn who_asks_is_answered_though_all_places_were_taken_by_silent_clients() {
        let server = server(Patience {
            header: SHORT,
            taking: LONG,
            connection: LONG,
        });
        let silent: Vec<Client> = (0..3 * MAX_CONNECTIONS)
            .map(|_| send(server, b"GET /"))
            .collect();
        assert!(read(send(server, GET)).contains(" 200 "));
        drop(silent);
    }
}
