#![forbid(unsafe_code)]
//! What a follower does that serves observers, entry point by entry point, and how an observer finds one
//! (ensemble-protocol §11.3, line 93 of §13).

use std::rc::Rc;

use super::cluster::{Cluster, settings};
use super::solo::{
    Solo, UP, ack, append, commit, info, inform, new_leader, proposal, save, saved, send, send_up, z,
};
use crate::base::{Epoch, ServerId, Zxid};
use crate::zab::event::{Action, Event, Role};
use crate::zab::message::{Forwarded, LinkId, Message, Notification, Payload, Port, State, Vote};
use crate::zab::settings::Settings;

fn open(on: bool) -> Action {
    Action::Listen(Port::Observers, on)
}

fn close(link: u64) -> Action {
    Action::Close { link: LinkId(link) }
}

fn serves_observers(settings: &mut Settings) {
    settings.observer_masters = true;
}

/// Server 1 follows 2 in the epoch after `epoch`, with this log, all of it committed.
fn master(epoch: u32, log: &[Zxid], change: fn(&mut Settings)) -> Solo {
    let last = log.last().copied().unwrap_or(Zxid::ZERO);
    let mut solo = Solo::new(1, (epoch, epoch), log, log.len(), change);
    solo.vote(2, 2, z(90, 0), 90);
    solo.step(Event::Connected { link: UP });
    solo.receive(UP, Message::LeaderInfo { epoch: Epoch(epoch + 1) }, &[save(epoch + 1, epoch)]);
    solo.step(saved(epoch + 1, epoch));
    solo.receive(UP, Message::Diff { zxid: last }, &[]);
    solo.receive(UP, new_leader(epoch + 1), &[save(epoch + 1, epoch + 1)]);
    solo.step(saved(epoch + 1, epoch + 1));
    let role = Action::Became(Role::Following(ServerId(2)));
    solo.receive(UP, Message::UpToDate, &[send_up(ack(z(epoch + 1, 0))), role, open(true)]);
    solo
}

/// An observer comes on this link, and says where it stands; what it is told then.
fn comes(solo: &mut Solo, link: u64, last: Zxid) -> Vec<Action> {
    let epoch = solo.peer.epoch();
    solo.check(Event::Accepted { link: LinkId(link) }, &[]);
    let offer = send(link, Message::LeaderInfo { epoch });
    solo.receive(LinkId(link), Message::ObserverInfo(info(link as i64, 0)), &[offer]);
    let message = Message::AckEpoch { last, current: Some(Epoch(0)) };
    solo.step(Event::Received { link: LinkId(link), message })
}

fn is_up(solo: &mut Solo, link: u64, last: Zxid) {
    comes(solo, link, last);
    let acknowledged = ack(Zxid::from_parts(solo.peer.epoch(), 0));
    solo.receive(LinkId(link), acknowledged.clone(), &[send(link, Message::UpToDate)]);
    solo.receive(LinkId(link), acknowledged, &[]);
}

fn request(body: &[u8]) -> Forwarded {
    Forwarded { body: Rc::from(body), identities: None }
}

#[test]
fn it_opens_its_port_when_it_serves_and_closes_it_with_every_link_when_it_does_not() {
    let mut solo = master(1, &[z(1, 1)], serves_observers);
    is_up(&mut solo, 8, z(1, 1));
    assert_eq!((solo.peer.figures().observers, solo.peer.figures().serves_observers), (1, true));
    let closed = [Action::Close { link: UP }, open(false), Action::Became(Role::Looking)];
    solo.check(Event::LinkLost { link: UP }, &closed);
    assert_eq!(solo.peer.figures().observers, 0);

    let mut stopping = master(1, &[z(1, 1)], serves_observers);
    stopping.check(Event::Resign, &closed);
}

#[test]
fn without_the_setting_there_is_no_port_and_who_comes_is_sent_away() {
    let mut solo = Solo::following();
    solo.check(Event::Accepted { link: LinkId(8) }, &[close(8)]);
    assert!(!solo.peer.figures().serves_observers);
}

