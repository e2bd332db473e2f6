#![forbid(unsafe_code)]
//! The page: the answer, p99 as the workload grows, and how far off the model is. One file that needs nothing else; drawn
//! with what draws the reports of `ringkeeper-loadgen`.

use std::fmt::Write;

use ringkeeper_loadgen::results::html::{self, Table};
use ringkeeper_loadgen::results::svg::{Axis, Chart, Marks, Scale, Series, escape};
use ringkeeper_loadgen::results::terminal::bytes;

use super::answer::{self, Ensemble};
use super::predict::{Compared, FIGURES, Figure, Figures, Model};
use super::said::{self, Plan};
use super::workload::Workload;

/// Figures whose error is drawn.
const DRAWN: [&str; 4] = ["CPU", "memory", "disk writes", "p99"];
/// How far the workload is let grow in the chart.
const GROWTH_MAX: f64 = 3.0;
const STEPS: u32 = 60;

/// The page.
pub fn page(plan: &Plan, model: &Model) -> String {
    let mut out = format!("<p><strong>{}</strong></p>\n", escape(&said::headline(plan)));
    let extrapolated = said::extrapolations(plan);
    if !extrapolated.is_empty() {
        out.push_str(
            "<p class=\"wrong\">Extrapolates: outside of what was measured the laws are guesses.</p><ul>\n",
        );
        extrapolated.iter().for_each(|line| {
            let _ = writeln!(out, "<li>{}</li>", escape(line));
        });
        out.push_str("</ul>\n");
    }
    if let Some(ensemble) = &plan.answer.smallest {
        let rows = said::needs(ensemble).into_iter().map(|(what, value)| vec![what.to_owned(), value]);
        out.push_str(
            &table("What it takes", &["", "with the failures that were asked for"], rows.collect()).render(),
        );
    }
    if let Some(about) = plan.answer.smallest.as_ref().or(plan.answer.tried.last()) {
        out.push_str(&growth(plan, model, about).render());
    }
    out.push_str(&error_table(plan).render());
    if !plan.held_out.is_empty() {
        out.push_str(&held_out_table(plan).render());
        out.push_str(
            &ratios("Held-out runs: said by the model, as a share of what was measured", &plan.held_out)
                .render(),
        );
    }
    out.push_str(
        &ratios("Workloads left out one by one: said, as a share of what was measured", &plan.blind).render(),
    );
    out.push_str(&by_load(plan).render());
    out.push_str(&laws(plan).render());
    out.push_str("<h2>Assumes</h2>\n<ul>\n");
    for line in &plan.assumptions {
        let _ = writeln!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>\n<h2>How</h2>\n");
    let machine = &plan.machine;
    let _ = writeln!(
        out,
        "<p>{} runs, medians of {} measurements, on {} × {}, {}, {}. ringkeeper-tune {}.</p>",
        plan.runs,
        plan.measurements,
        machine.cores,
        escape(&machine.processor),
        bytes(machine.memory_bytes as f64),
        escape(&machine.kernel),
        escape(&plan.version)
    );
    for line in &plan.left_out {
        let _ = writeln!(out, "<p>Left out: {}</p>", escape(line));
    }
    html::document("ringkeeper-tune plan", &out)
}

fn table(title: &str, head: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table { title: title.to_owned(), head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows }
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis { label: label.to_owned(), scale }
}

fn line(name: &str, nth: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), colour: nth, dashes: nth, marks: Marks::Line, points }
}

fn dots(name: &str, nth: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), colour: nth, dashes: 0, marks: Marks::Dots, points }
}

/// p99 of an ensemble as its workload grows, up to where it does not keep up.
fn growth(plan: &Plan, model: &Model, about: &Ensemble) -> Chart {
    let mut points = Vec::new();
    for step in 1..=STEPS {
        let factor = f64::from(step) / f64::from(STEPS) * GROWTH_MAX;
        let grown = Workload {
            reads_per_second: plan.grown.reads_per_second * factor,
            writes_per_second: plan.grown.writes_per_second * factor,
            ..plan.grown
        };
        let ensemble = answer::ensemble(model, &grown, about.servers, about.server.cores);
        let Some(p99_us) = ensemble.p99_us.filter(|_| ensemble.keeps_up()) else { break };
        points.push((factor, p99_us));
    }
    let bound = plan.grown.p99_bound_us;
    let planned = about.p99_us.filter(|_| about.keeps_up()).map(|p99_us| (1.0, p99_us));
    let servers = if about.servers == 1 { "server" } else { "servers" };
    Chart {
        title: format!(
            "p99 as the workload grows, {} {servers} of {} cores",
            about.servers, about.server.cores
        ),
        x: axis("requests a second, as a multiple of what is planned", Scale::Linear),
        y: axis("p99, µs", Scale::Log),
        series: vec![
            line("p99 by the model", 0, points),
            line("bound", 1, vec![(0.0, bound), (GROWTH_MAX, bound)]),
            dots("planned", 3, planned.into_iter().collect()),
        ],
    }
}

