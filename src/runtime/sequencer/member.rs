#![forbid(unsafe_code)]
//! A member of an ensemble: what zab wants done, what links, disk and images report, and what the role means for this
//! server's clients.
//!
//! ```text
//! links, keeper, images ──► events ──► zab ──► actions ──► links, log, keeper, images, clients
//! ```
//!
//! Lives on: the sequencer. Events that come of performing actions wait until all actions before them are performed, so
//! that the order of `zab::event` holds. Not here: bytes and sockets (`runtime/peers`), epochs and reads of the log
//! (`runtime/keeper.rs`), whole states (`runtime/images`).

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::read_only::Patience;
use super::refused::Refused;
use super::underway::Underway;
use super::{Clocks, DiskShard, Entry, EpochKeeper, ImageMover, Origin, Sequencer, World};
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, ShardId, WallMillis, Zxid};
use crate::pipeline::Pipeline;
use crate::runtime::disk::Job;
use crate::runtime::fatal::{Fatal, fatal};
use crate::runtime::images::{ImageOut, ImageReport};
use crate::runtime::keeper::KeeperReport;
use crate::runtime::messages::{Outcome, Serving};
use crate::runtime::metrics::{BroadcastMetrics, Distribution};
use crate::runtime::peers::{PeerEvent, Peers};
use crate::runtime::sys::SocketEvent;
use crate::storage::snapshot::Received;
use crate::wire::jute::Reader;
use crate::wire::txn::TxnHeader;
use crate::zab::event::{Observation, Role};
use crate::zab::membership::Membership;
use crate::zab::message::{LinkId, Message, Payload};
use crate::zab::{Action, Event};

/// What only a member has.
pub(super) struct Member<W: World> {
    pub(super) peers: Peers,
    keeper: W::Keeper,
    images: W::Images,
    /// The link to our leader, or the one it is to become.
    leader: Option<LinkId>,
    /// Images to be taken, in the order of their zxids.
    due: VecDeque<DueImage>,
    /// When zab was last told that an image moves.
    moved: HashMap<LinkId, Millis, ahash::RandomState>,
    /// Whose state is being installed: what comes of it is the only way on.
    pub(super) installing: Option<LinkId>,
    /// A received state, durable, while the log is made to go on from it.
    installed: Option<Installed>,
    tick_ms: u64,
    pub(super) patience: Patience,
    resigned: bool,
    /// Without a role since then; and synchronized with a leader since then.
    unavailable_since: Millis,
    syncing_since: Option<Millis>,
    refused: Refused,
    /// The configuration as clients read it, and its version.
    document: Rc<str>,
    version: i64,
}

/// An image to be taken as soon as its zxid is applied.
struct DueImage {
    link: LinkId,
    zxid: Zxid,
    /// Its link asks for the first piece already.
    wanted: bool,
}

/// A state that is to take the place of ours.
struct Installed {
    link: LinkId,
    zxid: Zxid,
    state: Box<Pipeline>,
    snapshot_bytes: u64,
}

impl<W: World> Member<W> {
    pub(super) fn new(
        peers: Peers,
        keeper: W::Keeper,
        images: W::Images,
        tick_ms: u64,
        patience: Patience,
        membership: &Membership,
        now: Millis,
    ) -> Member<W> {
        Member {
            document: String::from_utf8_lossy(&membership.document).into(),
            version: membership.version,
            peers,
            keeper,
            images,
            leader: None,
            due: VecDeque::new(),
            // Looked up by key, never iterated.
            moved: HashMap::default(),
            installing: None,
            installed: None,
            tick_ms,
            patience,
            resigned: false,
            unavailable_since: now,
            syncing_since: None,
            refused: Refused::default(),
        }
    }
}

impl<W: World> Sequencer<W> {
    /// Tells zab what happened and does what it wants.
    pub(super) fn step(&mut self, now: Millis, event: Event) {
        self.later(event);
        self.run_events(now);
    }

