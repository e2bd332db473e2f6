#![forbid(unsafe_code)]
//! Zab: who orders, and when a proposal is committed. A pure state machine, events in, actions out; payloads are
//! opaque bytes. Lives on: the sequencer.
//!
//! A [`Peer`] is one server. It looks for a leader ([`election`]), then leads (`leading`) or learns (`learning`): it
//! says or hears which epochs were accepted (discovery), makes its history the leader's (synchronization, `sync`), and
//! from then on orders or is told (broadcast). What only one role has, exists only in that role; what outlives roles is
//! in `core`, and what the disk holds in `log`. Without a membership it is [alone](Peer::alone).
//!
//! What travels between servers, and what it promises, is the table in [`message`]; what the shell owes is in
//! [`event`]. A server tells others only what its disk has reported: votes, epochs, acks.
//!
//! Watermarks: `committed ≤ last_logged` and `flushed ≤ last_logged`. A server may learn of a commit before its own
//! flush returns, so these two are not ordered; applied is what is below both. What is logged above `committed` is a
//! tail that the next leader may cut: it is never applied, so that nothing applied is ever taken back. The one exception
//! is a state that came whole from a leader that was not established in the end (see
//! [`Durable::confirmed`](settings::Durable::confirmed)).
//!
//! Not here: links and their security, bytes, the disk, the tree, sessions, reconfiguration.

mod alone;
mod core;
pub mod election;
pub mod event;
mod history;
mod leading;
mod learner;
mod learners;
mod learning;
mod log;
mod looking;
mod masters;
mod member;
pub mod membership;
pub mod message;
mod observer_master;
pub mod settings;
mod sync;
#[cfg(test)]
mod tests;

use self::alone::Alone;
use self::event::Role;
pub use self::event::{Action, Event};
use self::member::Member;
use self::membership::Membership;
use self::settings::{Durable, Settings};
use crate::base::{Epoch, Millis, ServerId, Zxid};

/// One server's Zab.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer(Kind);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    Alone(Alone),
    Member(Box<Member>),
}

/// What there is to count (stock's `mntr`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// While leading: followers that serve (`synced_followers`).
    pub followers: usize,
    /// While leading: those of them that have no vote (`synced_non_voting_followers`).
    pub non_voting: usize,
    /// While leading, or serving observers as a follower: those that serve (`synced_observers`).
    pub observers: usize,
    /// Whether it serves observers as a follower.
    pub serves_observers: bool,
    /// While leading, or serving observers: links of learners that do not serve yet.
    pub syncing: usize,
    /// While leading: learners that are being brought up to date with a state (`inflight_snap_count`), and with txns.
    pub snaps: usize,
    /// See `snaps` (`inflight_diff_count`).
    pub diffs: usize,
    /// While leading: proposals that are not committed (`outstanding` of `Leader`).
    pub outstanding: usize,
    /// Syncs that wait (`pending_syncs`).
    pub pending_syncs: usize,
    /// Txns of the log that are in memory.
    pub history: usize,
}

impl Peer {
    /// A single server whose log ends at `last_logged`, all of which is durable and, there being nobody else,
    /// committed.
    pub fn alone(last_logged: Zxid) -> Peer {
        Peer(Kind::Alone(Alone { last_logged, flushed: last_logged, committed: last_logged }))
    }

    /// A member of an ensemble, with what its disk says. It begins to look for a leader with its first step.
    pub fn start(settings: Settings, membership: Membership, durable: Durable) -> Peer {
        Peer(Kind::Member(Box::new(Member::new(settings, membership, durable))))
    }

    /// One event in, any number of actions out. Never blocks, never reads a clock. `now` never goes back.
    pub fn step(&mut self, now: Millis, event: Event, actions: &mut Vec<Action>) {
        match &mut self.0 {
            Kind::Alone(alone) => alone.step(event, actions),
            Kind::Member(member) => member.step(now, event, actions),
        }
    }

    /// The zxid that the next proposal must carry, while one may be made: alone always, else as an established leader
    /// with less outstanding than is allowed, and zxids left in the epoch.
    pub fn next_zxid(&self) -> Option<Zxid> {
        match &self.0 {
            Kind::Alone(alone) => Some(alone.last_logged.next()),
            Kind::Member(member) => member.next_zxid(),
        }
    }

    /// When it wants [`Event::Tick`] at the latest, if nothing else happens.
    pub fn next_tick(&self) -> Option<Millis> {
        match &self.0 {
            Kind::Alone(_) => None,
            Kind::Member(member) => member.next_tick(),
        }
    }

    /// Its role as clients see it; alone, a leader.
    pub fn role(&self) -> Role {
        match &self.0 {
            Kind::Alone(alone) => Role::Leading(alone.last_logged.epoch()),
            Kind::Member(member) => member.role(),
        }
    }

    /// Whom it follows, or tries to; itself when it leads, or tries to.
    pub fn leader(&self) -> Option<ServerId> {
        match &self.0 {
            Kind::Alone(_) => None,
            Kind::Member(member) => member.leader(),
        }
    }

    /// Whom it learns from, or tries to: its leader, or a follower that serves observers.
    pub fn master(&self) -> Option<ServerId> {
        match &self.0 {
            Kind::Alone(_) => None,
            Kind::Member(member) => member.master(),
        }
    }

    /// Whether this is a follower that serves observers.
    pub fn serves_observers(&self) -> bool {
        match &self.0 {
            Kind::Alone(_) => false,
            Kind::Member(member) => member.serves_observers(),
        }
    }

    /// The current epoch: that of the leader whose history it took over last.
    pub fn epoch(&self) -> Epoch {
        match &self.0 {
            Kind::Alone(alone) => alone.last_logged.epoch(),
            Kind::Member(member) => member.epoch(),
        }
    }

    /// The newest txn handed out for logging.
    pub fn last_logged(&self) -> Zxid {
        match &self.0 {
            Kind::Alone(alone) => alone.last_logged,
            Kind::Member(member) => member.last_logged(),
        }
    }

    /// The newest txn the quorum has decided.
    pub fn committed(&self) -> Zxid {
        match &self.0 {
            Kind::Alone(alone) => alone.committed,
            Kind::Member(member) => member.committed(),
        }
    }

    /// What there is to count.
    pub fn figures(&self) -> Figures {
        match &self.0 {
            Kind::Alone(_) => Figures::default(),
            Kind::Member(member) => member.figures(),
        }
    }
}
