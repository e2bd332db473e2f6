#![forbid(unsafe_code)]
//! Leader election: whom to follow, found out by telling each other (ensemble-protocol §2; stock `FastLeaderElection`).
//! Lives on: the sequencer.
//!
//! ```text
//!            begin                    a quorum votes as we do
//!   settled ───────► looking ──────────────────────────────────► won ──┐ every linked voter heard,
//!      ▲                │ ▲      better vote, higher round, a voter    │ or finalize_wait_ms over
//!      │                │ └───────────── changes its mind ─────────────┤
//!      └────────────────┴── a quorum has a leader, who says it leads ──┴──► Elected
//! ```
//!
//! Safe is what comes after: discovery and synchronization let only a leader begin whose history is as long as that of a
//! quorum. Election has to end, to end soon, and to name a server with which they succeed. Messages may be lost,
//! repeated, reordered and late, and what they say may be damaged.
//!
//! Kept in any case:
//! - A vote that left us beats, or is, our own of that round: nobody votes for a history shorter than his own.
//! - A server without a vote (an observer, or one not admitted, reliability R11) is never counted, not even by itself,
//!   never says another vote than "none", and is never elected, whatever others remember of it.
//! - An ended election had a quorum: of this round's votes, or of servers that have that leader, the leader among them.
//!
//! Where this is not stock's way (no peer can tell):
//! - Our own vote is counted where it is made; stock sends it to itself.
//! - A won round ends as soon as every voter that is linked has the winning vote, not always after `finalizeWait`.
//!   Votes that come while it waits are counted; stock throws away those that are not better. The wait does not start
//!   anew with every message.
//! - Whoever has a worse vote in our round is told ours; in stock it waits for the next resend. After a leader's death
//!   servers begin one after the other, and what the first said the second heard when it was not looking yet.
//! - Messages do not put off the next resend: a talkative peer cannot keep us silent.
//! - A looking server answers one without a vote with its proposal; stock with what it elected the last time. It does not
//!   say the same again at once, and one without a vote does not answer those that are behind: between a stock voter and
//!   a stock observer that is ahead, each answer is answered for as long as the voter looks.
//! - A candidate that was elected and led to nothing is *doubted* in the rounds that follow: see [`Election::begin`].
//! - Numbers that no server can have are ignored (reliability M56).
//!
//! Not here: links and dialling (the shell's), the configuration that notifications carry (opaque; without
//! reconfiguration it changes nothing), the oracle of two-server ensembles.

mod ballot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use self::ballot::{Ballot, Ballots, UNSURE, beats, implausible};
use super::event::{Action, Observation};
use super::membership::Membership;
use super::message::{Notification, State, Vote};
use super::settings::Settings;
use crate::base::{Millis, ServerId};

pub use self::ballot::NO_VOTE;

/// The form of our messages: with a configuration (all releases from 3.5 on).
const VERSION: i32 = 2;

/// A server without a vote is not told the same again before this; half of stock's first resend.
const TOLD_AGAIN_MS: u64 = 100;

/// Servers without a vote that are answered in one election; ids are free for anybody to invent.
const TOLD_MAX: usize = 1024;

/// One server's part in the elections of its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Election {
    me: ServerId,
    notification_min_ms: u64,
    notification_max_ms: u64,
    finalize_wait_ms: u64,
    /// The newest round taken part in ("logical clock"). Not durable: a new process starts at 0 and is taken along.
    round: i64,
    /// Whose election link works.
    linked: BTreeSet<ServerId>,
    /// How the last election ended.
    ended: Option<Ended>,
    /// Candidates that were elected and led to nothing since we last took part in a new epoch.
    doubted: BTreeSet<ServerId>,
    looking: Option<Looking>,
}

/// What is remembered of an election that ended.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Ended {
    leader: ServerId,
    /// Our own epoch before it.
    peer_epoch: i64,
}

