//! Asks several bulk queries at a time on one connection (RFC 6926 §7.7, RFC 5460 §5.8): `queries` at once, each about what
//! is another relay's, and as many again, one whenever one has ended, so that new queries come while others run.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use leaseq_requestor::client::now;
use leaseq_requestor::{Event, Query};
use leaseq_wire::time::UnixSeconds;

use super::Round;
use super::answers::Answers;
use super::context::Context;
use super::recover::{connected, unaskable};
use super::words::QueryWords;
use crate::check::BulkCheck;
use crate::fault::FaultKind;
use crate::measure::Count;
use crate::net::channel::{Link, LinkError};
use crate::result::State;

/// Queries at a time of a group that does not say.
const QUERIES: u32 = 4;

/// A query of this connection.
struct Asked {
    query: Query,
    relay: u32,
    xid: u32,
    /// None: it is not sent yet, or has ended.
    check: Option<BulkCheck>,
}

impl Asked {
    fn words(&self) -> QueryWords<'_> {
        QueryWords {
            kind: "bulk",
            query: &self.query,
            xid: self.xid,
        }
    }
}

/// One round: all queries on one connection.
pub async fn run(context: &Rc<Context>, round: &Round) {
    let at_once = context.group.queries.unwrap_or(QUERIES).max(1);
    // The first one is about the relay's own, the others about what is its neighbours'.
    let relays = (0..at_once.saturating_mul(2)).map(|n| round.relay.wrapping_add(n));
    let queries: Option<Vec<(u32, Query)>> = relays
        .map(|relay| Some((relay, context.query(relay, round.relay)?)))
        .collect();
    let Some(queries) = queries else {
        return unaskable(context, round.relay).unwrap_or_default();
    };
    connected(context, round, async |link, is_answered| {
        ask(context, round, &queries, link, is_answered).await
    })
    .await;
}

async fn ask(
    context: &Rc<Context>,
    round: &Round,
    queries: &[(u32, Query)],
    mut link: Link,
    is_answered: &mut bool,
) -> Result<(), LinkError> {
    let report = &context.report;
    let Some((_, first)) = queries.first() else {
        return Ok(());
    };
    let first_xid = context.random();
    let mut waiting: VecDeque<Asked> = queries
        .iter()
        .zip(first_xid..)
        .map(|((relay, query), number)| Asked {
            query: query.clone(),
            relay: *relay,
            xid: context.xid(number),
            check: None,
        })
        .collect();
    let at_once = queries.len().div_ceil(2);
    let mut running: Vec<Asked> = Vec::with_capacity(at_once);
    let mut answers = Answers::like(first);
    round.enter(State::Recovering);
    let sent = Instant::now();
    loop {
        running.retain(|asked| asked.check.is_some());
        while running.len() < at_once {
            let Some(mut asked) = waiting.pop_front() else {
                break;
            };
            let Ok(request) = asked.query.bulk_request(asked.xid) else {
                let (kind, text) = (FaultKind::Unexpected, "it cannot be asked");
                report.fault(kind, asked.relay, asked.words(), text, &[]);
                continue;
            };
            asked.check = Some(BulkCheck::new(&context.expected(asked.relay), now()));
            answers.add(asked.xid);
            running.push(asked);
            link.send(&request).await?;
        }
        if running.is_empty() {
            break;
        }
        let mut bindings = 0;
        let received = link
            .receive(&mut |octets| {
                if !*is_answered {
                    *is_answered = true;
                    report.measure(|measures| measures.first_octet.record(sent.elapsed()));
                }
                let now = now();
                answers.push(octets, &mut |event| {
                    // The core has found the transaction id to be that of one that runs.
                    if let Some(asked) = running.iter_mut().find(|asked| asked.xid == event.xid()) {
                        bindings += told(context, asked, &event, now);
                    }
                })
            })
            .await;
        report.count(Count::Bindings, bindings);
        if let Err(error) = received {
            if (*is_answered || !error.is_end())
                && let Some(kind) = error.kind()
            {
                for asked in running.iter().filter(|asked| asked.check.is_some()) {
                    let text = format!("{error}; {answers}");
                    report.fault(kind, round.relay, asked.words(), text, error.octets());
                }
            }
            return Err(error);
        }
    }
    report.measure(|measures| measures.recovery.record(round.due.elapsed()));
    round.enter(State::Pausing);
    let rest = link
        .finish(&mut |octets| answers.push(octets, &mut |_| {}))
        .await;
    if let Err(error) = rest
        && let Some(kind) = error.kind()
    {
        let (query, text) = ("bulk, several", format!("after the end: {error}"));
        report.fault(kind, round.relay, query, text, error.octets());
    }
    Ok(())
}

/// Gives how many bindings were told.
fn told(context: &Context, asked: &mut Asked, event: &Event<'_>, received: UnixSeconds) -> u64 {
    let report = &context.report;
    let Some(mut check) = asked.check.take() else {
        return 0;
    };
    let mut fault = |kind: FaultKind, text: String, octets: &[u8]| {
        report.fault(kind, asked.relay, asked.words(), text, octets);
    };
    let before = check.leases();
    check.told(event, received, &mut fault);
    let told = check.leases() - before;
    match event {
        Event::Done(done) => match done.failure() {
            Some(status) => fault(FaultKind::Status, status.to_string(), done.message),
            None => {
                check.end(now(), &mut fault);
                report.count(Count::Recoveries, 1);
            }
        },
        _ => asked.check = Some(check),
    }
    told
}
