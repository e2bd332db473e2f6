#![forbid(unsafe_code)]
//! `compare`: the same load on several targets in alternation. On a machine that others use too, absolute figures mean
//! little; the ratio of two neighbours in one run means more, and its spread over the rounds says how much.

use super::args::{self, CompareArgs};
use super::context::Context;
use super::exit::Failure;
use super::load::{measure, prepare};
use crate::results::html::Table;
use crate::results::records::{Latency, Ratio, Record, Summary};

/// A run's figures by name, in the order in which they are shown.
pub type Figures = Vec<(&'static str, f64)>;

/// The figures of a run.
pub fn figures(summary: &Summary) -> Figures {
    let Latency { p50_us, p90_us, p99_us, p999_us, .. } = summary.latency;
    let mut figures = vec![
        ("per_second", summary.per_second),
        ("p50_us", p50_us),
        ("p90_us", p90_us),
        ("p99_us", p99_us),
        ("p999_us", p999_us),
    ];
    if let Some(server) = &summary.server {
        figures.extend([
            ("cpu_us_per_request", server.cpu_us_per_request),
            ("resident_bytes", server.resident_bytes as f64),
            ("resident_peak_bytes", server.resident_peak_bytes as f64),
        ]);
        figures.extend(server.written_bytes_per_request.map(|bytes| ("written_bytes_per_request", bytes)));
    }
    figures
}

/// `compare`.
pub fn compare(context: &mut Context, arguments: &CompareArgs) -> Result<(), Failure> {
    let run = &arguments.run;
    let targets = context.targets.clone();
    if targets.len() < 2 || arguments.rounds == 0 {
        return Err(Failure::Usage("compare takes two targets or more, and one round at least".to_owned()));
    }
    let times = args::times(&run.load, &run.target)?;
    let plan = args::plan(&run.load, &run.target, &run.mix, run.pace.pace()?, context.seed)?;
    for target in &targets {
        prepare(context, target, &run.load, times)?;
    }
    let mut rounds: Vec<Vec<Figures>> = vec![Vec::new(); targets.len()];
    let mut failure = None;
    for round in 0..arguments.rounds {
        for (target, figures_of) in targets.iter().zip(&mut rounds) {
            // Each run names its fresh znodes and stamps anew; the requests are the same for all targets of a round.
            let mut plan = plan.clone();
            plan.run = plan.run.wrapping_add(round);
            plan.seed = plan.seed.wrapping_add(u64::from(round));
            let mut times = times;
            if round == 0 {
                times.warm_up += args::nanos(arguments.warm_first);
            }
            let measured = measure(context, target, plan, times, round)?;
            figures_of.push(figures(&measured.summary));
            if let Err(trouble) = measured.into_result() {
                failure = Some(trouble);
            }
        }
        // A ratio with a target that failed says nothing.
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    report(context, &rounds)
}

/// The figures of the targets as ratios to the first's; `rounds` has an entry for each target. Nothing for one target.
pub fn report(context: &mut Context, rounds: &[Vec<Figures>]) -> Result<(), Failure> {
    let names: Vec<String> = context.targets.iter().map(|target| target.name.clone()).collect();
    let mut all = names.into_iter().zip(rounds);
    let Some(base) = all.next() else { return Ok(()) };
    for other in all {
        let figures = base.1.first().into_iter().flatten().map(|(figure, _)| *figure);
        let ratios: Vec<Ratio> = figures.filter_map(|figure| ratio(figure, &base, &other)).collect();
        let Some(first) = ratios.first() else { continue };
        let title = format!("{} by {}, {} rounds", first.target, first.base, first.rounds);
        let mut text = format!(
            "{title}\n  {:<28} {:>14} {:>14} {:>9} {:>19}\n",
            "", first.target, first.base, "ratio", "spread"
        );
        let mut table = Table {
            title,
            head: ["", &first.target, &first.base, "ratio", "spread"].map(str::to_owned).into(),
            rows: Vec::new(),
        };
        for ratio in &ratios {
            let figures = [ratio.value, ratio.base_value].map(figure_text);
            let [value, base_value] = figures;
            let (median, spread) =
                (format!("{:.3}", ratio.median), format!("{:.3} to {:.3}", ratio.low, ratio.high));
            text.push_str(&format!(
                "  {:<28} {value:>14} {base_value:>14} {median:>9} {spread:>19}\n",
                ratio.figure
            ));
            table.rows.push(vec![ratio.figure.clone(), value, base_value, median, spread]);
        }
        context.say(&text);
        context.page.table(table);
        for ratio in ratios {
            context.record(Record::Ratio(ratio))?;
        }
    }
    Ok(())
}

fn figure_text(value: f64) -> String {
    if value >= 1000.0 { crate::results::terminal::count(value) } else { format!("{value:.2}") }
}

/// The ratio of neighbours, round by round; `None` where a target does not have the figure.
fn ratio(figure: &str, base: &(String, &Vec<Figures>), other: &(String, &Vec<Figures>)) -> Option<Ratio> {
    let values = |rounds: &[Figures]| -> Option<Vec<f64>> {
        let of = |round: &Figures| round.iter().find(|(name, _)| *name == figure).map(|(_, value)| *value);
        rounds.iter().map(of).collect()
    };
    let (values, bases) = (values(other.1)?, values(base.1)?);
    let ratios: Vec<f64> = values.iter().zip(&bases).map(|(value, base)| value / base).collect();
    if ratios.is_empty() || ratios.iter().any(|ratio| !ratio.is_finite()) {
        return None;
    }
    Some(Ratio {
        target: other.0.clone(),
        base: base.0.clone(),
        figure: figure.to_owned(),
        value: median(&values),
        base_value: median(&bases),
        median: median(&ratios),
        low: ratios.iter().copied().fold(f64::MAX, f64::min),
        high: ratios.iter().copied().fold(f64::MIN, f64::max),
        rounds: ratios.len(),
    })
}

/// The middle of some values, or the mean of the two in the middle.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_neighbours_and_needs_both() {
        let rounds =
            |values: &[f64]| values.iter().map(|value| vec![("a", *value)]).collect::<Vec<Figures>>();
        let (base, other) = (rounds(&[1.0, 2.0, 4.0]), rounds(&[3.0, 4.0, 4.0]));
        let ratio_of = |figure, base| ratio(figure, &("b".to_owned(), base), &("o".to_owned(), &other));
        let found = ratio_of("a", &base).unwrap();
        assert_eq!((found.median, found.low, found.high, found.value), (2.0, 1.0, 3.0, 4.0));
        assert_eq!(ratio_of("b", &base), None);
        assert_eq!(ratio_of("a", &rounds(&[0.0, 1.0, 1.0])), None, "nothing is a multiple of 0");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!([&[3.0, 1.0, 2.0][..], &[4.0, 1.0], &[7.0], &[]].map(median), [2.0, 2.5, 7.0, 0.0]);
    }
}
