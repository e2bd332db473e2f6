#![forbid(unsafe_code)]
//! What a follower or observer does, entry point by entry point. Numbers in names are lines of ensemble-protocol §13.

use std::rc::Rc;

use super::solo::{
    Solo, UP, ack, append, commit, info, inform, new_leader, proposal, save, saved, send_up, txns, z,
};
use crate::base::{Epoch, ServerId, Zxid};
use crate::zab::event::{Action, Event, Failure, Observation, Role};
use crate::zab::message::{
    Forwarded, LearnerInfo, LinkId, Message, Notification, Payload, Port, State, Vote,
};

const CLOSE: Action = Action::Close { link: UP };

fn follows() -> Action {
    Action::Became(Role::Following(ServerId(2)))
}

#[test]
fn it_registers_with_what_it_has_accepted_19() {
    let mut solo = Solo::new(1, (4, 3), &[z(3, 1)], 1, |_| {});
    assert_eq!(
        solo.vote(2, 2, z(9, 9), 9),
        [Action::Connect { link: UP, to: ServerId(2), port: Port::Quorum }]
    );
    let info = LearnerInfo { accepted: Epoch(4), server: Some(ServerId(1)), config_version: 0 };
    solo.check(Event::Connected { link: UP }, &[send_up(Message::FollowerInfo(info))]);
}

#[test]
fn it_tries_to_connect_a_few_times() {
    let mut solo = Solo::new(1, (0, 0), &[], 0, |_| {});
    assert_eq!(
        solo.vote(2, 2, z(9, 9), 9),
        [Action::Connect { link: UP, to: ServerId(2), port: Port::Quorum }]
    );
    for (n, ms) in (1..).zip([10, 20, 40, 80, 160, 320]) {
        solo.check(Event::LinkLost { link: LinkId(LinkId::OURS | n) }, &[]);
        let link = LinkId(LinkId::OURS | (n + 1));
        solo.pass(ms - 1, &[]);
        solo.pass(1, &[Action::Connect { link, to: ServerId(2), port: Port::Quorum }]);
    }
    let link = LinkId(LinkId::OURS | 7);
    assert_eq!(solo.peer.leader(), Some(ServerId(2)));
    solo.check(Event::LinkLost { link }, &[Action::Close { link }]);
    assert_eq!(solo.peer.leader(), None);
}

#[test]
fn an_epoch_is_accepted_durably_before_it_is_acknowledged_21_22() {
    let mut solo = Solo::registered((4, 3), &[z(3, 1)], 1);
    solo.receive(UP, Message::LeaderInfo { epoch: Epoch(6) }, &[save(6, 3)]);
    let acknowledged = Message::AckEpoch { last: z(3, 1), current: Some(Epoch(3)) };
    solo.check(saved(6, 3), &[send_up(acknowledged)]);
    // The same again is not counted; an older one is refused.
    let mut solo = Solo::registered((4, 3), &[z(3, 1)], 1);
    let again = Message::AckEpoch { last: z(3, 1), current: None };
    solo.receive(UP, Message::LeaderInfo { epoch: Epoch(4) }, &[send_up(again)]);
    for epoch in [3, u32::MAX] {
        let mut solo = Solo::registered((4, 3), &[z(3, 1)], 1);
        solo.receive(UP, Message::LeaderInfo { epoch: Epoch(epoch) }, &[CLOSE]);
    }
}

#[test]
fn history_then_epoch_then_ack_26_39_3911_4646_4643() {
    let mut solo = Solo::accepted((1, 1), &[z(1, 1)], 1);
    solo.receive(UP, Message::Diff { zxid: z(1, 3) }, &[]);
    solo.receive(UP, proposal(z(1, 2)), &[append(z(1, 2))]);
    solo.receive(UP, commit(z(1, 2)), &[]);
    solo.receive(UP, proposal(z(1, 3)), &[append(z(1, 3))]);
    solo.receive(UP, commit(z(1, 3)), &[]);
    solo.receive(UP, new_leader(2), &[]);
    solo.check(Event::Flushed(z(1, 2)), &[]);
    solo.check(Event::Flushed(z(1, 3)), &[save(2, 2)]);
    solo.check(saved(2, 2), &[send_up(ack(z(2, 0)))]);
    assert_eq!(solo.peer.committed(), z(1, 1));
    solo.receive(UP, Message::UpToDate, &[send_up(ack(z(2, 0))), Action::Commit(z(1, 3)), follows()]);
}

