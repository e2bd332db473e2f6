#![forbid(unsafe_code)]
//! What a server has in every role: who it is, what its disk holds, its part in elections.

use super::election::{Election, NO_VOTE};
use super::event::{Action, Event, Observation};
use super::log::{Epochs, Log};
use super::masters::Masters;
use super::membership::Membership;
use super::message::{LinkId, Vote};
use super::settings::{Durable, Settings};
use crate::base::planted::{Bug, planted};
use crate::base::{Epoch, Millis, ServerId, Zxid};

/// Epochs at and above this are nobody's: an epoch is a signed 32-bit number on the wire, and the leader of the next one
/// has to have a number left. Whoever names one is damaged (reliability M56).
const EPOCH_END: Epoch = Epoch((1 << 31) - (1 << 20));

/// The role has to be given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Leave {
    /// Why.
    pub(super) reason: &'static str,
    /// Whether it is because the leader did what no leader does (reliability M58).
    pub(super) contradicted: bool,
}

impl Leave {
    /// It is over, as roles may be.
    pub(super) fn over(reason: &'static str) -> Leave {
        Leave { reason, contradicted: false }
    }

    /// What the leader sent contradicts itself, or us.
    pub(super) fn contradicted(reason: &'static str) -> Leave {
        Leave { reason, contradicted: true }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Core {
    pub(super) settings: Settings,
    pub(super) membership: Membership,
    pub(super) election: Election,
    pub(super) log: Log,
    pub(super) epochs: Epochs,
    /// Whether this server may vote, durably (reliability R11).
    pub(super) admitted: bool,
    /// The vote is given up when the ensemble turns out not to be new.
    provisional: bool,
    /// The disk was told that it may, or that it may not.
    admitting: bool,
    /// The own state cannot be continued from: a leader has to send all of its own.
    pub(super) needs_image: bool,
    /// Where the last diff was to lead to. Nothing goes by it (ZOOKEEPER-2355), unless that bug is planted.
    pub(super) announced: Zxid,
    /// The server is stopping: no role is taken up any more.
    pub(super) resigning: bool,
    /// Highest epoch that a voter is known to have accepted: the next one we propose is above it.
    pub(super) accepted_by_voters: Epoch,
    /// Where an observer finds who serves it.
    pub(super) masters: Masters,
    links: u64,
}

impl Core {
    pub(super) fn new(settings: Settings, membership: Membership, durable: Durable) -> Core {
        let epochs = Epochs::new(durable.accepted, durable.current);
        // Who has a vote learns from its leader, even while it may not vote.
        let by_masters = settings.observer_masters && !membership.voters.contains(&settings.me);
        let candidates = membership.voters.iter().copied().filter(|_| by_masters);
        Core {
            masters: Masters::new(candidates, settings.seed),
            election: Election::new(&settings),
            epochs,
            admitted: durable.admitted,
            provisional: durable.provisional,
            admitting: false,
            log: Log::new(durable, settings.history_txns_max, settings.history_bytes_max),
            needs_image: false,
            announced: Zxid::ZERO,
            resigning: false,
            accepted_by_voters: Epoch(0),
            links: 0,
            settings,
            membership,
        }
    }

    pub(super) fn me(&self) -> ServerId {
        self.settings.me
    }

    /// Whether our votes and acks count: never an observer's, never those of a server that may have lost what it
    /// promised (Z13).
    pub(super) fn may_vote(&self) -> bool {
        self.admitted && self.membership.voters.contains(&self.me())
    }

    /// Our vote in an election, from durable things only (ZOOKEEPER-2845, -790).
    pub(super) fn own_vote(&self) -> Vote {
        assert!(self.is_idle(), "a vote while the disk is at work");
        if !self.may_vote() {
            return NO_VOTE;
        }
        let peer_epoch = i64::from(self.epochs.current().0);
        Vote { leader: self.me(), zxid: self.log.last(), peer_epoch }
    }

    /// Where our log ends, as a leader is told.
    pub(super) fn position(&self) -> Zxid {
        if planted(Bug::DiffIsBelieved) && self.announced > self.log.flushed() {
            return self.announced;
        }
        if self.needs_image { Zxid::ZERO } else { self.log.flushed() }
    }

    /// Whether the disk has reported everything it was told.
    pub(super) fn is_idle(&self) -> bool {
        self.log.is_idle() && self.epochs.is_idle() && !self.admitting
    }

    pub(super) fn admit(&mut self, actions: &mut Vec<Action>) {
        self.admitting = true;
        actions.push(Action::Admit);
    }

    pub(super) fn on_admitted(&mut self) {
        assert!(self.admitting, "admission reported that was not asked for");
        self.admitting = false;
        self.admitted = true;
    }

    /// Whether this shows that the ensemble has had a leader, of which this server knows nothing though it has a vote: it
    /// may have lost what it promised. A server that was never told of an epoch votes in none but the first, so the
    /// epoch is what tells; data alone may be those of a single server that is about to become an ensemble.
    pub(super) fn is_doubtful(&self, event: &Event) -> bool {
        let Event::Notified { from, notification } = event else { return false };
        self.provisional
            && self.may_vote()
            && self.epochs.accepted() == Epoch(0)
            && self.log.last() == Zxid::ZERO
            && self.membership.voters.contains(from)
            && notification.vote.peer_epoch > 0
    }

    /// Gives the vote up, at once; it counts again when a leader has brought this server up to date.
    pub(super) fn disown(&mut self, actions: &mut Vec<Action>) {
        (self.admitted, self.provisional, self.admitting) = (false, false, true);
        actions.push(Action::Disown);
    }

    pub(super) fn on_disowned(&mut self) {
        assert!(self.admitting && !self.admitted, "a vote given up that was not asked for");
        self.admitting = false;
    }

    /// Whether it is configured to observe.
    pub(super) fn is_observer(&self) -> bool {
        !self.membership.voters.contains(&self.me())
    }

    /// A number for a link that we open.
    pub(super) fn new_link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(LinkId::OURS | self.links)
    }

    pub(super) fn init_ms(&self) -> u64 {
        self.settings.init_limit.saturating_mul(self.settings.tick_ms)
    }

    pub(super) fn sync_ms(&self) -> u64 {
        self.settings.sync_limit.saturating_mul(self.settings.tick_ms)
    }

    pub(super) fn invariants(&self) {
        self.log.invariants();
        assert!(self.epochs.accepted() >= self.epochs.current(), "Z12");
    }
}

/// Whether some server may have this epoch.
pub(super) fn plausible(epoch: Epoch) -> bool {
    epoch < EPOCH_END
}

/// The oldest thing that was not answered, and since when, in constant space: when that is answered, the newest one
/// takes its place (stock `SyncLimitCheck`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Awaited {
    oldest: Option<(Zxid, Millis)>,
    newest: Option<(Zxid, Millis)>,
}

impl Awaited {
    pub(super) fn sent(&mut self, now: Millis, zxid: Zxid) {
        match self.oldest {
            None => self.oldest = Some((zxid, now)),
            Some(_) => self.newest = Some((zxid, now)),
        }
    }

    /// Everything up to `zxid` was answered.
    pub(super) fn answered(&mut self, zxid: Zxid) {
        if self.oldest.is_some_and(|(oldest, _)| oldest <= zxid) {
            self.oldest = self.newest.take().filter(|(newest, _)| *newest > zxid);
        }
    }

    /// Since when the oldest one waits.
    pub(super) fn since(&self) -> Option<Millis> {
        self.oldest.map(|(_, since)| since)
    }
}

pub(super) fn ignored(
    from: Option<ServerId>,
    what: &'static str,
    why: &'static str,
    actions: &mut Vec<Action>,
) {
    actions.push(Action::Observed(Observation::Ignored { from, what, why }));
}
