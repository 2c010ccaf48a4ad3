//! Figures as people read them: rounded to what is worth saying, with a unit.

/// What a figure that does not exist looks like.
pub const NONE: &str = "\u{2013}";

/// The unit of an axis or a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things that are counted.
    Number,
    /// Things a second.
    Rate,
    /// Seconds, as short as latencies are.
    Seconds,
    /// Seconds since a beginning.
    Elapsed,
    /// Octets of memory.
    Octets,
    /// CPU seconds a second.
    Cores,
    /// A share from 0 to 1, as a percentage.
    Share,
}

impl Unit {
    /// A figure of it, for a table.
    #[must_use]
    pub fn exact(self, value: f64) -> String {
        match self {
            Self::Number => count(value),
            Self::Rate => format!("{}/s", short(value)),
            Self::Seconds => seconds(value),
            Self::Elapsed => elapsed(value),
            Self::Octets => octets(value),
            Self::Cores => significant(value, 3),
            Self::Share => percent(value),
        }
    }

    /// A figure of it, for a tick of an axis.
    #[must_use]
    pub fn tick(self, value: f64) -> String {
        match self {
            Self::Number | Self::Rate => short(value),
            Self::Cores => significant(value, 3),
            _ if value == 0.0 => "0".into(),
            _ => self.exact(value),
        }
    }
}

/// So many significant digits at least; digits before the point are all kept, with separators.
#[must_use]
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    if value == 0.0 {
        return "0".into();
    }
    // Beyond this, a figure is no figure of a machine; and below that, it is nothing.
    if value.abs() >= 1e15 || value.abs() < 1e-9 {
        return format!("{value:.1e}");
    }
    let before = value.abs().log10().floor() as i64 + 1;
    let after = (digits as i64 - before).clamp(0, 12) as usize;
    let text = format!("{value:.after$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    separated(text)
}

fn separated(text: &str) -> String {
    let (sign, text) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("\u{2212}", rest));
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(w, f)| (w, Some(f)));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A number of things: whole from 100 on.
#[must_use]
pub fn count(value: f64) -> String {
    significant(value, 3)
}

/// A number of things in three digits: `1.2 M`.
#[must_use]
pub fn short(value: f64) -> String {
    scaled(value, &[(1e9, "G"), (1e6, "M"), (1e4, "k")], "", 1e3)
}

fn scaled(value: f64, units: &[(f64, &str)], plain: &str, k: f64) -> String {
    if !value.is_finite() {
        return NONE.into();
    }
    for (unit, name) in units {
        // A little below, so that 999,999 does not become 1,000 k.
        if value.abs() >= unit * 0.9995 {
            let divisor = if *name == "k" { k } else { *unit };
            return format!("{}\u{a0}{name}", significant(value / divisor, 3));
        }
    }
    match plain {
        "" => significant(value, 3),
        _ => format!("{}\u{a0}{plain}", significant(value, 3)),
    }
}

/// A time: microseconds to hours.
#[must_use]
pub fn seconds(value: f64) -> String {
    match value {
        _ if !value.is_finite() => NONE.into(),
        _ if value == 0.0 => "0\u{a0}s".into(),
        _ if value.abs() < 0.999_5e-3 => format!("{}\u{a0}\u{b5}s", significant(value * 1e6, 3)),
        _ if value.abs() < 0.999_5 => format!("{}\u{a0}ms", significant(value * 1e3, 3)),
        _ if value.abs() < 119.95 => format!("{}\u{a0}s", significant(value, 3)),
        _ => elapsed(value),
    }
}

/// A span of time in seconds, minutes and hours.
#[must_use]
pub fn elapsed(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return NONE.into();
    }
    if value < 120.0 {
        return format!("{}\u{a0}s", significant(value, 3));
    }
    if value > 1e9 {
        return format!("{}\u{a0}s", significant(value, 3));
    }
    let whole = value.round() as u64;
    let (hours, minutes, seconds) = (whole / 3_600, whole / 60 % 60, whole % 60);
    let mut parts = Vec::new();
    if hours > 0 {
        parts.push(format!("{}\u{a0}h", separated(&hours.to_string())));
    }
    if minutes > 0 {
        parts.push(format!("{minutes}\u{a0}min"));
    }
    if seconds > 0 && hours == 0 {
        parts.push(format!("{seconds}\u{a0}s"));
    }
    parts.join("\u{a0}")
}

/// Memory.
#[must_use]
pub fn octets(value: f64) -> String {
    const KIB: f64 = 1024.0;
    scaled(
        value,
        &[
            (KIB * KIB * KIB * KIB, "TiB"),
            (KIB * KIB * KIB, "GiB"),
            (KIB * KIB, "MiB"),
            (KIB, "KiB"),
        ],
        "B",
        KIB,
    )
}

/// A share of 1, as a percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    match share.is_finite() {
        true => format!(
            "{}\u{a0}%",
            significant(share * 100.0, if share.abs() < 0.1 { 2 } else { 3 })
        ),
        false => NONE.into(),
    }
}

/// How many times as much.
#[must_use]
pub fn times(factor: f64) -> String {
    match factor.is_finite() {
        true => format!("{}\u{a0}\u{d7}", significant(factor, 3)),
        false => NONE.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_what_is_worth_saying() {
        let cases = [
            (count(5_000_000.0), "5,000,000"),
            (count(1.25), "1.25"),
            (short(1_234_567.0), "1.23 M"),
            (short(45_000.0), "45 k"),
            (short(5_000.0), "5,000"),
            (short(999_999.0), "1 M"),
            (seconds(0.000_012_34), "12.3 \u{b5}s"),
            (seconds(0.003), "3 ms"),
            (seconds(2.345), "2.35 s"),
            (seconds(200.0), "3 min 20 s"),
            (seconds(7_260.0), "2 h 1 min"),
            (octets(1536.0 * 1024.0 * 1024.0), "1.5 GiB"),
            (octets(12.0), "12 B"),
            (percent(0.1234), "12.3 %"),
            (percent(0.003), "0.3 %"),
            (times(1.5), "1.5 \u{d7}"),
            (significant(-0.5, 3), "\u{2212}0.5"),
            (significant(1e300, 3), "1.0e300"),
        ];
        for (found, expected) in cases {
            assert_eq!(found.replace('\u{a0}', " "), expected);
        }
    }

    #[test]
    fn what_is_no_number_is_never_written_as_one() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for unit in [
                Unit::Number,
                Unit::Rate,
                Unit::Seconds,
                Unit::Elapsed,
                Unit::Octets,
                Unit::Cores,
                Unit::Share,
            ] {
                assert!(unit.exact(value).starts_with(NONE), "{unit:?}");
                assert!(unit.tick(value).starts_with(NONE), "{unit:?}");
            }
            assert_eq!(times(value), NONE);
        }
    }
}
