#![forbid(unsafe_code)]
//! What is said of a plan: one object for scripts (these types are its schema), and the same as text for people.

use std::fmt::Write;

use ringkeeper_loadgen::results::records::Machine;
use ringkeeper_loadgen::results::terminal::{bytes, count, time};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Ensemble};
use super::predict::{Compared, FIGURES, Figure, Fitted};
use super::runs::{Run, median};
use super::workload::Workload;

/// Version of [`Plan`]; counts up when a field changes its meaning or goes, not when one comes.
pub const SCHEMA: u32 = 1;

/// What `plan --json` says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `plan`.
    pub kind: String,
    /// Of this program.
    pub version: String,
    /// As asked for, before growth.
    pub workload: Workload,
    /// With it.
    pub grown: Workload,
    /// Where the runs were measured.
    pub machine: Machine,
    /// Runs with a schedule that were fitted.
    pub runs: usize,
    /// Measurements they are medians of.
    pub measurements: usize,
    /// Runs that could not be used, and why.
    pub left_out: Vec<String>,
    /// How long a flush takes, µs, by the fit.
    pub flush_us: f64,
    /// The laws.
    pub laws: Vec<Fitted>,
    /// How far off they are.
    pub errors: Vec<FigureError>,
    /// What pauses of the machine add to p99 over whole runs.
    #[serde(default)]
    pub pauses: Option<Pauses>,
    /// Each workload of the runs, as a model says that was fitted on the others.
    pub blind: Vec<Compared>,
    /// The runs of `--held-out`.
    pub held_out: Vec<Compared>,
    /// The answer.
    pub answer: Answer,
    /// What it rests on.
    pub assumptions: Vec<String>,
}

/// How far off a figure was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FigureError {
    /// The figure.
    pub figure: String,
    /// On workloads that were left out, each in turn.
    pub blind: Option<Off>,
    /// On the runs of `--held-out`.
    pub held_out: Option<Off>,
    /// Of each repetition, when the others of the same run say it: noise of the machine, which no model knows.
    #[serde(default)]
    pub repeated: Option<Off>,
}

/// p99 over whole runs, as a multiple of that of the median interval, which is what is fitted.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pauses {
    /// Of the median run.
    pub median: f64,
    /// Of the worst.
    pub worst: f64,
}

impl Pauses {
    /// Of runs; nothing where no run had intervals enough to tell, or none paused.
    pub fn of<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<Pauses> {
        let ratio = |run: &Run| Some(run.whole_p99_us? / run.p99_us.filter(|us| *us > 0.0)?);
        let ratios: Vec<f64> = runs.filter_map(ratio).collect();
        let worst = ratios.iter().copied().fold(0.0, f64::max);
        (worst > 1.0).then(|| Pauses { median: median(ratios.into_iter()), worst })
    }
}

/// Shares of what was measured.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Off {
    /// Half of the runs were off by at most this.
    pub median: f64,
    /// None was off by more.
    pub worst: f64,
    /// How many were off by at most a quarter.
    pub within_quarter: usize,
    /// Runs.
    pub runs: usize,
}

impl Off {
    fn of(compared: &[Compared], figure: Figure) -> Option<Off> {
        let mut all: Vec<f64> = compared.iter().filter_map(|run| Some(run.off(figure)?.abs())).collect();
        all.sort_by(f64::total_cmp);
        Some(Off {
            worst: *all.last()?,
            median: all[(all.len() - 1) / 2],
            within_quarter: all.iter().filter(|off| **off <= 0.25).count(),
            runs: all.len(),
        })
    }
}

/// How far off each figure was.
pub fn errors(blind: &[Compared], held_out: &[Compared], repeated: &[Compared]) -> Vec<FigureError> {
    let error = |(name, figure): &(&str, Figure)| FigureError {
        figure: (*name).to_owned(),
        blind: Off::of(blind, *figure),
        held_out: Off::of(held_out, *figure),
        repeated: Off::of(repeated, *figure),
    };
    let is_told =
        |error: &FigureError| error.blind.is_some() || error.held_out.is_some() || error.repeated.is_some();
    FIGURES.iter().map(error).filter(is_told).collect()
}

