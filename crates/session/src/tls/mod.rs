//! TLS on a connection: ciphertext in, plaintext out, whole frames in, ciphertext out.
//!
//! rustls does no I/O of its own, so TLS is part of the connection's state machine: the engine moves octets and knows
//! nothing of it. What is held in either direction is bounded whatever the peer sends: about a record of plaintext that
//! nobody has taken yet, the part of a record (or of a handshake message, of at most 64 KiB) that has come, and the
//! ciphertext of what was sealed last. An idle connection holds no buffer: they are this module's own, and rustls has none.

mod handshakes;

use std::sync::Arc;

use leaseq_wire::frame::{self, Split};
use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};

pub(crate) use handshakes::{Handshakes, Place};

/// Octets of plaintext in a record.
const RECORD: usize = 16_384;
/// Ciphertext that is looked at in one go.
const LOOK: usize = 4_096;
/// Ciphertext that may be held: the longest handshake message and what came with its end.
const MAX_INCOMING: usize = 65_535 + LOOK;

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
    connection: UnbufferedServerConnection,
    records: Records,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    plaintext: Queue,
    outgoing: Queue,
    /// close_notify has come.
    peer_ended: bool,
    /// close_notify has been sent, or is about to be.
    ended: bool,
}

/// Octets that wait to be taken from the front; without octets it holds no memory.
#[derive(Default)]
struct Queue {
    octets: Vec<u8>,
    taken: usize,
}

impl Queue {
    fn waiting(&self) -> &[u8] {
        self.octets.get(self.taken..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    fn take(&mut self, octets: usize) {
        self.taken += octets;
        if self.taken >= self.octets.len() {
            *self = Queue::default();
        }
    }

    /// Has `fill` write behind what waits: given room, it writes that many octets at most, or says how much it needs.
    fn append(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, Room>,
    ) -> Result<(), Broken> {
        let end = self.octets.len();
        let mut room = 0;
        // Told once how much is needed, it fits.
        for _ in 0..2 {
            self.octets.resize(end + room, 0);
            match fill(&mut self.octets[end..]) {
                Ok(written) => {
                    self.octets.truncate(end + written);
                    return Ok(());
                }
                Err(Room::Needs(octets)) => room = octets,
                Err(Room::Broken) => break,
            }
        }
        self.octets.truncate(end);
        Err(Broken)
    }
}

/// Why nothing was written.
enum Room {
    /// It takes so many octets.
    Needs(usize),
    Broken,
}

impl From<EncodeError> for Room {
    fn from(error: EncodeError) -> Room {
        match error {
            EncodeError::InsufficientSize(size) => Room::Needs(size.required_size),
            EncodeError::AlreadyEncoded => Room::Broken,
        }
    }
}

impl From<EncryptError> for Room {
    fn from(error: EncryptError) -> Room {
        match error {
            EncryptError::InsufficientSize(size) => Room::Needs(size.required_size),
            EncryptError::EncryptExhausted => Room::Broken,
        }
    }
}

/// What one look at the ciphertext led to.
enum Look {
    /// There may be more to do.
    Again,
    /// Nothing more, until more ciphertext comes.
    Done,
}

impl Tls {
    /// Waits for a ClientHello.
    ///
    /// # Errors
    /// [`Broken`] if the configuration cannot be used.
    pub(crate) fn new(config: Arc<ServerConfig>, records: Records) -> Result<Tls, Broken> {
        Ok(Tls {
            connection: UnbufferedServerConnection::new(config).map_err(|_| Broken)?,
            records,
            incoming: Vec::new(),
            plaintext: Queue::default(),
            outgoing: Queue::default(),
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
    pub(crate) fn take(&mut self, ciphertext: &[u8]) -> Result<usize, Broken> {
        if !self.plaintext.is_empty() {
            return Ok(0);
        }
        if self.peer_ended {
            // What follows close_notify is ignored (RFC 8446 §6.1).
            return Ok(ciphertext.len());
        }
        let taken = ciphertext.len().min(LOOK);
        let held = self.incoming.len() + taken;
        if held > MAX_INCOMING {
            return Err(Broken);
        }
        self.incoming.extend_from_slice(&ciphertext[..taken]);
        let looked = self.look_until_done();
        if looked.is_err() || self.peer_ended || self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        looked.map(|()| taken)
    }

    /// Looks at the ciphertext as long as something comes of it. Each look takes a record, or a message that waits.
    fn look_until_done(&mut self) -> Result<(), Broken> {
        loop {
            match self.look() {
                Ok(Look::Again) => {}
                Ok(Look::Done) => return Ok(()),
                Err(Broken) => {
                    // What is left is to tell why. rustls must not look at what came again: it is in no state for that.
                    while self.connection.wants_write() && self.look().is_ok() {}
                    return Err(Broken);
                }
            }
        }
    }

    fn look(&mut self) -> Result<Look, Broken> {
        let UnbufferedStatus {
            mut discard, state, ..
        } = self.connection.process_tls_records(&mut self.incoming);
        let look = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut look = Ok(Look::Again);
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            self.plaintext.octets.extend_from_slice(record.payload);
                        }
                        Err(_) => look = Err(Broken),
                    }
                }
                look
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                encode(&mut self.outgoing, &mut data).map(|()| Look::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                Ok(Look::Again)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.peer_ended = true;
                Ok(Look::Done)
            }
            Ok(
                ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_)
                | ConnectionState::Closed,
            ) => Ok(Look::Done),
            // Early data is never accepted, and there are no other states.
            Ok(_) | Err(_) => Err(Broken),
        };
        self.incoming.drain(..discard.min(self.incoming.len()));
        look
    }

