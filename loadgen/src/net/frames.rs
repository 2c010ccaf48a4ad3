//! Cuts what a server sends into whole messages, so that a fault can show the message that it is about.

use leaseq_requestor::ProtocolFault;
use leaseq_wire::frame::{self, Split};

use crate::net::channel::LinkError;

/// The unfinished frame at the end of what has come: at most a frame's 65,537 octets.
#[derive(Debug, Default)]
pub struct Frames {
    partial: Vec<u8>,
}

impl Frames {
    /// Takes the next octets and hands over each frame that is whole by now, with its header. Frames that lie whole in
    /// `octets` are not copied.
    ///
    /// # Errors
    /// That of `each`, with the message in question, or a frame of zero length.
    pub fn push(
        &mut self,
        mut octets: &[u8],
        each: &mut dyn FnMut(&[u8]) -> Result<(), ProtocolFault>,
    ) -> Result<(), LinkError> {
        loop {
            let is_partial = !self.partial.is_empty();
            let input = if is_partial { &self.partial } else { octets };
            match frame::split(input) {
                Split::ZeroLength => {
                    return Err(LinkError::protocol(ProtocolFault::ZeroLength, input));
                }
                Split::Frame { message, consumed } => {
                    each(&input[..consumed])
                        .map_err(|fault| LinkError::protocol(fault, message))?;
                    if is_partial {
                        // It was completed with exactly the octets that it needed.
                        self.partial.clear();
                    } else {
                        octets = &octets[consumed..];
                    }
                }
                Split::Incomplete { .. } if octets.is_empty() => {
                    // Few relays are within a frame at a time; none keeps room for one.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_do_not_depend_on_the_pieces(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..8),
            cuts in proptest::collection::vec(1_usize..30, 1..60),
            tail in 0_usize..3,
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend((message.len() as u16).to_be_bytes());
                stream.extend(message);
            }
            stream.extend(&[0, 9, 1][..tail]);
            let (mut frames, mut read) = (Frames::default(), Vec::new());
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (piece, later) = rest.split_at(rest.len().min(*cut));
                frames.push(piece, &mut |frame| { read.push(frame[2..].to_vec()); Ok(()) }).unwrap();
                rest = later;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(read, messages);
            prop_assert_eq!(frames.unfinished(), &[0, 9, 1][..tail]);
        }
    }

    #[test]
    fn a_fault_shows_its_message_whole_although_it_came_in_pieces() {
        let mut frames = Frames::default();
        frames.push(&[0, 1, 7, 0, 3, 1], &mut |_| Ok(())).unwrap();
        let wrong = frames.push(&[2, 3, 0, 1, 9], &mut |_| Err(ProtocolFault::UnknownXid(5)));
        let Err(error @ LinkError::Protocol { .. }) = wrong else {
            panic!("{wrong:?}")
        };
        assert_eq!(error.octets(), [1, 2, 3]);
        assert!(error.to_string().contains("0x5"), "{error}");
    }
}
