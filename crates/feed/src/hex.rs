//! Octets as text: plain hex, hex with `0x`, and hex with colons.

use std::fmt::Write as _;

/// Why a text is not octets in hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// A character that is no hex digit; its offset in the text.
    #[error("expected hex digits, found another character at offset {0}")]
    Digit(usize),
    /// An odd number of digits.
    #[error("expected two hex digits an octet, found an odd number of digits")]
    Odd,
    /// Colons, but not after each octet.
    #[error("expected octets of one or two hex digits between colons")]
    Colons,
}

fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        b'A'..=b'F' => Some(octet - b'A' + 10),
        _ => None,
    }
}

/// Appends the octets of plain hex (`0a1B`, optionally after `0x`) to `out`.
pub fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), HexError> {
    let skipped = if text.starts_with(b"0x") || text.starts_with(b"0X") {
        2
    } else {
        0
    };
    let digits = &text[skipped..];
    if !digits.len().is_multiple_of(2) {
        return Err(HexError::Odd);
    }
    out.reserve(digits.len() / 2);
    for (index, pair) in digits.chunks_exact(2).enumerate() {
        let high = digit(pair[0]).ok_or(HexError::Digit(skipped + index * 2))?;
        let low = digit(pair[1]).ok_or(HexError::Digit(skipped + index * 2 + 1))?;
        out.push(high << 4 | low);
    }
    Ok(())
}

/// The octets of plain hex, optionally after `0x`.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, HexError> {
    let mut out = Vec::new();
    decode_into(text, &mut out)?;
    Ok(out)
}

/// Calls `push` with each octet of hex with colons (`01:2:aB`). An empty text has no octets.
pub fn decode_colons(text: &[u8], mut push: impl FnMut(u8)) -> Result<(), HexError> {
    if text.is_empty() {
        return Ok(());
    }
    let mut offset = 0;
    for part in text.split(|octet| *octet == b':') {
        let at = |index| HexError::Digit(offset + index);
        match *part {
            [low] => push(digit(low).ok_or(at(0))?),
            [high, low] => push(digit(high).ok_or(at(0))? << 4 | digit(low).ok_or(at(1))?),
            _ => return Err(HexError::Colons),
        }
        offset += part.len() + 1;
    }
    Ok(())
}

/// The octets a person wrote: plain hex, hex after `0x`, hex with colons, or `text:...`.
pub fn decode_any(text: &str) -> Result<Vec<u8>, HexError> {
    if let Some(plain) = text.strip_prefix("text:") {
        return Ok(plain.as_bytes().to_vec());
    }
    if text.contains(':') {
        let mut out = Vec::new();
        decode_colons(text.as_bytes(), |octet| out.push(octet))?;
        return Ok(out);
    }
    decode(text.as_bytes())
}

/// Appends octets as lower-case hex without separators.
pub fn encode_into(octets: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(octets.len() * 2);
    for octet in octets {
        out.push(DIGITS[usize::from(octet >> 4)] as char);
        out.push(DIGITS[usize::from(octet & 15)] as char);
    }
}

/// Octets as lower-case hex without separators.
pub fn encode(octets: &[u8]) -> String {
    let mut out = String::new();
    encode_into(octets, &mut out);
    out
}

/// Octets as lower-case hex with colons.
pub fn encode_colons(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len() * 3);
    for (index, octet) in octets.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        let _ = write!(out, "{colon}{octet:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_hex_is_read_in_either_case_and_after_0x() {
        assert_eq!(decode(b"0aFf"), Ok(vec![0x0a, 0xff]));
        assert_eq!(decode(b"0x0aFf"), Ok(vec![0x0a, 0xff]));
        assert_eq!(decode(b""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_hex_is_told_with_its_offset() {
        assert_eq!(decode(b"0a1"), Err(HexError::Odd));
        assert_eq!(decode(b"0xag"), Err(HexError::Digit(3)));
        assert_eq!(decode_any("01:zz"), Err(HexError::Digit(3)));
        assert_eq!(decode_any("01::02"), Err(HexError::Colons));
        assert_eq!(decode_any("01:"), Err(HexError::Colons));
    }

    #[test]
    fn people_may_write_colons_short_octets_or_text() {
        assert_eq!(decode_any("1:2:aB"), Ok(vec![1, 2, 0xab]));
        assert_eq!(decode_any("text:olt-7"), Ok(b"olt-7".to_vec()));
        assert_eq!(decode_any("0x0102"), Ok(vec![1, 2]));
    }

    #[test]
    fn octets_come_back_as_they_went() {
        let octets: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(encode(&octets).as_bytes()), Ok(octets.clone()));
        assert_eq!(decode_any(&encode_colons(&octets)), Ok(octets));
    }
}
