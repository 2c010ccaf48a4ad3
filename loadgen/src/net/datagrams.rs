//! Datagrams of a connected UDP socket by the batch: sendmmsg and recvmmsg over memory that is taken once.
//!
//! `unsafe` is here because the kernel is handed arrays of pointers. They are written anew before each call, from arrays
//! that the batch owns and that do not move during the call.

#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd};

/// Datagrams that a system call moves.
pub const BATCH: usize = 64;

/// The longest answer that is read whole.
const ANSWER: usize = 4_096;

/// What the kernel is told of one batch.
struct Headers {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
}

impl Headers {
    fn new() -> Self {
        // SAFETY: plain structures of C, for which zeros are a value: no name, no control data, no octets.
        let (header, vector) = unsafe { (zeroed(), zeroed()) };
        Self {
            headers: vec![header; BATCH],
            vectors: vec![vector; BATCH],
        }
    }

    fn point(&mut self, at: usize, octets: *mut u8, length: usize) {
        self.vectors[at] = libc::iovec {
            iov_base: octets.cast(),
            iov_len: length,
        };
        let header = &mut self.headers[at].msg_hdr;
        header.msg_iov = &raw mut self.vectors[at];
        header.msg_iovlen = 1;
        header.msg_flags = 0;
    }
}

/// Datagrams that are to be sent.
pub struct Outbox {
    kernel: Headers,
    octets: Vec<u8>,
    /// Where each of them ends in `octets`.
    ends: Vec<usize>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            kernel: Headers::new(),
            octets: Vec::new(),
            ends: Vec::with_capacity(BATCH),
        }
    }
}

impl Outbox {
    /// It must be sent before it takes more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ends.len() >= BATCH
    }

    /// Nothing is to be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Takes a datagram. `false`: it is [full](Self::is_full).
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        if self.is_full() {
            return false;
        }
        self.octets.extend_from_slice(datagram);
        self.ends.push(self.octets.len());
        true
    }

    /// Sends them, without waiting. What the kernel has no room for now stays; what it refuses is gone, as a datagram
    /// may be.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: some have stayed.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<()> {
        let mut first = 0;
        while first < self.ends.len() {
            let count = self.ends.len() - first;
            let mut start = self.start(first);
            for (at, &end) in self.ends[first..].iter().enumerate() {
                // The kernel only reads them.
                let octets = self.octets[start..end].as_ptr().cast_mut();
                self.kernel.point(at, octets, end - start);
                start = end;
            }
            // SAFETY: `count` headers, at most BATCH, each pointing to a vector that points to octets; all of them live
            // in arrays that this call borrows.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    self.kernel.headers.as_mut_ptr(),
                    count as libc::c_uint,
                    (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
                )
            };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => first += sent,
                _ => {
                    let error = io::Error::last_os_error();
                    match error.kind() {
                        io::ErrorKind::WouldBlock => {
                            self.forget(first);
                            return Err(error);
                        }
                        io::ErrorKind::Interrupted => {}
                        // Such as what became of an earlier one, told now: this one is lost.
                        _ => first += 1,
                    }
                }
            }
        }
        self.forget(first);
        Ok(())
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn forget(&mut self, count: usize) {
        let gone = self.start(count);
        self.octets.drain(..gone);
        self.ends.drain(..count);
        for end in &mut self.ends {
            *end -= gone;
        }
    }
}

/// Datagrams that were read in one call.
pub struct Inbox {
    kernel: Headers,
    octets: Vec<u8>,
    received: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            kernel: Headers::new(),
            octets: vec![0; BATCH * ANSWER],
            received: 0,
        }
    }
}

impl Inbox {
    /// Reads what is there, at most [`BATCH`] datagrams, without waiting; says how many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: there is none. Others: what became of a datagram that was sent.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        self.received = 0;
        for (at, octets) in self.octets.chunks_exact_mut(ANSWER).enumerate() {
            self.kernel.point(at, octets.as_mut_ptr(), ANSWER);
        }
        // SAFETY: BATCH headers, each pointing to a vector that points to ANSWER octets; all of them live in arrays that
        // this call borrows mutably.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.kernel.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        self.received = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// The datagrams; one that is longer than is read comes cut, and cannot be read as a message.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let lengths = self.kernel.headers[..self.received]
            .iter()
            .map(|header| (header.msg_len as usize).min(ANSWER));
        let octets = self.octets.chunks_exact(ANSWER);
        octets
            .zip(lengths)
            .map(|(octets, length)| &octets[..length])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    fn pair() -> (UdpSocket, UdpSocket) {
        let (one, other) = (
            UdpSocket::bind("127.0.0.1:0").unwrap(),
            UdpSocket::bind("127.0.0.1:0").unwrap(),
        );
        one.connect(other.local_addr().unwrap()).unwrap();
        other.connect(one.local_addr().unwrap()).unwrap();
        (one, other)
    }

    #[test]
    fn datagrams_come_in_order_and_whole() {
        let (one, other) = pair();
        let (mut outbox, mut inbox) = (Outbox::default(), Inbox::default());
        let datagrams: Vec<Vec<u8>> = (0..BATCH).map(|n| vec![n as u8; n * 7]).collect();
        for datagram in &datagrams {
            assert!(outbox.push(datagram));
        }
        assert!(outbox.is_full() && !outbox.push(&[1]));
        outbox.send(&one).unwrap();
        assert!(outbox.is_empty());
        let mut received: Vec<Vec<u8>> = Vec::new();
        while received.len() < BATCH {
            // Waits for one, so that there is no need to look again and again.
            other.peek(&mut []).unwrap();
            inbox.receive(&other).unwrap();
            received.extend(inbox.datagrams().map(<[u8]>::to_vec));
        }
        assert_eq!(received, datagrams);
        let error = inbox.receive(&other).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_nobody_takes_is_gone_and_the_rest_goes_on() {
        let (one, other) = pair();
        drop(other);
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(&[7; 100]);
            outbox.send(&one).unwrap();
            assert!(outbox.is_empty());
        }
    }

    #[test]
    fn what_is_kept_keeps_its_octets() {
        let mut outbox = Outbox::default();
        for n in 1..=3_u8 {
            outbox.push(&vec![n; usize::from(n)]);
        }
        outbox.forget(2);
        assert_eq!((outbox.octets, outbox.ends), (vec![3; 3], vec![3]));
    }
}
