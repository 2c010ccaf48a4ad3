//! Active leasequery (RFC 7724, RFC 7653): what both families have in common.
//!
//! A stream is a cursor on the store's log. While it catches up, or lags because its requestor reads slowly, it reads the
//! log by itself; a stream at the tail reads nothing until the core's [`Hub`], which reads the tail once for all of them,
//! says that a record concerns it. So nothing is queued for a requestor, however slow it is: what it has not taken is in
//! the log, and of that only the newest record of each binding is told.
//!
//! What a record means to a requestor, and how it is written, is the family's: a [`Teller`].

mod hub;
mod ring;
mod stream;
#[cfg(test)]
mod tests;

use leaseq_store::{LinkId, Record, Stamp};
use leaseq_wire::{Full, OutBuf};

use crate::query::QueryContext;

pub use hub::Hub;
pub(crate) use stream::Stream;

/// An active query that was understood and is permitted.
pub(crate) struct StreamRequest {
    /// Its transaction id.
    pub(crate) xid: u32,
    /// Tell first what changed at this Unix second or later (query-start-time); none: only what changes from now on.
    pub(crate) since: Option<u32>,
    /// What it is told, and how.
    pub(crate) teller: Box<dyn Teller>,
}

/// How far an active stream has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamPlace {
    /// It tells what changed since the time that was asked for, up to the log's tail.
    pub catching_up: bool,
    /// The sequence of the first record that it has not looked at, and a time before which every record was; none: nothing
    /// waits for it.
    pub next: Option<(u64, Stamp)>,
}

/// What one call of a [`Teller`] wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Messages, each a whole frame.
    pub(crate) messages: u32,
    /// Bindings told in them.
    pub(crate) bindings: u32,
    /// Other records that were looked at, told or not.
    pub(crate) examined: u32,
}

/// What a stream says beside bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// What a stream begins with: in DHCPv6 a LEASEQUERY-REPLY, in DHCPv4 nothing.
    Begin {
        /// The history does not reach back to the time asked for: where something is said, DataMissing goes with it.
        data_missing: bool,
    },
    /// There was nothing to tell for the idle timeout.
    Keepalive,
    /// Everything since the time asked for has been told.
    CatchUpComplete,
    /// Not everything since the time asked for, or since the last message, can be told any more.
    DataMissing,
    /// The stream ends; nothing follows.
    Terminated(&'static str),
}

/// How an active stream tells bindings: filter, permissions and encoding of a family.
///
/// Every message carries `base`, all times in it are counted from there (base-time only where the family says so).
pub(crate) trait Teller {
    /// Under which records a stream at the log's tail has to look at a record at all.
    fn scope(&self) -> Scope<'_>;

    /// Octets that are equal for streams that are told the same in the same octets but for the transaction id, given the
    /// same settings and requestor rule; `None` if the stream shares with no other one. Only a stream of a whole
    /// family ([`Scope::V4`], [`Scope::V6`]) may share.
    fn shared_form(&self) -> Option<Vec<u8>>;

    /// A teller of the same form whose messages have this transaction id and are not the first of their stream.
    fn with_xid(&self, xid: u32) -> Box<dyn Teller>;

    /// Whether a record may mean something to this requestor, told from the record alone and quickly. It is asked before
    /// the record is known to be the newest of its binding.
    fn may_concern(&self, _record: &Record<'_>) -> bool {
        true
    }

    /// Tells what a record means to this requestor: writes whole frames, or nothing if it is not concerned. The record
    /// is the newest of its binding, or a departure. What is told of the state that follows is `cx.view`'s.
    ///
    /// # Errors
    /// [`Full`] if a frame does not fit; everything that this call wrote is taken back.
    fn record(
        &mut self,
        cx: &QueryContext<'_>,
        record: &Record<'_>,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<Told, Full>;

    /// Says something beside bindings, as at most one frame; gives the number of frames written.
    ///
    /// # Errors
    /// [`Full`] if it does not fit; what was begun of it is taken back.
    fn say(
        &mut self,
        cx: &QueryContext<'_>,
        say: Say,
        base: Stamp,
        out: &mut OutBuf<'_>,
    ) -> Result<u32, Full>;
}

/// What a stream may be narrowed to, and what a record is found under. Finding is coarse: the teller decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope<'a> {
    /// Every DHCPv4 record.
    V4,
    /// Every DHCPv6 record.
    V6,
    /// DHCPv4 relay-id (sub-option 12).
    RelayId4(&'a [u8]),
    /// DHCPv4 remote-id (sub-option 2).
    RemoteId4(&'a [u8]),
    /// DHCPv6 relay-id of any hop.
    RelayId6(&'a [u8]),
    /// DHCPv6 remote-id of any hop, enterprise number included.
    RemoteId6(&'a [u8]),
    /// DHCPv6 client.
    Duid(&'a [u8]),
    /// DHCPv6 link.
    Link(LinkId),
}
