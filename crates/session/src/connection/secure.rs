//! TLS on a connection (RFC 7724 §8.1, RFC 7653 §9.1): from the answer to DHCPTLS or STARTTLS on, what comes is ciphertext
//! and what is said is sealed.
//!
//! The handshake begins when its first octets come and there is room among the core's handshakes; until then they stay
//! unread. Messages and queries are the same as without TLS: this lies between them and the octets on the wire.

use std::sync::Arc;

use leaseq_wire::frame;

use super::tls_answer::TlsAnswer;
use super::{Connection, Turn};
use crate::Mono;
use crate::counters::CloseReason;
use crate::query::Opened;
use crate::settings::{Family, TlsSettings};
use crate::tls::{Place, Records, Tls};

/// Octets of the longest frame.
const MAX_FRAME: usize = frame::HEADER + frame::MAX_MESSAGE;

/// What messages go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// No message has come yet: the first may ask for TLS.
    Fresh,
    /// Messages come as they are.
    Plain,
    /// Everything after the answer to DHCPTLS or STARTTLS is TLS.
    Secured,
}

/// The TLS side of a connection.
pub(super) struct Secure {
    settings: TlsSettings,
    /// The answer to DHCPTLS or STARTTLS, which is not TLS, is not written yet.
    answering: bool,
    /// When the handshake, or the wait for it, has to be over; none after the handshake.
    until: Option<Mono>,
    /// The handshake's place among the core's.
    place: Option<Place>,
    /// From the first octets of the handshake on.
    tls: Option<Tls>,
    /// Nothing more is taken or sealed.
    broken: bool,
}

impl Secure {
    /// Whether ciphertext may be given to it, as far as TLS is concerned.
    fn wants_ciphertext(&self) -> bool {
        match (&self.tls, &self.place) {
            (Some(tls), _) => !self.broken && !tls.holds_plaintext(),
            (None, Some(place)) => place.is_granted(),
            (None, None) => true,
        }
    }

    fn is_handshaking(&self) -> bool {
        self.until.is_some()
    }
}

impl Connection {
    /// Whether ciphertext is to be taken: for the handshake, or because one more message may be taken.
    fn wants_secured_input(&self, secure: &Secure) -> bool {
        secure.wants_ciphertext() && (self.takes_messages() || self.begins_tls(secure))
    }

    /// While the answer is not written yet the handshake may begin, whatever number of queries may run.
    fn begins_tls(&self, secure: &Secure) -> bool {
        secure.is_handshaking() && self.closing.is_none() && !self.aborted && !self.peer_closed
    }

    /// [`Connection::wants_input`] of a connection on TLS.
    pub(super) fn wants_ciphertext(&self) -> bool {
        self.secure
            .as_deref()
            .is_some_and(|secure| self.wants_secured_input(secure))
    }

    /// What may not be said on the channel that a message came over is not answered (RFC 7724 §8.1, RFC 7653 §9.1).
    pub(super) fn permit(&self, opened: Opened) -> Opened {
        let bulk_required = |tls: &TlsSettings| tls.bulk_required;
        match opened {
            Opened::Tls { .. } | Opened::Close(_) => opened,
            _ if self.channel == Channel::Secured => opened,
            Opened::Stream(_) if !self.settings.active.insecure => {
                Opened::Close(CloseReason::TlsRequired)
            }
            _ if self.settings.tls.as_ref().is_some_and(bulk_required) => {
                Opened::Close(CloseReason::TlsRequired)
            }
            _ => opened,
        }
    }

    /// Answers DHCPTLS or STARTTLS: TLS follows the answer if it is offered and nothing came before (RFC 7724 §8.1). How many
    /// connections or handshakes there are does not matter here.
    pub(super) fn answer_tls(&mut self, xid: u32, is_first: bool, now: Mono) -> TlsAnswer {
        let active = &self.settings.active;
        let insecure = active.enabled && active.insecure;
        let refused = match &self.settings.tls {
            _ if self.channel == Channel::Secured => Some("the connection is on TLS"),
            Some(_) if insecure => Some("the server operates without TLS"),
            Some(_) if !is_first => Some("TLS is to be asked for in the first message"),
            None => Some("TLS is not enabled"),
            Some(settings) => {
                self.channel = Channel::Secured;
                self.secure = Some(Box::new(Secure {
                    settings: settings.clone(),
                    answering: true,
                    until: Some(now + settings.handshake_timeout),
                    place: None,
                    tls: None,
                    broken: false,
                }));
                None
            }
        };
        TlsAnswer {
            family: self.family,
            xid,
            refused,
            close: None,
        }
    }

    /// Takes ciphertext, and the messages in it.
    pub(super) fn receive_secured(&mut self, octets: &[u8], turn: &Turn<'_>) -> usize {
        let Some(mut secure) = self.secure.take() else {
            return 0;
        };
        let taken = self.take_ciphertext(&mut secure, octets, turn);
        self.put_back(secure);
        taken
    }

    /// Writes what is said as ciphertext; before it the answer that TLS begins after.
    pub(super) fn transmit_secured(
        &mut self,
        turn: &Turn<'_>,
        out: &mut [u8],
        target: usize,
    ) -> usize {
        let Some(mut secure) = self.secure.take() else {
            return 0;
        };
        let written = self.seal(&mut secure, turn, out, target);
        self.put_back(secure);
        written
    }