#[test]
fn proposals_are_acknowledged_one_by_one_after_newleader_is_38_40_47_4394() {
    let mut solo = Solo::accepted((1, 1), &[z(1, 1)], 1);
    solo.receive(UP, Message::Diff { zxid: z(1, 1) }, &[]);
    // Not decided: before NEWLEADER, and between it and its ack.
    solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
    solo.receive(UP, new_leader(2), &[]);
    solo.receive(UP, proposal(z(2, 2)), &[append(z(2, 2))]);
    solo.receive(UP, commit(z(2, 1)), &[]);
    solo.check(Event::Flushed(z(2, 2)), &[save(2, 2)]);
    solo.check(saved(2, 2), &[send_up(ack(z(2, 0))), send_up(ack(z(2, 1))), send_up(ack(z(2, 2)))]);
    solo.receive(UP, proposal(z(2, 3)), &[append(z(2, 3))]);
    solo.check(Event::Flushed(z(2, 3)), &[send_up(ack(z(2, 3)))]);
    solo.receive(UP, commit(z(2, 2)), &[]);
    solo.receive(UP, Message::UpToDate, &[send_up(ack(z(2, 0))), Action::Commit(z(2, 2)), follows()]);
    solo.receive(UP, commit(z(2, 3)), &[Action::Commit(z(2, 3))]);
}

#[test]
fn pings_are_not_answered_before_it_is_up_to_date_41() {
    let mut solo = Solo::accepted((1, 1), &[], 0);
    let ping = Message::Ping { zxid: z(2, 0), touched: Payload::from([]) };
    solo.receive(UP, Message::Diff { zxid: Zxid::ZERO }, &[]);
    solo.receive(UP, ping.clone(), &[]);
    solo.receive(UP, new_leader(2), &[save(2, 2)]);
    solo.step(saved(2, 2));
    solo.receive(UP, ping.clone(), &[]);
    solo.receive(UP, Message::UpToDate, &[send_up(ack(z(2, 0))), follows()]);
    solo.receive(UP, ping, &[Action::AnswerPing { link: UP, zxid: z(2, 0) }]);
    let answer = Message::Ping { zxid: z(2, 0), touched: Rc::from(*b"sessions") };
    solo.check(Event::Send { link: UP, message: answer.clone() }, &[send_up(answer)]);
}

#[test]
fn a_tail_is_cut_exactly_29_s2() {
    let log = [z(1, 1), z(1, 2), z(1, 3), z(1, 4)];
    for keep in 1..=4 {
        let mut solo = Solo::accepted((1, 1), &log, 1);
        let to = log[keep - 1];
        let cut: &[Action] = if keep < 4 { &[Action::Truncate(to)] } else { &[] };
        solo.receive(UP, Message::Trunc { zxid: to }, cut);
        solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
        solo.receive(UP, commit(z(2, 1)), &[]);
        solo.receive(UP, new_leader(2), &[]);
        if keep < 4 {
            solo.check(Event::Truncated(to), &[]);
        }
        solo.check(Event::Flushed(z(2, 1)), &[save(2, 2)]);
        solo.check(saved(2, 2), &[send_up(ack(z(2, 0)))]);
        solo.receive(UP, Message::UpToDate, &[send_up(ack(z(2, 0))), Action::Commit(z(2, 1)), follows()]);
    }
}

#[test]
fn what_is_committed_is_not_cut() {
    let mut solo = Solo::accepted((1, 1), &[z(1, 1), z(1, 2)], 2);
    let failure = Failure::TruncateBelowCommitted { to: z(1, 1), committed: z(1, 2) };
    solo.receive(UP, Message::Trunc { zxid: z(1, 1) }, &[Action::Fail(failure), CLOSE]);
}

