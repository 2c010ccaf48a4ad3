//! A list of DHCPv6 options: of a message, of a relayed message, of another option.

use crate::{Fault, ParseError};

/// Options that are known not to overrun. Their values are not looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    octets: &'a [u8],
}

impl<'a> Options<'a> {
    /// Reads a list of options. No options at all are fine.
    ///
    /// # Errors
    /// If an option overruns; the place is counted from the first octet of the list.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParseError> {
        let mut at = 0;
        while at < octets.len() {
            let [c0, c1, l0, l1, ref rest @ ..] = octets[at..] else {
                return Err(ParseError::new(Fault::OptionHeader, at));
            };
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            if rest.len() < length {
                let fault = Fault::Overrun {
                    code: u16::from_be_bytes([c0, c1]),
                    length,
                    left: rest.len(),
                };
                return Err(ParseError::new(fault, at));
            }
            at += 4 + length;
        }
        Ok(Self { octets })
    }

    /// The octets it was read from.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// There are no options.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// The value of the first option with this code.
    #[must_use]
    pub fn find(&self, code: u16) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == code)
            .map(|(_, value)| value)
    }

    /// The value of the first option with this code, if it is four octets, as a number.
    #[must_use]
    pub fn find_u32(&self, code: u16) -> Option<u32> {
        self.find(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Whether the option request option (6) in this list names a code.
    #[must_use]
    pub fn requests(&self, code: u16) -> bool {
        self.find(super::option_code::ORO)
            .is_some_and(|value| OroCodes::new(value).any(|c| c == code))
    }

    /// Code and value of each option, in order.
    #[must_use]
    pub fn iter(&self) -> OptionsIter<'a> {
        OptionsIter {
            octets: self.octets,
        }
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = (u16, &'a [u8]);
    type IntoIter = OptionsIter<'a>;

    fn into_iter(self) -> OptionsIter<'a> {
        self.iter()
    }
}

/// Walks options; stops where octets are not one.
#[derive(Clone, Debug)]
pub struct OptionsIter<'a> {
    octets: &'a [u8],
}

impl<'a> OptionsIter<'a> {
    /// Walks octets that nobody has checked: up to the first option that overruns.
    #[must_use]
    pub fn unchecked(octets: &'a [u8]) -> Self {
        Self { octets }
    }
}

impl<'a> Iterator for OptionsIter<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [c0, c1, l0, l1, ref rest @ ..] = *self.octets else {
            return None;
        };
        let (value, rest) = rest.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
        self.octets = rest;
        Some((u16::from_be_bytes([c0, c1]), value))
    }
}

/// The codes that an option request option names. An odd octet at its end is ignored.
#[derive(Clone, Debug)]
pub struct OroCodes<'a> {
    octets: &'a [u8],
}

impl<'a> OroCodes<'a> {
    /// Reads the value of option 6.
    #[must_use]
    pub fn new(value: &'a [u8]) -> Self {
        Self { octets: value }
    }
}

impl Iterator for OroCodes<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (code, rest) = self.octets.split_first_chunk()?;
        self.octets = rest;
        Some(u16::from_be_bytes(*code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_options_and_refuses_what_overruns() {
        let octets = [
            0, 46, 0, 4, 0, 0, 1, 0, 0, 6, 0, 5, 0, 47, 0, 100, 9, 0, 9, 0, 0,
        ];
        let options = Options::parse(&octets).unwrap();
        assert_eq!(options.find_u32(46), Some(256));
        assert_eq!(options.find_u32(9), None);
        assert_eq!(options.find(9), Some(&[][..]));
        assert!(options.requests(47) && options.requests(100) && !options.requests(9));
        assert_eq!(
            options.iter().map(|(code, _)| code).collect::<Vec<_>>(),
            [46, 6, 9]
        );
        let error = Options::parse(&octets[..14]).unwrap_err();
        assert_eq!(
            (error.fault, error.at),
            (
                Fault::Overrun {
                    code: 6,
                    length: 5,
                    left: 2
                },
                8
            )
        );
        assert_eq!(
            Options::parse(&octets[..11]).unwrap_err().fault,
            Fault::OptionHeader
        );
        assert_eq!(OptionsIter::unchecked(&octets[..14]).count(), 1);
        assert!(Options::parse(&[]).unwrap().is_empty());
    }
}
