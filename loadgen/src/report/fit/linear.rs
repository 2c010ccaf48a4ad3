//! Sums of terms with coefficients that are not negative: nothing that a server does costs less than nothing.

use super::{Quality, floor, quality};

/// One measurement: the value of each term, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The terms.
    pub terms: Vec<f64>,
    /// What was measured.
    pub value: f64,
}

/// A fitted sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// A coefficient for each term; 0 for terms that were left out.
    pub coefficients: Vec<f64>,
    /// Numbers of the terms that take part.
    pub used: Vec<usize>,
    /// How good it is.
    pub quality: Quality,
}

impl Sum {
    /// What it says.
    #[must_use]
    pub fn at(&self, terms: &[f64]) -> f64 {
        self.coefficients
            .iter()
            .zip(terms)
            .map(|(factor, term)| factor * term)
            .sum()
    }
}

/// How far apart terms must be over all measurements to be told apart: the share of a term that the others do not explain.
const APART: f64 = 0.02;

/// Fits a sum of all terms that are ever above zero, as far as the measurements suffice: there must be more different ones than
/// terms, and terms must be told apart. Where they do not suffice, terms are left out in the order of `expendable`, first those
/// that the others explain; what they cost is then in the others. `None` if it does not suffice for those that remain. Squares
/// of relative errors are made as small as they can be with coefficients that are not negative.
#[must_use]
pub fn fit(rows: &[Row], expendable: &[usize]) -> Option<Sum> {
    let rows: Vec<Row> = rows.iter().filter(|row| is_sound(row)).cloned().collect();
    let terms = rows.first()?.terms.len();
    let mut used: Vec<usize> = (0..terms)
        .filter(|term| rows.iter().any(|row| row.terms[*term] > 0.0))
        .collect();
    while !suffice(&rows, &used) {
        let apart = told_apart(&rows, &used)?;
        let mut candidates = expendable.iter().filter(|term| used.contains(term));
        let explained = candidates.clone().find(|term| {
            used.iter()
                .zip(&apart)
                .any(|(known, apart)| known == *term && !apart)
        });
        let out = *explained.or_else(|| candidates.next())?;
        used.retain(|term| *term != out);
    }
    let coefficients = solve(&rows, &used)?;
    let said = |coefficients: &[f64], row: &Row| -> f64 {
        coefficients
            .iter()
            .zip(&row.terms)
            .map(|(factor, term)| factor * term)
            .sum()
    };
    let measured: Vec<f64> = rows.iter().map(|row| row.value).collect();
    let fitted: Vec<f64> = rows.iter().map(|row| said(&coefficients, row)).collect();
    let left_out: Option<Vec<f64>> = (0..rows.len())
        .map(|index| {
            let mut others = rows.clone();
            let row = others.remove(index);
            let enough = suffice(&others, &used);
            Some(said(&solve(&others, &used).filter(|_| enough)?, &row))
        })
        .collect();
    let floor = floor(measured.iter().copied());
    Some(Sum {
        quality: quality(&measured, &fitted, left_out.as_deref(), floor),
        coefficients,
        used,
    })
}

fn is_sound(row: &Row) -> bool {
    row.value.is_finite()
        && row.value >= 0.0
        && row
            .terms
            .iter()
            .all(|term| term.is_finite() && *term >= 0.0)
}

fn suffice(rows: &[Row], terms: &[usize]) -> bool {
    !terms.is_empty()
        && distinct(rows, terms) > terms.len()
        && told_apart(rows, terms).is_some_and(|apart| apart.iter().all(|apart| *apart))
}

/// Rows that differ in these terms.
fn distinct(rows: &[Row], terms: &[usize]) -> usize {
    let mut seen: Vec<Vec<f64>> = Vec::new();
    for row in rows {
        let values: Vec<f64> = terms
            .iter()
            .filter_map(|term| row.terms.get(*term).copied())
            .collect();
        if !seen.contains(&values) {
            seen.push(values);
        }
    }
    seen.len()
}

/// The rows divided by their values: relative errors become plain ones.
fn columns(rows: &[Row], terms: &[usize]) -> Option<(Vec<Vec<f64>>, Vec<f64>)> {
    let floor = floor(rows.iter().map(|row| row.value));
    if floor <= 0.0 || !floor.is_finite() {
        return None;
    }
    let weight = |row: &Row| 1.0 / row.value.max(floor);
    let columns = terms
        .iter()
        .map(|term| {
            rows.iter()
                .map(|row| Some(row.terms.get(*term)? * weight(row)))
                .collect()
        })
        .collect::<Option<Vec<Vec<f64>>>>()?;
    Some((
        columns,
        rows.iter().map(|row| row.value * weight(row)).collect(),
    ))
}

