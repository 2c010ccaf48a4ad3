//! DHCPLEASEQUERYSTATUS: what a stream says beside bindings, and why there is no stream (RFC 7724 §8.2).

use std::net::Ipv4Addr;

use leaseq_store::Stamp;
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::message_type::DHCPLEASEQUERYSTATUS;
use leaseq_wire::v4::{Header, MessageWriter, StatusCode};
use leaseq_wire::{Full, OutBuf, frame};

use crate::counters::CloseReason;
use crate::query::{QueryContext, Quota, RunningQuery, StepEnd};
use crate::v4::bulk;

/// A DHCPLEASEQUERYSTATUS. It carries base-time whatever the requestor asked for: a requestor resumes from the last one
/// that it saw.
pub(super) struct Status {
    pub(super) xid: u32,
    /// Named in the first message of an answer.
    pub(super) server_identifier: Option<Ipv4Addr>,
    pub(super) base: Stamp,
    pub(super) code: StatusCode,
    pub(super) text: &'static str,
}

impl Status {
    /// Writes it as a frame.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; nothing is written then.
    pub(super) fn write(&self, out: &mut OutBuf<'_>) -> Result<(), Full> {
        let start = frame::begin(out)?;
        if self.message(out).is_err() {
            frame::cancel(out, start);
            return Err(Full);
        }
        frame::end(out, start).map(drop)
    }

    fn message(&self, out: &mut OutBuf<'_>) -> Result<(), Full> {
        let mut writer = MessageWriter::start(out, &Header::reply(self.xid), DHCPLEASEQUERYSTATUS)?;
        writer.base_time(UnixSeconds(self.base.seconds()))?;
        if let Some(server) = self.server_identifier {
            writer.server_identifier(server)?;
        }
        writer.status(self.code, self.text)?;
        writer.finish();
        Ok(())
    }
}

/// An active query whose whole answer is an error, after which the connection is closed (RFC 7724 §8.2).
pub(super) struct Refusal {
    xid: u32,
    status: StatusCode,
    text: &'static str,
    pub(super) close: CloseReason,
}

impl Refusal {
    pub(super) fn new(xid: u32, status: StatusCode, text: &'static str) -> Refusal {
        Refusal {
            xid,
            status,
            text,
            close: CloseReason::QueryFailed,
        }
    }
}

impl RunningQuery for Refusal {
    fn xid(&self) -> u32 {
        self.xid
    }

    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        _quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let status = Status {
            xid: self.xid,
            server_identifier: Some(cx.settings.dhcp4.server_identifier),
            base: cx.server_time,
            code: self.status,
            text: self.text,
        };
        status.write(out)?;
        cx.counters.v4.sent_messages.increment();
        cx.counters
            .v4
            .ended
            .of(bulk::ended(self.status))
            .increment();
        Ok(StepEnd::Done {
            empty: true,
            close: Some(self.close),
        })
    }

    /// Its one message says more than that the query is given up.
    fn terminate(&mut self, _text: &'static str) {}

    fn refuse_duplicate(&mut self) {
        self.status = StatusCode::MalformedQuery;
        self.text = bulk::DUPLICATE;
        self.close = CloseReason::DuplicateXid;
    }
}
