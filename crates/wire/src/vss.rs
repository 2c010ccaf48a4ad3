//! VPN identifiers: Virtual Subnet Selection (RFC 6607 §3.5, wildcard by RFC 6926 §6.2.9), the same octets in option 221
//! of DHCPv4, sub-option 151 of its relay agent information and option 68 of DHCPv6.

use crate::{Fault, Full, OutBuf, ParseError};

/// The most octets that VSS information can take in a DHCPv4 option, its type included.
pub const MAX_LENGTH: usize = 255;

/// Which VPN an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vss<'a> {
    /// Type 0: a name in NVT ASCII, without a zero octet.
    Ascii(&'a [u8]),
    /// Type 1: a VPN identifier of RFC 2685: 3 octets of OUI, 4 of index.
    Rfc2685(&'a [u8; 7]),
    /// Type 254: any VPN. Only in queries.
    All,
    /// Type 255: the global VPN, where addresses are without any of these.
    Global,
}

impl<'a> Vss<'a> {
    /// Reads type and information, the value of the option.
    ///
    /// # Errors
    /// If there is no type, an unknown one, or information that the type cannot have. A name may be empty.
    pub fn parse(value: &'a [u8]) -> Result<Self, ParseError> {
        let Some((&kind, information)) = value.split_first() else {
            return Err(ParseError::new(
                Fault::TooShort {
                    expected: 1,
                    got: 0,
                },
                0,
            ));
        };
        match kind {
            0 if information.contains(&0) => Err(ParseError::new(Fault::VssInformation(kind), 1)),
            0 => Ok(Self::Ascii(information)),
            1 => match <&[u8; 7]>::try_from(information) {
                Ok(id) => Ok(Self::Rfc2685(id)),
                Err(_) => Err(ParseError::new(
                    Fault::Length {
                        expected: 7,
                        got: information.len(),
                    },
                    1,
                )),
            },
            254 | 255 if !information.is_empty() => {
                Err(ParseError::new(Fault::VssInformation(kind), 1))
            }
            254 => Ok(Self::All),
            255 => Ok(Self::Global),
            _ => Err(ParseError::new(Fault::VssType(kind), 0)),
        }
    }

    /// The type octet.
    #[must_use]
    pub fn type_octet(&self) -> u8 {
        match self {
            Self::Ascii(_) => 0,
            Self::Rfc2685(_) => 1,
            Self::All => 254,
            Self::Global => 255,
        }
    }

    /// What follows the type octet.
    #[must_use]
    pub fn information(&self) -> &'a [u8] {
        match self {
            Self::Ascii(name) => name,
            Self::Rfc2685(id) => id.as_slice(),
            Self::All | Self::Global => &[],
        }
    }

    /// Octets of type and information together.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        1 + self.information().len()
    }

    /// Appends type and information: the value of the option, without code and length.
    ///
    /// # Errors
    /// [`Full`] if they do not fit; nothing is written then.
    pub fn put(&self, out: &mut OutBuf<'_>) -> Result<(), Full> {
        let octets = out.reserve(self.encoded_len())?;
        octets[0] = self.type_octet();
        octets[1..].copy_from_slice(self.information());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_read_back() {
        for vss in [
            Vss::Ascii(b"blue"),
            Vss::Ascii(b""),
            Vss::Rfc2685(&[0, 0, 0x5e, 0, 0, 0, 9]),
            Vss::All,
            Vss::Global,
        ] {
            let mut octets = [0; 16];
            let mut out = OutBuf::new(&mut octets);
            vss.put(&mut out).unwrap();
            assert_eq!(out.len(), vss.encoded_len());
            assert_eq!(Vss::parse(out.as_slice()), Ok(vss));
        }
    }

    #[test]
    fn what_no_type_allows_is_refused() {
        assert_eq!(
            Vss::parse(&[]).unwrap_err().fault,
            Fault::TooShort {
                expected: 1,
                got: 0
            }
        );
        assert_eq!(
            Vss::parse(&[0, b'a', 0]).unwrap_err().fault,
            Fault::VssInformation(0)
        );
        assert_eq!(
            Vss::parse(&[1, 2, 3]).unwrap_err().fault,
            Fault::Length {
                expected: 7,
                got: 2
            }
        );
        assert_eq!(
            Vss::parse(&[255, 1]).unwrap_err().fault,
            Fault::VssInformation(255)
        );
        assert_eq!(Vss::parse(&[7]).unwrap_err().fault, Fault::VssType(7));
        assert_eq!(
            Vss::Ascii(b"blue").put(&mut OutBuf::new(&mut [0; 4])),
            Err(Full)
        );
    }
}