#[test]
fn an_observer_is_brought_up_to_date_from_what_is_committed_here() {
    let log = [z(1, 1), z(1, 2), z(1, 3)];
    let check = |last: Zxid, expected: &[Message]| {
        let mut solo = master(1, &log, serves_observers);
        // Proposed, and not known to be decided.
        solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
        let expected: Vec<Action> = expected.iter().map(|message| send(8, message.clone())).collect();
        assert_eq!(comes(&mut solo, 8, last), expected, "{last}");
    };
    let zxid = z(1, 3);
    check(zxid, &[Message::Diff { zxid }, new_leader(2)]);
    check(z(1, 2), &[Message::Diff { zxid }, proposal(zxid), commit(zxid), new_leader(2)]);
    check(z(1, 9), &[Message::Trunc { zxid }, new_leader(2)]);

    let mut solo = master(1, &log, serves_observers);
    let image = Action::SendSnap { link: LinkId(8), zxid };
    let expected = [send(8, Message::Snap { zxid }), image, send(8, new_leader(2))];
    assert_eq!(comes(&mut solo, 8, Zxid::ZERO), expected);
    // What is committed meanwhile is behind it.
    solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
    solo.receive(UP, commit(z(2, 1)), &[Action::Commit(z(2, 1)), send(8, inform(z(2, 1)))]);
}

#[test]
fn a_part_of_the_log_that_is_on_disk_only_is_read() {
    let log = [z(1, 1), z(1, 2), z(1, 3), z(1, 4), z(1, 5), z(1, 6)];
    let mut solo = master(1, &log, |settings| {
        settings.observer_masters = true;
        settings.history_txns_max = 2;
    });
    let read = Action::ReadLog { link: LinkId(8), after: z(1, 1), up_to: z(1, 6) };
    assert_eq!(comes(&mut solo, 8, z(1, 1)), [read]);
    let read = Event::LogRead { link: LinkId(8), txns: Some(super::solo::txns(&log[1..])) };
    let mut expected = vec![send(8, Message::Diff { zxid: z(1, 6) })];
    for zxid in &log[1..] {
        expected.extend([send(8, proposal(*zxid)), send(8, commit(*zxid))]);
    }
    expected.push(send(8, new_leader(2)));
    solo.check(read, &expected);
}

#[test]
fn an_observer_that_is_ahead_of_us_waits_until_we_have_heard_what_it_has() {
    for proposed in [true, false] {
        let mut solo = master(1, &[z(1, 1)], serves_observers);
        if proposed {
            solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
            solo.receive(UP, proposal(z(2, 2)), &[append(z(2, 2))]);
        }
        assert_eq!(comes(&mut solo, 8, z(2, 2)), []);
        if !proposed {
            solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
            solo.receive(UP, proposal(z(2, 2)), &[append(z(2, 2))]);
        }
        solo.receive(UP, commit(z(2, 1)), &[Action::Commit(z(2, 1))]);
        let expected =
            [Action::Commit(z(2, 2)), send(8, Message::Diff { zxid: z(2, 2) }), send(8, new_leader(2))];
        solo.receive(UP, commit(z(2, 2)), &expected);
    }
}

#[test]
fn who_would_follow_or_knows_a_later_epoch_is_refused() {
    let refused = |message: Message| {
        let mut solo = master(1, &[], serves_observers);
        solo.check(Event::Accepted { link: LinkId(8) }, &[]);
        solo.receive(LinkId(8), message, &[close(8)]);
        solo.check(Event::LinkLost { link: LinkId(8) }, &[]);
    };
    refused(Message::FollowerInfo(info(3, 0)));
    refused(Message::ObserverInfo(info(8, 3)));
    refused(Message::ObserverInfo(info(8, u32::MAX)));
    refused(Message::ObserverInfo(info(1, 0)));
    refused(ack(z(2, 0)));
    let mut solo = master(1, &[], serves_observers);
    is_up(&mut solo, 8, Zxid::ZERO);
    let lost = Action::LearnerLost { link: LinkId(8), learner: ServerId(8) };
    solo.receive(LinkId(8), ack(z(2, 1)), &[close(8), lost]);
}

#[test]
fn commits_go_out_as_inform_and_proposals_do_not() {
    let mut solo = master(1, &[], serves_observers);
    is_up(&mut solo, 8, Zxid::ZERO);
    is_up(&mut solo, 9, Zxid::ZERO);
    solo.receive(UP, proposal(z(2, 1)), &[append(z(2, 1))]);
    let expected = [Action::Commit(z(2, 1)), send(8, inform(z(2, 1))), send(9, inform(z(2, 1)))];
    solo.receive(UP, commit(z(2, 1)), &expected);
    solo.check(Event::Flushed(z(2, 1)), &[send_up(ack(z(2, 1)))]);
    // A newer link of the same server takes the place of the older one.
    solo.check(Event::Accepted { link: LinkId(10) }, &[]);
    let lost = Action::LearnerLost { link: LinkId(9), learner: ServerId(9) };
    let offer = send(10, Message::LeaderInfo { epoch: Epoch(2) });
    solo.receive(LinkId(10), Message::ObserverInfo(info(9, 2)), &[close(9), lost, offer]);
}

