#![forbid(unsafe_code)]
//! What a leader does, entry point by entry point. Numbers in names are lines of ensemble-protocol §13.

use std::rc::Rc;

use super::solo::{
    Solo, ack, append, commit, info, inform, new_leader, payload, proposal, save, saved, send, txns, z,
};
use crate::base::{Epoch, ServerId, Zxid};
use crate::zab::event::{Action, Event, Observation, Role};
use crate::zab::message::{
    Forwarded, LearnerInfo, LinkId, Message, Notification, Payload, Port, State, Vote,
};

fn request(body: &[u8]) -> Forwarded {
    Forwarded { body: Rc::from(body), identities: None }
}

fn accepts(solo: &mut Solo, link: u64, message: Message, expected: &[Action]) {
    solo.check(Event::Accepted { link: LinkId(link) }, &[]);
    solo.receive(LinkId(link), message, expected);
}

fn submit(zxid: Zxid) -> Event {
    Event::Submitted { zxid, payload: payload(zxid) }
}

fn ping(zxid: Zxid) -> Message {
    Message::Ping { zxid, touched: Payload::from([]) }
}

fn close(link: u64) -> Action {
    Action::Close { link: LinkId(link) }
}

#[test]
fn observers_raise_the_epoch_and_do_not_count_20_2959() {
    let mut solo = Solo::elected((3, 3), &[], 0, |_| {});
    accepts(&mut solo, 9, Message::ObserverInfo(info(9, 7)), &[]);
    // Nor a follower that is not in the configuration, nor a voter that is not sure of itself (R11).
    accepts(&mut solo, 8, Message::FollowerInfo(info(8, 4)), &[]);
    accepts(&mut solo, 1, Message::ObserverInfo(info(1, 5)), &[]);
    accepts(&mut solo, 2, Message::FollowerInfo(info(2, 3)), &[save(8, 3)]);
}

// A few such would use all epochs up.
#[test]
fn an_epoch_too_far_ahead_is_refused_m56() {
    let far = 3 + (1 << 20);
    let mut solo = Solo::elected((3, 3), &[], 0, |_| {});
    accepts(&mut solo, 9, Message::ObserverInfo(info(9, far + 1)), &[close(9)]);
    accepts(&mut solo, 1, Message::FollowerInfo(info(1, far + 1)), &[close(1)]);
    accepts(&mut solo, 2, Message::FollowerInfo(info(2, far)), &[save(far + 1, 3)]);
}

#[test]
fn who_stops_in_the_middle_of_an_election_is_not_elected() {
    let mut solo = Solo::new(3, (0, 0), &[], 0, |_| {});
    solo.check(Event::PeerUp(ServerId(1)), &[]);
    // It has its quorum, and waits for the vote of 1.
    assert_eq!(solo.vote(2, 3, Zxid::ZERO, 0), []);
    solo.check(Event::Resign, &[]);
    solo.check(Event::PeerLost(ServerId(1)), &[]);
    assert_eq!(solo.peer.role(), Role::Looking);
}

#[test]
fn who_gives_its_vote_up_in_the_middle_of_an_election_is_not_elected() {
    let mut solo = Solo::provisional(3);
    solo.check(Event::PeerUp(ServerId(1)), &[]);
    assert_eq!(solo.vote(2, 3, Zxid::ZERO, 0), []);
    // The ensemble is not new: 1 has been in an epoch.
    assert_eq!(solo.vote(1, 1, z(2, 1), 2), [Action::Disown]);
    solo.check(Event::PeerLost(ServerId(1)), &[]);
    solo.check(Event::Disowned, &[]);
    assert_eq!(solo.peer.role(), Role::Looking);
}

#[test]
fn an_epoch_is_offered_when_it_is_durable_21() {
    let mut solo = Solo::elected((0, 0), &[], 0, |_| {});
    accepts(&mut solo, 2, Message::FollowerInfo(info(2, 0)), &[save(1, 0)]);
    accepts(&mut solo, 1, Message::FollowerInfo(info(1, 0)), &[]);
    let offer = Message::LeaderInfo { epoch: Epoch(1) };
    solo.check(saved(1, 0), &[send(1, offer.clone()), send(2, offer.clone())]);
    accepts(&mut solo, 9, Message::ObserverInfo(info(9, 0)), &[send(9, offer)]);
}

