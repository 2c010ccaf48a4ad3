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
use tokio::sync::{Semaphore, oneshot};

use super::metrics::Metrics;
use super::page::STATUS_PAGE;
use super::status::{self, Listed};
use super::watched::Watched;

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// How long the header of a request may take to arrive, and how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live at all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
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
                    () = accept(listener, pages) => {}
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

async fn accept(listener: TcpListener, pages: Arc<Pages>) {
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
            let service = service_fn(move |request| {
                let answer = answer(&pages, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(socket), service);
            // Whatever ends a connection concerns its client alone.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(place);
        });
    }
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
