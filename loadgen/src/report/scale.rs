//! Scales of axes: where a value stands, and which values get a tick.

use super::number::Unit;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// From the first to the second, evenly.
    Linear(f64, f64),
    /// From the first to the second (both above zero), by ratios.
    Log(f64, f64),
    /// Shares from 0 up to this one (below 1): equal steps for 90 %, 99 %, 99.9 %.
    Percentile(f64),
}

impl Scale {
    /// From zero to a round value that holds all of these.
    #[must_use]
    pub fn linear(values: impl Iterator<Item = f64>, unit: Unit) -> Self {
        let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        if largest <= 0.0 {
            return Self::Linear(0.0, 1.0);
        }
        let step = step(largest, unit);
        Self::Linear(0.0, (largest / step).ceil().max(1.0) * step)
    }

    /// By ratios if the largest of these is more than so many times the smallest, else evenly.
    #[must_use]
    pub fn fitting(values: &[f64], unit: Unit, ratio: f64) -> Self {
        let positive = || {
            values
                .iter()
                .copied()
                .filter(|value| value.is_finite() && *value > 0.0)
        };
        let smallest = positive().fold(f64::INFINITY, f64::min);
        let largest = positive().fold(0.0, f64::max);
        // A zero has no place on a scale by ratios.
        let has_zero = values.iter().any(|value| *value <= 0.0);
        match !has_zero && smallest.is_finite() && largest > smallest * ratio {
            true => Self::by_ratios(smallest, largest, unit),
            false => Self::linear(values.iter().copied(), unit),
        }
    }

    fn by_ratios(smallest: f64, largest: f64, unit: Unit) -> Self {
        match unit {
            Unit::Octets => Self::Log(smallest.log2().floor().exp2(), largest.log2().ceil().exp2()),
            _ => Self::Log(round_down(smallest), round_up(largest)),
        }
    }

    /// By ratios, over all of these that are above zero.
    #[must_use]
    pub fn log(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let smallest = positive.clone().fold(f64::INFINITY, f64::min);
        let largest = positive.fold(0.0, f64::max);
        match smallest.is_finite() {
            true => Self::Log(round_down(smallest), round_up(largest.max(smallest * 1.5))),
            false => Self::Log(1.0, 10.0),
        }
    }

    /// Where a value stands, 0 to 1 within the scale; `None` if it has no place on it.
    #[must_use]
    pub fn place(self, value: f64) -> Option<f64> {
        let place = match self {
            Self::Linear(from, to) => (value - from) / (to - from),
            Self::Log(from, to) => (value / from).ln() / (to / from).ln(),
            Self::Percentile(to) => nines(value) / nines(to),
        };
        (place.is_finite() && (-0.001..=1.001).contains(&place)).then_some(place)
    }

    /// Values with a tick, with their texts.
    #[must_use]
    pub fn ticks(self, unit: Unit) -> Vec<(f64, String)> {
        let values = match self {
            Self::Linear(from, to) => {
                let step = step(to - from, unit);
                let steps = ((to - from) / step).round().clamp(1.0, 20.0) as u32;
                (0..=steps)
                    .map(|index| from + f64::from(index) * step)
                    .collect()
            }
            Self::Log(from, to) if unit == Unit::Octets => powers_of_two(from, to),
            Self::Log(from, to) => log_ticks(from, to),
            Self::Percentile(to) => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999]
                .into_iter()
                .filter(|share| *share <= to)
                .collect::<Vec<_>>(),
        };
        let text = |value: f64| match self {
            Self::Percentile(_) => format!("{}%", (value * 1e8).round() / 1e6),
            _ => unit.tick(value),
        };
        values
            .into_iter()
            .map(|value| (value, text(value)))
            .collect()
    }
}

fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// A round step that gives 3 to 6 of them.
fn step(range: f64, unit: Unit) -> f64 {
    let rough = range / 5.0;
    let (base, steps): (f64, &[f64]) = match unit {
        Unit::Elapsed if range > 60.0 => (
            1.0,
            &[
                10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0,
                14_400.0, 28_800.0, 86_400.0,
            ],
        ),
        Unit::Octets => {
            let power = 1024_f64.powi((rough.max(1.0).ln() / 1024_f64.ln() + 1e-9).floor() as i32);
            (
                power,
                &[
                    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 256.0, 512.0, 1024.0,
                ],
            )
        }
        _ => (10_f64.powf(rough.log10().floor()), &[1.0, 2.0, 5.0, 10.0]),
    };
    steps
        .iter()
        .map(|step| step * base)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or_else(|| 10_f64.powf(rough.log10().ceil()))
}