    fn put_back(&mut self, mut secure: Box<Secure>) {
        if self.closing.is_some() {
            secure.place = None;
        }
        if !self.aborted {
            self.secure = Some(secure);
        }
    }

    fn take_ciphertext(&mut self, secure: &mut Secure, octets: &[u8], turn: &Turn<'_>) -> usize {
        if secure.tls.is_none() && !self.begin_handshake(secure, turn.now) {
            return 0;
        }
        let mut taken = 0;
        while self.wants_secured_input(secure)
            && let Some(tls) = &mut secure.tls
        {
            let rest = octets.get(taken..).unwrap_or_default();
            match tls.take(rest) {
                Ok(0) => break,
                Ok(some) => taken += some,
                Err(_) => {
                    self.break_off(secure);
                    return octets.len();
                }
            }
            if secure.until.is_some() && !tls.is_handshaking() {
                (secure.until, secure.place) = (None, None);
                self.idle_since = turn.now;
                self.count().tls_handshakes.increment();
            }
            self.take_plaintext(secure, turn);
        }
        taken
    }

    /// Begins the handshake if there is room for one more; whether it has begun.
    fn begin_handshake(&mut self, secure: &mut Secure, now: Mono) -> bool {
        match &secure.place {
            Some(place) if !place.is_granted() => return false,
            // It was kept waiting, so its time begins now.
            Some(_) => secure.until = Some(now + secure.settings.handshake_timeout),
            None => {
                let most = secure.settings.max_handshakes;
                let place = self.hub.handshakes().enter(self.key, most);
                let granted = place.is_granted();
                secure.place = Some(place);
                if !granted {
                    self.count().tls_delayed.increment();
                    secure.until = Some(now + self.settings.limits.data_timeout);
                    return false;
                }
            }
        }
        let records = match self.family {
            Family::V4 => Records::OneMessage,
            Family::V6 => Records::Stream,
        };
        match Tls::new(Arc::clone(&secure.settings.config), records) {
            Ok(tls) => secure.tls = Some(tls),
            Err(_) => self.break_off(secure),
        }
        secure.tls.is_some()
    }

    /// Takes the messages that have come, as long as messages are to be read.
    fn take_plaintext(&mut self, secure: &mut Secure, turn: &Turn<'_>) {
        let Some(tls) = &mut secure.tls else {
            return;
        };
        while tls.holds_plaintext() && self.takes_messages() {
            let taken = self.take(tls.plaintext(), turn);
            tls.consume(taken);
            if taken == 0 {
                break;
            }
        }
        if tls.peer_has_ended() && !tls.holds_plaintext() && !self.peer_closed {
            self.requestor_ended();
        }
    }

    fn seal(
        &mut self,
        secure: &mut Secure,
        turn: &Turn<'_>,
        out: &mut [u8],
        target: usize,
    ) -> usize {
        let mut written = 0;
        if secure.answering {
            written = self.say(turn, out, target);
            if !self.queries.is_empty() {
                return written;
            }
            secure.answering = false;
        }
        self.take_plaintext(secure, turn);
        let broken = secure.broken;
        let Some(tls) = &mut secure.tls else {
            return written;
        };
        written += tls.write(&mut out[written..]);
        if broken || tls.is_handshaking() || tls.is_ended() || tls.wants_write() {
            return written;
        }
        // Ciphertext is longer than the frames: by a fifth where they are short.
        let rest = &mut out[written..];
        if written < target && rest.len() >= MAX_FRAME {
            let room = target - written;
            let said = self.say(turn, rest, room - room / 5);
            match tls.seal(rest, said) {
                Ok(sealed) => written += sealed,
                Err(_) => {
                    self.break_off(secure);
                    return written;
                }
            }
        }
        if self.closing.is_some() && self.queries.is_empty() {
            tls.end();
        }
        written + tls.write(&mut out[written..])
    }

    /// Nothing more can be said on this connection but why: an alert.
    fn break_off(&mut self, secure: &mut Secure) {
        secure.broken = true;
        self.queries = Vec::new();
        self.close(if secure.is_handshaking() {
            CloseReason::TlsHandshake
        } else {
            CloseReason::TlsBroken
        });
    }

    /// Whether TLS has octets to write, or holds what can be taken now.
    pub(super) fn tls_has_output(&self) -> bool {
        let Some(secure) = self.secure.as_deref() else {
            return false;
        };
        let Some(tls) = &secure.tls else {
            return false;
        };
        let to_end = self.closing.is_some()
            && !secure.broken
            && !secure.is_handshaking()
            && !tls.is_ended()
            && self.queries.is_empty();
        tls.wants_write() || to_end || (tls.holds_plaintext() && self.takes_messages())
    }

    /// When a handshake that is under way, or is waited for, has to be over.
    pub(super) fn handshake_until(&self) -> Option<Mono> {
        self.secure.as_deref().and_then(|secure| secure.until)
    }

    /// Gives the handshake's place to another one.
    pub(super) fn leave_handshakes(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.place = None;
        }
    }
}
