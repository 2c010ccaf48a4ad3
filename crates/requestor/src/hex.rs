//! Octets as text for people and for NDJSON.

use std::fmt::Write as _;

/// Lower case, no separators.
pub(crate) fn encode(octets: &[u8]) -> String {
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Lower case, octets separated by colons.
pub(crate) fn encode_colons(octets: &[u8]) -> String {
    octets
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect::<Vec<_>>()
        .join(":")
}