#[test]
fn an_epoch_accepted_before_is_not_counted_22() {
    let mut solo = Solo::elected((0, 0), &[], 0, |_| {});
    accepts(&mut solo, 2, Message::FollowerInfo(info(2, 0)), &[save(1, 0)]);
    solo.check(saved(1, 0), &[send(2, Message::LeaderInfo { epoch: Epoch(1) })]);
    solo.receive(LinkId(2), Message::AckEpoch { last: Zxid::ZERO, current: None }, &[]);
    accepts(
        &mut solo,
        1,
        Message::FollowerInfo(info(1, 0)),
        &[send(1, Message::LeaderInfo { epoch: Epoch(1) })],
    );
    solo.receive(LinkId(1), Message::AckEpoch { last: Zxid::ZERO, current: Some(Epoch(0)) }, &[save(1, 1)]);
}

#[test]
fn whoever_is_ahead_is_refused_before_the_quorum_and_not_after_23() {
    for (last, current) in [(z(1, 3), 2), (z(2, 1), 1), (z(1, 3), 9)] {
        let mut solo = Solo::elected((2, 1), &[z(1, 1), z(1, 2)], 2, |_| {});
        accepts(&mut solo, 2, Message::FollowerInfo(info(2, 2)), &[save(3, 1)]);
        solo.step(saved(3, 1));
        let message = Message::AckEpoch { last, current: Some(Epoch(current)) };
        solo.receive(LinkId(2), message, &[close(2)]);
    }
    let (mut solo, _) = Solo::established((2, 1), &[z(1, 1), z(1, 2)], 2, z(1, 2));
    accepts(
        &mut solo,
        1,
        Message::FollowerInfo(info(1, 2)),
        &[send(1, Message::LeaderInfo { epoch: Epoch(3) })],
    );
    let message = Message::AckEpoch { last: z(1, 5), current: Some(Epoch(1)) };
    solo.receive(LinkId(1), message, &[send(1, Message::Trunc { zxid: z(1, 2) }), send(1, new_leader(3))]);
}

#[test]
fn a_newer_configuration_a_later_epoch_and_impossible_ones_are_refused_24() {
    let (mut solo, _) = Solo::established((2, 1), &[], 0, Zxid::ZERO);
    let newer = LearnerInfo { config_version: 1, ..info(1, 0) };
    accepts(&mut solo, 1, Message::FollowerInfo(newer), &[close(1)]);
    accepts(&mut solo, 4, Message::FollowerInfo(info(1, 4)), &[close(4)]);
    accepts(&mut solo, 5, Message::FollowerInfo(info(1, u32::MAX)), &[close(5)]);
    accepts(&mut solo, 6, Message::FollowerInfo(info(3, 0)), &[close(6)]);
    accepts(&mut solo, 7, ack(z(3, 0)), &[close(7)]);
}

#[test]
fn a_second_server_of_an_id_is_refused_while_the_first_answers_s28() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    let round = [send(1, ping(z(1, 0))), send(2, ping(z(1, 0)))];
    solo.pass(50, &round);
    accepts(&mut solo, 7, Message::FollowerInfo(info(2, 0)), &round);
    // The first is to the one that left before.
    solo.receive(LinkId(2), ping(z(1, 0)), &[]);
    solo.receive(LinkId(2), ping(z(1, 0)), &[]);
    solo.pass(99, &round);
    let mut actions = Vec::new();
    solo.now = solo.now.plus(1);
    solo.peer.step(solo.now, Event::Tick, &mut actions);
    let reason = "another server has this id, and answers: give one of the two another myid";
    let refused = Observation::LearnerRefused { learner: Some(ServerId(2)), link: LinkId(7), reason };
    assert_eq!(actions, [&round[..], &[Action::Observed(refused), close(7)]].concat());
    solo.check(submit(z(1, 1)), &[send(1, proposal(z(1, 1))), send(2, proposal(z(1, 1))), append(z(1, 1))]);
}

