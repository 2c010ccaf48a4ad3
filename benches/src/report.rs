//! Medians, and lines that put a figure beside its goal.

/// The middle one of an odd number of runs.
pub fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// What a figure is held against.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// It should be as large at least.
    AtLeast(f64),
    /// It should be as small at least.
    AtMost(f64),
    /// It is told for information.
    None,
}

/// Prints one line: name, figure, goal, and whether it is met.
pub fn line(name: &str, figure: f64, unit: &str, goal: Goal) {
    let (sign, bound, met) = match goal {
        Goal::AtLeast(bound) => (">=", bound, figure >= bound),
        Goal::AtMost(bound) => ("<=", bound, figure <= bound),
        Goal::None => return println!("{name:<58} {:>12} {unit}", digits(figure)),
    };
    let verdict = if met { "met" } else { "NOT MET" };
    println!(
        "{name:<58} {:>12} {unit:<12} goal {sign} {:<10} {verdict}",
        digits(figure),
        digits(bound)
    );
}

/// Three to four significant digits, in plain notation.
fn digits(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".into(),
        size if size >= 1_000.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_digits() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(digits(1_234_567.8), "1234568");
        assert_eq!(digits(0.8512), "0.851");
        assert_eq!(digits(64.25), "64.2");
    }
}
