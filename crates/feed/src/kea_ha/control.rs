//! Kea's control channel: questions to a server on its Unix socket, or over HTTP or HTTPS to its control agent.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::access::{ControlAccess, Credentials};
use super::answer::EMPTY;
use crate::kea::Family;
use crate::rejection::json_reason;

/// How long Kea may take for an answer. A page is there in milliseconds, but the server may be at its lease file clean-up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Octets of an answer: a page of a thousand leases takes about one.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Where Kea takes commands: `unix:PATH`, or `http://HOST:PORT/` or `https://HOST:PORT/` of its control agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlAddress {
    /// The Unix socket of a server.
    Unix(PathBuf),
    /// A control agent.
    Http {
        /// `HOST:PORT`.
        authority: String,
        /// The path, from its `/`.
        path: String,
        /// On TLS.
        is_secure: bool,
    },
}

/// Neither form of a [`ControlAddress`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected \"unix:PATH\", \"http://HOST:PORT/\" or \"https://HOST:PORT/\", found {0:?}")]
pub struct ControlAddressError(String);

impl FromStr for ControlAddress {
    type Err = ControlAddressError;

    fn from_str(text: &str) -> Result<Self, ControlAddressError> {
        let refused = || ControlAddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(refused()),
                path => Ok(ControlAddress::Unix(path.into())),
            };
        }
        let (rest, is_secure) = match text.strip_prefix("https://") {
            Some(rest) => (rest, true),
            None => (text.strip_prefix("http://").ok_or_else(refused)?, false),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let (host, port) = authority.rsplit_once(':').ok_or_else(refused)?;
        let is_good = !host.is_empty()
            && !authority.contains('@')
            && port.parse::<u16>().is_ok_and(|port| port > 0)
            && path.parse::<hyper::Uri>().is_ok();
        if !is_good {
            return Err(refused());
        }
        Ok(ControlAddress::Http {
            authority: authority.to_owned(),
            path: path.to_owned(),
            is_secure,
        })
    }
}

impl ControlAddress {
    /// Whether it is asked on TLS.
    pub fn is_https(&self) -> bool {
        matches!(
            self,
            ControlAddress::Http {
                is_secure: true,
                ..
            }
        )
    }

    /// Whether it is a control agent, which may ask for user and password.
    pub fn is_agent(&self) -> bool {
        matches!(self, ControlAddress::Http { .. })
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlAddress::Unix(path) => write!(out, "unix:{}", path.display()),
            ControlAddress::Http {
                authority,
                path,
                is_secure,
            } => {
                let scheme = if *is_secure { "https" } else { "http" };
                write!(out, "{scheme}://{authority}{path}")
            }
        }
    }
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The feed is told to end.
    #[error("the feed ends")]
    Stopped,
    /// There is no connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no HTTP.
    #[error("expected HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// TLS, or the certificates, are not as they should be.
    #[error("expected TLS: {0}")]
    Tls(String),
    /// HTTP status 401.
    #[error("Kea does not take our user and password, or asks for some (HTTP status 401)")]
    Unauthorized,
    /// Another HTTP status.
    #[error("expected HTTP status 200, found {0}")]
    Status(StatusCode),
    /// Too late.
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    /// Too much.
    #[error("expected an answer of at most {MAX_ANSWER} octets")]
    TooLong,
    /// Not as Kea answers.
    #[error("expected an answer of Kea: {0}")]
    Malformed(String),
    /// Kea says why not.
    #[error("Kea answers {command} with result {result}: {text}")]
    Refused {
        /// What was asked.
        command: &'static str,
        /// Kea's code.
        result: i64,
        /// Kea's words.
        text: String,
    },
}

/// The control channel of one server.
pub(super) struct Channel {
    address: ControlAddress,
    access: ControlAccess,
    family: Family,
    runtime: Runtime,
    ends: watch::Receiver<bool>,
}

impl Channel {
    /// Nothing is connected yet: each question has a connection of its own. None waits longer than until `ends` is true.
    ///
    /// # Errors
    /// The process may open no further file.
    pub(super) fn new(
        address: ControlAddress,
        access: ControlAccess,
        family: Family,
        ends: watch::Receiver<bool>,
    ) -> io::Result<Channel> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        Ok(Channel {
            address,
            access,
            family,
            runtime,
            ends,
        })
    }

    pub(super) fn address(&self) -> &ControlAddress {
        &self.address
    }

    /// Asks, and waits for the arguments of the answer; `None` if Kea says that there is nothing.
    pub(super) fn ask(
        &self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Option<Value>, AskError> {
        let service = match self.family {
            Family::V4 => "dhcp4",
            Family::V6 => "dhcp6",
        };
        let mut question = json!({"command": command, "service": [service]});
        if !arguments.is_null() {
            question["arguments"] = arguments;
        }
        let question = question.to_string();
        let mut ends = self.ends.clone();
        let answer = self.runtime.block_on(async {
            tokio::select! {
                _ = ends.wait_for(|ends| *ends) => Err(AskError::Stopped),
                answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange(question)) => {
                    answer.unwrap_or(Err(AskError::Timeout))
                }
            }
        })?;
        read(command, &answer)
    }

    async fn exchange(&self, question: String) -> Result<Vec<u8>, AskError> {
        match &self.address {
            ControlAddress::Unix(path) => {
                let mut socket = UnixStream::connect(path).await?;
                socket.write_all(question.as_bytes()).await?;
                let mut answer = Vec::new();
                let limit = MAX_ANSWER as u64 + 1;
                socket.take(limit).read_to_end(&mut answer).await?;
                if answer.len() > MAX_ANSWER {
                    return Err(AskError::TooLong);
                }
                Ok(answer)
            }
            ControlAddress::Http {
                authority,
                path,
                is_secure,
            } => {
                let socket = TcpStream::connect(authority.as_str()).await?;
                if !is_secure {
                    return self.post(socket, authority, path, question).await;
                }
                let tls = self.access.tls.as_ref();
                let tls = tls.ok_or_else(|| AskError::Tls("no authority is trusted".to_owned()))?;
                let name = server_name(authority, self.access.server_name.as_deref())?;
                let socket = TlsConnector::from(tls.config()).connect(name, socket).await;
                let socket = socket.map_err(|error| AskError::Tls(error.to_string()))?;
                self.post(socket, authority, path, question).await
            }
        }
    }

    /// Asks a control agent on a connection to it.
    async fn post(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin,
        authority: &str,
        path: &str,
        question: String,
    ) -> Result<Vec<u8>, AskError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let mut request = Request::post(path)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::<Bytes>::from(question))
            .map_err(|error| AskError::Malformed(error.to_string()))?;
        let credentials = self.access.credentials.as_ref();
        if let Some(header) = credentials.and_then(Credentials::header) {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        let answered = async {
            let answer = sender.send_request(request).await?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED => return Err(AskError::Unauthorized),
                status => return Err(AskError::Status(status)),
            }
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(error) => AskError::Http(*error),
                Err(_) => AskError::TooLong,
            })?;
            Ok(body.to_bytes().into())
        };
        let mut connection = std::pin::pin!(connection);
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            answer = answered.as_mut() => answer,
            ended = connection.as_mut() => {
                ended?;
                answered.await
            }
        }
    }
}

