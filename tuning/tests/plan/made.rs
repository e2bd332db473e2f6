#![forbid(unsafe_code)]
//! Result files made from a law that is known, as `ringkeeper-loadgen` would write them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ringkeeper_loadgen::results::records::{
    IntervalRecord, Latency, Line, Machine, Network, Record, SCHEMA, Scene, Start, Summary, Usage, Workload,
};
use ringkeeper_tuning::plan::flush;

/// Seconds of a run.
pub(crate) const SECONDS: f64 = 10.0;
/// Of the machine.
pub(crate) const CORES: usize = 4;
/// Of a flush.
pub(crate) const FLUSH_S: f64 = 4e-4;
/// Cores that the load keeps busy.
pub(crate) const LOAD_CPU: f64 = 0.4;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) value: f64,
    pub(crate) znodes: f64,
    pub(crate) connections: f64,
}

/// The law: what a server of it uses and how long it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    pub(crate) disk: f64,
    pub(crate) received: f64,
    pub(crate) sent: f64,
    /// p50 and p99, µs.
    pub(crate) read: (f64, f64),
    pub(crate) write: (f64, f64),
}

impl Asked {
    /// As the law says.
    pub(crate) fn truth(&self) -> Truth {
        let kilobytes = self.value / 1024.0;
        let rate = self.reads + self.writes;
        let log = flush::log(self.writes, self.value, FLUSH_S);
        let turns = rate / (1.0 + rate * 8e-5);
        let cpu = 0.01
            + self.reads * (3e-6 + 1e-6 * kilobytes)
            + self.writes * (9e-6 + 2e-6 * kilobytes)
            + self.connections * 2e-6
            + turns * 1.5e-5;
        let busy = (cpu + LOAD_CPU) / CORES as f64;
        let queue = busy / (1.0 - busy);
        Truth {
            cpu,
            memory: 2e7 + self.znodes * (280.0 + 1050.0 * kilobytes) + self.connections * 9e3,
            disk: log.batch_bytes + log.seals * flush::BLOCK_BYTES,
            received: self.reads * 40.0 + self.writes * (60.0 + self.value),
            sent: self.reads * (90.0 + self.value) + self.writes * 88.0,
            read: (40.0 + 60.0 * queue, 120.0 + 700.0 * queue),
            write: (500.0 + 300.0 * log.busy + 100.0 * queue, 900.0 + 600.0 * log.busy + 900.0 * queue),
        }
    }

    /// Share of the cores that is work: what each request adds, and the load.
    pub(crate) fn work(&self) -> f64 {
        let kilobytes = self.value / 1024.0;
        let added = self.reads * (3e-6 + 1e-6 * kilobytes) + self.writes * (9e-6 + 2e-6 * kilobytes);
        (added + LOAD_CPU) / CORES as f64
    }

    fn summary(&self, noise: f64) -> Summary {
        let truth = self.truth();
        let latency = |(p50_us, p99_us): (f64, f64), rate: f64| Latency {
            count: (rate * SECONDS) as u64,
            min_us: p50_us / 2.0,
            mean_us: p50_us,
            p50_us,
            p90_us: f64::midpoint(p50_us, p99_us),
            p99_us: p99_us * noise,
            p999_us: p99_us * 2.0,
            max_us: p99_us * 3.0,
        };
        let mut kinds = BTreeMap::new();
        if self.reads > 0.0 {
            kinds.insert("get".to_owned(), latency(truth.read, self.reads));
        }
        if self.writes > 0.0 {
            kinds.insert("set".to_owned(), latency(truth.write, self.writes));
        }
        let all = ringkeeper_tuning::plan::predict::mixed_p99(&[
            (self.reads, tail(truth.read)),
            (self.writes, tail(truth.write)),
        ]);
        let rate = self.reads + self.writes;
        Summary {
            target: "made".to_owned(),
            round: 0,
            workload: Workload {
                // Shares in percent: the mix of one workload at any rate is the same text.
                mix: format!("get={:.0},set={:.0}", self.reads / rate * 100.0, self.writes / rate * 100.0),
                rate: Some(rate),
                connections: self.connections as usize,
                depth: 8,
                threads: 1,
                value_bytes: self.value as usize,
                keys: self.znodes as u64,
                distribution: "uniform".to_owned(),
                warm_up_s: 2.0,
            },
            seconds: SECONDS,
            completed: (rate * SECONDS) as u64,
            per_second: rate,
            value_bytes_per_second: rate * self.value,
            network: Some(Network { sent_per_second: truth.received, received_per_second: truth.sent }),
            errors: BTreeMap::new(),
            lost: BTreeMap::new(),
            unanswered: 0,
            unsent: 0,
            latency: Latency { p99_us: all * noise, ..latency(truth.read, rate) },
            kinds,
            late: Latency::default(),
            server: Some(Usage {
                cpu_s: truth.cpu * SECONDS * noise,
                cpu_us_per_request: truth.cpu / rate * 1e6,
                resident_bytes: (truth.memory * noise) as u64,
                resident_peak_bytes: (truth.memory * noise) as u64,
                written_bytes: Some((truth.disk * SECONDS * noise) as u64),
                written_bytes_per_request: Some(truth.disk / rate),
            }),
            own_cpu_s: LOAD_CPU * SECONDS,
            verified: None,
            trouble: None,
        }
    }
}

