//! The Universal Scalability Law: throughput with N connections at a time.
//!
//! `X(N) = l N / (1 + s (N - 1) + k N (N - 1))`: a connection alone gives `l`; `s` is the share of the work that only one
//! can do at a time, and `k` what each costs every other one. With `k` above zero there is a number of connections beyond
//! which throughput falls.

use super::linear::{Row, fit as fit_sum};
use super::{Quality, floor, quality};

/// Different numbers of connections that a fit needs: one more than it has parameters.
pub const LEAST: usize = 4;
/// Steps of the refinement; it is at rest after a few.
const STEPS: usize = 100;

/// A fitted law.
#[derive(Clone, Debug, PartialEq)]
pub struct Law {
    /// Throughput of one connection.
    pub alone: f64,
    /// The part that is done one after the other.
    pub serial: f64,
    /// What each connection costs each other one.
    pub crosstalk: f64,
    /// How good it is.
    pub quality: Quality,
}

impl Law {
    /// Throughput with so many connections.
    #[must_use]
    pub fn at(&self, connections: f64) -> f64 {
        throughput([self.alone, self.serial, self.crosstalk], connections)
    }

    /// The number of connections with the most throughput; `None` if it grows for ever, however slowly.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        let peak = ((1.0 - self.serial).max(0.0) / self.crosstalk).sqrt();
        (self.crosstalk > 0.0 && peak.is_finite()).then(|| peak.max(1.0))
    }
}

fn throughput([alone, serial, crosstalk]: [f64; 3], n: f64) -> f64 {
    alone * n / (1.0 + serial * (n - 1.0) + crosstalk * n * (n - 1.0))
}

/// Fits the law to pairs of connections and throughput. `None` with fewer than [`LEAST`] different numbers of connections.
#[must_use]
pub fn fit(measured: &[(f64, f64)]) -> Option<Law> {
    let measured: Vec<(f64, f64)> = measured
        .iter()
        .copied()
        .filter(|(n, x)| n.is_finite() && x.is_finite() && *n >= 1.0 && *x > 0.0)
        .collect();
    let found = solve(&measured)?;
    let values: Vec<f64> = measured.iter().map(|(_, x)| *x).collect();
    let said: Vec<f64> = measured
        .iter()
        .map(|(n, _)| throughput(found, *n))
        .collect();
    let left_out: Option<Vec<f64>> = (0..measured.len())
        .map(|index| {
            let mut others = measured.clone();
            let (n, _) = others.remove(index);
            Some(throughput(solve(&others)?, n))
        })
        .collect();
    Some(Law {
        alone: found[0],
        serial: found[1],
        crosstalk: found[2],
        quality: quality(
            &values,
            &said,
            left_out.as_deref(),
            floor(values.iter().copied()),
        ),
    })
}

fn solve(measured: &[(f64, f64)]) -> Option<[f64; 3]> {
    let mut numbers: Vec<f64> = measured.iter().map(|(n, _)| *n).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    if numbers.len() < LEAST {
        return None;
    }
    refine(start(measured)?, measured)
}

/// The law turned upside down is a sum: `N / X = 1/l + s/l (N - 1) + k/l N (N - 1)`.
fn start(measured: &[(f64, f64)]) -> Option<[f64; 3]> {
    let rows: Vec<Row> = measured
        .iter()
        .map(|(n, x)| Row {
            terms: vec![1.0, n - 1.0, n * (n - 1.0)],
            value: n / x,
        })
        .collect();
    let sum = fit_sum(&rows, &[2, 0])?;
    let [one, serial, crosstalk] = sum.coefficients[..] else {
        return None;
    };
    // Where throughput is the same with the fewest connections as with the most, nothing tells how much one would give. It
    // gives at least its share of what many do.
    let most = measured.iter().map(|(n, x)| x / n).fold(0.0, f64::max);
    let one = if one > 0.0 { one } else { 1.0 / most };
    let found = [1.0 / one, serial / one, crosstalk / one];
    found.iter().all(|value| value.is_finite()).then_some(found)
}

