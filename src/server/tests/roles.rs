#![forbid(unsafe_code)]
//! What becomes of clients as a member finds and loses its leader.

use super::*;
use crate::base::Epoch;
use crate::pipeline::ReplyBody;
use crate::runtime::messages::{Ticket, Touched};

const LEADING: Serving = Serving::Leading(Epoch(3));

/// The tickets of what was submitted.
fn tickets(submitted: &[Submission]) -> Vec<Ticket> {
    let tickets = submitted.iter().filter_map(|submission| match submission {
        Submission::Write(write) => Some(write.ticket),
        Submission::Sync { ticket, .. } | Submission::Ephemerals { ticket, .. } => Some(*ticket),
        _ => None,
    });
    tickets.collect()
}

fn detached(submitted: &[Submission]) -> Vec<(SessionId, Generation)> {
    let detached = submitted.iter().map(|submission| match submission {
        Submission::Detach { session, generation, .. } => (*session, *generation),
        other => panic!("{other:?}"),
    });
    detached.collect()
}

#[test]
fn without_a_leader_nobody_is_let_in_and_with_one_everybody_is() {
    let mut rig = Rig::new(Serving::No);
    let shaking = handshake(SessionId::NONE, Zxid::ZERO);
    // The length alone is enough, as in stock.
    for bytes in [&shaking[..], &shaking[..4]] {
        let id = rig.connect();
        rig.send(id, bytes);
        assert_eq!((rig.closed(), rig.received(id)), (vec![id], vec![]));
    }
    let early = rig.connect();
    rig.send(early, &shaking[..3]);
    assert!(rig.closed().is_empty() && rig.submitted().is_empty());
    assert_eq!(rig.shard.metrics.closed_while_not_serving, 2);

    rig.serve(Serving::Following);
    rig.send(early, &shaking[3..]);
    let submitted = rig.submitted();
    assert!(
        matches!(&submitted[..], [Submission::Attach(attach)] if attach.connection == early),
        "{submitted:?}"
    );
    assert!(rig.closed().is_empty());
}

#[test]
fn a_role_begins_behind_what_was_applied_before_it() {
    let mut rig = Rig::new(Serving::No);
    rig.tell([Outcome::Serving { zxid: Zxid(1), serving: Serving::Following }]);
    let early = rig.connect();
    rig.shake(early, ONE, Zxid::ZERO);
    assert_eq!(rig.closed(), [early]);
    rig.tree.begin(Zxid(1));
    rig.tree.publish(Zxid(1));
    rig.turn();
    let (late, _) = rig.client(ONE);
    rig.send(late, &ping());
    assert_eq!(rig.received(late).len(), 20);
}

#[test]
fn when_the_leader_is_lost_clients_are_closed_and_everything_comes_back() {
    // What the sequencer answers besides comes before or behind.
    for answers_first in [false, true] {
        let mut rig = Rig::new(Serving::Following);
        let (writer, generation) = rig.client(ONE);
        let (reader, other) = rig.client(TWO);
        let fresh = rig.connect();
        let shaking = rig.connect();
        rig.shake(shaking, SessionId::NONE, Zxid::ZERO);
        rig.submitted();
        // A write and a sync at the sequencer; behind them a read that sets a watch, and so cannot be passed, and a
        // write that waits for it.
        let sync = request(2, OpCode::Sync, &framed(b"/a"));
        rig.send(writer, &[set_data(1, b"/a"), sync, exists(3, b"/w", true), set_data(4, b"/a")].concat());
        let tickets = tickets(&rig.submitted());
        assert_eq!(tickets.len(), 2);
        rig.send(reader, &exists(1, b"/w", true));
        assert_eq!((rig.received(reader).len(), rig.shard.watches.len()), (20, 1));

        let mut answers: Vec<Outcome> =
            tickets.iter().map(|&ticket| Outcome::Moved { zxid: Zxid::ZERO, ticket }).collect();
        answers.push(Outcome::Close {
            zxid: Zxid::ZERO,
            connection: shaking,
            generation: Generation(u64::MAX),
        });
        let lost = Outcome::Serving { zxid: Zxid::ZERO, serving: Serving::No };
        answers.insert(if answers_first { answers.len() } else { 0 }, lost);
        rig.tell(answers);

        assert_eq!(rig.closed(), [writer, reader, shaking]);
        assert!(rig.received(writer).is_empty() && rig.received(reader).is_empty());
        let mut given_back = detached(&rig.submitted());
        given_back.sort_unstable();
        assert_eq!(given_back, [(ONE, generation), (TWO, other)]);

        // Whoever had not begun may stay, until it begins.
        rig.shake(fresh, ONE, Zxid::ZERO);
        assert_eq!(rig.closed(), [fresh]);
        rig.turn();
        assert!(rig.submitted().is_empty());
        rig.assert_nothing_is_left();
    }
}

