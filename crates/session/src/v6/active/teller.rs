//! The messages of an active stream: one LEASEQUERY-REPLY that says at once how the query was taken, without a client, then
//! LEASEQUERY-DATA, and LEASEQUERY-DONE if the server ends it (RFC 7653 §6.2.3, §9.3).
//!
//! A client whose leases do not fit into one message is told in several, as in bulk leasequery.

use leaseq_store::{Group, Record, Stamp};
use leaseq_wire::v6::{StatusCode, message_type};
use leaseq_wire::{Full, OutBuf, frame};
use smallvec::SmallVec;

use super::change::Change;
use super::filter::Filter;
use super::request::Request;
use crate::active::{Say, Scope, Teller, Told};
use crate::query::QueryContext;
use crate::v6::answer::{self, Form, Identity};
use crate::v6::client_data::Share;
use crate::v6::request::Refusal;

/// Tells clients on links.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    form: Form,
    requestor: SmallVec<[u8; 32]>,
    filter: Filter,
}

impl Clients {
    pub(super) fn new(xid: u32, requestor: &[u8], request: Request<'_>) -> Self {
        Self {
            form: Form::of(xid, request.base_time, request.wanted, request.vss),
            requestor: SmallVec::from_slice(requestor),
            filter: request.filter,
        }
    }

    /// Writes as many messages as the change takes.
    fn put(
        &self,
        change: &Change<'_, '_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full> {
        let mut written = Told::default();
        let mut after = None;
        loop {
            let start = frame::begin(out)?;
            let share = Share {
                after,
                limit: out.len() + frame::MAX_MESSAGE,
            };
            self.form.put_before_client(out, base, change.vpn)?;
            let told = change.put(out, self.form.wanted(), share)?;
            if told.leases == 0 {
                frame::cancel(out, start);
                return Ok(written);
            }
            frame::end(out, start)?;
            written.messages += 1;
            written.bindings += told.leases;
            if told.complete {
                return Ok(written);
            }
            after = told.last;
        }
    }
}

impl Teller for Clients {
    fn scope(&self) -> Scope<'_> {
        self.filter.scope()
    }

    fn shared_form(&self) -> Option<Vec<u8>> {
        self.filter.is_whole_family().then(|| {
            let mut octets = Vec::new();
            self.form.identify(&mut octets);
            octets
        })
    }

    fn with_xid(&self, xid: u32) -> Box<dyn Teller> {
        Box::new(Self {
            form: self.form.with_xid(xid),
            ..self.clone()
        })
    }

    fn may_concern(&self, record: &Record<'_>) -> bool {
        self.filter.may_concern(record)
    }

    fn record(
        &mut self,
        cx: &QueryContext<'_>,
        record: &Record<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full> {
        if !self.filter.may_concern(record) {
            return Ok(Told::default());
        }
        let mut group = Group::default();
        let found = match record {
            Record::Bind6(lease) => cx.view.group_of(lease, &mut group),
            Record::Departed6(departed) => {
                cx.view.group_of_departed(departed, &mut group);
                true
            }
            _ => false,
        };
        let examined = group.members.len() as u32;
        let change = match record {
            Record::Bind6(lease) if found => {
                Change::of_lease(cx, &self.filter, lease, base, &mut group)
            }
            Record::Departed6(departed) => {
                Change::of_departed(cx, &self.filter, departed, base, &mut group)
            }
            _ => None,
        };
        let start = out.len();
        let told = match change {
            Some(change) => self
                .put(&change, base, out)
                .inspect_err(|Full| out.truncate(start))?,
            None => Told::default(),
        };
        Ok(Told { examined, ..told })
    }

    fn say(
        &mut self,
        cx: &QueryContext<'_>,
        say: Say,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<u32, Full> {
        let identity = Identity {
            server: &cx.settings.dhcp6.server_duid,
            requestor: &self.requestor,
        };
        let data_missing = Refusal::new(
            StatusCode::DataMissing,
            "changes since the time asked for are no longer known in full",
        );
        let asked_base_time = self.form.asked_base_time(base);
        let (message_type, identity, status, base_time) = match say {
            Say::Begin {
                data_missing: false,
            } => {
                let kind = message_type::LEASEQUERY_REPLY;
                (kind, Some(identity), None, asked_base_time)
            }
            // RFC 7653 §8.4.1 has base-time in DataMissing, and §8.4 in QueryTerminated, whether it was asked for or not: the
            // requestor's next query begins with it.
            Say::Begin { data_missing: true } => {
                let kind = message_type::LEASEQUERY_REPLY;
                (kind, Some(identity), Some(data_missing), Some(base))
            }
            Say::DataMissing => {
                let kind = message_type::LEASEQUERY_DATA;
                (kind, None, Some(data_missing), Some(base))
            }
            Say::Keepalive => (message_type::LEASEQUERY_DATA, None, None, asked_base_time),
            Say::CatchUpComplete => {
                let text = "everything since the time asked for has been told";
                let status = Refusal::new(StatusCode::CatchUpComplete, text);
                let kind = message_type::LEASEQUERY_DATA;
                (kind, None, Some(status), asked_base_time)
            }
            Say::Terminated(text) => {
                let status = Refusal::terminated(text);
                (
                    message_type::LEASEQUERY_DONE,
                    None,
                    Some(status),
                    Some(base),
                )
            }
        };
        let start = frame::begin(out)?;
        let xid = self.form.xid();
        if let Err(full) = answer::put_bare(out, message_type, xid, identity, status, base_time) {
            frame::cancel(out, start);
            return Err(full);
        }
        frame::end(out, start)?;
        Ok(1)
    }
}
