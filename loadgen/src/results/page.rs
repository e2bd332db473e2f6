#![forbid(unsafe_code)]
//! The HTML report: one file that needs nothing else, to look at and to mail.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::html::{self, Table};
use super::records::{IntervalRecord, Latency, Start, Summary};
use super::svg::{Axis, Chart, Marks, Scale, Series, escape};
use super::terminal::{bytes, count, time};

/// Lines of one chart; more could not be told apart.
const SERIES_MAX: usize = 12;

/// A run that was measured.
struct Run {
    summary: Summary,
    /// Share of the requests, and the latency none of them exceeded, µs.
    percentiles: Vec<(f64, f64)>,
    intervals: Vec<IntervalRecord>,
}

/// A report that is being put together.
#[derive(Default)]
pub struct Page {
    runs: Vec<Run>,
    intervals: Vec<IntervalRecord>,
    tables: Vec<Table>,
    charts: Vec<Chart>,
    notes: Vec<String>,
}

impl Page {
    /// An interval; it belongs to the run whose summary comes next.
    pub fn interval(&mut self, interval: IntervalRecord) {
        self.intervals.push(interval);
    }

    /// A run is over.
    pub fn run(&mut self, summary: Summary, latency: &Histogram<u64>) {
        let intervals = std::mem::take(&mut self.intervals);
        self.runs.push(Run { summary, percentiles: percentiles(latency), intervals });
    }

    /// A run that was read back: of its latencies only a few percentiles are known.
    pub fn known_run(&mut self, summary: Summary) {
        let intervals = std::mem::take(&mut self.intervals);
        let Latency { min_us, p50_us, p90_us, p99_us, p999_us, .. } = summary.latency;
        let percentiles = vec![(0.0, min_us), (0.5, p50_us), (0.9, p90_us), (0.99, p99_us), (0.999, p999_us)];
        self.runs.push(Run { summary, percentiles, intervals });
    }

    /// A table of a command's own.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// A chart of a command's own.
    pub fn chart(&mut self, chart: Chart) {
        self.charts.push(chart);
    }

    /// A sentence above everything.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// The page. `trouble` is why the command failed.
    pub fn render(&self, start: &Start, trouble: Option<&str>) -> String {
        let mut out = String::new();
        if let Some(trouble) = trouble {
            let _ = writeln!(out, "<p class=\"wrong\">{}</p>", escape(trouble));
        }
        out.push_str(&self.body());
        self.runs.iter().for_each(|run| out.push_str(&kinds_table(&run.summary).render()));
        out.push_str(&about(start));
        let title = start.title.clone().unwrap_or_else(|| format!("ringkeeper-loadgen {}", start.command));
        html::document(&title, &out)
    }

    /// What a page of several commands shows of each: notes, tables and charts.
    pub fn body(&self) -> String {
        let mut out = String::new();
        for note in &self.notes {
            let _ = writeln!(out, "<p>{}</p>", escape(note));
        }
        self.tables.iter().for_each(|table| out.push_str(&table.render()));
        self.charts.iter().for_each(|chart| out.push_str(&chart.render()));
        if !self.runs.is_empty() {
            out.push_str(&self.runs_table().render());
            out.push_str(&self.percentile_chart().render());
            out.push_str(&self.throughput_chart().render());
            out.push_str(&self.latency_chart().render());
        }
        out
    }

    fn runs_table(&self) -> Table {
        let head = [
            "",
            "requests/s",
            "p50",
            "p99",
            "p99.9",
            "max",
            "failed",
            "CPU a request",
            "resident",
            "written a request",
        ];
        let rows = self.runs.iter().map(|run| {
            let summary = &run.summary;
            let server = summary.server;
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
            vec![
                label(summary),
                count(summary.per_second),
                time(summary.latency.p50_us),
                time(summary.latency.p99_us),
                time(summary.latency.p999_us),
                time(summary.latency.max_us),
                count(summary.errors.values().sum::<u64>() as f64),
                or_dash(server.map(|server| format!("{:.2} us", server.cpu_us_per_request))),
                or_dash(server.map(|server| bytes(server.resident_bytes as f64))),
                or_dash(server.and_then(|server| server.written_bytes_per_request).map(bytes)),
            ]
        });
        Table { title: "Runs".to_owned(), head: head.map(str::to_owned).into(), rows: rows.collect() }
    }

