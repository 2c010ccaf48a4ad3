//! The relay agent information option (RFC 3046 §2): its sub-options.

use crate::{Fault, ParseError};

/// The sub-options of one option 82, known not to overrun. The option's value has to be in one piece; see
/// [`OptionValue::contiguous`](super::OptionValue::contiguous).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayInfo<'a> {
    octets: &'a [u8],
}

impl<'a> RelayInfo<'a> {
    /// Reads the value of option 82. No sub-options at all are fine.
    ///
    /// # Errors
    /// If a sub-option overruns.
    pub fn parse(octets: &'a [u8]) -> Result<Self, ParseError> {
        let mut at = 0;
        while at < octets.len() {
            let [code, length, ref rest @ ..] = octets[at..] else {
                return Err(ParseError::new(Fault::OptionHeader, at));
            };
            if rest.len() < length.into() {
                let fault = Fault::Overrun {
                    code: code.into(),
                    length: length.into(),
                    left: rest.len(),
                };
                return Err(ParseError::new(fault, at));
            }
            at += 2 + usize::from(length);
        }
        Ok(Self { octets })
    }

    /// The octets it was read from.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The first sub-option with this code.
    #[must_use]
    pub fn find(&self, code: u8) -> Option<&'a [u8]> {
        self.iter()
            .find(|(found, _)| *found == code)
            .map(|(_, value)| value)
    }

    /// Code and value of each sub-option, in order.
    #[must_use]
    pub fn iter(&self) -> SubOptions<'a> {
        SubOptions {
            octets: self.octets,
        }
    }
}

impl<'a> IntoIterator for RelayInfo<'a> {
    type Item = (u8, &'a [u8]);
    type IntoIter = SubOptions<'a>;

    fn into_iter(self) -> SubOptions<'a> {
        self.iter()
    }
}

/// Walks sub-options; stops where octets are not one.
#[derive(Clone, Debug)]
pub struct SubOptions<'a> {
    octets: &'a [u8],
}

impl<'a> SubOptions<'a> {
    /// Walks octets that nobody has checked: up to the first sub-option that overruns.
    #[must_use]
    pub fn unchecked(octets: &'a [u8]) -> Self {
        Self { octets }
    }
}

impl<'a> Iterator for SubOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [code, length, ref rest @ ..] = *self.octets else {
            return None;
        };
        let (value, rest) = rest.split_at_checked(length.into())?;
        self.octets = rest;
        Some((code, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v4::suboption::{CIRCUIT_ID, RELAY_ID, REMOTE_ID};

    #[test]
    fn finds_sub_options() {
        let info = RelayInfo::parse(&[1, 2, 0xaa, 0xbb, 12, 0, 2, 1, 7, 2, 1, 8]).unwrap();
        assert_eq!(info.find(CIRCUIT_ID), Some(&[0xaa, 0xbb][..]));
        assert_eq!(info.find(RELAY_ID), Some(&[][..]));
        assert_eq!(info.find(REMOTE_ID), Some(&[7][..]));
        assert_eq!(info.find(99), None);
        assert_eq!(info.iter().count(), 4);
        assert_eq!(RelayInfo::parse(&[]).unwrap().iter().count(), 0);
    }

    #[test]
    fn refuses_what_overruns() {
        let error = RelayInfo::parse(&[1, 1, 0, 2, 3, 1, 2]).unwrap_err();
        assert_eq!(
            (error.fault, error.at),
            (
                Fault::Overrun {
                    code: 2,
                    length: 3,
                    left: 2
                },
                3
            )
        );
        assert_eq!(
            RelayInfo::parse(&[1, 0, 2]).unwrap_err().fault,
            Fault::OptionHeader
        );
        assert_eq!(SubOptions::unchecked(&[1, 1, 0, 2, 3, 1, 2]).count(), 1);
    }
}
