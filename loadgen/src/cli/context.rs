#![forbid(unsafe_code)]
//! What every command needs: targets that are started and resolved, a flag that a signal sets, and the places where
//! results go.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use hdrhistogram::Histogram;

use super::args::{self, OutputArgs, TargetArgs};
use super::exit::Failure;
use crate::client::Client;
use crate::process::{Sample, Started};
use crate::results::hdr_log::HdrLog;
use crate::results::page::Page;
use crate::results::records::{End, IntervalRecord, Line, Machine, Record, SCHEMA, Start, Summary};
use crate::results::terminal::Live;
use crate::run::{Interval, Target};

/// A command at work.
pub struct Context {
    /// The targets, in the order given.
    pub targets: Vec<Target>,
    /// How to reach them.
    pub options: TargetArgs,
    /// Set by SIGINT and SIGTERM.
    pub stop: Arc<AtomicBool>,
    /// Everything random follows from it.
    pub seed: u64,
    /// Progress.
    pub live: Live,
    json: Option<Box<dyn Write>>,
    json_is_stdout: bool,
    hdr: Option<HdrLog<File>>,
    html: Option<File>,
    /// What the report will show.
    pub page: Page,
    start: Start,
    /// Servers to end at the end, and the commands that started them.
    pub started: Vec<(String, Started)>,
}

