#![forbid(unsafe_code)]
//! The two recipes that ensembles are kept for, as ZooKeeper's documentation tells them: everybody creates a sequential
//! ephemeral and watches the one before its own; the first holds. A *lock* is let go by deleting the znode, a *leader* by
//! ending its session, as if it had died properly; it then comes back as a new contender.
//!
//! ```text
//!             create            getChildren           first
//!   ready ─────────────► made ───────────────► ranked ──────► holds ── delete or close ──► ready
//!                         ▲                      │ not first
//!                         └── event, or gone ◄── watching the one before
//! ```

use hdrhistogram::Histogram;
use ringkeeper::wire::OpCode;

use super::{Limits, Mishaps, play, sample, undecodable};
use crate::codec::{self, Reply};
use crate::engine::{Behaviour, Io, Lost, Turn, Violation};
use crate::process::Sample;
use crate::recorder::histogram;
use crate::run::{Target, Trouble};
use crate::schedule::{Nanos, SECOND};

const NO_NODE: i32 = -101;

/// Which recipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recipe {
    /// Let go by delete.
    Lock,
    /// Let go by the end of the session.
    Election,
}

/// Contenders, one a connection.
#[derive(Debug)]
pub struct Recipes {
    target: Target,
    recipe: Recipe,
    folder: String,
    connect: Nanos,
    stall: Nanos,
    duration: Nanos,
    phase: Phase,
    /// Something must happen until then.
    deadline: Nanos,
    contenders: Vec<Contender>,
    /// When the holder let go.
    let_go_at: Option<Nanos>,
    /// The znode of whoever held it last.
    held_last: Vec<u8>,
    mishaps: Mishaps,
    contended: Contended,
}

/// What it came to.
#[derive(Clone, Debug)]
pub struct Contended {
    /// From letting go to the next holder's knowing, nanoseconds.
    pub handover: Histogram<u64>,
    /// How often it was acquired.
    pub acquired: u64,
    /// Measured time.
    pub took: Nanos,
    /// The server before and after.
    pub samples: Option<(Sample, Sample)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Opening,
    Contending { until: Nanos },
    Closing,
}

#[derive(Clone, Default, Debug)]
struct Contender {
    /// The name of its znode, once it is made.
    own: Vec<u8>,
    /// The path it waits for.
    before: Vec<u8>,
}

/// What is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// A znode of its own.
    Create,
    /// Who else is there.
    Children,
    /// The one before.
    Watch,
    /// Let go.
    Delete,
}

impl Recipes {
    /// `count` contend below `folder`, which exists and is empty, for `duration`.
    ///
    /// # Errors
    /// Not all sessions came up, nobody acquired it in time, it went out of order, the server lied, or a signal.
    pub fn play(
        target: &Target,
        limits: &Limits,
        recipe: Recipe,
        folder: &str,
        (count, duration): (usize, Nanos),
    ) -> Result<Contended, Trouble> {
        let mut recipes = Recipes {
            target: target.clone(),
            recipe,
            folder: folder.to_owned(),
            connect: limits.connect,
            stall: limits.stall,
            duration,
            phase: Phase::Opening,
            deadline: 0,
            contenders: vec![Contender::default(); count],
            let_go_at: None,
            held_last: Vec::new(),
            mishaps: Mishaps::new(target),
            contended: Contended { handover: histogram(), acquired: 0, took: 0, samples: None },
        };
        play(target, limits, count, &mut recipes)?;
        recipes.mishaps.trouble.map_or(Ok(recipes.contended), Err)
    }

    fn contend(&mut self, io: &mut Io<Asked>, contender: usize) {
        self.contenders[contender] = Contender::default();
        let path = format!("{}/c-", self.folder);
        let flags = codec::EPHEMERAL | codec::SEQUENTIAL;
        io.send(contender, OpCode::Create, Asked::Create, |out| {
            codec::create(out, path.as_bytes(), b"", flags);
        });
    }

    fn look(&mut self, io: &mut Io<Asked>, contender: usize) {
        let folder = self.folder.as_bytes();
        io.send(contender, OpCode::GetChildren, Asked::Children, |out| codec::path_watch(out, folder, false));
    }

    /// First, or behind somebody.
    fn rank(&mut self, io: &mut Io<Asked>, contender: usize, names: &[&[u8]]) -> Result<(), Violation> {
        let own = &self.contenders[contender].own;
        if !names.contains(&own.as_slice()) {
            let own = String::from_utf8_lossy(own);
            return Err(Violation::Stale(format!("{own} is not among the children, and its session lives")));
        }
        // Names differ in their ten digits alone.
        match names.iter().filter(|name| **name < own.as_slice()).max() {
            None => self.acquired(io, contender),
            Some(before) => {
                let path = [self.folder.as_bytes(), b"/", before].concat();
                io.send(contender, OpCode::Exists, Asked::Watch, |out| codec::path_watch(out, &path, true));
                self.contenders[contender].before = path;
                Ok(())
            }
        }
    }

