#![forbid(unsafe_code)]
//! The coordinator of a load: starts the threads, opens the gate when all are connected, collects intervals, looks at the
//! server's process, and says how it ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::engine::{Clock, Options, Violation, drive};
use crate::ledger::Ledger;
use crate::load::{Load, Plan, Told, Work};
use crate::process::{Sample, own_cpu_s};
use crate::recorder::{Gap, Slice, Stats, Window};
use crate::schedule::{Nanos, SECOND};

/// A server, or several of one ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// What results call it.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// Its processes, if they are to be watched.
    pub pids: Vec<u32>,
}

/// Times of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// Not measured.
    pub warm_up: Nanos,
    /// Measured.
    pub duration: Nanos,
    /// Length of an interval.
    pub interval: Nanos,
    /// How long all connections may take to come up.
    pub connect: Nanos,
    /// A connection that owes an answer and is silent for this long is closed.
    pub stall: Nanos,
    /// Session timeout asked for, ms.
    pub session_timeout_ms: i32,
}

/// An interval of all threads.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its number; negative in the warm-up.
    pub number: i64,
    /// When it ended, seconds since the measured time began.
    pub at_s: f64,
    /// How long it was.
    pub seconds: f64,
    /// What was counted.
    pub stats: Stats,
    /// Connections with a session.
    pub up: usize,
    /// Requests that were due and had not left.
    pub behind: u64,
    /// The server at its end.
    pub server: Option<Sample>,
}

/// Why a run ended early or must not be trusted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// Not one session, or not all of them, within the time allowed.
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, String),
    /// The server went away or stopped answering.
    #[error("{0} died or stalled: {1}")]
    Died(String, String),
    /// The server broke the protocol or lost something.
    #[error("{0} lied: {1}")]
    Lied(String, String),
    /// A file, a socket of our own, the kernel.
    #[error("{0}")]
    Local(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// Everything after the warm-up.
    pub total: Stats,
    /// Measured seconds.
    pub seconds: f64,
    /// Connections with a session when it ended.
    pub up: usize,
    /// Requests that were due and never left.
    pub unsent: u64,
    /// The server when the measured time began and when it ended.
    pub server: Option<(Sample, Sample)>,
    /// CPU seconds this process used meanwhile.
    pub own_cpu_s: f64,
    /// Where the server broke the protocol.
    pub violations: Vec<Violation>,
    /// What connections were lost for, in words; the first few.
    pub lost: Vec<String>,
    /// The longest time in which a thread got no write acknowledged. The server's only if there is one thread.
    pub gap: Gap,
    /// When the measured time began.
    pub began: Nanos,
    /// What must be there, when the plan says to verify.
    pub ledger: Option<Ledger>,
    /// Why it ended early.
    pub trouble: Option<Trouble>,
}

impl Outcome {
    /// Successful requests a second.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.total.completed() as f64 / self.seconds } else { 0.0 }
    }

    /// When the longest gap began, seconds into the measured time.
    pub fn gap_at_s(&self) -> f64 {
        self.gap.from.saturating_sub(self.began) as f64 / SECOND as f64
    }

    /// The server's CPU time for one successful request, microseconds.
    pub fn cpu_us(&self) -> Option<f64> {
        let (before, after) = self.server?;
        let completed = self.total.completed();
        (completed > 0).then(|| (after.cpu_s - before.cpu_s) * 1e6 / completed as f64)
    }
}

/// Runs a plan against a target. `watch` sees each interval as it ends.
///
/// # Errors
/// When the load never began; what goes wrong later stands in the outcome beside what was measured until then.
pub fn run(
    target: &Target,
    plan: Plan,
    times: Times,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn FnMut(&Interval),
) -> Result<Outcome, Trouble> {
    let clock = Clock::start();
    let plan = Arc::new(plan);
    let window = Arc::new(OnceLock::new());
    // Ends this run alone; the caller's flag ends the whole program.
    let end = Arc::new(AtomicBool::new(false));
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..plan.threads {
            let first = share(plan.connections, thread, plan.threads);
            let connections = share(plan.connections, thread + 1, plan.threads) - first;
            let options = Options {
                addresses: target.addresses.clone(),
                session_timeout_ms: times.session_timeout_ms,
                stall: times.stall,
                retry_max: plan.retry_max,
                first,
                connections,
                stop: end.clone(),
            };
            let mut load =
                Load::new(plan.clone(), thread, (first, connections), window.clone(), tell.clone());
            let tell = tell.clone();
            threads.push(scope.spawn(move || {
                if let Err(error) = drive(options, clock, &mut load) {
                    let _coordinator_gone = tell.send(Told::GaveUp(error.to_string()));
                    let _coordinator_gone = tell.send(Told::Done);
                }
                (load.ledger, load.gap)
            }));
        }
        drop(tell);
        let mut coordinator = Coordinator::new(target, &plan, times, clock, stop, &end, told);
        let outcome = coordinator.conduct(&window, watch);
        // Whatever happened, the threads must not outlive it.
        end.store(true, Ordering::Relaxed);
        let mut ledger: Option<Ledger> = None;
        let mut gap = Gap::default();
        for thread in threads {
            let (part, part_of_gap) =
                thread.join().map_err(|_| Trouble::Local("a load thread panicked".to_owned()))?;
            if part_of_gap.length > gap.length {
                gap = part_of_gap;
            }
            if let Some(part) = part {
                ledger.get_or_insert_default().merge(part);
            }
        }
        outcome.map(|outcome| Outcome { ledger, gap, ..outcome })
    })
}

