#![forbid(unsafe_code)]
//! Whom an observer learns from (stock `QuorumPeer.findLearnerMaster`, `nextObserverMaster`, `Observer`'s delays): its
//! leader, or, where `observerMasterPort` is set, a follower.
//!
//! The voters stand in an order that is each observer's own. Whoever was tried last is tried again after all the others.
//!
//! Where this is not stock's way: the leader is passed over, since it does not listen on that port; and when nobody else
//! could be learned from, the leader serves, at its quorum port. A stock observer goes round until a follower is there.

use super::message::Port;
use crate::base::{ServerId, splitmix64};

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Masters {
    /// Voters; empty where the leader alone is learned from.
    order: Vec<ServerId>,
    next: usize,
    /// Tried since one served.
    failed: usize,
    /// State of a splitmix generator.
    random: u64,
}

/// Where to connect to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Master {
    pub(super) server: ServerId,
    pub(super) port: Port,
    /// Whether everybody else was tried in vain, or there is nobody else.
    pub(super) last: bool,
}

impl Masters {
    /// With these candidates, in any order.
    pub(super) fn new(candidates: impl IntoIterator<Item = ServerId>, seed: u64) -> Masters {
        let order = candidates.into_iter().collect();
        let mut masters = Masters { order, next: 0, failed: 0, random: seed };
        // Fisher and Yates.
        for at in (1..masters.order.len()).rev() {
            let other = masters.below(at as u64 + 1) as usize;
            masters.order.swap(at, other);
        }
        masters
    }

    /// The next one to try, under this leader.
    pub(super) fn choose(&mut self, leader: ServerId) -> Master {
        let others = self.order.iter().filter(|server| **server != leader).count();
        if self.failed >= others {
            self.failed = 0;
            return Master { server: leader, port: Port::Quorum, last: true };
        }
        self.failed += 1;
        loop {
            let server = self.order[self.next % self.order.len()];
            self.next = (self.next + 1) % self.order.len();
            if server != leader {
                return Master { server, port: Port::Observers, last: false };
            }
        }
    }

    /// The one chosen last serves.
    pub(super) fn serves(&mut self) {
        self.failed = 0;
    }

    /// A wait below `max_ms`, so that not all observers come at once.
    pub(super) fn wait_ms(&mut self, max_ms: u64) -> u64 {
        if max_ms == 0 { 0 } else { self.below(max_ms) }
    }

    fn below(&mut self, end: u64) -> u64 {
        splitmix64(&mut self.random) % end
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn masters(ids: &[i64], seed: u64) -> Masters {
        Masters::new(ids.iter().map(|id| ServerId(*id)), seed)
    }

    #[test]
    fn without_the_port_the_leader_is_the_only_master() {
        let mut masters = masters(&[], 7);
        for leader in [2, 2, 3] {
            let server = ServerId(leader);
            assert_eq!(masters.choose(server), Master { server, port: Port::Quorum, last: true });
        }
    }

    #[test]
    fn every_follower_is_tried_before_the_leader_and_then_again() {
        for seed in 0..50 {
            let mut masters = masters(&[1, 2, 3, 4], seed);
            let mut round = || -> Vec<i64> {
                let tried = (0..4).map(|_| masters.choose(ServerId(2)));
                tried.inspect(|m| assert_eq!(m.last, m.port == Port::Quorum)).map(|m| m.server.0).collect()
            };
            let (first, second) = (round(), round());
            assert_eq!(first, second);
            assert_eq!(first[3], 2);
            assert_eq!(BTreeSet::from_iter(first), BTreeSet::from([1, 2, 3, 4]));
        }
    }

    #[test]
    fn who_served_is_tried_again_after_the_others() {
        let mut masters = masters(&[1, 2, 3], 5);
        let first = masters.choose(ServerId(9));
        masters.serves();
        let second = masters.choose(ServerId(9));
        masters.serves();
        let third = masters.choose(ServerId(9));
        masters.serves();
        assert_eq!(masters.choose(ServerId(9)), first);
        let tried = BTreeSet::from([first.server.0, second.server.0, third.server.0]);
        assert_eq!(tried, BTreeSet::from([1, 2, 3]));
    }

    #[test]
    fn orders_differ_and_waits_stay_below_their_bound() {
        let first = |seed| masters(&[1, 2, 3], seed).choose(ServerId(9)).server;
        assert_eq!((0..50).map(first).collect::<BTreeSet<_>>().len(), 3);
        let mut masters = masters(&[], 1);
        let waits: BTreeSet<u64> = (0..1000).map(|_| masters.wait_ms(5)).collect();
        assert_eq!(waits, (0..5).collect());
        assert_eq!(masters.wait_ms(0), 0);
    }
}
