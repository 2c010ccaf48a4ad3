//! DHCPv6 bulk leasequery over TCP (RFC 5460, with the times of RFC 7653 §5): what a message on a connection starts, and
//! the answer, written piece by piece as there is room.
//!
//! An answer is one LEASEQUERY-REPLY, then LEASEQUERY-DATA, each about one client on one link, then LEASEQUERY-DONE. A
//! LEASEQUERY-REPLY without CLIENT_DATA is a whole answer: nothing was found, or the query is refused.
//!
//! A client whose leases do not fit into one message (65,535 octets hold more than 2,000) is told in several: RFC 5460
//! has no word for this, and none of its leases may be missing.

use leaseq_store::{Group, LinkId, Stamp, Step6, Vpn};
use leaseq_wire::v6::{Message, message_type, option_code};
use leaseq_wire::{Full, OutBuf, frame};
use smallvec::SmallVec;

use super::answer::{self, Form, Identity};
use super::client_data::{Client, LeaseKey, Share, Told};
use super::permission;
use super::refused::Refused;
use super::request::{self, Refusal, Window};
use super::source::Source;
use crate::query::{QueryContext, Quota, RunningQuery, Started, StepEnd};
use crate::{CloseReason, Discard, QueryEnd};

/// Octets of a message's header.
const HEADER: usize = 4;

/// What a walk that found nothing in a portion of its work counts for among the records that a step may look at.
const PORTION: usize = 256;

/// A query being answered.
#[derive(Debug)]
pub(crate) struct Query {
    work: Work,
}

#[derive(Debug)]
enum Work {
    Refuse(Refused),
    Search(Box<Search>),
}

/// An answer that is looked up.
#[derive(Debug)]
struct Search {
    form: Form,
    requestor: SmallVec<[u8; 32]>,
    window: Option<Window>,
    source: Source,
    /// The source has no more clients.
    exhausted: bool,
    /// The LEASEQUERY-REPLY was written.
    replied: bool,
    /// Why the answer ends before it is complete.
    failure: Option<(Refusal, CloseReason)>,
    /// The client that has been told in part.
    split: Option<Split>,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// To be gone on with in another step.
    Paused,
    Complete,
}

/// What a step has sent.
#[derive(Debug, Default)]
struct Sent {
    messages: u64,
    leases: u64,
}

/// A client that the last message about it did not complete.
#[derive(Debug)]
struct Split {
    vpn: Vpn,
    link: LinkId,
    client_id: Vec<u8>,
    after: LeaseKey,
}

/// Judges a message of a connection; `message` holds at least the octets of a header.
pub(crate) fn start(cx: &QueryContext<'_>, message: &[u8]) -> Started<Query> {
    let Some((&[message_type, x0, x1, x2], options)) = message.split_first_chunk::<HEADER>() else {
        return Started::Close(CloseReason::ShortFrame);
    };
    let xid = u32::from_be_bytes([0, x0, x1, x2]);
    if message_type != message_type::LEASEQUERY {
        let discarded = &cx.counters.v6.discarded;
        discarded.of(Discard::MessageType).increment();
        return Started::Close(CloseReason::UnsupportedMessage);
    }
    match query(cx, message, xid, options) {
        Ok(work) => Started::Running(Query { work }),
        Err(discard) => {
            cx.counters.v6.discarded.of(discard).increment();
            Started::Discarded
        }
    }
}

fn query(cx: &QueryContext<'_>, octets: &[u8], xid: u32, options: &[u8]) -> Result<Work, Discard> {
    let settings = &cx.settings.dhcp6;
    let Ok(message) = Message::parse(octets) else {
        let requestor = request::requestor_of_malformed(options, settings)?;
        let refusal = Refusal::overrun();
        return Ok(Work::Refuse(Refused::new(xid, requestor, refusal)));
    };
    let requestor = request::requestor(message.iter(), settings)?;
    let lq_query = message
        .option(option_code::LQ_QUERY)
        .ok_or(Discard::NoQuery)?;
    let base_time = request::asks_base_time(&message);
    let opened = request::read(&message, lq_query, None, settings).and_then(|query| {
        cx.counters.v6.queries.of(query.ask.kind()).increment();
        let source = Source::open(cx.view, cx.rule, &query)?;
        Ok((source, query))
    });
    Ok(match opened {
        Ok((source, query)) => Work::Search(Box::new(Search {
            form: Form::new(xid, base_time, &query),
            requestor: SmallVec::from_slice(requestor),
            window: query.window,
            source,
            exhausted: false,
            replied: false,
            failure: None,
            split: None,
        })),
        Err(refusal) => Work::Refuse(Refused {
            base_time,
            ..Refused::new(xid, requestor, refusal)
        }),
    })
}

impl RunningQuery for Query {
    fn xid(&self) -> u32 {
        match &self.work {
            Work::Refuse(refused) => refused.xid(),
            Work::Search(search) => search.form.xid(),
        }
    }

    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        match &mut self.work {
            Work::Refuse(refused) => refused.step(cx, out, quota),
            Work::Search(search) => search.step(cx, out, quota),
        }
    }

    fn terminate(&mut self, text: &'static str) {
        match &mut self.work {
            Work::Refuse(refused) => refused.terminate(text),
            Work::Search(search) => {
                let failure = (Refusal::terminated(text), CloseReason::Shutdown);
                search.failure = search.failure.or(Some(failure));
            }
        }
    }

    fn refuse_duplicate(&mut self) {
        match &mut self.work {
            Work::Refuse(refused) => refused.refuse_duplicate(),
            Work::Search(search) => {
                search.failure = Some((Refusal::duplicate_xid(), CloseReason::DuplicateXid));
            }
        }
    }
}

