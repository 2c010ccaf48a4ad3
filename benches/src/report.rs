//! Medians, and lines that put a figure beside its goal.

/// The middle one of an odd number of runs; of an even one the larger of the two.
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

/// Columns of a figure's name.
const NAME: usize = 58;

/// Prints one line: name, figure, goal, the figure's ratio to it, and whether it is met.
pub fn line(name: &str, figure: f64, unit: &str, goal: Goal) {
    println!("{}", written(name, figure, unit, goal));
}

fn written(name: &str, figure: f64, unit: &str, goal: Goal) -> String {
    let (sign, bound, met) = match goal {
        Goal::AtLeast(bound) => (">=", bound, figure >= bound),
        Goal::AtMost(bound) => ("<=", bound, figure <= bound),
        Goal::None => return format!("{name:<NAME$} {:>12} {unit}", digits(figure)),
    };
    // There is no ratio to a goal of none at all.
    let ratio = match bound {
        0.0 => "-".into(),
        bound => format!("{:.2}", figure / bound),
    };
    let verdict = if met { "met" } else { "NOT MET" };
    format!(
        "{name:<NAME$} {:>12} {unit:<14} goal {sign} {:<9} ratio {ratio:<6} {verdict}",
        digits(figure),
        digits(bound)
    )
}

/// Name and figure of a line that [`line()`] printed; none of any other.
pub fn read(line: &str) -> Option<(&str, f64)> {
    let name = line.get(..NAME)?;
    let rest = line.get(NAME..)?.trim_start();
    let figure = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.trim_end(), figure))
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
    fn what_is_written_can_be_read() {
        for goal in [Goal::None, Goal::AtLeast(0.85), Goal::AtMost(0.0)] {
            let line = written("  bulk v4, log order", 0.4312, "of the limit", goal);
            assert_eq!(read(&line), Some(("  bulk v4, log order", 0.431)));
        }
        let line = written("index memory", 50.2, "octets", Goal::AtMost(64.0));
        assert!(line.ends_with("ratio 0.78   met"), "{line}");
        assert_eq!(read("# 1000 bindings, median of 3 runs"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn medians_and_digits() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(digits(1_234_567.8), "1234568");
        assert_eq!(digits(0.8512), "0.851");
        assert_eq!(digits(64.25), "64.2");
    }
}
