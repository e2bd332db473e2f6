#![forbid(unsafe_code)]
//! Who belongs to the ensemble, and which sets of servers may decide (ensemble-protocol §1.5; stock `QuorumMaj`,
//! `QuorumHierarchical`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::message::Payload;
use crate::base::ServerId;
use crate::base::planted::{Bug, planted};

/// The configured servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// Servers with a vote.
    pub voters: BTreeSet<ServerId>,
    /// Servers without.
    pub observers: BTreeSet<ServerId>,
    /// How voters are counted.
    pub quorum: Quorum,
    /// The configuration as text, for notifications and NEWLEADER; opaque here.
    pub document: Payload,
    /// Its version; 0 without reconfiguration.
    pub version: i64,
}

/// When a set of voters is a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Quorum {
    /// More than half of them.
    Majority,
    /// More than half of the weight in more than half of the groups.
    Hierarchical {
        /// Group of each voter.
        group: BTreeMap<ServerId, i64>,
        /// Weight of each server; 1 for one not named. A server of weight 0 never leads.
        weight: BTreeMap<ServerId, i64>,
    },
}

impl Membership {
    /// A majority quorum of these, the text built by the caller.
    pub fn majority(voters: &[i64], observers: &[i64], document: &[u8]) -> Membership {
        Membership {
            voters: voters.iter().copied().map(ServerId).collect(),
            observers: observers.iter().copied().map(ServerId).collect(),
            quorum: Quorum::Majority,
            document: Rc::from(document),
            version: 0,
        }
    }

    /// Whether these, of which only voters count, may decide.
    pub fn is_quorum(&self, servers: &BTreeSet<ServerId>) -> bool {
        let counted = || self.voters.iter().filter(|voter| servers.contains(voter));
        match &self.quorum {
            _ if planted(Bug::GroupsAreIgnored) => counted().count() > self.voters.len() / 2,
            Quorum::Majority => counted().count() > self.voters.len() / 2,
            Quorum::Hierarchical { group, .. } => {
                // Weight in all, and of those that count, by group; a group without weight does not count.
                let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
                for voter in &self.voters {
                    let Some(group) = group.get(voter) else { continue };
                    groups.entry(*group).or_default().0 += self.weight(*voter);
                }
                for voter in counted() {
                    let Some(group) = group.get(voter) else { continue };
                    groups.entry(*group).or_default().1 += self.weight(*voter);
                }
                groups.retain(|_, (all, _)| *all > 0);
                let won = groups.values().filter(|(all, counted)| *counted > all / 2).count();
                won > groups.len() / 2
            }
        }
    }

    /// A voter's weight; 0 for whoever has no vote.
    pub fn weight(&self, server: ServerId) -> i64 {
        match &self.quorum {
            _ if !self.voters.contains(&server) => 0,
            Quorum::Majority => 1,
            Quorum::Hierarchical { weight, .. } => weight.get(&server).copied().unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(membership: &Membership, servers: &[i64], expected: bool) {
        let servers: BTreeSet<ServerId> = servers.iter().copied().map(ServerId).collect();
        assert_eq!(membership.is_quorum(&servers), expected, "{servers:?} of {membership:?}");
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        let three = Membership::majority(&[1, 2, 3], &[4, 5], b"");
        check(&three, &[], false);
        check(&three, &[1], false);
        check(&three, &[1, 3], true);
        check(&three, &[1, 4, 5], false);
        let four = Membership::majority(&[1, 2, 3, 4], &[], b"");
        check(&four, &[1, 2], false);
        check(&four, &[1, 2, 4], true);
        check(&Membership::majority(&[7], &[], b""), &[7], true);
    }

    #[test]
    fn groups_and_weights_decide_as_stocks_do() {
        let pairs = |pairs: &[(i64, i64)]| pairs.iter().map(|(server, n)| (ServerId(*server), *n)).collect();
        let group = pairs(&[(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 3), (8, 3), (9, 3)]);
        let mut nine = Membership::majority(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[], b"");
        nine.quorum = Quorum::Hierarchical { group, weight: pairs(&[(7, 0), (8, 0), (9, 0)]) };
        // The third group has no weight: both others are needed.
        check(&nine, &[1, 2, 7, 8, 9], false);
        check(&nine, &[1, 2, 4, 5], true);
        check(&nine, &[1, 2, 3, 4], false);
        assert_eq!(nine.weight(ServerId(7)), 0);
        assert_eq!(nine.weight(ServerId(1)), 1);
    }
}
