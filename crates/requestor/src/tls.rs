//! What lies between a connection's octets and its messages: nothing, or TLS that was asked for by a first message
//! (DHCPTLS, RFC 7724 §7.2; STARTTLS, RFC 7653 §8.2). No socket: octets in, octets out.

use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::Arc;

use leaseq_wire::v4::{self, message_type as type4};
use leaseq_wire::v6::{self, message_type as type6};
use leaseq_wire::{OutBuf, frame};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite as suite};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};
use thiserror::Error;

use crate::frames::Frames;
use crate::{Family, ProtocolError, ProtocolFault, Status};

/// The suites that RFC 9325 §4.2 recommends for TLS 1.2, and those of TLS 1.3, whose choice it leaves to RFC 8446.
const SUITES: [SupportedCipherSuite; 7] = [
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// Octets of plaintext that are taken out of TLS at a time: a record's.
const RECORD: usize = 16 * 1024;

/// Who we are to servers, and whom we trust. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

/// Certificates or keys that cannot be used.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// Not PEM, or without what was expected in it.
    #[error("expected {expected} in PEM: {problem}")]
    Pem {
        /// What should be there.
        expected: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The certificates that servers' are checked against.
    #[error("a certificate of an authority cannot be used: {0}")]
    Authority(rustls::Error),
    /// Our own certificate and key.
    #[error("the certificate and its key cannot be used: {0}")]
    Identity(rustls::Error),
    /// The name that the server's certificate must have.
    #[error("expected a DNS name or an address as the server's name, got {0:?}")]
    Name(String),
}

/// Why a connection does not become, or is no longer, one on TLS. It must be closed.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The server does not want TLS.
    #[error("the server refused TLS: {0}")]
    Refused(Status),
    /// The answer to our wish for TLS is none.
    #[error("the answer to the request for TLS is wrong: {0}")]
    Answer(ProtocolError),
    /// The handshake failed; in particular the server's certificate is not acceptable.
    #[error("the TLS handshake failed: {0}")]
    Handshake(rustls::Error),
    /// TLS failed later.
    #[error("TLS failed: {0}")]
    Broken(rustls::Error),
}

impl TlsClient {
    /// Trusts servers whose certificate comes from one of the authorities `ca` and has the name `server`; shows `cert`,
    /// whose key is `key`. Certificates and key are PEM texts; intermediate certificates follow in `cert`.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub fn new(ca: &[u8], cert: &[u8], key: &[u8], server: &str) -> Result<Self, TlsConfigError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(ca, "certificates of authorities")? {
            roots.add(authority).map_err(TlsConfigError::Authority)?;
        }
        let chain = certificates(cert, "our certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsConfigError::Pem {
            expected: "our private key",
            problem: error.to_string(),
        })?;
        let provider = CryptoProvider {
            cipher_suites: SUITES.to_vec(),
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsConfigError::Identity)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(TlsConfigError::Identity)?;
        // RFC 9325 §3.5: TLS 1.2 only with extended_master_secret.
        config.require_ems = true;
        let name = ServerName::try_from(server.to_owned());
        Ok(Self {
            config: Arc::new(config),
            server: name.map_err(|_| TlsConfigError::Name(server.into()))?,
        })
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("TlsClient");
        debug.field("server", &self.server).finish_non_exhaustive()
    }
}

fn certificates(
    pem: &[u8],
    expected: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let problem = |problem| TlsConfigError::Pem { expected, problem };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| problem(error.to_string()))?;
    match found.is_empty() {
        true => Err(problem("no certificate found".into())),
        false => Ok(found),
    }
}

/// One connection's way from octets to messages and back.
#[derive(Debug)]
pub struct Channel {
    state: State,
    /// Octets for the server.
    output: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Plain,
    /// TLS was asked for and not answered yet.
    Asking(Box<Asking>),
    Handshake(Box<ClientConnection>),
    Secure(Box<ClientConnection>),
    Failed,
}

#[derive(Debug)]
struct Asking {
    client: TlsClient,
    family: Family,
    xid: u32,
    frames: Frames,
}

