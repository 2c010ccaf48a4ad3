//! TLS: certificate, key and whom to trust, from files to what sessions and feeds take.
//!
//! Versions, suites and what else is negotiated are those that RFC 9325 recommends and nothing else; there is no way to
//! configure weaker ones. Every requestor has to show a certificate (RFC 7724 §8.1, RFC 7653 §9.1). No session is resumed
//! and no ticket issued: a stream lives for days, and what would be kept for resuming it costs more than a handshake.

mod client;
mod dates;
mod names;
mod verifier;
mod watch;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, Error, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem};

pub use client::load as load_client;
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

/// The files that a server on TLS needs, as `[tls]` names them, and feeds that listen.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The server's certificate, and those between it and its authority.
    pub certificate: &'a Path,
    /// The key of the server's certificate.
    pub key: &'a Path,
    /// The authorities whose certificates requestors have to show; none: nobody is asked for one.
    pub client_ca: Option<&'a Path>,
}

/// Which of the files is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// `tls.certificate`
    Certificate,
    /// `tls.key`
    Key,
    /// `tls.client-ca`, `ca` of a feed
    Authorities,
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
pub struct Loaded<C = ServerConfig> {
    /// For sessions, or for a feed.
    pub config: Arc<C>,
    /// The certificates in them, and when each ends.
    pub certificates: Vec<Certificate>,
    /// A hash of the certificates and the key: the same if and only if the files have the same in them.
    pub made_of: u64,
}

/// Who we are.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certificates: Vec<Certificate>,
}

impl Identity {
    /// Reads a certificate, which has to be valid now, and its key.
    fn read(certificate: &Path, key: &Path, now: SystemTime) -> Result<Identity, Unusable> {
        let of_certificate = |reason| Unusable::new(Which::Certificate, certificate, reason);
        let chain = read_certificates(certificate).map_err(of_certificate)?;
        let certificates = dates::of(certificate, &chain).map_err(of_certificate)?;
        for certificate in &certificates {
            certificate.valid_at(now).map_err(of_certificate)?;
        }
        let key = read_key(key).map_err(|reason| Unusable::new(Which::Key, key, reason))?;
        Ok(Identity {
            chain,
            key,
            certificates,
        })
    }

    fn hash(&self, hasher: &mut impl Hasher) {
        self.chain.hash(hasher);
        self.key.secret_der().hash(hasher);
    }
}

/// Why certificate and key do not go together.
fn not_together(certificate: &Path, key: &Path, error: &Error) -> Unusable {
    let reason = match error {
        Error::InconsistentKeys(_) => format!(
            "expected the key of the certificate in {}, found another key",
            certificate.display()
        ),
        error => error.to_string(),
    };
    Unusable::new(Which::Key, key, reason)
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
    let identity = Identity::read(files.certificate, files.key, now)?;
    let mut hasher = DefaultHasher::new();
    identity.hash(&mut hasher);
    let Identity {
        chain,
        key,
        mut certificates,
    } = identity;
    let provider = Arc::new(provider());
    let verifier = match files.client_ca {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(file) => {
            let of_ca = |reason| Unusable::new(Which::Authorities, file, reason);
            let authorities = Authorities::read(file, now).map_err(of_ca)?;
            authorities.hash(&mut hasher);
            certificates.extend(authorities.certificates);
            let roots = Arc::new(authorities.roots);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|error| of_ca(error.to_string()))?;
            Arc::new(NamedRequestors::new(verifier, allowed))
        }
    };
    let of_certificate =
        |error: Error| Unusable::new(Which::Certificate, files.certificate, error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(of_certificate)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| not_together(files.certificate, files.key, &error))?;
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded {
        config: Arc::new(config),
        certificates,
        made_of: hasher.finish(),
    })
}

fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider
        .cipher_suites
        .retain(|suite| SUITES.contains(&suite.suite()));
    provider
}

/// Whom to trust.
struct Authorities {
    roots: RootCertStore,
    found: Vec<CertificateDer<'static>>,
    certificates: Vec<Certificate>,
}

impl Authorities {
    /// The authorities of a file that are valid; those that are over are told, and trusted no more.
    fn read(file: &Path, now: SystemTime) -> Result<Authorities, String> {
        let found = read_certificates(file)?;
        let certificates = dates::of(file, &found)?;
        let mut roots = RootCertStore::empty();
        let mut last = Ok(());
        for (der, certificate) in found.iter().zip(&certificates) {
            if !certificate.is_authority {
                let subject = &certificate.subject;
                return Err(format!(
                    "expected certificates of authorities, found the one of {subject}, which may not sign others"
                ));
            }
            let valid = certificate.valid_at(now);
            if valid.is_ok() {
                roots.add(der.clone()).map_err(|error| error.to_string())?;
            } else {
                last = valid;
            }
        }
        if roots.is_empty() {
            last?;
        }
        Ok(Authorities {
            roots,
            found,
            certificates,
        })
    }

    fn hash(&self, hasher: &mut impl Hasher) {
        self.found.hash(hasher);
    }
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
