#![forbid(unsafe_code)]
//! One writer, many watchers of one znode: how long until the last of them knows.

use hdrhistogram::Histogram;
use ringkeeper::wire::OpCode;

use super::{Limits, Mishaps, play, sample, undecodable};
use crate::codec::{self, Reply};
use crate::engine::{Behaviour, Io, Lost, Turn, Violation};
use crate::process::Sample;
use crate::recorder::histogram;
use crate::run::{Target, Trouble};
use crate::schedule::{Nanos, SECOND};

/// Watchers on all connections but the last, which writes.
#[derive(Debug)]
pub struct Fanout {
    target: Target,
    connect: Nanos,
    stall: Nanos,
    path: String,
    value: Vec<u8>,
    rounds: u32,
    round: u32,
    phase: Phase,
    began: Nanos,
    /// Until then something must have happened.
    deadline: Nanos,
    /// Watchers whose watch is set, or which have heard of the write.
    counted: Vec<bool>,
    count: usize,
    written: bool,
    /// The server when the write left.
    before: Option<Sample>,
    mishaps: Mishaps,
    fanned: Fanned,
}

/// What it came to; times count from when the write left.
#[derive(Clone, Debug)]
pub struct Fanned {
    /// To the last event, a value a round.
    pub last: Histogram<u64>,
    /// To each event.
    pub event: Histogram<u64>,
    /// To the reply to the write.
    pub write: Histogram<u64>,
    /// The server's CPU time from each write to its last event, seconds, if its process is known. The kernel counts in
    /// hundredths, so a few rounds of a thousand watchers are needed.
    pub cpu_s: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Arming,
    Firing { written_at: Nanos },
    Closing,
}

/// What is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// getData with a watch.
    Watch,
    /// setData.
    Write,
}

impl Fanout {
    /// `watchers` watch `path`, which exists; it is set `rounds` times.
    ///
    /// # Errors
    /// Not all sessions came up, an event is missing, the server lied, or a signal.
    pub fn play(
        target: &Target,
        limits: &Limits,
        path: &str,
        value_bytes: usize,
        (watchers, rounds): (usize, u32),
    ) -> Result<Fanned, Trouble> {
        let mut fanout = Fanout {
            target: target.clone(),
            connect: limits.connect,
            stall: limits.stall,
            path: path.to_owned(),
            value: vec![b'f'; value_bytes],
            rounds,
            round: 0,
            phase: Phase::Opening,
            began: 0,
            deadline: 0,
            counted: vec![false; watchers],
            count: 0,
            written: false,
            before: None,
            mishaps: Mishaps::new(target),
            fanned: Fanned { last: histogram(), event: histogram(), write: histogram(), cpu_s: Some(0.0) },
        };
        play(target, limits, watchers + 1, &mut fanout)?;
        fanout.mishaps.trouble.map_or(Ok(fanout.fanned), Err)
    }

    fn arm(&mut self, io: &mut Io<Asked>) {
        self.phase = Phase::Arming;
        self.reset(io.now());
        for watcher in 0..self.counted.len() {
            let path = self.path.as_bytes();
            io.send(watcher, OpCode::GetData, Asked::Watch, |out| codec::path_watch(out, path, true));
        }
    }

    fn fire(&mut self, io: &mut Io<Asked>) {
        self.before = sample(&self.target);
        io.look_at_the_clock();
        self.phase = Phase::Firing { written_at: io.now() };
        self.reset(io.now());
        let (path, value) = (self.path.as_bytes(), &self.value);
        io.send(self.counted.len(), OpCode::SetData, Asked::Write, |out| codec::set_data(out, path, value));
    }

    fn reset(&mut self, now: Nanos) {
        self.counted.fill(false);
        (self.count, self.written) = (0, false);
        self.deadline = now + self.stall;
    }

    /// Whether this is the first time since the reset.
    fn counts(&mut self, watcher: usize) -> bool {
        let is_new = !std::mem::replace(&mut self.counted[watcher], true);
        self.count += usize::from(is_new);
        is_new
    }

