//! TLS on a connection: ciphertext in, plaintext out, whole frames in, ciphertext out.
//!
//! rustls does no I/O of its own, so TLS is part of the connection's state machine: the engine moves octets and knows
//! nothing of it. What is held in either direction is bounded whatever the peer sends: about a record of plaintext that
//! nobody has taken yet, the part of a record (or of a handshake message, of at most 64 KiB) that has come, and the
//! ciphertext of what was sealed last.

mod handshakes;

use std::io::{BufRead, Write};
use std::sync::Arc;

use leaseq_wire::frame::{self, Split};
use rustls::{ServerConfig, ServerConnection};

pub(crate) use handshakes::{Handshakes, Place};

/// Octets of plaintext in a record.
const RECORD: usize = 16_384;

/// What came is not TLS, or was tampered with, or the peer has given up. An alert says why, where one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// How messages are laid into TLS records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    /// One message with its length each; a message longer than a record has several of its own (RFC 7724 §5.1).
    OneMessage,
    /// As they come, many in a record (RFC 7653 §6.1 treats TLS as a stream of octets).
    Stream,
}

/// One end of a TLS connection: the server's.
pub(crate) struct Tls {
    connection: ServerConnection,
    records: Records,
    /// Plaintext waits to be taken.
    holds: bool,
    /// close_notify has come.
    peer_ended: bool,
    /// close_notify has been sent, or is about to be.
    ended: bool,
}

impl Tls {
    /// Waits for a ClientHello.
    ///
    /// # Errors
    /// [`Broken`] if the configuration cannot be used.
    pub(crate) fn new(config: Arc<ServerConfig>, records: Records) -> Result<Tls, Broken> {
        let mut connection = ServerConnection::new(config).map_err(|_| Broken)?;
        // Nothing is sealed while ciphertext waits, so what waits is bounded by what is sealed at a time.
        connection.set_buffer_limit(None);
        Ok(Tls {
            connection,
            records,
            holds: false,
            peer_ended: false,
            ended: false,
        })
    }

    /// Whether the handshake is not completed yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes ciphertext, a bounded amount, and gives how much; nothing while plaintext waits to be taken. To be called until
    /// all is taken, with what has come to be read in between taken by [`plaintext`](Self::plaintext).
    ///
    /// # Errors
    /// [`Broken`]: nothing more is to be taken or sealed; [`write`](Self::write) may have an alert to tell.
    pub(crate) fn take(&mut self, mut ciphertext: &[u8]) -> Result<usize, Broken> {
        let offered = ciphertext.len();
        if offered == 0 || self.holds {
            return Ok(0);
        }
        let taken = self.connection.read_tls(&mut ciphertext);
        let state = self.connection.process_new_packets().map_err(|_| Broken)?;
        self.holds = state.plaintext_bytes_to_read() > 0;
        self.peer_ended = state.peer_has_closed();
        match taken {
            // What follows close_notify is ignored (RFC 8446 §6.1).
            Ok(0) if self.peer_ended => Ok(offered),
            // A record that announces more octets than a record may have.
            Ok(0) | Err(_) => Err(Broken),
            Ok(taken) => Ok(taken),
        }
    }

    /// Whether plaintext waits to be taken.
    pub(crate) fn holds_plaintext(&self) -> bool {
        self.holds
    }

    /// Plaintext that has come; the part of it that was taken is to be [consumed](Self::consume).
    pub(crate) fn plaintext(&mut self) -> &[u8] {
        // An error says that there is nothing now, or that the peer has ended.
        self.connection.reader().into_first_chunk().unwrap_or(&[])
    }

    /// Forgets plaintext that was taken.
    pub(crate) fn consume(&mut self, octets: usize) {
        self.connection.reader().consume(octets);
        self.holds = !self.plaintext().is_empty();
    }

    /// Whether the peer has sent close_notify: nothing more comes.
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.peer_ended
    }

    /// Encrypts the whole frames in the first `length` octets of `out` and writes their ciphertext into it; gives how many
    /// octets were written. What does not fit waits to be [written](Self::write). To be called only when nothing waits.
    ///
    /// # Errors
    /// [`Broken`] if it cannot be encrypted.
    pub(crate) fn seal(&mut self, out: &mut [u8], length: usize) -> Result<usize, Broken> {
        // The frames go to the end, so that ciphertext, which is longer, can be written up to what is not encrypted yet:
        // a record at a time, as rustls would keep the memory of a long queue of them.
        let mut next = out.len() - length;
        out.copy_within(..length, next);
        let mut written = 0;
        while next < out.len() {
            let frames = &out[next..];
            let piece = match (self.records, frame::split(frames)) {
                (Records::OneMessage, Split::Frame { consumed, .. }) => consumed,
                _ => frames.len().min(RECORD),
            };
            self.connection
                .writer()
                .write_all(&frames[..piece])
                .map_err(|_| Broken)?;
            next += piece;
            written += self.write(&mut out[written..next]);
        }
        Ok(written)
    }

    /// Sends close_notify, once: nothing is sealed after it.
    pub(crate) fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.connection.send_close_notify();
        }
    }

    /// Whether [`end`](Self::end) was called.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether ciphertext waits to be written.
    pub(crate) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Writes ciphertext that waits; gives how many octets.
    pub(crate) fn write(&mut self, mut out: &mut [u8]) -> usize {
        let mut written = 0;
        // A slice takes what fits and never fails.
        while self.wants_write() && !out.is_empty() {
            match self.connection.write_tls(&mut out) {
                Ok(octets) if octets > 0 => written += octets,
                _ => break,
            }
        }
        written
    }
}