#[test]
fn what_observers_ask_goes_to_the_leader_and_syncs_come_back_in_order() {
    let mut solo = master(1, &[], serves_observers);
    is_up(&mut solo, 8, Zxid::ZERO);
    let (link, learner) = (LinkId(8), ServerId(8));
    let forwarded = request(b"write");
    let requested = Action::Requested { link, learner, forwarded: forwarded.clone() };
    solo.receive(link, Message::Request(forwarded.clone()), &[requested]);
    solo.check(Event::Forward(forwarded.clone()), &[send_up(Message::Request(forwarded))]);
    let sync = |name: &[u8]| send_up(Message::Request(request(name)));
    solo.check(Event::LearnerSync { link, request: request(b"s1") }, &[sync(b"s1")]);
    solo.check(Event::SyncAsked { tag: 7, request: request(b"s2") }, &[sync(b"s2")]);
    solo.check(Event::LearnerSync { link, request: request(b"s3") }, &[sync(b"s3")]);
    assert_eq!(solo.peer.figures().pending_syncs, 3);
    solo.receive(UP, Message::Sync, &[send(8, Message::Sync)]);
    solo.receive(UP, Message::Sync, &[Action::Synced(7)]);
    // Gone before its answer came, which takes its place all the same.
    solo.check(Event::LinkLost { link }, &[Action::LearnerLost { link, learner }]);
    solo.receive(UP, Message::Sync, &[]);
    solo.check(Event::LearnerSync { link, request: request(b"s4") }, &[]);

    is_up(&mut solo, 9, Zxid::ZERO);
    let (link, learner) = (LinkId(9), ServerId(9));
    let body: Payload = Rc::from(*b"a session");
    let asks = Action::Revalidate { link, body: body.clone() };
    solo.receive(link, Message::Revalidate { body: body.clone() }, &[asks]);
    let answer = Message::Revalidate { body };
    solo.check(Event::Send { link: UP, message: answer.clone() }, &[send_up(answer.clone())]);
    solo.check(Event::Send { link, message: answer.clone() }, &[send(9, answer)]);
    let touched: Payload = Rc::from(*b"sessions");
    let heard = Action::Touched { link, learner, sessions: touched.clone() };
    solo.receive(link, Message::Ping { zxid: z(2, 0), touched }, &[heard]);
}

#[test]
fn observers_are_pinged_and_the_silent_ones_let_go() {
    let mut solo = master(1, &[z(1, 1)], |settings| {
        serves_observers(settings);
        settings.sync_limit = 2;
    });
    is_up(&mut solo, 8, z(1, 1));
    let ping = || send(8, Message::Ping { zxid: z(1, 1), touched: Payload::from([]) });
    solo.pass(50, &[ping()]);
    // The leader is heard; the observer is not.
    let leaders = || Message::Ping { zxid: z(2, 0), touched: Payload::from([]) };
    let answer = Action::AnswerPing { link: UP, zxid: z(2, 0) };
    solo.receive(UP, leaders(), std::slice::from_ref(&answer));
    solo.pass(150, &[ping(), ping(), ping()]);
    solo.receive(UP, leaders(), &[answer]);
    let lost = Action::LearnerLost { link: LinkId(8), learner: ServerId(8) };
    solo.pass(50, &[close(8), lost]);
}

fn has_a_leader(from: i64, state: State) -> Event {
    let vote = Vote { leader: ServerId(2), zxid: Zxid::ZERO, peer_epoch: 1 };
    let notification = Notification { state, vote, round: 4, version: 2, config: Rc::from(*b"config") };
    Event::Notified { from: ServerId(from), notification }
}

/// Observer 9 hears that 2 leads: where it connects to.
fn finds(solo: &mut Solo) -> (LinkId, ServerId, Port) {
    solo.step(Event::PeerUp(ServerId(2)));
    solo.step(has_a_leader(1, State::Following));
    match solo.step(has_a_leader(2, State::Leading))[..] {
        [Action::Connect { link, to, port }] => (link, to, port),
        ref other => panic!("{other:?}"),
    }
}

