//! HTTP/1.1 with hyper, on a single-threaded runtime.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use super::metrics::Metrics;
use super::{Served, status};

/// Connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 32;
/// How long the header of a request may take to arrive, and how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live at all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause after an accept that failed for want of something (open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const INDEX: &str = "leaseq\n\n\
    /healthz     the process is alive\n\
    /readyz      it serves, and what it serves is fresh\n\
    /metrics     OpenMetrics\n\
    /api/status  JSON\n";

/// The running admin HTTP.
pub struct Admin {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

struct Pages {
    served: Served,
    metrics: Metrics,
}

impl Admin {
    /// Listens, and answers from its own thread.
    pub fn start(address: SocketAddr, served: Served) -> anyhow::Result<Admin> {
        let listener = TcpListener::bind(address)
            .with_context(|| format!("the admin HTTP cannot listen on {address}"))?;
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
        let pages = Arc::new(Pages {
            metrics: Metrics::of(served.clone()),
            served,
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
        Ok(Admin {
            address,
            end,
            thread,
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
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
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => page(StatusCode::OK, TEXT, INDEX.into()),
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => match status::unready(&pages.served) {
            None => page(StatusCode::OK, TEXT, "ready\n".into()),
            Some(reason) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        "/metrics" => page(StatusCode::OK, OPENMETRICS, pages.metrics.text()),
        "/api/status" => page(
            StatusCode::OK,
            JSON,
            format!("{:#}\n", status::json(&pages.served)),
        ),
        _ => page(StatusCode::NOT_FOUND, TEXT, INDEX.into()),
    }
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    response
}
