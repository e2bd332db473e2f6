#![forbid(unsafe_code)]
//! Votes: which is better, which are the same, who agrees (ensemble-protocol §2.3; stock `Vote`,
//! `FastLeaderElection.totalOrderPredicate`, `getVoteTracker`, `checkLeader`).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::planted::{Bug, planted};
use crate::base::{ServerId, Zxid};
use crate::zab::membership::Membership;
use crate::zab::message::{Notification, State, Vote};

/// The vote of a server that has none: an observer, or one that is not admitted (reliability R11).
pub const NO_VOTE: Vote = Vote { leader: ServerId(i64::MIN), zxid: Zxid(i64::MIN), peer_epoch: i64::MIN };

/// The zxid of a server that cannot say whether it lost its history.
pub(super) const UNSURE: Zxid = Zxid(-1);

/// Epochs at and above this are nobody's: an epoch is a signed 32-bit number on the wire, and even with a leader every
/// second the last 2^20 of them are 68 years away. Whoever names one is damaged (reliability M56).
const EPOCH_END: i64 = (1 << 31) - (1 << 20);

/// Rounds at and above this are nobody's. Taken over, one would leave no room for the elections to come.
const ROUND_END: i64 = 1 << 62;

/// A vote as it came: with the sender's role and round, and the form of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ballot {
    pub(super) state: State,
    pub(super) vote: Vote,
    pub(super) round: i64,
    pub(super) version: i32,
}

impl Ballot {
    pub(super) fn of(notification: &Notification) -> Ballot {
        let Notification { state, vote, round, version, .. } = *notification;
        Ballot { state, vote, round, version }
    }

    pub(super) fn looking(vote: Vote, round: i64) -> Ballot {
        Ballot { state: State::Looking, vote, round, version: 0 }
    }

    /// Whether two ballots are for the same election of the same leader (stock `Vote.equals`).
    ///
    /// While one of the two senders is looking, everything must be the same. Two that have a leader may remember
    /// different zxids and rounds of it (ZOOKEEPER-1805), and where just one of them speaks the oldest form, different
    /// epochs as well (ZOOKEEPER-1732).
    pub(super) fn agrees(&self, other: &Ballot) -> bool {
        if self.state == State::Looking || other.state == State::Looking {
            return self.vote == other.vote && self.round == other.round;
        }
        let mixed = (self.version > 0) != (other.version > 0);
        self.vote.leader == other.vote.leader && (mixed || self.vote.peer_epoch == other.vote.peer_epoch)
    }
}

/// Whether `vote` beats `other`: by epoch, then zxid, then id. One for a server of weight 0 beats nothing.
pub(super) fn beats(vote: &Vote, other: &Vote, membership: &Membership) -> bool {
    let zxid = |vote: &Vote| if planted(Bug::VotesIgnoreZxids) { Zxid::ZERO } else { vote.zxid };
    let rank = |vote: &Vote| (vote.peer_epoch, zxid(vote), vote.leader);
    membership.weight(vote.leader) != 0 && rank(vote) > rank(other)
}

/// Why numbers of a notification cannot be true, if they cannot.
pub(super) fn implausible(notification: &Notification) -> Option<&'static str> {
    let Notification { vote, round, .. } = notification;
    if !(0..ROUND_END).contains(round) {
        return Some("no server has this round");
    }
    if !(UNSURE.0..EPOCH_END << 32).contains(&vote.zxid.0) {
        return Some("no server has this zxid");
    }
    // A history that may be lost may come with an epoch derived from it: -1. Such votes are left out for that reason.
    let epochs = if vote.zxid == UNSURE { -1..EPOCH_END } else { 0..EPOCH_END };
    (!epochs.contains(&vote.peer_epoch)).then_some("no server has this epoch")
}

/// The newest ballot of each voter.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ballots(BTreeMap<ServerId, Ballot>);

