//! TLS of the side that connects: to a control agent of Kea.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};

use super::{Authorities, Identity, Loaded, Unusable, Which, not_together, provider};

/// Reads whom to trust, and whose certificate (first) and key to show, if any is to be shown.
///
/// # Errors
/// The first file that cannot be used.
pub fn load(
    ca: &Path,
    own: Option<(&Path, &Path)>,
    now: SystemTime,
) -> Result<Loaded<ClientConfig>, Unusable> {
    let of_ca = |reason| Unusable::new(Which::Authorities, ca, reason);
    let mut hasher = DefaultHasher::new();
    let authorities = Authorities::read(ca, now).map_err(of_ca)?;
    authorities.hash(&mut hasher);
    let mut certificates = authorities.certificates;
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| of_ca(error.to_string()))?
        .with_root_certificates(authorities.roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let identity = Identity::read(certificate, key, now)?;
            identity.hash(&mut hasher);
            certificates.extend(identity.certificates);
            builder
                .with_client_auth_cert(identity.chain, identity.key)
                .map_err(|error| not_together(certificate, key, &error))?
        }
    };
    // Kea's control agent gives tickets, but refuses whoever comes with one.
    config.resumption = Resumption::disabled();
    // RFC 9325 §3.5: TLS 1.2 only with extended_master_secret.
    config.require_ems = true;
    Ok(Loaded {
        config: Arc::new(config),
        certificates,
        made_of: hasher.finish(),
    })
}