#[test]
fn a_server_that_is_back_takes_the_place_of_a_link_that_is_lost_or_silent_for_a_tick_s28() {
    let round = [send(1, ping(z(1, 0))), send(2, ping(z(1, 0)))];
    let gone = Action::LearnerLost { link: LinkId(2), learner: ServerId(2) };
    let offer = send(7, Message::LeaderInfo { epoch: Epoch(1) });
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    accepts(&mut solo, 7, Message::FollowerInfo(info(2, 0)), &round);
    solo.check(Event::LinkLost { link: LinkId(2) }, &[gone.clone(), offer.clone()]);

    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    solo.pass(50, &round);
    accepts(&mut solo, 7, Message::FollowerInfo(info(2, 0)), &round);
    // That answers the one that left before: it may be the last word.
    solo.receive(LinkId(2), ping(z(1, 0)), &[]);
    solo.pass(99, &round);
    solo.pass(1, &[&round[..], &[close(2), gone, offer]].concat());
}

#[test]
fn a_learner_is_brought_up_to_date_by_the_shortest_way_27_28_29_30_37() {
    let log = [z(1, 1), z(1, 2), z(1, 3), z(3, 1)];
    let check = |last: Zxid, expected: &[Message]| {
        let (_, actions) = Solo::established((4, 3), &log, 2, last);
        let expected: Vec<Action> = expected.iter().cloned().map(|message| send(2, message)).collect();
        assert_eq!(actions, expected, "{last}");
    };
    let one = |zxid| [proposal(zxid), commit(zxid)];
    check(z(3, 1), &[Message::Diff { zxid: z(3, 1) }, new_leader(5)]);
    // What was not known to be committed is now.
    let [p2, c2] = one(z(1, 3));
    let [p3, c3] = one(z(3, 1));
    check(z(1, 2), &[Message::Diff { zxid: z(3, 1) }, p2, c2, p3.clone(), c3.clone(), new_leader(5)]);
    // A tail of an epoch of ours, and of an older one (S1).
    check(z(3, 0), &[Message::Diff { zxid: z(3, 1) }, p3.clone(), c3.clone(), new_leader(5)]);
    check(z(1, 9), &[Message::Trunc { zxid: z(1, 3) }, p3, c3, new_leader(5)]);
}

#[test]
fn a_state_is_sent_exact_with_what_is_not_committed_behind_it_30_32() {
    let log = [z(1, 1), z(1, 2), z(1, 3), z(3, 1)];
    for last in [z(2, 4), Zxid::ZERO] {
        let (_, actions) = Solo::established((4, 3), &log, 2, last);
        let zxid = z(1, 2);
        let messages =
            [proposal(z(1, 3)), commit(z(1, 3)), proposal(z(3, 1)), commit(z(3, 1)), new_leader(5)];
        let mut expected = vec![send(2, Message::Snap { zxid }), Action::SendSnap { link: LinkId(2), zxid }];
        expected.extend(messages.map(|message| send(2, message)));
        assert_eq!(actions, expected, "{last}");
    }
}

#[test]
fn observers_beyond_the_limit_are_sent_away_and_followers_never() {
    let observer = |solo: &mut Solo, link: u64, last: Zxid| {
        let offer = send(link, Message::LeaderInfo { epoch: Epoch(1) });
        accepts(solo, link, Message::ObserverInfo(info(link as i64, 0)), &[offer]);
        let message = Message::AckEpoch { last, current: Some(Epoch(0)) };
        solo.step(Event::Received { link: LinkId(link), message })
    };
    let none = Zxid::ZERO;
    let diff = |link| vec![send(link, Message::Diff { zxid: none }), send(link, new_leader(1))];
    let mut solo = Solo::leading(|settings| (settings.snaps_max, settings.diffs_max) = (1, 2));
    assert_eq!(observer(&mut solo, 11, none), diff(11));
    assert_eq!(observer(&mut solo, 12, none), diff(12));
    assert_eq!(observer(&mut solo, 13, none), [close(13)]);
    // A state is another matter, with a limit of its own.
    let snap = |link| {
        let (snap, image) =
            (Message::Snap { zxid: none }, Action::SendSnap { link: LinkId(link), zxid: none });
        vec![send(link, snap), image, send(link, new_leader(1))]
    };
    assert_eq!(observer(&mut solo, 15, Zxid(-1)), snap(15));
    assert_eq!(observer(&mut solo, 16, Zxid(-1)), [close(16)]);
    assert_eq!(solo.peer.figures().snaps, 1);
    // A follower is not refused, but counts.
    let offer = send(1, Message::LeaderInfo { epoch: Epoch(1) });
    accepts(&mut solo, 1, Message::FollowerInfo(info(1, 0)), &[offer]);
    let message = Message::AckEpoch { last: none, current: Some(Epoch(0)) };
    solo.receive(LinkId(1), message, &diff(1));
    assert_eq!(solo.peer.figures().diffs, 3);
    // Whoever is up to date, or gone, makes room.
    solo.receive(LinkId(11), ack(z(1, 0)), &[send(11, Message::UpToDate)]);
    solo.check(Event::LinkBroken { link: LinkId(12) }, &[]);
    assert_eq!(solo.peer.figures().diffs, 1);
    assert_eq!(observer(&mut solo, 17, none), diff(17));
}