/// An election that goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Looking {
    since: Millis,
    /// What we would vote if there were nobody else.
    own: Vote,
    /// Whether our vote counts.
    votes: bool,
    /// The best vote of this round.
    proposal: Vote,
    /// Votes of this round (stock `recvset`).
    round_ballots: Ballots,
    /// Votes of those that have a leader, of whatever round (stock `outofelection`).
    settled_ballots: Ballots,
    /// Next time to say it again.
    resend_at: Millis,
    /// How long that wait is; it doubles and is never shortened within an election.
    resend_ms: u64,
    /// When the won round ends, while a quorum has the proposal.
    ends_at: Option<Millis>,
    /// Until when doubted candidates are passed over.
    doubt_until: Option<Millis>,
    /// What servers without a vote were told last, and when.
    told: BTreeMap<ServerId, (Ballot, Millis)>,
}

/// How an election ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Elected {
    /// Whom to follow; ourselves to lead.
    pub leader: ServerId,
    /// In which round: what answers to those that are still looking must say.
    pub round: i64,
    /// The vote that won.
    pub vote: Vote,
}

/// What a server that is not looking says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CurrentVote {
    /// Its role; not looking.
    pub state: State,
    /// The vote that made it, `peer_epoch` replaced by the epoch that came of it once that is established
    /// (stock `QuorumPeer.updateElectionVote`).
    pub vote: Vote,
    /// The round in which it was elected.
    pub round: i64,
}

impl Election {
    /// A new process: round 0, nobody linked, not looking.
    pub fn new(settings: &Settings) -> Election {
        Election {
            me: settings.me,
            notification_min_ms: settings.notification_min_ms,
            notification_max_ms: settings.notification_max_ms,
            finalize_wait_ms: settings.finalize_wait_ms,
            round: 0,
            linked: BTreeSet::new(),
            ended: None,
            doubted: BTreeSet::new(),
            looking: None,
        }
    }

    /// The newest round taken part in.
    pub fn round(&self) -> i64 {
        self.round
    }

    /// Starts looking, in a new round (stock `lookForLeader`). `own` is our vote, [`NO_VOTE`] (or any with such a
    /// leader) without one. An ensemble of one has decided at once, and says so at the next tick, which it wants now.
    ///
    /// **Doubt.** Where not everybody is linked with everybody, the best candidate may be known to all, through others,
    /// and yet be out of reach of a quorum; stock elects it again and again. So whoever was elected, and of whose
    /// leadership no new epoch came, is passed over when the next round begins; only when that one is not won within
    /// twice `notification_min_ms` is it a candidate like any other again. A quorum that can do without it goes on.
    /// (Whoever we rejoined in an epoch that we had already is doubted as well; that costs this wait at most.)
    pub fn begin(&mut self, now: Millis, own: Vote, membership: &Membership, actions: &mut Vec<Action>) {
        let member = membership.voters.contains(&self.me) && own.leader == self.me;
        if let Some(ended) = self.ended.take() {
            if !member || own.peer_epoch != ended.peer_epoch {
                self.doubted.clear();
            } else if ended.leader != self.me {
                self.doubted.insert(ended.leader);
            }
        }
        self.round += 1;
        self.looking = Some(Looking {
            since: now,
            own,
            votes: member && own.zxid != UNSURE,
            proposal: own,
            round_ballots: Ballots::default(),
            settled_ballots: Ballots::default(),
            resend_at: now,
            resend_ms: self.notification_min_ms,
            ends_at: None,
            doubt_until: None,
            told: BTreeMap::new(),
        });
        actions.push(Action::Observed(Observation::ElectionStarted { round: self.round }));
        self.enter_round(now, own, membership, actions);
        self.weigh(now, membership);
    }

    /// Looks no longer, without a leader: the vote, or the server, is given up.
    pub(super) fn give_up(&mut self) {
        self.looking = None;
    }

