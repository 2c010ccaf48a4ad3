//! Follows as a relay does that wants to know at once: an active query, asked again from where it had come to whenever its
//! connection is lost, and what is missing then filled by bulk. What is told is checked over all connections together.

mod line;
mod listener;
mod settings;

use std::cell::{OnceCell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leaseq_requestor::client::now as unix_now;
use leaseq_requestor::follow::{Action, FollowSettings, Follower, Line, Notice};
use leaseq_wire::time::UnixSeconds;
use tokio::time::Sleep;

use super::Round;
use super::context::Context;
use super::recover::unaskable;
use crate::check::Picture;
use crate::net::channel::LinkError;
use crate::work::board::Phase;
use line::{Happened, Wire};
use listener::Listener;

/// What the followers of a group on one thread share, made by the first of them.
#[derive(Default)]
pub struct Shared(OnceCell<Arc<FollowSettings>>);

/// One round: follows until the run settles and everything is heard.
pub async fn run(context: &Rc<Context>, round: &Round) {
    let start = settings::start(context.group.catch_up, unix_now());
    let picture = start.map_or_else(Picture::nothing, |start| {
        Picture::as_of(settings::known_at(context, start))
    });
    follow(context, round, start, &picture).await;
}

/// Follows from this base-time on, with this in the picture already.
pub(super) async fn follow(
    context: &Rc<Context>,
    round: &Round,
    start: Option<UnixSeconds>,
    picture: &Picture,
) {
    let relay = round.relay;
    let Some(query) = context.query(relay, relay) else {
        return unaskable(context, relay).unwrap_or_default();
    };
    let settings = context
        .following
        .0
        .get_or_init(|| settings::settings(context));
    let now = Instant::now();
    let random = context.random();
    let Ok(follower) = Follower::new(query.clone(), start, settings.clone(), random, now) else {
        return unaskable(context, relay).unwrap_or_default();
    };
    let following = Following {
        context,
        round,
        wires: [Wire::default(), Wire::default()],
        listener: RefCell::new(Listener::new(context, relay, query, follower, picture)),
    };
    following.run().await;
}

/// A follower and its connections.
struct Following<'a> {
    context: &'a Rc<Context>,
    round: &'a Round,
    /// By [`Line`].
    wires: [Wire; 2],
    listener: RefCell<Listener<'a>>,
}

/// What a follower waits for has come.
enum Woken {
    Beat,
    Time,
    Wire(Line, Result<Happened, LinkError>),
}

impl Following<'_> {
    async fn run(mut self) {
        let mut beats = self.context.beats.clone();
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut settling = None;
        loop {
            if !self.work().await {
                return;
            }
            let listener = self.listener.get_mut();
            if self.context.phase() >= Phase::Settling {
                let until = *settling.get_or_insert_with(|| Instant::now() + self.context.patience);
                if self.context.is_stopped() {
                    return;
                }
                if listener.is_complete() || Instant::now() >= until {
                    return listener.end();
                }
            }
            if listener.is_hopeless() {
                return;
            }
            self.round.enter(listener.state());
            set(timer.as_mut(), listener.due());
            let [stream, fill] = &mut self.wires;
            let listener = &self.listener;
            let woken = tokio::select! {
                biased;
                happened = stream.wait(Line::Stream, listener) => Woken::Wire(Line::Stream, happened),
                happened = fill.wait(Line::Fill, listener) => Woken::Wire(Line::Fill, happened),
                _ = beats.changed() => Woken::Beat,
                () = timer.as_mut() => Woken::Time,
            };
            match woken {
                Woken::Wire(line, Ok(Happened::Connected)) => {
                    self.listener.get_mut().connected(line);
                }
                Woken::Wire(line, Err(error)) => {
                    self.wires[line as usize] = Wire::default();
                    self.listener.get_mut().lost(line, error);
                }
                Woken::Wire(_, Ok(Happened::Octets)) | Woken::Beat | Woken::Time => {}
            }
        }
    }

    /// Does all that is to be done now. `false`: there is no more to be done at all.
    async fn work(&mut self) -> bool {
        loop {
            let listener = self.listener.get_mut();
            match listener.step() {
                Action::Connect(line) => {
                    self.wires[line as usize] = Wire::connect(self.context, self.round.relay);
                }
                Action::Send(line, octets) => {
                    let octets = octets.to_vec();
                    let sent = self.wires[line as usize].send(&octets).await;
                    match sent {
                        Ok(()) => self.listener.get_mut().sent(line, &octets),
                        Err(error) => {
                            self.wires[line as usize] = Wire::default();
                            self.listener.get_mut().lost(line, error);
                        }
                    }
                }
                Action::Close(line) => self.wires[line as usize] = Wire::default(),
                Action::Notice(Notice::Asked(since)) => listener.asked(since),
                Action::Notice(Notice::Down { line, cause, .. }) => listener.down(line, cause),
                Action::WaitUntil(until) => {
                    listener.wait_until(until);
                    return true;
                }
            }
        }
    }
}

/// Sets a timer to come not later than that. It is left alone if it comes sooner: then it is set anew.
fn set(mut timer: std::pin::Pin<&mut Sleep>, until: Instant) {
    let until = tokio::time::Instant::from_std(until);
    if timer.is_elapsed() || until < timer.deadline() {
        timer.as_mut().reset(until);
    }
}
