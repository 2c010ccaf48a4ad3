//! Certificates for both sides, made up for the test.

use std::path::Path;
use std::sync::Arc;

use leaseq_loadgen::scenario::TlsFiles;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// Name of the server.
const SERVER: &str = "dhcp.example.net";

/// An authority, and what it has certified.
pub struct Certificates {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Of relays.
    pub files: TlsFiles,
}

impl Certificates {
    /// Writes the relays' files into a directory.
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let (certificate, key) = certify(&issuer, "relay.example.net");
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = TlsFiles {
            ca: write("ca.pem", &issuer.pem()),
            certificate: write("relay.pem", &certificate),
            key: write("relay.key", &key),
            server_name: SERVER.into(),
        };
        Self { issuer, files }
    }

    /// A server of this authority, which demands the requestor's certificate.
    pub fn server(&self) -> Arc<ServerConfig> {
        let (certificate, key) = certify(&self.issuer, SERVER);
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        Arc::new(config)
    }
}

fn certify(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}
