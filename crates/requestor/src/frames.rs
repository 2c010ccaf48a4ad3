//! Cuts a stream of octets, which comes in pieces of any size, into messages.

use leaseq_wire::frame::{self, Split};

use crate::{ProtocolError, ProtocolFault};

/// The unfinished frame at the end of what has come so far: at most a frame's 65,537 octets.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    partial: Vec<u8>,
    /// Octets of the stream before `partial`.
    offset: u64,
}

impl Frames {
    /// Takes the next octets and hands over each message that is whole by now. Messages that lie whole in `octets` are
    /// not copied.
    pub(crate) fn push(
        &mut self,
        mut octets: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), ProtocolFault>,
    ) -> Result<(), ProtocolError> {
        loop {
            let at = |fault| ProtocolError {
                fault,
                offset: self.offset,
            };
            let input = if self.partial.is_empty() {
                octets
            } else {
                &self.partial
            };
            match frame::split(input) {
                Split::ZeroLength => return Err(at(ProtocolFault::ZeroLength)),
                Split::Frame { message, consumed } => {
                    each(message).map_err(at)?;
                    self.offset += consumed as u64;
                    if self.partial.is_empty() {
                        octets = &octets[consumed..];
                    } else {
                        // It was completed with exactly the octets that it needed.
                        self.partial.clear();
                    }
                }
                Split::Incomplete { .. } if octets.is_empty() => return Ok(()),
                Split::Incomplete { need } => {
                    let taken = if self.partial.is_empty() {
                        octets.len()
                    } else {
                        need.min(octets.len())
                    };
                    self.partial.extend_from_slice(&octets[..taken]);
                    octets = &octets[taken..];
                }
            }
        }
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
                frames.push(piece, |message| { read.push(message.to_vec()); Ok(()) }).unwrap();
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(read, messages);
            prop_assert_eq!((frames.offset, frames.partial.len()), (whole, tail));
        }
    }

    #[test]
    fn faults_tell_where_their_frame_begins() {
        let mut frames = Frames::default();
        frames.push(&[0, 1, 7, 0], |_| Ok(())).unwrap();
        let error = frames.push(&[0, 5], |_| Ok(())).unwrap_err();
        assert_eq!(
            error,
            ProtocolError {
                fault: ProtocolFault::ZeroLength,
                offset: 3
            }
        );
        let mut frames = Frames::default();
        let mut count = 0;
        let error = frames.push(&[0, 1, 7, 0, 1, 8, 0, 1, 9], |_| {
            count += 1;
            if count == 2 {
                Err(ProtocolFault::SecondReply)
            } else {
                Ok(())
            }
        });
        assert_eq!(
            error,
            Err(ProtocolError {
                fault: ProtocolFault::SecondReply,
                offset: 3
            })
        );
    }
}
