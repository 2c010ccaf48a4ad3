//! Frames of leasequery over TCP: a message's length in 16 bits, network order, then the message (RFC 6926 §6.1,
//! RFC 5460 §5.1).

use crate::{Full, OutBuf};

/// The longest message that a frame can hold, in octets.
pub const MAX_MESSAGE: usize = 65_535;

/// Octets of a frame before its message.
pub const HEADER: usize = 2;

/// A frame that has been begun and whose length is still to be written. Give it to [`end`] or [`cancel`].
#[must_use = "a frame that is not ended has no length"]
#[derive(Debug)]
pub struct FrameStart {
    at: usize,
}

impl FrameStart {
    /// Offset in the buffer of the frame's first octet.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }
}

/// Begins a frame: leaves room for its length.
///
/// # Errors
/// [`Full`] if not even the length fits.
#[inline(always)]
pub fn begin(out: &mut OutBuf<'_>) -> Result<FrameStart, Full> {
    let at = out.len();
    out.put_u16(0)?;
    Ok(FrameStart { at })
}

/// Ends a frame: everything written since [`begin`] is its message. Returns the octets of the message.
///
/// # Errors
/// [`Full`] if the message is longer than [`MAX_MESSAGE`]; the frame is then taken back as by [`cancel`]. No larger buffer
/// would help.
#[inline(always)]
pub fn end(out: &mut OutBuf<'_>, start: FrameStart) -> Result<usize, Full> {
    let message = out.len().saturating_sub(start.at + HEADER);
    match u16::try_from(message) {
        Ok(length) => {
            out.patch_u16(start.at, length);
            Ok(message)
        }
        Err(_) => {
            cancel(out, start);
            Err(Full)
        }
    }
}

/// Takes a frame back: the buffer is as it was before [`begin`].
#[inline]
pub fn cancel(out: &mut OutBuf<'_>, start: FrameStart) {
    out.truncate(start.at);
}

/// What the beginning of a stream's octets is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// Not a whole frame yet.
    Incomplete {
        /// Octets that are known to be missing: of the length, or of the message.
        need: usize,
    },
    /// A whole frame.
    Frame {
        /// Its message.
        message: &'a [u8],
        /// Octets of the frame, its length included.
        consumed: usize,
    },
    /// A frame without a message: never sent by anyone who speaks the protocol.
    ZeroLength,
}

/// Splits the first frame off the octets of a stream.
#[inline]
#[must_use]
pub fn split(input: &[u8]) -> Split<'_> {
    let Some((length, rest)) = input.split_first_chunk::<HEADER>() else {
        return Split::Incomplete {
            need: HEADER - input.len(),
        };
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 {
        return Split::ZeroLength;
    }
    match rest.get(..length) {
        Some(message) => Split::Frame {
            message,
            consumed: HEADER + length,
        },
        None => Split::Incomplete {
            need: length - rest.len(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_split_again() {
        let mut octets = [0; 64];
        let mut out = OutBuf::new(&mut octets);
        for message in [&b"first"[..], b"second!"] {
            let start = begin(&mut out).unwrap();
            out.put(message).unwrap();
            assert_eq!(end(&mut out, start), Ok(message.len()));
        }
        let Split::Frame { message, consumed } = split(out.as_slice()) else {
            panic!("no frame")
        };
        assert_eq!((message, consumed), (&b"first"[..], 7));
        let rest = &out.as_slice()[consumed..];
        assert_eq!(
            split(rest),
            Split::Frame {
                message: b"second!",
                consumed: 9
            }
        );
        assert_eq!(split(&rest[9..]), Split::Incomplete { need: 2 });
        assert_eq!(split(&rest[..1]), Split::Incomplete { need: 1 });
        assert_eq!(split(&rest[..4]), Split::Incomplete { need: 5 });
        assert_eq!(split(&[0, 0, 9]), Split::ZeroLength);
    }

    #[test]
    fn a_message_longer_than_its_length_can_say_is_taken_back() {
        let mut octets = vec![0; MAX_MESSAGE + 10];
        let mut out = OutBuf::new(&mut octets);
        out.put_u8(7).unwrap();
        let start = begin(&mut out).unwrap();
        assert_eq!(start.offset(), 1);
        out.reserve(MAX_MESSAGE + 1).unwrap();
        assert_eq!(end(&mut out, start), Err(Full));
        assert_eq!(out.as_slice(), [7]);
        let start = begin(&mut out).unwrap();
        out.reserve(MAX_MESSAGE).unwrap();
        assert_eq!(end(&mut out, start), Ok(MAX_MESSAGE));
        assert_eq!(out.as_slice()[..3], [7, 0xff, 0xff]);
        out.truncate(1);
        let start = begin(&mut out).unwrap();
        cancel(&mut out, start);
        assert_eq!(out.as_slice(), [7]);
    }
}