    fn percentile_chart(&self) -> Chart {
        Chart {
            title: "Latency by percentile, all requests".to_owned(),
            x: Axis {
                label: "share of the requests that were at most as slow".to_owned(),
                scale: Scale::Percentile,
            },
            y: Axis { label: "latency, µs".to_owned(), scale: Scale::Log },
            series: self.series(|run| run.percentiles.clone()),
        }
    }

    fn throughput_chart(&self) -> Chart {
        self.over_time("Throughput over time", "successful requests a second", Scale::Linear, |interval| {
            interval.per_second
        })
    }

    fn latency_chart(&self) -> Chart {
        self.over_time("99th percentile over time", "p99 of the interval, µs", Scale::Log, |interval| {
            interval.latency.p99_us
        })
    }

    /// A line a run. With several targets a colour is a target and dashes are rounds; else each run has its colour.
    fn series(&self, points: impl Fn(&Run) -> Vec<(f64, f64)>) -> Vec<Series> {
        let mut targets: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !targets.contains(&run.summary.target.as_str()) {
                targets.push(&run.summary.target);
            }
        }
        let series = self.runs.iter().take(SERIES_MAX).enumerate().map(|(nth, run)| {
            let target = targets.iter().position(|target| *target == run.summary.target);
            let (colour, dashes) = match target {
                Some(target) if targets.len() > 1 => (target, run.summary.round as usize),
                _ => (nth, nth / 6),
            };
            Series { name: label(&run.summary), colour, dashes, marks: Marks::Line, points: points(run) }
        });
        series.collect()
    }

    fn over_time(
        &self,
        title: &str,
        label_of_y: &str,
        scale: Scale,
        value: fn(&IntervalRecord) -> f64,
    ) -> Chart {
        let series = self.series(|run| {
            let measured = run.intervals.iter().filter(|interval| interval.number >= 0);
            // In the middle of its interval.
            measured.map(|interval| (interval.at_s - interval.length_s / 2.0, value(interval))).collect()
        });
        Chart {
            title: title.to_owned(),
            x: Axis { label: "seconds since the measured time began".to_owned(), scale: Scale::Linear },
            y: Axis { label: label_of_y.to_owned(), scale },
            series,
        }
    }
}

fn label(summary: &Summary) -> String {
    match summary.workload.rate {
        Some(rate) => format!("{} #{} at {}/s", summary.target, summary.round + 1, count(rate)),
        None => format!("{} #{}", summary.target, summary.round + 1),
    }
}

fn kinds_table(summary: &Summary) -> Table {
    let head = ["", "count", "p50", "p90", "p99", "p99.9", "max"];
    let rows = summary.kinds.iter().map(|(kind, latency)| {
        let mut row = vec![kind.clone(), count(latency.count as f64)];
        let times = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us];
        row.extend(times.map(time));
        row
    });
    Table {
        title: format!("{} by kind", label(summary)),
        head: head.map(str::to_owned).into(),
        rows: rows.collect(),
    }
}

fn about(start: &Start) -> String {
    let machine = &start.machine;
    let mut out = String::from("<h2>How</h2>\n<dl>");
    for (what, value) in [
        ("Command", format!("ringkeeper-loadgen {}", start.arguments.join(" "))),
        ("Version", start.version.clone()),
        ("Seed", start.seed.to_string()),
        (
            "Load ran on",
            format!("{}, {} cores, {}", machine.processor, machine.cores, bytes(machine.memory_bytes as f64)),
        ),
        ("Kernel", machine.kernel.clone()),
        ("Unix time", format!("{:.0}", start.unix_time_s)),
    ] {
        let _ = write!(out, "<dt>{what}</dt><dd><code>{}</code></dd>", escape(&value));
    }
    out.push_str("</dl>\n<p>Latency counts from the time at which a request was meant to leave. Figures of one machine mean little on another; ratios of neighbours in one run mean more.</p>\n");
    out
}

/// Points of a percentile chart: a dozen a decade, as far as there are requests to tell.
fn percentiles(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    if latency.is_empty() {
        return points;
    }
    for nth in 0.. {
        let rest = 10f64.powf(-f64::from(nth) / 12.0);
        let share = 1.0 - rest;
        points.push((share, latency.value_at_quantile(share) as f64 / 1e3));
        if rest * (latency.len() as f64) < 1.0 {
            break;
        }
    }
    points
}
