//! DHCPv4 bulk leasequery over TCP (RFC 6926): what a message starts, and its answer, written piece by piece.

use std::net::Ipv4Addr;

use leaseq_store::{
    Batch4, BatchAll4, Bind4, Configured4, Found4, FoundAll4, Place, Progress, Stamp, State,
    VpnRef, VpnSelect, Walk4, WalkAll4,
};
use leaseq_wire::v4::message_type::{DHCPBULKLEASEQUERY, DHCPLEASEQUERYDONE};
use leaseq_wire::v4::option_code::{BASE_TIME, PARAMETER_REQUEST_LIST};
use leaseq_wire::v4::{FIXED_LEN, Header, Message, MessageWriter, StatusCode};
use leaseq_wire::{Full, OutBuf, frame};

use super::reply::{self, Free, Replies};
use super::request::{self, Keys};
use super::wanted::Wanted;
use crate::counters::{CloseReason, QueryEnd};
use crate::query::{QueryContext, Quota, RunningQuery, Started, StepEnd};
use crate::settings::{QueryKind, RequestorRule};

/// The text of MalformedQuery for a query whose replies could not be told apart from those of another.
pub(super) const DUPLICATE: &str = "a query with this transaction id is still running";

/// A query being answered.
pub(crate) struct Query {
    work: Work,
    answer: Answer,
}

/// What has been said and how to say the rest.
struct Answer {
    xid: u32,
    /// No message has been sent yet: the first one names the server.
    first: bool,
    /// No binding has been sent yet.
    empty: bool,
    /// Only bindings that changed in these seconds.
    window: Option<(u32, u32)>,
    replies: Replies,
}

/// What is left to do of a query.
enum Work {
    /// Bindings of a selector.
    Walk(Box<Walk4>),
    /// All configured addresses.
    All(Box<WalkAll4>),
    /// The DHCPLEASEQUERYDONE.
    Finish(Finish),
}

/// How a query ends.
#[derive(Clone, Copy, Debug)]
struct Finish {
    status: StatusCode,
    text: &'static str,
    close: Option<CloseReason>,
}

impl Finish {
    const SUCCESS: Finish = Finish {
        status: StatusCode::Success,
        text: "",
        close: None,
    };

    fn failure(status: StatusCode, text: &'static str) -> Finish {
        Finish {
            status,
            text,
            close: None,
        }
    }
}

/// Begins the query in a message that came over TCP.
pub(crate) fn start(cx: &QueryContext<'_>, octets: &[u8]) -> Started<Query> {
    let message = match Message::parse(octets) {
        Ok(message) => message,
        Err(_) if octets.len() < FIXED_LEN => return Started::Close(CloseReason::ShortFrame),
        // What was begun as a bulk query is answered as one; anything else is not served here (RFC 7724 §8.1.1).
        Err(error) => {
            return match (error.xid, error.message_type) {
                (Some(xid), Some(DHCPBULKLEASEQUERY)) => refused(
                    cx,
                    xid,
                    StatusCode::MalformedQuery,
                    "an option or a field overruns",
                ),
                _ => Started::Close(CloseReason::UnsupportedMessage),
            };
        }
    };
    if message.message_type() != Some(DHCPBULKLEASEQUERY) {
        return Started::Close(CloseReason::UnsupportedMessage);
    }
    match begin(cx, &message) {
        Ok(query) => Started::Running(query),
        Err((status, text)) => refused(cx, message.xid(), status, text),
    }
}

/// A query that came beside an active one: NotAllowed, then the connection is closed (RFC 7724 §8.3).
pub(super) fn refused_beside(
    cx: &QueryContext<'_>,
    xid: u32,
    text: &'static str,
) -> Started<Query> {
    let finish = Finish {
        close: Some(CloseReason::BesideActive),
        ..Finish::failure(StatusCode::NotAllowed, text)
    };
    failed(cx, xid, finish)
}

/// A query whose whole answer is an error.
fn refused(
    cx: &QueryContext<'_>,
    xid: u32,
    status: StatusCode,
    text: &'static str,
) -> Started<Query> {
    failed(cx, xid, Finish::failure(status, text))
}

fn failed(cx: &QueryContext<'_>, xid: u32, finish: Finish) -> Started<Query> {
    let wanted = Wanted::for_bulk(None, &[BASE_TIME].into_iter().collect());
    Started::Running(Query::new(cx, xid, &wanted, None, Work::Finish(finish)))
}

fn begin(
    cx: &QueryContext<'_>,
    message: &Message<'_>,
) -> Result<Query, (StatusCode, &'static str)> {
    let malformed = |text| (StatusCode::MalformedQuery, text);
    let not_allowed = |text| (StatusCode::NotAllowed, text);
    request::check_header(message).map_err(malformed)?;
    let mut joined = [None, None];
    let keys = Keys::read(message, &mut joined).map_err(malformed)?;
    let vpns = request::vpns(message).map_err(malformed)?;
    let window = request::window(message).map_err(malformed)?;
    if keys.count() > 1 {
        return Err(not_allowed("more than one primary query"));
    }
    let (kind, selector) = keys.selector();
    permit(cx.rule, kind, &vpns, keys.relay_id).map_err(not_allowed)?;
    cx.counters.v4.queries.of(kind).increment();
    let wanted = Wanted::for_bulk(
        message.option(PARAMETER_REQUEST_LIST),
        &cx.settings.dhcp4.withhold_options,
    );
    let work = match selector {
        Some(selector) => Work::Walk(Box::new(cx.view.walk4(&selector, &vpns))),
        None => Work::All(Box::new(cx.view.walk_all4(&vpns))),
    };
    Ok(Query::new(cx, message.xid(), &wanted, window, work))
}