    /// An election message while looking. While not, see [`Election::answer`].
    pub fn notified(
        &mut self,
        now: Millis,
        from: ServerId,
        notification: &Notification,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        let looking = self.looking.as_mut()?;
        if from == self.me {
            ignore(from, "it comes under our own id", actions);
            return None;
        }
        let behind = notification.state == State::Looking && notification.round < self.round;
        if !membership.voters.contains(&from) {
            looking.tell(now, from, self.round, membership, actions);
        } else if behind && looking.votes {
            // Without a vote, ours is of no use to it.
            actions.push(looking.notify(from, self.round, membership));
        }
        if let Some(why) = self.unusable(from, notification, membership) {
            ignore(from, why, actions);
            return None;
        }
        match notification.state {
            // Answered above; for a server without a vote that was all.
            _ if !membership.voters.contains(&from) => None,
            State::Looking if behind => None,
            State::Looking => self.voted(now, from, notification, membership, actions),
            State::Following | State::Leading => self.settled(now, from, notification, membership, actions),
            State::Observing => {
                ignore(from, "the sender observes", actions);
                None
            }
        }
    }

    /// Time has passed: the end of a won round, of a doubt, or time to say it again.
    pub fn tick(
        &mut self,
        now: Millis,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        let looking = self.looking.as_mut()?;
        if looking.doubt_until.is_some_and(|until| until <= now) {
            // A round that is won without the doubted may end first.
            looking.doubt_until = looking.ends_at.filter(|ends_at| *ends_at > now);
        }
        if looking.doubt_until.is_none() && looking.ends_at.is_none() {
            // Without doubt, votes that came were taken over when they came.
            let best = looking.round_ballots.votes().fold(looking.proposal, |best, vote| {
                if beats(&vote, &best, membership) { vote } else { best }
            });
            if best != looking.proposal {
                self.propose(now, best, membership, actions);
            }
        }
        if let Some(elected) = self.decide(now, membership, actions) {
            return Some(elected);
        }
        let looking = self.looking.as_mut()?;
        if looking.resend_at <= now {
            looking.resend_ms = looking.resend_ms.saturating_mul(2).min(self.notification_max_ms);
            self.send_all(now, membership, actions);
        }
        None
    }

    /// When [`Election::tick`] is due at the latest; `None` while not looking.
    pub fn next_tick(&self) -> Option<Millis> {
        let looking = self.looking.as_ref()?;
        [Some(looking.resend_at), looking.ends_at, looking.doubt_until].into_iter().flatten().min()
    }

    /// The election link to this server works. What we said last is said again, because the old link may have lost it
    /// (stock `SendWorker`). While we are not looking nothing has to be: who looks says so again, and is answered.
    pub fn peer_up(
        &mut self,
        now: Millis,
        server: ServerId,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        self.linked.insert(server);
        let looking = self.looking.as_ref()?;
        if membership.voters.contains(&server) && server != self.me {
            actions.push(looking.notify(server, self.round, membership));
        }
        self.decide(now, membership, actions)
    }

    /// The election link to this server is gone: a won round no longer waits for it.
    pub fn peer_lost(
        &mut self,
        now: Millis,
        server: ServerId,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        self.linked.remove(&server);
        self.decide(now, membership, actions)
    }

    /// An election message while not looking (stock `Messenger.WorkerReceiver`): whoever looks, and whoever has no vote,
    /// is told what we have.
    pub fn answer(
        &self,
        from: ServerId,
        notification: &Notification,
        current: &CurrentVote,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) {
        assert!(
            self.looking.is_none(),
            "a vote of round {} answers while round {} goes on",
            current.round,
            self.round
        );
        assert!(current.state != State::Looking, "a current vote of a server that is looking");
        if from == self.me {
            return ignore(from, "it comes under our own id", actions);
        }
        let round = if !membership.voters.contains(&from) {
            // Stock's counter, which for a server that joined a running ensemble need not be that of its vote.
            self.round
        } else if notification.state == State::Looking {
            current.round
        } else {
            return;
        };
        let config = membership.document.clone();
        let notification =
            Notification { state: current.state, vote: current.vote, round, version: VERSION, config };
        actions.push(Action::Notify { to: from, notification });
    }

