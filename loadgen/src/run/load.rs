//! Runs the kind `load`: groups of relays at work, changes beside them, and what everybody uses meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::site::Site;
use super::{Interrupt, RunError, bottleneck, probing, require, samples};
use crate::changes::{Driven, Driver};
use crate::environment;
use crate::fault::{Fault, FaultKind};
use crate::live::{Stage, View};
use crate::measure::clock::now_ns;
use crate::measure::usage::{Machine, Reading, Sampler};
use crate::result::{Finding, KEPT_FAULTS, Point, State};
use crate::scenario::{Behaviour, Group, Rounds, Scenario};
use crate::server::OwnError;
use crate::work::board::{Board, Phase};
use crate::work::plan::{Plan, Progress};
use crate::work::processes::{Workers, how_many};
use crate::work::threads::schedule;

/// How often the coordinator looks around.
const LOOK: Duration = Duration::from_millis(20);
/// From the decision to begin to the beginning: every thread has seen it by then.
const LEAD: Duration = Duration::from_millis(100);
/// How long an interrupted run may settle.
const INTERRUPTED: Duration = Duration::from_secs(5);
/// How much longer than the scenario's patience relays may settle before they are told to end.
const SETTLE_MARGIN: Duration = Duration::from_secs(10);
/// How long relays may take to end once they are told to.
const END: Duration = Duration::from_secs(60);
/// Changes of each family that there is room for beyond those of the duration.
const SPARE_CHANGES: f64 = 1_000.0;

/// Changes: being driven, or being waited for.
enum Changes {
    None,
    Driven(Driver),
    Awaited(JoinHandle<Driven>),
}

impl Changes {
    /// Submits no more; the last acknowledgements are waited for beside.
    fn stop(&mut self, patience: Duration) {
        *self = match std::mem::replace(self, Self::None) {
            Self::Driven(driver) => Self::Awaited(thread::spawn(move || driver.stop(patience))),
            other => other,
        };
    }

    /// None is submitted or waited for any more.
    fn is_quiet(&self) -> bool {
        match self {
            Self::None => true,
            Self::Driven(_) => false,
            Self::Awaited(thread) => thread.is_finished(),
        }
    }

    /// What became of them; waits for it.
    fn end(mut self, patience: Duration) -> Option<Driven> {
        self.stop(patience);
        match self {
            // A panic there has been told on standard error, and leaves nothing to tell.
            Self::Awaited(thread) => thread.join().ok(),
            Self::None | Self::Driven(_) => None,
        }
    }
}

/// A run whose relays are at work.
struct Run<'a> {
    scenario: &'a Scenario,
    site: &'a mut Site,
    board: Arc<Board>,
    changes: Changes,
    workers: Workers,
    /// Places of all groups, and those of them that have no end of their own, or that nobody waits for.
    places: u32,
    endless: u32,
    server: Option<Sampler>,
    generator: Sampler,
    samples: samples::Samples,
    latest: Progress,
    /// When relays begin.
    begin: Instant,
    /// When the phase was last changed.
    changed: Instant,
    server_ended: Option<OwnError>,
}

