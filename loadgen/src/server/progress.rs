//! Shows how the start of a server goes: a bar on a terminal, nothing elsewhere.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Step;

/// For [`super::Own::start`]: shows each step on standard error, if that is a terminal, and gives the start up when
/// `is_interrupted` is set.
pub fn on_terminal(is_interrupted: &AtomicBool) -> impl FnMut(Step) -> bool + '_ {
    let target = match io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = |template| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    bar.set_style(style("{msg} {wide_bar} {human_pos}/{human_len} {eta}"));
    move |step| {
        match step {
            Step::Filling { done, total } => {
                bar.set_message("filling the store");
                bar.set_length(total);
                bar.set_position(done);
            }
            Step::Starting => {
                bar.set_style(style("{spinner} {msg}"));
                bar.set_message("starting the server");
                bar.tick();
            }
            Step::Ready => bar.finish_and_clear(),
        }
        let goes_on = !is_interrupted.load(Ordering::Relaxed);
        if !goes_on {
            bar.finish_and_clear();
        }
        goes_on
    }
}