impl Search {
    fn step(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let mut sent = Sent::default();
        let told = self.tell_clients(cx, out, quota, &mut sent);
        // Counters are shared with readers: once a step, not once a message.
        cx.counters.v6.bindings.add(sent.leases);
        cx.counters.v6.sent_messages.add(sent.messages);
        match told? {
            Progress::Paused => Ok(StepEnd::More),
            Progress::Complete => self.finish(cx, out, quota),
        }
    }

    fn tell_clients(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
        sent: &mut Sent,
    ) -> Result<Progress, Full> {
        let now = cx.server_time;
        let mut group = Group::default();
        while self.failure.is_none() && !self.exhausted {
            if quota.is_spent() {
                return Ok(Progress::Paused);
            }
            let step = self.source.next(cx.view, now, &mut group);
            let examined = if step == Step6::More {
                PORTION
            } else {
                group.members.len()
            };
            quota.examined = quota.examined.saturating_sub(examined);
            match step {
                Step6::Group => {}
                Step6::More => continue,
                Step6::Done => {
                    self.exhausted = true;
                    break;
                }
            }
            match self.tell(cx, &mut group, now, out, quota, sent) {
                Ok(Progress::Complete) => {}
                unfinished => {
                    self.source.go_back();
                    return unfinished;
                }
            }
        }
        Ok(Progress::Complete)
    }

    /// Tells a client, if the query asks for it; paused if the quota is spent before all its leases are told.
    fn tell(
        &mut self,
        cx: &QueryContext<'_>,
        group: &mut Group<'_>,
        now: Stamp,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
        sent: &mut Sent,
    ) -> Result<Progress, Full> {
        let link = group.link;
        let Some(client) = Client::of(group, now) else {
            self.split = None;
            return Ok(Progress::Complete);
        };
        if self
            .split
            .as_ref()
            .is_some_and(|split| !split.is_of(link, &client))
        {
            self.split = None;
        }
        let mut after = self.split.as_ref().map(|split| split.after);
        if after.is_none() {
            let asked_for = self.window.is_none_or(|window| client.changed_in(window));
            if !asked_for
                || !self.source.admits(&client)
                || !permission::visible(cx.rule, cx.view, link, &client)
            {
                return Ok(Progress::Complete);
            }
        }
        loop {
            let told = self.put(cx, &client, after, out, quota)?;
            if told.leases > 0 {
                sent.messages += 1;
                sent.leases += u64::from(told.leases);
                quota.bindings = quota.bindings.saturating_sub(told.leases as usize);
                self.replied = true;
            }
            let Some(last) = told.last.filter(|_| !told.complete) else {
                self.split = None;
                return Ok(Progress::Complete);
            };
            after = Some(last);
            self.split = Some(Split::new(link, &client, last));
            if quota.is_spent() {
                return Ok(Progress::Paused);
            }
        }
    }

    /// Writes one message about a client; none if no lease is left for it.
    fn put(
        &self,
        cx: &QueryContext<'_>,
        client: &Client<'_, '_>,
        after: Option<LeaseKey>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<Told, Full> {
        let start = frame::begin(out)?;
        let offset = start.offset();
        let share = Share {
            after,
            limit: out.len() + frame::MAX_MESSAGE,
        };
        let at = cx.server_time;
        let told = if self.replied {
            self.form.put_data(out, at, client, share)
        } else {
            self.form
                .put_reply(out, self.identity(cx), at, client, share)
        };
        match told {
            Ok(told) if told.leases > 0 => {
                frame::end(out, start)?;
                quota.octets = quota.octets.saturating_sub(out.len() - offset);
                Ok(told)
            }
            nothing => {
                frame::cancel(out, start);
                nothing
            }
        }
    }

    /// Ends the answer.
    fn finish(
        &mut self,
        cx: &QueryContext<'_>,
        out: &mut OutBuf<'_>,
        quota: &mut Quota,
    ) -> Result<StepEnd, Full> {
        let (failure, close) = self.failure.unzip();
        answer::put_frame(cx, out, quota, |out| {
            if self.replied {
                self.form.put_done(out, cx.server_time, failure)
            } else {
                let identity = self.identity(cx);
                self.form
                    .put_empty_reply(out, identity, cx.server_time, failure)
            }
        })?;
        let end = failure.map_or(QueryEnd::Success, |failure| failure.end());
        cx.counters.v6.ended.of(end).increment();
        Ok(StepEnd::Done {
            empty: !self.replied,
            close,
        })
    }

    fn identity<'a>(&'a self, cx: &'a QueryContext<'_>) -> Identity<'a> {
        Identity {
            server: &cx.settings.dhcp6.server_duid,
            requestor: &self.requestor,
        }
    }
}

impl Split {
    fn new(link: LinkId, client: &Client<'_, '_>, after: LeaseKey) -> Self {
        Self {
            vpn: client.newest().vpn().to_vpn(),
            link,
            client_id: client.newest().client_id_option().to_vec(),
            after,
        }
    }

    fn is_of(&self, link: LinkId, client: &Client<'_, '_>) -> bool {
        let newest = client.newest();
        self.link == link && newest.vpn() == self.vpn && newest.client_id_option() == self.client_id
    }
}
