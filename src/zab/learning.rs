#![forbid(unsafe_code)]
//! With a leader: registration, synchronization, broadcast as a follower or observer sees them (ensemble-protocol §3.3,
//! §3.6, §3.10; stock `Learner`, `Follower`, `Observer`).
//!
//! ```text
//!  Connecting ⇄ Waiting
//!      │ Connected: FollowerInfo                Leave, wherever something is wrong or late
//!      ▼                                          ▲
//!  Informed ── LeaderInfo ──► Accepting (epoch on its way to the disk) ── AckEpoch ──► Offered
//!      ┌──────────────── Diff, Trunc ───────────────────────────────────────────────────┤ Snap
//!      ▼                                                                                ▼
//!  Syncing: Open ──NewLeader──► Storing ─► Saving ─Ack─► Acked ◄── Installing ◄── Receiving
//!                                                          │ UpToDate: Ack
//!                                                          ▼
//!                                                       Active
//! ```
//!
//! The order on the disk is *history, then current epoch, then the ack of NEWLEADER, then acks of proposals*, each after
//! the one before is durable (ZOOKEEPER-3911, -4646, -4643, -4685). What was proposed is appended as it comes: it is a
//! prefix of the leader's history, so that a link may break anywhere. It is applied once the leader is established.

use std::collections::VecDeque;

use super::Figures;
use super::core::{Core, Leave, ignored, plausible};
use super::election::{CurrentVote, Elected};
use super::event::{Action, Event, Failure, Observation, Role, SyncMode};
use super::learners::Asker;
use super::masters::Master;
use super::message::{LearnerInfo, LinkId, Message, Payload, Port, State, Vote};
use super::observer_master::ObserverMaster;
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Millis, ServerId, Zxid};

/// Tries to connect (stock `Learner.connectToLeader`: 5).
const CONNECT_TRIES: u32 = 7;
/// Between the first two of them, ms; it doubles. Who is elected opens its port a moment later than others hear of it, so
/// the first try often comes too early. Stock waits 100 ms each time (`leaderConnectDelayDuringRetryMs`), which is most
/// of a fail-over; all in all these are no shorter.
const CONNECT_DELAY_MS: u64 = 10;

/// A stock follower has an observer that is ahead of it cut its log. Another one may have heard more, and the leader has.
const BEHIND: &str = "the follower that serves us has not heard of all that is decided";

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Learning {
    leader: ServerId,
    round: i64,
    vote: Vote,
    /// Whether we vote and acknowledge; otherwise we observe.
    follows: bool,
    /// Where we connect to: the leader, or, as an observer, who serves in its place.
    master: Master,
    link: LinkId,
    tries: u32,
    began: Millis,
    /// When something of the leader came last.
    heard: Millis,
    /// The leader's, once it is accepted.
    epoch: Epoch,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Stage {
    Waiting { retry_at: Millis },
    Connecting,
    Informed,
    Accepting,
    Offered,
    Receiving(Image),
    Installing(Image),
    Syncing(Sync),
    Active(Active),
}

/// A state that comes whole, and what comes behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Image {
    zxid: Zxid,
    received: bool,
    /// Proposals, oldest first; not logged, because the log they belong to does not exist yet.
    held: VecDeque<(Zxid, Payload)>,
    committed: Zxid,
}

/// The log becomes the leader's.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Sync {
    step: Step,
    /// What is committed as soon as the leader is established.
    committed: Zxid,
    /// Acknowledged up to here: what was committed at NEWLEADER is by the ack of that.
    acked: Zxid,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Txns come.
    Open,
    /// All have come, up to this one: on their way to the disk.
    Storing { up_to: Zxid },
    /// So is the current epoch.
    Saving,
    /// The leader knows.
    Acked,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Active {
    acked: Zxid,
    /// Syncs that the leader was asked for.
    syncs: VecDeque<Asker>,
    /// Observers that we serve, if followers do.
    observers: Option<Box<ObserverMaster>>,
}