/// Where the share of `part` begins when `whole` is cut into `parts`.
fn share(whole: usize, part: usize, parts: usize) -> usize {
    whole * part / parts
}

struct Coordinator<'a> {
    target: &'a Target,
    plan: &'a Plan,
    times: Times,
    clock: Clock,
    /// Set by a signal.
    stop: &'a AtomicBool,
    /// Ends the threads.
    end: &'a AtomicBool,
    told: Receiver<Told>,
    ready: usize,
    done: usize,
    /// Intervals of which not every thread's part is there.
    open: BTreeMap<i64, (usize, Interval)>,
    /// Everything after the warm-up so far.
    total: Stats,
    /// Of the last interval.
    up: usize,
    behind: u64,
    violations: Vec<Violation>,
    lost: Vec<String>,
    gave_up: Option<String>,
}

impl<'a> Coordinator<'a> {
    fn new(
        target: &'a Target,
        plan: &'a Plan,
        times: Times,
        clock: Clock,
        stop: &'a AtomicBool,
        end: &'a AtomicBool,
        told: Receiver<Told>,
    ) -> Self {
        Coordinator {
            target,
            plan,
            times,
            clock,
            stop,
            end,
            told,
            ready: 0,
            done: 0,
            open: BTreeMap::new(),
            total: Stats::default(),
            up: 0,
            behind: 0,
            violations: Vec::new(),
            lost: Vec::new(),
            gave_up: None,
        }
    }

