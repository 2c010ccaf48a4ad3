//! UDP: one datagram in, at most one out, nothing kept between two but the counters and the requestors' rates.

use std::net::SocketAddr;
use std::sync::Arc;

use leaseq_wire::OutBuf;

use crate::admission::Admission;
use crate::connection::Turn;
use crate::counters::{Counters, Discard, FamilyCounters};
use crate::query::QueryContext;
use crate::settings::{Family, Settings};
use crate::{v4, v6};

/// Answers UDP queries. One for each core; none of its calls allocates.
pub struct Responder {
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    admission: Arc<Admission>,
}

/// An answer to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Octets of the datagram, from the start of the buffer.
    pub octets: usize,
    /// Where it goes.
    pub to: SocketAddr,
}

impl Responder {
    /// `admission` holds the requestors' rates, which all cores share.
    pub fn new(
        settings: Arc<Settings>,
        counters: Arc<Counters>,
        admission: Arc<Admission>,
    ) -> Responder {
        Responder {
            settings,
            counters,
            admission,
        }
    }

    /// Takes over new settings.
    pub fn reload(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Answers the datagram in `request`, if it is one to be answered, with the first octets of `out`.
    pub fn answer(
        &mut self,
        turn: &Turn<'_>,
        family: Family,
        from: SocketAddr,
        request: &[u8],
        out: &mut [u8],
    ) -> Option<Reply> {
        let counters = self.counters.of(family);
        counters.udp_received.increment();
        let requestor = from.ip().to_canonical();
        let Some(rule) = self.settings.rule_for(requestor) else {
            return discard(counters, Discard::NotPermitted);
        };
        let rate = self.settings.limits.udp_queries_per_second;
        if self
            .admission
            .udp_rates
            .take(requestor, rate, turn.now)
            .is_err()
        {
            return discard(counters, Discard::RateLimit);
        }
        let cx = QueryContext {
            view: turn.view,
            server_time: turn.server_time,
            settings: &self.settings,
            rule,
            counters: &self.counters,
        };
        let mut out = OutBuf::new(out);
        let to = match family {
            Family::V4 => v4::udp::answer(&cx, from, request, &mut out),
            Family::V6 => v6::udp::answer(&cx, from, request, &mut out),
        }?;
        Some(Reply {
            octets: out.len(),
            to,
        })
    }
}

fn discard<T>(counters: &FamilyCounters, reason: Discard) -> Option<T> {
    counters.udp_discarded.of(reason).increment();
    None
}