impl Learning {
    pub(super) fn begin(
        core: &mut Core,
        now: Millis,
        elected: Elected,
        actions: &mut Vec<Action>,
    ) -> Learning {
        assert!(elected.leader != core.me(), "a server learns from itself");
        let master = core.masters.choose(elected.leader);
        let delay_ms = match core.is_observer() && master.last {
            true => core.masters.wait_ms(core.settings.observer_reconnect_delay_ms),
            false => 0,
        };
        let began = now.plus(delay_ms);
        let mut learning = Learning {
            master,
            leader: elected.leader,
            round: elected.round,
            vote: elected.vote,
            follows: core.may_vote(),
            link: LinkId(LinkId::OURS),
            tries: 0,
            began,
            heard: began,
            epoch: Epoch(0),
            stage: Stage::Waiting { retry_at: began },
        };
        if delay_ms == 0 {
            learning.connect(core, actions);
        }
        learning
    }

    fn connect(&mut self, core: &mut Core, actions: &mut Vec<Action>) {
        self.tries += 1;
        self.link = core.new_link();
        self.stage = Stage::Connecting;
        actions.push(Action::Connect { link: self.link, to: self.master.server, port: self.master.port });
    }

    pub(super) fn leader(&self) -> ServerId {
        self.leader
    }

    /// Whom it learns from.
    pub(super) fn master(&self) -> ServerId {
        self.master.server
    }

    pub(super) fn serves_observers(&self) -> bool {
        matches!(&self.stage, Stage::Active(Active { observers: Some(_), .. }))
    }

    /// Whether a follower stands between the leader and us: it may not have heard yet of all that is decided.
    fn is_relayed(&self) -> bool {
        self.master.port == Port::Observers
    }

    /// What clients see.
    pub(super) fn role(&self) -> Role {
        match self.stage {
            Stage::Active(_) if self.follows => Role::Following(self.leader),
            Stage::Active(_) => Role::Observing(self.leader),
            _ => Role::Looking,
        }
    }

    /// Adds what there is to count.
    pub(super) fn count(&self, figures: &mut Figures) {
        let Stage::Active(Active { syncs, observers, .. }) = &self.stage else { return };
        figures.pending_syncs = syncs.len();
        if let Some(observers) = observers {
            observers.count(figures);
        }
    }

    fn current_vote(&self) -> CurrentVote {
        let state = if self.follows { State::Following } else { State::Observing };
        CurrentVote { state, vote: self.vote, round: self.round }
    }

    /// The role is over: what was begun is forgotten.
    pub(super) fn end(self, actions: &mut Vec<Action>) {
        match self.stage {
            Stage::Waiting { .. } => {}
            Stage::Receiving(_) => {
                let link = self.link;
                actions.extend([Action::Close { link }, Action::DropSnap { link }]);
            }
            Stage::Active(Active { observers, .. }) => {
                actions.push(Action::Close { link: self.link });
                if let Some(observers) = observers {
                    observers.close(actions);
                }
                actions.push(Action::Became(Role::Looking));
            }
            _ => actions.push(Action::Close { link: self.link }),
        }
    }

    pub(super) fn next_tick(&self, core: &Core) -> Millis {
        let deadline = self.deadline(core);
        match &self.stage {
            Stage::Waiting { retry_at } => deadline.min(*retry_at),
            Stage::Active(Active { observers: Some(observers), .. }) => deadline.min(observers.next_tick()),
            _ => deadline,
        }
    }

