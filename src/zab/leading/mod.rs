#![forbid(unsafe_code)]
//! Leading, or trying to: discovery, synchronization, activation (ensemble-protocol §3.3, §3.8; stock `Leader.lead`);
//! the learners' links. Broadcast is in [`broadcast`], what a sync waits for in [`confirm`], two servers of one id in
//! [`contest`].
//!
//! ```text
//!  Discovery ── a quorum, we among it, said what it accepted ──► Proposing (epoch on its way to our disk)
//!     ──► Acking ── a quorum accepted the epoch, nobody of it ahead of us ──► Establishing (current epoch to disk)
//!     ──► Syncing ── a quorum has our history durably ──► Active
//! ```
//!
//! Each wait for others may take `init_limit`. Whatever history we begin with is committed with the last arrow, and
//! learners are told so ahead of it: they do not use it before UPTODATE.

mod broadcast;
mod confirm;
mod contest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::broadcast::Proposal;
use self::confirm::Confirm;
use self::contest::Contender;
use super::Figures;
use super::core::{Awaited, Core, Leave, ignored};
use super::election::{CurrentVote, Elected};
use super::event::{Action, DISLOYAL, Event, Observation, Role};
use super::learner::{Learner, Stage};
use super::learners::{Asker, Learners, Source, refused};
use super::learning::name;
use super::message::{LearnerInfo, LinkId, Message, Port, State, Vote};
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Millis, ServerId, Zxid};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Leading {
    round: i64,
    vote: Vote,
    phase: Phase,
    /// When the phase began.
    since: Millis,
    /// Ours, once it is proposed.
    epoch: Epoch,
    /// The epoch of the history we began with, and its end.
    initial_epoch: Epoch,
    initial: Zxid,
    /// Highest epoch anybody accepted, as far as heard, and the voters that were heard.
    accepted: Epoch,
    informed: BTreeSet<ServerId>,
    /// Voters that accepted ours.
    agreed: BTreeSet<ServerId>,
    /// Voters that look for a leader in a later round than ours.
    disloyal: BTreeSet<ServerId>,
    learners: Learners,
    /// Who came with the id of a learner that serves.
    contenders: BTreeMap<LinkId, Contender>,
    /// A voter needs a later epoch than ours.
    outrun: bool,
    /// Fewer than a quorum are synchronized, and they were more.
    deserted: bool,
    /// Newest proposal; (e, 0) before the first.
    proposed: Zxid,
    /// Not committed, oldest first, without a gap.
    outstanding: VecDeque<Proposal>,
    /// The own disk.
    disk: Awaited,
    confirm: Confirm,
    ping_at: Millis,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Phase {
    Discovery,
    Proposing,
    Acking,
    Establishing,
    Syncing,
    Active,
}

impl Leading {
    pub(super) fn begin(
        core: &mut Core,
        now: Millis,
        elected: Elected,
        actions: &mut Vec<Action>,
    ) -> Leading {
        assert!(elected.leader == core.me(), "leads, elected was {:?}", elected.leader);
        assert!(core.may_vote(), "a server that may not vote leads");
        assert!(core.is_idle(), "leads while the disk is at work");
        actions.push(Action::Listen(Port::Quorum, true));
        let mut leading = Leading {
            round: elected.round,
            vote: elected.vote,
            phase: Phase::Discovery,
            since: now,
            epoch: Epoch(0),
            initial_epoch: core.epochs.current(),
            initial: core.log.last(),
            accepted: core.epochs.accepted().max(core.accepted_by_voters),
            informed: BTreeSet::from([core.me()]),
            agreed: BTreeSet::new(),
            disloyal: BTreeSet::new(),
            learners: Learners::default(),
            contenders: BTreeMap::new(),
            outrun: false,
            deserted: false,
            proposed: Zxid::ZERO,
            outstanding: VecDeque::new(),
            disk: Awaited::default(),
            confirm: Confirm::default(),
            ping_at: now.plus(core.settings.tick_ms / 2),
        };
        leading.discover(core, now, actions);
        leading
    }

    pub(super) fn role(&self) -> Role {
        if self.phase == Phase::Active { Role::Leading(self.epoch) } else { Role::Looking }
    }

    pub(super) fn next_zxid(&self, core: &Core) -> Option<Zxid> {
        let is_last = self.proposed.counter() >= core.settings.counter_max;
        let free = self.outstanding.len() < core.settings.outstanding_max && !is_last;
        if is_last && planted(Bug::CounterOverflows) {
            // What a sum that carries comes to.
            return Some(Zxid::from_parts(Epoch(self.proposed.epoch().0 + 1), 1));
        }
        (self.phase == Phase::Active && !core.resigning && free).then(|| self.proposed.next())
    }

    pub(super) fn next_tick(&self) -> Millis {
        self.contenders
            .values()
            .map(|contender| contender.until)
            .chain([self.ping_at])
            .min()
            .unwrap_or(self.ping_at)
    }

    /// Adds what there is to count.
    pub(super) fn count(&self, figures: &mut Figures) {
        self.learners.count(figures);
        figures.outstanding = self.outstanding.len();
        figures.pending_syncs = self.confirm.waiting();
    }

    /// The role is over.
    pub(super) fn end(self, actions: &mut Vec<Action>) {
        actions.push(Action::Listen(Port::Quorum, false));
        if self.phase == Phase::Active {
            actions.push(Action::Became(Role::Looking));
        }
    }

    pub(super) fn step(
        &mut self,
        core: &mut Core,
        now: Millis,
        event: Event,
        actions: &mut Vec<Action>,
    ) -> Result<(), Leave> {
        match event {
            Event::Tick => self.on_tick(core, now, actions)?,
            Event::Notified { from, notification } => {
                let later = notification.state == State::Looking && notification.round > self.round;
                if later && core.membership.voters.contains(&from) {
                    self.disloyal.insert(from);
                }
                let current = CurrentVote { state: State::Leading, vote: self.vote, round: self.round };
                core.election.answer(from, &notification, &current, &core.membership, actions);
            }
            Event::PeerUp(server) => {
                core.election.peer_up(now, server, &core.membership, actions);
            }
            Event::PeerLost(server) => {
                core.election.peer_lost(now, server, &core.membership, actions);
            }
            Event::Accepted { link } => {
                self.learners.accept(link, now);
            }
            Event::LinkLost { link } => self.lose(core, link, "the link is lost", actions),
            Event::LinkBroken { link } => {
                self.lose(core, link, "what came of it is no packet, or was altered on its way", actions)
            }
            Event::Received { link, message } => {
                if self.learners.contains_key(&link)
                    && let Err(reason) = self.on_message(core, now, link, message, actions)
                {
                    self.drop_learner(core, link, reason, actions);
                }
            }
            Event::SnapMoved { link } | Event::SnapSent { link } => {
                if let Some(learner) = self.learners.get_mut(&link) {
                    learner.heard = now;
                }
            }
            Event::LogRead { link, txns } => {
                if let Err(reason) = self.learners.on_log_read(core, link, txns, self.source(core), actions) {
                    self.drop_learner(core, link, reason, actions);
                }
            }
            Event::Submitted { zxid, payload } => self.propose(core, now, zxid, payload, actions),
            Event::Flushed(zxid) => self.on_flushed(core, zxid, actions),
            Event::EpochSaved { .. } => self.on_epoch_saved(core, now, actions),
            Event::SyncAsked { tag, .. } => self.ask(core, Asker::Client(tag), actions),
            Event::LearnerSync { link, .. } => self.ask(core, Asker::Learner(link), actions),
            Event::Send { link, message } if self.learners.get(&link).is_some_and(Learner::is_up) => {
                actions.push(Action::Send { link, message });
            }
            // Handled below: what is outstanding is decided first.
            Event::Resign => {}
            Event::Forward(_) => ignored(None, "request", "there is no leader to ask", actions),
            // Of a link of ours that is gone, or of an earlier role.
            _ => {}
        }
        self.settle(core, now, actions);
        self.check(core)
    }

    /// What must be given up at once, whatever happened.
    fn check(&self, core: &Core) -> Result<(), Leave> {
        if self.phase == Phase::Active {
            let decided = self.outstanding.is_empty();
            if decided && core.resigning {
                return Err(Leave::over("stopping"));
            }
            let is_last = self.proposed.counter() >= core.settings.counter_max;
            if decided && is_last && !planted(Bug::CounterOverflows) {
                return Err(Leave::over("the epoch's zxids are used up"));
            }
            if self.deserted {
                return Err(Leave::over("a quorum no longer follows"));
            }
            if self.outrun {
                return Err(Leave::over("a voter has accepted a later epoch"));
            }
        } else {
            if core.resigning {
                return Err(Leave::over("stopping"));
            }
            // Who looks elsewhere need not be waited for (ZOOKEEPER-3109).
            let mut possible = core.membership.voters.clone();
            possible.retain(|voter| !self.disloyal.contains(voter));
            if !core.membership.is_quorum(&possible) {
                return Err(Leave::over(DISLOYAL));
            }
        }
        Ok(())
    }

    /// Ourselves and the voters whose link is up behind NEWLEADER.
    fn supporters(&self, core: &Core) -> BTreeSet<ServerId> {
        let synced = self.learners.values().filter(|learner| learner.votes && learner.is_synced());
        synced.filter_map(|learner| learner.server).chain([core.me()]).collect()
    }

    fn on_tick(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) -> Result<(), Leave> {
        let waits = !matches!(self.phase, Phase::Active | Phase::Proposing | Phase::Establishing);
        if waits && now.since(self.since) >= core.init_ms() {
            return Err(Leave::over("a quorum did not come in time"));
        }
        // Others, if there are enough, may have a disk that is fast enough (reliability F12).
        if self.disk.since().is_some_and(|since| now.since(since) > core.sync_ms() / 2) {
            let mut others = core.membership.voters.clone();
            others.remove(&core.me());
            if core.membership.is_quorum(&others) {
                return Err(Leave::over("the own disk is too slow to lead"));
            }
        }
        let active = self.phase == Phase::Active;
        for (link, reason) in self.learners.late(core, now, active) {
            self.drop_learner(core, link, reason, actions);
        }
        if self.ping_at <= now {
            self.ping_at = now.plus(core.settings.tick_ms / 2);
            self.ping(core, actions);
        }
        Ok(())
    }

    /// Lets a learner go, and closes its link.
    fn drop_learner(
        &mut self,
        core: &mut Core,
        link: LinkId,
        reason: &'static str,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Close { link });
        self.lose(core, link, reason, actions);
    }

    fn lose(&mut self, core: &mut Core, link: LinkId, reason: &'static str, actions: &mut Vec<Action>) {
        let Some(learner) = self.learners.remove(&link) else { return };
        let Some(server) = learner.server else { return };
        if learner.votes {
            // What it acknowledged may be cut when it comes back, to be proposed again.
            for proposal in &mut self.outstanding {
                proposal.acks.remove(&server);
            }
            if self.phase < Phase::Proposing {
                self.informed.remove(&server);
            }
        }
        // Only here can they become fewer.
        self.deserted = self.phase == Phase::Active && !core.membership.is_quorum(&self.supporters(core));
        self.confirm.forget(link);
        actions.push(Action::Observed(Observation::LearnerDropped { learner: server, reason }));
        if learner.is_up() {
            actions.push(Action::LearnerLost { link, learner: server });
        }
        self.advance(core, actions);
    }

    fn on_message(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        message: Message,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.heard = now;
        let server = learner.server;
        match (&learner.stage, message) {
            (Stage::Connected, Message::FollowerInfo(info)) => {
                self.on_info(core, now, link, info, true, actions)
            }
            (Stage::Connected, Message::ObserverInfo(info)) => {
                self.on_info(core, now, link, info, false, actions)
            }
            (Stage::Offered, Message::AckEpoch { last, current }) => {
                self.on_ack_epoch(core, now, link, last, current, actions)
            }
            (Stage::Syncing | Stage::Synced | Stage::Up, Message::Ack { zxid }) => {
                if zxid.counter() == 0 {
                    return self.on_new_leader_ack(core, now, link, zxid, actions);
                }
                self.on_ack(core, link, zxid, actions)
            }
            (Stage::Up, message @ Message::Ping { .. }) => {
                self.learners.pass_on(link, message, actions);
                self.on_pong(core, link, actions)
            }
            (Stage::Up, message @ (Message::Request(_) | Message::Revalidate { .. })) => {
                self.learners.pass_on(link, message, actions);
                Ok(())
            }
            (_, message) => {
                ignored(server, name(&message), "not in this phase", actions);
                // An old answer to a ping that came before UPTODATE, from a learner that should have ignored it.
                if matches!(message, Message::Ping { .. }) {
                    Ok(())
                } else {
                    Err("sent something out of phase")
                }
            }
        }
    }

    fn on_info(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        info: LearnerInfo,
        follows: bool,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let taken = self.introduced(core, now, link, info, follows, actions);
        taken.inspect_err(|reason| actions.push(refused(&info, link, reason)))
    }

    /// A learner has said who it is.
    fn introduced(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        info: LearnerInfo,
        follows: bool,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let server = self.learners.introduce(core, &info)?;
        if let Some(old) = self.learners.link_of(server) {
            if self.learners.get(&old).is_some_and(Learner::is_up) {
                let round = self.ping(core, actions);
                let until = now.plus(core.settings.tick_ms);
                self.contenders.insert(link, Contender { info, follows, against: old, round, until });
                return Ok(());
            }
            // It is back before we noticed that it was gone.
            self.drop_learner(core, old, "it has a newer link", actions);
        }
        self.take_in(core, now, link, (server, info, follows), actions)
    }

    /// The learner at the end of this link is this server.
    fn take_in(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        (server, info, follows): (ServerId, LearnerInfo, bool),
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let votes = follows && core.membership.voters.contains(&server);
        if votes {
            core.accepted_by_voters = core.accepted_by_voters.max(info.accepted);
        }
        if self.phase > Phase::Discovery && info.accepted > self.epoch {
            // It cannot come back while we lead: only a later epoch takes it in. Not at once, so that it cannot keep us
            // from leading.
            self.outrun |= votes && self.phase == Phase::Active && now.since(self.since) >= core.init_ms();
            return Err("it has accepted a later epoch");
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        (learner.server, learner.follows, learner.votes) = (Some(server), follows, votes);
        learner.stage = Stage::Informed;
        self.disloyal.remove(&server);
        if self.phase == Phase::Discovery {
            // Who has no vote raises the epoch, and does not count (ZOOKEEPER-2959).
            self.accepted = self.accepted.max(info.accepted);
            if votes || planted(Bug::ObserversCount) {
                self.informed.insert(server);
            }
            self.discover(core, now, actions);
        } else if self.phase > Phase::Proposing {
            self.learners.offer(link, self.epoch, actions);
        }
        Ok(())
    }

    /// Proposes an epoch, once a quorum said what it has accepted.
    fn discover(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        if !core.membership.is_quorum(&self.informed) && !is_crowd(core, &self.informed) {
            return;
        }
        self.epoch = Epoch(self.accepted.0 + 1);
        self.proposed = Zxid::from_parts(self.epoch, 0);
        self.enter(Phase::Proposing, now);
        core.epochs.save(self.epoch, core.epochs.current(), actions);
        actions.push(Action::Observed(Observation::EpochProposed(self.epoch)));
    }

    fn enter(&mut self, phase: Phase, now: Millis) {
        assert!(phase > self.phase, "phase {phase:?} goes back from {:?}", self.phase);
        self.phase = phase;
        self.since = now;
    }

    fn on_epoch_saved(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        match self.phase {
            Phase::Proposing => {
                assert!(core.epochs.accepted() == self.epoch, "epoch offered before it is durable");
                self.enter(Phase::Acking, now);
                self.agreed.insert(core.me());
                for link in self.learners.links(|learner| learner.stage == Stage::Informed) {
                    self.learners.offer(link, self.epoch, actions);
                }
                self.count_agreed(core, now, actions);
            }
            Phase::Establishing => {
                assert!(core.epochs.current() == self.epoch, "synchronizes before the epoch is durable");
                self.enter(Phase::Syncing, now);
                for link in self.learners.links(|learner| matches!(learner.stage, Stage::Agreed { .. })) {
                    self.synchronize(core, link, actions);
                }
                self.activate(core, now, actions);
            }
            _ => {}
        }
    }

    fn on_ack_epoch(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        last: Zxid,
        current: Option<Epoch>,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.stage = Stage::Agreed { last, reads: 0 };
        if self.phase == Phase::Acking
            && let Some(current) = current
        {
            if (current, last) > (self.initial_epoch, self.initial) && !planted(Bug::LaggardLeads) {
                return Err("it is ahead of us");
            }
            let counts = learner.votes || planted(Bug::ObserversCount);
            if let (true, true, Some(server)) = (counts, last != Zxid(-1), learner.server) {
                self.agreed.insert(server);
            }
            self.count_agreed(core, now, actions);
        } else if self.phase >= Phase::Syncing {
            // It has these durably, whatever became of the acks.
            let server = learner.server.filter(|_| learner.votes && core.log.history().holds(last));
            for proposal in self.outstanding.iter_mut().take_while(|proposal| proposal.zxid <= last) {
                proposal.acks.extend(server);
            }
            self.synchronize(core, link, actions);
            self.advance(core, actions);
        }
        Ok(())
    }

    fn count_agreed(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        if core.membership.is_quorum(&self.agreed) || is_crowd(core, &self.agreed) {
            self.enter(Phase::Establishing, now);
            core.epochs.save(self.epoch, self.epoch, actions);
        }
    }

    /// The end of what is committed, or will be before we serve.
    fn horizon(&self, core: &Core) -> Zxid {
        core.log.committed().max(self.initial)
    }

    /// What learners are given.
    fn source(&self, core: &Core) -> Source {
        Source { horizon: self.horizon(core), epoch: self.epoch }
    }

    /// Brings a learner up to date, or lets it go.
    fn synchronize(&mut self, core: &mut Core, link: LinkId, actions: &mut Vec<Action>) {
        let source = self.source(core);
        if let Err(reason) = self.learners.synchronize(core, link, Vec::new(), source, actions) {
            self.drop_learner(core, link, reason, actions);
        }
    }

    fn on_new_leader_ack(
        &mut self,
        core: &mut Core,
        now: Millis,
        link: LinkId,
        zxid: Zxid,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        if !self.learners.on_new_leader_ack(link, zxid, self.epoch, actions) {
            return Ok(());
        }
        match self.phase {
            Phase::Active => self.learners.raise(link, now, actions),
            _ => self.activate(core, now, actions),
        }
        Ok(())
    }

    /// Serves, once a quorum has our history durably.
    fn activate(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        if !core.membership.is_quorum(&self.supporters(core)) {
            return;
        }
        self.enter(Phase::Active, now);
        self.vote.peer_epoch = i64::from(self.epoch.0);
        core.log.commit(self.initial, actions);
        actions.push(Action::Became(self.role()));
        for link in self.learners.links(|learner| learner.stage == Stage::Synced) {
            self.learners.raise(link, now, actions);
        }
    }

    pub(super) fn invariants(&self, core: &Core) {
        if let Some(oldest) = self.outstanding.front() {
            assert!(self.phase == Phase::Active, "proposals before the epoch is established");
            assert!(oldest.zxid > core.log.committed(), "committed proposals are outstanding");
            assert!(self.outstanding.len() <= core.settings.outstanding_max, "more outstanding than allowed");
        }
        if self.phase == Phase::Active {
            assert!(core.epochs.current() == self.epoch, "leads in an epoch that is not durable");
            let is_ours = self.proposed.epoch() == self.epoch || planted(Bug::CounterOverflows);
            assert!(is_ours, "proposed {} in {:?}", self.proposed, self.epoch);
        } else {
            assert!(core.log.last() == self.initial, "the history grew before the epoch is established");
        }
        let vote = |servers: &BTreeSet<ServerId>| servers.is_subset(&core.membership.voters);
        debug_assert!(planted(Bug::ObserversCount) || vote(&self.agreed) && vote(&self.informed), "Z13");
    }
}

/// A planted bug's quorum: as many as a majority, whoever they are.
fn is_crowd(core: &Core, servers: &BTreeSet<ServerId>) -> bool {
    planted(Bug::ObserversCount) && servers.len() > core.membership.voters.len() / 2
}
