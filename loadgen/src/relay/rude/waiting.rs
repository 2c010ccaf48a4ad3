//! Says nothing, too little or nonsense, and waits for the server to end the connection.

use std::rc::Rc;
use std::time::Instant;

use leaseq_wire::frame;

use super::{REFUSED_WITHIN, With, open, over};
use crate::measure::Count;
use crate::net::channel::Link;
use crate::relay::Round;
use crate::relay::context::Context;

/// Octets of nonsense.
const NONSENSE: usize = 300;

/// Says nothing.
pub(super) async fn silently(context: &Rc<Context>, round: &Round) {
    let Some(link) = open(context, round, With::default()).await else {
        return;
    };
    let connected = Instant::now();
    if end(context, link).await {
        let is_refused = connected.elapsed() < REFUSED_WITHIN;
        let what = match is_refused {
            true => Count::Refused,
            false => Count::EndedByServer,
        };
        context.report.count(what, 1);
    }
}

/// Sends half a query.
pub(super) async fn half_a_query(context: &Rc<Context>, round: &Round) {
    let relay = round.relay;
    let request = context
        .query(relay, relay)
        .and_then(|query| query.bulk_request(context.xid(context.random())).ok());
    match request {
        Some(request) => say(context, round, &request[..request.len() / 2]).await,
        None => super::super::recover::unaskable(context, relay).unwrap_or_default(),
    }
}

/// Sends octets that are no message: in a frame of their own length, without one, or in a frame without an end.
pub(super) async fn rubbish(context: &Rc<Context>, round: &Round) {
    let mut octets = vec![0; NONSENSE];
    for chunk in octets.chunks_mut(8) {
        let random = context.random().to_be_bytes();
        chunk.copy_from_slice(&random[..chunk.len()]);
    }
    let length = match context.random() % 3 {
        0 => (NONSENSE - frame::HEADER) as u16,
        1 => 0,
        _ => u16::MAX,
    };
    octets[..frame::HEADER].copy_from_slice(&length.to_be_bytes());
    say(context, round, &octets).await;
}

async fn say(context: &Rc<Context>, round: &Round, octets: &[u8]) {
    let Some(mut link) = open(context, round, With::default()).await else {
        return;
    };
    if link.send(octets).await.is_err() || end(context, link).await {
        context.report.count(Count::EndedByServer, 1);
    }
}

/// Reads and drops what comes until the server ends the connection; `false`: the run's duration was over before.
async fn end(context: &Rc<Context>, mut link: Link) -> bool {
    link.set_patience(None);
    let ended = async { while link.receive(&mut |_| Ok(())).await.is_ok() {} };
    tokio::select! {
        biased;
        () = over(context) => false,
        () = ended => !context.is_stopped(),
    }
}
