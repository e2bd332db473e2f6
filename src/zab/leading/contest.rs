#![forbid(unsafe_code)]
//! Two servers of one id (reliability F28, S28). Stock takes the newer link for the same server come back, so that two that
//! have one id by mistake push each other out for ever, and what one of them has is counted as if the other had it.
//!
//! A server that comes back has given its old link up before: it answers nothing on it any more. So whoever comes with the
//! id of a learner that serves waits until that one's link is lost, and is taken in; or for a tick, and is refused if the
//! other has answered a ping that left after it came. It waits in any case, because a stock server that is refused is
//! back within milliseconds.

use super::Leading;
use crate::base::Millis;
use crate::zab::core::Core;
use crate::zab::event::Action;
use crate::zab::learners::refused;
use crate::zab::message::{LearnerInfo, LinkId};

/// Who waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Contender {
    pub(super) info: LearnerInfo,
    pub(super) follows: bool,
    /// The link of the learner with its id.
    pub(super) against: LinkId,
    /// The first round of pings that left after it came.
    pub(super) round: u64,
    pub(super) until: Millis,
}

impl Leading {
    /// Refuses or takes in whoever need not wait any more.
    pub(super) fn settle(&mut self, core: &mut Core, now: Millis, actions: &mut Vec<Action>) {
        for (link, contender) in std::mem::take(&mut self.contenders) {
            let Contender { info, follows, against, round, until } = contender;
            if !self.learners.contains_key(&link) {
                continue;
            }
            let first = self.learners.get(&against);
            let reason = match first {
                Some(_) if now < until => {
                    self.contenders.insert(link, contender);
                    continue;
                }
                Some(first) if first.confirmed >= round => {
                    "another server has this id, and answers: give one of the two another myid"
                }
                _ => {
                    if first.is_some() {
                        self.drop_learner(core, against, "it has a newer link", actions);
                    }
                    match self.introduced(core, now, link, info, follows, actions) {
                        Ok(()) => continue,
                        Err(reason) => reason,
                    }
                }
            };
            actions.push(refused(&info, link, reason));
            self.drop_learner(core, link, reason, actions);
        }
    }
}
