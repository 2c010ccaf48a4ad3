//! Figures for people: three digits and a unit.

/// Three significant digits, but whole digits are all kept.
fn digits(value: f64) -> String {
    match value.abs() {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn scaled(value: f64, scales: &[(f64, &str)], unit: &str) -> String {
    // What rounds to 1000 of a unit is written as 1 of the next one.
    let scale = scales.iter().find(|(factor, _)| value >= factor * 0.9995);
    match scale {
        Some((factor, name)) => format!("{} {name}{unit}", digits(value / factor)),
        None if value.fract() == 0.0 => format!("{value:.0} {unit}").trim_end().to_owned(),
        None => format!("{} {unit}", digits(value)).trim_end().to_owned(),
    }
}

const LARGE: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];

/// A number of things: `12.3 k`.
#[must_use]
pub fn count(value: f64) -> String {
    scaled(value, &LARGE, "")
}

/// A number of octets: `12.3 MB`.
#[must_use]
pub fn octets(value: f64) -> String {
    scaled(value.round(), &LARGE, "B")
}

/// A time in seconds: `12.3 ms`.
#[must_use]
pub fn seconds(value: f64) -> String {
    match value {
        value if value >= 0.9995 => format!("{} s", digits(value)),
        value if value >= 0.9995e-3 => format!("{} ms", digits(value * 1e3)),
        value => format!("{:.0} us", value * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_the_unit_that_fits() {
        for (value, told) in [
            (0.0, "0"),
            (7.0, "7"),
            (7.25, "7.25"),
            (999.0, "999"),
            (999.9, "1.00 k"),
            (12_345.0, "12.3 k"),
            (5e6, "5.00 M"),
        ] {
            assert_eq!(count(value), told);
        }
        assert_eq!(octets(1_500_000.4), "1.50 MB");
        assert_eq!(octets(12.0), "12 B");
        for (value, told) in [
            (0.000_012, "12 us"),
            (0.001, "1.00 ms"),
            (0.012_34, "12.3 ms"),
            (0.999_9, "1.00 s"),
            (75.0, "75.0 s"),
            (3_600.0, "3600 s"),
        ] {
            assert_eq!(seconds(value), told);
        }
    }
}