#[test]
fn what_is_below_memory_is_read_and_the_seam_is_looked_at_31_2418() {
    let log: Vec<Zxid> = (1..=9).map(|counter| z(1, counter)).collect();
    let read = Action::ReadLog { link: LinkId(2), after: z(1, 2), up_to: z(1, 9) };
    let image = [
        send(2, Message::Snap { zxid: z(1, 9) }),
        Action::SendSnap { link: LinkId(2), zxid: z(1, 9) },
        send(2, new_leader(2)),
    ];
    let start = || {
        let (solo, actions) = Solo::established((1, 1), &log, 9, z(1, 2));
        assert_eq!(actions, std::slice::from_ref(&read));
        solo
    };
    let answer = |txns| Event::LogRead { link: LinkId(2), txns };
    let mut expected = vec![send(2, Message::Diff { zxid: z(1, 9) })];
    for zxid in &log[2..] {
        expected.extend([send(2, proposal(*zxid)), send(2, commit(*zxid))]);
    }
    expected.push(send(2, new_leader(2)));
    start().check(answer(Some(txns(&log[2..]))), &expected);
    start().check(answer(None), &image);
    // It ends below what is in memory: it is read on.
    let mut solo = start();
    let again = Action::ReadLog { link: LinkId(2), after: z(1, 3), up_to: z(1, 9) };
    solo.check(answer(Some(txns(&log[2..3]))), std::slice::from_ref(&again));
    solo.check(answer(Some(txns(&log[3..]))), &expected);
    // Purged under our eyes.
    let mut solo = start();
    let again = Action::ReadLog { link: LinkId(2), after: z(1, 4), up_to: z(1, 9) };
    solo.check(answer(Some(txns(&log[2..4]))), &[again]);
    solo.check(answer(None), &image);
}

#[test]
fn it_serves_when_a_quorum_has_its_history_37_38_4685() {
    let log = [z(1, 1), z(1, 2)];
    let (mut solo, _) = Solo::established((1, 1), &log, 1, z(1, 1));
    // A follower of 3.5.10 to 3.9.1 acknowledges a proposal first.
    solo.receive(LinkId(2), ack(z(1, 2)), &[]);
    solo.receive(LinkId(2), ack(z(7, 0)), &[]);
    assert_eq!(solo.peer.next_zxid(), None);
    let active =
        [Action::Commit(z(1, 2)), Action::Became(Role::Leading(Epoch(2))), send(2, Message::UpToDate)];
    solo.receive(LinkId(2), ack(z(2, 0)), &active);
    // That of UPTODATE.
    solo.receive(LinkId(2), ack(z(2, 0)), &[]);
    assert_eq!(solo.peer.next_zxid(), Some(z(2, 1)));
}

