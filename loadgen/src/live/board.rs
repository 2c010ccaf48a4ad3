//! The view on a terminal: some lines that are redrawn once an interval.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{SoFar, number, states};
use crate::measure::{Measures, Times};

/// Lines of the view.
const LINES: usize = 7;

/// The view.
pub(super) struct Board {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

impl Board {
    /// Begins to draw on standard error.
    pub fn new() -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let line = |_| all.add(ProgressBar::new_spinner().with_style(style.clone()));
        let lines = (0..LINES).map(line).collect();
        Self { all, lines }
    }

    /// Draws.
    pub fn show(&self, so_far: &SoFar<'_>) {
        for (line, text) in self.lines.iter().zip(lines(so_far)) {
            line.set_message(text);
            line.tick();
        }
    }

    /// A line that stays, above the view.
    pub fn above(&self, text: &str) {
        // A terminal that cannot be written to is nobody's loss.
        let _ = self.all.println(text);
    }

    /// Removes the view.
    pub fn clear(self) {
        let _ = self.all.clear();
    }
}

fn lines(so_far: &SoFar<'_>) -> [String; LINES] {
    let (sample, total) = (so_far.sample, so_far.total);
    let Measures {
        recovery,
        propagation,
        udp,
        ..
    } = total;
    let server = match (sample.server_cpus, sample.server_resident) {
        (Some(cpus), Some(memory)) => {
            format!("server {cpus:.2} CPUs, {}; ", number::octets(memory as f64))
        }
        _ => String::new(),
    };
    [
        format!(
            "{} {:.0} s of {:.0} s",
            so_far.stage.name(),
            sample.at,
            so_far.duration
        ),
        format!("  relays       {}", states(sample).join(", ")),
        format!(
            "  told         {} bindings/s, {} messages/s, {} UDP/s, {}/s",
            number::count(sample.bindings_per_second.round()),
            number::count(sample.messages_per_second.round()),
            number::count(sample.udp_per_second.round()),
            number::octets(sample.octets_per_second),
        ),
        format!("  recovery     {}", times(recovery)),
        format!("  propagation  {}; UDP {}", times(propagation), times(udp)),
        format!(
            "  used         {server}generator {:.2} CPUs",
            sample.generator_cpus
        ),
        match sample.faults {
            0 => "  faults       none".to_owned(),
            _ => {
                let kinds = so_far.faults.iter();
                let kinds: Vec<_> = kinds
                    .map(|(kind, count)| format!("{count} {}", kind.name()))
                    .collect();
                format!("  faults       {}", kinds.join(", "))
            }
        },
    ]
}

/// So far.
fn times(times: &Times) -> String {
    if times.is_empty() {
        return "none".to_owned();
    }
    format!(
        "p50 {}, p99 {}, longest {} ({})",
        number::seconds(times.quantile(0.5)),
        number::seconds(times.quantile(0.99)),
        number::seconds(times.max()),
        number::count(times.count() as f64),
    )
}