/// A stock leader may name the end of its own log, which is not a txn of ours.
#[test]
fn after_a_cut_between_its_txns_it_comes_back_from_an_earlier_one() {
    let mut solo = Solo::accepted((3, 3), &[z(1, 1), z(3, 1)], 0);
    solo.receive(UP, Message::Trunc { zxid: z(2, 5) }, &[Action::Truncate(z(1, 1)), CLOSE]);
    assert_eq!(solo.peer.last_logged(), z(1, 1));
    // It votes when that is durable.
    assert_eq!(solo.peer.next_tick(), None);
    solo.step(Event::Truncated(z(1, 1)));
    assert!(solo.peer.next_tick().is_some());
}

fn receive_image(solo: &mut Solo, zxid: Zxid) {
    solo.receive(UP, Message::Snap { zxid }, &[Action::ReceiveSnap { link: UP, zxid }]);
    solo.check(Event::SnapReceived { link: UP }, &[]);
}

#[test]
fn a_state_is_installed_with_what_is_committed_behind_it_34_36_s15() {
    let mut solo = Solo::accepted((1, 1), &[z(1, 1), z(1, 2)], 1);
    receive_image(&mut solo, z(1, 8));
    // A fuzzy image of a stock leader may come with txns it has already.
    solo.receive(UP, proposal(z(1, 8)), &[]);
    solo.receive(UP, commit(z(1, 8)), &[]);
    for counter in 9..12 {
        solo.receive(UP, proposal(z(1, counter)), &[]);
    }
    solo.receive(UP, commit(z(1, 9)), &[]);
    let install = Action::InstallSnap { link: UP, zxid: z(1, 9), txns: txns(&[z(1, 9)]) };
    solo.receive(UP, new_leader(2), &[install]);
    // Comes while the disk is at work.
    solo.receive(UP, proposal(z(2, 1)), &[]);
    solo.receive(UP, commit(z(1, 10)), &[]);
    let rest = [z(1, 10), z(1, 11), z(2, 1)].map(append);
    solo.check(Event::SnapInstalled { link: UP, zxid: z(1, 9) }, &rest);
    solo.check(Event::Flushed(z(2, 1)), &[save(2, 2)]);
    let acks = [z(2, 0), z(1, 10), z(1, 11), z(2, 1)].map(|zxid| send_up(ack(zxid)));
    solo.check(saved(2, 2), &acks);
    solo.receive(UP, Message::UpToDate, &[send_up(ack(z(2, 0))), Action::Commit(z(1, 10)), follows()]);
}

#[test]
fn an_unfinished_state_is_forgotten_35_44_s14_3642() {
    let mut solo = Solo::accepted((1, 1), &[z(1, 1), z(1, 2)], 1);
    solo.receive(UP, Message::Snap { zxid: z(1, 8) }, &[Action::ReceiveSnap { link: UP, zxid: z(1, 8) }]);
    solo.check(Event::LinkLost { link: UP }, &[CLOSE, Action::DropSnap { link: UP }]);
    assert_eq!((solo.peer.last_logged(), solo.peer.committed()), (z(1, 2), z(1, 1)));
    // And one that is on its way to the disk takes its place, whatever became of the link.
    let mut solo = Solo::accepted((1, 1), &[z(1, 1), z(1, 2)], 1);
    receive_image(&mut solo, z(1, 8));
    let install = Action::InstallSnap { link: UP, zxid: z(1, 8), txns: Vec::new() };
    solo.receive(UP, new_leader(2), &[install]);
    solo.check(Event::LinkLost { link: UP }, &[CLOSE]);
    assert_eq!(solo.peer.next_tick(), None);
    solo.check(Event::SnapInstalled { link: UP, zxid: z(1, 8) }, &[]);
    assert_eq!((solo.peer.last_logged(), solo.peer.committed()), (z(1, 8), z(1, 8)));
    assert!(solo.peer.next_tick().is_some());
}