/// What an agent's certificate has to say: `told`, or the host of its URL.
fn server_name(authority: &str, told: Option<&str>) -> Result<ServerName<'static>, AskError> {
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let name = told.unwrap_or(host);
    ServerName::try_from(name.to_owned())
        .map_err(|_| AskError::Tls(format!("expected a DNS name or an address, found {name:?}")))
}

/// The arguments of an answer: an object of a server, or a control agent's list of one.
fn read(command: &'static str, answer: &[u8]) -> Result<Option<Value>, AskError> {
    let answer: Value =
        serde_json::from_slice(answer).map_err(|error| AskError::Malformed(json_reason(&error)))?;
    let mut answer = match answer {
        Value::Array(mut answers) if answers.len() == 1 => answers.remove(0),
        answer => answer,
    };
    let result = answer.get("result").and_then(Value::as_i64);
    match result {
        Some(0) => Ok(Some(answer["arguments"].take())),
        Some(result) if result == i64::from(EMPTY) => Ok(None),
        Some(result) => {
            let text = answer.get("text").and_then(Value::as_str);
            let text = text.unwrap_or_default().chars().take(300).collect();
            Err(AskError::Refused {
                command,
                result,
                text,
            })
        }
        None => Err(AskError::Malformed("it has no \"result\"".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_addresses_are_read_and_written() {
        for text in [
            "unix:/run/kea/kea4-ctrl-socket",
            "http://127.0.0.1:8000/",
            "http://[::1]:8000/kea",
            "https://kea.example.net:8000/",
        ] {
            let address: ControlAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
        let bare: ControlAddress = "http://kea.example.net:8000".parse().unwrap();
        assert_eq!(bare.to_string(), "http://kea.example.net:8000/");
        for text in [
            "",
            "unix:",
            "/run/kea",
            "https://127.0.0.1/",
            "ftp://127.0.0.1:8000/",
            "http://127.0.0.1/",
            "http://:8000/",
            "http://a:b@127.0.0.1:8000/",
            "http://127.0.0.1:8000/ x",
        ] {
            let told = text.parse::<ControlAddress>().unwrap_err().to_string();
            assert_eq!(
                told,
                format!(
                    "expected \"unix:PATH\", \"http://HOST:PORT/\" or \"https://HOST:PORT/\", found {text:?}"
                )
            );
        }
    }

    #[test]
    fn a_certificate_is_expected_to_name_the_host() {
        for (authority, told, name) in [
            ("kea.example.net:8000", None, "kea.example.net"),
            ("127.0.0.1:8000", None, "127.0.0.1"),
            ("[::1]:8000", None, "::1"),
            ("[::1]:8000", Some("kea.example.net"), "kea.example.net"),
        ] {
            let expected = ServerName::try_from(name).unwrap();
            assert_eq!(server_name(authority, told).unwrap(), expected);
        }
        let told = server_name("a b:1", None).unwrap_err().to_string();
        assert_eq!(
            told,
            "expected TLS: expected a DNS name or an address, found \"a b\""
        );
    }

    #[test]
    fn answers_of_a_server_and_of_an_agent_are_read() {
        let own = br#"{ "arguments": { "count": 1 }, "result": 0 }"#;
        let listed = br#"[ { "arguments": { "count": 1 }, "result": 0 } ]"#;
        for answer in [&own[..], listed] {
            let told = read("lease4-get-page", answer).unwrap();
            assert_eq!(told, Some(json!({"count": 1})));
        }
        let none = br#"{ "result": 3, "text": "0 IPv4 lease(s) found." }"#;
        assert_eq!(read("lease4-get-page", none).unwrap(), None);
        let told = |answer: &[u8]| read("lease4-get-page", answer).unwrap_err().to_string();
        assert_eq!(
            told(br#"{ "result": 2, "text": "'lease4-get-page' command not supported." }"#),
            "Kea answers lease4-get-page with result 2: 'lease4-get-page' command not supported."
        );
        assert!(told(b"").starts_with("expected an answer of Kea: EOF"));
        assert_eq!(
            told(b"[]"),
            "expected an answer of Kea: it has no \"result\""
        );
    }
}
