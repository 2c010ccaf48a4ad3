//! Relays that do not keep to the rules: what a server must bear without anybody else noticing.
//!
//! What a server does to them is counted and is no fault; only octets that are none of the protocol are, whoever reads them.
//! They go on until the run's duration is over, however long what they have asked for would take.

mod connecting;
mod reading;
mod waiting;

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Round;
use super::context::Context;
use crate::measure::Count;
use crate::net::channel::{Link, LinkError};
use crate::net::connection::ConnectOptions;
use crate::result::State;
use crate::scenario::Behaviour;
use crate::work::board::Phase;

/// The least time between two connections of a place: even those that reconnect at once leave others some time.
const BETWEEN: Duration = Duration::from_millis(10);
/// A connection that ends so soon without having said anything was refused.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Octets of the kernel's receive buffer of those that do not read, unless the group says otherwise.
const NARROW: u32 = 4_096;

/// One round of a rude behaviour.
pub async fn run(context: &Rc<Context>, round: &Round) {
    let begun = Instant::now();
    if context.is_over() {
        return;
    }
    match context.group.behaviour {
        Behaviour::ReadSlowly => reading::slowly(context, round).await,
        Behaviour::StopReading => reading::not_at_all(context, round).await,
        Behaviour::Reset => reading::reset(context, round).await,
        Behaviour::HalfQuery => waiting::half_a_query(context, round).await,
        Behaviour::Rubbish => waiting::rubbish(context, round).await,
        Behaviour::Silent => waiting::silently(context, round).await,
        Behaviour::Reconnect => connecting::again_and_again(context, round).await,
        Behaviour::IgnoreLimit => connecting::more_and_more(context, round).await,
        Behaviour::Recover
        | Behaviour::Follow
        | Behaviour::RecoverThenFollow
        | Behaviour::Parallel
        | Behaviour::Udp => unreachable!("the polite ones have modules of their own"),
    }
    round.enter(State::Pausing);
    context.sleep_until(begun + BETWEEN, Phase::Settling).await;
}

/// Connects, with what the group says of it; `None`: there is no connection, which is counted.
async fn open(context: &Rc<Context>, round: &Round, with: With) -> Option<Link> {
    round.enter(State::Connecting);
    let options = ConnectOptions {
        server: context.server,
        source: context.source.map(|network| network.of(round.relay)),
        receive_buffer: match with.is_narrow {
            true => context.group.receive_buffer.or(Some(NARROW)),
            false => context.group.receive_buffer,
        },
        reset_on_close: with.resets,
        timeout: context.patience,
    };
    let opened = Link::open_with(context, &options).await;
    round.enter(State::Rude);
    match opened {
        Ok(link) => Some(link),
        Err(LinkError::Stopped) => None,
        Err(_) => {
            context.report.count(Count::Refused, 1);
            // Whatever the reason, it is likely to last a moment.
            let next = Instant::now() + context.backoff().next(context);
            context.sleep_until(next, Phase::Settling).await;
            None
        }
    }
}

/// How a connection is.
#[derive(Clone, Copy, Debug, Default)]
struct With {
    /// The kernel receives little.
    is_narrow: bool,
    /// Closing resets it.
    resets: bool,
}

/// Waits until the run's duration is over.
async fn over(context: &Context) {
    context
        .sleep_until(context.begin + context.duration, Phase::Settling)
        .await;
}