/// A sync is answered in no order with later commits: a write of the same client that was committed before would show in
/// what it reads behind the sync.
#[test]
fn nothing_but_syncs_is_handed_over_behind_a_sync() {
    let mut rig = Rig::new(LEADING);
    let (client, _) = rig.client(ONE);
    rig.submitted();
    let sync = |xid| request(xid, OpCode::Sync, &framed(b"/a"));
    let exists = |xid| exists(xid, b"/a", false);
    let set = |xid| set_data(xid, b"/a");
    rig.send(client, &[sync(1), exists(2), sync(3), exists(4), set(5), exists(6), set(7)].concat());
    let syncs = tickets(&rig.submitted());
    assert_eq!(syncs.len(), 2);
    // What comes later finds them before it as well.
    rig.send(client, &[sync(8), set(9)].concat());
    let answer = |ticket| Outcome::Reply { zxid: Zxid::ZERO, ticket, err: 0, body: ReplyBody::new() };
    rig.tell([answer(syncs[0])]);
    assert_eq!(tickets(&rig.submitted()).len(), 0);
    rig.tell([answer(syncs[1])]);
    let rest = rig.submitted();
    assert!(
        matches!(&rest[..], [Submission::Write(_), Submission::Write(_), Submission::Sync { .. }]),
        "{rest:?}"
    );
    rig.tell(tickets(&rest).into_iter().map(answer));
    assert!(matches!(&rig.submitted()[..], [Submission::Write(_)]));
}

#[test]
fn outcomes_that_come_late_find_their_credits_and_nobody_else() {
    let mut rig = Rig::new(LEADING);
    let (old, _) = rig.client(ONE);
    let shaking = rig.connect();
    rig.shake(shaking, TWO, Zxid::ZERO);
    rig.submitted();
    rig.send(old, &set_data(1, b"/a"));
    let tickets = tickets(&rig.submitted());
    rig.serve(Serving::No);
    assert_eq!(rig.closed(), [old, shaking]);
    rig.submitted();
    assert!(!rig.shard.is_idle());

    // The same session comes back before the answers to what it had asked.
    rig.serve(LEADING);
    let (new, _) = rig.client(ONE);
    rig.tell(tickets.iter().map(|&ticket| Outcome::Moved { zxid: Zxid::ZERO, ticket }));
    assert!(rig.shard.is_idle() && rig.closed().is_empty());
    // And a session that was given to a handshake nobody waits for is given back.
    rig.tell([attached(shaking, TWO, Generation(77))]);
    assert_eq!(detached(&rig.submitted()), [(TWO, Generation(77))]);
    rig.send(new, &ping());
    assert_eq!(rig.received(new).len(), 20);
    rig.shard.on_closed(new, rig.now);
    rig.assert_nothing_is_left();
}

#[test]
fn a_client_that_is_closed_for_cause_leaves_its_session_to_the_clock() {
    let auth = |scheme: &[u8]| {
        let mut body = Vec::new();
        body.int(0);
        body.string(scheme);
        body.buffer(Some(b"who:knows"));
        request(-4, OpCode::Auth, &body)
    };
    for asked in [auth(b"nonsense"), request(1, OpCode::Check, &[])] {
        let mut rig = Rig::new(Serving::Alone);
        let (id, generation) = rig.client(ONE);
        rig.send(id, &asked);
        assert_eq!((rig.closed(), rig.received(id).len()), (vec![id], 20));
        assert_eq!(detached(&rig.submitted()), [(ONE, generation)]);
        rig.assert_nothing_is_left();
    }
}

