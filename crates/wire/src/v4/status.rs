//! The value of the status-code option (RFC 6926 §6.2.2).

use super::{OptionValue, StatusCode};

/// A status: its code and a text for people.
#[derive(Clone, Debug)]
pub struct Status<'a> {
    /// The code; may be one that [`StatusCode`] does not know.
    pub code: u8,
    text: OptionValue<'a>,
}

impl<'a> Status<'a> {
    /// Reads the value of option 151. `None` if it has no octets.
    #[must_use]
    pub fn read(value: &OptionValue<'a>) -> Option<Self> {
        let code = value.bytes().next()?;
        Some(Self {
            code,
            text: value.clone(),
        })
    }

    /// The code's meaning, if it is a known one.
    #[must_use]
    pub fn known(&self) -> Option<StatusCode> {
        StatusCode::from_u8(self.code)
    }

    /// The octets of the text: UTF-8 if the sender keeps to the RFC.
    pub fn text(&self) -> impl Iterator<Item = u8> + 'a {
        self.text.bytes().skip(1)
    }
}
