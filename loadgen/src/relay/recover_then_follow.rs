//! Recovers, and follows from there: from the first base-time of the bulk answer, so that what changed while it came is told
//! again (RFC 7724 §3, RFC 7653 §3).

use std::rc::Rc;

use leaseq_wire::time::UnixSeconds;

use super::Round;
use super::context::Context;
use super::follow::follow;
use super::recover::recover;

/// One round: a recovery, and then following until the run settles and everything is heard.
pub async fn run(context: &Rc<Context>, round: &Round) {
    let Some(recovered) = recover(context, round).await else {
        return;
    };
    // An answer that told nothing has no base-time either: then whatever there is to know has changed since.
    let start = recovered.base_time.unwrap_or(UnixSeconds(0));
    follow(context, round, Some(start), &recovered.picture).await;
}
