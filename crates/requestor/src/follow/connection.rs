//! One connection of a follower: from the wish for it to its end. Octets and times, no messages.

use std::io;
use std::time::Instant;

use super::{Cause, FollowSettings};
use crate::Family;
use crate::tls::Channel;

/// A connection that is wanted, being made, open or being closed.
#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    pub(super) channel: Channel,
    /// Octets that were handed out last.
    pub(super) handed_out: Vec<u8>,
    /// They must have been sent by then.
    sending: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Wanted,
    Connecting {
        until: Instant,
    },
    /// Connected; TLS is being negotiated until then.
    Securing {
        until: Instant,
    },
    Open {
        heard: Instant,
    },
    Closing,
}

/// What is to be done for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do {
    Connect,
    /// Send what was [handed out](Connection::handed_out).
    Send,
    Close,
    /// Nothing before that time.
    Wait(Instant),
}

impl Connection {
    pub(super) fn new(settings: &FollowSettings, family: Family, xid: u32) -> Self {
        let channel = match &settings.tls {
            Some(client) => Channel::secure(client, family, xid),
            None => Channel::plain(),
        };
        Self {
            state: State::Wanted,
            channel,
            handed_out: Vec::new(),
            sending: None,
        }
    }

    /// What is to be done; an open connection may be silent for `patience`.
    pub(super) fn step(
        &mut self,
        now: Instant,
        settings: &FollowSettings,
        patience: std::time::Duration,
    ) -> Result<Do, Cause> {
        let due = match self.state {
            State::Wanted => {
                let until = now + settings.connect_timeout;
                self.state = State::Connecting { until };
                return Ok(Do::Connect);
            }
            State::Closing => {
                return Ok(match self.hand_out() {
                    true => Do::Send,
                    false => Do::Close,
                });
            }
            State::Connecting { until } => (until, Cause::ConnectTimeout),
            State::Securing { until } => (until, Cause::NoTls),
            State::Open { heard } => (heard + patience, Cause::Silent),
        };
        let (due, cause) = match self.sending {
            Some(by) if by < due.0 => (by, Cause::Blocked),
            _ => due,
        };
        if now >= due {
            return Err(cause);
        }
        if self.is_connected() && self.sending.is_none() && self.hand_out() {
            self.sending = Some(now + settings.send_timeout);
            return Ok(Do::Send);
        }
        Ok(Do::Wait(due))
    }

    fn hand_out(&mut self) -> bool {
        let has_output = self.channel.has_output();
        if has_output {
            self.handed_out = self.channel.take_output();
        }
        has_output
    }

    fn is_connected(&self) -> bool {
        matches!(self.state, State::Securing { .. } | State::Open { .. })
    }

    /// It has been made. Says whether messages can be sent now.
    pub(super) fn connected(&mut self, now: Instant, settings: &FollowSettings) -> bool {
        if let State::Connecting { .. } = self.state {
            let until = now + settings.connect_timeout;
            self.state = match self.channel.is_open() {
                true => State::Open { heard: now },
                false => State::Securing { until },
            };
        }
        self.is_open()
    }

    /// What was handed out has been sent.
    pub(super) fn sent(&mut self) {
        self.sending = None;
        self.handed_out = Vec::new();
    }

    /// Takes octets of the server. Says whether messages can be sent since now.
    pub(super) fn receive(
        &mut self,
        octets: &[u8],
        now: Instant,
        on_octets: &mut dyn FnMut(&[u8]) -> Result<(), Cause>,
    ) -> Result<bool, Cause> {
        if !self.is_connected() {
            return Ok(false);
        }
        let was_open = self.is_open();
        self.channel.receive(octets, on_octets)?;
        if self.channel.is_open() {
            self.state = State::Open { heard: now };
        }
        Ok(!was_open && self.is_open())
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// It is not wanted any more.
    pub(super) fn close(&mut self) {
        self.channel.close();
        self.state = State::Closing;
    }

    /// What it means that it could not be made or has ended; none: that was wanted.
    pub(super) fn lost(&self, error: Option<io::Error>) -> Option<Cause> {
        match self.state {
            State::Wanted | State::Connecting { .. } => Some(Cause::NotConnected(error)),
            State::Securing { .. } => Some(Cause::ClosedBeforeTls(error)),
            State::Open { .. } => Some(Cause::Closed(error)),
            State::Closing => None,
        }
    }
}
