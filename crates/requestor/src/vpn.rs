//! Which VPN a query asks about or a binding is in, as octets of its own.

use std::fmt;

use leaseq_wire::ParseError;
use leaseq_wire::vss::Vss;

use crate::hex;

/// A VPN identifier: type and information, as RFC 6607 §3.5 has them.
///
/// As text it is a name, or `oui:index` in hexadecimal for an identifier of RFC 2685; empty is the global VPN, `all` any
/// VPN. `text:` before a name makes it a name in any case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Vpn {
    octets: Vec<u8>,
}

impl Vpn {
    /// Copies a VPN identifier.
    #[must_use]
    pub fn new(vss: &Vss<'_>) -> Self {
        let octets = std::iter::once(vss.type_octet()).chain(vss.information().iter().copied());
        Self {
            octets: octets.collect(),
        }
    }

    /// Reads the value of a VSS option.
    ///
    /// # Errors
    /// If it is not a VPN identifier.
    pub fn read(value: &[u8]) -> Result<Self, ParseError> {
        Vss::parse(value).map(|vss| Self::new(&vss))
    }

    /// The identifier as it goes on the wire.
    #[must_use]
    pub fn vss(&self) -> Vss<'_> {
        // Every constructor has checked or made the octets.
        Vss::parse(&self.octets).unwrap_or(Vss::Global)
    }

    /// The VPN that a text names.
    ///
    /// # Errors
    /// If the name is longer than 254 octets or holds a zero octet: what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => return Ok(Self::new(&Vss::Global)),
            "all" => return Ok(Self::new(&Vss::All)),
            _ => {}
        }
        if let Some(id) = rfc2685(text) {
            return Ok(Self::new(&Vss::Rfc2685(&id)));
        }
        let name = text.strip_prefix("text:").unwrap_or(text).as_bytes();
        if name.len() > 254 || name.contains(&0) {
            return Err("expected a VPN's name of at most 254 octets, none of them zero".into());
        }
        Ok(Self::new(&Vss::Ascii(name)))
    }
}

impl fmt::Display for Vpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vss() {
            Vss::Global => Ok(()),
            Vss::All => f.write_str("all"),
            Vss::Rfc2685(id) => write!(f, "{}:{}", hex::encode(&id[..3]), hex::encode(&id[3..])),
            Vss::Ascii(name)
                if name.is_empty() || !name.iter().all(|octet| (0x20..0x7f).contains(octet)) =>
            {
                write!(f, "hex:{}", hex::encode(&self.octets))
            }
            Vss::Ascii(name) => {
                let name = String::from_utf8_lossy(name);
                let ambiguous = name == "all"
                    || rfc2685(&name).is_some()
                    || name.starts_with("text:")
                    || name.starts_with("hex:");
                write!(f, "{}{name}", if ambiguous { "text:" } else { "" })
            }
        }
    }
}

/// `oui:index`, 6 and 8 hexadecimal digits.
fn rfc2685(text: &str) -> Option<[u8; 7]> {
    let (oui, index) = text.split_once(':')?;
    let digits = [oui, index].concat();
    if oui.len() != 6 || index.len() != 8 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    {
        return None;
    }
    let id = u64::from_str_radix(&digits, 16).ok()?;
    id.to_be_bytes()[1..].try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_vpns() {
        assert_eq!(Vpn::parse("").unwrap().vss(), Vss::Global);
        assert_eq!(Vpn::parse("all").unwrap().vss(), Vss::All);
        assert_eq!(Vpn::parse("text:all").unwrap().vss(), Vss::Ascii(b"all"));
        assert_eq!(
            Vpn::parse("00005e:00000102").unwrap().vss(),
            Vss::Rfc2685(&[0, 0, 0x5e, 0, 0, 1, 2])
        );
        assert_eq!(
            Vpn::parse("00005g:00000102").unwrap().vss(),
            Vss::Ascii(b"00005g:00000102")
        );
        assert!(Vpn::parse(&"x".repeat(255)).is_err());
        for text in [
            "blue",
            "",
            "text:all",
            "00005e:00000102",
            "text:00005e:00000102",
            "text:hex:0",
        ] {
            assert_eq!(Vpn::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Vpn::read(&[0, 0xe4]).unwrap().to_string(), "hex:00e4");
        assert!(Vpn::read(&[9]).is_err());
    }
}