/// The state came of a leader that was never established: the next one has another history.
#[test]
fn a_state_that_is_not_confirmed_may_be_replaced() {
    let mut solo = Solo::accepted((1, 1), &[z(1, 1)], 1);
    receive_image(&mut solo, z(1, 8));
    solo.step(Event::Received { link: UP, message: new_leader(2) });
    solo.step(Event::LinkLost { link: UP });
    solo.step(Event::SnapInstalled { link: UP, zxid: z(1, 8) });
    let link = LinkId(LinkId::OURS | 2);
    let register = |solo: &mut Solo, round: i64, link: LinkId, epoch: u32, last: Zxid| {
        let vote = Vote { leader: ServerId(2), zxid: z(9, 9), peer_epoch: 9 };
        let config = Rc::from(*b"config");
        let notification = Notification { state: State::Looking, vote, round, version: 2, config };
        let expected = [Action::Connect { link, to: ServerId(2), port: Port::Quorum }];
        solo.pass(2000, &[]);
        assert_eq!(solo.step(Event::Notified { from: ServerId(2), notification }), expected);
        solo.step(Event::Connected { link });
        solo.step(Event::Received { link, message: Message::LeaderInfo { epoch: Epoch(epoch) } });
        let message = Message::AckEpoch { last, current: Some(Epoch(1)) };
        solo.check(saved(epoch, 1), &[Action::Send { link, message }]);
    };
    register(&mut solo, 2, link, 3, z(1, 8));
    solo.receive(link, Message::Trunc { zxid: z(1, 4) }, &[Action::Close { link }]);
    // All of the leader's state is needed.
    let link = LinkId(LinkId::OURS | 3);
    register(&mut solo, 3, link, 4, Zxid::ZERO);
    solo.receive(link, Message::Snap { zxid: z(1, 4) }, &[Action::ReceiveSnap { link, zxid: z(1, 4) }]);
    solo.step(Event::SnapReceived { link });
    let install = Action::InstallSnap { link, zxid: z(1, 4), txns: Vec::new() };
    solo.receive(link, new_leader(4), &[install]);
    solo.check(Event::SnapInstalled { link, zxid: z(1, 4) }, &[save(4, 4)]);
}

#[test]
fn gaps_and_commits_out_of_order_end_the_link_43_46_m58() {
    let lost = [CLOSE, Action::Became(Role::Looking)];
    let two = || {
        let mut solo = Solo::following();
        solo.receive(UP, proposal(z(1, 1)), &[append(z(1, 1))]);
        solo.receive(UP, proposal(z(1, 2)), &[append(z(1, 2))]);
        solo
    };
    two().receive(UP, proposal(z(1, 4)), &lost);
    two().receive(UP, proposal(z(2, 1)), &lost);
    two().receive(UP, commit(z(1, 2)), &lost);
    two().receive(UP, commit(z(1, 9)), &lost);
    two().receive(UP, Message::Sync, &lost);
    two().receive(UP, Message::LeaderInfo { epoch: Epoch(1) }, &lost);
    // Twice is no harm.
    let mut solo = two();
    solo.receive(UP, proposal(z(1, 2)), &[]);
    solo.receive(UP, Message::UpToDate, &[]);
    // A follower may learn of a commit before its own flush returns.
    solo.receive(UP, commit(z(1, 1)), &[Action::Commit(z(1, 1))]);
    solo.receive(UP, commit(z(1, 1)), &[]);
    solo.check(Event::Flushed(z(1, 2)), &[send_up(ack(z(1, 1))), send_up(ack(z(1, 2)))]);
}