    /// Why a message says nothing that counts, if it does not.
    fn unusable(
        &self,
        from: ServerId,
        notification: &Notification,
        membership: &Membership,
    ) -> Option<&'static str> {
        let looking = self.looking.as_ref()?;
        let vote = &notification.vote;
        if !membership.voters.contains(&from) {
            return (!membership.observers.contains(&from)).then_some("the sender is not in the ensemble");
        }
        if !membership.voters.contains(&vote.leader) {
            return Some("its vote is not for a voter");
        }
        if let Some(why) = implausible(notification) {
            return Some(why);
        }
        if vote.leader == self.me && !looking.votes {
            // Others remember what we were before our disk was lost.
            return Some("its vote is for us, who cannot lead");
        }
        if notification.state == State::Looking {
            if looking.own.zxid == UNSURE {
                return Some("our own history may be lost");
            }
            if vote.zxid == UNSURE {
                return Some("the candidate's history may be lost");
            }
        }
        None
    }

    /// A voter that looks, in our round or ahead of it.
    fn voted(
        &mut self,
        now: Millis,
        from: ServerId,
        notification: &Notification,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        let looking = self.looking.as_mut()?;
        let vote = notification.vote;
        if notification.round > self.round {
            self.round = notification.round;
            looking.round_ballots.clear();
            let own = looking.own;
            let doubted = self.doubted.contains(&vote.leader);
            let best = if !doubted && beats(&vote, &own, membership) { vote } else { own };
            self.enter_round(now, best, membership, actions);
        } else {
            let doubted = looking.doubt_until.is_some() && self.doubted.contains(&vote.leader);
            if !doubted && beats(&vote, &looking.proposal, membership) {
                self.propose(now, vote, membership, actions);
            } else if looking.votes && beats(&looking.proposal, &vote, membership) {
                // It has not heard ours: it was not looking yet, or the message was lost.
                actions.push(looking.notify(from, self.round, membership));
            }
        }
        let looking = self.looking.as_mut()?;
        looking.round_ballots.put(from, Ballot::looking(vote, self.round));
        self.decide(now, membership, actions)
    }

    /// A voter that has a leader (stock `receivedFollowingNotification`).
    fn settled(
        &mut self,
        now: Millis,
        from: ServerId,
        notification: &Notification,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) -> Option<Elected> {
        let looking = self.looking.as_mut()?;
        let ballot = Ballot::of(notification);
        let mut joined = false;
        if ballot.round == self.round {
            // Stock keeps no version in this set, so that its members are compared with `ballot` by leader alone: in one
            // round it matters little that some already know the epoch that came of it.
            looking.round_ballots.put(from, Ballot { version: 0, ..ballot });
            joined = looking.round_ballots.establish(&ballot, self.me, self.round, membership);
        }
        looking.settled_ballots.put(from, ballot);
        if joined || looking.settled_ballots.establish(&ballot, self.me, self.round, membership) {
            self.round = ballot.round;
            return self.end(now, ballot.vote, actions);
        }
        // It may have been the last voter a won round waited for, or have taken its vote back.
        self.decide(now, membership, actions)
    }

    /// The round is new: nothing was said in it.
    fn enter_round(
        &mut self,
        now: Millis,
        proposal: Vote,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) {
        if let Some(looking) = &mut self.looking {
            let doubts = !self.doubted.is_empty();
            looking.doubt_until = doubts.then(|| now.plus(self.notification_min_ms.saturating_mul(2)));
        }
        self.propose(now, proposal, membership, actions);
        if self.looking.as_ref().is_some_and(|looking| !looking.votes) {
            self.send_all(now, membership, actions);
        }
    }

    /// Makes this our vote of the round, and says so. Without a vote there is nothing to say that is new.
    fn propose(&mut self, now: Millis, vote: Vote, membership: &Membership, actions: &mut Vec<Action>) {
        let Some(looking) = &mut self.looking else { return };
        assert!(
            !beats(&looking.own, &vote, membership),
            "server {:?} votes {vote:?}, behind its own {:?}",
            self.me,
            looking.own
        );
        looking.proposal = vote;
        looking.ends_at = None;
        if looking.votes {
            looking.round_ballots.put(self.me, Ballot::looking(vote, self.round));
            self.send_all(now, membership, actions);
        }
    }

    /// Says what we propose to all other voters, whether linked or not: the shell keeps the newest for the rest.
    fn send_all(&mut self, now: Millis, membership: &Membership, actions: &mut Vec<Action>) {
        let Some(looking) = &mut self.looking else { return };
        looking.resend_at = now.plus(looking.resend_ms);
        let others = membership.voters.iter().filter(|voter| **voter != self.me);
        actions.extend(others.map(|voter| looking.notify(*voter, self.round, membership)));
    }

    /// Whether the round is won, and until when it waits.
    fn weigh(&mut self, now: Millis, membership: &Membership) {
        let Some(looking) = &mut self.looking else { return };
        let won = Ballot::looking(looking.proposal, self.round);
        let agreeing = looking.round_ballots.agreeing(&won);
        if !membership.is_quorum(&agreeing) {
            looking.ends_at = None;
            return;
        }
        let mut linked = self.linked.iter().filter(|server| membership.voters.contains(server));
        let ends_at = looking.ends_at.unwrap_or(now.plus(self.finalize_wait_ms));
        let awaits = linked.any(|voter| *voter != self.me && !agreeing.contains(voter));
        looking.ends_at = Some(if awaits { ends_at } else { now.min(ends_at) });
    }

    /// Ends a won round that has nothing to wait for any more.
    fn decide(&mut self, now: Millis, membership: &Membership, actions: &mut Vec<Action>) -> Option<Elected> {
        self.weigh(now, membership);
        let looking = self.looking.as_ref()?;
        if looking.ends_at.is_some_and(|ends_at| ends_at <= now) {
            return self.end(now, looking.proposal, actions);
        }
        None
    }

    fn end(&mut self, now: Millis, vote: Vote, actions: &mut Vec<Action>) -> Option<Elected> {
        let looking = self.looking.take()?;
        let (leader, round) = (vote.leader, self.round);
        assert!(leader != self.me || looking.votes, "server {leader:?} elects itself and cannot lead");
        self.ended = Some(Ended { leader, peer_epoch: looking.own.peer_epoch });
        let took_ms = now.since(looking.since);
        actions.push(Action::Observed(Observation::Elected { leader, round, took_ms }));
        Some(Elected { leader, round, vote })
    }
}

