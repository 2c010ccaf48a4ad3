//! Kea's escaping of CSV fields: `&#xHH` (no semicolon) for an octet that would break the line.

/// The octets that an escaped field stands for, in `scratch` if anything was escaped, else the field itself.
///
/// An ampersand that does not begin an escape stands for itself, as Kea reads it.
pub fn unescape<'a>(field: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(first) = memchr::memchr(b'&', field) else {
        return field;
    };
    scratch.clear();
    scratch.extend_from_slice(&field[..first]);
    let mut rest = &field[first..];
    while let Some(at) = memchr::memchr(b'&', rest) {
        scratch.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        match escaped_octet(rest) {
            Some(octet) => {
                scratch.push(octet);
                rest = &rest[5..];
            }
            None => {
                scratch.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    scratch.extend_from_slice(rest);
    scratch
}

fn escaped_octet(text: &[u8]) -> Option<u8> {
    let [b'&', b'#', b'x', high, low, ..] = *text else {
        return None;
    };
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|value| value as u8);
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unescaped(text: &[u8]) -> Vec<u8> {
        unescape(text, &mut Vec::new()).to_vec()
    }

    #[test]
    fn escapes_stand_for_octets_and_other_ampersands_for_themselves() {
        assert_eq!(unescaped(b"plain"), b"plain");
        assert_eq!(unescaped(b"a&#x2cb&#x26c"), b"a,b&c");
        assert_eq!(unescaped(b"caf&#xc3&#xA9"), "caf\u{e9}".as_bytes());
        assert_eq!(unescaped(b"&#x2"), b"&#x2");
        assert_eq!(unescaped(b"&#xzz&&#x2c"), b"&#xzz&,");
    }

    proptest! {
        #[test]
        fn what_was_escaped_comes_back(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let escaped: String = octets
                .iter()
                .map(|octet| match octet {
                    b'&' | b',' | 0..0x20 | 0x7f.. => format!("&#x{octet:02x}"),
                    _ => char::from(*octet).to_string(),
                })
                .collect();
            prop_assert_eq!(unescaped(escaped.as_bytes()), octets);
        }
    }
}
