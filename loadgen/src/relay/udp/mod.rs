//! Asks single queries over UDP about bindings at random, at a fixed rate or one after the other.
//!
//! The places of a group that are on the same thread ask together: there is one [`Asker`] with a few sockets, which sends and
//! reads by the batch.

mod asker;
mod check;
mod pace;
mod socket;
mod table;

use std::cell::OnceCell;
use std::rc::Rc;

pub use asker::Asker;

use super::Round;
use super::context::Context;
use crate::fault::FaultKind;
use crate::result::State;
use crate::work::board::Phase;

/// The asker of a group's places on one thread, made by the first of them.
#[derive(Default)]
pub struct Askers(OnceCell<Option<Rc<Asker>>>);

/// One round: asks until the run is over, and waits for the last answers.
pub async fn run(context: &Rc<Context>, round: &Round) {
    round.enter(State::Asking);
    let asker = context
        .askers
        .0
        .get_or_init(|| match Asker::start(context) {
            Ok(asker) => Some(asker),
            Err(error) => {
                let text = format!("no UDP socket: {error}");
                let (kind, report) = (FaultKind::NotConnected, &context.report);
                report.fault(kind, round.relay, "udp", text, &[]);
                None
            }
        });
    match asker {
        Some(asker) => {
            asker.join(context, round.relay);
            asker.finished().await;
        }
        None => context.reaches(Phase::Settling).await,
    }
}