impl Context {
    /// Opens the outputs, resolves the targets, starts what is to be started, and waits until all answer.
    pub fn open(command: &str, options: &TargetArgs, output: &OutputArgs) -> Result<Context, Failure> {
        let mut targets = Vec::new();
        for text in &options.targets {
            let (name, addresses) = args::target(text)?;
            if targets.iter().any(|known: &Target| known.name == name) {
                return Err(Failure::Usage(format!("two targets are named {name}")));
            }
            targets.push(Target { name, addresses, pids: Vec::new() });
        }
        let names: Vec<String> = targets.iter().map(|target| target.name.clone()).collect();
        for text in &options.pid {
            let (of, pid) = options.of_target(text, &names)?;
            let pid = pid.parse().map_err(|_| Failure::Usage(format!("--pid {text:?} is not a number")))?;
            Sample::take(&[pid]).map_err(|error| Failure::Usage(format!("--pid {pid}: {error}")))?;
            targets[of].pids.push(pid);
        }
        let mut starts = Vec::new();
        for text in &options.start {
            starts.push(options.of_target(text, &names)?);
        }
        raise_descriptors();
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // The second one ends the process at once.
            signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
                .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
                .map_err(Failure::local)?;
        }
        let json_is_stdout = output.json.as_deref() == Some(Path::new("-"));
        let json: Option<Box<dyn Write>> = match &output.json {
            None => None,
            Some(_) if json_is_stdout => Some(Box::new(std::io::stdout())),
            Some(path) => Some(Box::new(create(path)?)),
        };
        let hdr = output.hdr.as_deref().map(create).transpose()?;
        let hdr = hdr.map(|file| HdrLog::begin(file, SystemTime::now())).transpose();
        let hdr = hdr.map_err(|error| Failure::local(format!("--hdr: {error}")))?;
        let html = output.html.as_deref().map(create).transpose()?;
        let start = Start {
            command: command.to_owned(),
            title: output.title.clone(),
            arguments: std::env::args().skip(1).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            unix_time_s: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0.0, |since| since.as_secs_f64()),
            seed: options.seed(),
            machine: Machine::here(),
        };
        let mut context = Context {
            targets,
            options: options.clone(),
            stop,
            seed: start.seed,
            live: Live::new(output.plain, output.quiet),
            json,
            json_is_stdout,
            hdr,
            html,
            page: Page::default(),
            start,
            started: Vec::new(),
        };
        context.record(Record::Start(context.start.clone()))?;
        for (of, command) in starts {
            let started = Started::run(command).map_err(Failure::local)?;
            context.targets[of].pids.push(started.pid());
            context.started.push((command.to_owned(), started));
        }
        Ok(context)
    }

    /// The only target of a command that takes one.
    pub fn only_target(&self) -> Result<Target, Failure> {
        match self.targets.as_slice() {
            [target] => Ok(target.clone()),
            all => Err(Failure::Usage(format!("this command takes one target, not {}", all.len()))),
        }
    }

    /// A plain session at a target.
    pub fn client(&self, target: &Target) -> Result<Client, Failure> {
        let opened = Client::open(&target.addresses, self.options.patience());
        opened.map_err(|why| Failure::unreachable(&target.name, &why))
    }

    /// What --start began and what has ended since, in words.
    fn ended(&mut self) -> Option<String> {
        let ended = |(command, started): &mut (String, Started)| {
            started.ended().map(|status| format!("{command:?} ended: {status}"))
        };
        self.started.iter_mut().find_map(ended)
    }

    /// Writes a record, if JSON is wanted.
    pub fn record(&mut self, record: Record) -> Result<(), Failure> {
        let Some(json) = &mut self.json else { return Ok(()) };
        let line = Line { schema: SCHEMA.to_owned(), record };
        let text = serde_json::to_string(&line).map_err(Failure::local)?;
        writeln!(json, "{text}")
            .and_then(|()| json.flush())
            .map_err(|error| Failure::local(format!("--json: {error}")))
    }

    /// An interval of a run is over; the measured time will be `total_s` long, if that is known.
    pub fn interval(
        &mut self,
        target: &str,
        round: u32,
        interval: &Interval,
        total_s: Option<f64>,
    ) -> Result<(), Failure> {
        if let Some(hdr) = &mut self.hdr {
            let written = hdr.interval(target, round, interval, SystemTime::now());
            written.map_err(|error| Failure::local(format!("--hdr: {error}")))?;
        }
        let record = IntervalRecord::new(target, round, interval);
        self.live.interval(&record, total_s);
        self.page.interval(record.clone());
        self.record(Record::Interval(record))
    }

    /// A run is over.
    pub fn summary(&mut self, summary: Summary, latency: &Histogram<u64>) -> Result<(), Failure> {
        self.say(&crate::results::terminal::summary(&summary));
        self.page.run(summary.clone(), latency);
        self.record(Record::Summary(Box::new(summary)))
    }

    /// A result for people, on standard output, unless JSON goes there.
    pub fn say(&mut self, text: &str) {
        self.live.clear();
        if !self.json_is_stdout {
            // A reader that went away, as `head` does, is no reason to lose the files.
            let _reader_gone = std::io::stdout().write_all(text.as_bytes());
        }
    }

    /// The last record, and the message that goes with a failure.
    pub fn finish(mut self, result: Result<(), Failure>) -> u8 {
        let (exit, message) = match &result {
            Ok(()) => (0, None),
            Err(failure) => {
                // A server that could not start says more than that nobody answers.
                let ended = self.ended().map_or(String::new(), |ended| format!("; {ended}"));
                (failure.status(), Some(format!("{failure}{ended}")))
            }
        };
        self.live.clear();
        let written = self.record(Record::End(End { exit, message: message.clone() }));
        let page = self.page.render(&self.start, message.as_deref());
        let drawn = self.html.as_mut().map_or(Ok(()), |html| html.write_all(page.as_bytes()));
        let written = written.and(drawn.map_err(|error| Failure::local(format!("--html: {error}"))));
        drop(std::mem::take(&mut self.started));
        match (message, written) {
            (Some(message), _) => {
                eprintln!("ringkeeper-loadgen: {message}");
                exit
            }
            (None, Err(failure)) => {
                eprintln!("ringkeeper-loadgen: {failure}");
                failure.status()
            }
            (None, Ok(())) => exit,
        }
    }
}

/// A file to write to.
pub fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| Failure::local(format!("{}: {error}", path.display())))
}

/// As many descriptors as we may have: a connection takes one.
fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _as_many_as_allowed = setrlimit(
        Resource::Nofile,
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum },
    );
}