/// What the model says divided by what was measured, by how busy the host was.
fn ratios(title: &str, runs: &[Compared]) -> Chart {
    let figures = FIGURES.iter().filter(|(name, _)| DRAWN.contains(name)).enumerate();
    let mut series: Vec<Series> = figures
        .map(|(nth, (name, figure))| {
            let points = runs.iter().filter_map(|run| Some((run.busy, run.off(*figure)? + 1.0)));
            dots(name, nth, points.collect())
        })
        .collect();
    let end = runs.iter().map(|run| run.busy).fold(0.1, f64::max);
    series.push(Series { dashes: 0, ..line("as measured", 5, vec![(0.0, 1.0), (end, 1.0)]) });
    for (name, share) in [("25 % more", 1.25), ("25 % less", 0.75)] {
        series.push(Series { dashes: 2, ..line(name, 5, vec![(0.0, share), (end, share)]) });
    }
    Chart {
        title: title.to_owned(),
        x: axis("busy share of the host's cores, the load's own included", Scale::Linear),
        y: axis("said / measured", Scale::Linear),
        series,
    }
}

/// p99 over load: what was measured and what is said.
fn by_load(plan: &Plan) -> Chart {
    let all = || plan.blind.iter().chain(&plan.held_out);
    let of = |figures: fn(&Compared) -> &Figures| -> Vec<(f64, f64)> {
        all().filter_map(|run| Some((run.busy, figures(run).p99_us?))).collect()
    };
    Chart {
        title: "p99 by load, every run".to_owned(),
        x: axis("busy share of the host's cores, the load's own included", Scale::Linear),
        y: axis("p99, µs", Scale::Log),
        series: vec![
            dots("measured", 0, of(|run| &run.measured)),
            dots("said without having seen it", 1, of(|run| &run.said)),
        ],
    }
}

fn error_table(plan: &Plan) -> Table {
    let cells = |off: Option<said::Off>| match off {
        Some(off) => vec![
            format!("{:.0} %", off.median * 100.0),
            format!("{:.0} %", off.worst * 100.0),
            format!("{} of {}", off.within_quarter, off.runs),
        ],
        None => vec!["–".to_owned(); 3],
    };
    let row = |error: &said::FigureError| {
        [vec![error.figure.clone()], cells(error.blind), cells(error.held_out), cells(error.repeated)]
            .concat()
    };
    let head = [
        "",
        "left out: median",
        "worst",
        "within 25 %",
        "held out: median",
        "worst",
        "within 25 %",
        "repeated: median",
        "worst",
        "within 25 %",
    ];
    table("Error of the model", &head, plan.errors.iter().map(row).collect())
}

fn held_out_table(plan: &Plan) -> Table {
    let drawn = || FIGURES.iter().filter(|(name, _)| DRAWN.contains(name));
    let row = |run: &Compared| {
        let cell = |(name, figure): &(&str, Figure)| {
            let (measured, said) = (figure(&run.measured)?, figure(&run.said)?);
            let off = run.off(*figure)? * 100.0;
            Some(format!("{} / {} ({off:+.0} %)", said::amount(name, measured), said::amount(name, said)))
        };
        let cells = drawn().map(|figure| cell(figure).unwrap_or_else(|| "–".to_owned()));
        [vec![run.label.clone()], cells.collect()].concat()
    };
    let head: Vec<&str> = [""].into_iter().chain(drawn().map(|(name, _)| *name)).collect();
    table("Held-out runs: measured / said", &head, plan.held_out.iter().map(row).collect())
}

fn laws(plan: &Plan) -> Table {
    let row = |law: &super::predict::Fitted| {
        let terms: Vec<String> =
            law.coefficients.iter().map(|(term, value)| format!("{term} {value:.3e}")).collect();
        let tried: Vec<String> =
            law.tried.iter().map(|(form, error)| format!("{form}: {:.0} %", error * 100.0)).collect();
        let bend = law.bend.map(|bend| format!("; bends by {bend:.2e}")).unwrap_or_default();
        vec![law.figure.clone(), format!("{}{bend}", terms.join(", ")), tried.join("; ")]
    };
    let head = ["", "coefficients", "forms tried, error on workloads left out"];
    table("Laws", &head, plan.laws.iter().map(row).collect())
}
