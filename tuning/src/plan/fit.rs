#![forbid(unsafe_code)]
//! Least squares in which no coefficient is negative: each is a cost, and a negative cost is a fit to noise.
//!
//! Rows are weighted by what they measure, so that what is made small is the *relative* error: a run of a thousand
//! requests a second says as much as one of a hundred thousand. At most a dozen coefficients; by hand, because the whole
//! of a linear-algebra crate would be there for thirty lines.

/// A measured figure, and what it may depend on.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// One value a feature.
    pub features: Vec<f64>,
    /// What was measured.
    pub measured: f64,
}

/// Rounds of the descent; a few hundred do.
const ROUNDS_MAX: usize = 20_000;
/// Relative change of a coefficient below which a round changed nothing.
const STILL: f64 = 1e-10;

/// Coefficients, none negative, that make the sum of squared relative errors smallest. Rows that measured nothing count
/// by their absolute error.
///
/// # Panics
/// If rows have different numbers of features: a mistake of ours.
pub fn non_negative(rows: &[Row]) -> Vec<f64> {
    let Some(first) = rows.first() else { return Vec::new() };
    let count = first.features.len();
    assert!(rows.iter().all(|row| row.features.len() == count), "every row has the same features");
    let weight = |row: &Row| if row.measured.abs() > 0.0 { 1.0 / row.measured.abs() } else { 1.0 };
    // Columns are brought to one length: a byte and a request differ by six decades.
    let length = |nth: usize| {
        let squares = rows.iter().map(|row| (row.features[nth] * weight(row)).powi(2)).sum::<f64>();
        squares.sqrt()
    };
    let scale: Vec<f64> = (0..count).map(length).collect();
    let cell = |row: &Row, nth: usize| {
        if scale[nth] > 0.0 { row.features[nth] * weight(row) / scale[nth] } else { 0.0 }
    };
    let mut products = vec![vec![0.0; count]; count];
    let mut targets = vec![0.0; count];
    for row in rows {
        for a in 0..count {
            targets[a] += cell(row, a) * row.measured * weight(row);
            for (b, product) in products[a].iter_mut().enumerate() {
                *product += cell(row, a) * cell(row, b);
            }
        }
    }
    let mut found = vec![0.0f64; count];
    for _ in 0..ROUNDS_MAX {
        let mut moved = 0.0f64;
        for nth in 0..count {
            if products[nth][nth] <= 0.0 {
                continue;
            }
            let explained: f64 =
                products[nth].iter().zip(&found).map(|(product, value)| product * value).sum();
            let wanted = (found[nth] + (targets[nth] - explained) / products[nth][nth]).max(0.0);
            moved = moved.max((wanted - found[nth]).abs() / wanted.max(found[nth]).max(1.0));
            found[nth] = wanted;
        }
        if moved < STILL {
            break;
        }
    }
    found.iter().zip(&scale).map(|(value, scale)| if *scale > 0.0 { value / scale } else { 0.0 }).collect()
}

/// What the coefficients say of features.
pub fn apply(coefficients: &[f64], features: &[f64]) -> f64 {
    coefficients.iter().zip(features).map(|(coefficient, feature)| coefficient * feature).sum()
}

/// Mean of the squared relative errors of a fit on its own rows.
pub fn error(coefficients: &[f64], rows: &[Row]) -> f64 {
    let square = |row: &Row| {
        let off = apply(coefficients, &row.features) - row.measured;
        (off / if row.measured.abs() > 0.0 { row.measured } else { 1.0 }).powi(2)
    };
    rows.iter().map(square).sum::<f64>() / rows.len().max(1) as f64
}

/// Mean of the squared relative errors when each group of rows is predicted from the others. Groups, not rows: runs of
/// one workload at several rates know each other's answer.
pub fn left_out(groups: &[(usize, Row)]) -> f64 {
    let mut names: Vec<usize> = groups.iter().map(|(group, _)| *group).collect();
    names.sort_unstable();
    names.dedup();
    let (mut sum, mut count) = (0.0, 0);
    for name in names {
        let pick = |inside: bool| -> Vec<Row> {
            let chosen = groups.iter().filter(|(group, _)| (*group == name) == inside);
            chosen.map(|(_, row)| row.clone()).collect()
        };
        let (inside, others) = (pick(true), pick(false));
        if others.is_empty() {
            continue;
        }
        sum += error(&non_negative(&others), &inside) * inside.len() as f64;
        count += inside.len();
    }
    sum / count.max(1) as f64
}

