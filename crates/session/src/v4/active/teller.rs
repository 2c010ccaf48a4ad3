//! What a DHCPv4 active stream tells of a record, and the octets of its messages (RFC 7724 §8.2).

use std::net::Ipv4Addr;

use leaseq_store::{Bind4, Departed4, Record, Stamp, State};
use leaseq_wire::v4::{Header, StatusCode};
use leaseq_wire::{Full, OutBuf};

use super::refusal::Status;
use crate::active::{Say, Scope, Teller, Told};
use crate::query::QueryContext;
use crate::settings::RequestorRule;
use crate::v4::bulk::may_see;
use crate::v4::reply::{self, Free, Replies};
use crate::v4::wanted::Wanted;

/// The relay agent or circuit that a stream is narrowed to; if both are given, both have to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    relay_id: Option<Box<[u8]>>,
    remote_id: Option<Box<[u8]>>,
}

impl Filter {
    /// A filter by what is given of the two; without either there is none.
    pub(super) fn new(relay_id: Option<&[u8]>, remote_id: Option<&[u8]>) -> Option<Filter> {
        (relay_id.is_some() || remote_id.is_some()).then(|| Filter {
            relay_id: relay_id.map(Into::into),
            remote_id: remote_id.map(Into::into),
        })
    }

    fn matches(&self, relay_id: Option<&[u8]>, remote_id: Option<&[u8]>) -> bool {
        let is = |wanted: &Option<Box<[u8]>>, found: Option<&[u8]>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.relay_id, relay_id) && is(&self.remote_id, remote_id)
    }

    /// The scope that fewer bindings have: a remote-id is a circuit of a relay agent.
    fn scope(&self) -> Option<Scope<'_>> {
        let relay_id = || self.relay_id.as_deref().map(Scope::RelayId4);
        self.remote_id
            .as_deref()
            .map(Scope::RemoteId4)
            .or_else(relay_id)
    }
}

/// The messages of one stream.
pub(super) struct Teller4 {
    xid: u32,
    filter: Option<Filter>,
    wanted: Wanted,
    replies: Replies,
    server_identifier: Ipv4Addr,
    /// No message has been written yet: the first one names the server (RFC 6926 §8.3).
    first: bool,
}

impl Teller4 {
    pub(super) fn new(
        xid: u32,
        filter: Option<Filter>,
        wanted: Wanted,
        server_identifier: Ipv4Addr,
    ) -> Teller4 {
        let replies = Replies::new(&Header::reply(xid), &wanted, server_identifier.octets());
        Teller4 {
            xid,
            filter,
            wanted,
            replies,
            server_identifier,
            first: true,
        }
    }

    /// Whether a binding with these values, in a VPN that the requestor may see, is told on this stream.
    fn matches(&self, relay_id: Option<&[u8]>, remote_id: Option<&[u8]>) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.matches(relay_id, remote_id))
    }

    fn concerns(&self, rule: &RequestorRule, bind: &Bind4<'_>) -> bool {
        may_see(rule, bind) && self.matches(bind.relay_id(), bind.remote_id())
    }

    /// A binding that left this stream's filter, or what the requestor may see, as ended. Nothing if it is back, for its own
    /// record tells that; nor if the stream tells every relay agent's bindings, for the address's next record says it all.
    /// Of a binding that another relay agent has now, only what is true for this one is told: the address is not in use here.
    fn departure(
        &mut self,
        cx: &QueryContext<'_>,
        departed: &Departed4<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full> {
        let rule = cx.rule;
        let vpn = departed.vpn();
        let concerned = (self.filter.is_some() || !rule.relay_ids.is_empty())
            && rule.allows_vpn(vpn.vss())
            && rule.allows_relay_id(departed.relay_id())
            && self.matches(departed.relay_id(), departed.remote_id());
        if !concerned {
            return Ok(Told::default());
        }
        let (state, since) = match cx.view.binding4(&vpn.to_vpn(), departed.address()) {
            Some(bind) if self.concerns(rule, &bind) => return Ok(Told::default()),
            Some(bind) if bind.state() != State::Active => (bind.state(), bind.state_since()),
            _ => (State::Available, departed.stamp().seconds()),
        };
        let free = Free {
            vpn,
            address: departed.address(),
            state,
            since,
        };
        self.replies.set_base_time(base);
        let (replies, first) = (&self.replies, self.first);
        reply::framed(out, replies.room_for_free(vpn), |message| {
            replies.free(&free, base, first, message)
        })?;
        self.first = false;
        Ok(Told {
            messages: 1,
            bindings: 1,
            examined: 0,
        })
    }

    fn binding(
        &mut self,
        bind: &Bind4<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full> {
        self.replies.set_base_time(base);
        let (replies, first) = (&self.replies, self.first);
        let carried = replies.carried(bind);
        reply::framed(out, carried.room(), |message| {
            replies.binding(bind, &carried, base, first, message)
        })?;
        self.first = false;
        Ok(Told {
            messages: 1,
            bindings: 1,
            examined: 0,
        })
    }
}

impl Teller for Teller4 {
    fn scope(&self) -> Scope<'_> {
        self.filter
            .as_ref()
            .and_then(Filter::scope)
            .unwrap_or(Scope::V4)
    }

    fn shared_form(&self) -> Option<Vec<u8>> {
        self.filter.is_none().then(|| self.wanted.codes())
    }

    fn with_xid(&self, xid: u32) -> Box<dyn Teller> {
        let mut replies = self.replies.clone();
        replies.set_xid(xid);
        Box::new(Teller4 {
            xid,
            filter: self.filter.clone(),
            wanted: self.wanted,
            replies,
            server_identifier: self.server_identifier,
            first: false,
        })
    }

    fn may_concern(&self, record: &Record<'_>) -> bool {
        match record {
            Record::Bind4(bind) => self.matches(bind.relay_id(), bind.remote_id()),
            Record::Departed4(departed) => self.matches(departed.relay_id(), departed.remote_id()),
            Record::Bind6(_) | Record::Departed6(_) | Record::Feed(_) => false,
        }
    }

    fn record(
        &mut self,
        cx: &QueryContext<'_>,
        record: &Record<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full> {
        match record {
            Record::Bind4(bind) if self.concerns(cx.rule, bind) => self.binding(bind, base, out),
            Record::Departed4(departed) => self.departure(cx, departed, base, out),
            _ => Ok(Told::default()),
        }
    }

    fn say(
        &mut self,
        _cx: &QueryContext<'_>,
        say: Say,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<u32, Full> {
        let missing = "not everything since that time can be told: ask for it in bulk";
        let (code, text) = match say {
            Say::Begin {
                data_missing: false,
            } => return Ok(0),
            Say::Begin { data_missing: true } | Say::DataMissing => {
                (StatusCode::DataMissing, missing)
            }
            Say::Keepalive => (StatusCode::ConnectionActive, ""),
            Say::CatchUpComplete => (StatusCode::CatchUpComplete, ""),
            Say::Terminated(text) => (StatusCode::QueryTerminated, text),
        };
        let status = Status {
            xid: self.xid,
            server_identifier: self.first.then_some(self.server_identifier),
            base,
            code,
            text,
        };
        status.write(out)?;
        self.first = false;
        Ok(1)
    }
}

#[cfg(test)]
mod tests;
