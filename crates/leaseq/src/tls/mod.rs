//! TLS of the server: certificate, key and whom to trust, from files to what sessions take.
//!
//! Versions, suites and what else is negotiated are those that RFC 9325 recommends and nothing else; there is no way to
//! configure weaker ones. Every requestor has to show a certificate (RFC 7724 §8.1, RFC 7653 §9.1). No session is resumed
//! and no ticket issued: a stream lives for days, and what would be kept for resuming it costs more than a handshake.

mod dates;
mod names;
mod verifier;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, Error, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};

pub use dates::Certificate;
pub use names::AllowedName;
pub use watch::Watch;

use verifier::NamedRequestors;

/// TLS 1.2: what RFC 9325 §4.2 recommends. TLS 1.3: what RFC 8446 §9.1 has implemented.
const SUITES: [CipherSuite; 7] = [
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// The files that TLS needs, as `[tls]` names them.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The server's certificate, and those between it and its authority.
    pub certificate: &'a Path,
    /// The key of the server's certificate.
    pub key: &'a Path,
    /// The authorities whose certificates requestors may show.
    pub client_ca: &'a Path,
}

/// Which of the files is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `tls.certificate`
    Certificate,
    /// `tls.key`
    Key,
    /// `tls.client-ca`
    ClientCa,
}

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct Unusable {
    /// Which of them it is.
    pub which: Which,
    /// The file.
    pub file: PathBuf,
    /// What was expected, and what came.
    pub reason: String,
}

impl Unusable {
    fn new(which: Which, file: &Path, reason: String) -> Unusable {
        Unusable {
            which,
            file: file.to_owned(),
            reason,
        }
    }
}

/// What the files make.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// For sessions.
    pub config: Arc<ServerConfig>,
    /// The certificates in them, and when each ends.
    pub certificates: Vec<Certificate>,
}

/// Reads the files and checks that they go together and are valid now.
///
/// # Errors
/// The first file that cannot be used: unreadable, without what is expected in it, not valid, or a key of another
/// certificate.
pub fn load(
    files: Files<'_>,
    allowed: Vec<AllowedName>,
    now: SystemTime,
) -> Result<Loaded, Unusable> {
    let of_certificate = |reason| Unusable::new(Which::Certificate, files.certificate, reason);
    let of_ca = |reason| Unusable::new(Which::ClientCa, files.client_ca, reason);
    let of_key = |reason| Unusable::new(Which::Key, files.key, reason);
    let chain = read_certificates(files.certificate).map_err(of_certificate)?;
    let mut certificates = dates::of(files.certificate, &chain).map_err(of_certificate)?;
    for certificate in &certificates {
        certificate.valid_at(now).map_err(of_certificate)?;
    }
    let (roots, authorities) = authorities(files.client_ca, now).map_err(of_ca)?;
    certificates.extend(authorities);
    let key = read_key(files.key).map_err(of_key)?;

    let provider = Arc::new(provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| of_ca(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| of_certificate(error.to_string()))?
        .with_client_cert_verifier(Arc::new(NamedRequestors::new(verifier, allowed)))
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => of_key(format!(
                "expected the key of the certificate in {}, found another key",
                files.certificate.display()
            )),
            error => of_key(error.to_string()),
        })?;
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded {
        config: Arc::new(config),
        certificates,
    })
}

fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .retain(|suite| SUITES.contains(&suite.suite()));
    provider
}

/// The authorities of a file that are valid; those that are over are told, and trusted no more.
fn authorities(file: &Path, now: SystemTime) -> Result<(RootCertStore, Vec<Certificate>), String> {
    let found = read_certificates(file)?;
    let certificates = dates::of(file, &found)?;
    let mut roots = RootCertStore::empty();
    let mut last = Ok(());
    for (der, certificate) in found.into_iter().zip(&certificates) {
        if !certificate.is_authority {
            let subject = &certificate.subject;
            return Err(format!(
                "expected certificates of authorities, found the one of {subject}, which may not sign others"
            ));
        }
        let valid = certificate.valid_at(now);
        if valid.is_ok() {
            roots.add(der).map_err(|error| error.to_string())?;
        } else {
            last = valid;
        }
    }
    if roots.is_empty() {
        last?;
    }
    Ok((roots, certificates))
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(file)?)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("expected certificates in PEM: {error}"))?;
    if found.is_empty() {
        return Err("expected a certificate in PEM, found none".to_owned());
    }
    Ok(found)
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "expected a private key in PEM that is not encrypted, found none".to_owned()
        }
        error => format!("expected a private key in PEM: {error}"),
    })
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