    /// Whether plaintext waits to be taken.
    pub(crate) fn holds_plaintext(&self) -> bool {
        !self.plaintext.is_empty()
    }

    /// Plaintext that has come; the part of it that was taken is to be [consumed](Self::consume).
    pub(crate) fn plaintext(&self) -> &[u8] {
        self.plaintext.waiting()
    }

    /// Forgets plaintext that was taken.
    pub(crate) fn consume(&mut self, octets: usize) {
        self.plaintext.take(octets);
    }

    /// Whether the peer has sent close_notify: nothing more comes.
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.peer_ended
    }

    /// Encrypts the whole frames in the first `length` octets of `out` and writes their ciphertext into it; gives how many
    /// octets were written. What does not fit waits to be [written](Self::write). To be called only when nothing waits, and
    /// not before the handshake is completed.
    ///
    /// # Errors
    /// [`Broken`] if it cannot be encrypted: rustls wants no more to be encrypted with the keys of TLS 1.2.
    pub(crate) fn seal(&mut self, out: &mut [u8], length: usize) -> Result<usize, Broken> {
        if length == 0 {
            return Ok(0);
        }
        let UnbufferedStatus {
            state: Ok(ConnectionState::WriteTraffic(mut traffic)),
            ..
        } = self.connection.process_tls_records(&mut self.incoming)
        else {
            return Err(Broken);
        };
        // The frames go to the end, so that ciphertext, which is longer, can be written up to what is not encrypted yet.
        let mut next = out.len() - length;
        out.copy_within(..length, next);
        let mut written = 0;
        while next < out.len() {
            let (free, frames) = out.split_at_mut(next);
            let piece = match (self.records, frame::split(frames)) {
                (Records::OneMessage, Split::Frame { consumed, .. }) => consumed,
                _ => frames.len().min(RECORD),
            };
            let frame = &frames[..piece];
            let sealed = if self.outgoing.is_empty() {
                traffic
                    .encrypt(frame, &mut free[written..])
                    .map_err(Room::from)
            } else {
                Err(Room::Needs(0))
            };
            match sealed {
                Ok(octets) => written += octets,
                Err(Room::Needs(_)) => self
                    .outgoing
                    .append(|room| Ok(traffic.encrypt(frame, room)?))?,
                Err(Room::Broken) => return Err(Broken),
            }
            next += piece;
        }
        Ok(written)
    }

    /// Sends close_notify, once: nothing is sealed after it.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if let UnbufferedStatus {
            state: Ok(ConnectionState::WriteTraffic(mut traffic)),
            ..
        } = self.connection.process_tls_records(&mut self.incoming)
        {
            // If it cannot be said, the connection is closed without.
            let _ = self
                .outgoing
                .append(|room| Ok(traffic.queue_close_notify(room)?));
        }
    }

    /// Whether [`end`](Self::end) was called.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether ciphertext waits to be written.
    pub(crate) fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Writes ciphertext that waits; gives how many octets.
    pub(crate) fn write(&mut self, out: &mut [u8]) -> usize {
        let waiting = self.outgoing.waiting();
        let octets = waiting.len().min(out.len());
        out[..octets].copy_from_slice(&waiting[..octets]);
        self.outgoing.take(octets);
        octets
    }
}

fn encode(
    outgoing: &mut Queue,
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
) -> Result<(), Broken> {
    outgoing.append(|room| Ok(data.encode(room)?))
}