/// What every plan rests on; what is only assumed for this one comes first.
pub fn assumptions(answer: &Answer) -> Vec<String> {
    let mut all = Vec::new();
    if answer.tried.iter().any(|ensemble| !ensemble.is_measured) {
        all.push(
            "ENSEMBLES ARE NOT MEASURED: what is said of more than one server is reasoned from one: \
             each logs and applies every write; the others are told of each by a frame and answer with one, at a read's CPU cost; \
             a write waits a round trip (--round-trip) and a flush elsewhere at the same time"
                .to_owned(),
        );
    }
    let general = [
        "the host is of the kind that was measured, disk included, and does nothing else; clients are spread evenly over servers",
        "more or fewer cores than measured share the work evenly; p99 depends on the share of the cores that is busy, with the load's own share where it ran on the host (unless --server-cores)",
        "one thread orders all writes: their whole CPU cost is held against 80 % of one core, which is more than that thread's part",
        "a watch fires with the next write to its znode and is set again; writes are spread evenly over the znodes; 250 bytes a watch (not measured)",
        "disk: snapshots of znodes × (value + 160 bytes), four of them, and the log behind the second-newest; a snapshot every 3/4 of --snap-count transactions or when the log outgrows max(256 MiB, a snapshot) (from the server's rules, not measured)",
        "memory has a quarter of room; network is without headers of TCP and IP (40 to 66 bytes a packet)",
    ];
    all.extend(general.map(str::to_owned));
    all
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

fn rate(value: Option<f64>) -> String {
    or_dash(value.map(|value| format!("{}/s", bytes(value))))
}

/// A time without the blanks that columns want.
pub(super) fn brief(us: f64) -> String {
    time(us).trim().to_owned()
}

/// One sentence.
pub fn headline(plan: &Plan) -> String {
    let workload = &plan.grown;
    let bound = brief(workload.p99_bound_us);
    match &plan.answer.smallest {
        Some(ensemble) => format!(
            "{} server{} of {} core{}, {} of memory: p99 {} (bound {bound}) with {} down{}",
            ensemble.servers,
            if ensemble.servers == 1 { "" } else { "s" },
            ensemble.server.cores,
            if ensemble.server.cores == 1 { "" } else { "s" },
            bytes(ensemble.server.memory_bytes),
            or_dash(ensemble.p99_us.map(brief)),
            workload.down,
            if ensemble.is_measured { "" } else { "; reasoned from one server, NOT MEASURED" },
        ),
        None => {
            let last = plan.answer.tried.last();
            let why = last.and_then(|ensemble| ensemble.broken.clone()).unwrap_or_default();
            let cores = last.map_or(0, |ensemble| ensemble.server.cores);
            format!("no ensemble of up to {cores} cores a server holds p99 under {bound}: {why}")
        }
    }
}

/// What each server of an ensemble needs, line by line.
pub fn needs(ensemble: &Ensemble) -> Vec<(&'static str, String)> {
    let server = &ensemble.server;
    vec![
        ("servers", format!("{} ({} up while the bound holds)", ensemble.servers, ensemble.up)),
        ("cores each", format!("{} ({} busy)", server.cores, percent(server.busy))),
        ("memory each", bytes(server.memory_bytes)),
        ("disk space each", bytes(server.disk_bytes)),
        ("disk writes each", rate(server.disk_bytes_per_second)),
        ("network into each", rate(server.received_per_second)),
        ("network out of each", rate(server.sent_per_second)),
        ("p99 of all requests", or_dash(ensemble.p99_us.map(brief))),
        ("p99 of reads", or_dash(ensemble.read_p99_us.map(brief))),
        ("p99 of writes", or_dash(ensemble.write_p99_us.map(brief))),
    ]
}

/// Numbers of very different sizes, short.
fn short(value: f64) -> String {
    if value >= 100.0 { count(value) } else { format!("{value:.2}") }
}

/// Where the plan leaves what was measured.
pub fn extrapolations(plan: &Plan) -> Vec<String> {
    let line = |found: &super::answer::Extrapolated| match found.high > 0.0 {
        true => format!(
            "{}: {} (fitted {} to {})",
            found.input,
            short(found.value),
            short(found.low),
            short(found.high)
        ),
        false => format!("{}: {}", found.input, short(found.value)),
    };
    plan.answer.extrapolated.iter().map(line).collect()
}

fn off(off: Option<Off>) -> String {
    match off {
        Some(off) => format!(
            "{:>5} {:>5}  {}/{}",
            percent(off.median),
            percent(off.worst),
            off.within_quarter,
            off.runs
        ),
        None => "–".to_owned(),
    }
}

/// The whole of it for a terminal.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    let workload = &plan.grown;
    let _ = writeln!(out, "{}\n", headline(plan));
    let _ = writeln!(
        out,
        "workload  {} reads/s, {} writes/s of {}, {} clients, {} sessions, {} znodes, {} watches{}",
        count(workload.reads_per_second),
        count(workload.writes_per_second),
        bytes(workload.value_bytes),
        count(workload.clients),
        count(workload.sessions),
        count(workload.znodes),
        count(workload.watches),
        if plan.workload.growth > 1.0 {
            format!(" (grown by {})", plan.workload.growth)
        } else {
            String::new()
        }
    );
    let machine = &plan.machine;
    let _ = writeln!(
        out,
        "fitted    {} runs, medians of {} measurements, on {} × {}; a flush takes {}\n",
        plan.runs,
        plan.measurements,
        machine.cores,
        machine.processor,
        brief(plan.flush_us)
    );
    if let Some(ensemble) = &plan.answer.smallest {
        for (what, value) in needs(ensemble) {
            let _ = writeln!(out, "  {what:<22} {value}");
        }
        out.push('\n');
    }
    let _ = writeln!(out, "  {:<8} {:>5} {:>6} {:>10}  ", "servers", "cores", "busy", "p99");
    for ensemble in &plan.answer.tried {
        let _ = writeln!(
            out,
            "  {:<8} {:>5} {:>6} {:>10}  {}{}",
            ensemble.servers,
            ensemble.server.cores,
            percent(ensemble.server.busy),
            or_dash(ensemble.p99_us.map(brief)),
            ensemble.broken.as_deref().unwrap_or("holds"),
            if ensemble.is_measured { "" } else { " (not measured)" }
        );
    }
    let extrapolated = extrapolations(plan);
    if !extrapolated.is_empty() {
        out.push_str("\nEXTRAPOLATES: outside of what was measured the laws are guesses\n");
        for line in &extrapolated {
            let _ = writeln!(out, "  {line}");
        }
    }
    let _ = writeln!(
        out,
        "\nerror of the model       median worst  within 25 %   (workloads left out one by one; then --held-out; then noise: each \
         repetition, said by the others of its run)"
    );
    for error in &plan.errors {
        let _ = writeln!(
            out,
            "  {:<20} {:<24} {:<24} {}",
            error.figure,
            off(error.blind),
            off(error.held_out),
            off(error.repeated)
        );
    }
    if let Some(pauses) = plan.pauses {
        let _ = writeln!(
            out,
            "  p99 is that of the median interval; over a whole run, pauses of the machine included, it was {:.1} times that \
             (median; worst {:.1})",
            pauses.median, pauses.worst
        );
    }
    for run in &plan.held_out {
        let _ = writeln!(out, "  held out: {} ({} busy)", run.label, percent(run.busy));
        for (name, figure) in FIGURES {
            if let (Some(measured), Some(said), Some(off)) =
                (figure(&run.measured), figure(&run.said), run.off(figure))
            {
                let _ = writeln!(
                    out,
                    "    {name:<16} measured {:>11}, said {:>11} ({:+.0} %)",
                    amount(name, measured),
                    amount(name, said),
                    off * 100.0
                );
            }
        }
    }
    out.push_str("\nassumes\n");
    for line in &plan.assumptions {
        let _ = writeln!(out, "  - {line}");
    }
    for line in &plan.left_out {
        let _ = writeln!(out, "left out: {line}");
    }
    out
}

/// A figure in its unit.
pub fn amount(figure: &str, value: f64) -> String {
    match figure {
        "CPU" => format!("{value:.3} cores"),
        "memory" => bytes(value),
        name if name.starts_with("p99") => brief(value),
        _ => format!("{}/s", bytes(value)),
    }
}