/// Runs it, and says what was measured.
pub(super) fn run(
    scenario: &Scenario,
    site: &mut Site,
    dir: &Path,
    number: usize,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<Point, RunError> {
    let system = |what| move |source| RunError::System { what, source };
    let board_path = dir.join(format!("board-{number}"));
    let board =
        Board::create(&board_path, capacity(scenario)).map_err(system("the run's board"))?;
    let plan = Plan {
        scenario: scenario.clone(),
        server4: site.server4,
        server6: site.server6,
        sources: site.sources.clone(),
        tls: site.tls.clone(),
        board: board_path,
        process: 0,
        processes: 1,
        interval: scenario.interval,
    };
    let mut workers = Workers::start(&plan, how_many(scenario), site.inventories.clone())?;
    while !workers.ready()? {
        if interrupt.is_asked() {
            board.set_phase(Phase::Stopping);
            break;
        }
        thread::sleep(LOOK);
    }
    let mut pids = workers.pids();
    pids.push(std::process::id());
    let machine = Machine::new();
    let (places, endless) = places(scenario, site);
    let begin = Instant::now() + LEAD;
    let board = Arc::new(board);
    let mut run = Run {
        scenario,
        server: site.pid.map(|pid| Sampler::new(&[pid])),
        site,
        changes: Changes::None,
        workers,
        places,
        endless,
        generator: Sampler::new(&pids),
        samples: samples::Samples::new(scenario.interval.get()),
        latest: Progress::default(),
        begin,
        changed: begin,
        server_ended: None,
        board,
    };
    run.begin().map_err(system("the server's feed"))?;
    view.begins(scenario);
    run.watch(view, interrupt)?;
    view.ends();
    run.end(&machine)
}

impl Run<'_> {
    /// Lets relays and changes begin.
    fn begin(&mut self) -> std::io::Result<()> {
        let board = &self.board;
        board.set_begin_ns(now_ns() + LEAD.as_nanos() as u64);
        // Unless it was interrupted before.
        if board.phase() == Phase::Preparing
            && let (Some(changes), Some(feed)) = (&self.scenario.changes, &self.site.feed)
        {
            let sides = self.site.inventories.values().filter_map(|inventory| {
                let schedule = schedule(self.scenario, inventory)?;
                Some((inventory.clone(), Arc::new(schedule)))
            });
            let driver = Driver::start(feed, changes, sides.collect(), board.clone())?;
            self.changes = Changes::Driven(driver);
            self.site.is_changed = true;
        }
        board.set_phase(Phase::Running);
        Ok(())
    }

    /// Looks around until all relays have ended.
    fn watch(&mut self, view: &mut View, interrupt: &Interrupt) -> Result<(), RunError> {
        let patience = self.scenario.patience.get();
        while !self.latest.is_finished {
            thread::sleep(LOOK);
            for progress in self.workers.poll()? {
                self.take(progress, view);
            }
            self.look_at_server();
            let (now, phase) = (Instant::now(), self.board.phase());
            let is_over = now >= self.begin + self.scenario.duration.get();
            if interrupt.is_urgent() || self.server_ended.is_some() {
                self.go_on(Phase::Stopping);
            } else if interrupt.is_asked() {
                self.changes.stop(INTERRUPTED);
                self.go_on(Phase::Settling);
            } else if is_over {
                self.changes.stop(patience);
                if self.changes.is_quiet() && self.only_endless_left() {
                    self.go_on(Phase::Settling);
                }
            }
            let settles_until = match interrupt.is_asked() {
                true => INTERRUPTED,
                false => patience + SETTLE_MARGIN,
            };
            if phase == Phase::Settling && now >= self.changed + settles_until {
                self.go_on(Phase::Stopping);
            }
            if phase == Phase::Stopping && now >= self.changed + END {
                return Err(RunError::Endless(END));
            }
            view.stage(match self.board.phase() {
                _ if interrupt.is_asked() => Stage::Interrupted,
                Phase::Preparing | Phase::Running if is_over => Stage::Finishing,
                Phase::Preparing | Phase::Running => Stage::Running,
                Phase::Settling | Phase::Stopping => Stage::Settling,
            });
        }
        Ok(())
    }

    fn go_on(&mut self, phase: Phase) {
        if self.board.phase() < phase {
            self.board.set_phase(phase);
            self.changed = Instant::now();
        }
    }

    fn take(&mut self, progress: Progress, view: &mut View) {
        let server = self.server.as_mut().map(Sampler::sample);
        let generator: Reading = self.generator.sample();
        let sample = self
            .samples
            .add(&progress, server.as_ref(), &generator)
            .clone();
        view.interval(&sample, &self.samples.total, &progress.faults);
        self.latest = progress;
    }

    fn look_at_server(&mut self) {
        if self.server_ended.is_none()
            && let Some(own) = &mut self.site.own
        {
            self.server_ended = own.look().err();
        }
    }

    /// Whoever has an end of his own has come to it.
    fn only_endless_left(&self) -> bool {
        let done = self
            .latest
            .states
            .get(&State::Done)
            .copied()
            .unwrap_or_default();
        self.places.saturating_sub(done) <= self.endless
    }

    fn end(mut self, machine: &Machine) -> Result<Point, RunError> {
        let patience = self.scenario.patience.get();
        self.board.set_phase(Phase::Stopping);
        let driven = self.changes.end(patience);
        let outcome = self.workers.join()?;
        let generator = self.generator.usage();
        let machine = machine.busy();
        let mut bottleneck = bottleneck::judge(&bottleneck::Own {
            outcome: &outcome,
            usage: &generator,
            changes: driven.as_ref().map(|driven| &driven.result),
            machine,
            cpus: environment::here().cpus,
            seconds: outcome.seconds,
        });
        let relays = self.site.relays(self.scenario);
        let bindings = self.site.bindings();
        let mut point = Point {
            relays,
            bindings_per_relay: probing::mean(bindings, relays, self.scenario),
            bindings,
            changes_per_second: self
                .scenario
                .changes
                .as_ref()
                .map_or(0.0, |changes| changes.per_second),
            udp_per_second: self.scenario.udp_per_second(),
            seconds: outcome.seconds,
            server: self.server.as_mut().map(|server| {
                server.sample();
                server.usage()
            }),
            generator,
            samples: std::mem::take(&mut self.samples.all),
            faults: outcome.faults,
            first_faults: outcome.first_faults,
            groups: outcome.groups,
            ..Point::default()
        };
        if let Some(driven) = driven {
            for (kind, more) in driven.faults {
                *point.faults.entry(kind).or_default() += more;
            }
            let room = KEPT_FAULTS.saturating_sub(point.first_faults.len());
            point
                .first_faults
                .extend(driven.first_faults.into_iter().take(room));
            bottleneck.reasons.extend(driven.reasons);
            point.changes = Some(driven.result);
        }
        point.bottleneck = bottleneck;
        if let Some(error) = &self.server_ended {
            lost_server(&mut point, error);
        }
        point.findings = require::findings(self.scenario, &point);
        Ok(point)
    }
}

