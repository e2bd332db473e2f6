#![forbid(unsafe_code)]
//! One learner, as its leader, or the follower that serves it, sees it (stock `LearnerHandler`).

use std::collections::VecDeque;

use super::core::{Awaited, Core};
use super::event::SyncMode;
use super::message::{Message, Payload};
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, ServerId, Zxid};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Learner {
    /// Who it is, once it said so.
    pub(super) server: Option<ServerId>,
    /// Whether it is a follower: is given proposals.
    pub(super) follows: bool,
    /// Whether it is counted: a follower with a vote (Z13).
    pub(super) votes: bool,
    pub(super) stage: Stage,
    /// How it is being brought up to date, from the decision until it acknowledged NEWLEADER.
    pub(super) mode: Option<SyncMode>,
    /// When something of it came last, or the stage began.
    pub(super) heard: Millis,
    /// Proposals it has not acknowledged.
    pub(super) proposals: Awaited,
    /// Rounds of the pings it has not answered.
    pub(super) pings: VecDeque<u64>,
    /// Newest round it answered.
    pub(super) confirmed: u64,
    /// Txns read from our log for it, while more are read.
    pub(super) read: Vec<(Zxid, Payload)>,
    /// Syncs that it asked for and has no answer to, oldest first: what was proposed before each. `leading::confirm` has them
    /// among everybody's; here is what each commit must look at.
    syncs: VecDeque<Zxid>,
    /// Commits that wait behind them.
    held: VecDeque<(Zxid, Message)>,
}

/// ```text
///  Connected ─Info─► Informed ─LeaderInfo─► Offered ─AckEpoch─► Agreed ─Diff, Trunc, Snap .. NewLeader─► Syncing
///      ─Ack─► Synced ─UpToDate─► Up
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Connected,
    Informed,
    Offered,
    /// Its log ends at `last`; ours was read so often for it.
    Agreed {
        last: Zxid,
        reads: u32,
    },
    /// The same, and what it has beyond what is committed is not decided: it waits for that.
    Undecided {
        last: Zxid,
    },
    Syncing,
    Synced,
    Up,
}

impl Learner {
    pub(super) fn new(now: Millis) -> Learner {
        Learner {
            server: None,
            follows: false,
            votes: false,
            stage: Stage::Connected,
            mode: None,
            heard: now,
            proposals: Awaited::default(),
            pings: VecDeque::new(),
            confirmed: 0,
            read: Vec::new(),
            syncs: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    /// It asks for a sync, of which this was proposed before.
    pub(super) fn asks_sync(&mut self, proposed: Zxid) {
        self.syncs.push_back(proposed);
    }

    /// Something is committed: what it is told now. A stock server takes the answers to what it has forwarded, syncs among
    /// them, in the order in which it forwarded; with one out of place its clients wait for ever (`CommitProcessor.run`).
    pub(super) fn commits(&mut self, zxid: Zxid, message: Message) -> Option<Message> {
        if self.syncs.front().is_some_and(|proposed| zxid > *proposed) {
            self.held.push_back((zxid, message));
            return None;
        }
        Some(message)
    }

    /// Its oldest sync is answered: what it is told after that.
    pub(super) fn sync_answered(&mut self) -> impl Iterator<Item = Message> {
        self.syncs.pop_front();
        let next = self.syncs.front();
        let waits = |(zxid, _): &(Zxid, Message)| next.is_some_and(|proposed| zxid > proposed);
        let count = self.held.iter().position(waits).unwrap_or(self.held.len());
        self.held.drain(..count).map(|(_, message)| message)
    }

    /// Whether it gets what is proposed and committed.
    pub(super) fn is_forwarded(&self) -> bool {
        matches!(self.stage, Stage::Syncing | Stage::Synced | Stage::Up)
    }

    /// Whether it has acknowledged NEWLEADER.
    pub(super) fn is_synced(&self) -> bool {
        matches!(self.stage, Stage::Synced | Stage::Up)
    }

    /// Whether it serves clients.
    pub(super) fn is_up(&self) -> bool {
        self.stage == Stage::Up
    }

    /// Why it has to be let go, if it is too late with something.
    pub(super) fn late(&self, core: &Core, now: Millis, active: bool) -> Option<&'static str> {
        if planted(Bug::SilenceIsBorne) {
            return None;
        }
        let limit = match self.stage {
            Stage::Up => core.sync_ms(),
            // They wait for us, for our disk, or for a quorum that has a limit of its own.
            Stage::Agreed { .. } | Stage::Undecided { .. } => return None,
            Stage::Informed | Stage::Synced if !active => return None,
            _ => core.init_ms(),
        };
        if now.since(self.heard) > limit {
            return Some("nothing heard of it");
        }
        // It may well answer pings (stock `SyncLimitCheck`).
        let waits = self.proposals.since().is_some_and(|since| now.since(since) > core.sync_ms());
        (waits && self.is_synced()).then_some("it acknowledges no proposal")
    }
}
