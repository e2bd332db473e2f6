#![forbid(unsafe_code)]
//! One peer and its actions: given this, exactly that.

use std::rc::Rc;

use super::cluster::{Txn, settings};
use crate::base::{Epoch, Millis, ServerId, Zxid};
use crate::zab::event::{Action, Event};
use crate::zab::membership::Membership;
use crate::zab::message::{LearnerInfo, LinkId, Message, Notification, Payload, Port, State, Vote};
use crate::zab::settings::Durable;
use crate::zab::{Peer, settings::Settings};

pub(super) fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::from_parts(Epoch(epoch), counter)
}

/// The bytes of the txn at this zxid.
pub(super) fn payload(zxid: Zxid) -> Payload {
    Rc::from(zxid.0.to_be_bytes())
}

pub(super) fn txns(zxids: &[Zxid]) -> Vec<Txn> {
    zxids.iter().map(|zxid| (*zxid, payload(*zxid))).collect()
}

pub(super) fn proposal(zxid: Zxid) -> Message {
    Message::Proposal { zxid, payload: payload(zxid) }
}

pub(super) fn commit(zxid: Zxid) -> Message {
    Message::Commit { zxid }
}

pub(super) fn inform(zxid: Zxid) -> Message {
    Message::Inform { zxid, payload: payload(zxid) }
}

pub(super) fn ack(zxid: Zxid) -> Message {
    Message::Ack { zxid }
}

pub(super) fn new_leader(epoch: u32) -> Message {
    Message::NewLeader { zxid: z(epoch, 0), config: Rc::from(*b"config") }
}

pub(super) fn info(server: i64, accepted: u32) -> LearnerInfo {
    LearnerInfo { accepted: Epoch(accepted), server: Some(ServerId(server)), config_version: 0 }
}

pub(super) fn append(zxid: Zxid) -> Action {
    Action::Append { zxid, payload: payload(zxid) }
}

pub(super) fn save(accepted: u32, current: u32) -> Action {
    Action::SaveEpoch { accepted: Epoch(accepted), current: Epoch(current) }
}

pub(super) fn saved(accepted: u32, current: u32) -> Event {
    Event::EpochSaved { accepted: Epoch(accepted), current: Epoch(current) }
}

/// Our own first link, as a learner.
pub(super) const UP: LinkId = LinkId(LinkId::OURS | 1);

pub(super) struct Solo {
    pub(super) peer: Peer,
    pub(super) now: Millis,
}

impl Solo {
    /// A server of an ensemble of 1, 2 and 3 with observer 9. Its log has these, of which the first `committed` are.
    pub(super) fn new(
        me: i64,
        epochs: (u32, u32),
        log: &[Zxid],
        committed: usize,
        change: fn(&mut Settings),
    ) -> Solo {
        let mut settings = settings();
        settings.me = ServerId(me);
        change(&mut settings);
        Solo::of(settings, epochs, log, committed, false)
    }

    /// The same with an empty folder, and a vote for as long as the ensemble seems to be new.
    pub(super) fn provisional(me: i64) -> Solo {
        let mut settings = settings();
        settings.me = ServerId(me);
        Solo::of(settings, (0, 0), &[], 0, true)
    }

    fn of(settings: Settings, epochs: (u32, u32), log: &[Zxid], committed: usize, provisional: bool) -> Solo {
        let committed = log[..committed].last().copied().unwrap_or(Zxid::ZERO);
        let kept = log.len().saturating_sub(settings.history_txns_max);
        let kept = kept.min(log.iter().filter(|zxid| **zxid <= committed).count());
        let durable = Durable {
            accepted: Epoch(epochs.0),
            current: Epoch(epochs.1),
            last_logged: log.last().copied().unwrap_or(Zxid::ZERO),
            committed,
            confirmed: committed,
            history: txns(&log[kept..]),
            admitted: true,
            provisional,
        };
        let membership = Membership::majority(&[1, 2, 3], &[9], b"config");
        Solo { peer: Peer::start(settings, membership, durable), now: Millis(1000) }
    }