/// Whether the requestor may ask this. What its rule hides of an answer is left out later.
pub(super) fn permit(
    rule: &RequestorRule,
    kind: QueryKind,
    vpns: &VpnSelect,
    relay_id: Option<&[u8]>,
) -> Result<(), &'static str> {
    if !rule.queries.contains(kind) {
        return Err("this kind of query is not permitted to this requestor");
    }
    if let VpnSelect::One(vpn) = vpns
        && !rule.allows_vpn(vpn.vss())
    {
        return Err("this VPN is not permitted to this requestor");
    }
    if relay_id.is_some() && !rule.allows_relay_id(relay_id) {
        return Err("this relay-id is not permitted to this requestor");
    }
    Ok(())
}

/// Whether the requestor may see a binding.
pub(super) fn may_see(rule: &RequestorRule, bind: &Bind4<'_>) -> bool {
    (rule.vpns.is_empty() || rule.allows_vpn(bind.vpn().vss()))
        && (rule.relay_ids.is_empty() || rule.allows_relay_id(bind.relay_id()))
}

impl Query {
    fn new(
        cx: &QueryContext<'_>,
        xid: u32,
        wanted: &Wanted,
        window: Option<(u32, u32)>,
        work: Work,
    ) -> Query {
        let replies = Replies::new(
            &Header::reply(xid),
            wanted,
            cx.settings.dhcp4.server_identifier.octets(),
        );
        Query {
            work,
            answer: Answer {
                xid,
                first: true,
                empty: true,
                window,
                replies,
            },
        }
    }

    fn run(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let mut batch = Batch4::default();
        let mut batch_all = BatchAll4::default();
        while !quota.is_spent() {
            let (progress, stopped) = match &mut self.work {
                Work::Walk(walk) => {
                    let progress = cx.view.fill4(walk, &mut batch);
                    let stopped = self.answer.bindings(cx, &batch, out, quota);
                    if let Err(stopped) = stopped {
                        walk.go_back(stopped.place);
                    }
                    (progress, stopped)
                }
                Work::All(walk) => {
                    let progress = cx.view.fill_all4(walk, &mut batch_all);
                    let stopped = self.answer.addresses(cx, &batch_all, out, quota);
                    if let Err(stopped) = stopped {
                        walk.go_back(stopped.place);
                    }
                    (progress, stopped)
                }
                Work::Finish(finish) => return self.answer.done(cx, *finish, out),
            };
            // A batch without items has cost work as well.
            quota.examined = quota.examined.saturating_sub(1);
            match (progress, stopped) {
                (_, Err(Stopped { full: true, .. })) => return Err(Full),
                (_, Err(_)) => break,
                (Progress::Done, Ok(())) => self.work = Work::Finish(Finish::SUCCESS),
                (Progress::More, Ok(())) => {}
            }
        }
        Ok(StepEnd::More)
    }
}

/// A batch was left before this item: the quota was spent, or the buffer was full.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    place: Place,
    full: bool,
}