impl Ballots {
    pub(super) fn put(&mut self, voter: ServerId, ballot: Ballot) {
        self.0.insert(voter, ballot);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Who agrees with this ballot.
    pub(super) fn agreeing(&self, ballot: &Ballot) -> BTreeSet<ServerId> {
        self.0.iter().filter(|(_, other)| ballot.agrees(other)).map(|(voter, _)| *voter).collect()
    }

    /// Whether a quorum has the leader of this ballot, and that leader says so itself (stock `checkLeader`): otherwise
    /// all would elect again and again whom they remember, though it is dead. If it is we, who are in `round`, it has to
    /// be of this round.
    pub(super) fn establish(
        &self,
        ballot: &Ballot,
        me: ServerId,
        round: i64,
        membership: &Membership,
    ) -> bool {
        let leader = ballot.vote.leader;
        let leads = self.0.get(&leader).is_some_and(|ballot| ballot.state == State::Leading);
        let confirmed = if leader == me { ballot.round == round } else { leads };
        confirmed && membership.is_quorum(&self.agreeing(ballot))
    }

    /// The votes of those that are looking.
    pub(super) fn votes(&self) -> impl Iterator<Item = Vote> + '_ {
        self.0.values().filter(|ballot| ballot.state == State::Looking).map(|ballot| ballot.vote)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn vote(leader: i64, peer_epoch: i64, zxid: i64) -> Vote {
        Vote { leader: ServerId(leader), zxid: Zxid(zxid), peer_epoch }
    }

    #[test]
    fn votes_are_ordered_by_epoch_then_zxid_then_id() {
        let three = Membership::majority(&[1, 2, 3], &[], b"");
        // Each beats the one before it, and none the other way round.
        let ascending = [
            NO_VOTE,
            vote(3, 0, 9),
            vote(1, 1, 7),
            vote(2, 1, 7),
            vote(1, 1, 8),
            vote(3, 1, 8),
            vote(1, 2, 0),
        ];
        for (at, lower) in ascending.iter().enumerate() {
            assert!(!beats(lower, lower, &three), "{lower:?} beats itself");
            for higher in &ascending[at + 1..] {
                assert!(beats(higher, lower, &three), "{higher:?} does not beat {lower:?}");
                assert!(!beats(lower, higher, &three), "{lower:?} beats {higher:?}");
            }
        }
    }

    #[test]
    fn two_ballots_agree_as_stocks_votes_are_equal() {
        use State::{Following, Leading, Looking};
        let ballot = |state, vote, round, version| Ballot { state, vote, round, version };
        let check = |one: Ballot, other: Ballot, expected: bool| {
            assert_eq!(one.agrees(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.agrees(&one), expected, "{other:?} {one:?}");
        };
        let looking = ballot(Looking, vote(3, 1, 7), 4, 2);
        check(looking, looking, true);
        check(looking, ballot(Looking, vote(3, 1, 7), 4, 0), true);
        check(looking, ballot(Following, vote(3, 1, 7), 4, 2), true);
        check(looking, ballot(Looking, vote(2, 1, 7), 4, 2), false);
        check(looking, ballot(Looking, vote(3, 2, 7), 4, 2), false);
        check(looking, ballot(Looking, vote(3, 1, 8), 4, 2), false);
        check(looking, ballot(Looking, vote(3, 1, 7), 5, 2), false);
        check(looking, ballot(Leading, vote(3, 1, 7), 5, 2), false);
        let following = ballot(Following, vote(3, 5, 7), 4, 2);
        check(following, ballot(Leading, vote(3, 5, 99), 8, 2), true);
        check(following, ballot(Leading, vote(3, 6, 7), 4, 2), false);
        check(following, ballot(Leading, vote(2, 5, 7), 4, 2), false);
        check(following, ballot(Leading, vote(3, 6, 7), 4, 0), true);
        check(ballot(Following, vote(3, 5, 7), 4, 0), ballot(Leading, vote(3, 6, 7), 4, 0), false);
    }

    #[test]
    fn numbers_near_the_end_are_nobodys_m56() {
        let check = |vote: Vote, round: i64, expected: Option<&str>| {
            let config = Rc::from(*b"");
            let notification = Notification { state: State::Looking, vote, round, version: 2, config };
            assert_eq!(implausible(&notification), expected, "{notification:?}");
        };
        let (zxid, epoch, round) = (
            Some("no server has this zxid"),
            Some("no server has this epoch"),
            Some("no server has this round"),
        );
        check(vote(1, 0, 0), 0, None);
        check(vote(1, 7, -1), 1, None);
        check(vote(1, -1, -1), 1, None);
        check(vote(1, EPOCH_END - 1, (EPOCH_END << 32) - 1), ROUND_END - 1, None);
        check(vote(1, 0, i64::MAX), 1, zxid);
        check(vote(1, 0, EPOCH_END << 32), 1, zxid);
        check(vote(1, 0, -2), 1, zxid);
        check(vote(1, EPOCH_END, 0), 1, epoch);
        check(vote(1, i64::MAX, 0), 1, epoch);
        check(vote(1, -1, 0), 1, epoch);
        check(vote(1, -1, -1), i64::MAX, round);
        check(vote(1, 0, 0), ROUND_END, round);
        check(vote(1, 0, 0), -1, round);
    }
}
