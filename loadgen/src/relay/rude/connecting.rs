//! Connects more often, or keeps more connections, than anybody should.

use std::rc::Rc;
use std::time::Instant;

use super::{BETWEEN, REFUSED_WITHIN, With, open};
use crate::measure::Count;
use crate::net::channel::Link;
use crate::relay::Round;
use crate::relay::context::Context;
use crate::work::board::Phase;

/// Connections that a place keeps at most: enough of them are more than any server allows, and none may use up our own
/// open files.
const KEPT: usize = 64;

/// Connects, closes, and connects again at once, until the run's duration is over.
pub(super) async fn again_and_again(context: &Rc<Context>, round: &Round) {
    while !context.is_over() {
        let begun = Instant::now();
        drop(open(context, round, With::default()).await);
        if !context.sleep_until(begun + BETWEEN, Phase::Settling).await {
            return;
        }
    }
}

/// Opens connections and keeps them, and another one whenever one is refused or ended, until the run's duration is over.
pub(super) async fn more_and_more(context: &Rc<Context>, round: &Round) {
    let mut kept: Vec<(Link, Instant)> = Vec::with_capacity(KEPT);
    // Which of the older ones is looked at next.
    let mut next = 0_usize;
    while !context.is_over() {
        let begun = Instant::now();
        if kept.len() < KEPT
            && let Some(link) = open(context, round, With::default()).await
        {
            kept.push((link, Instant::now()));
        }
        if !context.sleep_until(begun + BETWEEN, Phase::Settling).await {
            return;
        }
        // The newest one, and the others in turn.
        next += 1;
        let looked_at = [kept.len().checked_sub(1), next.checked_rem(kept.len())];
        for place in looked_at.into_iter().flatten() {
            let Some((link, connected)) = kept.get(place) else {
                continue;
            };
            if link.connection().has_ended() {
                let what = match connected.elapsed() < REFUSED_WITHIN {
                    true => Count::Refused,
                    false => Count::EndedByServer,
                };
                context.report.count(what, 1);
                kept.swap_remove(place);
            }
        }
    }
}
