//! The status page: one document with its style and its script in it, so that it needs nothing from anywhere.
//!
//! The browser is told to run this script, to use this style, and nothing else: whatever got into the page would stay text.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The page, and its policy.
pub struct Page {
    /// The document.
    pub html: String,
    /// The value of `Content-Security-Policy`.
    pub policy: String,
}

/// The status page.
pub static STATUS_PAGE: LazyLock<Page> = LazyLock::new(|| Page {
    html: PAGE
        .replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", SCRIPT),
    policy: format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        sha256(STYLE),
        sha256(SCRIPT)
    ),
});

/// SHA-256 in Base64, as a policy names what it allows.
fn sha256(text: &str) -> String {
    let hashes = TLS13_AES_128_GCM_SHA256.tls13();
    let digest = hashes.map(|suite| suite.common.hash_provider.hash(text.as_bytes()));
    STANDARD.encode(digest.as_ref().map_or(&[][..], |digest| digest.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_takes_nothing_from_outside() {
        let page = &*STATUS_PAGE;
        assert!(page.html.contains(STYLE) && page.html.contains(SCRIPT));
        assert!(!page.html.contains("/*S"));
        // The namespace of SVG is a name, not an address.
        let html = page.html.replace("http://www.w3.org/2000/svg", "");
        for outside in [
            "http://",
            "https://",
            "src=",
            "@import",
            "innerHTML",
            "eval(",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn digests_are_those_of_the_standard() {
        // FIPS 180-4's example "abc".
        assert_eq!(
            sha256("abc"),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
    }
}
