//! DHCP options inside records: writing them with RFC 3396 splits, and walking them.

/// Appends a DHCPv4 option, split into several of at most 255 octets as RFC 3396 says.
pub(super) fn put4(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        out.extend_from_slice(&[code, 0]);
    }
    for part in value.chunks(255) {
        out.extend_from_slice(&[code, part.len() as u8]);
        out.extend_from_slice(part);
    }
}

/// Appends a DHCPv6 option.
pub(super) fn put6(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// Checks that DHCPv4 options fill their octets exactly; with a code given, that all have it.
pub(super) fn check4(octets: &[u8], only: Option<u8>) -> bool {
    let mut at = 0;
    while at < octets.len() {
        let Some(&[code, length]) = octets[at..].first_chunk() else {
            return false;
        };
        if only.is_some_and(|only| only != code) {
            return false;
        }
        at += 2 + usize::from(length);
    }
    at == octets.len()
}

/// Checks that DHCPv6 options fill their octets exactly; with a code given, that there is one at most and has it.
pub(super) fn check6(octets: &[u8], only: Option<u16>) -> bool {
    let mut at = 0;
    while at < octets.len() {
        let Some(&[c0, c1, l0, l1]) = octets[at..].first_chunk() else {
            return false;
        };
        if only.is_some_and(|only| at > 0 || only != u16::from_be_bytes([c0, c1])) {
            return false;
        }
        at += 4 + usize::from(u16::from_be_bytes([l0, l1]));
    }
    at == octets.len()
}

/// DHCPv4 options one after the other, those of one code that follow each other joined (RFC 3396).
pub(super) fn joined4(mut octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut full = false;
    while let Some((&[code, length], rest)) = octets.split_first_chunk() {
        let (value, rest) = rest.split_at(usize::from(length).min(rest.len()));
        match found.last_mut() {
            Some((last, joined)) if full && *last == code => joined.extend_from_slice(value),
            _ => found.push((code, value.to_vec())),
        }
        full = length == 255;
        octets = rest;
    }
    found
}

/// DHCPv6 options one after the other: code and value.
pub(super) fn each6(octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut octets = octets;
    std::iter::from_fn(move || {
        let (&[c0, c1, l0, l1], rest) = octets.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([l0, l1])))?;
        octets = rest;
        Some((u16::from_be_bytes([c0, c1]), value))
    })
}

/// Where the first sub-option of a code lies in the value of option 82: offset and octets of its value.
pub(super) fn suboption(value: &[u8], code: u8) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(&[found, length]) = value.get(at..)?.first_chunk() {
        let length = usize::from(length);
        if at + 2 + length > value.len() {
            return None;
        }
        if found == code && length > 0 {
            return Some((at + 2, length));
        }
        at += 2 + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_split_and_joined() {
        let value: Vec<u8> = (0..600u32).map(|n| n as u8).collect();
        let mut out = Vec::new();
        put4(&mut out, 82, &value);
        put4(&mut out, 83, &[]);
        assert!(check4(&out, None) && !check4(&out, Some(82)) && check4(&out[..606], Some(82)));
        assert_eq!(joined4(&out), vec![(82, value), (83, vec![])]);
    }

    #[test]
    fn suboptions_stop_at_an_overrun() {
        let value = [1, 1, 9, 2, 2, 7, 8, 12, 5, 0];
        assert_eq!(suboption(&value, 2), Some((5, 2)));
        assert_eq!(suboption(&value, 12), None);
        assert_eq!(suboption(&[], 2), None);
    }
}
