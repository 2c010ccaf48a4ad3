//! What Kea and we say and show to each other before either does what the other asks: user and password (HTTP's basic
//! authentication, RFC 7617), and TLS.
//!
//! Settings hold what was in the files, not their names: settings that are read again are equal only if no file has changed, so
//! that a reload takes over a new password or a renewed certificate.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};
use rustls::{ClientConfig, ServerConfig};
use subtle::ConstantTimeEq;

/// Octets of a user's name and of a password.
const MOST_OCTETS: usize = 256;
/// Base 64 with or without its padding: clients differ.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A user and its password. `Debug` does not tell the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User, colon, password: as RFC 7617 §2 joins them.
    joined: Vec<u8>,
    user: String,
}

/// Why user and password are none that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// RFC 7617 §2: the first colon ends the name.
    #[error("expected a name of a user of 1 to {MOST_OCTETS} characters of ASCII, without colon")]
    User,
    /// None, more than one line, or too long.
    #[error("expected a password of 1 to {MOST_OCTETS} characters of ASCII on one line")]
    Password,
}

impl Credentials {
    /// Of a user and what is in the file of its password: one line; the end of the line is not part of it.
    ///
    /// # Errors
    /// One of them cannot be sent in basic authentication.
    pub fn new(user: &str, password_file: &[u8]) -> Result<Credentials, CredentialsError> {
        let is_told = |octets: &[u8]| {
            // Kea does not send other characters as it is told them.
            let is_plain = |octet: &u8| matches!(octet, b' '..=b'~');
            (1..=MOST_OCTETS).contains(&octets.len()) && octets.iter().all(is_plain)
        };
        if !is_told(user.as_bytes()) || user.contains(':') {
            return Err(CredentialsError::User);
        }
        let password = password_file.strip_suffix(b"\n").unwrap_or(password_file);
        let password = password.strip_suffix(b"\r").unwrap_or(password);
        if !is_told(password) {
            return Err(CredentialsError::Password);
        }
        Ok(Credentials {
            joined: [user.as_bytes(), b":", password].concat(),
            user: user.to_owned(),
        })
    }

    /// Whether a request with this header comes from who knows them. Takes as long for any of one length.
    pub(super) fn are_in(&self, headers: &HeaderMap) -> bool {
        let mut told = headers.get_all(AUTHORIZATION).iter();
        let (Some(told), None) = (told.next(), told.next()) else {
            return false;
        };
        let Some((scheme, encoded)) = told.as_bytes().split_at_checked(6) else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return false;
        }
        let decoded = LENIENT.decode(encoded.trim_ascii());
        decoded.is_ok_and(|decoded| decoded.ct_eq(&self.joined).into())
    }

    /// The header that tells them.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let told = format!("Basic {}", STANDARD.encode(&self.joined));
        let mut value = HeaderValue::from_str(&told).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = out.debug_struct("Credentials");
        told.field("user", &self.user).finish_non_exhaustive()
    }
}

/// TLS as it was made of files. Two are equal if their files had the same in them.
pub struct Tls<C> {
    config: Arc<C>,
    made_of: u64,
}

/// Of the side that Kea connects to.
pub type ServerTls = Tls<ServerConfig>;

impl<C> Tls<C> {
    /// `made_of` is a hash of the certificates and the key.
    pub fn new(config: Arc<C>, made_of: u64) -> Tls<C> {
        Tls { config, made_of }
    }

    pub(super) fn config(&self) -> Arc<C> {
        Arc::clone(&self.config)
    }
}

impl<C> Clone for Tls<C> {
    fn clone(&self) -> Tls<C> {
        Tls::new(Arc::clone(&self.config), self.made_of)
    }
}

impl<C> PartialEq for Tls<C> {
    fn eq(&self, other: &Tls<C>) -> bool {
        self.made_of == other.made_of
    }
}

impl<C> Eq for Tls<C> {}

impl<C> fmt::Debug for Tls<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What a control agent asks of those that ask it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlAccess {
    /// Who we are to it.
    pub credentials: Option<Credentials>,
    /// For control channels over `https`.
    pub tls: Option<Tls<ClientConfig>>,
    /// Name or address in the agent's certificate, if it is not that of its URL.
    pub server_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(told: &[&str]) -> HeaderMap {
        let told = told.iter().map(|value| {
            let value = HeaderValue::from_str(value).unwrap();
            (AUTHORIZATION, value)
        });
        told.collect()
    }

    #[test]
    fn who_knows_user_and_password_is_known() {
        // RFC 7617 §2.
        let known = Credentials::new("Aladdin", b"open sesame\n").unwrap();
        let told = known.header().unwrap();
        assert_eq!(told, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(told.is_sensitive());
        for good in [
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ",
        ] {
            assert!(known.are_in(&headers(&[good])), "{good}");
        }
        for bad in [
            &[][..],
            &[""],
            &["Basic "],
            &["Basic QWxhZGRpbjpvcGVuIHNlc2FtZR=="],
            &["Basic QWxhZGRpbjpvcGVuIHNlc2Ft"],
            &["Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
            &["QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
            &["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic QQ=="],
        ] {
            assert!(!known.are_in(&headers(bad)), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_one_line_and_never_told() {
        let of = |file: &[u8]| Credentials::new("kea", file);
        let one = of(b"secret").unwrap();
        for same in [&b"secret\n"[..], b"secret\r\n"] {
            assert_eq!(of(same).unwrap(), one);
        }
        assert_ne!(of(b"secret ").unwrap(), one);
        assert_eq!(format!("{one:?}"), "Credentials { user: \"kea\", .. }");
        for bad in [&b""[..], b"\n", b"one\ntwo\n", b"\0", &[b'x'; 257]] {
            assert_eq!(of(bad), Err(CredentialsError::Password));
        }
        for bad in ["", "a:b", "a\n", "\u{e9}"] {
            assert_eq!(Credentials::new(bad, b"x"), Err(CredentialsError::User));
        }
    }
}
