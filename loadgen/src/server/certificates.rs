//! Certificates of a run: an authority, the server's and the relays', made anew each time.

use std::fs;
use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::scenario::TlsFiles;

/// Files in the directory of the server, as its configuration names them.
pub(super) const AUTHORITY: &str = "ca.pem";
pub(super) const SERVER: &str = "server.pem";
pub(super) const SERVER_KEY: &str = "server.key";
const RELAY: &str = "relay.pem";
const RELAY_KEY: &str = "relay.key";
/// Name of the server in its certificate, beside its addresses.
const SERVER_NAME: &str = "localhost";
const RELAY_NAME: &str = "relay.loadgen.invalid";

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A key or certificate cannot be made.
    #[error(transparent)]
    Make(#[from] rcgen::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Makes them in a directory that only we can read; gives what relays need.
pub(super) fn make(dir: &Path) -> Result<TlsFiles, CertificateError> {
    let key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, "leaseq-loadgen");
    fs::write(dir.join(AUTHORITY), authority.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(authority, key);
    let files = [
        (
            &[SERVER_NAME, "127.0.0.1", "::1"][..],
            ExtendedKeyUsagePurpose::ServerAuth,
            [SERVER, SERVER_KEY],
        ),
        (
            &[RELAY_NAME],
            ExtendedKeyUsagePurpose::ClientAuth,
            [RELAY, RELAY_KEY],
        ),
    ];
    for (names, purpose, [certificate_file, key_file]) in files {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        fs::write(dir.join(certificate_file), certificate.pem())?;
        fs::write(dir.join(key_file), key.serialize_pem())?;
    }
    Ok(TlsFiles {
        ca: dir.join(AUTHORITY),
        certificate: dir.join(RELAY),
        key: dir.join(RELAY_KEY),
        server_name: SERVER_NAME.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use leaseq_requestor::tls::TlsClient;

    #[test]
    fn relays_can_use_what_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let files = make(dir.path()).unwrap();
        let read = |path: &Path| fs::read(path).unwrap();
        TlsClient::new(
            &read(&files.ca),
            &read(&files.certificate),
            &read(&files.key),
            &files.server_name,
        )
        .unwrap();
    }
}
