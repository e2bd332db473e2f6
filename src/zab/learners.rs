#![forbid(unsafe_code)]
//! The learners that connected to a server, and how each is brought up to date (ensemble-protocol §3.3, §3.4; stock
//! `LearnerHandler`). A leader has them (`leading`), and a follower that serves observers (`observer_master`): both do the
//! same with them, and differ in where what is decided comes from.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use super::Figures;
use super::core::{Core, ignored, plausible};
use super::event::{Action, Observation, SyncMode, SyncTag};
use super::learner::{Learner, Stage};
use super::message::{LearnerInfo, LinkId, Message, Payload};
use super::sync::{Decision, decide};
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Millis, ServerId, Zxid};

/// Times that a learner's way through our log is read on, because more was trimmed meanwhile, before it gets an image.
const READS_MAX: u32 = 4;

/// A learner may have accepted an epoch so far above ours; nobody is away for so many elections.
const EPOCHS_AHEAD_MAX: u32 = 1 << 20;

/// Who asked for a sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    Client(SyncTag),
    Learner(LinkId),
}

/// What learners are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Source {
    /// The end of what is committed, or will be before we serve.
    pub(super) horizon: Zxid,
    /// Whose leader's history it is.
    pub(super) epoch: Epoch,
}

/// How many learners may be brought up to date at once before observers are refused.
fn syncs_max(core: &Core, mode: SyncMode) -> usize {
    match mode {
        SyncMode::Snap => core.settings.snaps_max,
        SyncMode::Diff | SyncMode::Trunc => core.settings.diffs_max,
    }
}

/// Somebody is not taken in.
pub(super) fn refused(info: &LearnerInfo, link: LinkId, reason: &'static str) -> Action {
    Action::Observed(Observation::LearnerRefused { learner: info.server, link, reason })
}

/// Learners by link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Learners {
    links: BTreeMap<LinkId, Learner>,
    nameless: i64,
}

impl Deref for Learners {
    type Target = BTreeMap<LinkId, Learner>;

    fn deref(&self) -> &Self::Target {
        &self.links
    }
}

impl DerefMut for Learners {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.links
    }
}

impl Learners {
    pub(super) fn accept(&mut self, link: LinkId, now: Millis) {
        self.links.insert(link, Learner::new(now));
    }