    fn deadline(&self, core: &Core) -> Millis {
        match &self.stage {
            Stage::Waiting { .. } | Stage::Connecting => {
                let limit = core.settings.connect_limit.saturating_mul(core.settings.tick_ms);
                self.began.plus(if limit > 0 { limit } else { core.init_ms() })
            }
            Stage::Syncing(Sync { step: Step::Acked, .. }) | Stage::Active(_) => {
                self.heard.plus(core.sync_ms())
            }
            _ => self.heard.plus(core.init_ms()),
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
            Event::Tick => return self.on_tick(core, now, actions),
            Event::Notified { from, notification } => {
                let gone = notification.state == State::Looking && notification.round > self.round;
                if from == self.leader && gone && self.role() == Role::Looking {
                    return Err(Leave::over("the leader looks for one itself"));
                }
                let Core { election, membership, .. } = core;
                election.answer(from, &notification, &self.current_vote(), membership, actions);
            }
            Event::PeerUp(server) => {
                core.election.peer_up(now, server, &core.membership, actions);
            }
            Event::PeerLost(server) => {
                core.election.peer_lost(now, server, &core.membership, actions);
            }
            Event::Accepted { link } => match self.observers() {
                Some(observers) => observers.step(core, now, Event::Accepted { link }, actions),
                None => actions.push(Action::Close { link }),
            },
            Event::Connected { link } if link == self.link => self.on_connected(core, now, actions),
            Event::LinkLost { link } if link == self.link => return self.on_link_lost(now),
            Event::LinkBroken { link } if link == self.link => {
                return Err(Leave::contradicted(
                    "what came from the leader is no packet, or was altered on its way",
                ));
            }
            Event::Received { link, message } if link == self.link => {
                self.heard = now;
                self.on_message(core, message, actions)?;
            }
            Event::SnapMoved { link } if link == self.link => self.heard = now,
            Event::SnapReceived { link } if link == self.link => {
                self.heard = now;
                if let Stage::Receiving(image) = &mut self.stage {
                    image.received = true;
                }
            }
            Event::Flushed(_)
            | Event::EpochSaved { .. }
            | Event::Truncated(_)
            | Event::SnapInstalled { .. } => {
                self.on_durable(core, now, actions);
            }
            Event::Admitted => return Err(Leave::over("admitted: comes back with a vote")),
            Event::Forward(forwarded) => match self.stage {
                Stage::Active(_) => self.send(Message::Request(forwarded), actions),
                _ => ignored(None, "request", "there is no leader to ask", actions),
            },
            Event::SyncAsked { tag, request } => match &mut self.stage {
                Stage::Active(active) => {
                    active.syncs.push_back(Asker::Client(tag));
                    self.send(Message::Request(request), actions);
                }
                _ => ignored(None, "sync", "there is no leader to ask", actions),
            },
            Event::Send { link, message } if link == self.link => match self.stage {
                Stage::Active(_) => self.send(message, actions),
                _ => ignored(None, "send", "not in broadcast", actions),
            },
            Event::Resign => return Err(Leave::over("stopping")),
            Event::LearnerSync { link, request } => match &mut self.stage {
                Stage::Active(active) if active.observers.as_ref().is_some_and(|all| all.is_up(link)) => {
                    active.syncs.push_back(Asker::Learner(link));
                    self.send(Message::Request(request), actions);
                }
                _ => ignored(None, "sync", "its observer is gone", actions),
            },
            // Of an observer's link, or of one that is gone, or of another role.
            event => {
                if let Some(observers) = self.observers() {
                    observers.step(core, now, event, actions);
                }
            }
        }
        Ok(())
    }

    fn observers(&mut self) -> Option<&mut ObserverMaster> {
        if let Stage::Active(active) = &mut self.stage { active.observers.as_deref_mut() } else { None }
    }

    fn send(&self, message: Message, actions: &mut Vec<Action>) {
        actions.push(Action::Send { link: self.link, message });
    }

    fn on_tick(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) -> Result<(), Leave> {
        // While the image is being installed it is our disk that the leader waits for.
        if matches!(self.stage, Stage::Installing(_)) {
            self.heard = now;
        }
        if self.deadline(core) <= now && !planted(Bug::SilenceIsBorne) {
            return Err(Leave::over("nothing heard of the leader"));
        }
        if matches!(self.stage, Stage::Waiting { retry_at } if retry_at <= now) {
            self.connect(core, actions);
        }
        if let Some(observers) = self.observers() {
            observers.on_tick(core, now, actions);
        }
        Ok(())
    }

    fn on_link_lost(&mut self, now: Millis) -> Result<(), Leave> {
        if self.stage == Stage::Connecting && self.tries < CONNECT_TRIES {
            self.stage = Stage::Waiting { retry_at: now.plus(CONNECT_DELAY_MS << (self.tries - 1)) };
            return Ok(());
        }
        Err(Leave::over("the link to the leader is lost"))
    }

    fn on_connected(&mut self, core: &Core, now: Millis, actions: &mut Vec<Action>) {
        if self.stage != Stage::Connecting {
            return;
        }
        self.heard = now;
        self.stage = Stage::Informed;
        let info = LearnerInfo {
            accepted: core.epochs.accepted(),
            server: Some(core.me()),
            config_version: core.membership.version,
        };
        self.send(
            if self.follows { Message::FollowerInfo(info) } else { Message::ObserverInfo(info) },
            actions,
        );
    }