    /// Tells zab with the next step: for what comes of performing an action.
    pub(super) fn later(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn run_events(&mut self, now: Millis) {
        assert!(
            !std::mem::replace(&mut self.stepping, true),
            "an event is stepped while actions are performed"
        );
        while let Some(event) = self.events.pop_front() {
            let mut actions = std::mem::take(&mut self.actions);
            self.zab.step(now, event, &mut actions);
            for action in actions.drain(..) {
                self.perform(action, now);
            }
            self.actions = actions;
        }
        self.stepping = false;
    }

    /// What happened outside since the last turn. Whether anything did.
    pub(super) fn member_turn(&mut self, now: Millis) -> bool {
        let Some(member) = &mut self.member else { return false };
        member.peers.tick(&mut self.io, now);
        let mut busy = !self.events.is_empty();
        self.run_events(now);
        while let Some(event) = self.member.as_mut().and_then(|member| member.peers.take()) {
            busy = true;
            self.on_peer(event, now);
        }
        while let Some(report) = self.member.as_mut().and_then(|member| member.keeper.take()) {
            busy = true;
            let event = match report {
                KeeperReport::EpochSaved { accepted, current } => Event::EpochSaved { accepted, current },
                KeeperReport::Admitted => Event::Admitted,
                KeeperReport::Disowned => Event::Disowned,
                KeeperReport::LogRead { link, txns } => {
                    let shared = |txns: Vec<(Zxid, Box<[u8]>)>| {
                        txns.into_iter().map(|(zxid, payload)| (zxid, Payload::from(payload))).collect()
                    };
                    Event::LogRead { link, txns: txns.map(shared) }
                }
            };
            self.step(now, event);
        }
        while let Some(report) = self.member.as_mut().and_then(|member| member.images.take()) {
            busy = true;
            self.on_image(report, now);
        }
        if self.zab.next_tick().is_some_and(|tick| tick <= now) {
            self.step(now, Event::Tick);
        }
        self.read_only_if_due(now);
        busy
    }

    /// What happened on the members' sockets.
    pub(super) fn on_sockets(&mut self, events: Vec<SocketEvent>) {
        let Some(member) = &mut self.member else { return };
        let now = self.clock.now();
        for event in events {
            member.peers.on_socket(&mut self.io, now, event);
        }
    }

    /// Whether keeper or images have something to say.
    pub(super) fn has_report(&mut self) -> bool {
        let Some(member) = &mut self.member else { return false };
        member.keeper.has_report() || member.images.has_report()
    }

    /// What was sent in this turn leaves with it.
    pub(super) fn flush_links(&mut self) {
        if let Some(member) = &mut self.member {
            member.peers.flush(&mut self.io);
        }
    }

    /// When a member has something to do at the latest.
    pub(super) fn member_due(&self) -> Option<Millis> {
        let member = self.member.as_ref()?;
        let read_only = self.read_only_due();
        self.zab.next_tick().into_iter().chain(member.peers.next_tick()).chain(read_only).min()
    }

    fn on_peer(&mut self, event: PeerEvent, now: Millis) {
        match event {
            PeerEvent::Zab(event) => {
                if let (Event::LinkLost { link } | Event::LinkBroken { link }, Some(member)) =
                    (&event, &mut self.member)
                {
                    member.forget(*link);
                }
                if let Event::Received { link, message: Message::Ack { zxid } } = &event {
                    self.count_ack(*link, *zxid);
                }
                let relayed = self.relayed(&event);
                let begun = relayed.map(|_| self.clock.now());
                self.step(now, event);
                if let (Some(relayed), Some(begun)) = (relayed, begun) {
                    let took_us = self.clock.now().since(begun).saturating_mul(1000);
                    relayed(&mut self.metrics.broadcast).record_us(took_us);
                }
            }
            PeerEvent::ImageRoom { link } => {
                if let Some(member) = &mut self.member {
                    match member.due.iter_mut().find(|due| due.link == link) {
                        Some(due) => due.wanted = true,
                        None => member.images.room(link),
                    }
                }
                self.image_moved(link, now);
            }
            PeerEvent::ImageBytes { link, bytes } => {
                if let Some(member) = &mut self.member {
                    member.images.bytes(link, bytes);
                }
                self.image_moved(link, now);
            }
        }
    }

    /// Where it is counted what this takes, if it is a leader's word that concerns observers as well.
    fn relayed(&self, event: &Event) -> Option<fn(&mut BroadcastMetrics) -> &mut Distribution> {
        let Event::Received { link, message } = event else { return None };
        let counted: fn(&mut BroadcastMetrics) -> &mut Distribution = match message {
            Message::Proposal { .. } => |metrics| &mut metrics.relayed_proposal,
            Message::Commit { .. } => |metrics| &mut metrics.relayed_commit,
            _ => return None,
        };
        (self.leader_link() == Some(*link) && self.zab.serves_observers()).then_some(counted)
    }

    /// Zab hears of the first piece, and then once in a while: a link that carries an image is not silent.
    fn image_moved(&mut self, link: LinkId, now: Millis) {
        let Some(member) = &mut self.member else { return };
        let last = member.moved.get(&link);
        if last.is_none_or(|last| now.since(*last) >= member.tick_ms / 2) {
            member.moved.insert(link, now);
            self.step(now, Event::SnapMoved { link });
        }
    }

    fn on_image(&mut self, report: ImageReport, now: Millis) {
        let Some(member) = &mut self.member else { return };
        match report {
            ImageReport::Chunk { link, bytes, last } => {
                member.peers.send_image(link, bytes);
                if last {
                    member.peers.finish_image(link);
                    member.moved.remove(&link);
                    self.step(now, Event::SnapSent { link });
                }
            }
            ImageReport::Taken { link } => member.peers.image_taken(&mut self.io, link),
            ImageReport::Received { link, rest } => {
                member.peers.end_image(&mut self.io, link, rest);
                member.moved.remove(&link);
                self.step(now, Event::SnapReceived { link });
            }
            ImageReport::Bad { link, why } if member.installing == Some(link) => fatal(
                Fatal::Invariant,
                &format!(
                    "the state that the leader sent is not what its txns say: {why}; the one before it is untouched on disk, and a restart asks for another"
                ),
            ),
            ImageReport::Bad { link, why } => {
                tracing::warn!(?link, why, "a whole state cannot be sent or used; the link is closed");
                self.lose_link(link);
            }
            ImageReport::Installed { link, zxid, state, snapshot_bytes } => {
                assert!(member.installed.is_none(), "one state is installed at a time");
                member.installed = Some(Installed { link, zxid, state, snapshot_bytes });
                // What it holds is not known to be decided before a commit says so, and the log records only what is.
                self.committed = self.committed.min(zxid);
                self.wal.restart(zxid);
            }
            ImageReport::InstallFailed { link: _, why } => fatal(
                Fatal::Storage,
                &format!(
                    "a state received from the leader cannot be made durable: {why}; the one before it is untouched. Is the disk full?"
                ),
            ),
        }
    }

    /// The log goes on from an installed state, durably: the state takes the place of the one before.
    pub(super) fn log_restarted(&mut self, now: Millis) {
        // Nobody is served meanwhile: whatever was logged is void, and none of it was asked for here.
        assert!(!self.serving.is_serving(), "a state is replaced while clients are served");
        let Some(member) = &mut self.member else { return };
        let installed = member.installed.take().expect("the log is restarted for an installed state");
        member.installing = None;
        let Installed { link, zxid, state, snapshot_bytes } = installed;
        self.entries.clear();
        let leftover = self.pipeline.adopt(*state);
        member.images.discard(leftover);
        assert!(self.pipeline.applied() == zxid, "a state of {zxid} is at {}", self.pipeline.applied());
        self.disk.send(Job::Received(zxid));
        self.snapshots.installed(snapshot_bytes);
        self.step(now, Event::SnapInstalled { link, zxid });
    }

    /// The connection is given up, and zab told.
    pub(super) fn lose_link(&mut self, link: LinkId) {
        if let Some(member) = &mut self.member {
            member.forget(link);
            member.peers.close(&mut self.io, link);
            self.later(Event::LinkLost { link });
        }
    }

    pub(super) fn leader_link(&self) -> Option<LinkId> {
        self.member.as_ref()?.leader
    }

    fn perform(&mut self, action: Action, now: Millis) {
        let action = match action {
            Action::Append { zxid, payload } => return self.append(zxid, payload, now),
            Action::Commit(zxid) => return self.commit(zxid),
            action => action,
        };
        let Some(member) = &mut self.member else {
            fatal(Fatal::Invariant, "a server without an ensemble does what only a member of one does")
        };
        match action {
            Action::Append { .. } | Action::Commit(_) => unreachable!("performed above"),
            Action::Notify { to, notification } => {
                member.peers.notify(&mut self.io, now, to, &notification);
            }
            Action::Connect { link, to, port } => {
                member.leader = Some(link);
                member.peers.connect(&mut self.io, now, link, (to, port));
            }
            Action::Listen(port, on) => {
                // Those that came through it are closed with it, and nothing is reported of them.
                for link in member.peers.listen(&mut self.io, port, on) {
                    if !planted(Bug::StatesOutliveRoles) {
                        member.forget(link);
                    }
                }
            }
            Action::Close { link } => {
                member.forget(link);
                member.peers.close(&mut self.io, link);
            }
            Action::Send { link, message } => member.peers.send(link, &message),
            Action::AnswerPing { link, zxid } => {
                let answer = self.answer_ping(link, zxid);
                self.later(answer);
            }
            Action::SendSnap { link, zxid } => {
                member.peers.begin_image(link);
                member.due.push_back(DueImage { link, zxid, wanted: false });
            }
            Action::ReceiveSnap { link, zxid } => {
                member.images.receive(link, zxid);
                member.peers.receive_image(link);
            }
            Action::InstallSnap { link, zxid, txns } => {
                let txns = txns.into_iter().map(|(zxid, payload)| (zxid, Box::from(&*payload))).collect();
                // The log is at rest: nothing is written before the restart.
                let log_from = self.wal.restart_segment();
                member.installing = Some(link);
                member.images.install(link, zxid, txns, Received { log_from, confirmed: self.committed });
            }
            Action::DropSnap { link } => member.images.drop_image(link),
            Action::ReadLog { link, after, up_to } => {
                let instead = self.snapshots.snapshot_bytes();
                member.keeper.read_log(link, self.wal.span(after), after, up_to, instead);
            }
            Action::Truncate(to) => self.truncate(to),
            Action::SaveEpoch { accepted, current } => member.keeper.save_epoch(accepted, current),
            Action::Admit => member.keeper.admit(),
            Action::Disown => member.keeper.disown(),
            Action::Became(role) => self.became(role, now),
            Action::Requested { link, learner: _, forwarded } if self.serving.learns() => {
                self.pass_on_request(link, forwarded);
            }
            Action::Requested { link, learner: _, forwarded } => self.requested(link, forwarded),
            Action::Touched { link, learner: _, sessions } => self.heard_of(link, &sessions, now),
            Action::Revalidate { link, body } => {
                if !self.serving.learns() {
                    self.revalidation_asked(link, &body, now);
                } else if self.leader_link() == Some(link) {
                    self.revalidated(&body, now);
                } else {
                    self.pass_on_revalidation(link, &body);
                }
            }
            Action::Synced(tag) => self.synced(tag),
            Action::LearnerLost { link, learner: _ } => self.learner_lost(link),
            Action::Observed(observation) => {
                if matches!(observation, Observation::Syncing { .. }) {
                    member.syncing_since = Some(now);
                }
                let figures = self.zab.figures();
                self.metrics.member.observed(&observation, figures.snaps, figures.diffs);
                if let Observation::LearnerRefused { learner, link, reason } = observation
                    && let Some(left_out) = member.refused.may_log(now, learner, reason)
                {
                    tracing::error!(
                        learner = learner.map(|server| server.0),
                        address = member.peers.address(link).map(tracing::field::display),
                        left_out,
                        "refused a server: {reason}"
                    );
                }
                observe(&observation);
                self.look(&observation, now);
            }
            Action::Fail(failure) => fatal(
                Fatal::Invariant,
                &format!(
                    "{failure:?}: this server and its leader disagree about what was decided; stopping rather than guessing. Compare the servers' data before it is started again"
                ),
            ),
        }
    }

    fn append(&mut self, zxid: Zxid, payload: Payload, now: Millis) {
        self.wal.append(zxid, &payload);
        match self.serving {
            // What an observer is told is decided already.
            Serving::Alone | Serving::No | Serving::ReadOnly | Serving::Observing => {}
            Serving::Leading(_) => self.metrics.member.proposed(payload.len()),
            Serving::Following => self.metrics.member.proposal_received(),
        }
        self.count_logged(zxid, &payload);
        let origin = self.proposing.take();
        self.entries.push_back(Entry::Txn { zxid, payload, origin, submitted: now });
    }

    fn commit(&mut self, zxid: Zxid) {
        match self.serving {
            Serving::Alone | Serving::No | Serving::ReadOnly => {}
            Serving::Leading(_) => {
                // Within an epoch numbers follow each other.
                let txns = zxid.0.saturating_sub(self.committed.max(Zxid::from_parts(zxid.epoch(), 0)).0);
                self.metrics.member.committed(txns.unsigned_abs());
            }
            Serving::Following | Serving::Observing => self.metrics.member.commit_received(),
        }
        self.count_decided(zxid);
        self.committed = zxid;
    }

    /// While a member serves: when the txn was made, for figures.
    fn count_logged(&mut self, zxid: Zxid, payload: &[u8]) {
        if matches!(self.serving, Serving::Alone | Serving::No) {
            return;
        }
        // What does not decode is found out when it is applied.
        let Ok(header) = TxnHeader::decode(&mut Reader::new(payload)) else { return };
        let made = WallMillis(header.time);
        if self.serving == Serving::Following {
            self.metrics.broadcast.proposal_received(made, self.clock.wall());
        }
        self.underway.logged(zxid, made);
    }

    fn count_decided(&mut self, up_to: Zxid) {
        if self.underway.is_empty() {
            return;
        }
        let leads = matches!(self.serving, Serving::Leading(_));
        let (now, broadcast) = (self.clock.wall(), &mut self.metrics.broadcast);
        self.underway.decide(up_to, |made| match leads {
            true => broadcast.decided(made, now),
            false => broadcast.commit_received(made, now),
        });
    }

    /// A learner acknowledged a txn. As in stock, only what is not decided yet counts.
    fn count_ack(&mut self, link: LinkId, zxid: Zxid) {
        if let (Serving::Leading(_), Some(member)) = (self.serving, &self.member)
            && let (Some(learner), Some(made)) = (member.peers.learner(link), self.underway.undecided(zxid))
        {
            self.metrics.broadcast.acknowledged(learner, made, self.clock.wall());
        }
    }

    /// Our own disk has everything up to here.
    pub(super) fn member_flushed(&mut self, up_to: Zxid) {
        let Some(member) = &self.member else { return };
        let leads = matches!(self.serving, Serving::Leading(_));
        // An observer acknowledges nothing.
        let acknowledges = leads || self.serving == Serving::Following;
        let (me, now, broadcast) = (member.peers.me(), self.clock.wall(), &mut self.metrics.broadcast);
        self.underway.flush(up_to, |made, undecided| {
            if acknowledges {
                broadcast.durable(made, now);
            }
            if leads && undecided {
                broadcast.acknowledged(me, made, now);
            }
        });
    }

    /// What is behind `to` was never decided, and never applied.
    fn truncate(&mut self, to: Zxid) {
        self.entries.retain(|entry| matches!(entry, Entry::Txn { zxid, .. } if *zxid <= to));
        self.flushed = self.flushed.min(to);
        if planted(Bug::CutIsForgotten) {
            return self.events.push_back(Event::Truncated(to));
        }
        self.wal.cut(to);
    }

    fn became(&mut self, role: Role, now: Millis) {
        let serving = match role {
            Role::Looking => Serving::No,
            Role::Leading(epoch) => Serving::Leading(epoch),
            Role::Following(_) => Serving::Following,
            Role::Observing(_) => Serving::Observing,
        };
        tracing::info!(role = ?role, zxid = %self.committed, "role");
        self.underway = Underway::default();
        self.end_read_only();
        if serving.is_serving() {
            assert!(!self.serving.is_serving(), "from one role to the next only by way of none");
            // What the history holds is decided and durable here: clients find all of it.
            while self.apply_committed(now) {}
            self.write_config_node();
            self.pipeline.forget_prepared();
            self.pipeline.sessions().reload(now);
            self.serving = serving;
            if matches!(serving, Serving::Leading(_)) {
                self.metrics.member.led();
            }
            if let Some(member) = &mut self.member {
                let synced = member.syncing_since.take().map_or(0, |since| now.since(since));
                self.metrics.member.serves(role, now.since(member.unavailable_since), synced);
            }
        } else {
            // What is decided by now is answered, if it is durable here: a leader that hands over says it in the same breath.
            while self.apply_committed(now) {}
            self.serving = serving;
            if let Some(member) = &mut self.member {
                member.unavailable_since = now;
            }
            self.forget_clients();
        }
        self.tell_serving();
    }

    /// Every shard hears what the server is to its clients.
    pub(super) fn tell_serving(&mut self) {
        let (zxid, serving) = (self.pipeline.applied(), self.serving);
        for shard in 0..self.shards.len() {
            self.push(ShardId(shard as u8), Outcome::Serving { zxid, serving });
        }
        self.ring_doorbells();
    }

    /// The configuration is no txn: each server writes its own before it serves.
    pub(super) fn write_config_node(&mut self) {
        if let Some(member) = &self.member {
            let (document, now) = (member.document.clone(), self.clock.wall());
            self.pipeline.set_config_node(&document, member.version, now);
        }
    }

    /// There is no leader: what clients asked and was not answered is nobody's any more. What is logged stays.
    fn forget_clients(&mut self) {
        let zxid = self.pipeline.applied();
        for entry in std::mem::take(&mut self.entries) {
            match entry {
                Entry::Txn { zxid, payload, origin, submitted } => {
                    match origin {
                        Some(Origin::Request(shard, ticket) | Origin::Ephemeral(shard, ticket)) => {
                            self.moved(shard, ticket);
                        }
                        Some(Origin::NewSession(to, _)) => self.hang_up(to.shard, to.connection),
                        None => {}
                    }
                    self.entries.push_back(Entry::Txn { zxid, payload, origin: None, submitted });
                }
                Entry::Barrier(shard, outcome) => self.push(shard, outcome.withdrawn(zxid)),
                Entry::Ephemerals { shard, ticket, .. } => self.moved(shard, ticket),
            }
        }
        if let Some((shard, write)) = self.postponed.take() {
            self.moved(shard, write.ticket);
        }
        self.forget_asked();
        self.forget_led();
        self.pipeline.sessions().end_locals();
        self.pipeline.forget_prepared();
    }

    /// Takes the images whose zxid has come.
    pub(super) fn images_due(&mut self) {
        let applied = self.pipeline.applied();
        let Some(member) = &mut self.member else { return };
        let mut refused = Vec::new();
        while member.due.front().is_some_and(|due| due.zxid <= applied)
            && let Some(DueImage { link, zxid, wanted }) = member.due.pop_front()
        {
            assert!(zxid == applied, "an image of {zxid} is due at {applied}");
            match ImageOut::of(&mut self.pipeline) {
                Some(out) => {
                    member.images.send(link, out);
                    if wanted {
                        member.images.room(link);
                    }
                }
                None => {
                    tracing::warn!(
                        ?link,
                        "too many states are on their way to other servers: this one comes again"
                    );
                    refused.push(link);
                }
            }
        }
        for link in refused {
            self.lose_link(link);
        }
    }

    /// Nothing later may be applied before the oldest image that is due was taken.
    pub(super) fn image_bound(&self) -> Zxid {
        let Some(member) = &self.member else { return Zxid::MAX };
        let leads = matches!(self.serving, Serving::Leading(_));
        if planted(Bug::StatesHoldTxns) && leads && !member.moved.is_empty() {
            return self.pipeline.applied();
        }
        member.due.front().map_or(Zxid::MAX, |due| due.zxid)
    }

    /// The server stops: a leader hands over first. Whether there is nothing to wait for.
    pub(super) fn resign(&mut self, now: Millis) -> bool {
        let Some(member) = &mut self.member else { return true };
        if !std::mem::replace(&mut member.resigned, true) {
            self.step(now, Event::Resign);
        }
        !matches!(self.serving, Serving::Leading(_))
    }
}

impl<W: World> Member<W> {
    /// The link is gone, or about to be: so are its images.
    fn forget(&mut self, link: LinkId) {
        self.due.retain(|due| due.link != link);
        self.moved.remove(&link);
        self.images.drop_image(link);
        if self.leader == Some(link) {
            self.leader = None;
        }
    }
}

/// One line for each thing that an operator may want to know afterwards.
fn observe(observation: &Observation) {
    match observation {
        Observation::ElectionStarted { round } => tracing::info!(round, "looking for a leader"),
        Observation::Elected { leader, round, took_ms } => {
            tracing::info!(leader = leader.0, round, took_ms, "elected");
        }
        Observation::EpochProposed(epoch) => tracing::info!(epoch = epoch.0, "proposing an epoch"),
        Observation::LearnerSyncing { learner, mode, from, to } => {
            tracing::info!(learner = learner.0, ?mode, %from, %to, "bringing a server up to date");
        }
        Observation::LearnerSynced { learner, .. } => {
            tracing::info!(learner = learner.0, "a server is up to date");
        }
        Observation::LearnerDropped { learner, reason } => {
            tracing::warn!(learner = learner.0, reason, "a server is let go");
        }
        // Logged with its address, and not each time.
        Observation::LearnerRefused { .. } => {}
        Observation::Syncing { leader, mode, from } => {
            tracing::info!(leader = leader.0, ?mode, %from, "being brought up to date");
        }
        Observation::SteppedDown { reason } => tracing::warn!(reason, "the role has ended"),
        Observation::LeaderContradicts { leader, times, reason } => tracing::error!(
            leader = leader.0,
            times,
            reason,
            "leaders contradict themselves, or what this server holds, again and again; compare the servers' releases and data. It is tried again in a while"
        ),
        Observation::Ignored { from, what, why } => {
            tracing::debug!(from = from.map(|server| server.0), what, why, "ignored a message");
        }
    }
}
