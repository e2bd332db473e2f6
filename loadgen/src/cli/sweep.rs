#![forbid(unsafe_code)]
//! `sweep`: the highest rate that keeps the 99th percentile under a bound.

use super::args::{self, SweepArgs};
use super::context::Context;
use super::exit::Failure;
use super::load::{Measured, measure, prepare};
use crate::load::Pace;
use crate::results::html::Table;
use crate::results::records::{Found, Point, Record};
use crate::results::svg::{Axis, Chart, Marks, Scale, Series};
use crate::results::terminal::{count, time};
use crate::run::Trouble;

/// `sweep`.
pub fn sweep(context: &mut Context, arguments: &SweepArgs) -> Result<(), Failure> {
    let target = context.only_target()?;
    let times = args::times(&arguments.load, &arguments.target)?;
    let (from, to) = (args::rate(arguments.from)?, args::rate(arguments.to)?);
    if from > to
        || arguments.tries == 0
        || !(0.001..1.0).contains(&arguments.precision)
        || arguments.p99.is_zero()
    {
        let text = "--from must not exceed --to, --tries is at least 1, --precision lies between 0.001 and 1, --p99 is not 0";
        return Err(Failure::Usage(text.to_owned()));
    }
    let plan =
        args::plan(&arguments.load, &arguments.target, &arguments.mix, Pace::Open(from), context.seed)?;
    prepare(context, &target, &arguments.load, times)?;
    let bound_us = arguments.p99.as_secs_f64() * 1e6;
    let mut search = Search::new(from, to, arguments.precision);
    let mut points = Vec::new();
    let mut round = 0;
    while let Some(rate) = search.next() {
        let mut best: Option<Point> = None;
        for _ in 0..arguments.tries {
            let mut plan = plan.clone();
            plan.pace = Pace::Open(rate);
            plan.run = plan.run.wrapping_add(round);
            let measured = measure(context, &target, plan, times, round)?;
            round += 1;
            let point = judge(&measured, rate, bound_us);
            // A rate that breaks a server's connections has broken the bound; a lie is a lie at any rate.
            if let Some(trouble @ (Trouble::Lied(..) | Trouble::Local(_) | Trouble::Interrupted)) =
                measured.outcome.trouble
            {
                return Err(trouble.into());
            }
            context.live.note(&format!(
                "{}/s: p99 {}, bound {}",
                count(rate),
                time(point.p99_us).trim(),
                if point.kept { "kept" } else { "broken" }
            ));
            context.record(Record::Point(point.clone()))?;
            let is_kept = point.kept;
            if best.as_ref().is_none_or(|best| point.kept || point.p99_us < best.p99_us) {
                best = Some(point);
            }
            if is_kept {
                break;
            }
        }
        let Some(best) = best else { break };
        search.tried(rate, best.kept);
        points.push(best);
    }
    report(context, &search, &mut points, bound_us)
}

fn judge(measured: &Measured, rate: f64, bound_us: f64) -> Point {
    let summary = &measured.summary;
    let due = rate * summary.seconds;
    let answered = summary.completed as f64 >= due * 0.99;
    let p99_us = summary.latency.p99_us;
    let kept =
        answered && summary.latency.count > 0 && p99_us <= bound_us && measured.outcome.trouble.is_none();
    Point { rate, per_second: summary.per_second, p99_us, kept }
}

fn report(
    context: &mut Context,
    search: &Search,
    points: &mut [Point],
    bound_us: f64,
) -> Result<(), Failure> {
    points.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let found = Found { p99_bound_us: bound_us, rate: search.kept, broken_at: search.broken };
    let row = |point: &Point| {
        let kept = if point.kept { "kept" } else { "broken" };
        vec![count(point.rate), count(point.per_second), time(point.p99_us), kept.to_owned()]
    };
    let head = ["rate", "answered/s", "p99", "bound"].map(str::to_owned).into();
    context.page.table(Table {
        title: "Rates tried".to_owned(),
        head,
        rows: points.iter().map(row).collect(),
    });
    let line = |name: &str, nth: usize, y: fn(&Point, f64) -> f64| Series {
        name: name.to_owned(),
        colour: nth,
        dashes: nth,
        marks: Marks::Line,
        points: points.iter().map(|point| (point.rate, y(point, bound_us))).collect(),
    };
    context.page.chart(Chart {
        title: "99th percentile by rate".to_owned(),
        x: Axis { label: "requests a second on the schedule".to_owned(), scale: Scale::Linear },
        y: Axis { label: "p99, µs".to_owned(), scale: Scale::Log },
        series: vec![line("p99", 0, |point, _| point.p99_us), line("bound", 1, |_, bound| bound)],
    });
    let bound = time(bound_us);
    let bound = bound.trim();
    let text = match found.rate {
        Some(rate) => format!("{}/s keep p99 under {bound}", count(rate)),
        None => format!("no rate tried keeps p99 under {bound}; the lowest was {}/s", count(points[0].rate)),
    };
    context.say(&format!("{text}\n"));
    context.page.note(text.clone());
    let rate = found.rate;
    context.record(Record::Found(found))?;
    if rate.is_none() { Err(Failure::Bound(text)) } else { Ok(()) }
}

/// Doubles while the bound is kept, then halves what is left between the highest rate that kept it and the lowest that
/// did not.
#[derive(Debug)]
struct Search {
    from: f64,
    to: f64,
    precision: f64,
    kept: Option<f64>,
    broken: Option<f64>,
}

impl Search {
    fn new(from: f64, to: f64, precision: f64) -> Search {
        Search { from, to, precision, kept: None, broken: None }
    }

    /// The rate to try next; `None` when it is known well enough.
    fn next(&self) -> Option<f64> {
        match (self.kept, self.broken) {
            (None, None) => Some(self.from),
            // The first rate is the lowest that was asked about.
            (None, Some(_)) => None,
            (Some(kept), None) => (kept < self.to).then(|| (kept * 2.0).min(self.to)),
            (Some(kept), Some(broken)) => {
                (broken - kept > kept * self.precision).then_some((kept + broken) / 2.0)
            }
        }
    }

    fn tried(&mut self, rate: f64, kept: bool) {
        if kept {
            self.kept = Some(rate);
        } else {
            self.broken = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: f64, to: f64, limit: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(from, to, 0.05);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.tried(rate, rate <= limit);
            tries += 1;
        }
        (search.kept, tries)
    }

    #[test]
    fn the_highest_rate_is_found_within_the_precision() {
        for limit in [1_000.0, 1_500.0, 7_777.0, 64_000.0, 99_999.0] {
            let (found, tries) = search(1_000.0, 1e6, limit);
            let found = found.unwrap();
            assert!(found <= limit && found > limit * 0.95, "{limit}: {found}");
            assert!(tries < 15, "{limit}: {tries}");
        }
    }

    #[test]
    fn a_search_ends_at_its_limits() {
        assert_eq!(search(1_000.0, 1e6, 10.0), (None, 1));
        assert_eq!(search(1_000.0, 3_000.0, 1e9), (Some(3_000.0), 3));
    }
}
