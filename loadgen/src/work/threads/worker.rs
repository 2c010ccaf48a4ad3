//! One thread of relays: its ring, its groups, its places.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_uring::Runtime;

use super::prepare::{Shared, WorkError};
use super::{Message, ticker};
use crate::measure::Times;
use crate::net::channel::{Buffers, OpenLinks};
use crate::relay::context::{Beat, Context, Random};
use crate::relay::follow::Shared as Followers;
use crate::relay::report::{Report, ThreadReport};
use crate::relay::run_place;
use crate::relay::udp::Askers;
use crate::result::GroupResult;
use crate::work::plan::{Outcome, Progress};

/// Operations that can be handed to the kernel at a time, and completions that can wait: each connection waits for one.
const RING_ENTRIES: u32 = 4_096;
const COMPLETION_ENTRIES: u32 = 32_768;
/// Relays of a thread that connect at a time.
const CONNECTING: usize = 256;
/// How long relays may take to end once everything ends at once.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Runs those of the plan's places whose turn is `place` of `of`, once `begins` says when, and tells of them.
pub(super) fn run(
    shared: &Shared,
    thread: usize,
    (place, of): (u32, u32),
    begins: &Receiver<Instant>,
    messages: &Sender<Message>,
) -> Result<(), WorkError> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_cqsize(COMPLETION_ENTRIES);
    let runtime = Runtime::new(
        tokio_uring::builder()
            .entries(RING_ENTRIES)
            .uring_builder(&ring),
    )
    .map_err(|source| WorkError::System {
        what: "set up io_uring (where a seccomp profile blocks it, as those of container runtimes do, it must be allowed)",
        source,
    })?;
    let Ok(begin) = begins.recv() else {
        // Another thread could not be made.
        return Ok(());
    };
    runtime.block_on(work(shared, thread, (place, of), begin, messages))
}

async fn work(
    shared: &Shared,
    thread: usize,
    (place, of): (u32, u32),
    begin: Instant,
    messages: &Sender<Message>,
) -> Result<(), WorkError> {
    let thread_report = Rc::<ThreadReport>::default();
    let beat = Beat {
        phase: shared.board.phase(),
        number: 0,
    };
    let (beats, heard) = watch::channel(beat);
    let links = OpenLinks::default();
    let contexts = contexts(shared, place, begin, &thread_report, &links, &heard);
    let mut places = JoinSet::new();
    for (context, group) in contexts.iter().zip(&shared.groups) {
        let own = |number: &u32| group.before.wrapping_add(*number) % of == place;
        for number in (0..group.at_once).filter(own) {
            places.spawn_local(run_place(context.clone(), number));
        }
    }
    let lateness = Rc::new(RefCell::new(Times::default()));
    let is_stuck = Rc::new(tokio::sync::Notify::new());
    let tell = {
        let (contexts, report) = (contexts.clone(), thread_report.clone());
        move || {
            let mut progress = Progress {
                at: begin.elapsed().as_secs_f64(),
                states: report.states(),
                faults: report.faults(),
                ..Progress::default()
            };
            for context in &contexts {
                progress.since_last.add(&context.report.take());
            }
            let progress = Box::new(progress);
            // If nobody listens any more, everything ends.
            let _ = messages.send(Message::Interval { thread, progress });
        }
    };
    let on_tick = {
        let (is_stuck, interval) = (is_stuck.clone(), shared.plan.interval.get());
        let (tell, mut due) = (&tell, begin + interval);
        move |stopped: Option<Duration>| {
            if stopped.is_some_and(|since| since > LAST_MOMENTS) {
                is_stuck.notify_one();
            }
            if due <= Instant::now() {
                tell();
                // On the beat of all threads, so that they tell of the same intervals.
                while due <= Instant::now() {
                    due += interval;
                }
            }
        }
    };
    let ended = async {
        while let Some(ended) = places.join_next().await {
            ended.map_err(|error| WorkError::Failed(error.to_string()))?;
        }
        Ok(())
    };
    let ended = tokio::select! {
        biased;
        ended = ended => ended,
        () = is_stuck.notified() => Ok(()),
        () = ticker::run(&shared.board, beats, links.clone(), lateness.clone(), on_tick) => Ok(()),
    };
    places.abort_all();
    links.shutdown();
    tell();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let outcome = Outcome {
        groups: contexts
            .iter()
            .map(|context| GroupResult {
                name: context.group.name.clone(),
                relays: context.relays,
                at_once: context.at_once,
                seconds: context.report.seconds(),
                measures: context.report.total(),
            })
            .collect(),
        faults: thread_report.faults(),
        first_faults: thread_report.first_faults(),
        scheduling: lateness.take(),
        thread_cpu: vec![cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9],
        seconds: begin.elapsed().as_secs_f64(),
    };
    // As above.
    let _ = messages.send(Message::Ended(Box::new(outcome)));
    ended
}

/// What each group's relays on this thread share.
fn contexts(
    shared: &Shared,
    place: u32,
    begin: Instant,
    thread_report: &Rc<ThreadReport>,
    links: &OpenLinks,
    beats: &watch::Receiver<Beat>,
) -> Vec<Rc<Context>> {
    let scenario = &shared.plan.scenario;
    let buffers = Buffers::default();
    let connecting = Rc::new(Semaphore::new(CONNECTING));
    let groups = scenario.group.iter().zip(&shared.groups).zip(0_u64..);
    groups
        .filter_map(|((group, plan), number)| {
            let side = shared.sides.get(&group.family)?;
            let seed = Random::new(scenario.seed ^ number << 40 ^ u64::from(place) << 20);
            Some(Rc::new(Context {
                group: group.clone(),
                family: group.family.into(),
                server: plan.server,
                tls: shared.tls.clone().filter(|_| group.tls),
                source: plan.source,
                patience: scenario.patience.get(),
                relays: plan.relays,
                at_once: plan.at_once,
                inventory: side.inventory.clone(),
                is_known: side.is_known,
                schedule: side.schedule.clone(),
                board: shared.board.clone(),
                begin,
                duration: scenario.duration.get(),
                report: Report::new(thread_report.clone(), &group.name),
                buffers: buffers.clone(),
                links: links.clone(),
                connecting: connecting.clone(),
                beats: beats.clone(),
                random: seed,
                askers: Askers::default(),
                following: Followers::default(),
            }))
        })
        .collect()
}