    fn conduct(
        &mut self,
        gate: &OnceLock<Window>,
        watch: &mut dyn FnMut(&Interval),
    ) -> Result<Outcome, Trouble> {
        self.wait_until_ready()?;
        // A little ahead, so that every thread sees the gate open before the first request is due.
        let start = self.clock.now() + SECOND / 200;
        let begin = start + self.times.warm_up;
        let end = match self.plan.work {
            Work::Mix(_) => begin + self.times.duration,
            // It ends when every key is there.
            Work::Fill => Nanos::MAX / 4,
        };
        let window = Window { start, begin, end, interval: self.times.interval };
        gate.set(window).expect("only the coordinator opens the gate");

        let (mut before, mut after) = (None, None);
        let mut own_before = own_cpu_s();
        let mut own_after = None;
        while self.done < self.plan.threads {
            let now = self.clock.now();
            if before.is_none() && now >= begin {
                before = Some(self.sample());
                own_before = own_cpu_s();
            }
            if after.is_none() && now >= end {
                after = Some(self.sample());
                own_after = Some(own_cpu_s());
            }
            if self.stop.load(Ordering::Relaxed) || self.gave_up.is_some() || !self.violations.is_empty() {
                self.end.store(true, Ordering::Relaxed);
            }
            let next = if before.is_none() { begin } else { end };
            let wait = next.saturating_sub(now).clamp(1, SECOND / 10);
            match self.told.recv_timeout(Duration::from_nanos(wait)) {
                Ok(told) => self.hear(told, &window),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.close_intervals(watch);
        }
        // A thread that ended early leaves its part of the later intervals out.
        for (_, (_, interval)) in std::mem::take(&mut self.open) {
            self.close_interval(&interval, watch);
        }
        let ended = self.clock.now().min(end);
        let seconds = match self.plan.work {
            Work::Mix(_) => ended.saturating_sub(begin),
            Work::Fill => ended.saturating_sub(start),
        } as f64
            / SECOND as f64;
        let after = after.unwrap_or_else(|| self.sample());
        let mut outcome = Outcome {
            unsent: self.behind,
            total: std::mem::take(&mut self.total),
            seconds,
            up: self.up,
            server: before.flatten().zip(after),
            own_cpu_s: own_after.unwrap_or_else(own_cpu_s) - own_before,
            violations: std::mem::take(&mut self.violations),
            lost: std::mem::take(&mut self.lost),
            gap: Gap::default(),
            began: begin,
            ledger: None,
            trouble: None,
        };
        outcome.trouble = self.trouble(&outcome);
        Ok(outcome)
    }

    fn trouble(&self, outcome: &Outcome) -> Option<Trouble> {
        let name = self.target.name.clone();
        if let Some(violation) = outcome.violations.first() {
            return Some(Trouble::Lied(name, violation.to_string()));
        }
        if let Some(why) = &self.gave_up {
            return Some(Trouble::Died(name, why.clone()));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Some(Trouble::Interrupted);
        }
        let asked = !matches!(self.plan.work, Work::Fill) || self.plan.layout.count > 0;
        if asked && (outcome.total.completed() == 0 || outcome.up == 0) {
            let why = outcome.lost.last().cloned();
            let answered = outcome.total.failed() > 0 || outcome.total.completed() > 0;
            let why =
                why.unwrap_or_else(|| if answered { "every request failed" } else { "no answer" }.to_owned());
            return Some(Trouble::Died(name, why));
        }
        None
    }

    fn wait_until_ready(&mut self) -> Result<(), Trouble> {
        let deadline = self.clock.now() + self.times.connect;
        let unreachable = |why: String| Trouble::Unreachable(self.target.name.clone(), why);
        while self.ready < self.plan.threads {
            let rest = deadline.saturating_sub(self.clock.now());
            if self.stop.load(Ordering::Relaxed) {
                return Err(Trouble::Interrupted);
            }
            if rest == 0 {
                let why = self.lost.last().cloned();
                let why = why.unwrap_or_else(|| {
                    "the port is open, but not every session was given in time".to_owned()
                });
                return Err(unreachable(why));
            }
            match self.told.recv_timeout(Duration::from_nanos(rest.min(SECOND / 10))) {
                Ok(Told::Ready) => self.ready += 1,
                Ok(Told::GaveUp(why)) => return Err(unreachable(why)),
                Ok(Told::Violation(violation)) => {
                    return Err(Trouble::Lied(self.target.name.clone(), violation.to_string()));
                }
                Ok(Told::Lost(why)) => self.lost.push(why),
                Ok(Told::Slice(_) | Told::Done) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(unreachable("the load threads ended".to_owned()));
                }
            }
        }
        self.lost.clear();
        Ok(())
    }

    fn hear(&mut self, told: Told, window: &Window) {
        match told {
            Told::Ready => {}
            Told::Slice(slice) => self.add(slice, window),
            Told::Lost(why) => self.lost.push(why),
            Told::Violation(violation) => self.violations.push(violation),
            Told::GaveUp(why) => self.gave_up = Some(why),
            Told::Done => self.done += 1,
        }
    }

    fn add(&mut self, slice: Slice, window: &Window) {
        let number = slice.interval;
        let server = if self.open.contains_key(&number) { None } else { self.sample() };
        let (parts, interval) = self.open.entry(number).or_insert_with(|| {
            let ended = self.clock.now().min(window.end_of(number));
            let begun = window.end_of(number - 1).max(window.start);
            let interval = Interval {
                number,
                at_s: (ended as f64 - window.begin as f64) / SECOND as f64,
                seconds: ended.saturating_sub(begun) as f64 / SECOND as f64,
                stats: Stats::default(),
                up: 0,
                behind: 0,
                server,
            };
            (0, interval)
        });
        *parts += 1;
        interval.stats.add(&slice.stats);
        interval.up += slice.up;
        interval.behind += slice.behind;
    }

    fn close_intervals(&mut self, watch: &mut dyn FnMut(&Interval)) {
        while let Some(entry) = self.open.first_entry()
            && entry.get().0 == self.plan.threads
        {
            let (_, interval) = entry.remove();
            self.close_interval(&interval, watch);
        }
    }

    /// Intervals are not kept: a long run has many, and their histograms are large.
    fn close_interval(&mut self, interval: &Interval, watch: &mut dyn FnMut(&Interval)) {
        watch(interval);
        if interval.number >= 0 {
            self.total.add(&interval.stats);
        }
        (self.up, self.behind) = (interval.up, interval.behind);
    }

    fn sample(&self) -> Option<Sample> {
        if self.target.pids.is_empty() { None } else { Sample::take(&self.target.pids).ok() }
    }
}
