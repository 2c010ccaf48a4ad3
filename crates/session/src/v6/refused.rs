//! A query whose whole answer is one LEASEQUERY-REPLY with a status.

use leaseq_wire::v6::message_type;
use leaseq_wire::{Full, OutBuf};
use smallvec::SmallVec;

use super::answer::{self, Identity};
use super::request::Refusal;
use crate::CloseReason;
use crate::query::{QueryContext, Quota, RunningQuery, StepEnd};

/// A query that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) xid: u32,
    /// The requestor's DUID; empty if it was not found.
    pub(super) requestor: SmallVec<[u8; 32]>,
    pub(super) refusal: Refusal,
    /// Base-time was asked for.
    pub(super) base_time: bool,
    /// The connection is closed after it.
    pub(super) close: Option<CloseReason>,
}

impl Refused {
    pub(super) fn new(xid: u32, requestor: &[u8], refusal: Refusal) -> Self {
        Self {
            xid,
            requestor: SmallVec::from_slice(requestor),
            refusal,
            base_time: false,
            close: None,
        }
    }
}

impl RunningQuery for Refused {
    fn xid(&self) -> u32 {
        self.xid
    }

    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let identity = Identity {
            server: &cx.settings.dhcp6.server_duid,
            requestor: &self.requestor,
        };
        let base_time = self.base_time.then_some(cx.server_time);
        answer::put_frame(cx, out, quota, |out| {
            answer::put_bare(
                out,
                message_type::LEASEQUERY_REPLY,
                self.xid,
                Some(identity),
                Some(self.refusal),
                base_time,
            )
        })?;
        cx.counters.v6.ended.of(self.refusal.end()).increment();
        Ok(StepEnd::Done {
            empty: true,
            close: self.close,
        })
    }

    /// Its answer is known, and short.
    fn terminate(&mut self, _text: &'static str) {
        self.close = self.close.or(Some(CloseReason::Shutdown));
    }

    fn refuse_duplicate(&mut self) {
        self.refusal = Refusal::duplicate_xid();
        self.close = Some(CloseReason::DuplicateXid);
    }
}