#[test]
fn a_proposal_leaves_before_it_is_written_and_commits_with_a_quorum_46_48_49() {
    let mut solo = Solo::leading(|_| {});
    solo.join(9, 9, false);
    solo.join(8, 8, true);
    let sent = [send(2, proposal(z(1, 1))), send(8, proposal(z(1, 1))), append(z(1, 1))];
    solo.check(submit(z(1, 1)), &sent);
    solo.check(submit(z(1, 2)), &[send(2, proposal(z(1, 2))), send(8, proposal(z(1, 2))), append(z(1, 2))]);
    // Neither a follower that is not in the configuration counts, nor an ack of a later one for an earlier one.
    solo.receive(LinkId(8), ack(z(1, 1)), &[]);
    solo.receive(LinkId(2), ack(z(1, 2)), &[]);
    // An observer that acknowledges is no observer (S21).
    solo.receive(
        LinkId(9),
        ack(z(1, 1)),
        &[close(9), Action::LearnerLost { link: LinkId(9), learner: ServerId(9) }],
    );
    solo.join(10, 9, false);
    solo.check(Event::Flushed(z(1, 1)), &[]);
    let decided = |zxid| [send(2, commit(zxid)), send(8, commit(zxid)), send(10, inform(zxid))];
    let mut expected = decided(z(1, 1)).to_vec();
    expected.extend(decided(z(1, 2)));
    // The second has a quorum before the first has.
    solo.check(Event::Flushed(z(1, 2)), &[]);
    expected.push(Action::Commit(z(1, 2)));
    solo.receive(LinkId(2), ack(z(1, 1)), &expected);
    // Two followers decide without us.
    solo.join(1, 1, true);
    solo.step(submit(z(1, 3)));
    solo.receive(LinkId(2), ack(z(1, 3)), &[]);
    let all = [1, 2, 8].map(|link| send(link, commit(z(1, 3))));
    let mut expected = all.to_vec();
    expected.extend([send(10, inform(z(1, 3))), Action::Commit(z(1, 3))]);
    solo.receive(LinkId(1), ack(z(1, 3)), &expected);
}

#[test]
fn acknowledging_what_was_not_proposed_ends_the_link() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    solo.receive(
        LinkId(1),
        ack(z(1, 1)),
        &[close(1), Action::LearnerLost { link: LinkId(1), learner: ServerId(1) }],
    );
}

#[test]
fn a_learner_between_newleader_and_its_ack_gets_everything_s20() {
    let mut solo = Solo::leading(|_| {});
    solo.step(submit(z(1, 1)));
    accepts(
        &mut solo,
        1,
        Message::FollowerInfo(info(1, 0)),
        &[send(1, Message::LeaderInfo { epoch: Epoch(1) })],
    );
    accepts(
        &mut solo,
        9,
        Message::ObserverInfo(info(9, 0)),
        &[send(9, Message::LeaderInfo { epoch: Epoch(1) })],
    );
    let agreed = Message::AckEpoch { last: Zxid::ZERO, current: Some(Epoch(0)) };
    let sync = |link, undecided: &[Zxid]| {
        let mut sync = vec![send(link, Message::Diff { zxid: Zxid::ZERO })];
        sync.extend(undecided.iter().map(|zxid| send(link, proposal(*zxid))));
        sync.push(send(link, new_leader(1)));
        sync
    };
    solo.receive(LinkId(1), agreed.clone(), &sync(1, &[z(1, 1)]));
    solo.receive(LinkId(9), agreed, &sync(9, &[]));
    solo.check(submit(z(1, 2)), &[send(1, proposal(z(1, 2))), send(2, proposal(z(1, 2))), append(z(1, 2))]);
    solo.step(Event::Flushed(z(1, 2)));
    let decided = [
        send(1, commit(z(1, 1))),
        send(2, commit(z(1, 1))),
        send(9, inform(z(1, 1))),
        Action::Commit(z(1, 1)),
    ];
    solo.receive(LinkId(2), ack(z(1, 1)), &decided);
    // Its ack counts before that of NEWLEADER does.
    let decided = [
        send(1, commit(z(1, 2))),
        send(2, commit(z(1, 2))),
        send(9, inform(z(1, 2))),
        Action::Commit(z(1, 2)),
    ];
    solo.receive(LinkId(1), ack(z(1, 2)), &decided);
    solo.receive(LinkId(1), ack(z(1, 0)), &[send(1, Message::UpToDate)]);
}

/// A stock follower takes what it logged for committed once it is synchronized.
#[test]
fn a_learner_waits_until_its_last_txn_is_decided() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    solo.step(submit(z(1, 1)));
    solo.step(submit(z(1, 2)));
    solo.step(Event::LinkLost { link: LinkId(1) });
    accepts(
        &mut solo,
        4,
        Message::FollowerInfo(info(1, 1)),
        &[send(4, Message::LeaderInfo { epoch: Epoch(1) })],
    );
    solo.receive(LinkId(4), Message::AckEpoch { last: z(1, 2), current: None }, &[]);
    // It has both, and so have we now.
    let expected = [
        send(2, commit(z(1, 1))),
        send(2, commit(z(1, 2))),
        Action::Commit(z(1, 2)),
        send(4, Message::Diff { zxid: z(1, 2) }),
        send(4, new_leader(1)),
    ];
    solo.check(Event::Flushed(z(1, 2)), &expected);
}

