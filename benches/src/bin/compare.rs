//! Compares two builds: runs two programs that print figures (`ratios`, `fanout` or `catchup`) in turn, and prints each figure of both
//! and their ratio. `scripts/compare` builds two revisions and runs this.
//!
//! `compare OLD NEW [--runs N] [-- ARGUMENTS OF BOTH]`. They run alternately, so that whatever disturbs the machine disturbs
//! both; a ratio within the spread of either one's own runs says nothing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use leaseq_bench::report::{self, median};

/// A figure's name, with the name above it where it is indented, and what each run said.
type Figures = Vec<(String, Vec<f64>)>;

struct Arguments {
    old: PathBuf,
    new: PathBuf,
    runs: usize,
    rest: Vec<String>,
}

fn main() -> Result<()> {
    let Arguments {
        old,
        new,
        runs,
        rest,
    } = arguments()?;
    let (mut olds, mut news) = (Figures::new(), Figures::new());
    for run in 0..runs {
        // Neither always has the machine as the other left it.
        let pair = [(&old, &mut olds), (&new, &mut news)];
        let order: Vec<_> = match run % 2 {
            0 => pair.into_iter().collect(),
            _ => pair.into_iter().rev().collect(),
        };
        for (program, figures) in order {
            eprintln!("run {} of {runs}: {}", run + 1, program.display());
            note(figures, &printed(program, &rest)?);
        }
    }
    println!(
        "{:<74} {:>12} {:>12} {:>8}  spread old, new",
        "", "old", "new", "new/old"
    );
    for (name, old) in &olds {
        let Some((_, new)) = news.iter().find(|(other, _)| other == name) else {
            println!("{name:<74} not in the new build");
            continue;
        };
        println!("{}", compared(name, old, new));
    }
    for (name, _) in &news {
        if !olds.iter().any(|(other, _)| other == name) {
            println!("{name:<74} not in the old build");
        }
    }
    Ok(())
}

fn arguments() -> Result<Arguments> {
    let mut given = std::env::args().skip(1);
    let (Some(old), Some(new)) = (given.next(), given.next()) else {
        bail!("usage: compare OLD NEW [--runs N] [-- ARGUMENTS OF BOTH]");
    };
    let mut arguments = Arguments {
        old: old.into(),
        new: new.into(),
        runs: 3,
        rest: Vec::new(),
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--runs" => arguments.runs = given.next().context("--runs needs a number")?.parse()?,
            "--" => arguments.rest = given.by_ref().collect(),
            _ => bail!("unknown argument {argument}: there are --runs and --"),
        }
    }
    ensure!(arguments.runs > 0, "at least one run");
    Ok(arguments)
}

fn printed(program: &PathBuf, arguments: &[String]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} ended with {}",
        program.display(),
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Adds what one run printed.
fn note(figures: &mut Figures, printed: &str) {
    let mut above = "";
    for line in printed.lines() {
        let Some((name, figure)) = report::read(line) else {
            // A heading.
            above = line.trim_end();
            continue;
        };
        let name = match name.strip_prefix("  ") {
            Some(part) => format!("{above}: {part}"),
            None => {
                above = name;
                name.to_owned()
            }
        };
        match figures.iter_mut().find(|(known, _)| *known == name) {
            Some((_, runs)) => runs.push(figure),
            None => figures.push((name, vec![figure])),
        }
    }
}

fn compared(name: &str, old: &[f64], new: &[f64]) -> String {
    let (was, is) = (median(old.to_vec()), median(new.to_vec()));
    let ratio = match was {
        0.0 => "-".into(),
        was => format!("{:.3}", is / was),
    };
    let spread = |runs: &[f64], middle: f64| {
        let most = runs.iter().copied().fold(f64::MIN, f64::max);
        let least = runs.iter().copied().fold(f64::MAX, f64::min);
        match middle {
            0.0 => 0.0,
            middle => (most - least) / middle * 100.0,
        }
    };
    let (spread_old, spread_new) = (spread(old, was), spread(new, is));
    let says_nothing =
        (is - was).abs() / was.abs().max(f64::MIN_POSITIVE) * 100.0 <= spread_old.max(spread_new);
    let verdict = if says_nothing { "" } else { "  differs" };
    format!(
        "{name:<74} {was:>12} {is:>12} {ratio:>8}  {spread_old:.0} %, {spread_new:.0} %{verdict}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_known_by_the_name_above_them() {
        let mut figures = Figures::new();
        let run = |figure: f64| {
            format!(
                "# a store\n{:<58} {:>12} x\n{:<58} {figure:>12} x goal >= 1\n",
                "bulk v4", 0.5, "  server"
            )
        };
        note(&mut figures, &run(2.0));
        note(&mut figures, &run(4.0));
        assert_eq!(
            figures,
            [
                ("bulk v4".to_owned(), vec![0.5, 0.5]),
                ("bulk v4: server".to_owned(), vec![2.0, 4.0])
            ]
        );
    }

    #[test]
    fn a_ratio_within_the_spread_says_nothing() {
        assert!(!compared("x", &[1.0, 1.2, 1.1], &[1.15, 1.16, 1.17]).contains("differs"));
        assert!(compared("x", &[1.0, 1.02, 1.01], &[1.5, 1.51, 1.52]).contains("1.495"));
        assert!(compared("x", &[1.0, 1.02, 1.01], &[1.5, 1.51, 1.52]).contains("differs"));
        assert!(compared("x", &[0.0], &[0.0]).contains('-'));
    }
}
