//! Asks for an answer and reads it slowly, or not, or resets the connection in the middle of it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use leaseq_requestor::{Event, Query};

use super::{With, open, over};
use crate::measure::Count;
use crate::net::channel::{Link, LinkError};
use crate::relay::Round;
use crate::relay::answers::Answers;
use crate::relay::context::Context;
use crate::relay::recover::unaskable;
use crate::relay::words::QueryWords;
use crate::work::board::Phase;

/// Octets a second, unless the group says otherwise.
const SLOWLY: u64 = 10_000;
/// Reads a second of whoever reads slowly.
const READS: u64 = 10;
/// How often it is looked whether the server has ended a connection that is not read.
const LOOK: Duration = Duration::from_millis(250);

/// A bulk query and what has come of its answer.
struct Asked {
    query: Query,
    xid: u32,
    answers: Answers,
    /// Octets of the answer.
    octets: u64,
    /// Bindings or clients told.
    told: u64,
}

/// Asks for what is the relay's on a connection of its own.
async fn ask(context: &Rc<Context>, round: &Round, with: With) -> Option<(Link, Asked)> {
    let relay = round.relay;
    let Some(query) = context.query(relay, relay) else {
        return unaskable(context, relay);
    };
    let xid = context.xid(context.random());
    let Ok(request) = query.bulk_request(xid) else {
        return unaskable(context, relay);
    };
    let mut link = open(context, round, with).await?;
    let mut answers = Answers::like(&query);
    answers.add(xid);
    match link.send(&request).await {
        Ok(()) => Some((
            link,
            Asked {
                query,
                xid,
                answers,
                octets: 0,
                told: 0,
            },
        )),
        Err(error) => {
            ended(context, round, None, &error);
            None
        }
    }
}

impl Asked {
    /// Reads what is there, or comes next.
    async fn read(&mut self, link: &mut Link) -> Result<(), LinkError> {
        let Self {
            answers,
            octets,
            told,
            ..
        } = self;
        link.receive(&mut |received| {
            *octets += received.len() as u64;
            answers.push(received, &mut |event| {
                if let Event::Done(done) = event {
                    *told = done.bindings;
                }
            })
        })
        .await
    }
}

/// Counts a connection that is of no more use.
fn ended(context: &Context, round: &Round, asked: Option<&Asked>, error: &LinkError) {
    let report = &context.report;
    match (error, asked) {
        (LinkError::Stopped | LinkError::Late(_), _) => {}
        (LinkError::Protocol { octets, .. }, Some(asked)) => {
            let words = QueryWords {
                kind: "bulk",
                query: &asked.query,
                xid: asked.xid,
            };
            if let Some(kind) = error.kind() {
                report.fault(kind, round.relay, words, error, octets);
            }
        }
        (_, Some(asked)) if asked.octets > 0 => report.count(Count::EndedByServer, 1),
        _ => report.count(Count::Refused, 1),
    }
}

/// Reads less than the server could send, to the answer's end.
pub(super) async fn slowly(context: &Rc<Context>, round: &Round) {
    let with = With {
        is_narrow: true,
        ..With::default()
    };
    let Some((mut link, mut asked)) = ask(context, round, with).await else {
        return;
    };
    let rate = context.group.octets_per_second.unwrap_or(SLOWLY).max(1);
    let most = (rate / READS).max(1);
    link.read_at_most(usize::try_from(most).unwrap_or(usize::MAX));
    link.set_patience(None);
    let begun = Instant::now();
    while asked.answers.running() > 0 {
        // When what was read so far is due at that rate.
        let due = begun + Duration::from_secs_f64(asked.octets as f64 / rate as f64);
        if context.is_over() || !context.sleep_until(due, Phase::Settling).await {
            return;
        }
        let read = tokio::select! {
            biased;
            () = over(context) => return,
            read = asked.read(&mut link) => read,
        };
        if let Err(error) = read {
            return ended(context, round, Some(&asked), &error);
        }
    }
    context.report.measure(|measures| {
        measures.count(Count::Recoveries, 1);
        measures.count(Count::Bindings, asked.told);
    });
}

/// Reads a little and then nothing, and waits for the server to end the connection.
pub(super) async fn not_at_all(context: &Rc<Context>, round: &Round) {
    let with = With {
        is_narrow: true,
        ..With::default()
    };
    let Some((mut link, mut asked)) = ask(context, round, with).await else {
        return;
    };
    let after = context.group.after.unwrap_or(0);
    if !read_until(context, round, &mut link, &mut asked, after).await {
        return;
    }
    // It reads nothing, so that only a look at the socket tells.
    link.set_patience(None);
    while !link.connection().has_ended() {
        let next = Instant::now() + LOOK;
        if context.is_over() || !context.sleep_until(next, Phase::Settling).await {
            return;
        }
    }
    context.report.count(Count::EndedByServer, 1);
}

/// Reads a little and resets the connection.
pub(super) async fn reset(context: &Rc<Context>, round: &Round) {
    let with = With {
        resets: true,
        ..With::default()
    };
    let Some((mut link, mut asked)) = ask(context, round, with).await else {
        return;
    };
    let after = context.group.after.unwrap_or(1);
    read_until(context, round, &mut link, &mut asked, after).await;
}

/// Reads so many octets of an answer, or all; `false`: the connection or the run's duration has ended.
async fn read_until(
    context: &Rc<Context>,
    round: &Round,
    link: &mut Link,
    asked: &mut Asked,
    after: u64,
) -> bool {
    while let Some(left) = after.checked_sub(asked.octets).filter(|left| *left > 0)
        && asked.answers.running() > 0
    {
        link.read_at_most(usize::try_from(left).unwrap_or(usize::MAX));
        let read = tokio::select! {
            biased;
            () = over(context) => return false,
            read = asked.read(link) => read,
        };
        if let Err(error) = read {
            ended(context, round, Some(asked), &error);
            return false;
        }
    }
    true
}
