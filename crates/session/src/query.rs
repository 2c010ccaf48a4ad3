//! A query that runs on a connection: what it is given, what it may spend, how it ends.

use leaseq_store::{Stamp, View};
use leaseq_wire::{Full, OutBuf};

use crate::Mono;
use crate::active::{StreamPlace, StreamRequest};
use crate::counters::{CloseReason, Counters};
use crate::settings::{RequestorRule, Settings};

/// What a query sees of the world for the length of one step.
pub(crate) struct QueryContext<'t> {
    /// The store as it is now.
    pub(crate) view: &'t View,
    /// The base-time of what is written in this step.
    pub(crate) server_time: Stamp,
    /// The connection's settings.
    pub(crate) settings: &'t Settings,
    /// What the requestor may ask for and see.
    pub(crate) rule: &'t RequestorRule,
    /// The core's counters.
    pub(crate) counters: &'t Counters,
}

/// What one step may still spend. The step counts down; at zero of anything it ends. It may overshoot by one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Bindings to send.
    pub(crate) bindings: usize,
    /// Octets to write.
    pub(crate) octets: usize,
    /// Records to look at, sent or not.
    pub(crate) examined: usize,
}

impl Quota {
    /// Whether nothing more is to be done in this step.
    pub(crate) fn is_spent(&self) -> bool {
        self.bindings == 0 || self.octets == 0 || self.examined == 0
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepEnd {
    /// The query has more to say or to look at.
    More,
    /// There is nothing to say until something wakes the query, or a timer.
    Waiting,
    /// The query's last message is written.
    Done {
        /// It sent no binding.
        empty: bool,
        /// The connection is to be closed after it.
        close: Option<CloseReason>,
    },
}

/// A query that is being answered.
pub(crate) trait RunningQuery {
    /// Its transaction id.
    fn xid(&self) -> u32;

    /// Writes whole frames until the quota is spent or the query is done.
    ///
    /// # Errors
    /// [`Full`] if the next message does not fit; what was begun of it is taken back, and the step can be repeated.
    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full>;

    /// Whether there is nothing to say until something wakes the query, or a timer.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Whether it is an active stream, which ends only with its connection and has that for itself.
    fn is_stream(&self) -> bool {
        false
    }

    /// How far it has come, if it is an active stream.
    fn place(&self) -> Option<StreamPlace> {
        None
    }

    /// What the last step wrote is on its way.
    fn stepped(&mut self, _now: Mono) {}

    /// When [`tick`](Self::tick) is to be called next.
    fn deadline(&self) -> Option<Mono> {
        None
    }

    /// A deadline has come.
    fn tick(&mut self, _now: Mono) {}

    /// Gives the query up: the next step writes its end, with QueryTerminated and this text.
    fn terminate(&mut self, text: &'static str);

    /// Refuses the query because one with its transaction id is still running: the next step writes MalformedQuery and
    /// asks for the connection to be closed.
    fn refuse_duplicate(&mut self);
}

/// What a message on a connection leads to, in either family.
pub(crate) enum Opened {
    /// A query that has an answer; be it only an error, which its first step writes.
    Query(Box<dyn RunningQuery>),
    /// An active query that was understood and is permitted.
    Stream(StreamRequest),
    /// DHCPTLS, or STARTTLS.
    Tls {
        /// Its transaction id.
        xid: u32,
    },
    /// Nothing: the family's rules say that such a message is discarded.
    Discarded,
    /// The connection is to be closed.
    Close(CloseReason),
}

impl<Q: RunningQuery + 'static> From<Started<Q>> for Opened {
    fn from(started: Started<Q>) -> Opened {
        match started {
            Started::Running(query) => Opened::Query(Box::new(query)),
            Started::Discarded => Opened::Discarded,
            Started::Close(reason) => Opened::Close(reason),
        }
    }
}

/// What a message that has one kind of answer leads to.
pub(crate) enum Started<Q> {
    /// A query that has an answer; be it only an error, which its first step writes.
    Running(Q),
    /// Nothing: the family's rules say that such a message is discarded.
    Discarded,
    /// The connection is to be closed.
    Close(CloseReason),
}