    fn on_message(
        &mut self,
        core: &mut Core,
        message: Message,
        actions: &mut Vec<Action>,
    ) -> Result<(), Leave> {
        match (&mut self.stage, message) {
            (Stage::Informed, Message::LeaderInfo { epoch }) => self.on_leader_info(core, epoch, actions),
            (Stage::Offered, Message::Diff { zxid }) => {
                core.announced = zxid;
                if core.needs_image {
                    return Err(Leave::contradicted(
                        "the leader continues a state that is not to be continued",
                    ));
                }
                self.begin_sync(core, SyncMode::Diff, core.log.last(), actions);
                Ok(())
            }
            (Stage::Offered, Message::Trunc { zxid }) => self.on_trunc(core, zxid, actions),
            (Stage::Offered, Message::Snap { zxid }) => {
                let (link, from) = (self.link, core.log.last());
                actions.push(Action::ReceiveSnap { link, zxid });
                let syncing = Observation::Syncing { leader: self.leader, mode: SyncMode::Snap, from };
                actions.push(Action::Observed(syncing));
                let image = Image { zxid, received: false, held: VecDeque::new(), committed: zxid };
                self.stage = Stage::Receiving(image);
                Ok(())
            }
            (
                Stage::Receiving(_) | Stage::Installing(_) | Stage::Syncing(_),
                Message::Proposal { zxid, payload },
            ) => self.on_proposal(core, zxid, payload, actions),
            (Stage::Receiving(_) | Stage::Installing(_) | Stage::Syncing(_), Message::Commit { zxid }) => {
                self.on_commit(core, zxid, actions)
            }
            (
                Stage::Receiving(_) | Stage::Installing(_) | Stage::Syncing(_),
                Message::Inform { zxid, payload },
            ) => {
                self.on_proposal(core, zxid, payload, actions)?;
                self.on_commit(core, zxid, actions)
            }
            (Stage::Receiving(image), Message::NewLeader { zxid, .. }) => {
                if zxid != Zxid::from_parts(self.epoch, 0) || !image.received {
                    return Err(Leave::contradicted("NEWLEADER of another epoch, or before its image"));
                }
                self.install(core, actions)
            }
            (Stage::Syncing(sync), Message::NewLeader { zxid, .. }) => {
                if zxid != Zxid::from_parts(self.epoch, 0) || sync.step != Step::Open {
                    return Err(Leave::contradicted("NEWLEADER of another epoch, or a second one"));
                }
                sync.step = Step::Storing { up_to: core.log.last() };
                sync.acked = sync.committed;
                if planted(Bug::EpochBeforeHistory) {
                    core.epochs.save(core.epochs.accepted(), self.epoch, actions);
                }
                self.store(core, self.heard, actions);
                Ok(())
            }
            (Stage::Syncing(sync), Message::UpToDate) if sync.step == Step::Acked => {
                self.activate(core, self.heard, actions);
                Ok(())
            }
            // Before the end of synchronization a leader pings, but must not be answered.
            (
                Stage::Receiving(_) | Stage::Installing(_) | Stage::Syncing(_),
                Message::Ping { .. } | Message::Revalidate { .. },
            ) => Ok(()),
            (Stage::Active(_), message) => self.on_broadcast(core, message, actions),
            (_, message) => {
                ignored(Some(self.leader), name(&message), "not in this phase", actions);
                Err(Leave::contradicted("the leader sent something out of phase"))
            }
        }
    }

    fn on_leader_info(
        &mut self,
        core: &mut Core,
        epoch: Epoch,
        actions: &mut Vec<Action>,
    ) -> Result<(), Leave> {
        let accepted = core.epochs.accepted();
        if epoch < accepted {
            return Err(Leave::contradicted("the leader's epoch is older than one accepted"));
        }
        if !plausible(epoch) {
            return Err(Leave::contradicted("no leader has this epoch"));
        }
        self.epoch = epoch;
        if epoch > accepted && planted(Bug::EpochIsNotSaved) {
            self.stage = Stage::Offered;
            let current = Some(core.epochs.current());
            self.send(Message::AckEpoch { last: core.position(), current }, actions);
        } else if epoch > accepted {
            self.stage = Stage::Accepting;
            core.epochs.save(epoch, core.epochs.current(), actions);
        } else {
            // Accepted before: from whom is not known, so it must not be counted again.
            self.stage = Stage::Offered;
            self.send(Message::AckEpoch { last: core.position(), current: None }, actions);
        }
        Ok(())
    }

