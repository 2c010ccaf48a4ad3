//! A certification authority, a server and a requestor, made once.

use std::sync::{Arc, LazyLock};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, crypto::ring,
    server::NoServerSessionStorage,
};

/// The server's name.
pub const NAME: &str = "dhcp.example.net";

/// A certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

struct Authority {
    roots: Arc<RootCertStore>,
    server: Identity,
    requestor: Identity,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let root = params.self_signed(&key).expect("a root");
    let issuer = Issuer::new(params, key);
    let identity = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        Identity {
            certificate: certificate.der().clone(),
            key: key.serialize_der(),
        }
    };
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).expect("a root");
    Authority {
        roots: Arc::new(roots),
        server: identity(NAME),
        requestor: identity("pe1.bng.example.net"),
    }
});

fn key(identity: &Identity) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(identity.key.clone()).expect("a key")
}

/// A server that demands a certificate of every requestor.
pub fn server() -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&AUTHORITY.roots),
        Arc::clone(&provider),
    )
    .build()
    .expect("a verifier");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![AUTHORITY.server.certificate.clone()],
            key(&AUTHORITY.server),
        )
        .expect("a certificate");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// A requestor, with a certificate or without.
pub fn requestor(
    version: &'static SupportedProtocolVersion,
    with_certificate: bool,
) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::clone(&AUTHORITY.roots),
        Arc::clone(&provider),
    )
    .build()
    .expect("a verifier");
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_webpki_verifier(verifier);
    Arc::new(if with_certificate {
        builder
            .with_client_auth_cert(
                vec![AUTHORITY.requestor.certificate.clone()],
                key(&AUTHORITY.requestor),
            )
            .expect("a certificate")
    } else {
        builder.with_no_client_auth()
    })
}
