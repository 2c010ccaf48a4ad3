//! Progress of long work: a bar on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use leaseq_store::{LoadPhase, LoadProgress};

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Octets of files.
    Octets,
    /// Leases.
    Leases,
}

/// A bar on standard error, if that is a terminal.
pub fn bar(what: &'static str, total: u64, unit: Unit) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target).with_message(what);
    let template = match unit {
        Unit::Octets => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
        Unit::Leases => "{msg} {wide_bar} {human_pos}/{human_len} {eta}",
    };
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

/// Shows how far the opening of a store has come.
pub fn of_opening() -> Arc<dyn Fn(LoadProgress) + Send + Sync> {
    let shown: Mutex<Option<(LoadPhase, ProgressBar)>> = Mutex::new(None);
    Arc::new(move |progress: LoadProgress| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown
            .as_ref()
            .is_none_or(|(phase, _)| *phase != progress.phase)
        {
            let what = match progress.phase {
                LoadPhase::Checkpoint => "reading the checkpoint",
                LoadPhase::Scan => "reading the log",
            };
            *shown = Some((progress.phase, bar(what, progress.total, Unit::Octets)));
        }
        if let Some((_, bar)) = &*shown {
            bar.set_position(progress.done);
            if progress.done >= progress.total {
                bar.finish_and_clear();
            }
        }
    })
}
