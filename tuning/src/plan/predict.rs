#![forbid(unsafe_code)]
//! The model of one server: laws fitted on runs, what they say of a demand, and how far off they are.

use serde::{Deserialize, Serialize};

use super::flush;
use super::forms::{Form, Law, Sample, relative};
use super::laws::{self, BUSY_MAX, Demand, Point};
use super::runs::{Run, Runs, SessionCost, Tail, together};

/// Runs of an open loop that a fit needs: fewer than its coefficients would be no fit.
pub const RUNS_MIN: usize = 8;
/// Different workloads among them: each is left out once to tell the error.
pub const WORKLOADS_MIN: usize = 3;

/// Why there is no model.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FitError {
    /// Too few runs.
    #[error(
        "{0} different runs with a schedule; a fit needs {RUNS_MIN} at least, at several rates (--rate) up to the bound"
    )]
    TooFew(usize),
    /// All of one kind.
    #[error(
        "{0} different workloads; a fit needs {WORKLOADS_MIN} at least: other mixes, value sizes, connections or znodes"
    )]
    TooAlike(usize),
}

/// The figures of a server at a demand.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Cores kept busy.
    pub cpu: f64,
    /// Resident memory, bytes.
    pub memory: f64,
    /// Bytes a second to the disk, by the log.
    pub disk: Option<f64>,
    /// Bytes a second into the server, TCP and IP headers apart.
    pub received: Option<f64>,
    /// Bytes a second out of it.
    pub sent: Option<f64>,
    /// 99th percentile of reads, µs.
    pub read_p99_us: Option<f64>,
    /// 99th percentile of writes, µs.
    pub write_p99_us: Option<f64>,
    /// 99th percentile of all requests, µs.
    pub p99_us: Option<f64>,
}

/// How to get at a figure.
pub type Figure = fn(&Figures) -> Option<f64>;

/// A figure's name and how to get at it, in the order of all tables.
pub const FIGURES: [(&str, Figure); 8] = [
    ("CPU", |figures| Some(figures.cpu)),
    ("memory", |figures| Some(figures.memory)),
    ("disk writes", |figures| figures.disk),
    ("network in", |figures| figures.received),
    ("network out", |figures| figures.sent),
    ("p99 of reads", |figures| figures.read_p99_us),
    ("p99 of writes", |figures| figures.write_p99_us),
    ("p99", |figures| figures.p99_us),
];

impl Figures {
    /// Of a run, as measured.
    pub fn measured(run: &Run) -> Figures {
        Figures {
            cpu: run.cpu,
            memory: run.resident,
            disk: run.written.filter(|_| run.writes > 0.0),
            received: run.network.map(|(received, _)| received),
            sent: run.network.map(|(_, sent)| sent),
            read_p99_us: run.read.map(|tail| tail.p99_us),
            write_p99_us: run.write.map(|tail| tail.p99_us),
            p99_us: run.p99_us,
        }
    }
}

/// Where inputs lay in the runs: outside of it is extrapolation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Range {
    /// The input.
    pub input: String,
    /// Smallest in a run.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

/// Laws of a class of requests.
#[derive(Debug)]
struct Class {
    p50: Law<Point>,
    p99: Law<Point>,
}

/// One server, as its runs describe it.
#[derive(Debug)]
pub struct Model {
    /// Cores of the host.
    pub cores: f64,
    /// How long a flush takes, seconds, from the number of batches that the bytes on the disk betray.
    pub flush_s: f64,
    /// An idle session, if `idle` was run.
    pub session: Option<SessionCost>,
    /// CPU seconds of one watch event, if `fanout` was run.
    pub event_cpu: Option<f64>,
    /// Fitted ranges.
    pub ranges: Vec<Range>,
    cpu: Law<Point>,
    memory: Law<Point>,
    disk: Option<Law<Point>>,
    received: Option<Law<Point>>,
    sent: Option<Law<Point>>,
    read: Option<Class>,
    write: Option<Class>,
}

