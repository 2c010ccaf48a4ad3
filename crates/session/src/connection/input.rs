//! The part of a frame that has arrived, and a whole frame that has to wait for the requestor's rate.

use leaseq_wire::frame::{self, Split};

use crate::Mono;

/// Octets of the longest frame.
const MAX_FRAME: usize = frame::HEADER + frame::MAX_MESSAGE;

/// Holds memory only while it holds octets, at most one frame's.
#[derive(Debug, Default)]
pub(super) struct Input {
    octets: Vec<u8>,
    /// When the first octet of the frame came.
    since: Mono,
    /// A whole frame is held, and why.
    delay: Option<Delay>,
}

#[derive(Clone, Copy, Debug)]
enum Delay {
    Until(Mono),
    Over,
}

/// What the octets given made up.
pub(super) enum Next<'a> {
    /// A message as it lies in the octets given.
    Direct(&'a [u8]),
    /// A whole frame, put together here.
    Assembled(Vec<u8>),
    /// A frame that announces no octets.
    Empty,
    /// Not a whole frame; all octets were taken.
    Incomplete,
}

impl Input {
    /// When the frame that is not complete yet was begun.
    pub(super) fn partial_since(&self) -> Option<Mono> {
        (!self.octets.is_empty() && self.delay.is_none()).then_some(self.since)
    }

    /// Whether a whole frame is held.
    pub(super) fn is_delayed(&self) -> bool {
        self.delay.is_some()
    }

    /// Until when a whole frame has to wait.
    pub(super) fn delayed_until(&self) -> Option<Mono> {
        match self.delay? {
            Delay::Until(ready) => Some(ready),
            Delay::Over => None,
        }
    }

    /// Whether a whole frame has waited long enough.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.delay, Some(Delay::Over))
    }

    /// Takes octets up to the end of the first frame. Returns how many were taken.
    pub(super) fn take<'a>(&mut self, octets: &'a [u8], now: Mono) -> (usize, Next<'a>) {
        if self.octets.is_empty() {
            return match frame::split(octets) {
                Split::Frame { message, consumed } => (consumed, Next::Direct(message)),
                Split::ZeroLength => (octets.len(), Next::Empty),
                Split::Incomplete { .. } => {
                    self.since = now;
                    self.append(octets);
                    (octets.len(), Next::Incomplete)
                }
            };
        }
        let mut taken = 0;
        // Twice at most: the length has to be complete before the message's end is known.
        loop {
            match frame::split(&self.octets) {
                Split::Frame { .. } => return (taken, Next::Assembled(self.release())),
                Split::ZeroLength => {
                    self.release();
                    return (taken, Next::Empty);
                }
                Split::Incomplete { need } => {
                    let rest = octets.get(taken..).unwrap_or_default();
                    let part = rest.get(..need).unwrap_or(rest);
                    if part.is_empty() {
                        return (taken, Next::Incomplete);
                    }
                    self.append(part);
                    taken += part.len();
                }
            }
        }
    }

    /// Keeps a whole frame back until `ready`.
    pub(super) fn delay(&mut self, frame: Vec<u8>, ready: Mono) {
        self.octets = frame;
        self.delay = Some(Delay::Until(ready));
    }

    /// Ends the wait of a whole frame if it is time.
    pub(super) fn pass_delay(&mut self, now: Mono) {
        if self.delayed_until().is_some_and(|ready| ready <= now) {
            self.delay = Some(Delay::Over);
        }
    }

    /// The frame that has waited long enough.
    pub(super) fn take_due(&mut self) -> Option<Vec<u8>> {
        self.is_due().then(|| self.release())
    }

    /// Forgets what it holds.
    pub(super) fn release(&mut self) -> Vec<u8> {
        self.delay = None;
        std::mem::take(&mut self.octets)
    }

    /// Grows with what has arrived, not with what a frame announces, and never beyond one frame.
    fn append(&mut self, octets: &[u8]) {
        let needed = self.octets.len() + octets.len();
        if needed > self.octets.capacity() {
            let target = (2 * self.octets.capacity()).clamp(needed, MAX_FRAME.max(needed));
            self.octets.reserve_exact(target - self.octets.len());
        }
        self.octets.extend_from_slice(octets);
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.octets.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(input: &mut Input, mut octets: &[u8], chunk: usize) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !octets.is_empty() {
            let (taken, next) = input.take(&octets[..chunk.min(octets.len())], Mono::default());
            octets = &octets[taken..];
            match next {
                Next::Direct(message) => found.push(message.to_vec()),
                Next::Assembled(frame) => found.push(frame[frame::HEADER..].to_vec()),
                Next::Empty => found.push(Vec::new()),
                Next::Incomplete => {}
            }
        }
        found
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let octets = b"\x00\x05first\x00\x01x\x00\x06second";
        for chunk in 1..=octets.len() {
            let mut input = Input::default();
            let found = messages(&mut input, octets, chunk);
            assert_eq!(
                found,
                [&b"first"[..], b"x", b"second"],
                "in chunks of {chunk}"
            );
            assert_eq!(input.capacity(), 0, "nothing is held after the last frame");
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut input = Input::default();
        input.take(&[0xff, 0xff, 1], Mono::default());
        assert!(input.capacity() < 64);
        let rest = vec![7; 65_533];
        for octet in rest.chunks(1_000) {
            input.take(octet, Mono::default());
            assert!(input.capacity() <= MAX_FRAME);
        }
        let (taken, next) = input.take(&[1, 2, 3], Mono::default());
        assert_eq!(taken, 1);
        assert!(matches!(next, Next::Assembled(frame) if frame.len() == MAX_FRAME));
    }

    #[test]
    fn an_empty_frame_is_told_however_it_is_cut() {
        let mut input = Input::default();
        assert!(matches!(
            input.take(&[0, 0, 1], Mono::default()),
            (_, Next::Empty)
        ));
        assert!(matches!(
            input.take(&[0], Mono::default()),
            (1, Next::Incomplete)
        ));
        assert!(matches!(
            input.take(&[0], Mono::default()),
            (1, Next::Empty)
        ));
    }
}
