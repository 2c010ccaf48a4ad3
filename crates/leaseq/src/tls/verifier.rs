//! Whether a requestor's certificate is acceptable: by its authority, and by its names.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::names::{AllowedName, Presented};
use super::watch;

/// Names of a certificate that are told in the log.
const NAMES_TOLD: usize = 8;

/// Demands a certificate that an authority has signed, with a name that is allowed (RFC 7724 §8.1, RFC 7653 §9.1).
#[derive(Debug)]
pub struct NamedRequestors {
    authorities: Arc<dyn ClientCertVerifier>,
    /// None: any name will do.
    allowed: Vec<AllowedName>,
}

impl NamedRequestors {
    /// After `authorities` has found a certificate good, one of its names has to be `allowed`.
    pub fn new(
        authorities: Arc<dyn ClientCertVerifier>,
        allowed: Vec<AllowedName>,
    ) -> NamedRequestors {
        NamedRequestors {
            authorities,
            allowed,
        }
    }

    fn check_names(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if self.allowed.is_empty() {
            return Ok(());
        }
        let names = names_of(certificate).ok_or(CertificateError::BadEncoding)?;
        let is_allowed = |name| self.allowed.iter().any(|allowed| allowed.allows(name));
        if names.iter().any(is_allowed) {
            return Ok(());
        }
        let told: Vec<String> = names
            .iter()
            .take(NAMES_TOLD)
            .map(ToString::to_string)
            .collect();
        watch::name_refused(told);
        // The alert is access_denied.
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

/// The subject alternative names that can be allowed; the subject itself does not count (RFC 9525 §6.1).
fn names_of(certificate: &CertificateDer<'_>) -> Option<Vec<Presented>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let Some(names) = parsed.subject_alternative_name().ok()? else {
        return Some(Vec::new());
    };
    let presented = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(Presented::domain(name)),
        GeneralName::IPAddress(octets) => Presented::address(octets),
        _ => None,
    };
    Some(
        names
            .value
            .general_names
            .iter()
            .filter_map(presented)
            .collect(),
    )
}

impl ClientCertVerifier for NamedRequestors {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authorities.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .authorities
            .verify_client_cert(end_entity, intermediates, now)?;
        self.check_names(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}