/// What a law came to, for the results.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Fitted {
    /// The figure.
    pub figure: String,
    /// The form that was chosen.
    pub form: String,
    /// The number it bends by, if it does.
    pub bend: Option<f64>,
    /// Its coefficients by term.
    pub coefficients: Vec<(String, f64)>,
    /// Every form tried, with its error on workloads that were left out.
    pub tried: Vec<(String, f64)>,
}

/// A run beside what the model says of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// What was asked for.
    pub label: String,
    /// Share of the host's cores that was busy.
    pub busy: f64,
    /// As measured.
    pub measured: Figures,
    /// As the model says.
    pub said: Figures,
}

impl Compared {
    /// How far off a figure is, as a share of what was measured.
    pub fn off(&self, figure: Figure) -> Option<f64> {
        Some(relative(figure(&self.said)?, figure(&self.measured)?))
    }
}

/// The demand of a run.
pub fn demand(run: &Run) -> Demand {
    Demand {
        reads: run.reads,
        writes: run.writes,
        value_bytes: run.asked.value_bytes,
        znodes: run.asked.znodes,
        connections: run.asked.connections,
    }
}

impl Model {
    /// Fits the laws.
    ///
    /// # Errors
    /// Too few runs, or all of one workload.
    pub fn fit(runs: &Runs) -> Result<Model, FitError> {
        let open: Vec<&Run> = runs.runs.iter().filter(|run| run.asked.rate.is_some()).collect();
        if open.len() < RUNS_MIN {
            return Err(FitError::TooFew(open.len()));
        }
        let mut workloads: Vec<&Run> = Vec::new();
        let mut groups = Vec::new();
        for run in &open {
            let known = workloads.iter().position(|known| known.asked.is_same_but_rate(&run.asked));
            groups.push(known.unwrap_or(workloads.len()));
            if known.is_none() {
                workloads.push(run);
            }
        }
        if workloads.len() < WORKLOADS_MIN {
            return Err(FitError::TooAlike(workloads.len()));
        }
        let cores = runs.machine.cores.max(1) as f64;
        let points = |flush_s: f64, cpu: Option<&Law<Point>>| -> Vec<Point> {
            let point = |run: &&Run| {
                let point = measured_point(run, cores, flush_s);
                let work = cpu.map_or(0.0, |law| work(law, &point, cores, run.load_cpu));
                Point { work, ..point }
            };
            open.iter().map(point).collect()
        };
        type Base<'a> = (f64, Option<&'a Law<Point>>);
        let choose = |forms: &'static [Form<Point>], base: Base<'_>, figure: &dyn Fn(&Run) -> Option<f64>| {
            let all = open.iter().zip(points(base.0, base.1)).zip(&groups);
            let samples: Vec<Sample<Point>> = all
                .filter_map(|((run, point), group)| {
                    Some(Sample { group: *group, point, measured: figure(run)? })
                })
                .collect();
            (samples.len() >= WORKLOADS_MIN).then(|| Law::choose(forms, &samples))
        };
        // The flush first: the other laws know the log by it.
        let written = |run: &Run| run.written.filter(|_| run.writes > 0.0);
        let blocks = choose(&laws::DISK[..1], (0.0, None), &written);
        let flush_s = blocks.as_ref().map_or(0.0, |law| law.bend);
        let always = "there are runs enough for what every run has";
        let base = (flush_s, None);
        // Then the CPU: latencies know by it how much of the time is work.
        let cpu = choose(laws::CPU, base, &|run| Some(run.cpu)).expect(always);
        let class = |forms, tail: fn(&Run) -> Option<Tail>| {
            Some(Class {
                p50: choose(forms, (flush_s, Some(&cpu)), &|run| Some(tail(run)?.p50_us))?,
                p99: choose(forms, (flush_s, Some(&cpu)), &|run| Some(tail(run)?.p99_us))?,
            })
        };
        let (read, write) = (class(laws::READ, |run| run.read), class(laws::WRITE, |run| run.write));
        Ok(Model {
            cores,
            flush_s,
            session: runs.session,
            event_cpu: runs.event_cpu,
            ranges: ranges(&open, cores),
            memory: choose(laws::MEMORY, base, &|run| Some(run.resident)).expect(always),
            disk: choose(laws::DISK, base, &written),
            received: choose(laws::RECEIVED, base, &|run| Some(run.network?.0)),
            sent: choose(laws::SENT, base, &|run| Some(run.network?.1)),
            cpu,
            read,
            write,
        })
    }

    /// What it says of a demand on `cores`, of which something else keeps `other_cpu` busy. `extra_cpu` is the server's
    /// own work beside the requests.
    pub fn at(&self, demand: &Demand, cores: f64, extra_cpu: f64, other_cpu: f64) -> Figures {
        let mut point = Point {
            demand: *demand,
            log: flush::log(demand.writes, demand.value_bytes, self.flush_s),
            cpu: 0.0,
            busy: 0.0,
            work: 0.0,
        };
        point.cpu = self.cpu.at(&point) + extra_cpu;
        point.busy = (point.cpu + other_cpu) / cores;
        point.work = work(&self.cpu, &point, cores, extra_cpu + other_cpu);
        let tail = |class: &Option<Class>| {
            let class = class.as_ref()?;
            let p50_us = class.p50.at(&point);
            Some(Tail { p50_us, p99_us: class.p99.at(&point).max(p50_us) })
        };
        let read = (demand.reads > 0.0).then(|| tail(&self.read));
        let write = (demand.writes > 0.0).then(|| tail(&self.write));
        // A class that no run had is not said to be fast.
        let p99_us = match (read, write) {
            (Some(read), Some(write)) => read
                .zip(write)
                .map(|(read, write)| mixed_p99(&[(demand.reads, read), (demand.writes, write)])),
            (Some(one), None) | (None, Some(one)) => one.map(|tail| tail.p99_us),
            (None, None) => None,
        };
        let law = |law: &Option<Law<Point>>| law.as_ref().map(|law| law.at(&point));
        Figures {
            cpu: point.cpu,
            memory: self.memory.at(&point),
            disk: if demand.writes > 0.0 { law(&self.disk) } else { None },
            received: law(&self.received),
            sent: law(&self.sent),
            read_p99_us: read.flatten().map(|tail| tail.p99_us),
            write_p99_us: write.flatten().map(|tail| tail.p99_us),
            p99_us,
        }
    }

    /// A run that was not fitted beside what the model says of it. Of the run only what was asked is used, and how busy
    /// the load itself kept the host.
    pub fn compare(&self, run: &Run) -> Compared {
        let said = self.at(&demand(run), self.cores, 0.0, run.load_cpu);
        compared(run, self.cores, said)
    }

    /// The coefficient of a term of the CPU's law, in CPU seconds.
    pub fn cpu_of(&self, term: &str) -> f64 {
        self.cpu.coefficient(term).unwrap_or(0.0)
    }

    /// The coefficient of a term of the memory's law, in bytes.
    pub fn memory_of(&self, term: &str) -> f64 {
        self.memory.coefficient(term).unwrap_or(0.0)
    }

    /// All laws, for the results.
    pub fn fitted(&self) -> Vec<Fitted> {
        let class = |class: &'_ Option<Class>, at: usize| -> Option<Fitted> {
            let (name, law) = match (class.as_ref()?, at) {
                (class, 0 | 2) => ("p50", &class.p50),
                (class, _) => ("p99", &class.p99),
            };
            Some(fitted(&format!("{name} of {}", if at < 2 { "reads" } else { "writes" }), law))
        };
        let some = |name: &str, law: &Option<Law<Point>>| law.as_ref().map(|law| fitted(name, law));
        let all = [
            Some(fitted("CPU", &self.cpu)),
            Some(fitted("memory", &self.memory)),
            some("disk writes", &self.disk),
            some("network in", &self.received),
            some("network out", &self.sent),
            class(&self.read, 0),
            class(&self.read, 1),
            class(&self.write, 2),
            class(&self.write, 3),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Each workload of the runs as a model says that was fitted on the others.
///
/// # Errors
/// As [`Model::fit`], for the runs that are left when a workload is taken away.
pub fn each_left_out(runs: &Runs) -> Result<Vec<Compared>, FitError> {
    let open: Vec<&Run> = runs.runs.iter().filter(|run| run.asked.rate.is_some()).collect();
    let mut done: Vec<&Run> = Vec::new();
    let mut all = Vec::new();
    for run in &open {
        if done.iter().any(|known| known.asked.is_same_but_rate(&run.asked)) {
            continue;
        }
        done.push(run);
        let (inside, others): (Vec<Run>, Vec<Run>) =
            runs.runs.iter().cloned().partition(|other| other.asked.is_same_but_rate(&run.asked));
        let model = Model::fit(&Runs { runs: others, ..runs.clone() })?;
        all.extend(inside.iter().filter(|run| run.asked.rate.is_some()).map(|run| model.compare(run)));
    }
    Ok(all)
}

fn measured_point(run: &Run, cores: f64, flush_s: f64) -> Point {
    let demand = demand(run);
    Point {
        demand,
        log: flush::log(demand.writes, demand.value_bytes, flush_s),
        cpu: run.cpu,
        busy: (run.cpu + run.load_cpu) / cores,
        work: 0.0,
    }
}

/// Share of the cores that is taken by what each request adds, and by others.
fn work(cpu: &Law<Point>, point: &Point, cores: f64, other_cpu: f64) -> f64 {
    let features = (cpu.form.features)(point, cpu.bend);
    let terms = cpu.form.terms.iter().zip(&cpu.coefficients).zip(features);
    let added = terms.filter(|((term, _), _)| laws::WORK.contains(term));
    (added.map(|((_, coefficient), feature)| coefficient * feature).sum::<f64>() + other_cpu) / cores
}

/// Each repetition beside the medians of the others of its run: what is said by one who knows everything but the
/// machine's mood. A model is held against the median of all of them, which is less noisy than one; but where these are
/// far off, so is every model.
pub fn repeated(runs: &Runs) -> Vec<Compared> {
    let open = runs.runs.iter().filter(|run| run.asked.rate.is_some() && run.each.len() > 1);
    let cores = runs.machine.cores.max(1) as f64;
    open.flat_map(|run| {
        (0..run.each.len()).map(move |nth| {
            let others: Vec<Run> = run
                .each
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != nth)
                .map(|(_, run)| run.clone())
                .collect();
            compared(&run.each[nth], cores, Figures::measured(&together(&others)))
        })
    })
    .collect()
}

