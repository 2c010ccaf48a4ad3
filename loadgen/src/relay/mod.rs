//! What a relay does: one module a behaviour, and the places at which relays take turns.

pub mod answers;
pub mod context;
pub mod follow;
pub mod parallel;
pub mod recover;
pub mod recover_then_follow;
pub mod report;
pub mod rude;
pub mod udp;
pub mod words;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use context::Context;

use crate::result::State;
use crate::scenario::{Behaviour, Rounds};
use crate::work::board::Phase;

/// One round of one relay at its place.
pub struct Round {
    /// Number of the relay.
    pub relay: u32,
    /// When it is to begin: of a place's first round when the place was to begin, whether or not anybody had time for it.
    pub due: Instant,
    context: Rc<Context>,
    state: Rc<Cell<State>>,
}

impl Round {
    /// The relay is at something else now.
    pub fn enter(&self, state: State) {
        let before = self.state.replace(state);
        if before != state {
            self.context.report.state(Some(before), state);
        }
    }
}

/// Runs place `place` of a group: from its time on, its relays one after the other, as often as the group says.
pub async fn run_place(context: Rc<Context>, place: u32) {
    let at_once = context.at_once.max(1);
    let begin = context.begin
        + context
            .group
            .window
            .get()
            .mul_f64(f64::from(place) / f64::from(at_once));
    let state = Rc::new(Cell::new(State::Waiting));
    context.report.state(None, State::Waiting);
    let enter = |next| {
        context.report.state(Some(state.replace(next)), next);
    };
    let mut turn = 0_u64;
    let mut due = begin;
    if context.sleep_until(begin, Phase::Settling).await {
        while let Some(relay) = relay_of(&context, place, turn) {
            let round = Round {
                relay,
                due,
                context: context.clone(),
                state: state.clone(),
            };
            run(&context, &round).await;
            context.report.worked_since(begin);
            turn += 1;
            let is_last = relay_of(&context, place, turn).is_none();
            if is_last {
                break;
            }
            enter(State::Pausing);
            let next = Instant::now() + context.group.pause.get();
            if !context.sleep_until(next, Phase::Settling).await {
                break;
            }
            due = next;
        }
    }
    enter(State::Done);
}

/// Whose turn it is at a place after so many others; `None`: nobody's, the place is done.
fn relay_of(context: &Context, place: u32, turn: u64) -> Option<u32> {
    let (relays, at_once) = (context.relays, context.at_once.max(1));
    // Relays place, place + at_once, ...
    let own = relays.checked_sub(place)?.div_ceil(at_once);
    if own == 0 {
        return None;
    }
    let is_over = match context.group.rounds {
        Rounds::Times(times) => turn >= u64::from(times) * u64::from(own),
        Rounds::UntilEnd => turn > 0 && context.is_over(),
    };
    let relay = place + (turn % u64::from(own)) as u32 * at_once;
    (!is_over && context.phase() < Phase::Settling).then_some(relay)
}

async fn run(context: &Rc<Context>, round: &Round) {
    match context.group.behaviour {
        Behaviour::Recover => recover::run(context, round).await,
        Behaviour::Follow => follow::run(context, round).await,
        Behaviour::RecoverThenFollow => recover_then_follow::run(context, round).await,
        Behaviour::Udp => udp::run(context, round).await,
        Behaviour::Parallel => parallel::run(context, round).await,
        Behaviour::ReadSlowly
        | Behaviour::StopReading
        | Behaviour::HalfQuery
        | Behaviour::Rubbish
        | Behaviour::Reset
        | Behaviour::Silent
        | Behaviour::Reconnect
        | Behaviour::IgnoreLimit => rude::run(context, round).await,
    }
}