#[test]
fn acks_of_a_lost_link_do_not_count() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    solo.step(submit(z(1, 1)));
    solo.receive(LinkId(1), ack(z(1, 1)), &[]);
    solo.step(Event::LinkLost { link: LinkId(1) });
    // It may have lost its disk since.
    solo.check(Event::Flushed(z(1, 1)), &[]);
    solo.receive(LinkId(2), ack(z(1, 1)), &[send(2, commit(z(1, 1))), Action::Commit(z(1, 1))]);
}

#[test]
fn pings_leave_every_half_tick_and_say_what_was_proposed_54() {
    let mut solo = Solo::leading(|_| {});
    solo.pass(50, &[send(2, ping(z(1, 0)))]);
    solo.step(submit(z(1, 1)));
    solo.receive(LinkId(2), ack(z(1, 1)), &[]);
    solo.pass(50, &[send(2, ping(z(1, 1)))]);
    let touched: Payload = Rc::from(*b"sessions");
    let seen = Action::Touched { link: LinkId(2), learner: ServerId(2), sessions: touched.clone() };
    solo.receive(LinkId(2), Message::Ping { zxid: z(1, 0), touched }, &[seen]);
    solo.receive(LinkId(2), ping(z(1, 1)), &[]);
    // An answer to nothing.
    let lost = [
        close(2),
        Action::LearnerLost { link: LinkId(2), learner: ServerId(2) },
        Action::Listen(Port::Quorum, false),
        Action::Became(Role::Looking),
    ];
    solo.receive(LinkId(2), ping(z(1, 1)), &lost);
}

#[test]
fn a_learner_that_acknowledges_nothing_is_let_go_though_it_answers_pings_56() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    let answered = |solo: &mut Solo, links: &[u64]| {
        for _ in 0..10 {
            solo.now = solo.now.plus(50);
            let actions = solo.step(Event::Tick);
            if actions.contains(&close(1)) {
                return true;
            }
            for link in links {
                solo.step(Event::Received { link: LinkId(*link), message: ping(z(1, 1)) });
            }
        }
        false
    };
    assert!(!answered(&mut solo, &[1, 2]));
    solo.step(submit(z(1, 1)));
    solo.step(Event::Flushed(z(1, 1)));
    solo.step(Event::Received { link: LinkId(2), message: ack(z(1, 1)) });
    assert!(!answered(&mut solo, &[1, 2]));
    assert!(answered(&mut solo, &[1, 2]));
}

#[test]
fn it_steps_down_when_a_quorum_is_silent_or_gone_55() {
    let mut solo = Solo::leading(|_| {});
    let pings: Vec<Action> = (0..10).map(|_| send(2, ping(z(1, 0)))).collect();
    solo.pass(500, &pings);
    let lost = Action::LearnerLost { link: LinkId(2), learner: ServerId(2) };
    solo.pass(50, &[close(2), lost, Action::Listen(Port::Quorum, false), Action::Became(Role::Looking)]);
    let mut solo = Solo::leading(|_| {});
    let lost = Action::LearnerLost { link: LinkId(2), learner: ServerId(2) };
    solo.check(
        Event::LinkLost { link: LinkId(2) },
        &[lost, Action::Listen(Port::Quorum, false), Action::Became(Role::Looking)],
    );
    assert_eq!(solo.peer.role(), Role::Looking);
}

#[test]
fn it_steps_down_when_its_own_disk_is_slow_f12() {
    let mut solo = Solo::leading(|_| {});
    solo.step(submit(z(1, 1)));
    for _ in 0..5 {
        solo.now = solo.now.plus(50);
        solo.step(Event::Tick);
        solo.step(Event::Received { link: LinkId(2), message: ping(z(1, 1)) });
        solo.step(Event::Received { link: LinkId(2), message: ack(z(1, 1)) });
    }
    solo.now = solo.now.plus(50);
    assert_eq!(solo.step(Event::Tick), [Action::Listen(Port::Quorum, false), Action::Became(Role::Looking)]);
    // It votes for nobody until the disk has settled.
    assert_eq!(solo.peer.next_tick(), None);
    solo.check(Event::Flushed(z(1, 1)), &[]);
    assert!(solo.peer.next_tick().is_some());
}