fn compared(run: &Run, cores: f64, said: Figures) -> Compared {
    let asked = &run.asked;
    let rate = asked.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate:.0}/s"));
    Compared {
        label: format!(
            "{} {rate}, {:.0} B, {:.0} znodes, {:.0} sessions",
            asked.mix, asked.value_bytes, asked.znodes, asked.connections
        ),
        busy: (run.cpu + run.load_cpu) / cores,
        measured: Figures::measured(run),
        said,
    }
}

fn fitted(figure: &str, law: &Law<Point>) -> Fitted {
    Fitted {
        figure: figure.to_owned(),
        form: law.form.name.to_owned(),
        bend: (law.form.bends.len() > 1).then_some(law.bend),
        coefficients: law
            .form
            .terms
            .iter()
            .map(|term| (*term).to_owned())
            .zip(law.coefficients.clone())
            .collect(),
        tried: law.tried.iter().map(|(name, error)| ((*name).to_owned(), *error)).collect(),
    }
}

/// The ranges of what a plan may ask for.
fn ranges(runs: &[&Run], cores: f64) -> Vec<Range> {
    type Input = (&'static str, fn(&Run) -> f64);
    let inputs: [Input; 6] = [
        ("requests a second on a server", |run| run.reads + run.writes),
        ("writes a second", |run| run.writes),
        ("share of writes", |run| run.writes / (run.reads + run.writes).max(1e-9)),
        ("bytes of a value", |run| run.asked.value_bytes),
        ("znodes", |run| run.asked.znodes),
        ("clients on a server", |run| run.asked.connections),
    ];
    let mut ranges: Vec<Range> = inputs
        .iter()
        .map(|(input, value)| {
            let values = runs.iter().map(|run| value(run));
            let (low, high) =
                values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            Range { input: (*input).to_owned(), low, high }
        })
        .collect();
    let busy = runs.iter().map(|run| (run.cpu + run.load_cpu) / cores).fold(0.0, f64::max);
    ranges.push(Range { input: "busy share of the cores".to_owned(), low: 0.0, high: busy.min(BUSY_MAX) });
    ranges.push(Range { input: "cores of a server".to_owned(), low: cores, high: cores });
    ranges
}

/// z of the 99th percentile of a normal distribution.
const Z99: f64 = 2.326_347_9;

/// The 99th percentile of several classes together: each is taken for log-normal between its median and its own 99th
/// percentile.
pub fn mixed_p99(classes: &[(f64, Tail)]) -> f64 {
    let total: f64 = classes.iter().map(|(weight, _)| weight).sum();
    let below = |at: f64| {
        let share = |(weight, tail): &(f64, Tail)| {
            let (p50, p99) = (tail.p50_us.max(1e-3), tail.p99_us.max(tail.p50_us).max(1e-3));
            // A class without spread is a step, which a tiny one stands for.
            let sigma = ((p99 / p50).ln() / Z99).max(1e-6);
            weight / total * normal((at / p50).ln() / sigma)
        };
        classes.iter().map(share).sum::<f64>()
    };
    let (mut low, mut high) = (1e-3, 1e12);
    for _ in 0..200 {
        let middle = f64::sqrt(low * high);
        if below(middle) < 0.99 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The normal distribution function (Abramowitz and Stegun 26.2.17; the error is below 1e-7).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * series;
    if z >= 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(p50_us: f64, p99_us: f64) -> Tail {
        Tail { p50_us, p99_us }
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        for (z, expected) in
            [(0.0, 0.5), (1.0, 0.841_344_7), (-1.0, 0.158_655_3), (Z99, 0.99), (-5.0, 2.87e-7)]
        {
            assert!((normal(z) - expected).abs() < 2e-7, "{z}: {}", normal(z));
        }
    }

    #[test]
    fn classes_together_lie_between_their_own() {
        let alone = mixed_p99(&[(5.0, tail(100.0, 900.0))]);
        assert!((alone / 900.0 - 1.0).abs() < 1e-3, "{alone}");
        let alike = mixed_p99(&[(1.0, tail(100.0, 900.0)), (3.0, tail(100.0, 900.0))]);
        assert!((alike / 900.0 - 1.0).abs() < 1e-3, "{alike}");
        let both = mixed_p99(&[(2.0, tail(50.0, 200.0)), (1.0, tail(1000.0, 3000.0))]);
        // Of the slow third 97 of a hundred are below it.
        assert!((2000.0..3000.0).contains(&both), "{both}");
        // One in a thousand does not show.
        let rare = mixed_p99(&[(999.0, tail(50.0, 200.0)), (1.0, tail(1000.0, 3000.0))]);
        assert!((195.0..230.0).contains(&rare), "{rare}");
        assert!((mixed_p99(&[(1.0, tail(7.0, 7.0))]) - 7.0).abs() < 0.01);
    }
}