/// The round values (1, 2, 5) of each decade, or the decades alone when there are many.
fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let decades = (to / from).log10();
    let round: &[f64] = match decades {
        _ if decades > 2.6 => &[1.0],
        _ if decades > 1.7 => &[1.0, 3.0],
        _ => &[1.0, 2.0, 5.0],
    };
    let first = from.log10().floor() as i32;
    // Beyond this there is no telling ticks apart.
    let every = ((decades / 7.0).ceil() as i32).max(1);
    (first..=to.log10().ceil() as i32)
        .step_by(every as usize)
        .flat_map(|decade| round.iter().map(move |round| round * 10_f64.powi(decade)))
        .filter(|tick| (from * 0.999..=to * 1.001).contains(tick))
        .collect()
}

/// At most eight powers of two, evenly.
fn powers_of_two(from: f64, to: f64) -> Vec<f64> {
    let (first, last) = (from.log2().ceil() as i32, to.log2().floor() as i32);
    let every = ((last - first) / 7 + 1).max(1);
    (first..=last)
        .step_by(every as usize)
        .map(|power| f64::from(power).exp2())
        .collect()
}

fn round_down(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let round = [5.0, 2.0, 1.0]
        .into_iter()
        .find(|round| round * decade <= value * 1.001);
    round.unwrap_or(1.0) * decade
}

fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|round| round * decade >= value * 0.999);
    round.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: Scale, unit: Unit) -> Vec<String> {
        scale
            .ticks(unit)
            .into_iter()
            .map(|(_, text)| text.replace('\u{a0}', " "))
            .collect()
    }

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        let linear = Scale::linear([3.0, 9.3].into_iter(), Unit::Number);
        assert_eq!(texts(linear, Unit::Number), ["0", "2", "4", "6", "8", "10"]);
        let gib = 1024_f64.powi(3);
        let memory = Scale::linear([0.2 * gib, 2.7 * gib].into_iter(), Unit::Octets);
        assert_eq!(
            texts(memory, Unit::Octets),
            ["0", "1 GiB", "2 GiB", "3 GiB"]
        );
        let wide = Scale::fitting(&[0.07 * gib, 2.7 * gib], Unit::Octets, 12.0);
        assert_eq!(
            texts(wide, Unit::Octets),
            [
                "64 MiB", "128 MiB", "256 MiB", "512 MiB", "1 GiB", "2 GiB", "4 GiB"
            ]
        );
        let hours = Scale::linear([7_100.0].into_iter(), Unit::Elapsed);
        assert_eq!(
            texts(hours, Unit::Elapsed),
            ["0", "30 min", "1 h", "1 h 30 min", "2 h"]
        );
        let log = Scale::fitting(&[0.002, 1.7], Unit::Seconds, 20.0);
        assert_eq!(texts(log, Unit::Seconds), ["10 ms", "100 ms", "1 s"]);
        let shares = Scale::Percentile(0.9995);
        assert_eq!(
            texts(shares, Unit::Share),
            ["0%", "50%", "90%", "99%", "99.9%"]
        );
    }

    #[test]
    fn places_run_from_end_to_end() {
        let log = Scale::Log(1.0, 100.0);
        assert_eq!((log.place(1.0), log.place(100.0)), (Some(0.0), Some(1.0)));
        assert!((log.place(10.0).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(
            (log.place(0.0), log.place(f64::NAN), log.place(1e9)),
            (None, None, None)
        );
        assert!((Scale::Percentile(0.9999).place(0.99).unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_and_zeros_and_wild_values_have_a_scale() {
        for values in [
            vec![],
            vec![0.0],
            vec![0.0, 0.0],
            vec![f64::NAN, f64::INFINITY],
            vec![1e-300, 1e300],
            vec![1e300],
        ] {
            for unit in [Unit::Number, Unit::Seconds, Unit::Octets, Unit::Elapsed] {
                for scale in [
                    Scale::linear(values.iter().copied(), unit),
                    Scale::log(values.iter().copied()),
                    Scale::fitting(&values, unit, 20.0),
                ] {
                    let ticks = scale.ticks(unit);
                    assert!(ticks.len() <= 40, "{values:?}: {} ticks", ticks.len());
                    for (tick, text) in ticks {
                        assert!(
                            tick.is_finite() && !text.contains("NaN"),
                            "{values:?} {unit:?}"
                        );
                    }
                }
            }
        }
    }
}