#[test]
fn it_gives_up_when_no_quorum_comes_in_time() {
    let mut solo = Solo::elected((0, 0), &[], 0, |_| {});
    solo.pass(999, &[]);
    solo.pass(1, &[Action::Listen(Port::Quorum, false)]);
}

#[test]
fn it_does_not_wait_for_voters_that_look_elsewhere_s22_3109() {
    let mut solo = Solo::elected((0, 0), &[], 0, |_| {});
    let looking = |from: i64, round: i64| {
        let vote = Vote { leader: ServerId(from), zxid: Zxid::ZERO, peer_epoch: 0 };
        let config = Rc::from(*b"config");
        let notification = Notification { state: State::Looking, vote, round, version: 2, config };
        Event::Notified { from: ServerId(from), notification }
    };
    // Of the same round: it is slow.
    solo.check(looking(1, 1), &[]);
    solo.check(looking(2, 2), &[]);
    solo.check(looking(9, 3), &[]);
    solo.check(looking(1, 2), &[Action::Listen(Port::Quorum, false)]);
}

#[test]
fn a_sync_waits_for_what_was_proposed_and_for_a_quorum_asked_after_it_53_1675() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    let round = [send(1, ping(z(1, 0))), send(2, ping(z(1, 0)))];
    solo.check(Event::SyncAsked { tag: 7, request: request(b"") }, &round);
    // These share the next round.
    solo.check(Event::LearnerSync { link: LinkId(1), request: request(b"sync") }, &[]);
    solo.step(submit(z(1, 1)));
    solo.check(Event::SyncAsked { tag: 8, request: request(b"") }, &[]);
    let next = [Action::Synced(7), send(1, ping(z(1, 1))), send(2, ping(z(1, 1)))];
    solo.receive(LinkId(2), ping(z(1, 0)), &next);
    // The old round's says nothing of the new one.
    solo.receive(LinkId(1), ping(z(1, 0)), &[]);
    solo.receive(LinkId(1), ping(z(1, 1)), &[send(1, Message::Sync)]);
    solo.step(Event::Flushed(z(1, 1)));
    let decided =
        [send(1, commit(z(1, 1))), send(2, commit(z(1, 1))), Action::Commit(z(1, 1)), Action::Synced(8)];
    solo.receive(LinkId(2), ack(z(1, 1)), &decided);
}

/// A stock server takes the answers to what it has forwarded in the order in which it did, syncs among them; when a commit
/// overtook a sync, all its clients waited for ever.
#[test]
fn no_commit_overtakes_a_learners_sync_on_its_link() {
    let mut solo = Solo::leading(|_| {});
    solo.join(1, 1, true);
    let sync = || Event::LearnerSync { link: LinkId(1), request: request(b"sync") };
    solo.step(submit(z(1, 1)));
    solo.check(sync(), &[send(1, ping(z(1, 1))), send(2, ping(z(1, 1)))]);
    solo.step(submit(z(1, 2)));
    // Waits for a round that has not begun.
    solo.check(sync(), &[]);
    solo.step(submit(z(1, 3)));
    solo.step(Event::Flushed(z(1, 3)));
    // What was proposed before the first sync is told at once, the rest on the other link alone.
    let first = [send(1, commit(z(1, 1))), send(2, commit(z(1, 1))), Action::Commit(z(1, 1))];
    solo.receive(LinkId(2), ack(z(1, 1)), &first);
    solo.receive(LinkId(2), ack(z(1, 2)), &[send(2, commit(z(1, 2))), Action::Commit(z(1, 2))]);
    solo.receive(LinkId(2), ack(z(1, 3)), &[send(2, commit(z(1, 3))), Action::Commit(z(1, 3))]);
    let answered = [send(1, Message::Sync), send(1, commit(z(1, 2)))];
    let next = [send(1, ping(z(1, 3))), send(2, ping(z(1, 3)))];
    solo.receive(LinkId(2), ping(z(1, 1)), &[&answered[..], &next[..]].concat());
    solo.receive(LinkId(2), ping(z(1, 3)), &[send(1, Message::Sync), send(1, commit(z(1, 3)))]);
    // Nothing waits any more.
    solo.step(submit(z(1, 4)));
    solo.step(Event::Flushed(z(1, 4)));
    let told = [send(1, commit(z(1, 4))), send(2, commit(z(1, 4))), Action::Commit(z(1, 4))];
    solo.receive(LinkId(2), ack(z(1, 4)), &told);
}