#[test]
fn a_leader_that_contradicts_itself_three_times_in_a_minute_is_left_alone_m58() {
    /// With so many ms after each contradiction: how many were alarmed about, and how long it then does not look for a leader.
    fn check(pauses_ms: &[u64], expected: &[(Option<usize>, u64)]) {
        let mut solo = Solo::following();
        let mut found = Vec::new();
        for (nth, pause_ms) in (1..).zip(pauses_ms) {
            let link = LinkId(LinkId::OURS | nth);
            let event = match nth {
                1 => Event::Received { link, message: proposal(z(9, 9)) },
                _ => Event::LinkBroken { link },
            };
            let mut actions = Vec::new();
            solo.peer.step(solo.now, event, &mut actions);
            let alarm = actions.iter().find_map(|action| match action {
                Action::Observed(Observation::LeaderContradicts { leader: ServerId(2), times, .. }) => {
                    Some(*times)
                }
                _ => None,
            });
            let begun = Action::Observed(Observation::ElectionStarted { round: nth as i64 + 1 });
            let silent_ms = match actions.contains(&begun) {
                true => 0,
                false => solo.peer.next_tick().map_or(u64::MAX, |tick| tick.since(solo.now)),
            };
            found.push((alarm, silent_ms));
            // The same leader is elected again.
            for ms in [silent_ms, pause_ms - silent_ms] {
                solo.now = solo.now.plus(ms);
                solo.step(Event::Tick);
            }
            let vote = Vote { leader: ServerId(2), zxid: z(90, 0), peer_epoch: 90 };
            let (state, config) = (State::Looking, Rc::from(*b"config"));
            let notification = Notification { state, vote, round: nth as i64 + 1, version: 2, config };
            let connect = Action::Connect {
                link: LinkId(LinkId::OURS | (nth + 1)),
                to: ServerId(2),
                port: Port::Quorum,
            };
            solo.check(Event::Notified { from: ServerId(2), notification }, &[connect]);
        }
        assert_eq!(found, expected, "{pauses_ms:?}");
    }
    let sync_ms = 500;
    check(&[1_000; 4], &[(None, 0), (None, 0), (Some(3), sync_ms), (Some(4), sync_ms)]);
    check(&[30_000, 30_000, 1_000], &[(None, 0), (None, 0), (None, 50)]);
}

#[test]
fn packets_out_of_phase_end_the_link_z11() {
    Solo::registered((0, 0), &[], 0).receive(UP, new_leader(1), &[CLOSE]);
    Solo::registered((0, 0), &[], 0).receive(UP, proposal(z(1, 1)), &[CLOSE]);
    Solo::accepted((0, 0), &[], 0).receive(UP, Message::UpToDate, &[CLOSE]);
    let mut solo = Solo::accepted((0, 0), &[], 0);
    solo.receive(UP, Message::Diff { zxid: Zxid::ZERO }, &[]);
    solo.receive(UP, new_leader(2), &[CLOSE]);
    let mut solo = Solo::accepted((0, 0), &[], 0);
    solo.receive(UP, Message::Diff { zxid: Zxid::ZERO }, &[]);
    solo.receive(UP, new_leader(1), &[save(1, 1)]);
    // Before our ack of NEWLEADER.
    solo.receive(UP, Message::UpToDate, &[CLOSE]);
}

#[test]
fn syncs_are_answered_in_the_order_asked_53() {
    let mut solo = Solo::following();
    let request = || Forwarded { body: Rc::from(*b"sync"), identities: None };
    let asked = send_up(Message::Request(request()));
    solo.check(Event::SyncAsked { tag: 7, request: request() }, std::slice::from_ref(&asked));
    solo.check(Event::Forward(request()), std::slice::from_ref(&asked));
    solo.check(Event::SyncAsked { tag: 3, request: request() }, &[asked]);
    solo.receive(UP, Message::Sync, &[Action::Synced(7)]);
    solo.receive(UP, Message::Sync, &[Action::Synced(3)]);
    let body: Payload = Rc::from(*b"valid");
    solo.receive(UP, Message::Revalidate { body: body.clone() }, &[Action::Revalidate { link: UP, body }]);
}

#[test]
fn a_silent_leader_is_left() {
    let mut solo = Solo::following();
    solo.pass(499, &[]);
    solo.receive(
        UP,
        Message::Ping { zxid: z(1, 0), touched: Payload::from([]) },
        &[Action::AnswerPing { link: UP, zxid: z(1, 0) }],
    );
    solo.pass(499, &[]);
    solo.pass(1, &[CLOSE, Action::Became(Role::Looking)]);
    // Earlier it has more time, and an image has it again with every part.
    let mut solo = Solo::accepted((0, 0), &[], 0);
    solo.pass(999, &[]);
    solo.receive(UP, Message::Snap { zxid: z(0, 5) }, &[Action::ReceiveSnap { link: UP, zxid: z(0, 5) }]);
    solo.pass(999, &[]);
    solo.check(Event::SnapMoved { link: UP }, &[]);
    solo.pass(999, &[]);
    solo.pass(1, &[CLOSE, Action::DropSnap { link: UP }]);
}

