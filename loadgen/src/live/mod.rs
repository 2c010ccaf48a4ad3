//! What somebody who waits for a run sees on standard error: on a terminal a view that is redrawn, elsewhere a line an interval.

mod board;
mod line;
pub mod number;
pub mod summary;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use crate::fault::FaultKind;
use crate::measure::Measures;
use crate::result::Sample;
use crate::scenario::{Kind, Scenario};
use board::Board;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Relays are at work.
    Running,
    /// The duration is over; relays with an end of their own come to it.
    Finishing,
    /// Followers wait for the last changes.
    Settling,
    /// A signal ended it early.
    Interrupted,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Settling => "settling",
            Self::Interrupted => "interrupted, ending",
        }
    }
}

/// What has come in so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoFar<'a> {
    pub sample: &'a Sample,
    pub total: &'a Measures,
    pub faults: &'a BTreeMap<FaultKind, u64>,
    pub stage: Stage,
    /// Seconds that the relays are at work, as the scenario has it.
    pub duration: f64,
}

/// Shows how a run goes.
pub struct View {
    to: To,
    stage: Stage,
    duration: f64,
}

enum To {
    Terminal(Option<Board>),
    Lines,
    Caller(Box<dyn FnMut(&Sample)>),
    Nobody,
}

impl View {
    /// On standard error: a view if that is a terminal, else lines.
    #[must_use]
    pub fn on_standard_error() -> Self {
        Self::to(match io::stderr().is_terminal() {
            true => To::Terminal(None),
            false => To::Lines,
        })
    }

    /// Gives every sample to a caller.
    #[must_use]
    pub fn calling(caller: impl FnMut(&Sample) + 'static) -> Self {
        Self::to(To::Caller(Box::new(caller)))
    }

    /// Shows nothing.
    #[must_use]
    pub fn nowhere() -> Self {
        Self::to(To::Nobody)
    }

    fn to(to: To) -> Self {
        Self {
            to,
            stage: Stage::Running,
            duration: 0.0,
        }
    }

    /// Something that is worth a line of its own.
    pub fn note(&self, text: &str) {
        match &self.to {
            To::Terminal(Some(board)) => board.above(text),
            To::Terminal(None) | To::Lines => eprintln!("{text}"),
            To::Caller(_) | To::Nobody => {}
        }
    }

    /// One run of a sweep begins.
    pub(crate) fn point(&self, number: usize, of: usize, scenario: &Scenario) {
        let mut values = format!(
            "{} relays, {} bindings each",
            scenario.data.relays, scenario.data.bindings_per_relay
        );
        if let Some(changes) = &scenario.changes {
            values += &format!(", {} changes/s", changes.per_second);
        }
        if scenario.udp_per_second() > 0.0 {
            values += &format!(", {} UDP queries/s", scenario.udp_per_second());
        }
        self.note(&format!("run {} of {of}: {values}", number + 1));
    }

    /// A server is started or looked for.
    pub(crate) fn opening(&self, scenario: &Scenario) {
        let target = &scenario.target;
        if !target.is_given() {
            let families = scenario.families().len() as u64;
            let bindings =
                u64::from(scenario.data.relays) * u64::from(scenario.data.bindings_per_relay);
            return self.note(&format!(
                "starting a server with {} bindings of {} relays",
                number::count((families * bindings) as f64),
                number::count(scenario.data.relays.into()),
            ));
        }
        match &target.expect {
            Some(path) => self.note(&format!("reading what the server holds from {}", path.display())),
            None => self.note(
                "what the server holds is not known (no --expect): only the form of its answers is checked",
            ),
        }
    }

    /// Limits or timeouts are tested.
    pub(crate) fn probing(&self, scenario: &Scenario) {
        self.note(match scenario.kind {
            Kind::Limits => "looking for the limits",
            Kind::Timeouts => "waiting for the timeouts",
            Kind::Load => "running",
        });
    }

    /// Relays begin.
    pub(crate) fn begins(&mut self, scenario: &Scenario) {
        self.stage = Stage::Running;
        self.duration = scenario.duration.get().as_secs_f64();
        if let To::Terminal(board) = &mut self.to {
            *board = Some(Board::new());
        }
    }

    /// Where it is now.
    pub(crate) fn stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// An interval is over.
    pub(crate) fn interval(
        &mut self,
        sample: &Sample,
        total: &Measures,
        faults: &BTreeMap<FaultKind, u64>,
    ) {
        let so_far = SoFar {
            sample,
            total,
            faults,
            stage: self.stage,
            duration: self.duration,
        };
        match &mut self.to {
            To::Terminal(Some(board)) => board.show(&so_far),
            To::Lines => eprintln!("{}", line::of(&so_far)),
            To::Caller(caller) => caller(sample),
            To::Terminal(None) | To::Nobody => {}
        }
    }

    /// Relays have ended.
    pub(crate) fn ends(&mut self) {
        if let To::Terminal(board) = &mut self.to
            && let Some(board) = board.take()
        {
            board.clear();
        }
    }
}

/// Relays by what they are at, as words.
pub(crate) fn states(sample: &Sample) -> Vec<String> {
    let states = sample.states.iter().filter(|(_, relays)| **relays > 0);
    states
        .map(|(state, relays)| {
            let name = match toml::Value::try_from(state) {
                Ok(toml::Value::String(name)) => name.replace('-', " "),
                _ => unreachable!("states are written as text"),
            };
            format!("{relays} {name}")
        })
        .collect()
}
