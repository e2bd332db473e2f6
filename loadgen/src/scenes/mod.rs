#![forbid(unsafe_code)]
//! Behaviours that are not a mix of requests: many sessions at once, many watchers of one znode, locks and elections. Each
//! runs on the calling thread alone, which is enough for thousands of connections that do little.

mod fanout;
mod recipes;
mod sessions;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use fanout::{Fanned, Fanout};
pub use recipes::{Contended, Recipe, Recipes};
pub use sessions::{Held, Sessions};

use crate::engine::{Behaviour, Clock, Io, Lost, Options, RETRY_MAX, Violation, drive};
use crate::process::Sample;
use crate::run::{Target, Trouble};
use crate::schedule::Nanos;

/// Limits of a scene.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long all sessions may take to come up.
    pub connect: Nanos,
    /// How long anything else may take; a connection that owes an answer and is silent for this long is closed.
    pub stall: Nanos,
    /// Session timeout asked for, ms.
    pub session_timeout_ms: i32,
    /// Set by a signal.
    pub stop: Arc<AtomicBool>,
}

/// Runs a scene to its end.
fn play<B: Behaviour>(
    target: &Target,
    limits: &Limits,
    connections: usize,
    behaviour: &mut B,
) -> Result<(), Trouble> {
    let options = Options {
        addresses: target.addresses.clone(),
        session_timeout_ms: limits.session_timeout_ms,
        stall: limits.stall,
        retry_max: RETRY_MAX,
        first: 0,
        connections,
        stop: limits.stop.clone(),
    };
    drive(options, Clock::start(), behaviour).map_err(|error| Trouble::Local(error.to_string()))
}

/// The server's process now, if it is known.
fn sample(target: &Target) -> Option<Sample> {
    if target.pids.is_empty() { None } else { Sample::take(&target.pids).ok() }
}

/// What goes wrong in every scene alike.
#[derive(Debug)]
struct Mishaps {
    target: String,
    lost: u64,
    last: Option<String>,
    /// It cannot go on.
    trouble: Option<Trouble>,
}

impl Mishaps {
    fn new(target: &Target) -> Mishaps {
        Mishaps { target: target.name.clone(), lost: 0, last: None, trouble: None }
    }

    fn lost(&mut self, why: &Lost) {
        self.lost += 1;
        self.last = Some(why.to_string());
        if let Lost::Lied(violation) = why {
            self.trouble = Some(Trouble::Lied(self.target.clone(), violation.to_string()));
        }
    }

    fn unreachable(&mut self, up: usize, all: usize) {
        let why = self.last.take().unwrap_or_else(|| "no answer".to_owned());
        let why = format!("{up} of {all} sessions in time; {why}");
        self.trouble = Some(Trouble::Unreachable(self.target.clone(), why));
    }

    fn died(&mut self, what: &str) {
        let why = self.last.take().map_or(what.to_owned(), |why| format!("{what}; {why}"));
        self.trouble = Some(Trouble::Died(self.target.clone(), why));
    }

    /// Whether to stop now: for trouble, or a signal.
    fn must_stop<P>(&mut self, io: &Io<P>) -> bool {
        if self.trouble.is_none() && io.is_stopped() {
            self.trouble = Some(Trouble::Interrupted);
        }
        self.trouble.is_some()
    }
}

/// An answer that no server gives which keeps the protocol, in a scene's words.
fn undecodable(what: &'static str) -> impl Fn(ringkeeper::wire::DecodeError) -> Violation {
    move |error| Violation::Undecodable { what, error }
}
