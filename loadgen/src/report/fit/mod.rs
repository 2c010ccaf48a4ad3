//! Fitting models to what was measured, and how good the fit is.
//!
//! Errors are relative throughout: a model that is wrong by a second means much for a storm of two seconds and little for one
//! of ten minutes.

pub mod linear;
pub mod scalability;

/// The least share of the variance that a model explains which is to be believed.
const LEAST_EXPLAINED: f64 = 0.8;
/// Where there is little variance to be explained, a model this close to all points is to be believed as well.
const CLOSE: f64 = 0.05;

/// How good a fit is.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Points it was fitted to.
    pub points: usize,
    /// Share of the values' variance that the model explains; `None` if they are all the same.
    pub r_squared: Option<f64>,
    /// Root of the mean square of the relative errors.
    pub rms: f64,
    /// The largest relative error.
    pub worst: f64,
    /// Root of the mean square of the relative errors of points that were each left out of a fit of their own; `None` with too
    /// few points.
    pub left_out: Option<f64>,
}

impl Quality {
    /// The model says what was measured: it explains most of the variance, or is close to every point.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rms <= CLOSE || self.r_squared.is_some_and(|share| share >= LEAST_EXPLAINED)
    }
}

/// The quality of a fit that says `said` where `measured` was found. Values are taken as not smaller than `floor` where they
/// divide.
#[must_use]
pub fn quality(measured: &[f64], said: &[f64], left_out: Option<&[f64]>, floor: f64) -> Quality {
    let mean = measured.iter().sum::<f64>() / measured.len().max(1) as f64;
    let variance: f64 = measured.iter().map(|value| (value - mean).powi(2)).sum();
    let rest: f64 = measured
        .iter()
        .zip(said)
        .map(|(value, said)| (value - said).powi(2))
        .sum();
    let errors = |said: &[f64]| -> Vec<f64> {
        measured
            .iter()
            .zip(said)
            .map(|(value, said)| (said - value).abs() / value.abs().max(floor))
            .collect()
    };
    let fitted = errors(said);
    Quality {
        points: measured.len(),
        r_squared: (variance > mean * mean * 1e-12).then(|| 1.0 - rest / variance),
        rms: rms(&fitted),
        worst: fitted.iter().copied().fold(0.0, f64::max),
        left_out: left_out.map(|said| rms(&errors(said))),
    }
}

/// The least that a value counts where others are divided by it: a thousandth of the largest.
#[must_use]
pub fn floor(values: impl Iterator<Item = f64>) -> f64 {
    values.map(f64::abs).fold(0.0, f64::max) * 1e-3
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len().max(1) as f64).sqrt()
}

/// Values that scatter evenly around zero, the same ones each time; for tests.
#[cfg(test)]
pub fn noise() -> impl Iterator<Item = f64> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    })
}