/// Of each term, whether the others leave enough of it unexplained.
fn told_apart(rows: &[Row], terms: &[usize]) -> Option<Vec<bool>> {
    let (columns, _) = columns(rows, terms)?;
    let apart = |index: usize| {
        let mut others: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let column = others.remove(index);
        let mut rest = column.to_vec();
        for direction in directions(&others) {
            remove(&mut rest, &direction);
        }
        let length = norm(column);
        length > 0.0 && norm(&rest) >= APART * length
    };
    Some((0..columns.len()).map(apart).collect())
}

/// Least squares with coefficients that are not negative. There are so few terms that every choice of those which are above
/// zero is tried, which finds the best for certain.
fn solve(rows: &[Row], terms: &[usize]) -> Option<Vec<f64>> {
    let (columns, values) = columns(rows, terms)?;
    let mut best: Option<(f64, Vec<f64>)> = None;
    for choice in 1_u32..1 << terms.len().min(8) {
        let chosen: Vec<usize> = (0..terms.len())
            .filter(|index| choice & (1 << index) != 0)
            .collect();
        let picked: Vec<&[f64]> = chosen
            .iter()
            .map(|index| columns[*index].as_slice())
            .collect();
        let Some(found) = least_squares(&picked, &values) else {
            continue;
        };
        if found
            .iter()
            .any(|factor| *factor < 0.0 || !factor.is_finite())
        {
            continue;
        }
        let rest: f64 = values
            .iter()
            .enumerate()
            .map(|(row, value)| {
                let said: f64 = picked
                    .iter()
                    .zip(&found)
                    .map(|(column, factor)| column[row] * factor)
                    .sum();
                (value - said).powi(2)
            })
            .sum();
        if best.as_ref().is_none_or(|(least, _)| rest < *least) {
            let mut factors = vec![0.0; rows.first()?.terms.len()];
            for (index, factor) in chosen.iter().zip(found) {
                // What is nowhere more than a millionth is rounding.
                let most = columns[*index].iter().copied().fold(0.0, f64::max) * factor;
                factors[terms[*index]] = if most > 1e-6 { factor } else { 0.0 };
            }
            best = Some((rest, factors));
        }
    }
    best.map(|(_, factors)| factors)
}

/// Solves by orthogonal directions: `None` if a column is a sum of others.
fn least_squares(columns: &[&[f64]], values: &[f64]) -> Option<Vec<f64>> {
    let directions = directions(columns);
    if directions.len() != columns.len() {
        return None;
    }
    let mut factors = vec![0.0; columns.len()];
    for index in (0..columns.len()).rev() {
        let mut share = dot(&directions[index], values);
        for later in index + 1..columns.len() {
            share -= dot(&directions[index], columns[later]) * factors[later];
        }
        factors[index] = share / dot(&directions[index], columns[index]);
    }
    Some(factors)
}

/// Orthogonal directions of length 1 that span the columns, one for each that is no sum of those before it.
fn directions(columns: &[&[f64]]) -> Vec<Vec<f64>> {
    let mut directions: Vec<Vec<f64>> = Vec::new();
    for column in columns {
        let length = norm(column);
        let mut rest = column.to_vec();
        // Twice, because once leaves rounding errors of nearly parallel columns.
        for _ in 0..2 {
            for direction in &directions {
                remove(&mut rest, direction);
            }
        }
        let left = norm(&rest);
        if length > 0.0 && left > length * 1e-9 {
            rest.iter_mut().for_each(|value| *value /= left);
            directions.push(rest);
        }
    }
    directions
}