    /// The next round, when every event and the write's reply are there.
    fn go_on(&mut self, io: &mut Io<Asked>) {
        if self.count < self.counted.len() || !self.written {
            return;
        }
        let spent = self.before.zip(sample(&self.target)).map(|(before, after)| after.cpu_s - before.cpu_s);
        self.fanned.cpu_s = self.fanned.cpu_s.zip(spent).map(|(sum, spent)| sum + spent);
        self.round += 1;
        if self.round < self.rounds {
            return self.arm(io);
        }
        self.close(io);
    }

    fn close(&mut self, io: &mut Io<Asked>) {
        (0..io.len()).for_each(|connection| io.close(connection));
        self.phase = Phase::Closing;
        self.deadline = io.now() + 2 * SECOND;
    }
}

impl Behaviour for Fanout {
    type Pending = Asked;

    fn connected(&mut self, io: &mut Io<Asked>, _connection: usize) {
        if io.up() == io.len() && self.phase == Phase::Opening {
            self.arm(io);
        }
    }

    fn replied(
        &mut self,
        io: &mut Io<Asked>,
        connection: usize,
        asked: Asked,
        reply: Reply<'_>,
    ) -> Result<(), Violation> {
        if reply.err != 0 {
            self.mishaps.died(&format!("{asked:?} answered {}", codec::error_name(reply.err)));
            return Ok(());
        }
        match (asked, self.phase) {
            (Asked::Watch, Phase::Arming) => {
                reply.data_and_stat().map_err(undecodable("getData"))?;
                self.counts(connection);
                if self.count == self.counted.len() {
                    self.fire(io);
                }
            }
            (Asked::Write, Phase::Firing { written_at }) => {
                self.fanned.write.saturating_record(io.now().saturating_sub(written_at));
                self.written = true;
                self.go_on(io);
            }
            _ => {}
        }
        Ok(())
    }

    fn notified(&mut self, io: &mut Io<Asked>, connection: usize, _kind: i32, path: &[u8]) {
        let Phase::Firing { written_at } = self.phase else { return };
        if path != self.path.as_bytes() || connection >= self.counted.len() || !self.counts(connection) {
            return;
        }
        let took = io.now().saturating_sub(written_at);
        self.fanned.event.saturating_record(took);
        if self.count == self.counted.len() {
            self.fanned.last.saturating_record(took);
        }
        self.go_on(io);
    }

    fn lost(&mut self, _io: &mut Io<Asked>, _connection: usize, _unanswered: Vec<Asked>, why: &Lost) {
        if self.phase == Phase::Closing {
            return;
        }
        self.mishaps.lost(why);
        // Its watch is gone with it: this round could not end.
        if self.phase != Phase::Opening && self.mishaps.trouble.is_none() {
            self.mishaps.died("a watcher's connection was lost");
        }
    }

    fn turn(&mut self, io: &mut Io<Asked>) -> Turn {
        let now = io.now();
        if self.phase == Phase::Closing {
            return if io.up() == 0 || now >= self.deadline {
                Turn::Done
            } else {
                Turn::Until(self.deadline)
            };
        }
        if self.phase == Phase::Opening && self.began == 0 {
            self.began = now;
            self.deadline = now + self.connect;
            (0..io.len()).for_each(|connection| io.open(connection));
        }
        if now >= self.deadline && self.mishaps.trouble.is_none() {
            if self.phase == Phase::Opening {
                self.mishaps.unreachable(io.up(), io.len());
            } else {
                let (count, all) = (self.count, self.counted.len());
                self.mishaps
                    .died(&format!("{count} of {all} watchers were answered in time ({:?})", self.phase));
            }
        }
        if self.mishaps.must_stop(io) {
            self.close(io);
            return Turn::Until(now);
        }
        Turn::Until(self.deadline.min(now + SECOND / 10))
    }
}
