#![forbid(unsafe_code)]
//! Pings, and the syncs that wait for one (reliability P5, ZOOKEEPER-1675).
//!
//! A sync is answered when everything proposed before it is committed, and when a quorum has answered a ping that left
//! after it came: a leader that was replaced without knowing it cannot get that. Pings leave in rounds, one to each
//! learner; an answer names no ping, but a link keeps its order, so that the n-th answer is to the n-th ping.
//!
//! A learner hears the answer to its sync after the commits of what was proposed before, and before any later commit, as
//! from stock, which asks no quorum: later commits wait for it, on that link alone.

use std::collections::{BTreeSet, VecDeque};

use super::Leading;
use crate::base::planted::{Bug, planted};
use crate::base::{ServerId, Zxid};
use crate::zab::core::Core;
use crate::zab::event::Action;
use crate::zab::learner::Learner;
use crate::zab::learners::Asker;
use crate::zab::message::{LinkId, Message, Payload};

/// Syncs that wait, oldest first, and the rounds they wait for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Confirm {
    syncs: VecDeque<Waiting>,
    /// Rounds begun, and the newest of them that a quorum answered.
    begun: u64,
    confirmed: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Waiting {
    asker: Asker,
    /// What was proposed before.
    proposed: Zxid,
    /// The first round that begins after.
    round: u64,
}

impl Confirm {
    pub(super) fn waiting(&self) -> usize {
        self.syncs.len()
    }

    /// This learner is gone.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.syncs.retain(|sync| sync.asker != Asker::Learner(link));
    }
}

impl Leading {
    pub(super) fn ask(&mut self, core: &mut Core, asker: Asker, actions: &mut Vec<Action>) {
        let known = match asker {
            Asker::Client(_) => self.phase == super::Phase::Active,
            Asker::Learner(link) => match self.learners.get_mut(&link).filter(|learner| learner.is_up()) {
                Some(learner) => {
                    learner.asks_sync(self.proposed);
                    true
                }
                None => false,
            },
        };
        if !known {
            return;
        }
        let round = self.confirm.begun + 1;
        self.confirm.syncs.push_back(Waiting { asker, proposed: self.proposed, round });
        self.begin_round(core, actions);
    }

    /// Starts a round for those that wait for one, unless a quorum is still to answer the last one: what comes meanwhile
    /// shares the next.
    fn begin_round(&mut self, core: &mut Core, actions: &mut Vec<Action>) {
        let wanted = self.confirm.syncs.back().is_some_and(|sync| sync.round > self.confirm.begun);
        let (begun, confirmed) = (self.confirm.begun, self.confirm.confirmed);
        if wanted && (confirmed == begun || !self.may_be_confirmed(core, begun)) {
            self.ping(core, actions);
        }
    }

    /// Whether enough have answered the ping of this round, or have it before them. A round may have begun before they were
    /// up, or have lost its links.
    fn may_be_confirmed(&self, core: &Core, round: u64) -> bool {
        let has_it = |l: &&Learner| l.votes && (l.confirmed >= round || l.pings.back() >= Some(&round));
        let asked = self.learners.values().filter(has_it);
        let servers: BTreeSet<ServerId> = asked.filter_map(|l| l.server).chain([core.me()]).collect();
        core.membership.is_quorum(&servers)
    }

    /// A round of pings, and its number. Those that leave before UPTODATE are not answered, and keep the link alive.
    pub(super) fn ping(&mut self, core: &mut Core, actions: &mut Vec<Action>) -> u64 {
        self.confirm.begun += 1;
        let round = self.confirm.begun;
        let zxid = self.proposed;
        for (link, learner) in self.learners.iter_mut().filter(|(_, learner)| learner.is_forwarded()) {
            if learner.is_up() {
                learner.pings.push_back(self.confirm.begun);
            }
            let message = Message::Ping { zxid, touched: Payload::from([]) };
            actions.push(Action::Send { link: *link, message });
        }
        self.count_round(core, actions);
        round
    }

    pub(super) fn on_pong(
        &mut self,
        core: &mut Core,
        link: LinkId,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        learner.confirmed = learner.pings.pop_front().ok_or("answers a ping that was not sent")?;
        self.count_round(core, actions);
        Ok(())
    }

    fn count_round(&mut self, core: &mut Core, actions: &mut Vec<Action>) {
        // The newest round that a quorum answered: one of those somebody answered last. We always agree with ourselves.
        let rounds = self.learners.values().map(|learner| learner.confirmed).chain([self.confirm.begun]);
        let confirmed = rounds.filter(|round| {
            let answered = self.learners.values().filter(|l| l.votes && l.confirmed >= *round);
            let servers: BTreeSet<ServerId> = answered.filter_map(|l| l.server).chain([core.me()]).collect();
            core.membership.is_quorum(&servers)
        });
        self.confirm.confirmed = self.confirm.confirmed.max(confirmed.max().unwrap_or(0));
        self.answer_syncs(core, actions);
        self.begin_round(core, actions);
    }

    pub(super) fn answer_syncs(&mut self, core: &Core, actions: &mut Vec<Action>) {
        let (confirmed, committed) = (self.confirm.confirmed, self.horizon(core));
        while let Some(sync) = self.confirm.syncs.front() {
            let decided = sync.proposed <= committed || sync.proposed.counter() == 0;
            let is_confirmed = sync.round <= confirmed || planted(Bug::SyncsAskNobody);
            if !is_confirmed || !decided {
                break;
            }
            match sync.asker {
                Asker::Client(tag) => actions.push(Action::Synced(tag)),
                Asker::Learner(link) => {
                    let waited = self.learners.get_mut(&link).map(Learner::sync_answered);
                    let told = [Message::Sync].into_iter().chain(waited.into_iter().flatten());
                    actions.extend(told.map(|message| Action::Send { link, message }));
                }
            }
            self.confirm.syncs.pop_front();
        }
    }
}