    /// Who says so much of itself, with a name of our making if it has none, or why it is not to be served.
    pub(super) fn introduce(&mut self, core: &Core, info: &LearnerInfo) -> Result<ServerId, &'static str> {
        if info.config_version > core.membership.version {
            return Err("its configuration is newer than ours: give all servers the same");
        }
        // So far ahead is nobody of this ensemble, and the epochs would be used up by a few who said so (M56).
        if !plausible(info.accepted)
            || info.accepted.0 > core.epochs.accepted().0.saturating_add(EPOCHS_AHEAD_MAX)
        {
            return Err("no server has this epoch");
        }
        if info.server == Some(core.me()) {
            return Err("it has our id: give one of the two another myid");
        }
        Ok(info.server.unwrap_or_else(|| {
            self.nameless -= 1;
            ServerId(self.nameless)
        }))
    }

    /// The link that this server has already.
    pub(super) fn link_of(&self, server: ServerId) -> Option<LinkId> {
        self.links.iter().find(|(_, learner)| learner.server == Some(server)).map(|(link, _)| *link)
    }

    pub(super) fn links(&self, which: impl Fn(&Learner) -> bool) -> Vec<LinkId> {
        self.links.iter().filter(|(_, learner)| which(learner)).map(|(link, _)| *link).collect()
    }

    /// Those that are too late with something, and with what.
    pub(super) fn late(&self, core: &Core, now: Millis, active: bool) -> Vec<(LinkId, &'static str)> {
        let late = |(link, learner): (&LinkId, &Learner)| Some((*link, learner.late(core, now, active)?));
        self.links.iter().filter_map(late).collect()
    }

    /// Adds what there is to count.
    pub(super) fn count(&self, figures: &mut Figures) {
        for learner in self.links.values() {
            match (learner.is_up(), learner.follows) {
                (true, true) => figures.followers += 1,
                (true, false) => figures.observers += 1,
                (false, _) => figures.syncing += 1,
            }
            figures.non_voting += usize::from(learner.is_up() && learner.follows && !learner.votes);
        }
        figures.snaps = self.under_way(SyncMode::Snap);
        figures.diffs = self.under_way(SyncMode::Diff);
    }

    pub(super) fn offer(&mut self, link: LinkId, epoch: Epoch, actions: &mut Vec<Action>) {
        let Some(learner) = self.links.get_mut(&link) else { return };
        learner.stage = Stage::Offered;
        actions.push(Action::Send { link, message: Message::LeaderInfo { epoch } });
    }

    /// Brings a learner up to date: with `read`, txns of our log that follow its last one, and what is in memory. From
    /// here on it gets whatever is proposed or committed (ensemble-protocol §3.4, `startForwarding`). `Err`: it has to go.
    pub(super) fn synchronize(
        &mut self,
        core: &Core,
        link: LinkId,
        read: Vec<(Zxid, Payload)>,
        source: Source,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Source { horizon, epoch } = source;
        let Some(learner) = self.links.get_mut(&link) else { return Ok(()) };
        let Stage::Agreed { last, reads } = learner.stage else { return Ok(()) };
        let history = core.log.history();
        let read_to = read.last().map_or(last, |(zxid, _)| *zxid);
        let decision = match read.is_empty() {
            true => decide(history, horizon, epoch, last),
            // It stands in our log, and what was read goes on from there; now the seam (ZOOKEEPER-2418).
            false if history.holds(read_to) => Decision::Diff,
            false => Decision::Read,
        };
        let (mode, from) = match decision {
            Decision::Read if reads < READS_MAX => {
                learner.stage = Stage::Agreed { last, reads: reads + 1 };
                learner.read.extend(read);
                let up_to = core.log.committed().min(core.log.flushed());
                actions.push(Action::ReadLog { link, after: read_to, up_to });
                return Ok(());
            }
            Decision::Wait => {
                learner.stage = Stage::Undecided { last };
                return Ok(());
            }
            Decision::Diff => (SyncMode::Diff, read_to),
            Decision::Trunc(to) => (SyncMode::Trunc, to),
            Decision::Snap | Decision::Read => (SyncMode::Snap, core.log.committed()),
        };
        let Some(server) = learner.server else { return Ok(()) };
        // Followers are never refused, and counted all the same (stock `LearnerSyncThrottler`).
        if !learner.follows && self.under_way(mode) >= syncs_max(core, mode) {
            return Err("too many servers are brought up to date already");
        }
        let Some(learner) = self.links.get_mut(&link) else { return Ok(()) };
        let read = if mode == SyncMode::Diff { read } else { Vec::new() };
        let observation = Observation::LearnerSyncing { learner: server, mode, from: last, to: horizon };
        actions.push(Action::Observed(observation));
        learner.stage = Stage::Syncing;
        learner.mode = Some(mode);
        learner.read = Vec::new();
        let follows = learner.follows;
        let mut send = |message| actions.push(Action::Send { link, message });
        match mode {
            SyncMode::Diff => send(Message::Diff { zxid: horizon }),
            SyncMode::Trunc => send(Message::Trunc { zxid: from }),
            SyncMode::Snap => send(Message::Snap { zxid: from }),
        }
        if mode == SyncMode::Snap {
            actions.push(Action::SendSnap { link, zxid: from });
        }
        for (zxid, payload) in read.iter().chain(history.after(from)).cloned() {
            if planted(Bug::SyncedAreNotKept) && payload.is_empty() {
                continue;
            }
            if zxid <= horizon {
                let proposal = Message::Proposal { zxid, payload };
                actions.push(Action::Send { link, message: proposal });
                actions.push(Action::Send { link, message: Message::Commit { zxid } });
            } else if follows {
                actions.push(Action::Send { link, message: Message::Proposal { zxid, payload } });
            }
        }
        let (zxid, config) = (Zxid::from_parts(epoch, 0), core.membership.document.clone());
        actions.push(Action::Send { link, message: Message::NewLeader { zxid, config } });
        Ok(())
    }

    /// Learners that are being brought up to date this way: stock counts a cut among the diffs.
    fn under_way(&self, mode: SyncMode) -> usize {
        let is_snap = mode == SyncMode::Snap;
        let modes = self.links.values().filter_map(|learner| learner.mode);
        modes.filter(|of| (*of == SyncMode::Snap) == is_snap).count()
    }

    pub(super) fn on_log_read(
        &mut self,
        core: &Core,
        link: LinkId,
        txns: Option<Vec<(Zxid, Payload)>>,
        source: Source,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.links.get_mut(&link) else { return Ok(()) };
        let Stage::Agreed { last, reads } = &mut learner.stage else { return Ok(()) };
        let mut read = std::mem::take(&mut learner.read);
        let mut end = read.last().map_or(*last, |(zxid, _)| *zxid);
        match txns {
            Some(txns) if !txns.is_empty() => {
                for (zxid, _) in &txns {
                    assert!(zxid.follows(end), "our log has a gap: txn {zxid} after {end}");
                    end = *zxid;
                }
                read.extend(txns);
            }
            // The log does not reach back so far: the whole state it is.
            _ => {
                *reads = READS_MAX;
                read.clear();
            }
        }
        self.synchronize(core, link, read, source, actions)
    }

    /// It has everything up to NEWLEADER durably: whether that is new.
    pub(super) fn on_new_leader_ack(
        &mut self,
        link: LinkId,
        zxid: Zxid,
        epoch: Epoch,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(learner) = self.links.get_mut(&link) else { return false };
        if zxid.epoch() != epoch {
            ignored(learner.server, "ack", "of another epoch's NEWLEADER", actions);
            return false;
        }
        // The second one acknowledges UPTODATE.
        if learner.stage != Stage::Syncing {
            return false;
        }
        learner.stage = Stage::Synced;
        if let (Some(learner), Some(mode)) = (learner.server, learner.mode.take()) {
            actions.push(Action::Observed(Observation::LearnerSynced { learner, mode }));
        }
        true
    }

    /// Tells a learner that it may serve.
    pub(super) fn raise(&mut self, link: LinkId, now: Millis, actions: &mut Vec<Action>) {
        let Some(learner) = self.links.get_mut(&link) else { return };
        learner.stage = Stage::Up;
        learner.heard = now;
        actions.push(Action::Send { link, message: Message::UpToDate });
    }

    /// What clients of a learner that serves ask for goes on to who orders it.
    pub(super) fn pass_on(&self, link: LinkId, message: Message, actions: &mut Vec<Action>) {
        let Some(learner) = self.links.get(&link).and_then(|learner| learner.server) else { return };
        actions.push(match message {
            Message::Ping { touched, .. } if touched.is_empty() => return,
            Message::Ping { touched, .. } => Action::Touched { link, learner, sessions: touched },
            Message::Request(forwarded) => Action::Requested { link, learner, forwarded },
            Message::Revalidate { body } => Action::Revalidate { link, body },
            _ => unreachable!("only what clients ask for is passed on"),
        });
    }

    /// Learners whose last txn was waited for, and is decided with this one.
    pub(super) fn decided(&mut self, zxid: Zxid) -> Vec<LinkId> {
        let mut decided = Vec::new();
        for (link, learner) in &mut self.links {
            if let Stage::Undecided { last } = learner.stage
                && last <= zxid
            {
                learner.stage = Stage::Agreed { last, reads: 0 };
                decided.push(*link);
            }
        }
        decided
    }
}
