#![forbid(unsafe_code)]
//! A follower that serves observers, so that the leader need not (ensemble-protocol §11.3; stock `ObserverMaster`).
//!
//! It opens a port of its own when it serves, and closes it, with every link, when it does not any more. What observers
//! are brought up to date with is what is committed here; from then on each commit goes to them as INFORM. What they ask
//! goes to the leader on the follower's own link, and is answered in the order asked.
//!
//! Everything of the leader's epoch that an observer has was decided: where this server has not heard of it yet, the
//! observer waits until it has. It must not be cut (stock cuts it, and the observer goes back in time).

use super::Figures;
use super::core::{Core, ignored};
use super::event::{Action, Event, Observation};
use super::learner::{Learner, Stage};
use super::learners::{Learners, Source, refused};
use super::learning::name;
use super::message::{LearnerInfo, LinkId, Message, Payload, Port};
use crate::base::{Epoch, Millis, Zxid};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ObserverMaster {
    /// The leader's.
    epoch: Epoch,
    learners: Learners,
    ping_at: Millis,
}

impl ObserverMaster {
    /// Opens the port.
    pub(super) fn open(core: &Core, now: Millis, epoch: Epoch, actions: &mut Vec<Action>) -> ObserverMaster {
        actions.push(Action::Listen(Port::Observers, true));
        let ping_at = now.plus(core.settings.tick_ms / 2);
        ObserverMaster { epoch, learners: Learners::default(), ping_at }
    }

    /// Closes it, and all links.
    pub(super) fn close(self, actions: &mut Vec<Action>) {
        actions.push(Action::Listen(Port::Observers, false));
    }

    pub(super) fn next_tick(&self) -> Millis {
        self.ping_at
    }

    pub(super) fn count(&self, figures: &mut Figures) {
        figures.serves_observers = true;
        self.learners.count(figures);
    }

    /// Whether this link is of an observer that serves.
    pub(super) fn is_up(&self, link: LinkId) -> bool {
        self.learners.get(&link).is_some_and(Learner::is_up)
    }

    /// What happened on links of observers.
    pub(super) fn step(&mut self, core: &Core, now: Millis, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Accepted { link } => self.learners.accept(link, now),
            Event::LinkLost { link } => self.lose(link, "the link is lost", actions),
            Event::LinkBroken { link } => {
                self.lose(link, "what came of it is no packet, or was altered on its way", actions)
            }
            Event::Received { link, message } => {
                if self.learners.contains_key(&link)
                    && let Err(reason) = self.on_message(core, now, link, message, actions)
                {
                    self.drop_learner(link, reason, actions);
                }
            }
            Event::SnapMoved { link } | Event::SnapSent { link } => {
                if let Some(learner) = self.learners.get_mut(&link) {
                    learner.heard = now;
                }
            }
            Event::LogRead { link, txns } => {
                if let Err(reason) = self.learners.on_log_read(core, link, txns, self.source(core), actions) {
                    self.drop_learner(link, reason, actions);
                }
            }
            Event::Send { link, message } if self.is_up(link) => actions.push(Action::Send { link, message }),
            // Of a link that is gone.
            _ => {}
        }
    }

    pub(super) fn on_tick(&mut self, core: &Core, now: Millis, actions: &mut Vec<Action>) {
        for (link, reason) in self.learners.late(core, now, true) {
            self.drop_learner(link, reason, actions);
        }
        if self.ping_at <= now {
            self.ping_at = now.plus(core.settings.tick_ms / 2);
            let zxid = core.log.committed();
            for (link, _) in self.learners.iter().filter(|(_, learner)| learner.is_forwarded()) {
                let message = Message::Ping { zxid, touched: Payload::from([]) };
                actions.push(Action::Send { link: *link, message });
            }
        }
    }

    /// This txn was committed just now.
    pub(super) fn committed(
        &mut self,
        core: &Core,
        zxid: Zxid,
        payload: &Payload,
        actions: &mut Vec<Action>,
    ) {
        for (link, _) in self.learners.iter().filter(|(_, learner)| learner.is_forwarded()) {
            let message = Message::Inform { zxid, payload: payload.clone() };
            actions.push(Action::Send { link: *link, message });
        }
        for link in self.learners.decided(zxid) {
            self.synchronize(core, link, actions);
        }
    }

    /// Whether a commit concerns anybody.
    pub(super) fn is_idle(&self) -> bool {
        self.learners.is_empty()
    }

    fn source(&self, core: &Core) -> Source {
        Source { horizon: core.log.committed(), epoch: self.epoch }
    }

    fn drop_learner(&mut self, link: LinkId, reason: &'static str, actions: &mut Vec<Action>) {
        actions.push(Action::Close { link });
        self.lose(link, reason, actions);
    }

    fn lose(&mut self, link: LinkId, reason: &'static str, actions: &mut Vec<Action>) {
        let Some(learner) = self.learners.remove(&link) else { return };
        let Some(server) = learner.server else { return };
        actions.push(Action::Observed(Observation::LearnerDropped { learner: server, reason }));
        if learner.is_up() {
            actions.push(Action::LearnerLost { link, learner: server });
        }
    }

    fn synchronize(&mut self, core: &Core, link: LinkId, actions: &mut Vec<Action>) {
        if let Err(reason) = self.learners.synchronize(core, link, Vec::new(), self.source(core), actions) {
            self.drop_learner(link, reason, actions);
        }
    }

    fn on_message(
        &mut self,
        core: &Core,
        now: Millis,
        link: LinkId,
        message: Message,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.heard = now;
        let (stage, server) = (learner.stage, learner.server);
        match (stage, message) {
            (Stage::Connected, Message::ObserverInfo(info)) => {
                let taken = self.on_info(core, link, info, actions);
                taken.inspect_err(|reason| actions.push(refused(&info, link, reason)))
            }
            (Stage::Connected, Message::FollowerInfo(_)) => {
                Err("it would follow: only observers are served here")
            }
            (Stage::Offered, Message::AckEpoch { last, .. }) => {
                let ahead = last.epoch() == self.epoch && last > core.log.committed();
                learner.stage =
                    if ahead { Stage::Undecided { last } } else { Stage::Agreed { last, reads: 0 } };
                self.synchronize(core, link, actions);
                Ok(())
            }
            (Stage::Syncing | Stage::Synced | Stage::Up, Message::Ack { zxid }) => {
                if zxid.counter() != 0 {
                    return Err("an observer acknowledges a proposal");
                }
                if self.learners.on_new_leader_ack(link, zxid, self.epoch, actions) {
                    self.learners.raise(link, now, actions);
                }
                Ok(())
            }
            (
                Stage::Up,
                message @ (Message::Ping { .. } | Message::Request(_) | Message::Revalidate { .. }),
            ) => {
                self.learners.pass_on(link, message, actions);
                Ok(())
            }
            // An old answer to a ping that came before UPTODATE, from a learner that should have ignored it.
            (_, Message::Ping { .. }) => Ok(()),
            (_, message) => {
                ignored(server, name(&message), "not in this phase", actions);
                Err("sent something out of phase")
            }
        }
    }

    fn on_info(
        &mut self,
        core: &Core,
        link: LinkId,
        info: LearnerInfo,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let server = self.learners.introduce(core, &info)?;
        if info.accepted > self.epoch {
            return Err("it has accepted a later epoch");
        }
        // It is back before we noticed that it was gone.
        if let Some(old) = self.learners.link_of(server) {
            self.drop_learner(old, "it has a newer link", actions);
        }
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.server = Some(server);
        self.learners.offer(link, self.epoch, actions);
        Ok(())
    }
}
