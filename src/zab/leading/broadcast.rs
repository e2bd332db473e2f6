#![forbid(unsafe_code)]
//! Broadcast: proposals, their acks, their commits (ensemble-protocol §3.9; stock `Leader.propose`, `processAck`,
//! `tryToCommit`).

use std::collections::BTreeSet;

use super::Leading;
use crate::base::planted::{Bug, planted};
use crate::base::{Millis, ServerId, Zxid};
use crate::zab::core::{Core, ignored};
use crate::zab::event::Action;
use crate::zab::message::{LinkId, Message, Payload};

/// A txn that is not decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Proposal {
    pub(super) zxid: Zxid,
    /// Voters that have it durably. An ack of a later one says nothing of this one.
    pub(super) acks: BTreeSet<ServerId>,
}

impl Leading {
    /// Broadcasts a txn. It leaves for the followers before it goes to the own disk: both work at the same time.
    pub(super) fn propose(
        &mut self,
        core: &mut Core,
        now: Millis,
        zxid: Zxid,
        payload: Payload,
        actions: &mut Vec<Action>,
    ) {
        let expected = self.next_zxid(core);
        assert!(expected == Some(zxid), "proposal {zxid}, expected was {expected:?}");
        self.proposed = zxid;
        self.outstanding.push_back(Proposal { zxid, acks: BTreeSet::new() });
        if planted(Bug::OwnAckBeforeFlush) {
            self.outstanding.back_mut().map(|proposal| proposal.acks.insert(core.me()));
        }
        for (link, learner) in self.learners.iter_mut() {
            let is_left_out = planted(Bug::JoiningAreLeftOut) && !learner.is_up();
            if learner.follows && learner.is_forwarded() && !is_left_out {
                if learner.votes && learner.is_synced() {
                    learner.proposals.sent(now, zxid);
                }
                let message = Message::Proposal { zxid, payload: payload.clone() };
                actions.push(Action::Send { link: *link, message });
            }
        }
        self.disk.sent(now, zxid);
        core.log.append(zxid, payload, actions);
    }

    /// Our own acks arise from our own flush, as everybody's.
    pub(super) fn on_flushed(&mut self, core: &mut Core, zxid: Zxid, actions: &mut Vec<Action>) {
        self.disk.answered(zxid);
        let me = core.me();
        for proposal in self.outstanding.iter_mut().take_while(|proposal| proposal.zxid <= zxid) {
            proposal.acks.insert(me);
        }
        self.advance(core, actions);
    }

    pub(super) fn on_ack(
        &mut self,
        core: &mut Core,
        link: LinkId,
        zxid: Zxid,
        actions: &mut Vec<Action>,
    ) -> Result<(), &'static str> {
        let Some(learner) = self.learners.get_mut(&link) else { return Ok(()) };
        if !learner.follows {
            return Err("an observer acknowledges a proposal");
        }
        if zxid > self.proposed {
            return Err("acknowledges what was not proposed");
        }
        learner.proposals.answered(zxid);
        let (Some(server), true) = (learner.server, learner.votes) else {
            ignored(learner.server, "ack", "it has no vote", actions);
            return Ok(());
        };
        // Committed already, or a part of what we began with.
        let Some(oldest) =
            self.outstanding.front().map(|proposal| proposal.zxid).filter(|oldest| *oldest <= zxid)
        else {
            return Ok(());
        };
        // Outstanding zxids are contiguous.
        let at = (zxid.0 - oldest.0) as usize;
        if let Some(proposal) = self.outstanding.get_mut(at) {
            assert!(proposal.zxid == zxid, "proposal {} stands at the place of {zxid}", proposal.zxid);
            proposal.acks.insert(server);
        }
        self.advance(core, actions);
        Ok(())
    }

    /// Commits what a quorum has, in order.
    pub(super) fn advance(&mut self, core: &mut Core, actions: &mut Vec<Action>) {
        let mut committed = None;
        while let Some(oldest) = self.outstanding.front() {
            let is_enough = planted(Bug::MinorityCommits) && !oldest.acks.is_empty();
            if !core.membership.is_quorum(&oldest.acks) && !is_enough {
                break;
            }
            let zxid = oldest.zxid;
            self.outstanding.pop_front();
            committed = Some(zxid);
            for (link, learner) in self.learners.iter_mut().filter(|(_, learner)| learner.is_forwarded()) {
                let message = match core.log.history().get(zxid) {
                    _ if learner.follows => Message::Commit { zxid },
                    Some(payload) => Message::Inform { zxid, payload: payload.clone() },
                    None => unreachable!("what is not committed is in memory"),
                };
                let told = learner.commits(zxid, message);
                actions.extend(told.map(|message| Action::Send { link: *link, message }));
            }
        }
        if let Some(zxid) = committed {
            core.log.commit(zxid, actions);
            // Those whose last txn was not decided.
            for link in self.learners.decided(zxid) {
                self.synchronize(core, link, actions);
            }
        }
        self.answer_syncs(core, actions);
    }
}