/// Gauss-Newton with damping, on relative errors; the parameters stay at or above zero.
fn refine(start: [f64; 3], measured: &[(f64, f64)]) -> Option<[f64; 3]> {
    let errors = |p: [f64; 3]| -> Vec<f64> {
        measured
            .iter()
            .map(|(n, x)| throughput(p, *n) / x - 1.0)
            .collect()
    };
    let squares = |errors: &[f64]| -> f64 { errors.iter().map(|error| error * error).sum() };
    let (mut now, mut damping) = (start, 1e-3);
    let mut least = squares(&errors(now));
    for _ in 0..STEPS {
        let rest = errors(now);
        // Steps are relative to the parameters' sizes, which differ by many powers of ten.
        let size = now.map(|value| value.max(1e-12));
        let slopes: Vec<[f64; 3]> = measured
            .iter()
            .map(|(n, x)| {
                let below = 1.0 + now[1] * (n - 1.0) + now[2] * n * (n - 1.0);
                let said = now[0] * n / below;
                [
                    n / below / x * size[0],
                    -said * (n - 1.0) / below / x * size[1],
                    -said * n * (n - 1.0) / below / x * size[2],
                ]
            })
            .collect();
        let Some(step) = damped_step(&slopes, &rest, damping) else {
            break;
        };
        let next = [0, 1, 2].map(|index| (now[index] - step[index] * size[index]).max(0.0));
        let then = squares(&errors(next));
        if then.is_finite() && then < least && next[0] > 0.0 {
            let gain = (least - then) / least;
            (now, least, damping) = (next, then, damping * 0.3);
            if gain < 1e-9 {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    now.iter().all(|value| value.is_finite()).then_some(now)
}

/// Solves `(J'J + damping diag(J'J)) step = J' errors` by elimination.
fn damped_step(slopes: &[[f64; 3]], errors: &[f64], damping: f64) -> Option<[f64; 3]> {
    let mut system = [[0.0; 4]; 3];
    for (slope, error) in slopes.iter().zip(errors) {
        for row in 0..3 {
            for column in 0..3 {
                system[row][column] += slope[row] * slope[column];
            }
            system[row][3] += slope[row] * error;
        }
    }
    for (index, row) in system.iter_mut().enumerate() {
        row[index] = row[index] * (1.0 + damping) + 1e-18;
    }
    for pivot in 0..3 {
        let row = system[pivot];
        for lower in system.iter_mut().skip(pivot + 1) {
            let factor = lower[pivot] / row[pivot];
            for column in pivot..4 {
                lower[column] -= factor * row[column];
            }
        }
    }
    let mut step = [0.0; 3];
    for index in (0..3).rev() {
        let known: f64 = (index + 1..3)
            .map(|later| system[index][later] * step[later])
            .sum();
        step[index] = (system[index][3] - known) / system[index][index];
    }
    step.iter().all(|value| value.is_finite()).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fit::noise;

    #[test]
    fn a_known_law_is_found_again_in_spite_of_noise() {
        let known = [20_000.0, 0.03, 0.000_01];
        let mut noise = noise();
        let measured: Vec<(f64, f64)> = [1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0]
            .map(|n| {
                (
                    n,
                    throughput(known, n) * (1.0 + 0.02 * noise.next().unwrap()),
                )
            })
            .to_vec();
        let law = fit(&measured).unwrap();
        assert!((law.alone / known[0] - 1.0).abs() < 0.05, "{law:?}");
        assert!((law.serial / known[1] - 1.0).abs() < 0.1, "{law:?}");
        assert!((law.crosstalk / known[2] - 1.0).abs() < 0.1, "{law:?}");
        assert!((law.peak().unwrap() / 311.0 - 1.0).abs() < 0.1, "{law:?}");
        assert!(law.quality.rms < 0.02 && law.quality.r_squared.unwrap() > 0.99);
        assert!(law.quality.left_out.unwrap() < 0.1, "{law:?}");
    }

    #[test]
    fn refining_makes_no_fit_worse() {
        let measured: Vec<(f64, f64)> = [
            (1.0, 90.0),
            (4.0, 400.0),
            (16.0, 700.0),
            (64.0, 1_900.0),
            (256.0, 1_000.0),
        ]
        .to_vec();
        let squares = |p: [f64; 3]| -> f64 {
            measured
                .iter()
                .map(|(n, x)| (throughput(p, *n) / x - 1.0).powi(2))
                .sum()
        };
        let start = start(&measured).unwrap();
        let end = refine(start, &measured).unwrap();
        assert!(squares(end) < squares(start), "{start:?} {end:?}");
    }

    #[test]
    fn flat_and_linear_throughput_have_a_law_without_a_wild_parameter() {
        let numbers = [10.0, 100.0, 1_000.0, 10_000.0];
        let flat = fit(&numbers.map(|n| (n, 5e5))).unwrap();
        assert!((flat.at(500.0) / 5e5 - 1.0).abs() < 0.05, "{flat:?}");
        let linear = fit(&numbers.map(|n| (n, n * 7.0))).unwrap();
        assert!(
            (linear.at(500.0) / 3_500.0 - 1.0).abs() < 0.05,
            "{linear:?}"
        );
        for law in [flat, linear] {
            assert!(
                [law.alone, law.serial, law.crosstalk]
                    .iter()
                    .all(|p| p.is_finite() && *p >= 0.0)
            );
            assert!(law.peak().is_none_or(f64::is_finite));
        }
    }

    #[test]
    fn too_few_numbers_of_connections_give_no_law() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[(1.0, 1.0); 9]), None);
        assert_eq!(fit(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]), None);
        assert_eq!(fit(&[(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0)]), None);
        assert_eq!(
            fit(&[
                (0.0, 1.0),
                (f64::NAN, 1.0),
                (1.0, f64::INFINITY),
                (2.0, -1.0)
            ]),
            None
        );
    }
}