/// The value of a grid that makes `error` smallest; the first of equals.
pub fn best(grid: impl IntoIterator<Item = f64>, mut error: impl FnMut(f64) -> f64) -> f64 {
    let tried = grid.into_iter().map(|value| (error(value), value));
    tried.reduce(|best, next| if next.0 < best.0 { next } else { best }).map_or(0.0, |(_, value)| value)
}

/// Values from `low` to `high`, `steps` a decade.
pub fn decades(low: f64, high: f64, steps: u32) -> impl Iterator<Item = f64> {
    let count = ((high / low).log10() * f64::from(steps)).round() as u32;
    (0..=count).map(move |nth| low * 10f64.powf(f64::from(nth) / f64::from(steps)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(law: impl Fn(f64, f64) -> f64) -> Vec<Row> {
        let points = [(1.0, 5.0), (10.0, 1.0), (100.0, 40.0), (1000.0, 3.0), (5.0, 5e3), (70.0, 2e4)];
        let row = |(a, b): &(f64, f64)| Row { features: vec![1.0, *a, *b], measured: law(*a, *b) };
        points.iter().map(row).collect()
    }

    /// A millionth is let pass: of the coefficient, or where it is 0 of the least that was measured.
    fn close(found: &[f64], expected: &[f64], least: f64) {
        for (found, expected) in found.iter().zip(expected) {
            let much = if *expected == 0.0 { least } else { expected.abs() };
            assert!((found - expected).abs() <= 1e-6 * much, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_known_law_is_found_again_over_six_decades() {
        close(&non_negative(&rows(|a, b| 7.0 + 0.5 * a + 1e-3 * b)), &[7.0, 0.5, 1e-3], 7.5);
        close(&non_negative(&rows(|a, b| 3e6 * a + 2e6 * b)), &[0.0, 3e6, 2e6], 1.3e7);
    }

    #[test]
    fn what_would_be_negative_is_nothing() {
        let found = non_negative(&rows(|a, b| 100.0 + a - 1e-3 * b));
        assert_eq!(found[2], 0.0);
        assert!(found[0] > 0.0 && found[1] > 0.0, "{found:?}");
    }

    #[test]
    fn a_feature_that_never_occurs_costs_nothing() {
        let silent = |row: Row| Row { features: vec![row.features[1], 0.0], ..row };
        let silent: Vec<Row> = rows(|a, _| 2.0 * a).into_iter().map(silent).collect();
        close(&non_negative(&silent), &[2.0, 0.0], 2.0);
        assert_eq!(non_negative(&[]), [0.0; 0]);
        let nothing = Row { features: vec![1.0], measured: 0.0 };
        assert_eq!(non_negative(&[nothing]), [0.0]);
    }

    #[test]
    fn leaving_out_shows_what_a_fit_on_its_own_rows_hides() {
        // Every row its own feature: a perfect fit that knows nothing.
        let own = |nth: usize| Row {
            features: (0..4).map(|at| f64::from(u8::from(at == nth))).collect(),
            measured: 5.0,
        };
        let memorised: Vec<Row> = (0..4).map(own).collect();
        assert!(error(&non_negative(&memorised), &memorised) < 1e-12);
        let groups: Vec<(usize, Row)> = memorised.into_iter().enumerate().collect();
        assert!(left_out(&groups) > 0.9);
        let known: Vec<(usize, Row)> = rows(|a, b| a + b).into_iter().enumerate().collect();
        assert!(left_out(&known) < 1e-6, "{}", left_out(&known));
    }

    #[test]
    fn a_grid_finds_its_smallest() {
        let found = best(decades(1.0, 1000.0, 10), |value| (value - 100.0).abs());
        assert!((found - 100.0).abs() < 1e-6, "{found}");
        assert_eq!(decades(1.0, 100.0, 2).count(), 5);
    }
}
