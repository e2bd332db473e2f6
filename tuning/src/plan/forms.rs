#![forbid(unsafe_code)]
//! Chooses between forms of a law by what each says of runs it was not fitted on.
//!
//! A form is linear in its coefficients, and may bend by one number more, which is found by trying a grid. Each workload
//! is left out once, grid and coefficients are found from the others, and the workload is predicted; the form with the
//! smallest error wins and is then fitted on everything. A form that only describes what it saw loses.

use super::fit::{self, Row};

/// A later form, which as a rule has more terms, must err by this much less than an earlier one.
const BETTER: f64 = 0.95;

/// A form of a law over points of type `P`.
pub struct Form<P> {
    /// Its name in the results.
    pub name: &'static str,
    /// What each coefficient counts, in the order of the features.
    pub terms: &'static [&'static str],
    /// What is tried for the number it bends by; one value if there is none.
    pub bends: &'static [f64],
    /// The features of a point.
    pub features: fn(&P, f64) -> Vec<f64>,
}

/// A point at which a figure was measured.
#[derive(Clone, Debug)]
pub struct Sample<P> {
    /// Points of one workload at several rates are one group.
    pub group: usize,
    /// The point.
    pub point: P,
    /// The figure.
    pub measured: f64,
}

/// A form that was fitted.
pub struct Law<P: 'static> {
    /// Which form.
    pub form: &'static Form<P>,
    /// The number it bends by.
    pub bend: f64,
    /// Its coefficients.
    pub coefficients: Vec<f64>,
    /// Every form that was tried, and the root of the mean squared relative error on workloads left out.
    pub tried: Vec<(&'static str, f64)>,
    /// What it says of each sample when that sample's workload is left out, in the order of the samples.
    pub blind: Vec<f64>,
}

impl<P> std::fmt::Debug for Law<P> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Law { form, bend, coefficients, .. } = self;
        write!(out, "{} (bend {bend}) {coefficients:?}", form.name)
    }
}

impl<P> Law<P> {
    /// Fits every form and keeps the one that says most about what it did not see.
    ///
    /// # Panics
    /// Without forms, or without samples: the caller counts them.
    pub fn choose(forms: &'static [Form<P>], samples: &[Sample<P>]) -> Law<P> {
        assert!(!forms.is_empty() && !samples.is_empty());
        let mut groups: Vec<usize> = samples.iter().map(|sample| sample.group).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut best: Option<(f64, &'static Form<P>, Vec<f64>)> = None;
        let mut tried = Vec::new();
        for form in forms {
            let mut blind = vec![0.0; samples.len()];
            for group in &groups {
                let others: Vec<&Sample<P>> =
                    samples.iter().filter(|sample| groups.len() == 1 || sample.group != *group).collect();
                let (bend, coefficients) = fitted(form, &others);
                for (said, sample) in blind.iter_mut().zip(samples) {
                    if sample.group == *group {
                        *said = fit::apply(&coefficients, &(form.features)(&sample.point, bend));
                    }
                }
            }
            let off = |(said, sample): (&f64, &Sample<P>)| relative(*said, sample.measured).powi(2);
            let sum: f64 = blind.iter().zip(samples).map(off).sum();
            let error = (sum / samples.len() as f64).sqrt();
            tried.push((form.name, error));
            if best.as_ref().is_none_or(|(least, ..)| error < *least * BETTER) {
                best = Some((error, form, blind));
            }
        }
        let (_, form, blind) = best.expect("there is a form");
        let (bend, coefficients) = fitted(form, &samples.iter().collect::<Vec<_>>());
        Law { form, bend, coefficients, tried, blind }
    }

    /// What it says of a point.
    pub fn at(&self, point: &P) -> f64 {
        fit::apply(&self.coefficients, &(self.form.features)(point, self.bend))
    }

    /// The coefficient of a term, if the form has it.
    pub fn coefficient(&self, term: &str) -> Option<f64> {
        self.form.terms.iter().position(|known| *known == term).map(|nth| self.coefficients[nth])
    }
}

/// How far off, as a share of what was measured.
pub fn relative(said: f64, measured: f64) -> f64 {
    let off = said - measured;
    if measured.abs() > 0.0 { off / measured.abs() } else { off }
}

/// The bend and the coefficients that suit the samples best.
fn fitted<P>(form: &Form<P>, samples: &[&Sample<P>]) -> (f64, Vec<f64>) {
    let rows = |bend: f64| -> Vec<Row> {
        let row = |sample: &&Sample<P>| Row {
            features: (form.features)(&sample.point, bend),
            measured: sample.measured,
        };
        samples.iter().map(row).collect()
    };
    let error = |bend: f64| {
        let rows = rows(bend);
        fit::error(&fit::non_negative(&rows), &rows)
    };
    let bend = fit::best(form.bends.iter().copied(), error);
    (bend, fit::non_negative(&rows(bend)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rate and size.
    type Two = (f64, f64);

    static FORMS: &[Form<Two>] = &[
        Form { name: "flat", terms: &["each"], bends: &[0.0], features: |point, _| vec![point.0] },
        Form {
            name: "bent",
            terms: &["turn", "byte"],
            bends: &[1e-4, 1e-3, 1e-2],
            features: |point, bend| vec![point.0 / (1.0 + point.0 * bend), point.0 * point.1],
        },
    ];

    fn samples(law: impl Fn(&Two) -> f64) -> Vec<Sample<Two>> {
        let mut samples = Vec::new();
        for (group, size) in [1.0, 10.0, 50.0].into_iter().enumerate() {
            for rate in [100.0, 1e3, 1e4] {
                let point = (rate, size);
                samples.push(Sample { group, point, measured: law(&point) });
            }
        }
        samples
    }

    #[test]
    fn the_form_that_is_true_is_chosen_with_its_bend() {
        let law = Law::choose(
            FORMS,
            &samples(|point| 5.0 * point.0 / (1.0 + point.0 * 1e-3) + 0.01 * point.0 * point.1),
        );
        assert_eq!((law.form.name, law.bend), ("bent", 1e-3));
        assert!((law.at(&(2e3, 20.0)) - (5.0 * 2e3 / 3.0 + 0.01 * 4e4)).abs() < 1e-3, "{law:?}");
        assert!((law.coefficient("turn").unwrap() - 5.0).abs() < 1e-6 && law.coefficient("x").is_none());
        assert!(law.tried[0].1 > 0.1 && law.tried[1].1 < 1e-6, "{:?}", law.tried);
        let measured = samples(|point| 5.0 * point.0 / (1.0 + point.0 * 1e-3) + 0.01 * point.0 * point.1);
        assert!(
            law.blind
                .iter()
                .zip(&measured)
                .all(|(said, sample)| relative(*said, sample.measured).abs() < 1e-5)
        );
    }

    #[test]
    fn the_simpler_form_wins_where_the_other_only_bends() {
        let law = Law::choose(FORMS, &samples(|point| 3.0 * point.0));
        assert_eq!(law.form.name, "flat");
        assert!((law.at(&(7.0, 1.0)) - 21.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_left_out_is_not_known() {
        // One group breaks the law; seen from the others it is off by its whole factor.
        let mut samples = samples(|point| 3.0 * point.0);
        samples.iter_mut().filter(|sample| sample.group == 2).for_each(|sample| sample.measured *= 2.0);
        let law = Law::choose(&FORMS[..1], &samples);
        assert!((law.blind[8] / samples[8].measured - 0.5).abs() < 1e-6, "{:?}", law.blind);
    }
}
