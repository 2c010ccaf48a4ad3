//! Cuts a stream of octets, which comes in pieces of any size, into messages.

use leaseq_wire::frame::{self, Split};
use thiserror::Error;

use crate::{ProtocolError, ProtocolFault};

/// The unfinished frame at the end of what has come so far: at most a frame's 65,537 octets.
///
/// The cores of this crate cut their streams themselves. Whoever wants to show the message that a fault is about cuts the
/// stream before, and hands each whole frame to a core.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
    /// Octets of the stream before `partial`.
    offset: u64,
}

/// A whole frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// All of it, with the two octets of its length.
    pub octets: &'a [u8],
    /// The message in it.
    pub message: &'a [u8],
}

/// A breach of the protocol, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{error}")]
pub struct FrameError {
    /// What it is, and where.
    pub error: ProtocolError,
    /// The message that it is about; of a frame of zero length what has come of the stream from there on.
    pub message: Vec<u8>,
}

impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> Self {
        error.error
    }
}

impl Frames {
    /// Takes the next octets and hands over each frame that is whole by now. Frames that lie whole in `octets` are not
    /// copied.
    ///
    /// # Errors
    /// The first fault of `each`, or a frame of zero length.
    pub fn push(
        &mut self,
        mut octets: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Result<(), ProtocolFault>,
    ) -> Result<(), FrameError> {
        loop {
            let failed = |fault, message: &[u8]| FrameError {
                error: ProtocolError {
                    fault,
                    offset: self.offset,
                },
                message: message.to_vec(),
            };
            let is_partial = !self.partial.is_empty();
            let input = if is_partial { &self.partial } else { octets };
            match frame::split(input) {
                Split::ZeroLength => return Err(failed(ProtocolFault::ZeroLength, input)),
                Split::Frame { message, consumed } => {
                    let frame = Frame {
                        octets: &input[..consumed],
                        message,
                    };
                    each(frame).map_err(|fault| failed(fault, message))?;
                    self.offset += consumed as u64;
                    if is_partial {
                        // It was completed with exactly the octets that it needed.
                        self.partial.clear();
                    } else {
                        octets = &octets[consumed..];
                    }
                }
                Split::Incomplete { .. } if octets.is_empty() => {
                    // Few connections are within a frame at a time; none keeps room for one.
                    if self.partial.is_empty() {
                        self.partial = Vec::new();
                    }
                    return Ok(());
                }
                Split::Incomplete { need } => {
                    let taken = match is_partial {
                        true => need.min(octets.len()),
                        false => octets.len(),
                    };
                    self.partial.extend_from_slice(&octets[..taken]);
                    octets = &octets[taken..];
                }
            }
        }
    }

    /// Octets of a frame that is not whole.
    #[must_use]
    pub fn unfinished(&self) -> &[u8] {
        &self.partial
    }

    /// The stream has ended while this many queries had not.
    pub(crate) fn closed(&self, queries: usize) -> Result<(), ProtocolError> {
        let octets = self.partial.len();
        if queries == 0 && octets == 0 {
            return Ok(());
        }
        Err(ProtocolError {
            fault: ProtocolFault::Closed { queries, octets },
            offset: self.offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_do_not_depend_on_the_pieces(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..8),
            cuts in proptest::collection::vec(1_usize..30, 1..60),
            tail in 0_usize..3,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend((message.len() as u16).to_be_bytes());
                stream.extend(message);
            }
            let whole = stream.len() as u64;
            stream.extend(&[0, 9, 1][..tail]);
            let mut frames = Frames::default();
            let mut read = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, later) = rest.split_at(rest.len().min(*cut));
                frames.push(piece, |frame| {
                    assert_eq!(&frame.octets[2..], frame.message);
                    read.push(frame.message.to_vec());
                    Ok(())
                }).unwrap();
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(read, messages);
            prop_assert_eq!((frames.offset, frames.unfinished()), (whole, &[0, 9, 1][..tail]));
        }
    }

    #[test]
    fn faults_tell_where_their_frame_begins() {
        let mut frames = Frames::default();
        frames.push(&[0, 1, 7, 0], |_| Ok(())).unwrap();
        let failed = frames.push(&[0, 5], |_| Ok(())).unwrap_err();
        assert_eq!(
            failed,
            FrameError {
                error: ProtocolError {
                    fault: ProtocolFault::ZeroLength,
                    offset: 3
                },
                message: vec![0, 0],
            }
        );
        let mut frames = Frames::default();
        let mut count = 0;
        let failed = frames.push(&[0, 1, 7, 0, 1, 8, 0, 1, 9], |_| {
            count += 1;
            if count == 2 {
                Err(ProtocolFault::SecondReply)
            } else {
                Ok(())
            }
        });
        let error = ProtocolError {
            fault: ProtocolFault::SecondReply,
            offset: 3,
        };
        let failed = failed.unwrap_err();
        assert_eq!((failed.error, failed.message.as_slice()), (error, &[8][..]));
    }

    #[test]
    fn a_fault_shows_its_message_whole_although_it_came_in_pieces() {
        let mut frames = Frames::default();
        frames.push(&[0, 1, 7, 0, 3, 1], |_| Ok(())).unwrap();
        let failed = frames.push(&[2, 3, 0, 1, 9], |_| Err(ProtocolFault::UnknownXid(5)));
        let failed = failed.unwrap_err();
        assert_eq!(failed.message, [1, 2, 3]);
        assert!(failed.to_string().contains("0x5"), "{failed}");
    }
}