/// All tries to connect fail.
fn in_vain(solo: &mut Solo, mut link: LinkId) {
    loop {
        match solo.step(Event::LinkLost { link })[..] {
            [] => {}
            [Action::Close { .. }] => return,
            ref other => panic!("{other:?}"),
        }
        solo.now = solo.peer.next_tick().expect("it is tried again");
        match solo.step(Event::Tick)[..] {
            [Action::Connect { link: next, .. }] => link = next,
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_observer_tries_each_follower_and_then_its_leader() {
    let mut solo = Solo::new(9, (0, 0), &[], 0, serves_observers);
    let mut tried = Vec::new();
    for _ in 0..3 {
        let (link, server, port) = finds(&mut solo);
        assert_eq!(solo.peer.master(), Some(server));
        assert_eq!(solo.peer.leader(), Some(ServerId(2)));
        tried.push((server.0, port));
        in_vain(&mut solo, link);
        // Roles that came to nothing are not tried without end.
        solo.now = solo.now.plus(10_000);
        solo.step(Event::Tick);
    }
    assert_eq!(tried[2], (2, Port::Quorum));
    tried[..2].sort_by_key(|(server, _)| *server);
    assert_eq!(tried[..2], [(1, Port::Observers), (3, Port::Observers)]);
}

#[test]
fn a_voter_learns_from_its_leader_whatever_the_setting() {
    let mut solo = Solo::new(1, (0, 0), &[], 0, serves_observers);
    let connect = Action::Connect { link: UP, to: ServerId(2), port: Port::Quorum };
    assert_eq!(solo.vote(2, 2, z(9, 9), 9), [connect]);
}

#[test]
fn an_observer_that_lost_its_master_waits_a_while_and_takes_the_next_one() {
    let mut solo = Solo::new(9, (0, 0), &[], 0, |settings| {
        serves_observers(settings);
        settings.observer_election_delay_ms = 200;
    });
    let (link, first, _) = finds(&mut solo);
    solo.step(Event::Connected { link });
    solo.step(Event::Received { link, message: Message::LeaderInfo { epoch: Epoch(1) } });
    solo.step(saved(1, 0));
    solo.receive(link, Message::Diff { zxid: Zxid::ZERO }, &[]);
    solo.receive(link, new_leader(1), &[save(1, 1)]);
    solo.step(saved(1, 1));
    let role = Action::Became(Role::Observing(ServerId(2)));
    let acknowledged = Action::Send { link, message: ack(z(1, 0)) };
    solo.receive(link, Message::UpToDate, &[acknowledged, role]);
    solo.check(Event::LinkLost { link }, &[Action::Close { link }, Action::Became(Role::Looking)]);
    let until = solo.peer.next_tick().expect("it looks for a leader after a while");
    assert!(until > solo.now && until < solo.now.plus(200), "{until:?} after {:?}", solo.now);
    solo.now = until;
    solo.step(Event::Tick);
    let (_, second, port) = finds(&mut solo);
    assert_eq!(port, Port::Observers);
    assert_ne!(first, second);
}

#[test]
fn an_observer_does_not_go_back_in_time_for_a_follower_that_is_behind() {
    let ways = [(Message::Trunc { zxid: z(1, 1) }, false), (Message::Snap { zxid: z(1, 1) }, true)];
    for (way, is_image) in ways {
        let mut solo = Solo::new(9, (1, 1), &[z(1, 1), z(1, 2)], 2, serves_observers);
        let (link, first, _) = finds(&mut solo);
        solo.step(Event::Connected { link });
        solo.step(Event::Received { link, message: Message::LeaderInfo { epoch: Epoch(1) } });
        if is_image {
            solo.receive(link, way, &[Action::ReceiveSnap { link, zxid: z(1, 1) }]);
            solo.check(Event::SnapReceived { link }, &[]);
            solo.receive(link, new_leader(1), &[Action::Close { link }, Action::DropSnap { link }]);
        } else {
            solo.receive(link, way, &[Action::Close { link }]);
        }
        assert_ne!(finds(&mut solo).1, first);
    }
}

#[test]
fn observers_go_on_when_their_master_dies_and_when_their_leader_does() {
    let mut settings = settings();
    serves_observers(&mut settings);
    settings.observer_election_delay_ms = 100;
    let mut cluster = Cluster::new(&[1, 2, 3], &[8, 9], settings);
    cluster.start_all();
    let serve = |c: &mut Cluster| c.ids().iter().all(|id| !c.is_up(*id) || c.role(*id) != Role::Looking);
    cluster.run_until("all serve", serve);
    let master_of = |c: &Cluster, id: i64| c.nodes[&id].peer.as_ref().and_then(|peer| peer.master());
    for dies in [None, Some(()), None] {
        let leader = cluster.leader().expect("a leader");
        let master = master_of(&cluster, 8).expect("a master").0;
        assert_ne!(master, leader, "followers serve observers");
        let dead = if dies.is_some() { leader } else { master };
        cluster.crash(dead, 0);
        cluster.run_until("the others serve", |c| serve(c) && c.leader().is_some());
        let asked = cluster.ask_sync(8);
        cluster.run_until("a sync is answered", |c| c.nodes[&8].synced.contains(&asked));
        cluster.forward(9);
        cluster.converge();
    }
}