    fn on_trunc(&mut self, core: &mut Core, zxid: Zxid, actions: &mut Vec<Action>) -> Result<(), Leave> {
        let (committed, confirmed) = (core.log.committed(), core.log.confirmed());
        if zxid < confirmed && self.is_relayed() {
            return Err(Leave::over(BEHIND));
        }
        if zxid < confirmed {
            actions.push(Action::Fail(Failure::TruncateBelowCommitted { to: zxid, committed: confirmed }));
            return Err(Leave::contradicted("the leader asks for committed txns to be cut"));
        }
        if zxid < committed {
            // The state came of a leader that was never established, and cannot be cut.
            core.needs_image = true;
            return Err(Leave::over("the state is the end of another history: all of it is needed"));
        }
        let floor = core.log.history().floor(zxid);
        match floor.filter(|floor| *floor >= committed) {
            Some(floor) if floor < core.log.last() => core.log.truncate(floor, actions),
            Some(_) => {}
            None => return Err(Leave::over("the leader asks for a cut that is not in our log")),
        }
        if floor != Some(zxid) {
            // Between the two the leader has txns that we lack and were not going to be sent.
            return Err(Leave::over(
                "the leader asks for a cut where we have no txn: comes back from an earlier one",
            ));
        }
        self.begin_sync(core, SyncMode::Trunc, zxid, actions);
        Ok(())
    }

    /// From here on the log is a prefix of the leader's history, all of which is committed when it is established.
    fn begin_sync(&mut self, core: &Core, mode: SyncMode, from: Zxid, actions: &mut Vec<Action>) {
        let committed = core.log.last();
        actions.push(Action::Observed(Observation::Syncing { leader: self.leader, mode, from }));
        self.stage = Stage::Syncing(Sync { step: Step::Open, committed, acked: committed });
    }

    fn on_proposal(
        &mut self,
        core: &mut Core,
        zxid: Zxid,
        payload: Payload,
        actions: &mut Vec<Action>,
    ) -> Result<(), Leave> {
        let last = match &self.stage {
            Stage::Receiving(image) if !image.received => {
                return Err(Leave::contradicted("a proposal inside an image"));
            }
            Stage::Receiving(image) | Stage::Installing(image) => {
                image.held.back().map_or(image.zxid, |(zxid, _)| *zxid)
            }
            _ => core.log.last(),
        };
        if zxid <= last {
            ignored(Some(self.leader), "proposal", "it is known", actions);
            return Ok(());
        }
        if !zxid.follows(last) || zxid.epoch() > self.epoch {
            return Err(Leave::contradicted("a proposal leaves a gap"));
        }
        match &mut self.stage {
            Stage::Receiving(image) | Stage::Installing(image) => image.held.push_back((zxid, payload)),
            Stage::Syncing(_) if planted(Bug::SyncedAreNotKept) => {
                core.log.append(zxid, Payload::from([]), &mut Vec::new());
                actions.push(Action::Append { zxid, payload });
            }
            _ => core.log.append(zxid, payload, actions),
        }
        Ok(())
    }

    fn on_commit(&mut self, core: &mut Core, zxid: Zxid, actions: &mut Vec<Action>) -> Result<(), Leave> {
        let (committed, next) = match &self.stage {
            Stage::Receiving(image) | Stage::Installing(image) => {
                let next = image.held.iter().map(|(zxid, _)| *zxid).find(|zxid| *zxid > image.committed);
                (image.committed, next)
            }
            Stage::Syncing(sync) => (sync.committed, core.log.history().next(sync.committed)),
            _ => (core.log.committed(), core.log.history().next(core.log.committed())),
        };
        if zxid <= committed {
            ignored(Some(self.leader), "commit", "it is known", actions);
            return Ok(());
        }
        if next != Some(zxid) {
            return Err(Leave::contradicted("a commit is not that of the oldest proposal"));
        }
        match &mut self.stage {
            Stage::Receiving(image) | Stage::Installing(image) => image.committed = zxid,
            Stage::Syncing(sync) => sync.committed = zxid,
            Stage::Active(Active { observers: Some(observers), .. }) if !observers.is_idle() => {
                // A commit may trim it.
                let payload = core.log.history().get(zxid).cloned();
                core.log.commit(zxid, actions);
                let payload = payload.expect("what is not committed is in memory");
                observers.committed(core, zxid, &payload, actions);
            }
            _ => core.log.commit(zxid, actions),
        }
        Ok(())
    }