#[test]
fn a_leader_that_looks_for_one_is_left_at_once_s22() {
    let mut solo = Solo::accepted((0, 0), &[], 0);
    let looking = |round: i64| {
        let vote = Vote { leader: ServerId(2), zxid: Zxid::ZERO, peer_epoch: 0 };
        let config = Rc::from(*b"config");
        let notification = Notification { state: State::Looking, vote, round, version: 2, config };
        Event::Notified { from: ServerId(2), notification }
    };
    solo.check(looking(1), &[]);
    solo.check(looking(2), &[CLOSE]);
}

#[test]
fn no_vote_is_cast_before_the_disk_has_settled_s11_s16_4712_2845() {
    let mut solo = Solo::following();
    solo.receive(UP, proposal(z(1, 1)), &[append(z(1, 1))]);
    let mut actions = Vec::new();
    let lost = Event::LinkLost { link: UP };
    solo.peer.step(solo.now, lost, &mut actions);
    assert!(!actions.iter().any(|action| matches!(action, Action::Notify { .. })), "{actions:?}");
    actions.clear();
    solo.peer.step(solo.now, Event::Flushed(z(1, 1)), &mut actions);
    let votes: Vec<Vote> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Notify { notification, .. } => Some(notification.vote),
            _ => None,
        })
        .collect();
    // With the tail that nobody decided.
    let vote = Vote { leader: ServerId(1), zxid: z(1, 1), peer_epoch: 1 };
    assert_eq!(votes, [vote, vote]);
    assert_eq!(solo.peer.committed(), Zxid::ZERO);
}

#[test]
fn an_observer_is_told_and_acknowledges_nothing_42_49() {
    let mut solo = Solo::new(9, (0, 0), &[], 0, |_| {});
    let has_a_leader = |from: i64, state: State| {
        let vote = Vote { leader: ServerId(2), zxid: Zxid::ZERO, peer_epoch: 1 };
        let config = Rc::from(*b"config");
        let notification = Notification { state, vote, round: 4, version: 2, config };
        Event::Notified { from: ServerId(from), notification }
    };
    solo.step(Event::PeerUp(ServerId(2)));
    solo.check(has_a_leader(1, State::Following), &[]);
    solo.check(
        has_a_leader(2, State::Leading),
        &[Action::Connect { link: UP, to: ServerId(2), port: Port::Quorum }],
    );
    solo.check(Event::Connected { link: UP }, &[send_up(Message::ObserverInfo(info(9, 0)))]);
    solo.receive(UP, Message::LeaderInfo { epoch: Epoch(1) }, &[save(1, 0)]);
    let message = Message::AckEpoch { last: Zxid::ZERO, current: Some(Epoch(0)) };
    solo.check(saved(1, 0), &[send_up(message)]);
    solo.receive(UP, Message::Diff { zxid: z(1, 1) }, &[]);
    solo.receive(UP, proposal(z(1, 1)), &[append(z(1, 1))]);
    solo.receive(UP, commit(z(1, 1)), &[]);
    solo.receive(UP, inform(z(1, 2)), &[append(z(1, 2))]);
    solo.receive(UP, new_leader(1), &[]);
    solo.receive(UP, inform(z(1, 3)), &[append(z(1, 3))]);
    solo.check(Event::Flushed(z(1, 3)), &[save(1, 1)]);
    solo.check(saved(1, 1), &[send_up(ack(z(1, 0)))]);
    let observes = Action::Became(Role::Observing(ServerId(2)));
    solo.receive(UP, Message::UpToDate, &[send_up(ack(z(1, 0))), Action::Commit(z(1, 3)), observes]);
    solo.receive(UP, inform(z(1, 4)), &[append(z(1, 4)), Action::Commit(z(1, 4))]);
    solo.check(Event::Flushed(z(1, 4)), &[]);
    solo.receive(UP, proposal(z(1, 5)), &[]);
    solo.receive(UP, commit(z(1, 5)), &[]);
    assert_eq!(solo.peer.last_logged(), z(1, 4));
}