#[test]
fn a_leader_is_told_once_a_report_who_was_heard_of() {
    let mut rig = Rig::new(Serving::Following);
    let quarter = u64::from(TICK_MS) / 4;
    let touched = |session| Touched { session, timeout_ms: TIMEOUT_MS };
    let check = |rig: &mut Rig, expected: &[&[Touched]]| {
        let reports: Vec<Vec<Touched>> = rig
            .submitted()
            .into_iter()
            .map(|submission| match submission {
                Submission::Touched(touched) => touched,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(reports, expected);
    };
    // To be given a session is to be heard of.
    let (one, _) = rig.client(ONE);
    let (two, _) = rig.client(TWO);
    check(&mut rig, &[]);
    rig.pass(quarter);
    check(&mut rig, &[&[touched(ONE), touched(TWO)]]);
    rig.pass(quarter);
    check(&mut rig, &[]);

    for _ in 0..3 {
        rig.send(two, &ping());
        rig.send(one, &ping());
        rig.send(two, &ping());
    }
    rig.pass(quarter);
    check(&mut rig, &[&[touched(TWO), touched(ONE)]]);
    rig.send(one, &ping());
    // Heard of after the report began, it does not wait for one of its own.
    rig.pass(u64::from(TICK_MS) / 8 - 1);
    rig.send(two, &ping());
    rig.pass(1);
    check(&mut rig, &[&[touched(ONE), touched(TWO)]]);

    // What a leader hears of is its own affair, and what a learner had heard of is the next leader's no more.
    rig.send(one, &ping());
    rig.serve(Serving::No);
    assert_eq!(rig.submitted().len(), 2, "both are given back");
    rig.serve(LEADING);
    let (one, _) = rig.client(ONE);
    rig.send(one, &ping());
    rig.pass(quarter);
    check(&mut rig, &[]);
}

#[test]
fn a_session_is_given_up_by_a_leader_and_only_its_connection_by_a_learner() {
    for serving in [LEADING, Serving::Alone, Serving::Following, Serving::Observing] {
        let mut rig = Rig::new(serving);
        let (silent, generation) = rig.client(ONE);
        let (live, _) = rig.client(TWO);
        // The bucket behind the timeout; suspected first, and the socket is read once more.
        rig.pass(u64::from(TIMEOUT_MS) / 2);
        rig.send(live, &ping());
        rig.pass(u64::from(TIMEOUT_MS) / 2 + u64::from(TICK_MS));
        rig.send(live, &ping());
        assert!(rig.closed().is_empty(), "{serving:?}");
        rig.pass(50);
        let expired: Vec<(SessionId, Generation)> = rig
            .submitted()
            .iter()
            .filter_map(|submission| match submission {
                Submission::Expire { session, generation } => Some((*session, *generation)),
                _ => None,
            })
            .collect();
        let (closed, given_up) = match serving {
            Serving::Following | Serving::Observing => (vec![silent], vec![]),
            _ => (vec![], vec![(ONE, generation)]),
        };
        assert_eq!((rig.closed(), expired), (closed, given_up), "{serving:?}");
    }
}

#[test]
fn a_leader_takes_a_client_back_that_saw_its_epoch_or_an_earlier_one_begin() {
    let check = |serving, seen: Zxid, taken: bool| {
        let mut rig = Rig::new(serving);
        let id = rig.connect();
        rig.shake(id, ONE, seen);
        assert_eq!(
            (rig.submitted().len(), rig.closed().len()),
            if taken { (1, 0) } else { (0, 1) },
            "{seen}"
        );
    };
    check(LEADING, Zxid::from_parts(Epoch(2), 0), true);
    check(LEADING, Zxid::from_parts(Epoch(3), 0), true);
    check(LEADING, Zxid::from_parts(Epoch(3), 1), false);
    check(Serving::Following, Zxid::from_parts(Epoch(2), 0), false);
    check(Serving::Following, Zxid::ZERO, true);
    check(Serving::Alone, Zxid(1), false);
}

/// A handshake of a client that takes a read-only server, or does not, or is too old to say.
fn shake_as(rig: &mut Rig, read_only: Option<bool>) -> ConnectionId {
    let mut frame = handshake(SessionId::NONE, Zxid::ZERO);
    let length = frame.len() - 4 - usize::from(read_only.is_none());
    match read_only {
        Some(read_only) => *frame.last_mut().expect("a body") = u8::from(read_only),
        None => frame.truncate(4 + length),
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    let id = rig.connect();
    rig.send(id, &frame);
    id
}

#[test]
fn a_read_only_server_takes_clients_that_take_it_and_says_what_it_is() {
    let mut rig = Rig::new(Serving::No);
    rig.serve(Serving::ReadOnly);
    for read_only in [Some(false), None] {
        let id = shake_as(&mut rig, read_only);
        assert_eq!((rig.closed(), rig.received(id)), (vec![id], vec![]), "{read_only:?}");
        assert!(rig.submitted().is_empty());
    }
    let reader = shake_as(&mut rig, Some(true));
    assert!(matches!(&rig.submitted()[..], [Submission::Attach(attach)] if attach.connection == reader));
    rig.tell([attached(reader, ONE, Generation(1))]);
    assert_eq!(rig.received(reader).last(), Some(&1), "readOnly of the ConnectResponse");

    // One whose session is over learns what the server is as well.
    let late = shake_as(&mut rig, Some(true));
    rig.submitted();
    rig.tell([Outcome::Refused { zxid: Zxid::ZERO, connection: late }]);
    assert_eq!(rig.received(late).last(), Some(&1));
    assert_eq!(rig.closed(), [late]);

    // A write that does not decode is a write.
    rig.send(reader, &request(7, OpCode::SetData, &[1]));
    let refusal = rig.received(reader);
    assert_eq!(refusal[4..8], 7i32.to_be_bytes());
    assert_eq!(refusal[16..20], (-119i32).to_be_bytes());

    // The leader is back: the client comes again.
    rig.serve(Serving::No);
    assert_eq!(rig.closed(), [reader]);
    rig.serve(Serving::Following);
    let again = shake_as(&mut rig, Some(true));
    rig.submitted();
    rig.tell([attached(again, ONE, Generation(2))]);
    assert_eq!(rig.received(again).last(), Some(&0));
}