    /// Everything of the leader's initial history is here: the image takes the state's place.
    fn install(&mut self, core: &mut Core, actions: &mut Vec<Action>) -> Result<(), Leave> {
        let is_relayed = self.is_relayed();
        let Stage::Receiving(image) = &mut self.stage else {
            unreachable!("only what was received is installed")
        };
        if image.committed < core.log.confirmed() && is_relayed {
            return Err(Leave::over(BEHIND));
        }
        if image.committed < core.log.confirmed() {
            let (to, committed) = (image.committed, core.log.confirmed());
            actions.push(Action::Fail(Failure::TruncateBelowCommitted { to, committed }));
            return Err(Leave::contradicted("the leader's state lacks committed txns"));
        }
        let undecided = image.held.partition_point(|(zxid, _)| *zxid <= image.committed);
        let rest = image.held.split_off(undecided);
        let txns = std::mem::replace(&mut image.held, rest);
        core.log.install(self.link, image.zxid, txns.into(), actions);
        // Held from here on: what follows the state that is being installed.
        let Image { held, committed, .. } = image;
        let image =
            Image { zxid: *committed, received: true, held: std::mem::take(held), committed: *committed };
        self.stage = Stage::Installing(image);
        Ok(())
    }

    /// The disk said something.
    fn on_durable(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        match &mut self.stage {
            Stage::Accepting if core.epochs.is_idle() => {
                assert!(
                    core.epochs.accepted() == self.epoch,
                    "accepted epoch not durable before it is acknowledged"
                );
                self.stage = Stage::Offered;
                let current = Some(core.epochs.current());
                self.send(Message::AckEpoch { last: core.position(), current }, actions);
            }
            Stage::Installing(image) if !core.log.is_installing() => {
                self.heard = now;
                let Image { zxid, committed, .. } = *image;
                for (zxid, payload) in std::mem::take(&mut image.held) {
                    core.log.append(zxid, payload, actions);
                }
                let step = Step::Storing { up_to: core.log.last() };
                self.stage = Stage::Syncing(Sync { step, committed, acked: zxid });
                self.store(core, now, actions);
            }
            Stage::Syncing(_) => self.store(core, now, actions),
            Stage::Active(_) => self.acknowledge(core, actions),
            _ => {}
        }
    }

    /// Goes on to the next thing that has to be durable, as far as the disk allows.
    fn store(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        let Stage::Syncing(sync) = &mut self.stage else { return };
        let is_stored = |up_to| core.log.is_stored(up_to) || planted(Bug::NewLeaderBeforeHistory);
        if matches!(sync.step, Step::Storing { up_to } if is_stored(up_to)) {
            sync.step = Step::Saving;
            let is_saved = planted(Bug::EpochBeforeHistory) && !core.epochs.is_idle();
            if core.epochs.current() != self.epoch && !is_saved {
                core.epochs.save(core.epochs.accepted(), self.epoch, actions);
            }
        }
        if sync.step == Step::Saving && core.epochs.is_idle() {
            assert!(
                core.epochs.current() == self.epoch,
                "current epoch not durable before NEWLEADER is acknowledged"
            );
            sync.step = Step::Acked;
            self.heard = now;
            self.send(Message::Ack { zxid: Zxid::from_parts(self.epoch, 0) }, actions);
        }
        self.acknowledge(core, actions);
    }

    /// Acknowledges every proposal that has become durable, each for itself, in order.
    fn acknowledge(&mut self, core: &Core, actions: &mut Vec<Action>) {
        let acked = match &mut self.stage {
            _ if !self.follows => return,
            Stage::Syncing(Sync { step: Step::Acked, acked, .. }) | Stage::Active(Active { acked, .. }) => {
                acked
            }
            _ => return,
        };
        for (zxid, _) in core.log.history().after(*acked) {
            if *zxid > core.log.flushed() && !planted(Bug::AckBeforeFlush) {
                break;
            }
            *acked = *zxid;
            actions.push(Action::Send { link: self.link, message: Message::Ack { zxid: *zxid } });
        }
    }