    fn acquired(&mut self, io: &mut Io<Asked>, contender: usize) -> Result<(), Violation> {
        let now = io.now();
        let own = self.contenders[contender].own.clone();
        if own <= self.held_last {
            let [own, last] = [&own, &self.held_last].map(|name| String::from_utf8_lossy(name).into_owned());
            return Err(Violation::Stale(format!("{own} is first after {last} was")));
        }
        self.held_last = own;
        if let Some(let_go_at) = self.let_go_at.take() {
            self.contended.handover.saturating_record(now.saturating_sub(let_go_at));
        }
        self.contended.acquired += 1;
        self.deadline = now + self.stall;
        // Nothing is done with it: the handover is what is measured.
        self.let_go_at = Some(now);
        match self.recipe {
            Recipe::Lock => {
                let own = &self.contenders[contender].own;
                let path = [self.folder.as_bytes(), b"/", own].concat();
                io.send(contender, OpCode::Delete, Asked::Delete, |out| codec::delete(out, &path));
            }
            Recipe::Election => io.close(contender),
        }
        Ok(())
    }

    fn close(&mut self, io: &mut Io<Asked>) {
        (0..io.len()).for_each(|connection| io.close(connection));
        self.phase = Phase::Closing;
        self.deadline = io.now() + 2 * SECOND;
    }
}

impl Behaviour for Recipes {
    type Pending = Asked;

    fn connected(&mut self, io: &mut Io<Asked>, connection: usize) {
        match self.phase {
            Phase::Opening if io.up() == io.len() => {
                let before = sample(&self.target);
                self.contended.samples = before.zip(before);
                self.phase = Phase::Contending { until: io.now() + self.duration };
                self.deadline = io.now() + self.stall;
                (0..io.len()).for_each(|contender| self.contend(io, contender));
            }
            Phase::Contending { .. } => self.contend(io, connection),
            Phase::Opening | Phase::Closing => {}
        }
    }

    fn replied(
        &mut self,
        io: &mut Io<Asked>,
        contender: usize,
        asked: Asked,
        reply: Reply<'_>,
    ) -> Result<(), Violation> {
        if self.phase == Phase::Closing {
            return Ok(());
        }
        match (asked, reply.err) {
            (Asked::Create, 0) => {
                let path = reply.path().map_err(undecodable("create"))?;
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                self.contenders[contender].own = name.into();
                self.look(io, contender);
            }
            (Asked::Children, 0) => {
                let names = reply.children().map_err(undecodable("getChildren"))?;
                self.rank(io, contender, &names)?;
            }
            // The watch is set; its event says when to look again.
            (Asked::Watch, 0) => {}
            (Asked::Watch, NO_NODE) => {
                // It was gone already. The watch that exists set all the same never fires: names are not used twice.
                self.contenders[contender].before.clear();
                self.look(io, contender);
            }
            (Asked::Delete, 0) => self.contend(io, contender),
            (_, code) => self.mishaps.died(&format!("{asked:?} answered {}", codec::error_name(code))),
        }
        Ok(())
    }

    fn notified(&mut self, io: &mut Io<Asked>, contender: usize, _kind: i32, path: &[u8]) {
        if self.phase != Phase::Closing && io.is_up(contender) && self.contenders[contender].before == path {
            self.contenders[contender].before.clear();
            self.look(io, contender);
        }
    }

    fn closed(&mut self, io: &mut Io<Asked>, connection: usize) {
        if self.phase != Phase::Closing {
            io.open(connection);
        }
    }

    fn lost(&mut self, _io: &mut Io<Asked>, _connection: usize, _unanswered: Vec<Asked>, why: &Lost) {
        if self.phase == Phase::Closing {
            return;
        }
        self.mishaps.lost(why);
        if self.phase != Phase::Opening && self.mishaps.trouble.is_none() {
            self.mishaps.died("a contender's connection was lost");
        }
    }

    fn turn(&mut self, io: &mut Io<Asked>) -> Turn {
        let now = io.now();
        match self.phase {
            Phase::Closing => {
                return if io.up() == 0 || now >= self.deadline {
                    Turn::Done
                } else {
                    Turn::Until(self.deadline)
                };
            }
            Phase::Opening if self.deadline == 0 => {
                self.deadline = now + self.connect;
                (0..io.len()).for_each(|connection| io.open(connection));
            }
            Phase::Contending { until } if now >= until => {
                self.contended.took = self.duration;
                let after = sample(&self.target);
                self.contended.samples =
                    self.contended.samples.zip(after).map(|((before, _), after)| (before, after));
                self.close(io);
                return Turn::Until(now);
            }
            _ => {}
        }
        if now >= self.deadline && self.mishaps.trouble.is_none() {
            if self.phase == Phase::Opening {
                self.mishaps.unreachable(io.up(), io.len());
            } else {
                self.mishaps.died("nobody acquired it in time");
            }
        }
        if self.mishaps.must_stop(io) {
            self.close(io);
            return Turn::Until(now);
        }
        Turn::Until(self.deadline.min(now + SECOND / 20))
    }
}