impl Looking {
    /// What this server says of itself: its vote, or, without one, that it has none, whatever it waits for.
    fn says(&self) -> Vote {
        if self.votes { self.proposal } else { self.own }
    }

    fn notify(&self, to: ServerId, round: i64, membership: &Membership) -> Action {
        let config = membership.document.clone();
        let notification =
            Notification { state: State::Looking, vote: self.says(), round, version: VERSION, config };
        Action::Notify { to, notification }
    }

    /// Answers a server without a vote, unless it was told the same just now.
    fn tell(
        &mut self,
        now: Millis,
        to: ServerId,
        round: i64,
        membership: &Membership,
        actions: &mut Vec<Action>,
    ) {
        let ballot = Ballot::looking(self.says(), round);
        let known = self.told.get(&to);
        if known.is_some_and(|(told, at)| *told == ballot && now.since(*at) < TOLD_AGAIN_MS) {
            return ignore(to, "it was told the same just now", actions);
        }
        if known.is_none() && self.told.len() >= TOLD_MAX {
            return ignore(to, "too many servers without a vote ask", actions);
        }
        self.told.insert(to, (ballot, now));
        actions.push(self.notify(to, round, membership));
    }
}

fn ignore(from: ServerId, why: &'static str, actions: &mut Vec<Action>) {
    actions.push(Action::Observed(Observation::Ignored { from: Some(from), what: "notification", why }));
}