impl Answer {
    /// Sends those of a batch that the query asks for. All primary queries but "all" tell ACTIVE bindings only
    /// (RFC 6926 §8.2).
    #[inline]
    fn bindings(
        &mut self,
        cx: &QueryContext<'_>,
        batch: &Batch4<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<(), Stopped> {
        for Found4 { place, bind } in &batch.items {
            if quota.is_spent() {
                return Err(Stopped {
                    place: *place,
                    full: false,
                });
            }
            if bind.state() == State::Active && self.is_asked_for(cx.rule, bind) {
                self.binding(bind, cx.server_time, out, quota)
                    .map_err(|Full| Stopped {
                        place: *place,
                        full: true,
                    })?;
            }
            quota.examined -= 1;
        }
        Ok(())
    }

    /// Sends those of a batch of configured addresses that the query asks for.
    fn addresses(
        &mut self,
        cx: &QueryContext<'_>,
        batch: &BatchAll4<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<(), Stopped> {
        for FoundAll4 { place, what } in &batch.items {
            if quota.is_spent() {
                return Err(Stopped {
                    place: *place,
                    full: false,
                });
            }
            match what {
                Configured4::Bound(bind) if self.is_asked_for(cx.rule, bind) => {
                    self.binding(bind, cx.server_time, out, quota)
                }
                Configured4::Free(vpn, address) if self.is_free_asked_for(cx, *vpn) => {
                    self.free(cx, *vpn, *address, out, quota)
                }
                _ => Ok(()),
            }
            .map_err(|Full| Stopped {
                place: *place,
                full: true,
            })?;
            quota.examined -= 1;
        }
        Ok(())
    }

    #[inline(always)]
    fn is_asked_for(&self, rule: &RequestorRule, bind: &Bind4<'_>) -> bool {
        self.window
            .is_none_or(|(start, end)| bind.changed_in(start, end))
            && may_see(rule, bind)
    }

    /// A free address has not changed since the store was made, or its last lease ended before the ends that the log has
    /// dropped did: who asks for a time of which ends are missing is told all that may have ended in it. It belongs to no
    /// relay agent.
    fn is_free_asked_for(&self, cx: &QueryContext<'_>, vpn: VpnRef<'_>) -> bool {
        let created = cx.view.created().seconds();
        let latest = cx.view.dropped_until().seconds().max(created);
        self.window
            .is_none_or(|(start, end)| start <= latest && created <= end && start <= end)
            && cx.rule.allows_vpn(vpn.vss())
    }

    #[inline(always)]
    fn binding(
        &mut self,
        bind: &Bind4<'_>,
        now: Stamp,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<(), Full> {
        let carried = self.replies.carried(bind);
        self.frame(out, quota, carried.room(), |replies, first, message| {
            replies.binding(bind, &carried, now, first, message)
        })
    }

    fn free(
        &mut self,
        cx: &QueryContext<'_>,
        vpn: VpnRef<'_>,
        address: Ipv4Addr,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<(), Full> {
        // Never leased, it has been AVAILABLE since the store was made.
        let free = Free {
            vpn,
            address,
            state: State::Available,
            since: cx.view.created().seconds(),
        };
        let room = self.replies.room_for_free(vpn);
        self.frame(out, quota, room, |replies, first, message| {
            replies.free(&free, cx.server_time, first, message)
        })
    }

    /// Writes the frame of a reply that takes at most `room` octets; `write` leaves END out.
    #[inline(always)]
    fn frame(
        &mut self,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
        room: usize,
        write: impl FnOnce(&Replies, bool, &mut [u8]) -> usize,
    ) -> Result<(), Full> {
        let octets = reply::framed(out, room, |message| {
            write(&self.replies, self.first, message)
        })?;
        quota.octets = quota.octets.saturating_sub(octets);
        quota.bindings -= 1;
        self.first = false;
        self.empty = false;
        Ok(())
    }

    /// Writes the DHCPLEASEQUERYDONE; a status in it only if the query failed (RFC 6926 §8.2).
    fn done(
        &self,
        cx: &QueryContext<'_>,
        finish: Finish,
        out: &mut OutBuf<'_>,
    ) -> Result<StepEnd, Full> {
        let start = frame::begin(out)?;
        if self.done_message(cx, finish, out).is_err() {
            frame::cancel(out, start);
            return Err(Full);
        }
        frame::end(out, start)?;
        cx.counters.v4.sent_messages.increment();
        cx.counters.v4.ended.of(ended(finish.status)).increment();
        Ok(StepEnd::Done {
            empty: self.empty,
            close: finish.close,
        })
    }

    fn done_message(
        &self,
        cx: &QueryContext<'_>,
        finish: Finish,
        out: &mut OutBuf<'_>,
    ) -> Result<(), Full> {
        let mut writer = MessageWriter::start(out, &Header::reply(self.xid), DHCPLEASEQUERYDONE)?;
        if self.first {
            writer.server_identifier(cx.settings.dhcp4.server_identifier)?;
        }
        if let Some(base_time) = self.replies.base_time() {
            writer.raw_options(base_time)?;
        }
        if finish.status != StatusCode::Success {
            writer.status(finish.status, finish.text)?;
        }
        writer.finish();
        Ok(())
    }
}

/// What a status is counted as.
pub(super) fn ended(status: StatusCode) -> QueryEnd {
    match status {
        StatusCode::Success => QueryEnd::Success,
        StatusCode::QueryTerminated => QueryEnd::QueryTerminated,
        StatusCode::MalformedQuery => QueryEnd::MalformedQuery,
        StatusCode::NotAllowed => QueryEnd::NotAllowed,
        _ => QueryEnd::UnspecFail,
    }
}

impl RunningQuery for Query {
    fn xid(&self) -> u32 {
        self.answer.xid
    }

    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        self.answer.replies.set_base_time(cx.server_time);
        let allowed = quota.bindings;
        let result = self.run(cx, out, quota);
        let sent = (allowed - quota.bindings) as u64;
        cx.counters.v4.bindings.add(sent);
        cx.counters.v4.sent_messages.add(sent);
        result
    }

    fn terminate(&mut self, text: &'static str) {
        if !matches!(self.work, Work::Finish(_)) {
            self.work = Work::Finish(Finish::failure(StatusCode::QueryTerminated, text));
        }
    }

    fn refuse_duplicate(&mut self) {
        self.work = Work::Finish(Finish {
            status: StatusCode::MalformedQuery,
            text: DUPLICATE,
            close: Some(CloseReason::DuplicateXid),
        });
    }
}