impl Channel {
    /// A connection without TLS.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            state: State::Plain,
            output: Vec::new(),
        }
    }

    /// A connection whose first message, with this transaction id, asks for TLS.
    #[must_use]
    pub fn secure(client: &TlsClient, family: Family, xid: u32) -> Self {
        let asking = Asking {
            client: client.clone(),
            family,
            xid,
            frames: Frames::default(),
        };
        Self {
            state: State::Asking(Box::new(asking)),
            output: request(family, xid),
        }
    }

    /// Messages can be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Plain | State::Secure(_))
    }

    /// Takes the octets that are for the server now.
    pub fn take_output(&mut self) -> Vec<u8> {
        mem::take(&mut self.output)
    }

    /// There are octets for the server.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Sends a framed message of at most 16,384 octets, on TLS as one record (RFC 7724 §5.1). Before the channel
    /// [is open](Self::is_open) it is dropped.
    pub fn send(&mut self, message: &[u8]) {
        match &mut self.state {
            State::Plain => self.output.extend_from_slice(message),
            State::Secure(tls) => {
                // Writing to memory: what rustls could refuse is more than its buffer of 64 KiB holds.
                let _ = tls.writer().write_all(message);
                flush(tls, &mut self.output);
            }
            State::Asking(_) | State::Handshake(_) | State::Failed => {}
        }
    }

    /// Says goodbye where that is usual.
    pub fn close(&mut self) {
        if let State::Secure(tls) = &mut self.state {
            tls.send_close_notify();
            flush(tls, &mut self.output);
        }
    }

    /// Takes octets of the server and hands over those of its messages.
    ///
    /// # Errors
    /// If there is no TLS where there should be, or `on_octets` has failed. The connection must be closed, once the octets
    /// that are for the server have been sent.
    pub fn receive<E: From<TlsError>>(
        &mut self,
        octets: &[u8],
        on_octets: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.state {
            State::Plain => on_octets(octets),
            State::Failed => Ok(()),
            State::Asking(asking) => match asking.answer(octets) {
                Ok(None) => Ok(()),
                Ok(Some(mut tls)) => {
                    flush(&mut tls, &mut self.output);
                    self.state = State::Handshake(tls);
                    Ok(())
                }
                Err(error) => {
                    self.state = State::Failed;
                    Err(error.into())
                }
            },
            State::Handshake(_) | State::Secure(_) => self.decrypt(octets, on_octets),
        }
    }

    fn decrypt<E: From<TlsError>>(
        &mut self,
        mut octets: &[u8],
        on_octets: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (State::Handshake(tls) | State::Secure(tls)) = &mut self.state else {
            return Ok(());
        };
        let mut plain = [0; RECORD];
        while !octets.is_empty() {
            let before = octets.len();
            let read = tls.read_tls(&mut octets);
            let processed = match read {
                Ok(_) => tls.process_new_packets().map(|_| ()),
                Err(error) => Err(rustls::Error::General(error.to_string())),
            };
            // An alert, if it failed.
            flush(tls, &mut self.output);
            if let Err(error) = processed {
                let error = match tls.is_handshaking() {
                    true => TlsError::Handshake(error),
                    false => TlsError::Broken(error),
                };
                self.state = State::Failed;
                return Err(error.into());
            }
            loop {
                match tls.reader().read(&mut plain) {
                    Ok(0) => break,
                    Ok(n) => on_octets(&plain[..n])?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        let error = rustls::Error::General(error.to_string());
                        return Err(TlsError::Broken(error).into());
                    }
                }
            }
            if octets.len() == before {
                // After its goodbye nothing of the server is read any more.
                break;
            }
        }
        if !tls.is_handshaking() {
            let state = mem::replace(&mut self.state, State::Failed);
            self.state = match state {
                State::Handshake(tls) => State::Secure(tls),
                other => other,
            };
        }
        Ok(())
    }
}

impl Asking {
    /// Reads the answer, once it is whole.
    fn answer(&mut self, octets: &[u8]) -> Result<Option<Box<ClientConnection>>, TlsError> {
        let Self {
            client,
            family,
            xid,
            frames,
        } = self;
        let mut answer = None;
        let read = frames.push(octets, |frame| {
            if answer.is_some() {
                return Err(ProtocolFault::AfterEnd);
            }
            answer = Some(read_answer(*family, *xid, frame.message)?);
            Ok(())
        });
        read.map_err(|failed| TlsError::Answer(failed.error))?;
        match answer {
            None => Ok(None),
            Some(Some(status)) => Err(TlsError::Refused(status)),
            Some(None) => {
                // In TLS the client speaks first: nothing may follow the answer.
                frames.closed(0).map_err(TlsError::Answer)?;
                let tls = ClientConnection::new(client.config.clone(), client.server.clone());
                Ok(Some(Box::new(tls.map_err(TlsError::Handshake)?)))
            }
        }
    }
}

/// The status with which the server refuses, if it does.
fn read_answer(family: Family, xid: u32, octets: &[u8]) -> Result<Option<Status>, ProtocolFault> {
    let (found, message_type, expected, status) = match family {
        Family::V4 => {
            let message = v4::Message::parse(octets).map_err(ProtocolFault::Message)?;
            if message.op() != v4::op::BOOTREPLY {
                return Err(ProtocolFault::NotAReply(message.op()));
            }
            let status = Status::of4(&message);
            (
                message.xid(),
                message.message_type(),
                type4::DHCPTLS,
                status,
            )
        }
        Family::V6 => {
            let message = v6::Message::parse(octets).map_err(ProtocolFault::Message)?;
            let status = Status::of6(&message.options());
            (
                message.xid(),
                Some(message.msg_type()),
                type6::REPLY,
                status,
            )
        }
    };
    if found != xid {
        return Err(ProtocolFault::UnknownXid(found));
    }
    if message_type != Some(expected) {
        return Err(ProtocolFault::UnexpectedType(message_type));
    }
    Ok(status.filter(|status| status.code != 0))
}

/// DHCPTLS or STARTTLS, without any options, framed.
fn request(family: Family, xid: u32) -> Vec<u8> {
    let mut octets = [0; frame::HEADER + v4::HEADER_LEN + 4];
    let mut out = OutBuf::new(&mut octets);
    // The buffer is long enough for either.
    let _ = frame::begin(&mut out).and_then(|start| {
        match family {
            Family::V4 => {
                let header = v4::Header::request(xid);
                v4::MessageWriter::start(&mut out, &header, type4::DHCPTLS)?.finish();
            }
            Family::V6 => {
                v6::MessageWriter::start(&mut out, type6::STARTTLS, xid)?.finish();
            }
        }
        frame::end(&mut out, start)
    });
    out.as_slice().to_vec()
}

fn flush(tls: &mut ClientConnection, output: &mut Vec<u8>) {
    while tls.wants_write() {
        // Writing to memory does not fail.
        if tls.write_tls(output).is_err() {
            break;
        }
    }
}
