//! One request: whether who sends it may, its body, and the response.
//!
//! A request that ends before its body does may have been an update, and so may one that is refused: it counts as lost.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::access::Credentials;
use super::execute::execute;
use super::peer::Peer;
use super::places::{Limits, Taken};

/// Octets of a body. Kea sends a few hundred for a lease; a bulk holds the leases of a client that were in one packet.
const MAX_BODY: u64 = 4 * 1024 * 1024;
/// A longer body waits until few others are as long, and so does what is made of it.
const LARGE_BODY: u64 = 64 * 1024;
/// Large bodies at a time.
const LARGE_BODIES: usize = 2;

/// What answers requests.
pub(super) struct Requests {
    credentials: Option<Credentials>,
    large_bodies: Semaphore,
}

impl Requests {
    /// Only those are served who tell the `credentials`, if there are any.
    pub(super) fn new(credentials: Option<Credentials>) -> Requests {
        Requests {
            credentials,
            large_bodies: Semaphore::new(LARGE_BODIES),
        }
    }

    /// The response to a request, which it waits for.
    pub(super) async fn respond(
        &self,
        peer: &Peer,
        from: SocketAddr,
        limits: &Limits,
        place: &Taken,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        place.begin();
        if let Some(refused) = self.refuse(peer, from, request.headers()) {
            return refused;
        }
        if request.method() != Method::POST {
            let mut refused = failed(StatusCode::METHOD_NOT_ALLOWED);
            let post = HeaderValue::from_static("POST");
            refused.headers_mut().insert(ALLOW, post);
            return refused;
        }
        let mut unread = Unread {
            peer,
            reason: Some(format!("the request of {from} was cut off")),
        };
        let body = request.into_body();
        let length = match length(&body) {
            Ok(length) => length,
            Err((status, reason)) => {
                unread.because(format!("{from} {reason}"));
                return failed(status);
            }
        };
        let within = tokio::time::timeout(limits.body, async {
            let large = match length {
                ..=LARGE_BODY => None,
                _ => self.large_bodies.acquire().await.ok(),
            };
            (large, body.collect().await)
        });
        // What is large stays so until it is answered: its leases are held meanwhile.
        let (_large, body) = match within.await {
            Ok((large, Ok(body))) => (large, body.to_bytes()),
            Ok((_, Err(_))) => return failed(StatusCode::BAD_REQUEST),
            Err(_) => {
                let told = seconds(limits.body);
                unread.because(format!("the request of {from} was not there after {told}"));
                return failed(StatusCode::REQUEST_TIMEOUT);
            }
        };
        unread.reason = None;
        match execute(peer, from.ip(), &body).await {
            Ok(answer) => {
                place.was_of_use();
                response(StatusCode::OK, answer.json())
            }
            Err(_) => failed(StatusCode::BAD_REQUEST),
        }
    }

    /// The response to who does not say the right user and password.
    fn refuse(
        &self,
        peer: &Peer,
        from: SocketAddr,
        headers: &HeaderMap,
    ) -> Option<Response<Full<Bytes>>> {
        let credentials = self.credentials.as_ref()?;
        if credentials.are_in(headers) {
            return None;
        }
        let found = match headers.contains_key(AUTHORIZATION) {
            true => "others",
            false => "none",
        };
        let told = format!(
            "{from}: expected the feed's `user` and its password in a request, found {found}; an update of Kea may be lost"
        );
        peer.status().trouble("kea-ha-unauthorized", told);
        peer.mark_lost(None);
        let mut refused = failed(StatusCode::UNAUTHORIZED);
        let realm = HeaderValue::from_static("Basic realm=\"leaseq\"");
        refused.headers_mut().insert(WWW_AUTHENTICATE, realm);
        Some(refused)
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// The length of a body that can be read, or why it cannot.
fn length(body: &Incoming) -> Result<u64, (StatusCode, String)> {
    let Some(octets) = body.size_hint().exact() else {
        let reason = "sent a request without its length";
        return Err((StatusCode::LENGTH_REQUIRED, reason.to_owned()));
    };
    if octets > MAX_BODY {
        let reason = format!("sent {octets} octets, expected at most {MAX_BODY} in a request");
        return Err((StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    Ok(octets)
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
