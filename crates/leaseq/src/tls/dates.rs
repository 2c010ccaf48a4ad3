//! From when until when certificates are valid.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

/// How long before a certificate ends this is told.
const SOON: Duration = Duration::from_secs(30 * 24 * 3_600);

/// A certificate of the server or of an authority, as far as its renewal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The file that it is in.
    pub file: PathBuf,
    /// Whose it is, by its distinguished name.
    pub subject: String,
    /// It may sign others.
    pub is_authority: bool,
    begins: SystemTime,
    ends: SystemTime,
}

/// How near a certificate's end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// More than a month away.
    Far,
    /// It ends within a month: what to tell.
    Soon(String),
    /// It is over: what to tell.
    Over(String),
}

/// The dates of the certificates of a file, in their order.
pub fn of(file: &Path, certificates: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, String> {
    certificates
        .iter()
        .enumerate()
        .map(|(position, der)| {
            let (_, parsed) = X509Certificate::from_der(der).map_err(|error| {
                format!("certificate {} cannot be understood: {error}", position + 1)
            })?;
            let validity = parsed.validity();
            Ok(Certificate {
                file: file.to_owned(),
                subject: parsed.subject().to_string(),
                // Certificates of version 1 do not say.
                is_authority: parsed.is_ca() || parsed.version() == X509Version::V1,
                begins: time(validity.not_before),
                ends: time(validity.not_after),
            })
        })
        .collect()
}

impl Certificate {
    /// Whether it may be used at this time; if not, why.
    pub fn valid_at(&self, now: SystemTime) -> Result<(), String> {
        let Certificate {
            subject,
            begins,
            ends,
            ..
        } = self;
        if now > *ends {
            let at = humantime::format_rfc3339_seconds(*ends);
            return Err(format!("the certificate of {subject} ended at {at}"));
        }
        if now < *begins {
            let at = humantime::format_rfc3339_seconds(*begins);
            return Err(format!("the certificate of {subject} begins only at {at}"));
        }
        Ok(())
    }

    /// What is to be told if it ends within a month, or is over.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        match self.end(now) {
            End::Far => None,
            End::Soon(text) | End::Over(text) => Some(text),
        }
    }

    /// How near its end is.
    pub fn end(&self, now: SystemTime) -> End {
        let Certificate {
            file,
            subject,
            ends,
            ..
        } = self;
        let file = file.display();
        let at = humantime::format_rfc3339_seconds(*ends);
        match ends.duration_since(now) {
            Ok(left) if left > SOON => End::Far,
            Ok(left) => {
                let days = left.as_secs() / (24 * 3_600);
                End::Soon(format!(
                    "{file}: the certificate of {subject} ends at {at}, in {days} days"
                ))
            }
            Err(_) => End::Over(format!(
                "{file}: the certificate of {subject} ended at {at}"
            )),
        }
    }
}

/// A certificate's time; what lies outside the system's range becomes its nearest end.
fn time(at: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}
