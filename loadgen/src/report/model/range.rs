//! What was measured, and how far from it a model is still asked.

/// How far beyond the measured range a model is still asked.
const REACH: f64 = 10.0;
/// How far beyond its ends is still at them: mean numbers of a given store differ by little.
const AT_THE_END: f64 = 0.02;

/// From the least to the most that was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least.
    pub from: f64,
    /// The most.
    pub to: f64,
}

/// Whether a value was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Within what was measured.
    Measured,
    /// Beyond, at most by [`REACH`].
    Extrapolated,
    /// Further away.
    NotMeasured,
}

impl Range {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        values.fold(
            Self {
                from: f64::INFINITY,
                to: 0.0,
            },
            |range, value| Self {
                from: range.from.min(value),
                to: range.to.max(value),
            },
        )
    }

    /// Where a value stands. A little beyond the ends is still at them.
    #[must_use]
    pub fn standing(self, value: f64) -> Standing {
        let within = |reach: f64| {
            (self.from / reach * (1.0 - AT_THE_END)..=self.to * reach * (1.0 + AT_THE_END))
                .contains(&value)
        };
        match value {
            _ if within(1.0) => Standing::Measured,
            _ if within(REACH) => Standing::Extrapolated,
            _ => Standing::NotMeasured,
        }
    }
}