    /// Everything but observations and election messages.
    pub(super) fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.peer.step(self.now, event, &mut actions);
        actions.retain(|action| !matches!(action, Action::Observed(_) | Action::Notify { .. }));
        actions
    }

    pub(super) fn check(&mut self, event: Event, expected: &[Action]) {
        let shown = format!("{event:?}");
        let actions = self.step(event);
        assert_eq!(actions, expected, "after {shown}");
    }

    pub(super) fn receive(&mut self, link: LinkId, message: Message, expected: &[Action]) {
        self.check(Event::Received { link, message }, expected);
    }

    /// Ticks until then.
    pub(super) fn pass(&mut self, ms: u64, expected: &[Action]) {
        let mut actions = Vec::new();
        let end = self.now.plus(ms);
        while let Some(at) = self.peer.next_tick().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            actions.extend(self.step(Event::Tick));
        }
        self.now = end;
        assert_eq!(actions, expected, "after {ms} ms");
    }

    /// Another server votes for this one, as we do.
    pub(super) fn vote(&mut self, from: i64, leader: i64, zxid: Zxid, epoch: i64) -> Vec<Action> {
        self.step(Event::PeerUp(ServerId(from)));
        let vote = Vote { leader: ServerId(leader), zxid, peer_epoch: epoch };
        let config = Rc::from(*b"config");
        let notification = Notification { state: State::Looking, vote, round: 1, version: 2, config };
        self.step(Event::Notified { from: ServerId(from), notification })
    }

    /// Server 3, elected, by the vote of 2.
    pub(super) fn elected(
        epochs: (u32, u32),
        log: &[Zxid],
        committed: usize,
        change: fn(&mut Settings),
    ) -> Solo {
        let mut solo = Solo::new(3, epochs, log, committed, change);
        let last = log.last().copied().unwrap_or(Zxid::ZERO);
        let actions = solo.vote(2, 3, last, i64::from(epochs.1));
        assert_eq!(actions, [Action::Listen(Port::Quorum, true)]);
        solo
    }

    /// The same, with epoch `epochs.0 + 1` accepted by 2 on link 2, and current: it synchronizes learners now.
    pub(super) fn established(
        epochs: (u32, u32),
        log: &[Zxid],
        committed: usize,
        follower_last: Zxid,
    ) -> (Solo, Vec<Action>) {
        let mut solo = Solo::elected(epochs, log, committed, |_| {});
        let epoch = epochs.0 + 1;
        solo.check(Event::Accepted { link: LinkId(2) }, &[]);
        solo.receive(LinkId(2), Message::FollowerInfo(info(2, epochs.0)), &[save(epoch, epochs.1)]);
        solo.check(saved(epoch, epochs.1), &[send(2, Message::LeaderInfo { epoch: Epoch(epoch) })]);
        let current = Some(Epoch(0));
        solo.receive(LinkId(2), Message::AckEpoch { last: follower_last, current }, &[save(epoch, epoch)]);
        let actions = solo.step(saved(epoch, epoch));
        (solo, actions)
    }

    /// Server 3 leads epoch 1 from an empty log, 2 follows on link 2.
    pub(super) fn leading(change: fn(&mut Settings)) -> Solo {
        let mut solo = Solo::elected((0, 0), &[], 0, change);
        solo.step(Event::Accepted { link: LinkId(2) });
        solo.step(Event::Received { link: LinkId(2), message: Message::FollowerInfo(info(2, 0)) });
        solo.step(saved(1, 0));
        let message = Message::AckEpoch { last: Zxid::ZERO, current: Some(Epoch(0)) };
        solo.step(Event::Received { link: LinkId(2), message });
        let synced = solo.step(saved(1, 1));
        assert_eq!(synced, [send(2, Message::Diff { zxid: Zxid::ZERO }), send(2, new_leader(1))]);
        let up = solo.step(Event::Received { link: LinkId(2), message: ack(z(1, 0)) });
        let role = crate::zab::event::Role::Leading(Epoch(1));
        assert_eq!(up, [Action::Became(role), send(2, Message::UpToDate)]);
        solo
    }

    /// One more learner of an active leader of epoch 1, up on this link.
    pub(super) fn join(&mut self, link: u64, server: i64, follows: bool) {
        let info = info(server, 0);
        self.step(Event::Accepted { link: LinkId(link) });
        let message = if follows { Message::FollowerInfo(info) } else { Message::ObserverInfo(info) };
        self.step(Event::Received { link: LinkId(link), message });
        let message = Message::AckEpoch { last: Zxid::ZERO, current: Some(Epoch(0)) };
        self.step(Event::Received { link: LinkId(link), message });
        self.receive(LinkId(link), ack(z(1, 0)), &[send(link, Message::UpToDate)]);
    }

    /// Server 1, elected is 2, the connection is there.
    pub(super) fn registered(epochs: (u32, u32), log: &[Zxid], committed: usize) -> Solo {
        let mut solo = Solo::new(1, epochs, log, committed, |_| {});
        let actions = solo.vote(2, 2, z(90, 0), 90);
        assert_eq!(actions, [Action::Connect { link: UP, to: ServerId(2), port: Port::Quorum }]);
        solo.check(Event::Connected { link: UP }, &[send_up(Message::FollowerInfo(info(1, epochs.0)))]);
        solo
    }

    /// The same, which has accepted epoch `epochs.0 + 1`.
    pub(super) fn accepted(epochs: (u32, u32), log: &[Zxid], committed: usize) -> Solo {
        let mut solo = Solo::registered(epochs, log, committed);
        let epoch = epochs.0 + 1;
        solo.receive(UP, Message::LeaderInfo { epoch: Epoch(epoch) }, &[save(epoch, epochs.1)]);
        let last = log.last().copied().unwrap_or(Zxid::ZERO);
        let message = Message::AckEpoch { last, current: Some(Epoch(epochs.1)) };
        solo.check(saved(epoch, epochs.1), &[send_up(message)]);
        solo
    }

    /// Server 1 follows 2 in epoch 1, from an empty log.
    pub(super) fn following() -> Solo {
        let mut solo = Solo::accepted((0, 0), &[], 0);
        solo.receive(UP, Message::Diff { zxid: Zxid::ZERO }, &[]);
        solo.receive(UP, new_leader(1), &[save(1, 1)]);
        solo.check(saved(1, 1), &[send_up(ack(z(1, 0)))]);
        let role = crate::zab::event::Role::Following(ServerId(2));
        solo.receive(UP, Message::UpToDate, &[send_up(ack(z(1, 0))), Action::Became(role)]);
        solo
    }
}

pub(super) fn send(link: u64, message: Message) -> Action {
    Action::Send { link: LinkId(link), message }
}

pub(super) fn send_up(message: Message) -> Action {
    Action::Send { link: UP, message }
}
