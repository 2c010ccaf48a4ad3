//! Octets and hardware addresses as people write them.

/// Octets of an identifier: hexadecimal with or without `0x` and with or without colons, or `text:` and plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

/// Reads an identifier for the command line.
pub fn parse(text: &str) -> Result<Octets, String> {
    if let Some(plain) = text.strip_prefix("text:") {
        return Ok(Octets(plain.as_bytes().to_vec()));
    }
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let octets = if digits.contains(':') {
        // With colons a leading zero may be missing: 2:0:5e is 02:00:5e.
        digits
            .split(':')
            .map(|group| {
                if group.len() == 1 {
                    octet(&format!("0{group}"))
                } else {
                    octet(group)
                }
            })
            .collect()
    } else {
        let pairs = digits.as_bytes().chunks(2);
        pairs
            .map(|pair| std::str::from_utf8(pair).map_or(None, octet))
            .collect::<Option<Vec<u8>>>()
    };
    let octets = octets.filter(|octets| !octets.is_empty());
    octets
        .map(Octets)
        .ok_or_else(|| "expected octets in hexadecimal, or text: and plain text".into())
}

fn octet(digits: &str) -> Option<u8> {
    let valid = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    valid.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_is_read() {
        let octets = |text| parse(text).map(|octets| octets.0);
        let expected = Ok(vec![0x02, 0x00, 0x5e]);
        for text in ["02005e", "02005E", "0x02005e", "02:00:5e", "2:0:5e"] {
            assert_eq!(octets(text), expected, "{text}");
        }
        assert_eq!(octets("text:rmt-7"), Ok(b"rmt-7".to_vec()));
        for text in [
            "", "0x", "123", "1g", "02:", "02::5e", "02:005e", "é1", "rmt",
        ] {
            assert!(octets(text).is_err(), "{text}");
        }
    }
}