    /// The leader is established: its history is committed.
    fn activate(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        let Stage::Syncing(Sync { committed, acked, .. }) = self.stage else { return };
        self.send(Message::Ack { zxid: Zxid::from_parts(self.epoch, 0) }, actions);
        core.log.commit(committed, actions);
        self.vote.peer_epoch = i64::from(self.epoch.0);
        self.stage = Stage::Active(Active { acked, syncs: VecDeque::new(), observers: None });
        core.masters.serves();
        actions.push(Action::Became(self.role()));
        if self.follows && core.settings.observer_masters {
            let opened = ObserverMaster::open(core, now, self.epoch, actions);
            if let Stage::Active(active) = &mut self.stage {
                active.observers = Some(Box::new(opened));
            }
        }
        if core.membership.voters.contains(&core.me()) && !core.admitted {
            core.admit(actions);
        }
    }

    fn on_broadcast(
        &mut self,
        core: &mut Core,
        message: Message,
        actions: &mut Vec<Action>,
    ) -> Result<(), Leave> {
        let Stage::Active(active) = &mut self.stage else { return Ok(()) };
        match message {
            Message::Proposal { zxid, payload } if self.follows => {
                self.on_proposal(core, zxid, payload, actions)?
            }
            Message::Commit { zxid } if self.follows => self.on_commit(core, zxid, actions)?,
            Message::Inform { zxid, payload } if !self.follows => {
                self.on_proposal(core, zxid, payload, actions)?;
                self.on_commit(core, zxid, actions)?;
            }
            Message::Ping { zxid, .. } => actions.push(Action::AnswerPing { link: self.link, zxid }),
            Message::Sync => match active.syncs.pop_front() {
                Some(Asker::Client(tag)) => actions.push(Action::Synced(tag)),
                Some(Asker::Learner(link)) => {
                    let served = active.observers.as_ref().is_some_and(|all| all.is_up(link));
                    actions.extend(served.then_some(Action::Send { link, message: Message::Sync }));
                }
                None => return Err(Leave::contradicted("the leader answers a sync that nobody asked for")),
            },
            Message::Revalidate { body } => actions.push(Action::Revalidate { link: self.link, body }),
            // Stock ignores these too: an observer is sent neither, and UPTODATE only once.
            message @ (Message::Proposal { .. } | Message::Commit { .. } | Message::UpToDate) => {
                ignored(Some(self.leader), name(&message), "not for this role", actions);
            }
            message => {
                ignored(Some(self.leader), name(&message), "not in this phase", actions);
                return Err(Leave::contradicted("the leader sent something out of phase"));
            }
        }
        Ok(())
    }

    pub(super) fn invariants(&self, core: &Core) {
        match &self.stage {
            Stage::Syncing(sync) => {
                assert!(sync.committed <= core.log.last(), "commits remembered beyond last logged");
                assert!(sync.committed >= core.log.committed(), "commits remembered below what is committed");
            }
            Stage::Active(active) => {
                assert!(core.epochs.current() == self.epoch, "serves in an epoch that is not durable");
                assert!(
                    !self.follows || active.acked <= core.log.flushed() || planted(Bug::AckBeforeFlush),
                    "acknowledged beyond what is durable"
                );
            }
            _ => {}
        }
    }
}

/// A packet's name, for observations.
pub(super) fn name(message: &Message) -> &'static str {
    match message {
        Message::FollowerInfo(_) => "follower info",
        Message::ObserverInfo(_) => "observer info",
        Message::LeaderInfo { .. } => "leader info",
        Message::AckEpoch { .. } => "epoch ack",
        Message::Diff { .. } => "diff",
        Message::Trunc { .. } => "trunc",
        Message::Snap { .. } => "snap",
        Message::Proposal { .. } => "proposal",
        Message::Commit { .. } => "commit",
        Message::Inform { .. } => "inform",
        Message::NewLeader { .. } => "new leader",
        Message::UpToDate => "up to date",
        Message::Ack { .. } => "ack",
        Message::Ping { .. } => "ping",
        Message::Request(_) => "request",
        Message::Sync => "sync",
        Message::Revalidate { .. } => "revalidate",
    }
}
