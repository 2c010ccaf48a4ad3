//! Recovers as a relay does that has lost its power: connects, asks one bulk query, reads the answer, closes.

use std::rc::Rc;
use std::time::Instant;

use leaseq_requestor::client::now;
use leaseq_requestor::{Event, Query};
use leaseq_wire::time::UnixSeconds;

use super::Round;
use super::answers::Answers;
use super::context::Context;
use super::words::QueryWords;
use crate::check::{BulkCheck, Picture};
use crate::fault::FaultKind;
use crate::measure::Count;
use crate::net::channel::{Link, LinkError};
use crate::result::State;
use crate::work::board::Phase;

/// What a recovery leaves behind for whoever follows from there.
pub struct Recovered {
    /// The first base-time of the answer; `None`: it told nothing that has one.
    pub base_time: Option<UnixSeconds>,
    /// What the relay knows from it.
    pub picture: Picture,
}

/// One round: one recovery.
pub async fn run(context: &Rc<Context>, round: &Round) {
    recover(context, round).await;
}

/// Recovers what is the relay's; `None`: it came to nothing, and why is told already, or the run is over.
pub async fn recover(context: &Rc<Context>, round: &Round) -> Option<Recovered> {
    let relay = round.relay;
    let Some(query) = context.query(relay, relay) else {
        return unaskable(context, relay);
    };
    connected(context, round, async |link, is_answered| {
        ask(context, round, &query, link, is_answered).await
    })
    .await
    .flatten()
}

/// Tells that a group asks by something that does not exist.
pub(super) fn unaskable<T>(context: &Context, relay: u32) -> Option<T> {
    let text = format!("there is no {:?} to ask by", context.by());
    let report = &context.report;
    report.fault(FaultKind::Unexpected, relay, "no query", text, &[]);
    None
}

/// Does something on a connection, and again after a pause as long as the server refuses connections: does not accept them,
/// or ends them before the first octet of an answer, as servers do at their limit. `work` notes in its second argument
/// that octets have come, and tells the faults of its connection but for such an end; this tells that there is no connection
/// for too long.
pub(super) async fn connected<T>(
    context: &Rc<Context>,
    round: &Round,
    mut work: impl AsyncFnMut(Link, &mut bool) -> Result<T, LinkError>,
) -> Option<T> {
    let wished = Instant::now();
    let mut backoff = context.backoff();
    loop {
        round.enter(State::Connecting);
        let mut is_answered = false;
        let report = &context.report;
        let error = match Link::open(context, round.relay).await {
            Ok(link) => match work(link, &mut is_answered).await {
                Ok(done) => return Some(done),
                Err(error) if error.is_end() && !is_answered => error,
                Err(error) => {
                    let is_lost = error.is_end();
                    report.count(Count::LostConnections, is_lost.into());
                    return None;
                }
            },
            Err(error) if error.is_end() => error,
            Err(error) => {
                if let Some(kind) = error.kind() {
                    report.fault(kind, round.relay, "connection", &error, error.octets());
                }
                return None;
            }
        };
        report.count(Count::Refused, 1);
        let next = Instant::now() + backoff.next(context);
        if next > wished + context.patience {
            let text = format!("{error}, for {:?}", wished.elapsed());
            report.fault(
                FaultKind::NotConnected,
                round.relay,
                "connection",
                text,
                &[],
            );
            return None;
        }
        round.enter(State::Pausing);
        if !context.sleep_until(next, Phase::Stopping).await {
            return None;
        }
    }
}

async fn ask(
    context: &Rc<Context>,
    round: &Round,
    query: &Query,
    mut link: Link,
    is_answered: &mut bool,
) -> Result<Option<Recovered>, LinkError> {
    let report = &context.report;
    let xid = context.xid(context.random());
    let words = QueryWords {
        kind: "bulk",
        query,
        xid,
    };
    let relay = round.relay;
    let mut fault = |kind: FaultKind, text: String, octets: &[u8]| {
        report.fault(kind, relay, &words, text, octets);
    };
    let Ok(request) = query.bulk_request(xid) else {
        fault(FaultKind::Unexpected, "it cannot be asked".into(), &[]);
        return Err(LinkError::Stopped);
    };
    round.enter(State::Recovering);
    let mut check = BulkCheck::new(&context.expected(relay), now());
    let mut answers = Answers::like(query);
    answers.add(xid);
    let mut failure = None;
    let mut counted = 0;
    let sent = Instant::now();
    link.send(&request).await?;
    while answers.running() > 0 {
        let received = link
            .receive(&mut |octets| {
                if !*is_answered {
                    *is_answered = true;
                    report.measure(|measures| measures.first_octet.record(sent.elapsed()));
                }
                let now = now();
                answers.push(octets, &mut |event| {
                    if let Event::Done(done) = &event {
                        failure = done
                            .failure()
                            .map(|status| (status.to_string(), done.message.to_vec()));
                    }
                    check.told(&event, now, &mut fault);
                })
            })
            .await;
        // All the time, not at the end: many answers that come at a time end together.
        report.count(Count::Bindings, check.leases() - counted);
        counted = check.leases();
        if let Err(error) = received {
            if (*is_answered || !error.is_end())
                && let Some(kind) = error.kind()
            {
                fault(kind, format!("{error}; {answers}"), error.octets());
            }
            return Err(error);
        }
    }
    let base_time = check.first_base_time();
    let recovered = match failure {
        Some((status, octets)) => {
            fault(FaultKind::Status, status, &octets);
            None
        }
        None => {
            let recovery = round.due.elapsed();
            let end = check.end(now(), &mut fault);
            report.measure(|measures| {
                measures.recovery.record(recovery);
                measures.count(Count::Recoveries, 1);
            });
            let picture = end.picture;
            Some(Recovered { base_time, picture })
        }
    };
    round.enter(State::Pausing);
    let rest = link
        .finish(&mut |octets| answers.push(octets, &mut |_| {}))
        .await;
    if let Err(error) = rest
        && let Some(kind) = error.kind()
    {
        fault(kind, format!("after the end: {error}"), error.octets());
    }
    Ok(recovered)
}