fn remove(column: &mut [f64], direction: &[f64]) {
    let share = dot(column, direction);
    for (value, part) in column.iter_mut().zip(direction) {
        *value -= share * part;
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn norm(column: &[f64]) -> f64 {
    dot(column, column).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fit::noise;

    /// A storm's cost of a relay may be counted with that of its bindings.
    const RELAYS: [usize; 1] = [1];

    fn storm(relays: f64, each: f64, value: f64) -> Row {
        Row {
            terms: vec![1.0, relays, relays * each],
            value,
        }
    }

    #[test]
    fn known_costs_are_found_again_in_spite_of_noise() {
        let (fixed, relay, binding) = (0.2, 0.000_3, 0.000_001_2);
        let mut noise = noise();
        let mut rows = Vec::new();
        for relays in [100.0, 500.0, 1_000.0, 5_000.0, 20_000.0] {
            for each in [100.0, 1_000.0, 10_000.0] {
                let value = fixed + relay * relays + binding * relays * each;
                rows.push(storm(
                    relays,
                    each,
                    value * (1.0 + 0.02 * noise.next().unwrap()),
                ));
            }
        }
        let sum = fit(&rows, &RELAYS).unwrap();
        assert_eq!(sum.used, [0, 1, 2]);
        for (found, known) in sum.coefficients.iter().zip([fixed, relay, binding]) {
            assert!((found / known - 1.0).abs() < 0.05, "{found} for {known}");
        }
        assert!(sum.quality.rms < 0.02 && sum.quality.worst < 0.04 && sum.quality.points == 15);
        assert!(sum.quality.r_squared.unwrap() > 0.999 && sum.quality.left_out.unwrap() < 0.03);
    }

    #[test]
    fn no_coefficient_is_below_zero() {
        // It grows less than in proportion: a plain fit would take a negative cost of a relay.
        let rows: Vec<Row> = [
            (100.0, 10.0, 1.0),
            (200.0, 100.0, 9.0),
            (400.0, 20.0, 2.0),
            (800.0, 200.0, 90.0),
            (50.0, 3.0, 3.0),
        ]
        .map(|(relays, each, value)| storm(relays, each, value))
        .to_vec();
        let sum = fit(&rows, &RELAYS).unwrap();
        assert!(
            sum.coefficients.iter().all(|factor| *factor >= 0.0),
            "{sum:?}"
        );
        assert!(sum.coefficients.contains(&0.0), "{sum:?}");
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_fitted_apart() {
        let rows: Vec<Row> = [100.0, 200.0, 400.0, 800.0]
            .map(|relays| storm(relays, 1_000.0, 0.1 + relays * 0.001))
            .to_vec();
        assert!(fit(&rows, &[]).is_none());
        let sum = fit(&rows, &RELAYS).unwrap();
        assert_eq!(sum.used, [0, 2]);
        assert!((sum.coefficients[2] - 1e-6).abs() < 1e-9 && sum.coefficients[1] == 0.0);
    }

    #[test]
    fn many_costs_of_mixed_work_are_told_apart() {
        let costs = [0.02, 1e-4, 1e-6, 3e-5, 5e-6, 1e-5];
        let mut noise = noise();
        let mut rows = Vec::new();
        for relays in [100.0, 400.0, 2_000.0] {
            for (each, changes, told, udp) in [
                (100.0, 0.0, 0.0, 0.0),
                (1_000.0, 100.0, 1.0, 3e4),
                (100.0, 2_000.0, 1.0, 0.0),
                (1_000.0, 500.0, 60.0, 0.0),
            ] {
                let terms = vec![
                    10.0,
                    relays,
                    relays * each,
                    changes * 10.0,
                    changes * told * 10.0,
                    udp,
                ];
                let value: f64 = terms
                    .iter()
                    .zip(costs)
                    .map(|(term, cost)| term * cost)
                    .sum();
                rows.push(Row {
                    terms,
                    value: value * (1.0 + 0.01 * noise.next().unwrap()),
                });
            }
        }
        let sum = fit(&rows, &[0, 4, 1]).unwrap();
        assert_eq!(sum.used, [0, 1, 2, 3, 4, 5]);
        for (found, known) in sum.coefficients.iter().zip(costs) {
            assert!((found / known - 1.0).abs() < 0.25, "{found} for {known}");
        }
        // With one message a change nothing tells what a message costs: it is in the change.
        for row in &mut rows {
            row.value -= (row.terms[4] - row.terms[3]) * costs[4];
            row.terms[4] = row.terms[3];
        }
        let sum = fit(&rows, &[0, 4, 1]).unwrap();
        assert!(
            !sum.used.contains(&4) && sum.used.contains(&3),
            "{:?}",
            sum.used
        );
        assert!((sum.coefficients[3] / 3.5e-5 - 1.0).abs() < 0.1, "{sum:?}");
    }

    #[test]
    fn too_little_gives_no_model_and_never_a_wild_one() {
        let cases = [
            vec![],
            vec![storm(1.0, 1.0, 1.0)],
            vec![storm(1.0, 1.0, 1.0); 9],
            vec![storm(0.0, 0.0, 0.0); 4],
            vec![
                storm(1.0, 2.0, 0.0),
                storm(2.0, 3.0, 0.0),
                storm(3.0, 5.0, 0.0),
                storm(4.0, 9.0, 0.0),
            ],
            vec![
                storm(f64::NAN, 1.0, 1.0),
                storm(1.0, 1.0, f64::INFINITY),
                storm(2.0, 1.0, 1.0),
                storm(3.0, 1.0, -1.0),
            ],
        ];
        for rows in cases {
            assert_eq!(fit(&rows, &RELAYS), None, "{rows:?}");
        }
        let some_zero = [
            (1.0, 0.0),
            (10.0, 0.0),
            (100.0, 1.0),
            (1_000.0, 10.0),
            (3_000.0, 30.0),
        ];
        let rows: Vec<Row> = some_zero
            .map(|(relays, value)| storm(relays, relays % 7.0, value))
            .to_vec();
        let sum = fit(&rows, &RELAYS).unwrap();
        assert!(
            sum.coefficients
                .iter()
                .all(|factor| factor.is_finite() && *factor >= 0.0)
        );
        assert!(sum.quality.rms.is_finite() && sum.quality.worst.is_finite());
    }
}
