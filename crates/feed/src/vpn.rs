//! Names of VPNs as text, for NDJSON, configuration and command line.
//!
//! | text | VSS information (RFC 6607 §3.2, RFC 6926 §6.2.4.1) |
//! |---|---|
//! | empty | the global VPN |
//! | `oui:index`, 6 and 8 hex digits | type 1, an RFC 2685 VPN identifier |
//! | `hex:...` | the octets as they are, type included |
//! | `text:NAME`, or any other text | type 0, an ASCII name |

use leaseq_store::Vpn;

use crate::hex;

/// Longest VSS information that a record can hold, type included.
const MAX_OCTETS: usize = 255;
const TYPE_ASCII: u8 = 0;
const TYPE_RFC2685: u8 = 1;
const OUI_DIGITS: usize = 6;
const INDEX_DIGITS: usize = 8;

/// The VPN that a text names.
pub fn parse(text: &str) -> Result<Vpn, String> {
    if text.is_empty() {
        return Ok(Vpn::GLOBAL);
    }
    if let Some(octets) = rfc2685(text) {
        return build(&octets);
    }
    if let Some(digits) = text.strip_prefix("hex:") {
        return build(&hex::decode(digits.as_bytes()).map_err(|error| error.to_string())?);
    }
    let name = text.strip_prefix("text:").unwrap_or(text);
    let mut octets = vec![TYPE_ASCII];
    octets.extend_from_slice(name.as_bytes());
    build(&octets)
}

/// The text that [`parse`] reads back as this VPN.
pub fn format(vpn: &Vpn) -> String {
    let octets = vpn.vss();
    match octets.split_first() {
        None => String::new(),
        Some((&TYPE_RFC2685, id)) if id.len() == (OUI_DIGITS + INDEX_DIGITS) / 2 => {
            let (oui, index) = id.split_at(OUI_DIGITS / 2);
            format!("{}:{}", hex::encode(oui), hex::encode(index))
        }
        Some((&TYPE_ASCII, name)) if is_plain(name) => {
            let name = String::from_utf8_lossy(name);
            let is_ambiguous =
                rfc2685(&name).is_some() || name.starts_with("text:") || name.starts_with("hex:");
            if is_ambiguous {
                format!("text:{name}")
            } else {
                name.into_owned()
            }
        }
        Some(_) => format!("hex:{}", hex::encode(octets)),
    }
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|octet| (0x20..0x7f).contains(octet))
}

fn rfc2685(text: &str) -> Option<Vec<u8>> {
    let (oui, index) = text.split_once(':')?;
    if oui.len() != OUI_DIGITS || index.len() != INDEX_DIGITS {
        return None;
    }
    let mut octets = vec![TYPE_RFC2685];
    hex::decode_into(oui.as_bytes(), &mut octets).ok()?;
    hex::decode_into(index.as_bytes(), &mut octets).ok()?;
    Some(octets)
}

fn build(octets: &[u8]) -> Result<Vpn, String> {
    if octets.len() > MAX_OCTETS {
        return Err(format!(
            "expected a VPN of at most {MAX_OCTETS} octets, found {}",
            octets.len()
        ));
    }
    Ok(Vpn::from_vss(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_spelling_names_its_vpn() {
        assert_eq!(parse("").unwrap(), Vpn::GLOBAL);
        assert_eq!(parse("red").unwrap().vss(), b"\0red");
        assert_eq!(
            parse("00005e:00000102").unwrap().vss(),
            [1, 0, 0, 0x5e, 0, 0, 1, 2]
        );
        assert_eq!(
            parse("text:00005e:00000102").unwrap().vss(),
            b"\x0000005e:00000102"
        );
        assert_eq!(parse("hex:00ff").unwrap().vss(), [0, 0xff]);
        assert!(parse("hex:0").is_err());
        assert!(parse(&"x".repeat(300)).is_err());
    }

    proptest! {
        #[test]
        fn what_was_formatted_is_read_back(octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            let vpn = Vpn::from_vss(&octets);
            prop_assert_eq!(parse(&format(&vpn)).unwrap(), vpn);
        }
    }
}