#[test]
fn requests_and_questions_of_learners_are_passed_on() {
    let mut solo = Solo::leading(|_| {});
    let (link, learner) = (LinkId(2), ServerId(2));
    let requested = Action::Requested { link, learner, forwarded: request(b"create") };
    solo.receive(link, Message::Request(request(b"create")), &[requested]);
    let body: Payload = Rc::from(*b"session");
    let message = Message::Revalidate { body: body.clone() };
    solo.receive(link, message.clone(), &[Action::Revalidate { link, body }]);
    solo.check(Event::Send { link, message: message.clone() }, &[send(2, message.clone())]);
    solo.check(Event::Send { link: LinkId(77), message }, &[]);
    // Before UPTODATE there is nothing to ask.
    solo.check(Event::Accepted { link: LinkId(5) }, &[]);
    solo.receive(LinkId(5), Message::Request(request(b"create")), &[close(5)]);
}

#[test]
fn a_used_up_epoch_ends_when_everything_is_decided_57_s23() {
    let mut solo = Solo::leading(|settings| settings.counter_max = 2);
    solo.step(submit(z(1, 1)));
    solo.step(submit(z(1, 2)));
    assert_eq!(solo.peer.next_zxid(), None);
    solo.step(Event::Flushed(z(1, 2)));
    solo.receive(LinkId(2), ack(z(1, 1)), &[send(2, commit(z(1, 1))), Action::Commit(z(1, 1))]);
    let end = [
        send(2, commit(z(1, 2))),
        Action::Commit(z(1, 2)),
        Action::Listen(Port::Quorum, false),
        Action::Became(Role::Looking),
    ];
    solo.receive(LinkId(2), ack(z(1, 2)), &end);
}

#[test]
fn outstanding_proposals_have_a_bound() {
    let mut solo = Solo::leading(|settings| settings.outstanding_max = 2);
    solo.step(submit(z(1, 1)));
    solo.step(submit(z(1, 2)));
    assert_eq!(solo.peer.next_zxid(), None);
    solo.step(Event::Flushed(z(1, 1)));
    solo.step(Event::Received { link: LinkId(2), message: ack(z(1, 1)) });
    assert_eq!(solo.peer.next_zxid(), Some(z(1, 3)));
}

#[test]
fn it_resigns_when_everything_is_decided_and_does_not_look_again() {
    let mut solo = Solo::leading(|_| {});
    solo.step(submit(z(1, 1)));
    solo.check(Event::Resign, &[]);
    assert_eq!(solo.peer.next_zxid(), None);
    solo.step(Event::Flushed(z(1, 1)));
    let end = [
        send(2, commit(z(1, 1))),
        Action::Commit(z(1, 1)),
        Action::Listen(Port::Quorum, false),
        Action::Became(Role::Looking),
    ];
    solo.receive(LinkId(2), ack(z(1, 1)), &end);
    solo.pass(10_000, &[]);
    assert_eq!(solo.peer.next_tick(), None);
}

#[test]
fn a_voter_that_has_accepted_a_later_epoch_gets_one_in_the_end_r11() {
    let mut solo = Solo::leading(|_| {});
    let refused = |solo: &mut Solo, link: u64, expected: &[Action]| {
        accepts(solo, link, Message::FollowerInfo(info(1, 5)), expected);
    };
    refused(&mut solo, 4, &[close(4)]);
    for _ in 0..20 {
        solo.now = solo.now.plus(50);
        solo.step(Event::Tick);
        solo.step(Event::Received { link: LinkId(2), message: ping(z(1, 0)) });
    }
    refused(&mut solo, 5, &[close(5), Action::Listen(Port::Quorum, false), Action::Became(Role::Looking)]);
    // The next epoch of ours takes it in.
    let vote = Vote { leader: ServerId(3), zxid: Zxid::ZERO, peer_epoch: 1 };
    let notification =
        Notification { state: State::Looking, vote, round: 2, version: 2, config: Rc::from(*b"") };
    assert_eq!(
        solo.step(Event::Notified { from: ServerId(2), notification }),
        [Action::Listen(Port::Quorum, true)]
    );
    accepts(&mut solo, 6, Message::FollowerInfo(info(2, 1)), &[save(6, 1)]);
}
