#![forbid(unsafe_code)]
//! Many sessions at once, and what it costs to keep them.

use hdrhistogram::Histogram;

use super::{Limits, Mishaps, play, sample};
use crate::codec::Reply;
use crate::engine::{Behaviour, Io, Lost, Turn, Violation};
use crate::process::Sample;
use crate::recorder::histogram;
use crate::run::{Target, Trouble};
use crate::schedule::{Nanos, SECOND};

/// Sessions that are all asked for at one moment, and held for a while.
#[derive(Debug)]
pub struct Sessions {
    target: Target,
    connect: Nanos,
    hold: Nanos,
    phase: Phase,
    began: Nanos,
    /// Up for the first time: the latency of each counts once.
    seen: Vec<bool>,
    mishaps: Mishaps,
    held: Held,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Held {
    /// From the moment all were asked for to each session, nanoseconds.
    pub latency: Histogram<u64>,
    /// To the last.
    pub all_up: Nanos,
    /// Connections that were lost on the way or while they were held; most of them came back.
    pub lost: u64,
    /// How long they were held.
    pub held: Nanos,
    /// The server before, with all sessions, and when they had been held.
    pub samples: [Option<Sample>; 3],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Holding { until: Nanos },
    Closing { until: Nanos },
}

impl Sessions {
    /// Opens `count` sessions at once, holds them for `hold`, and closes them.
    ///
    /// # Errors
    /// Not all of them came up in time, the server lied, or a signal.
    pub fn play(target: &Target, limits: &Limits, count: usize, hold: Nanos) -> Result<Held, Trouble> {
        let mut sessions = Sessions {
            target: target.clone(),
            connect: limits.connect,
            hold,
            phase: Phase::Opening,
            began: 0,
            seen: vec![false; count],
            mishaps: Mishaps::new(target),
            held: Held {
                latency: histogram(),
                all_up: 0,
                lost: 0,
                held: 0,
                samples: [sample(target), None, None],
            },
        };
        play(target, limits, count, &mut sessions)?;
        let Sessions { mut held, mishaps, .. } = sessions;
        held.lost = mishaps.lost;
        mishaps.trouble.map_or(Ok(held), Err)
    }

    fn close(&mut self, io: &mut Io<()>) -> Turn {
        (0..io.len()).for_each(|connection| io.close(connection));
        self.phase = Phase::Closing { until: io.now() + 5 * SECOND };
        Turn::Until(io.now())
    }
}

impl Behaviour for Sessions {
    type Pending = ();

    fn connected(&mut self, io: &mut Io<()>, connection: usize) {
        if !std::mem::replace(&mut self.seen[connection], true) {
            self.held.latency.saturating_record(io.now().saturating_sub(self.began));
        }
        if io.up() == io.len() && self.phase == Phase::Opening {
            self.held.all_up = io.now().saturating_sub(self.began);
            self.held.samples[1] = sample(&self.target);
            self.phase = Phase::Holding { until: io.now() + self.hold };
        }
    }

    fn replied(&mut self, _: &mut Io<()>, _: usize, (): (), _: Reply<'_>) -> Result<(), Violation> {
        Ok(())
    }

    fn lost(&mut self, _io: &mut Io<()>, _connection: usize, _unanswered: Vec<()>, why: &Lost) {
        if !matches!(self.phase, Phase::Closing { .. }) {
            self.mishaps.lost(why);
        }
    }

    fn turn(&mut self, io: &mut Io<()>) -> Turn {
        let now = io.now();
        if let Phase::Closing { until } = self.phase {
            return if io.up() == 0 || now >= until { Turn::Done } else { Turn::Until(until) };
        }
        if self.mishaps.must_stop(io) {
            return self.close(io);
        }
        match self.phase {
            Phase::Opening => {
                if self.began == 0 {
                    self.began = now;
                    (0..io.len()).for_each(|connection| io.open(connection));
                }
                if now >= self.began + self.connect {
                    self.mishaps.unreachable(io.up(), io.len());
                    return self.close(io);
                }
                Turn::Until((self.began + self.connect).min(now + SECOND / 10))
            }
            Phase::Holding { until } if now >= until => {
                self.held.held = self.hold;
                self.held.samples[2] = sample(&self.target);
                if io.up() == 0 {
                    self.mishaps.died("no session is left");
                }
                self.close(io)
            }
            Phase::Holding { until } => Turn::Until(until.min(now + SECOND / 10)),
            Phase::Closing { .. } => Turn::Done,
        }
    }
}