fn tail((p50_us, p99_us): (f64, f64)) -> ringkeeper_tuning::plan::runs::Tail {
    ringkeeper_tuning::plan::runs::Tail { p50_us, p99_us }
}

/// A result file that is being made.
pub(crate) struct File {
    records: Vec<Record>,
}

impl File {
    /// With the first record.
    pub(crate) fn on(cores: usize) -> File {
        let machine = Machine {
            kernel: "Linux".to_owned(),
            processor: "a processor".to_owned(),
            cores,
            memory_bytes: 8 << 30,
        };
        let start = Start {
            command: "run".to_owned(),
            title: None,
            arguments: Vec::new(),
            version: "0".to_owned(),
            unix_time_s: 0.0,
            seed: 1,
            machine,
        };
        File { records: vec![Record::Start(start)] }
    }

    /// A run of the law.
    pub(crate) fn run(self, asked: &Asked) -> File {
        self.noisy_run(asked, 1.0)
    }

    /// A run of which everything that is measured is off by a factor.
    pub(crate) fn noisy_run(self, asked: &Asked, noise: f64) -> File {
        self.changed_run(asked, noise, |_| {})
    }

    /// A run with something else in its summary.
    pub(crate) fn changed_run(
        mut self,
        asked: &Asked,
        noise: f64,
        change: impl FnOnce(&mut Summary),
    ) -> File {
        let mut summary = asked.summary(noise);
        change(&mut summary);
        self.records.push(Record::Summary(Box::new(summary)));
        self
    }

    /// A second of a run of the law, before its summary: tails off by a factor, `count` requests.
    pub(crate) fn second(mut self, asked: &Asked, number: i64, noise: f64, count: u64) -> File {
        let summary = asked.summary(1.0);
        let noisy = |latency: &Latency| Latency { count, p99_us: latency.p99_us * noise, ..*latency };
        self.records.push(Record::Interval(IntervalRecord {
            target: summary.target.clone(),
            round: summary.round,
            number,
            at_s: number as f64 + 1.0,
            length_s: 1.0,
            per_second: summary.per_second,
            failed: 0,
            connections_up: summary.workload.connections,
            behind: 0,
            latency: noisy(&summary.latency),
            kinds: summary.kinds.iter().map(|(kind, latency)| (kind.clone(), noisy(latency))).collect(),
            server: None,
        }));
        self
    }

    /// What idle sessions and watch events cost.
    pub(crate) fn scenes(mut self) -> File {
        for (scene, figures) in [
            ("idle", vec![("resident_bytes_per_session", 2000.0), ("cpu_us_per_session_second", 3.0)]),
            ("fanout", vec![("cpu_us_per_event", 4.0)]),
        ] {
            self.records.push(Record::Scene(Scene {
                scene: scene.to_owned(),
                target: "made".to_owned(),
                round: 0,
                count: 100,
                figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                latencies: BTreeMap::new(),
            }));
        }
        self
    }

    /// As text.
    pub(crate) fn text(self) -> String {
        let line = |record| Line { schema: SCHEMA.to_owned(), record };
        self.records.into_iter().map(|record| serde_json::to_string(&line(record)).unwrap() + "\n").collect()
    }

    /// Written into a folder.
    pub(crate) fn write(self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.text()).unwrap();
        path
    }
}

/// Workloads to learn from: mixes, sizes, sessions and znodes, each at several rates.
pub(crate) fn lessons() -> Vec<Asked> {
    let kinds = [
        (2.0 / 3.0, 1024.0, 1e4, 32.0),
        (1.0, 1024.0, 1e4, 32.0),
        (0.0, 1024.0, 1e4, 32.0),
        (0.9, 128.0, 1e5, 8.0),
        (0.5, 4096.0, 1e4, 64.0),
        (0.5, 16.0, 5e4, 400.0),
    ];
    let rates = [1e3, 1e4, 4e4, 9e4];
    let asked = |(reads, value, znodes, connections): (f64, f64, f64, f64), rate: f64| Asked {
        reads: rate * reads,
        writes: rate * (1.0 - reads),
        value,
        znodes,
        connections,
    };
    kinds.iter().flat_map(|kind| rates.map(|rate| asked(*kind, rate))).collect()
}

/// All lessons in one file.
pub(crate) fn lessons_file() -> File {
    lessons().iter().fold(File::on(CORES), |file, asked| file.run(asked)).scenes()
}
