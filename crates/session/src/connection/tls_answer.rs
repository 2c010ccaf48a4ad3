//! The answer to DHCPTLS (RFC 7724 §8.1) and STARTTLS (RFC 7653 §9.1): TLS begins, or it is refused.

use leaseq_wire::v4::message_type::DHCPTLS;
use leaseq_wire::v4::{self, Header};
use leaseq_wire::v6::{self, message_type};
use leaseq_wire::{Full, OutBuf, frame};

use crate::counters::CloseReason;
use crate::query::{QueryContext, Quota, RunningQuery, StepEnd};
use crate::settings::Family;

/// An answer that is still to be written.
pub(super) struct TlsAnswer {
    pub(super) family: Family,
    pub(super) xid: u32,
    /// Why TLS is refused; without a reason it begins right after the answer.
    pub(super) refused: Option<&'static str>,
    /// The connection is to be closed after it.
    pub(super) close: Option<CloseReason>,
}

impl TlsAnswer {
    fn put(&self, cx: &QueryContext<'_>, out: &mut OutBuf<'_>) -> Result<(), Full> {
        match self.family {
            Family::V4 => {
                let mut message = v4::MessageWriter::start(out, &Header::reply(self.xid), DHCPTLS)?;
                if let Some(reason) = self.refused {
                    message.server_identifier(cx.settings.dhcp4.server_identifier)?;
                    message.status(v4::StatusCode::TlsConnectionRefused, reason)?;
                }
                message.finish();
            }
            Family::V6 => {
                let mut message = v6::MessageWriter::start(out, message_type::REPLY, self.xid)?;
                message.server_id(&cx.settings.dhcp6.server_duid)?;
                if let Some(reason) = self.refused {
                    message.status(v6::StatusCode::TlsConnectionRefused, reason)?;
                }
                message.finish();
            }
        }
        Ok(())
    }
}

impl RunningQuery for TlsAnswer {
    fn xid(&self) -> u32 {
        self.xid
    }

    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        _quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let start = frame::begin(out)?;
        if self.put(cx, out).is_err() {
            frame::cancel(out, start);
            return Err(Full);
        }
        frame::end(out, start)?;
        cx.counters.of(self.family).sent_messages.increment();
        Ok(StepEnd::Done {
            empty: false,
            close: self.close,
        })
    }

    /// It is said in any case: it is short, and known.
    fn terminate(&mut self, _text: &'static str) {}

    fn refuse_duplicate(&mut self) {
        self.refused = Some("the transaction id of a query that is still running");
        self.close = Some(CloseReason::DuplicateXid);
    }
}