/// Our own server has died: that is a fault of its own, before all that follow from it.
fn lost_server(point: &mut Point, error: &OwnError) {
    *point.faults.entry(FaultKind::Lost).or_default() += 1;
    point.first_faults.insert(
        0,
        Fault {
            kind: FaultKind::Lost,
            group: "server".to_owned(),
            relay: 0,
            query: "its process".to_owned(),
            text: error.to_string(),
            octets: String::new(),
        },
    );
    point.first_faults.truncate(KEPT_FAULTS);
}

/// What it says when our own server does not end as it should.
pub(super) fn ended_cleanly(error: &OwnError) -> Finding {
    Finding {
        what: "end of the server".to_owned(),
        expected: "exit status 0 after SIGTERM".to_owned(),
        found: error.to_string(),
        holds: false,
    }
}

/// What it says of a server whose bindings are not known.
pub(super) fn only_form() -> Finding {
    Finding {
        what: "content of answers".to_owned(),
        expected: "what the store holds".to_owned(),
        found: "not tested: without an export (expect) only the form of answers was checked"
            .to_owned(),
        holds: true,
    }
}

/// Changes of each family that there must be room for.
fn capacity(scenario: &Scenario) -> u64 {
    let Some(changes) = &scenario.changes else {
        return 0;
    };
    (changes.per_second * scenario.duration.get().as_secs_f64() + SPARE_CHANGES) as u64
}

/// Places of all groups, and those of them that go on until they are told to end.
fn places(scenario: &Scenario, site: &Site) -> (u32, u32) {
    let of = |group: &Group| {
        let relays = group.relays.of(site.relays_of(scenario, group.family));
        group.at_once.of(relays)
    };
    let all = scenario.group.iter().map(of).sum();
    let endless = scenario.group.iter().filter(|group| !has_end(group));
    (all, endless.map(of).sum())
}

/// The group's relays end by themselves, and it is worth waiting for them: rude ones may wait for the server for long.
fn has_end(group: &Group) -> bool {
    matches!(group.behaviour, Behaviour::Recover | Behaviour::Parallel)
        && matches!(group.rounds, Rounds::Times(_))
}
